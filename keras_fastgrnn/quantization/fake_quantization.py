"""Rounds values in training as the device's integers do, with straight-through gradients.

A format says how the integers of activations stand for real values. Everything here is computed
by operations of Keras: in a training step on tensors, and by the exporter on the same variables,
so that both have the same scales.
"""

from dataclasses import dataclass

import numpy as np

from keras_fastgrnn.graph.fixed_scales import (
    CLIPPED_INT8_SCALES,
    HIGHEST_CALIBRATED_INT8,
    INT8_FUNCTION_SCALES,
    INT16_RESULT_EXPONENT,
    INT16_TABLE_EXPONENT,
    LOWEST_CALIBRATED_INT8,
    Scale,
)
from keras_fastgrnn.keras_api import ops

# What a range is taken to be before it was seen, when nothing is rounded by it.
_UNSEEN = 1.0

# TFLite Micro's int16 kernel multiplies by no more bits of a matrix's scale.
_SCALE_BITS = 15

# A scale found again from rounded weights may be so little above what it was, as a part of it.
_HAIR = 2.0**-20


def power_of_two_at_least(value):
    """Returns the smallest powers of two that are not below positive numbers.

    Args:
        value: float32 tensor.

    Returns:
        Tensor of its shape.
    """
    # A logarithm may be off by its last bit, powers of two are not.
    power = ops.power(2.0, ops.ceil(ops.log2(value)))
    power = ops.where(power < value, 2.0 * power, power)
    return ops.where(0.5 * power >= value, 0.5 * power, power)


def _with_bits_at_least(value, count: int):
    """The smallest numbers whose mantissas have so many bits that are not below positive ones."""
    unit = power_of_two_at_least(value) * 2.0**-count
    return ops.ceil(value / unit) * unit


def ends_of_integers(scale, zero_point, bits: int) -> tuple:
    """Returns what the smallest and the largest integer stand for.

    Args:
        scale: Number or tensor, the real value of integer 1.
        zero_point: Number or tensor, the integer that stands for 0.
        bits: Integer, 8 or 16.
    """
    low = (-(2 ** (bits - 1)) - zero_point) * scale
    high = (2 ** (bits - 1) - 1 - zero_point) * scale
    return low, high


def round_to_integers(value, scale, zero_point, bits: int):
    """Rounds a value to what integers of a scale and zero point hold.

    Args:
        value: float32 tensor.
        scale: Number or tensor; this, `zero_point` and `bits` as for `ends_of_integers`.
        zero_point: Number or tensor.
        bits: Integer.

    Returns:
        Tensor of the shape of `value`. Its gradient is that of a clip to the same ends.
    """
    return round_between(value, ends_of_integers(scale, zero_point, bits), scale)


def round_between(value, ends: tuple, scale):
    """As `round_to_integers`, with what `ends_of_integers` returns.

    Args:
        value: float32 tensor.
        ends: Tuple of two numbers or tensors.
        scale: Number or tensor.
    """
    clipped = ops.clip(value, *ends)
    return clipped + ops.stop_gradient(ops.floor(clipped / scale + 0.5) * scale - clipped)


def round_to_multiples(value, unit):
    """Rounds a value to the nearest multiple of a unit, however large.

    Args:
        value: float32 tensor.
        unit: Number or tensor.

    Returns:
        Tensor of the shape of `value`, whose gradient goes straight through.
    """
    return value + ops.stop_gradient(ops.round(value / unit) * unit - value)


@dataclass(frozen=True)
class Int16Format:
    """Activations of 16 bits: zero point 0, and a power of two for a scale."""

    bits, dtype = 16, "int16"
    scale_before_functions = Scale(2.0**INT16_TABLE_EXPONENT)

    def scale_of_function(self, name: str, ends: tuple[float, float] | None) -> Scale | None:
        """Returns the scale at which a function answers, or `None` if it has any.

        Args:
            name: String, as `activations.name_of` gives it.
            ends: The limits of a piecewise-linear function, or `None` for another one.
        """
        is_bounded = name in INT8_FUNCTION_SCALES or ends in CLIPPED_INT8_SCALES
        return Scale(2.0**INT16_RESULT_EXPONENT) if is_bounded else None

    def scale_of_range(self, seen, limit: float, finest: float = 0.0):
        """Returns scale and zero point that hold what was seen.

        Args:
            seen: Tensor of shape `(2,)`, the smallest and the largest value; zeros before any.
            limit: Float, the magnitude beyond which values make no difference.
            finest: Float, the smallest scale. Defaults to any.
        """
        magnitude = ops.maximum(-seen[0], seen[1])
        magnitude = ops.minimum(ops.where(magnitude > 0.0, magnitude, _UNSEEN), limit)
        scale = power_of_two_at_least(magnitude) * 2.0**-15
        return ops.maximum(scale, finest), ops.zeros_like(scale)


