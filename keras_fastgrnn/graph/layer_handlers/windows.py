"""What layers that move a window over the frames share."""

from collections.abc import Iterable

import numpy as np


def first_of(sizes) -> int:
    """Returns the size along the steps, where a layer keeps a number or one for each axis."""
    return int(np.ravel(sizes)[0])


def stride(layer) -> int:
    """Returns how many frames a layer moves on for one of its output."""
    return first_of(layer.strides)


def always(layer) -> bool:
    """Returns whether a layer computes something from several frames: it does."""
    return True


def window_problems(layer) -> Iterable[str]:
    """Yields why a layer that moves a window cannot be exported, whatever it computes in it.

    Args:
        layer: Layer with `data_format`.
    """
    if layer.data_format != "channels_last":
        yield "it takes the channels first; use data_format='channels_last'"
