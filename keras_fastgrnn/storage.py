"""How many bytes the weights of a matrix take, under each way to store its zeros.

A storage takes the values of the weights that it stores, of `weight_bits` each and packed, and
what tells their places. Not counted is what a program holds once as constants: shapes, scales and
how many weights there are.
"""

import numpy as np

_INDEX_END = 256


def packed_bytes(values: int, bits: int) -> int:
    """Returns the bytes of numbers of a few bits each, one after the other.

    Args:
        values: Integer, how many numbers.
        bits: Integer, bits of one.

    Returns:
        Integer.
    """
    return -(-values * bits // 8)


def kept_weights(matrix) -> int:
    """Returns how many weights of an array are not zero."""
    return int(np.count_nonzero(matrix))


def dense_bytes(matrix, weight_bits: int = 8) -> int:
    """Returns the bytes of all weights, zeros too.

    Args:
        matrix: Array.
        weight_bits: Integer, bits of one weight. Defaults to 8.

    Returns:
        Integer.
    """
    return packed_bytes(np.size(matrix), weight_bits)


def bitmap_bytes(matrix, weight_bits: int = 8) -> int:
    """Returns the bytes of a bit for every weight, which says whether it is kept, and those kept.

    Args:
        matrix: Array.
        weight_bits: Integer, bits of one weight. Defaults to 8.

    Returns:
        Integer.
    """
    return packed_bytes(np.size(matrix), 1) + packed_bytes(kept_weights(matrix), weight_bits)


def index_bytes(matrix, weight_bits: int = 8) -> int:
    """Returns the bytes of the weights kept and of a byte before each, `index_gaps`.

    Args:
        matrix: Array.
        weight_bits: Integer, bits of one weight. Defaults to 8.

    Returns:
        Integer.
    """
    entries = len(index_gaps(matrix))
    return entries + packed_bytes(entries, weight_bits)


def index_gaps(matrix) -> np.ndarray:
    """Returns how many zeros lie before each stored weight, in one byte each.

    The matrix is read column after column, as a dot product with each column reads it, and the
    zeros are counted on from column to column. Before more than 255 zeros a zero is stored as a
    weight, with 255 zeros before it, as often as it takes. Zeros at the end need no entry.

    Args:
        matrix: Array.

    Returns:
        Array of uint8, as long as the weights stored.

    Example:

    >>> import numpy as np
    >>> from keras_fastgrnn import storage
    >>> storage.index_gaps(np.array([[5, 0], [0, 0], [0, 7]])).tolist()
    [0, 4]
    """
    positions = np.flatnonzero(np.transpose(matrix))
    zeros = np.diff(positions, prepend=-1) - 1
    gaps = []
    for count in zeros:
        fillers, gap = divmod(int(count), _INDEX_END)
        gaps += [*[_INDEX_END - 1] * fillers, gap]
    return np.array(gaps, np.uint8)


def paper_bytes(matrix, weight_bits: int = 8) -> int:
    """Returns the bytes as Kusupati et al. 2018 count them.

    Where fewer than half of the weights are kept, those with a byte of index each, else all.

    Args:
        matrix: Array.
        weight_bits: Integer, bits of one weight. Defaults to 8.

    Returns:
        Integer.
    """
    kept = kept_weights(matrix)
    if 2 * kept < np.size(matrix):
        return kept + packed_bytes(kept, weight_bits)
    return dense_bytes(matrix, weight_bits)


STORAGES = {"dense": dense_bytes, "bitmap": bitmap_bytes, "index": index_bytes}
