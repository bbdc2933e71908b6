"""Which learning rate each epoch of a training has: a rise, and a fall by a cosine."""

import math

# The part of the epochs in which the rate rises.
RISE = 0.2

# What is left of the highest rate in the end.
_LEFT = 0.01


def risen_and_fallen(highest: float, epoch: int, epochs: int, part: float = RISE) -> float:
    """Returns the learning rate of an epoch of a training that begins with weights by chance.

    It rises over the first part of the epochs in equal steps, and then falls by a cosine to a
    hundredth, for any number of epochs: one epoch alone has 5 / 6 of the highest rate.

    Args:
        highest: Positive float.
        epoch: Integer, counted from 0.
        epochs: Positive integer.
        part: Float in [0, 1), the part of the epochs in which the rate rises. Defaults to a fifth.

    Returns:
        Float.
    """
    rise = part * epochs
    if epoch < rise:
        return highest * (epoch + 1) / (rise + 1)
    return fallen(highest, epoch - rise, epochs - rise)


def fallen(highest: float, epoch: float, epochs: float) -> float:
    """Returns the learning rate of an epoch of a training that goes on from a trained model.

    Args:
        highest: Positive float, the rate of the first epoch.
        epoch: Float, counted from 0.
        epochs: Positive float, after so many a hundredth would be left.

    Returns:
        Float.
    """
    part = epoch / epochs
    return highest * (_LEFT + (1.0 - _LEFT) * (0.5 + 0.5 * math.cos(math.pi * part)))
