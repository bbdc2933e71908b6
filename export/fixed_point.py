"""Fixed-point arithmetic of TFLite Micro's reference kernels, on arrays of int64.

The functions are those of TFLite's `kernels/internal/common.h` and of gemmlowp's `fixedpoint.h`,
rounding by rounding.
"""

import math

import numpy as np


def quantize_multiplier(real: float) -> tuple[int, int]:
    """Splits a positive factor into `m / 2^31 * 2^shift` with `m` in [2^30, 2^31).

    TFLite's `QuantizeMultiplier`.

    Args:
        real: Positive float.

    Returns:
        The integer multiplier `m` and the shift.
    """
    fraction, shift = math.frexp(real)
    multiplier = math.floor(fraction * 2**31 + 0.5)
    if multiplier == 2**31:
        multiplier, shift = 2**30, shift + 1
    if shift < -31:
        multiplier, shift = 0, 0
    return multiplier, shift


def wrap_int32(values: np.ndarray) -> np.ndarray:
    """Wraps integers to 32 bits, as C's conversion does.

    Args:
        values: Array of int64.

    Returns:
        Array of int64 in [-2^31, 2^31).
    """
    return values.astype(np.int32).astype(np.int64)


def doubling_high_multiply(values: np.ndarray, multiplier: int | np.ndarray) -> np.ndarray:
    """Multiplies two fractions of 2^31: `values * multiplier / 2^31`, half away from zero.

    gemmlowp's `SaturatingRoundingDoublingHighMul`.

    Args:
        values: Array of int64 in the range of int32.
        multiplier: Integer or array of int64 in the range of int32.

    Returns:
        Array of int64.
    """
    products = values * multiplier
    nudge = np.where(products >= 0, 1 << 30, 1 - (1 << 30))
    total = products + nudge
    return np.where(total >= 0, total >> 31, -(-total >> 31))


def rounding_shift(values: np.ndarray, exponent: int) -> np.ndarray:
    """Divides by a power of two, half away from zero.

    gemmlowp's `RoundingDivideByPOT`.

    Args:
        values: Array of int64.
        exponent: Integer, at least 0.

    Returns:
        Array of int64.
    """
    mask = (1 << exponent) - 1
    threshold = (mask >> 1) + (values < 0)
    return (values >> exponent) + ((values & mask) > threshold)


def multiply(values: np.ndarray, multiplier: int, shift: int) -> np.ndarray:
    """Multiplies by a factor that `quantize_multiplier` split, which rounds twice.

    TFLite's `MultiplyByQuantizedMultiplier` for int32.

    Args:
        values: Array of int64 in the range of int32.
        multiplier: Integer in [0, 2^31).
        shift: Integer, positive to the left.

    Returns:
        Array of int64.
    """
    left, right = max(shift, 0), max(-shift, 0)
    return rounding_shift(doubling_high_multiply(wrap_int32(values << left), multiplier), right)
