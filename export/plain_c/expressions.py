"""What the int16 operators are written with as expressions of C, and the functions that they call.

Every scale but those of matrices and of what only matrices read is a power of two, so that
rescaling is a shift. Each expression computes what the operator's kernel computes, and leaves out a
clip where no operands can reach it.
"""

import numpy as np

from keras_fastgrnn.errors import InexactExportError
from keras_fastgrnn.export.plain_c.schedule import sources
from keras_fastgrnn.graph.fixed_point import quantize_multiplier, rounding_shift
from keras_fastgrnn.graph.graph import Constant, Op, Tensor
from keras_fastgrnn.graph.operators import operator_of
from keras_fastgrnn.graph.real_values import clip_limits
from keras_fastgrnn.graph.tables import INT16_MAX, INT16_MIN

# TFLite Micro's 16 bits of the multiplier of a power of two.
_HALF = 2**14

# What `shift_right` may be given.
_LARGEST_SHIFTED = 2**28

# The files of `runtime` that expressions call and what these call, in the order of the C.
FUNCTIONS = (
    "saturate",
    "clip",
    "shift_right",
    "round_shift",
    "round_shift_large",
    "multiply_fractions",
    "clip_wide",
    "logistic",
    "hyperbolic_tangent",
)


class Expressions:
    """Writes operators as C, and remembers which functions of C that takes.

    Attributes:
        functions: Set of strings of `FUNCTIONS`, those that the expressions call.
    """

    def __init__(self):
        self.functions: set[str] = set()
        self._ends: dict[Tensor, tuple[int, int]] = {}

    def elementwise(self, op: Op, operands: list[str]) -> str:
        """Returns one entry of an operator's result as an expression of type int16_t.

        Args:
            op: Operator that has an `expression`, after all that it reads.
            operands: List of strings, an entry of each input as an expression of type int16_t.
        """
        return operator_of(op.kind).in_c()(self, op, *operands)

    def rescaled(self, op: Op, total: str, is_wide: bool) -> str:
        """Returns an entry of FULLY_CONNECTED as an expression of type int16_t.

        Args:
            op: FULLY_CONNECTED operator.
            total: String, the name of the sum of its products, bias and `rounding`.
            is_wide: Boolean, whether that is of type int64_t.
        """
        multiplier, shift = reduced_multiplier(op)
        limits = [_rescaled(end, multiplier, shift) for end in bounds_of_sum(op)]
        if not is_wide:
            self.in_32_bits(limits)
        if multiplier == 1 and shift > 0:
            is_small = max(map(abs, bounds_of_sum(op))) + rounding(op) < _LARGEST_SHIFTED
            self.functions |= {"shift_right"} if is_small else set()
            value = f"shift_right({total}, {shift})" if is_small else f"{total} >> {shift}"
        elif multiplier == 1:
            value = f"{total} * {1 << -shift}" if shift < 0 else total
        else:
            is_wide = True
            value = f"((int64_t){total} * {multiplier} + ((int64_t)1 << {shift - 1})) >> {shift}"
        return self.clipped(op, value, limits, is_wide)

    def call(self, name: str, *arguments: str) -> str:
        """Returns a call of a function of `FUNCTIONS`, see `CWriter`."""
        self.functions.add(name)
        return f"{name}({', '.join(arguments)})"

    def in_units(self, value: str, ends, exponent: int) -> tuple[str, list[int]]:
        """Returns a value in units smaller by a power of two; larger, where that is negative.

        Every constant, intermediate and result is a number of 32 bits.
        """
        if exponent < 0:
            return self._shifted(value, ends, -exponent)
        factor = 2**exponent
        ends = self.in_32_bits([end * factor for end in ends])
        return (f"{value} * {factor}" if exponent else value), ends

    def _shifted(self, value: str, ends, bits: int) -> tuple[str, list[int]]:
        """A rounding shift to the right by any number of bits.

        C knows shifts by fewer bits than the type has alone. A shift by one bit more than the
        largest magnitude has gives 0, and so does every longer one, in TFLite Micro too.
        """
        largest = max(map(abs, ends))
        bits = min(bits, largest.bit_length() + 1)
        half = 1 << (bits - 1)
        self.in_32_bits([largest + half])
        is_small = largest + half < _LARGEST_SHIFTED
        name = "round_shift" if is_small else "round_shift_large"
        self.functions.add(name)
        return f"{name}({value}, {bits})", [rounding_shift(end, bits) for end in ends]

    def in_32_bits(self, numbers: list[int]) -> list[int]:
        """Returns the numbers, which the scales that are let pass keep so small."""
        if not all(-(2**31) <= number < 2**31 for number in numbers):
            raise InexactExportError(
                f"A number of the generated C leaves 32 bits: {numbers}. This is a mistake in "
                "keras_fastgrnn.export: please report it with the model."
            )
        return numbers

    def ends_of(self, tensor: Tensor) -> tuple[int, int]:
        """Returns between which integers a tensor's entries lie, see `CWriter`."""
        if isinstance(tensor, Constant):
            return int(tensor.data.min()), int(tensor.data.max())
        return self._ends.get(tensor, (INT16_MIN, INT16_MAX))

    def set_ends(self, tensor: Tensor, low: int, high: int) -> None:
        """Sets between which integers a result's entries lie, see `CWriter`."""
        self._ends[tensor] = low, high

    def clipped(self, op: Op, value: str, ends, is_wide: bool = False) -> str:
        """Returns a value clipped to an operator's limits, where any operand can reach them.

        Args:
            op: Operator.
            value: String, an expression of C.
            ends: The smallest and the largest integer that it may be.
            is_wide: Boolean, whether it is of type int64_t. Defaults to `False`.
        """
        low, high = clip_limits(op)
        self._ends[op.output] = max(low, min(ends)), min(high, max(ends))
        if low <= min(ends) and max(ends) <= high:
            return f"(int16_t)({value})"
        if (low, high) == (INT16_MIN, INT16_MAX) and not is_wide:
            self.functions.add("saturate")
            return f"saturate({value})"
        name = "clip_wide" if is_wide else "clip"
        self.functions.add(name)
        low_text = "INT16_MIN" if low == INT16_MIN else str(low)
        high_text = "INT16_MAX" if high == INT16_MAX else str(high)
        return f"{name}({value}, {low_text}, {high_text})"


