"""The ways to store a matrix and its zeros: what each writes, byte for byte, and what it costs.

A storage takes the weights that it stores, of 4 or 8 bits each and packed, and what tells their
places. Its bytes are the length of these two arrays, which the generated C has. Not among them is
what a program holds once as constants: shapes, scales and where the first row begins.

A storage is an entry of `STORAGES`, and a row of C of its name in `keras_fastgrnn.export.plain_c`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

_INDEX_END = 256


@dataclass(frozen=True)
class Cost:
    """A part of what the product of a matrix and a vector costs.

    Attributes:
        title: String, what is counted.
        instructions: Float, of a Cortex-M4 for each, fitted by `python -m benchmarks.step_cost`.
        count: Function from rows, columns and weights that are kept to how many there are.
    """

    title: str
    instructions: float
    count: Callable[[int, int, int], int]


@dataclass(frozen=True)
class StoredMatrix:
    """A matrix as a storage holds it.

    Attributes:
        storage: `Storage`.
        bits: Integer, 8 or 4, of a weight.
        rows, columns: Integers.
        kept: Integer, how many weights are not zero.
        weights: Array of uint8, the weights that are stored, packed.
        places: Array of uint8, what tells their places; empty where all weights are stored.
        start: Integer, with which the storage's row of C begins the matrix.
    """

    storage: "Storage"
    bits: int
    rows: int
    columns: int
    kept: int
    weights: np.ndarray
    places: np.ndarray
    start: int

    @property
    def bytes(self) -> int:
        """How many bytes both arrays take."""
        return self.weights.size + self.places.size

    @property
    def instructions(self) -> float:
        """An estimate of what the product with a vector takes on a Cortex-M4, besides rows."""
        return sum(
            cost.instructions * cost.count(self.rows, self.columns, self.kept)
            for cost in self.storage.costs
        )


@dataclass(frozen=True)
class Storage:
    """A way to store a matrix.

    Attributes:
        name: String.
        encode: Function from an array of integers of shape `(rows, columns)` to the weights that
            are stored, the bytes that tell their places, and an integer to begin with.
        costs: Tuple of `Cost`.
    """

    name: str
    encode: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, int]]
    costs: tuple[Cost, ...]

    def store(self, matrix: np.ndarray, bits: int = 8) -> StoredMatrix:
        """Returns a matrix in this storage.

        Args:
            matrix: Array of integers of shape `(rows, columns)`; a row makes one number of the
                product with a vector.
            bits: Integer, 8 or 4, of a weight. Defaults to 8.
        """
        weights, places, start = self.encode(matrix)
        kept = int(np.count_nonzero(matrix))
        packed = _packed(weights, bits)
        rows, columns = matrix.shape
        return StoredMatrix(self, bits, rows, columns, kept, packed, places, start)


def packed_bytes(values: int, bits: int) -> int:
    """Returns the bytes of numbers of a few bits each, one after the other.

    Args:
        values: Integer, how many numbers.
        bits: Integer, bits of one.

    Returns:
        Integer.
    """
    return -(-values * bits // 8)


def smallest(matrix: np.ndarray, bits: int = 8) -> StoredMatrix:
    """Returns a matrix in the storage that takes fewest bytes, the simplest of equals.

    Args:
        matrix: Array of integers of shape `(rows, columns)`.
        bits: Integer, 8 or 4, of a weight. Defaults to 8.
    """
    return min((storage.store(matrix, bits) for storage in STORAGES), key=lambda one: one.bytes)


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


def _packed(weights: np.ndarray, bits: int) -> np.ndarray:
    """Two weights of 4 bits a byte, the first in the lower ones."""
    weights = weights.astype(np.int8).view(np.uint8)
    if bits == 8:
        return weights
    weights = np.append(weights, np.zeros(weights.size % 2, np.uint8)) & 15
    return weights[::2] | weights[1::2] << 4


def _dense(matrix):
    return matrix.ravel(), np.zeros(0, np.uint8), 0


def _bitmap(matrix):
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


def _index(matrix):
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
        fillers, gap = divmod(int(zeros), _INDEX_END)
        gaps += [*[_INDEX_END - 1] * fillers, gap]
    stored = np.cumsum(np.array(gaps) + 1) - 1
    return ended[stored[:-1]], np.array(gaps[1:], np.uint8), gaps[0]


STORAGES = (
    Storage("dense", _dense, (Cost("a weight stored densely", 5, lambda r, c, kept: r * c),)),
    Storage(
        "bitmap",
        _bitmap,
        (
            Cost("a byte of a bitmap", 19, lambda r, c, kept: r * (c // 8)),
            Cost("a column in a byte that rows share", 7, lambda r, c, kept: r * (c % 8)),
            Cost("a weight that a bitmap keeps", 4.5, lambda r, c, kept: kept),
        ),
    ),
    Storage("index", _index, (Cost("an entry of an index", 10, lambda r, c, kept: kept),)),
)
