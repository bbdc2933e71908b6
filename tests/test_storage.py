"""The bytes of a matrix, by hand and by reading back what a storage would hold."""

import numpy as np
import pytest

from keras_fastgrnn import storage

# Column after column: 0 3 0 | 5 0 7.
SMALL = np.array([[0, 5], [3, 0], [0, 7]])


def sparse(shape, kept, seed=0):
    rng = np.random.default_rng(seed)
    matrix = np.zeros(shape, int)
    matrix.flat[rng.permutation(matrix.size)[:kept]] = rng.integers(1, 128, kept)
    return matrix


@pytest.mark.parametrize(
    ("count", "bits", "expected"),
    [
        (storage.dense_bytes, 8, 6),
        (storage.dense_bytes, 4, 3),
        (storage.bitmap_bytes, 8, 1 + 3),
        (storage.bitmap_bytes, 4, 1 + 2),
        (storage.index_bytes, 8, 3 + 3),
        (storage.index_bytes, 4, 3 + 2),
        (storage.paper_bytes, 8, 6),  # half is kept, not fewer
        (storage.paper_bytes, 4, 3),
    ],
)
def test_bytes_of_a_small_matrix(count, bits, expected):
    assert count(SMALL, bits) == expected
    assert type(count(SMALL, bits)) is int


def test_the_gaps_run_through_the_columns():
    assert storage.index_gaps(SMALL).tolist() == [1, 1, 1]


def read_back(gaps, values, shape):
    """Reads a matrix as a device would: skip `gap` zeros, store a value, until they end."""
    flat, position = np.zeros(np.prod(shape), int), 0
    for gap, value in zip(gaps.tolist(), values, strict=True):
        position += gap
        flat[position] = value
        position += 1
    return flat.reshape(shape[::-1]).T


@pytest.mark.parametrize("kept", [0, 1, 2, 5, 40, 800, 2000])
@pytest.mark.parametrize("shape", [(80, 25), (25, 80)])
def test_gaps_and_values_make_the_matrix_again(shape, kept):
    matrix = sparse(shape, kept)
    gaps = storage.index_gaps(matrix)
    assert gaps.dtype == np.uint8
    # A filler stands where 255 zeros and itself, the 256th, precede the next weight.
    flat = matrix.T.ravel()
    values, position = [], 0
    for gap in gaps.tolist():
        position += gap
        values.append(flat[position])
        position += 1
    assert values.count(0) == len(values) - kept
    np.testing.assert_array_equal(read_back(gaps, values, shape), matrix)


@pytest.mark.parametrize(("zeros", "fillers"), [(255, 0), (256, 1), (511, 1), (512, 2)])
def test_more_than_255_zeros_take_fillers(zeros, fillers):
    matrix = np.array([[0] * zeros + [9]])
    assert storage.index_gaps(matrix).tolist() == [255] * fillers + [zeros - 256 * fillers]
    assert storage.index_bytes(matrix, 8) == 2 * (fillers + 1)


def test_zeros_at_the_end_take_no_entry():
    assert storage.index_bytes(np.array([[1] + [0] * 1000]), 8) == 2


def test_a_matrix_of_zeros_takes_a_bitmap_and_no_values():
    zeros = np.zeros((10, 10))
    assert storage.bitmap_bytes(zeros) == 13
    assert storage.index_bytes(zeros) == storage.paper_bytes(zeros) == 0


def test_the_paper_counts_an_index_below_half():
    assert storage.paper_bytes(sparse((10, 10), 49), 8) == 98
    assert storage.paper_bytes(sparse((10, 10), 50), 8) == 100
    assert storage.paper_bytes(sparse((10, 10), 49), 4) == 49 + 25