@dataclass(frozen=True)
class Int8Format:
    """Activations of 8 bits, with any scale and zero point."""

    bits, dtype = 8, "int8"
    scale_before_functions = None

    def scale_of_function(self, name: str, ends: tuple[float, float] | None) -> Scale | None:
        """As `Int16Format.scale_of_function`."""
        return INT8_FUNCTION_SCALES.get(name) or (ends and CLIPPED_INT8_SCALES.get(ends))

    def scale_of_range(self, seen, limit: float, finest: float = 0.0):
        """As `Int16Format.scale_of_range`."""
        is_seen = seen[1] > seen[0]
        low = ops.maximum(ops.where(is_seen, ops.minimum(seen[0], 0.0), -_UNSEEN), -limit)
        high = ops.minimum(ops.where(is_seen, ops.maximum(seen[1], 0.0), _UNSEEN), limit)
        scale = (high - low) / (HIGHEST_CALIBRATED_INT8 - LOWEST_CALIBRATED_INT8)
        scale = ops.maximum(scale, finest)
        return scale, ops.round(LOWEST_CALIBRATED_INT8 - low / scale)


@dataclass(frozen=True)
class TfmotInt8Format(Int8Format):
    """Activations of 8 bits as TensorFlow Model Optimization's quantizers have them.

    It spreads a range over all integers.
    """

    def scale_of_range(self, seen, limit: float, finest: float = 0.0):
        """As `Int16Format.scale_of_range`."""
        scale = (seen[1] - seen[0]) / 255.0
        return scale, ops.round(-128.0 - seen[0] / scale)


FORMATS = {"int16x8": Int16Format(), "int8": Int8Format()}


@dataclass(frozen=True)
class WeightFormat:
    """How integers stand for the values of a matrix: symmetric, one scale.

    Attributes:
        bits: Integer, 8 or 4.
        power_of_two: Boolean, whether the scale is a power of two.
    """

    bits: int = 8
    power_of_two: bool = False

    @property
    def largest(self) -> int:
        """The largest integer; the smallest is its negative."""
        return 2 ** (self.bits - 1) - 1

    def scale(self, values):
        """Returns the scale of a matrix as a tensor.

        Args:
            values: float32 tensor or array.
        """
        largest = ops.maximum(ops.max(ops.absolute(values)), np.float32(1e-30))
        return _with_bits_at_least(largest / self.largest, 1 if self.power_of_two else _SCALE_BITS)

    def scale_of_rounded(self, values):
        """Returns the scale of a matrix that `round` gave, or of a multiple of it.

        Args:
            values: float32 tensor or array.
        """
        return self.scale(values * (1.0 - _HAIR))

    def round(self, values):
        """Returns a matrix of the nearest multiples of its scale.

        Args:
            values: float32 tensor.
        """
        values = ops.convert_to_tensor(values)
        scale = ops.stop_gradient(self.scale(values))
        return round_between(values, (-self.largest * scale, self.largest * scale), scale)


def half_of_first_unit(product_scale, result_scale):
    """Returns half of the unit to which TFLite Micro rounds an int8 result first."""
    factor = product_scale / result_scale
    return 0.5 * result_scale * power_of_two_at_least(factor * (1.0 + 2.0**-20))


def round_matrix(matrix, options):
    """Rounds one matrix or factor.

    Args:
        matrix: Tensor.
        options: `Options`.

    Returns:
        Tensor of its shape. Where `options.preserve_zeros`, zeros have no gradient.
    """
    rounded = options.weight_format.round(matrix)
    if options.preserve_zeros:
        rounded = rounded * ops.cast(matrix != 0.0, rounded.dtype)
    return rounded


BYTE_BIASES = WeightFormat(power_of_two=True)
