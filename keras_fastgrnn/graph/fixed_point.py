"""Fixed-point arithmetic of TFLite Micro's reference kernels, on arrays of int64.

The functions are those of TFLite's `kernels/internal/common.h` and of gemmlowp's `fixedpoint.h`,
rounding by rounding.
"""

import functools
import math
from typing import overload

import numpy as np

_ONE = 2**31 - 1  # the largest fraction of 2^31


@functools.lru_cache(maxsize=2**15)  # the same factors are split again and again
def quantize_multiplier(real: float) -> tuple[int, int]:
    """Splits a positive factor into `m / 2^31 * 2^shift` with `m` in [2^30, 2^31).

    TFLite's `QuantizeMultiplier`.

    Args:
        real: Positive float.

    Returns:
        The integer multiplier `m` and the shift.
    """
    multiplier, shift = quantize_multipliers(np.array(real))
    return int(multiplier), int(shift)


def quantize_multipliers(reals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Splits many factors at once, as `quantize_multiplier` does one.

    Args:
        reals: Array of positive float64.

    Returns:
        The integer multipliers, and the shifts, arrays of int64.
    """
    fraction, shift = np.frexp(reals)
    multiplier = np.floor(fraction * 2.0**31 + 0.5).astype(np.int64)
    is_one = multiplier == 2**31
    multiplier, shift = np.where(is_one, 2**30, multiplier), shift + is_one
    is_nothing = shift < -31
    return np.where(is_nothing, 0, multiplier), np.where(is_nothing, 0, shift).astype(np.int64)


def wrap_int32(values: np.ndarray) -> np.ndarray:
    """Wraps integers to 32 bits, as C's conversion does.

    Args:
        values: Array of int64.

    Returns:
        Array of int64 in [-2^31, 2^31).
    """
    wrapped = values << 32
    wrapped >>= 32
    return wrapped


def doubling_high_multiply(values: np.ndarray, multiplier: int | np.ndarray) -> np.ndarray:
    """Multiplies two fractions of 2^31: `values * multiplier / 2^31`, half toward plus infinity.

    gemmlowp's `SaturatingRoundingDoublingHighMul`.

    Args:
        values: Array of int64 in the range of int32.
        multiplier: Integer or array of int64 in the range of int32.

    Returns:
        Array of int64.
    """
    product = values * multiplier
    product += 1 << 30
    product >>= 31
    return product


@overload
def rounding_shift(values: int, exponent: int) -> int: ...


@overload
def rounding_shift(values: np.ndarray, exponent: int | np.ndarray) -> np.ndarray: ...


def rounding_shift(values, exponent):
    """Divides by a power of two, half away from zero.

    gemmlowp's `RoundingDivideByPOT`.

    Args:
        values: Array of int64.
        exponent: Integer or array of integers, at least 0.

    Returns:
        Array of int64.
    """
    half = (1 << exponent) >> 1
    rounded = values + half
    rounded -= (values < 0) & (half > 0)
    rounded >>= exponent
    return rounded


def multiply(
    values: np.ndarray, multiplier: int | np.ndarray, shift: int | np.ndarray
) -> np.ndarray:
    """Multiplies by a factor that `quantize_multiplier` split, which rounds twice.

    TFLite's `MultiplyByQuantizedMultiplier` for int32.

    Args:
        values: Array of int64 in the range of int32.
        multiplier: Integer in [0, 2^31), or an array of one for each entry of the last axis.
        shift: Integer, positive to the left, or such an array.

    Returns:
        Array of int64.
    """
    left = shift * (shift > 0)
    return rounding_shift(
        doubling_high_multiply(wrap_int32(values << left), multiplier), left - shift
    )


def logistic_table_int8(input_scale: float, input_zero_point: int) -> np.ndarray:
    """Computes what an int8 LOGISTIC answers to each of its 256 inputs.

    The output has the scale 1/256 and the zero point -128.

    Args:
        input_scale: Float, what one step of the input stands for; a float32 number, as a file
            stores it.
        input_zero_point: Integer in [-128, 127], the input that stands for 0.

    Returns:
        Array of int64 in [-128, 127], shape `(256,)`; the output of input `x` is entry `x + 128`.

    Example:

    >>> table = logistic_table_int8(2.0**-5, 0)
    >>> table[np.array([-128, 0, 127]) + 128] / 256 + 0.5
    array([0.01953125, 0.5       , 0.98046875])
    """
    return _table_int8(
        input_scale, input_zero_point, lambda x: rounding_shift(_logistic(x), 23) - 128
    )


def tanh_table_int8(input_scale: float, input_zero_point: int) -> np.ndarray:
    """Computes what an int8 TANH answers to each of its 256 inputs.

    The output has the scale 1/128 and the zero point 0.

    Args:
        input_scale: Float, what one step of the input stands for; a float32 number, as a file
            stores it.
        input_zero_point: Integer in [-128, 127], the input that stands for 0.

    Returns:
        Array of int64 in [-128, 127], shape `(256,)`; the output of input `x` is entry `x + 128`.

    Example:

    >>> table = tanh_table_int8(2.0**-5, 0)
    >>> table[np.array([-32, 0, 32]) + 128] / 128
    array([-0.7578125,  0.       ,  0.7578125])
    """
    return _table_int8(input_scale, input_zero_point, lambda x: rounding_shift(_tanh(x), 24))


def softmax_int8(values: np.ndarray, input_scale: float) -> np.ndarray:
    """Computes an int8 SOFTMAX over the last axis.

    The output has the scale 1/256 and the zero point -128. The input's zero point has no effect.

    Args:
        values: Array of integers in [-128, 127].
        input_scale: Float, a float32 number as a file stores it, above 2^-26.

    Returns:
        Array of int64 in [-128, 127] of the same shape.

    Example:

    >>> softmax_int8(np.array([[0, 0, 32, -128]]), 2.0**-5) / 256 + 0.5
    array([[0.2109375 , 0.2109375 , 0.57421875, 0.00390625]])
    """
    values = np.asarray(values, np.int64)
    difference = values - values.max(axis=-1, keepdims=True)
    factor, radius = _input_factor(input_scale, 5)
    exponentials = np.where(difference < -radius, 0, _exp(multiply(difference, *factor), 5))
    total = rounding_shift(exponentials, 12).sum(axis=-1, keepdims=True)
    leading_zeros = 32 - np.frexp(total.astype(np.float64))[1].astype(np.int64)
    reciprocal = _reciprocal_of_one_plus((total << leading_zeros) - (1 << 31))
    products = doubling_high_multiply(exponentials, reciprocal)
    return np.minimum(rounding_shift(products, 35 - leading_zeros) - 128, 127)


def _table_int8(input_scale, input_zero_point, function):
    """Beyond the radius, where the fixed-point input would overflow, the output saturates."""
    values = np.arange(-128, 128) - input_zero_point
    factor, radius = _input_factor(input_scale, 4)
    computed = np.clip(function(multiply(values, *factor)), -128, 127)
    return np.where(values <= -radius, -128, np.where(values >= radius, 127, computed))


def _input_factor(scale, integer_bits):
    """The factor from integers to a fixed-point number, and how large an integer may be."""
    multiplier, shift = quantize_multiplier(min(scale * _constant(1.0, integer_bits), _ONE))
    largest = 2**31 - _constant(1.0, integer_bits)
    return (multiplier, shift), largest >> shift


def _constant(real, integer_bits=0):
    """A real number as a fixed-point number of 32 bits, so many of them before the point."""
    return math.floor(real * 2.0 ** (31 - integer_bits) + 0.5)


def _exp(x, integer_bits):
    """exp(x) of x <= 0, of so many integer bits, as a fraction of 2^31.

    A polynomial on [-1/4, 0), then a factor for each bit of what is left.
    """
    quarter = _constant(0.25, integer_bits)
    reduced = (x & (quarter - 1)) - quarter
    remainder = reduced - x
    result = _exp_above_minus_quarter(reduced << integer_bits)
    for exponent in range(-2, integer_bits):
        power = 2.0**exponent
        is_set = remainder & _constant(power, integer_bits) != 0
        factor = _constant(math.exp(-power))
        result = np.where(is_set, doubling_high_multiply(result, factor), result)
    return np.where(x == 0, _ONE, result)


def _exp_above_minus_quarter(x):
    """Taylor's series of the fourth order around -1/8."""
    x = x + _constant(0.125)
    x2 = doubling_high_multiply(x, x)
    x3 = doubling_high_multiply(x2, x)
    x4 = doubling_high_multiply(x2, x2)
    higher = doubling_high_multiply(rounding_shift(x4, 2) + x3, _constant(1.0 / 3.0))
    center = _constant(math.exp(-0.125))
    return center + doubling_high_multiply(x + rounding_shift(higher + x2, 1), center)


def _inverse_of_mean_with_one(x):
    """2 / (1 + x) of x in [0, 1], with two integer bits: three Newton-Raphson steps."""
    mean = (x + _ONE + 1) >> 1
    start = _constant(48.0 / 17.0, 2)
    inverse = start + doubling_high_multiply(mean, _constant(-32.0 / 17.0, 2))
    for _ in range(3):
        error = _constant(1.0, 2) - doubling_high_multiply(mean, inverse)
        inverse = inverse + (doubling_high_multiply(inverse, error) << 2)
    return inverse


def _reciprocal_of_one_plus(x):
    """1 / (1 + x) of x in [0, 1]."""
    return np.minimum(_inverse_of_mean_with_one(x) << 1, _ONE)


def _logistic(x):
    """Of x with four integer bits."""
    positive = _reciprocal_of_one_plus(_exp(-np.abs(x), 4))
    return np.where(x == 0, 1 << 30, np.where(x > 0, positive, _ONE - positive))


def _tanh(x):
    """Of x with four integer bits: (1 - exp(-2x)) / (1 + exp(-2x))."""
    inverse = _inverse_of_mean_with_one(_exp(-np.abs(x), 5))
    return np.sign(x) * np.minimum((inverse - _constant(1.0, 2)) << 2, _ONE)
