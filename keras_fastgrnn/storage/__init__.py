"""The ways to store a matrix and its zeros: what each writes, byte for byte, and what it costs.

A storage takes the weights that it stores, of 4 or 8 bits each and packed, and what tells their
places. Its bytes are the length of these two arrays, which the generated C has. Not among them is
what a program holds once as constants: shapes, scales and where the first row begins.

A storage is a module here, in `STORAGES`, and a row of C that has its name in
`keras_fastgrnn.export.plain_c`: `add_NAME_4_bits.h`.
"""

import numpy as np

from keras_fastgrnn.storage.bitmap import BITMAP
from keras_fastgrnn.storage.blocks import BLOCKS
from keras_fastgrnn.storage.dense import DENSE
from keras_fastgrnn.storage.index import INDEX
from keras_fastgrnn.storage.stored_matrix import Cost, Storage, StoredMatrix, packed_bytes

__all__ = [
    "STORAGES",
    "Cost",
    "Storage",
    "StoredMatrix",
    "most_bytes",
    "packed_bytes",
    "paper_bytes",
    "pattern",
    "smallest",
]

# The simplest first: it is taken where several are smallest.
STORAGES = (DENSE, BITMAP, INDEX, BLOCKS)


def smallest(matrix: np.ndarray, bits: int = 8) -> StoredMatrix:
    """Returns a matrix in the storage that takes fewest bytes, the simplest of equals.

    Args:
        matrix: Array of integers of shape `(rows, columns)`.
        bits: Integer, 8 or 4, of a weight. Defaults to 8.
    """
    return min((storage.store(matrix, bits) for storage in STORAGES), key=lambda one: one.bytes)


def most_bytes(rows: int, columns: int, kept: int, bits: int = 8) -> int:
    """Returns the bytes at most that a matrix takes in its smallest storage.

    Args:
        rows, columns: Integers.
        kept: Integer, how many of its weights are not zero, wherever they lie.
        bits: Integer, 8 or 4, of a weight. Defaults to 8.
    """
    return min(one.store(one.largest(rows, columns, kept), bits).bytes for one in STORAGES)


def pattern(weight: np.ndarray) -> np.ndarray:
    """Returns ones where a weight of Keras has no zeros, in rows as a storage takes them.

    Args:
        weight: Array of shape `(..., units)`.

    Returns:
        int8 array of shape `(units, inputs)`.
    """
    return (np.reshape(weight, (-1, np.shape(weight)[-1])) != 0).T.astype(np.int8)


def paper_bytes(matrix: np.ndarray, weight_bits: int = 8) -> int:
    """Returns the bytes as Kusupati et al. 2018 count them.

    Where fewer than half of the weights are kept, those with a byte of index each, else all.

    Args:
        matrix: Array.
        weight_bits: Integer, bits of one weight. Defaults to 8.

    Returns:
        Integer.
    """
    kept = int(np.count_nonzero(matrix))
    if 2 * kept < np.size(matrix):
        return kept + packed_bytes(kept, weight_bits)
    return packed_bytes(np.size(matrix), weight_bits)
