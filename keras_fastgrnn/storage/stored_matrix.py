"""What a storage of a matrix is, and what it holds."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Cost:
    """A part of what the product of a matrix and a vector costs.

    Attributes:
        title: String, what is counted.
        instructions: Float, of a Cortex-M4 for each, as `python -m benchmarks.step_cost_fit` fits.
        count: Function from rows, columns and weights that are kept to how many there are.
    """

    title: str
    instructions: float
    count: Callable[[int, int, int], int]


def at_the_end(rows: int, columns: int, kept: int) -> np.ndarray:
    """Returns a pattern whose last entries are ones: zeros come first, as many as can be in a row.

    Args:
        rows, columns: Integers.
        kept: Integer, how many ones.

    Returns:
        int8 array of shape `(rows, columns)`.
    """
    return (np.arange(rows * columns) >= rows * columns - kept).astype(np.int8).reshape(rows, -1)


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
        largest: Function from rows, columns and a number of weights to a pattern of ones, of so
            many, that takes most bytes. Defaults to `at_the_end`.
    """

    name: str
    encode: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, int]]
    costs: tuple[Cost, ...]
    largest: Callable[[int, int, int], np.ndarray] = at_the_end

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


def _packed(weights: np.ndarray, bits: int) -> np.ndarray:
    """Two weights of 4 bits a byte, the first in the lower ones."""
    weights = weights.astype(np.int8).view(np.uint8)
    if bits == 8:
        return weights
    weights = np.append(weights, np.zeros(weights.size % 2, np.uint8)) & 15
    return weights[::2] | weights[1::2] << 4
