"""Arrays whose values are found again from a layer's weights whenever these have changed.

NumPy's functions take a `WeightExpression` for an array and give another one. So a cell that is
traced on such arrays, and every rewrite of its graph, need not know of training: what they compute
once on the weights, `value` repeats on the weights of a training step, with their gradient.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from keras_fastgrnn.keras_api import ops


class WeightExpression(np.lib.mixins.NDArrayOperatorsMixin):
    """An array that is computed from weights.

    Attributes:
        shape: Tuple of integers.

    Args:
        function: Function from the tensors of the operands to a tensor.
        operands: Tuple of expressions, arrays and numbers.
        shape: Tuple of integers.
    """

    def __init__(self, function: Callable, operands: tuple, shape: tuple[int, ...]):
        self._function = function
        self._operands = operands
        self.shape = tuple(shape)

    @classmethod
    def of(cls, read: Callable, shape: tuple[int, ...]) -> "WeightExpression":
        """Returns the expression that is read from the weights themselves.

        Args:
            read: Function without arguments that returns a tensor or variable.
            shape: Tuple of integers.
        """
        return cls(lambda: ops.convert_to_tensor(read()), (), shape)

    def value(self, known: dict | None = None):
        """Returns the tensor of this moment.

        Args:
            known: Dictionary in which values are kept from one expression to the next, by
                expression. Defaults to none.
        """
        known = {} if known is None else known
        if self not in known:
            values = [value_of(operand, known) for operand in self._operands]
            known[self] = self._function(*values)
        return known[self]

    # An expression is itself, and equal to no other one.
    def __hash__(self) -> int:
        return object.__hash__(self)

    def __eq__(self, other):
        return self is other

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=int))

    @property
    def T(self: Any) -> Any:  # noqa: N802  (NumPy's name)
        return np.transpose(self)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index) -> "WeightExpression":
        shape = np.empty(self.shape)[index].shape
        return WeightExpression(lambda x: x[index], (self,), shape)

    def __iter__(self):
        return (self[index] for index in range(len(self)))

    def item(self: Any) -> Any:
        return np.reshape(self, ())

    def ravel(self: Any) -> Any:
        return np.reshape(self, (self.size,))

    def reshape(self: Any, *shape) -> Any:
        return np.reshape(self, shape[0] if len(shape) == 1 else shape)

    def sum(self: Any, axis=None) -> Any:
        return np.sum(self, axis=axis)

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        if method != "__call__" or options or ufunc not in _FUNCTIONS:
            return NotImplemented
        function = _FUNCTIONS[ufunc]
        return WeightExpression(function, inputs, _shape(ufunc, inputs))

    def __array_function__(self, function, types, arguments, options):
        if function in _OF_SHAPES:
            return _OF_SHAPES[function](*arguments, **options)
        if function not in _FUNCTIONS:
            return NotImplemented
        first, *others = arguments
        listed = isinstance(first, list | tuple)
        operands = tuple(first) if listed else (first,)

        def computed(*tensors):
            return _FUNCTIONS[function](list(tensors) if listed else tensors[0], *others, **options)

        dummies = [_dummy(operand) for operand in operands]
        shape = function(dummies if listed else dummies[0], *others, **options).shape
        return WeightExpression(computed, operands, shape)


def value_of(operand, known: dict | None = None):
    """Returns what an array or expression is at this moment, as a float32 tensor.

    Args:
        operand: `WeightExpression`, array or number.
        known: As for `WeightExpression.value`. Defaults to none.
    """
    if isinstance(operand, WeightExpression):
        return operand.value(known)
    return ops.convert_to_tensor(np.asarray(operand, np.float32))


def is_always(operand, number: float) -> bool:
    """Returns whether all elements of an array are a number, and no training will change that.

    Args:
        operand: `WeightExpression`, array or number.
        number: Float.
    """
    return not isinstance(operand, WeightExpression) and bool(np.all(np.asarray(operand) == number))


def _dummy(operand):
    return np.ones(operand.shape) if isinstance(operand, WeightExpression) else operand


def _shape(function, operands) -> tuple[int, ...]:
    return np.shape(function(*map(_dummy, operands)))


_FUNCTIONS = {
    np.add: ops.add,
    np.subtract: ops.subtract,
    np.multiply: ops.multiply,
    np.true_divide: ops.divide,
    np.negative: ops.negative,
    np.sqrt: ops.sqrt,
    np.maximum: ops.maximum,
    np.matmul: ops.matmul,
    np.transpose: ops.transpose,
    np.reshape: ops.reshape,
    np.ravel: lambda x: ops.reshape(x, (-1,)),
    np.broadcast_to: ops.broadcast_to,
    np.concatenate: ops.concatenate,
    np.sum: ops.sum,
}
_OF_SHAPES = {np.shape: lambda x: x.shape, np.size: lambda x: x.size, np.ndim: lambda x: x.ndim}
