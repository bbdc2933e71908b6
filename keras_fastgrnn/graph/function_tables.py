"""What TFLite Micro's int16 LOGISTIC and TANH answer, computed in training.

They interpolate a table, which is up to 1.4 units of 2^-15 from the function: always the same way,
so that it would add up over the steps of a state.
"""

import numpy as np

from keras_fastgrnn.graph.fixed_scales import INT16_RESULT_EXPONENT
from keras_fastgrnn.graph.tables import SIGMOID_TABLE
from keras_fastgrnn.keras_api import ops

# The values of the table, and the steps to the next ones.
_ENTRIES = np.stack([SIGMOID_TABLE[:-1], np.diff(SIGMOID_TABLE)], axis=1).astype(np.float32)

# Both functions count what they read in this part of 1.
_INPUT_UNITS = 3.0 * 2.0**12
_UNIT = 2.0**INT16_RESULT_EXPONENT
_LARGEST = 2.0**15 - 1.0


def logistic(x):
    """Returns what LOGISTIC answers, without a gradient.

    Args:
        x: float32 tensor, multiples of a power of two.
    """
    magnitude, index, part = _place(x, 512.0)
    entries = ops.take(_ENTRIES, index, axis=0)
    low, step = entries[..., 0], entries[..., 1]
    half = ops.floor(0.5 * low)
    # (512 low + part step + 512) / 1024, in numbers that float32 holds.
    result = half + ops.floor((512.0 * (low - 2.0 * half) + part * step + 512.0) / 1024.0)
    result = ops.where(magnitude < 255.0 * 512.0, result, _LARGEST)
    return ops.stop_gradient(ops.where(x < 0.0, 2.0**15 - result, result) * _UNIT)


def tanh(x):
    """Returns what TANH answers, without a gradient.

    Args:
        x: float32 tensor, multiples of a power of two.
    """
    magnitude, index, part = _place(x, 256.0)
    entries = ops.take(_ENTRIES, index, axis=0)
    low, step = entries[..., 0], entries[..., 1]
    result = low - 2.0**15 + ops.floor((part * step + 128.0) / 256.0)
    result = ops.where(magnitude < 255.0 * 256.0, result, _LARGEST)
    return ops.stop_gradient(ops.sign(x) * result * _UNIT)


def _place(x, width: float) -> tuple:
    """Magnitudes in units of the table, the entries below them, and what they are beyond those."""
    magnitude = ops.absolute(ops.floor(x * _INPUT_UNITS + 0.5))
    index = ops.cast(magnitude / width, "int32")
    index = ops.clip(index, 0, 254)  # also where x is NaN
    return magnitude, index, magnitude - ops.cast(index, "float32") * width


FUNCTIONS = {"sigmoid": logistic, "tanh": tanh}
