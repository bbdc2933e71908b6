"""What the operators of every type share."""

from collections.abc import Callable

import numpy as np

from keras_fastgrnn.export.graph import Op


def binary(op: Op, operation: Callable) -> Callable:
    """Binds the constant operand, if there is one, in its place."""
    first, second = op.inputs
    if second.is_constant:
        return lambda a: operation(a, second.data)
    if first.is_constant:
        return lambda b: operation(first.data, b)
    return operation


def concatenate(op):
    return lambda *values: np.concatenate(values, axis=-1)
