"""From real values to the integers of a tensor, and back."""

import math

import numpy as np
import numpy.typing as npt

from keras_fastgrnn.graph.graph import Constant, Op, Tensor


def real_constant(tensor: Constant) -> np.ndarray:
    """Returns the real values of a float or integer constant whose zero point is 0."""
    return tensor.data * (1.0 if tensor.scale is None else tensor.scale)


def real_ends(tensor: Tensor) -> tuple[float, float]:
    """Returns the smallest and the largest real value that an integer tensor holds.

    Args:
        tensor: Tensor of type "int8", "int16" or "uint8".
    """
    integers = np.iinfo(tensor.dtype)
    low, high = (int(end) - tensor.zero_point for end in (integers.min, integers.max))
    return low * tensor.unit, high * tensor.unit


def quantize_values(values: np.ndarray, tensor: Tensor) -> np.ndarray:
    """Turns real values into the integers of a tensor; half rounds away from zero.

    Args:
        values: Array of real values.
        tensor: Tensor of type "int8", "int16" or "int64".

    Returns:
        Array of integers, clipped to the tensor's type.
    """
    scaled = np.asarray(values, np.float64) / tensor.scales
    rounded = np.trunc(scaled + np.copysign(0.5, scaled)) + tensor.zero_point
    limits = np.iinfo(tensor.dtype)
    if tensor.dtype == "int64":
        return rounded.astype(np.int64)
    return np.clip(rounded, limits.min, limits.max).astype(tensor.dtype)


def quantize_input(x: npt.ArrayLike, tensor: Tensor) -> np.ndarray:
    """Turns sensor values into integers as C's `lroundf(x / scale)` does, then clips.

    Args:
        x: Array of real values, or one.
        tensor: The model's input tensor, of type "int8", "int16" or "uint8".

    Returns:
        Array of the tensor's type.
    """
    with np.errstate(over="ignore"):  # infinite values are clipped
        quotient = np.asarray(x, np.float32) / np.float32(tensor.unit)
    rounded = np.trunc(quotient.astype(np.float64) + np.copysign(0.5, quotient))
    limits = np.iinfo(tensor.dtype)
    return np.clip(rounded + tensor.zero_point, limits.min, limits.max).astype(tensor.dtype)


def dequantize_values(integers: np.ndarray, tensor: Tensor) -> np.ndarray:
    """Turns the integers of a tensor into real values.

    Args:
        integers: Array of integers.
        tensor: Tensor they belong to.

    Returns:
        float32 array of the same shape.
    """
    return ((integers - float(tensor.zero_point)) * tensor.scales).astype(np.float32)


def clip_limits(op: Op) -> tuple[int, int]:
    """Returns the integers to which an operator clips its result.

    Args:
        op: Operator of an integer graph.

    Returns:
        The lowest and the highest integer.
    """
    limits = np.iinfo(op.output.dtype)
    low, high = limits.min, limits.max
    if op.low != -math.inf:
        low = max(low, int(quantize_input(op.low, op.output)))
    if op.high != math.inf:
        high = min(high, int(quantize_input(op.high, op.output)))
    return low, high
