"""The weights that are not zero, and a bit for every weight."""

import numpy as np

from keras_fastgrnn.storage.stored_matrix import Cost, Storage


def _encode(matrix):
    """A bit for every weight, the first of 8 columns in the lowest one.

    The columns after a row's last whole byte take the lowest bits of a byte, of which the next
    rows take the other ones. Where too few are left, they are kept, and come above those that a
    new byte leaves. What is left has a 1 above it, and the first row begins with that alone.
    """
    kept = matrix != 0
    rest = matrix.shape[1] % 8
    whole = matrix.shape[1] - rest
    places: list[int] = []
    left: list[tuple[int, int]] = []  # a byte and its bit, the lowest first
    for row in kept:
        places += np.packbits(row[:whole], bitorder="little").tolist()
        if len(left) < rest:
            left = [*((len(places), bit) for bit in range(8)), *left]
            places.append(0)
        for (byte, bit), is_kept in zip(left, row[whole:], strict=False):
            places[byte] |= int(is_kept) << bit
        left = left[rest:]
    return matrix[kept], np.array(places, np.uint8), 1


BITMAP = Storage(
    "bitmap",
    _encode,
    (
        Cost("a byte of a bitmap", 19, lambda r, c, kept: r * (c // 8)),
        Cost("a column in a byte that rows share", 7.5, lambda r, c, kept: r * (c % 8)),
        Cost("a weight that a bitmap keeps", 4.5, lambda r, c, kept: kept),
    ),
)
