"""Operator: all that is known of one kind of operator, and the registry of them."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from keras_fastgrnn.errors import UnsupportedOperatorError
from keras_fastgrnn.graph.graph import Op
from keras_fastgrnn.quantization.fixed_scales import Scale

Kernel = Callable[[Op], Callable[..., np.ndarray]]


@dataclass(frozen=True)
class Arithmetic:
    """An operator in one type of its result.

    Attributes:
        kernel: Function of an `Op` that returns a function of the values of its computed inputs,
            arrays of shape `(batch, units)`, in order: float64, or the integers as int64. It
            returns the values of the result, which are clipped to the operator's limits, and to
            those of the type, after it.
        in_type: Boolean, whether all that the kernel returns are values of the type, and no limits
            apply. Defaults to `False`.
        result: `Scale` that the kernel dictates for its result, or `None`. Defaults to `None`.
    """

    kernel: Kernel
    in_type: bool = False
    result: Scale | None = None


@dataclass(frozen=True)
class Operator:
    """One kind of operator.

    Attributes:
        kind: String, as in TFLite's schema.
        arithmetic: Dictionary from the type of the result, "float32", "int16" or "int8", to
            `Arithmetic`. What is never part of a `Graph`, but written around it, has none.
        can_clip: Boolean, whether it clips its own result, as its fused activation. Defaults to
            `False`.
    """

    kind: str
    arithmetic: dict[str, Arithmetic] = field(default_factory=dict)
    can_clip: bool = False

    def in_type(self, dtype: str) -> Arithmetic:
        """Returns the operator's arithmetic in one type of its result.

        Args:
            dtype: String, "float32", "int16" or "int8".

        Raises:
            UnsupportedOperatorError: If it has none.
        """
        if dtype not in self.arithmetic:
            raise UnsupportedOperatorError(f"The operator {self.kind} does not compute {dtype}.")
        return self.arithmetic[dtype]


OPERATORS: dict[str, Operator] = {}


def register(operator: Operator) -> Operator:
    """Makes an operator known to everything that computes, quantizes or writes graphs.

    Args:
        operator: `Operator`.

    Returns:
        The operator.

    Raises:
        ValueError: If there is one of its kind.
    """
    if operator.kind in OPERATORS:
        raise ValueError(f"The operator {operator.kind} is registered already.")
    OPERATORS[operator.kind] = operator
    return operator


def operator_of(kind: str) -> Operator:
    """Returns the operator of a kind.

    Args:
        kind: String, such as "FULLY_CONNECTED".

    Raises:
        UnsupportedOperatorError: If none is registered; the message lists those that are.
    """
    if kind not in OPERATORS:
        known = ", ".join(sorted(OPERATORS))
        raise UnsupportedOperatorError(f"There is no operator {kind}; there are {known}.")
    return OPERATORS[kind]
