"""Sequences as they might have been: sensors turned, wearers elsewhere, clips later, in part."""

import numpy as np
from scipy.spatial.transform import Rotation

from examples import har_data

# A unit of the Daily and Sports data: accelerometer, gyroscope and magnetometer of three axes.
UNITS, UNIT_CHANNELS = 5, 9
_ACCELERATION, _MAGNETIC = slice(0, 3), slice(6, 9)

_HEADING_DEGREES = 30.0
_LARGEST_SHIFT = 4
_MOST_FRAMES, _MOST_BANDS = 8, 3
_PART_MOVED = 16


def worn_elsewhere(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Turns each unit by an angle of its own, and the wearer about the vertical.

    Where a wearer faces shows in the magnetometers alone: they turn about the direction of gravity,
    the mean of the same unit's accelerometer, all by one angle of N(0, 30 degrees). Without it a
    model learns which way in the building a person faced.

    Args:
        x: Array of shape `(segments, steps, 45)`, five units.
        rng: Generator.

    Returns:
        float32 array of the shape of `x`.
    """
    heading = np.radians(_HEADING_DEGREES) * rng.normal(size=(len(x), 1))
    units = [har_data.turned(_facing(unit, heading), rng) for unit in np.split(x, UNITS, axis=2)]
    return np.concatenate(units, axis=2)


def _facing(unit, heading):
    down = unit[:, :, _ACCELERATION].mean(axis=1)
    down /= np.linalg.norm(down, axis=1, keepdims=True)
    rotation = Rotation.from_rotvec(heading * down).as_matrix()
    faced = unit.copy()
    faced[:, :, _MAGNETIC] = unit[:, :, _MAGNETIC] @ rotation.astype(unit.dtype)
    return faced


def varied_speech(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Moves clips in time, and hides some frames and bands of each.

    Args:
        x: Array of shape `(clips, frames, bands)`.
        rng: Generator.

    Returns:
        Array of the shape of `x`.

    Reference:
        Park et al., SpecAugment, Interspeech 2019 (https://arxiv.org/abs/1904.08779)
    """
    shifted = _shifted(x, rng)
    return _hidden(_hidden(shifted, rng, axis=1, most=_MOST_FRAMES), rng, axis=2, most=_MOST_BANDS)


def _shifted(x, rng):
    """Moves each clip by some frames and repeats what lies at its end."""
    shift = rng.integers(-_LARGEST_SHIFT, _LARGEST_SHIFT + 1, (len(x), 1))
    steps = np.clip(np.arange(x.shape[1]) + shift, 0, x.shape[1] - 1)
    return np.take_along_axis(x, steps[:, :, np.newaxis], axis=1)


def _hidden(x, rng, axis: int, most: int):
    """Replaces up to so many neighbors along an axis by the mean of all clips."""
    first = rng.integers(0, x.shape[axis], (len(x), 1))
    last = first + rng.integers(0, most + 1, (len(x), 1))
    index = np.arange(x.shape[axis])
    is_hidden = np.expand_dims((index >= first) & (index < last), 3 - axis)
    return np.where(is_hidden, x.mean(axis=(0, 1)), x)


def moved_image(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Moves images by up to a sixteenth of their height and width; their edges are repeated.

    Args:
        x: Array of shape `(images, rows, columns)`.
        rng: Generator.

    Returns:
        Array of the shape of `x`.
    """
    images, *sizes = x.shape
    index = [np.arange(images)[:, np.newaxis, np.newaxis]]
    for axis, size in enumerate(sizes):
        most = round(size / _PART_MOVED)
        places = np.arange(size) + rng.integers(-most, most + 1, (images, 1))
        index.append(np.expand_dims(np.clip(places, 0, size - 1), 2 - axis))
    return x[tuple(index)]
