"""The bytes of a matrix, by hand and by reading back what a storage holds."""

import numpy as np
import pytest

from keras_fastgrnn import storage
from keras_fastgrnn.storage.bitmap import BITMAP
from keras_fastgrnn.storage.blocks import BLOCKS
from keras_fastgrnn.storage.dense import DENSE
from keras_fastgrnn.storage.index import INDEX

# Row after row: 0 3 0 | 5 0 7.
SMALL = np.array([[0, 3, 0], [5, 0, 7]])

SHAPES = [(80, 25), (25, 80), (7, 16), (9, 1), (1, 9), (13, 39), (3, 700)]
DENSITIES = [0.0, 0.001, 0.02, 0.3, 0.7, 1.0]


def sparse(shape, density, largest, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.integers(1, largest + 1, shape) * rng.choice([-1, 1], shape)
    return values * (rng.random(shape) < density)


def weights_of(stored):
    """Yields the stored weights one after the other."""
    for byte in stored.weights.tolist():
        if stored.bits == 8:
            yield byte - 256 * (byte > 127)
        else:
            for half in (byte & 15, byte >> 4):
                yield half - 16 * (half > 7)


def read_dense(stored, weights):
    return [[next(weights) for _ in range(stored.columns)] for _ in range(stored.rows)]


def read_bitmap(stored, weights):
    """A queue of bits: a byte in front of those that are left, where a row's rest needs them."""
    places, left, rows = iter(stored.places.tolist()), [], []
    for _ in range(stored.rows):
        bits = []
        while stored.columns - len(bits) >= 8:
            byte = next(places)
            bits += [byte >> k & 1 for k in range(8)]
        rest = stored.columns - len(bits)
        if len(left) < rest:
            byte = next(places)
            left = [byte >> k & 1 for k in range(8)] + left
        bits, left = bits + left[:rest], left[rest:]
        rows.append([next(weights) if bit else 0 for bit in bits])
    assert next(places, None) is None
    return rows


def read_index(stored, weights):
    """Skip so many zeros, take a weight; the last skip leaves the matrix."""
    flat = np.zeros(stored.rows * stored.columns, int)
    place = stored.start
    for gap in stored.places.tolist():
        flat[place] = next(weights)
        place += 1 + gap
    assert not stored.places.size or place == flat.size
    return flat.reshape(stored.rows, stored.columns)


def read_blocks(stored, weights):
    """All bits of all blocks are one number, and a block is four columns or what is left."""
    bits = int.from_bytes(stored.places.tobytes(), "little")
    found = np.zeros((stored.rows, stored.columns), int)
    for row in range(stored.rows):
        for first in range(0, stored.columns, 4):
            if bits & 1:
                for column in range(first, min(first + 4, stored.columns)):
                    found[row, column] = next(weights)
            bits >>= 1
    assert bits == 0
    return found


# From a storage's name to a loop that reads it back.
READERS = {"dense": read_dense, "bitmap": read_bitmap, "index": read_index, "blocks": read_blocks}


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("density", DENSITIES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("way", storage.STORAGES, ids=lambda way: way.name)
def test_what_is_stored_is_the_matrix(way, shape, density, bits):
    matrix = sparse(shape, density, 127 if bits == 8 else 7)
    stored = way.store(matrix, bits)
    assert stored.weights.dtype == stored.places.dtype == np.uint8
    assert stored.bytes == len(stored.weights.tobytes() + stored.places.tobytes())
    assert (stored.rows, stored.columns, stored.kept) == (*shape, np.count_nonzero(matrix))
    found = READERS[way.name](stored, weights_of(stored))
    np.testing.assert_array_equal(found, matrix)


@pytest.mark.parametrize(
    ("way", "bits", "expected"),
    [
        (DENSE, 8, 6),
        (DENSE, 4, 3),
        (BITMAP, 8, 1 + 3),
        (BITMAP, 4, 1 + 2),
        (INDEX, 8, 3 + 3),
        (INDEX, 4, 3 + 2),
        (BLOCKS, 8, 1 + 6),
        (BLOCKS, 4, 1 + 3),
    ],
)
def test_bytes_of_a_small_matrix(way, bits, expected):
    assert way.store(SMALL, bits).bytes == expected


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("way", storage.STORAGES, ids=lambda way: way.name)
@pytest.mark.parametrize("shape", [(3, 4), (2, 6), (2, 5), (11, 1), (1, 12)])
def test_no_pattern_takes_more_bytes_than_the_largest(shape, way, bits):
    """Against all patterns of small matrices."""
    rows, columns = shape
    largest = [0] * (rows * columns + 1)
    for number in range(2 ** (rows * columns)):
        values = np.array([number >> k & 1 for k in range(rows * columns)]).reshape(shape)
        kept = np.count_nonzero(values)
        largest[kept] = max(largest[kept], way.store(values, bits).bytes)
    for kept, expected in enumerate(largest):
        ones = way.largest(rows, columns, kept)
        assert (ones.shape, np.count_nonzero(ones)) == (shape, kept)
        assert way.store(ones, bits).bytes == expected


@pytest.mark.parametrize("shape", SHAPES)
def test_matrices_take_no_more_than_the_most_bytes(shape):
    for density in DENSITIES[1:]:
        matrix = sparse(shape, density, 127)
        most = storage.most_bytes(*shape, np.count_nonzero(matrix))
        assert storage.smallest(matrix).bytes <= most


@pytest.mark.parametrize("bits", [8, 4])
def test_neighbors_that_are_kept_together_are_smallest_in_blocks(bits):
    """Of 3 x 10, blocks of 4, 4 and 2 columns: kept are 4 + 2 + 4, and their bits take 2 bytes."""
    matrix = np.zeros((3, 10), int)
    matrix[0, 4:8], matrix[1, 8:], matrix[2, :4] = 1, 2, 3
    stored = storage.smallest(matrix, bits)
    assert stored.storage is BLOCKS
    assert stored.bytes == 2 + 10 * bits // 8
    assert stored.places.tolist() == [0b01100010, 0]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_bitmap_has_a_bit_a_weight(shape):
    matrix = sparse(shape, 0.5, 127)
    assert len(BITMAP.store(matrix).places) == -(-matrix.size // 8)


def test_a_byte_of_a_bitmap_begins_with_its_first_column_and_rests_share_one():
    """Rests of 3 columns, of which the third takes its highest bit from the byte of the others."""
    row = [1, 0, 0, 0, 0, 0, 1, 0]
    matrix = np.array([[*row, 1, 0, 0], [*row, 0, 1, 1], [*row, 0, 1, 0]])
    # Of the first byte 001 and 110 are read, and 2 bits are left below a 1. The third row loads
    # the next byte, of which it reads the three lowest bits.
    assert BITMAP.store(matrix).places.tolist() == [65, 0b110001, 65, 65, 0b010]


def test_the_gaps_run_through_the_rows_and_end_behind_the_last():
    stored = INDEX.store(SMALL)
    assert (stored.start, stored.places.tolist()) == (1, [1, 1, 0])


@pytest.mark.parametrize(("zeros", "fillers"), [(255, 0), (256, 1), (511, 1), (512, 2)])
def test_more_than_255_zeros_take_fillers(zeros, fillers):
    first, last = (INDEX.store(np.array([row])) for row in ([0] * zeros + [9], [9] + [0] * zeros))
    assert [first.start, *first.places] == [255] * fillers + [zeros - 256 * fillers, 0]
    assert [last.start, *last.places] == [0] + [255] * fillers + [zeros - 256 * fillers]
    assert first.bytes == last.bytes == 2 * (fillers + 1)


def test_a_matrix_of_zeros_takes_a_bitmap_and_no_values():
    zeros = np.zeros((10, 10), np.int8)
    assert BITMAP.store(zeros).bytes == 13
    assert storage.smallest(zeros).bytes == storage.paper_bytes(zeros) == 0


def test_the_simplest_of_equal_storages_is_the_smallest():
    assert storage.smallest(np.eye(4, dtype=np.int8)).storage is BITMAP  # 2 + 4 of 16
    assert storage.smallest(np.ones((1, 8), np.int8)).storage is DENSE
    assert storage.smallest(np.array([[0, 1, 1, 1, 1, 1, 1, 1]])).storage is DENSE  # 8, as 1 + 7


def test_the_paper_counts_an_index_below_half():
    matrix = np.zeros((10, 10), int)
    matrix.flat[:49] = 1
    assert storage.paper_bytes(matrix, 8) == 98
    assert storage.paper_bytes(matrix, 4) == 49 + 25
    matrix.flat[49] = 1
    assert storage.paper_bytes(matrix, 8) == 100
