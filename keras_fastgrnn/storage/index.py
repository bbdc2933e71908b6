"""The weights that are not zero, and a byte for each with its distance from the one before."""

import numpy as np

from keras_fastgrnn.storage.stored_matrix import Cost, Storage

_END = 256


def _encode(matrix):
    """How many zeros lie before each stored weight, in one byte each but for the first.

    They are counted on from row to row. Before more than 255 zeros a zero is stored as a weight,
    with 255 zeros before it, as often as it takes. The place after the last weight of the matrix
    is told too: there the last row ends.
    """
    if not matrix.any():
        return matrix[matrix != 0], np.zeros(0, np.uint8), 0
    ended = np.append(matrix.ravel(), np.int8(1))
    gaps: list[int] = []
    for zeros in np.diff(np.flatnonzero(ended), prepend=-1) - 1:
        fillers, gap = divmod(int(zeros), _END)
        gaps += [*[_END - 1] * fillers, gap]
    stored = np.cumsum(np.array(gaps) + 1) - 1
    return ended[stored[:-1]], np.array(gaps[1:], np.uint8), gaps[0]


INDEX = Storage("index", _encode, (Cost("an entry of an index", 11, lambda r, c, kept: kept),))
