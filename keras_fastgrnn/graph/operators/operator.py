"""Operator: all that is known of one kind of operator, and the registry of them."""

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import numpy as np

from keras_fastgrnn.errors import UnsupportedOperatorError
from keras_fastgrnn.graph.fixed_scales import Scale
from keras_fastgrnn.graph.graph import Graph, Op, Tensor
from keras_fastgrnn.graph.operators.file_calls import OperatorCall

Kernel = Callable[[Op], Callable[..., np.ndarray]]
Ties = Callable[[Graph, Op, Collection[Tensor], bool], list[list[Tensor]]]


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
        limit: Float, the magnitude of an input beyond which the result is the same. Defaults to
            infinity.
        finest: Float, the smallest scale of an input that is of use. Defaults to 0.
        ties: Function of a float graph, an `Op` of it, the tensors whose scales are dictated, and
            a boolean, whether all that is added up shares a scale. It returns lists of tensors
            that share a scale. Defaults to none of them.
        factors: Function of the scales of the inputs and of the result, and of a NumPy type, in
            which it computes. It returns for each of these the factors that the kernel derives
            from its scale. Defaults to `None`, where all versions of TFLite Micro derive the same.
        fits: Function of an `Op` of an integer graph that returns whether what the kernel computes
            stays in its widths. Defaults to always.
        table: Function of the tensor of its input, multiples of a power of two, that returns what
            the kernel answers, by operations of Keras, where that is not the rounded result of
            `on_tensors`. Defaults to `None`.
        rounds_halves_away: Boolean, whether what is halfway between two integers goes away from
            zero, and not up. Defaults to `False`.
        rounds_twice: Boolean, whether the product of two inputs is rounded to a power of two of
            the result's unit first. Defaults to `False`.
    """

    kernel: Kernel
    in_type: bool = False
    result: Scale | None = None
    limit: float = math.inf
    finest: float = 0.0
    ties: Ties = lambda graph, op, dictated, sums_share: []
    factors: Callable[[list[float], type], list] | None = None
    fits: Callable[[Op], bool] = lambda op: True
    table: Callable | None = None
    rounds_halves_away: bool = False
    rounds_twice: bool = False


@dataclass(frozen=True)
class Operator:
    """One kind of operator.

    Attributes:
        kind: String, as in TFLite's schema.
        arithmetic: Dictionary from the type of the result, "float32", "int16" or "int8", to
            `Arithmetic`. What is never part of a `Graph`, but written around it, has none.
        can_clip: Boolean, whether it clips its own result, as its fused activation. Defaults to
            `False`.
        has_matrix: Boolean, whether its second input is a matrix of constants, and each unit of
            the result the product of a row with the first. Defaults to `False`.
        elementwise: Boolean, whether it computes each entry of the result from those of the same
            place. Defaults to `False`.
        copies: Boolean, whether its result holds the very entries of its inputs. Defaults to
            `False`.
        one_unit: Boolean, whether its kernels of integers rescale nothing, so that inputs and
            result have one unit, whatever dictates it. Defaults to `False`.
        adds: Boolean, whether its result is a sum, in the unit of its inputs. Defaults to `False`.
        mixes_types: Boolean, whether floats and small integers may be among its tensors at once.
            Defaults to `False`.
        options_table: String, the name of the table of its options in TFLite's schema, or `None`.
        options: Function of an `Op` and a boolean, whether full TFLite is to run the file too, that
            returns a dictionary from field to value of that table; a string stands for the number
            of the type of that name. The fused activation is not among them. Defaults to no fields.
        file_operands: Function of an `Op` that returns the tuples of integers which are its inputs
            in a file, after those of the graph. Defaults to none.
        verify: Function of an `OperatorCall` of any file that raises a MalformedModelError where
            its tensors do not fit what the kernel takes for granted, or `None` where that is not
            known.
        expression: Function of a `CWriter`, an int16 `Op` whose scales are powers of two, and a
            string for each input, an entry of it as an expression of C of type int16_t. It returns
            the entry of the result of the same place, such an expression that gives the integer
            that the kernel gives. Defaults to `None`, where plain C does not compute it so.
        equation: String, the result in real numbers for a comment, where "{0}" stands for the first
            input.
        leads_alike: Boolean, whether the largest entry of the result is where the largest of the
            input is, so that plain C leaves it out at the end of a model. Defaults to `False`.
        on_tensors: Function of the tensors of its inputs that returns the result before it is
            clipped, by operations of Keras, for training; a matrix has a column for each unit. It
            is `None` where nothing trains what it computes.
        limit_before: Function of an `Op` with scales or of floats, one of its inputs, and the
            magnitude of the result beyond which nothing is different. It returns the magnitude of
            the input beyond which nothing is. Defaults to `None`, infinity.
    """

    kind: str
    arithmetic: dict[str, Arithmetic] = field(default_factory=dict)
    can_clip: bool = False
    has_matrix: bool = False
    elementwise: bool = False
    copies: bool = False
    one_unit: bool = False
    adds: bool = False
    mixes_types: bool = False
    options_table: str | None = None
    options: Callable[..., dict] = lambda op, portable: {}
    file_operands: Callable[[Op], list[tuple[int, ...]]] = lambda op: []
    verify: Callable[[OperatorCall], None] | None = None
    expression: Callable[..., str] | None = None
    equation: str = ""
    leads_alike: bool = False
    limit_before: Callable[[Op, Tensor, float], float] | None = None
    on_tensors: Callable | None = None

    @property
    def has_fixed_range(self) -> bool:
        """Whether the kernels of integers dictate the scale of the result."""
        return any(arithmetic.result for arithmetic in self.arithmetic.values())

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

    def in_c(self) -> Callable[..., str]:
        """Returns the operator's `expression`.

        Raises:
            UnsupportedOperatorError: If it has none.
        """
        if self.expression is None:
            raise UnsupportedOperatorError(f"Plain C does not compute the operator {self.kind}.")
        return self.expression


_registered: dict[str, Operator] = {}


def register(operator: Operator) -> Operator:
    """Makes an operator known to everything that computes, quantizes or writes graphs.

    Args:
        operator: `Operator`.

    Returns:
        The operator.

    Raises:
        ValueError: If there is one of its kind.
    """
    if operator.kind in _registered:
        raise ValueError(f"The operator {operator.kind} is registered already.")
    _registered[operator.kind] = operator
    return operator


def operator_of(kind: str) -> Operator:
    """Returns the operator of a kind.

    Args:
        kind: String, such as "FULLY_CONNECTED".

    Raises:
        UnsupportedOperatorError: If none is registered; the message lists those that are.
    """
    if kind not in _registered:
        known = ", ".join(kinds())
        raise UnsupportedOperatorError(f"There is no operator {kind}; there are {known}.")
    return _registered[kind]


def is_for_matrices(graph: Graph, tensor: Tensor) -> bool:
    """Returns whether nothing but matrices reads a tensor.

    Args:
        graph: Graph of one time step.
        tensor: Tensor of it.
    """
    readers = graph.consumers(tensor)
    return not graph.is_kept(tensor) and all(operator_of(op.kind).has_matrix for op in readers)


def kinds() -> list[str]:
    """Returns the kinds of all registered operators."""
    return sorted(_registered)