def bounds_of_sum(op: Op) -> tuple[int, int]:
    """Returns between which integers the sum of a FULLY_CONNECTED's products and bias lies.

    Args:
        op: FULLY_CONNECTED operator with int16 inputs.
    """
    largest = np.abs(op.weights.data.astype(np.int64)).sum(axis=1) * -INT16_MIN
    offset = 0 if op.bias is None else op.bias.data
    return int((offset - largest).min()), int((offset + largest).max())


def needs_64_bits(op: Op) -> bool:
    """Returns whether a FULLY_CONNECTED's sum, with `rounding`, may leave 32 bits.

    Args:
        op: FULLY_CONNECTED operator with int16 inputs.
    """
    low, high = bounds_of_sum(op)
    return max(-low, high) + rounding(op) >= 2**31


def rounding(op: Op) -> int:
    """Returns what a FULLY_CONNECTED's sum begins with, besides the bias, to be shifted."""
    multiplier, shift = reduced_multiplier(op)
    return 1 << (shift - 1) if multiplier == 1 and shift > 0 else 0


def reduced_multiplier(op: Op) -> tuple[int, int]:
    """Returns the factor of a FULLY_CONNECTED's sum: an integer over 2 to some power.

    Args:
        op: FULLY_CONNECTED operator with int16 inputs.

    Returns:
        Multiplier and shift, the multiplier 1 where the factor is a power of two.
    """
    *_, x = sources(op)  # several are counted as the last of them
    weights = op.weights
    product = float(np.float32(x.unit) * np.float32(weights.unit))
    multiplier, shift = quantize_multiplier(product / op.output.unit)
    reduced = (multiplier + 2**15) >> 16 if multiplier < 0x7FFF0000 else 0x7FFF
    return (1, 1 - shift) if reduced == _HALF else (reduced, 15 - shift)


def _rescaled(total: int, multiplier: int, shift: int) -> int:
    if shift <= 0:
        return total * multiplier << -shift
    return (total * multiplier + (1 << (shift - 1))) >> shift
