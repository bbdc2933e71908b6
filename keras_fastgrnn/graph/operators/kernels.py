"""What the kernels of several operators share."""

from collections.abc import Callable

import numpy as np

from keras_fastgrnn.graph.graph import Constant, Op

# OpenBLAS, which NumPy's wheels bring, computes so many products in one thread.
_PRODUCTS_OF_ONE_THREAD = 2**18


def binary(op: Op, operation: Callable) -> Callable:
    """Binds the constant operand, if there is one, in its place."""
    first, second = op.inputs
    if isinstance(second, Constant):
        return lambda a: operation(a, second.data)
    if isinstance(first, Constant):
        return lambda b: operation(first.data, b)
    return operation


def sums_of_products(values: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Multiplies by a matrix, a block of rows at a time.

    BLAS starts threads for more products than a block has, and they spin until the next step.

    Args:
        values: Float array of shape `(batch, inputs)`.
        matrix: Float array of shape `(inputs, units)`.

    Returns:
        Float array of shape `(batch, units)`.
    """
    rows = max(1, _PRODUCTS_OF_ONE_THREAD // matrix.size)
    if len(values) <= rows:
        return values @ matrix
    sums = np.empty((len(values), matrix.shape[1]), np.result_type(values, matrix))
    for start in range(0, len(values), rows):
        block = slice(start, start + rows)
        np.matmul(values[block], matrix, out=sums[block])
    return sums
