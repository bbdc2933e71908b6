"""What the C expression of an operator is written with."""

import math
from typing import Protocol

from keras_fastgrnn.graph.graph import Op, Tensor


class CWriter(Protocol):
    """Knows the functions that generated C has, and between which integers every value lies.

    A value is a string, an expression of C, and its ends are a pair of its smallest and its
    largest integer.
    """

    def call(self, name: str, *arguments: str) -> str:
        """Returns a call of a function of the generated C, and remembers that it is needed."""
        ...

    def ends_of(self, tensor: Tensor) -> tuple[int, int]:
        """Returns the ends of a constant, or of a computed tensor that the step has computed."""
        ...

    def set_ends(self, tensor: Tensor, low: int, high: int) -> None:
        """Sets the ends of a result that needs no clip; `clipped` sets them by itself."""
        ...

    def in_units(self, value: str, ends, exponent: int) -> tuple[str, list[int]]:
        """Returns a value and its ends in units smaller by a power of two.

        Where the exponent is negative they are larger, and half is rounded away from zero.
        """
        ...

    def in_32_bits(self, numbers: list[int]) -> list[int]:
        """Returns integers that C is to compute; raises InexactExportError if one has more bits."""
        ...

    def clipped(self, op: Op, value: str, ends) -> str:
        """Returns a value of 32 bits clipped to an operator's limits, an expression of int16_t."""
        ...


def exponent_of(tensor: Tensor) -> int:
    """Returns the base-2 logarithm of a tensor's scale, which is a power of two in plain C."""
    return round(math.log2(tensor.unit))
