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

FUNCTIONS = {
    "saturate": """/* The nearest integer of 16 bits. */
static inline int16_t saturate(int32_t value) {
#ifdef __AVR__
  __asm__(
      "mov __tmp_reg__, %B0\\n\\t"
      "lsl __tmp_reg__\\n\\t"
      "sbc __tmp_reg__, __tmp_reg__\\n\\t"
      "cp %C0, __tmp_reg__\\n\\t"
      "cpc %D0, __tmp_reg__\\n\\t"
      "breq 1f\\n\\t"
      "ldi %A0, 0xFF\\n\\t"
      "ldi %B0, 0x7F\\n\\t"
      "sbrc %D0, 7\\n\\t"
      "com %A0\\n\\t"
      "sbrc %D0, 7\\n\\t"
      "com %B0\\n"
      "1:\\n\\t"
      : "+d"(value)
      :
      : "cc");
  return (int16_t)value;
#else
  const int16_t low = (int16_t)value;
  return low == value ? low : value < 0 ? INT16_MIN : INT16_MAX;
#endif
}""",
    "clip": """static inline int16_t clip(int32_t value, int16_t low, int16_t high) {
  return value < low ? low : value > high ? high : (int16_t)value;
}""",
    "shift_right": """/* value / 2^bits, rounded down; |value| is below 2^28. */
static inline int32_t shift_right(int32_t value, uint8_t bits) {
#ifdef __AVR__ /* which shifts by whole bytes at no cost, and else bit by bit */
  if ((bits & 7) > 4) {
    value = (int32_t)((uint32_t)value << (8 - (bits & 7)));
    bits = (uint8_t)((bits | 7) + 1);
  }
  value >>= bits & 24;
  __asm__("" : "+r"(value)); /* keeps the two shifts apart */
  return value >> (bits & 7);
#else
  return value >> bits;
#endif
}""",
    "round_shift": """/* value / 2^bits, for bits above 0; half is rounded away from zero. */
static inline int32_t round_shift(int32_t value, uint8_t bits) {
  return shift_right(value + ((int32_t)1 << (bits - 1)) - (value < 0), bits);
}""",
    "round_shift_large": """/* The same as round_shift, where the sum has 32 bits. */
static inline int32_t round_shift_large(int32_t value, uint8_t bits) {
  return (value + ((int32_t)1 << (bits - 1)) - (value < 0)) >> bits;
}""",
    "multiply_fractions": """/* a b / 2^15, rounded to half of a unit, then half away from zero. */
#ifdef __AVR__
static inline int16_t multiply_fractions(int16_t a, int16_t b) {
  int32_t product;
  int16_t half;
  uint8_t zero;
  __asm__(
      "clr %[zero]\\n\\t"
      "muls %B[a], %B[b]\\n\\t"
      "movw %C[product], r0\\n\\t"
      "mul %A[a], %A[b]\\n\\t"
      "movw %A[product], r0\\n\\t"
      "mulsu %B[a], %A[b]\\n\\t"
      "sbc %D[product], %[zero]\\n\\t"
      "add %B[product], r0\\n\\t"
      "adc %C[product], r1\\n\\t"
      "adc %D[product], %[zero]\\n\\t"
      "mulsu %B[b], %A[a]\\n\\t"
      "sbc %D[product], %[zero]\\n\\t"
      "add %B[product], r0\\n\\t"
      "adc %C[product], r1\\n\\t"
      "adc %D[product], %[zero]\\n\\t"
      "clr __zero_reg__\\n\\t"
      "ldi %A[half], 0x01\\n\\t"
      "ldi %B[half], 0x40\\n\\t"
      "sbrc %D[product], 7\\n\\t"
      "ldi %A[half], 0xFF\\n\\t"
      "sbrc %D[product], 7\\n\\t"
      "ldi %B[half], 0x3F\\n\\t"
      "add %A[product], %A[half]\\n\\t"
      "adc %B[product], %B[half]\\n\\t"
      "adc %C[product], %[zero]\\n\\t"
      "adc %D[product], %[zero]\\n\\t"
      "lsl %B[product]\\n\\t"
      "rol %C[product]\\n\\t"
      "rol %D[product]\\n\\t"
      : [product] "=&r"(product), [half] "=&d"(half), [zero] "=&r"(zero)
      : [a] "a"(a), [b] "a"(b)
      : "cc");
  return (int16_t)(product >> 16);
}
#else
static inline int16_t multiply_fractions(int16_t a, int16_t b) {
  const int32_t product = (int32_t)a * b;
  return (int16_t)((product + (product < 0 ? 16383 : 16385)) >> 15);
}
#endif""",
    "clip_wide": """static inline int16_t clip_wide(int64_t value, int16_t low, int16_t high) {
  return value < low ? low : value > high ? high : (int16_t)value;
}""",
    "logistic": """/* 2^15 / (1 + exp(-x)), where 3 * 2^12 stands for an x of 1. */
static int16_t logistic(int32_t x) {
  const uint32_t magnitude = (uint32_t)(x < 0 ? -x : x);
  uint16_t result = 32767;
  if (magnitude < (uint32_t)255 << 9) {
    const uint16_t index = (uint16_t)((uint16_t)(magnitude >> 8) >> 1);
    const uint16_t low = FLASH_U16(&sigmoid_table[index]);
    const uint16_t slope = (uint16_t)(FLASH_U16(&sigmoid_table[index + 1]) - low);
    const uint32_t part = (uint32_t)((uint16_t)magnitude & 511) * slope + 512;
    result = (uint16_t)((uint16_t)(low + ((uint16_t)(part >> 8) >> 1)) >> 1);
  }
  return (int16_t)(x < 0 ? 32768 - result : result);
}""",
    "hyperbolic_tangent": """/* 2^15 tanh(x), where 3 * 2^12 stands for an x of 1. */
static int16_t hyperbolic_tangent(int32_t x) {
  const uint32_t magnitude = (uint32_t)(x < 0 ? -x : x);
  uint16_t result = 32767;
  if (magnitude < (uint32_t)255 << 8) {
    const uint8_t index = (uint8_t)(magnitude >> 8);
    const uint16_t low = FLASH_U16(&sigmoid_table[index]);
    const uint16_t slope = (uint16_t)(FLASH_U16(&sigmoid_table[index + 1]) - low);
    const uint32_t part = (uint32_t)(uint8_t)magnitude * slope + 128;
    result = (uint16_t)(low - 32768U + (uint16_t)(part >> 8));
  }
  return (int16_t)(x < 0 ? -(int16_t)result : (int16_t)result);
}""",
}


class Expressions:
    """Writes operators as C, and remembers which functions of C that takes.

    Attributes:
        functions: Set of keys of `FUNCTIONS`.
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
        self.functions |= {name, "shift_right"} if is_small else {name}
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
