"""Blocks of neighbors in a row that are not all zero, whole, and a bit for every block."""

import numpy as np

from keras_fastgrnn.storage.stored_matrix import Cost, Storage

# Columns of a block; the last block of a row has those that are left.
_COLUMNS = 4


def _encode(matrix):
    """A bit for every block, row after row, the first of 8 in the lowest bit of a byte."""
    columns = matrix.shape[1]
    is_kept = np.logical_or.reduceat(matrix != 0, np.arange(0, columns, _COLUMNS), axis=1)
    weights = matrix[np.repeat(is_kept, _COLUMNS, axis=1)[:, :columns]]
    return weights, np.packbits(is_kept, bitorder="little"), 1


def _apart(rows, columns, kept):
    """As many blocks as can be, the long ones first, before any has a second weight."""
    column = np.arange(columns)
    is_second, is_short = column % _COLUMNS > 0, column >= columns - columns % _COLUMNS
    order = np.tile(np.where(is_second, 2, is_short), rows)
    ones = np.zeros(rows * columns, np.int8)
    ones[np.argsort(order, kind="stable")[:kept]] = 1
    return ones.reshape(rows, columns)


BLOCKS = Storage(
    "blocks",
    _encode,
    (
        Cost("a row of blocks", 7, lambda r, c, kept: r),
        Cost("a block", 11, lambda r, c, kept: r * -(-c // _COLUMNS)),
        Cost("a weight that blocks keep", 3.2, lambda r, c, kept: kept),
    ),
    _apart,
)
