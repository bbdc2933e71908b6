"""How many weights a mask keeps, and which."""

import edgeml_loop
import numpy as np
import pytest
import tensorflow as tf

from keras_fastgrnn import masks
from keras_fastgrnn.sparsity import IterativeHardThresholding
from keras_fastgrnn.tfmot_api import tfmot

SIZES = [1, 2, 7, 27, 30, 101, 400, 721, 3200]
KEPT = [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.5, 0.55, 0.7, 0.9, 0.95, 1.0]


def distinct(size):
    """Weights of different magnitudes in no order, half of them negative."""
    values = np.random.default_rng(size).permutation(size) + 1.0
    return (values * np.where(np.arange(size) % 2, 1, -1)).astype("float32")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kept", KEPT)
def test_percentile_keeps_what_the_authors_code_keeps(size, kept):
    values = distinct(size)
    # As a schedule of TF-MOT returns it.
    sparsity = float(tf.constant(1 - kept, tf.float32))
    mask = masks.largest(values, sparsity, "percentile")
    np.testing.assert_array_equal(mask, edgeml_loop.hard_threshold(values, kept) != 0)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kept", KEPT)
def test_rounded_keeps_the_largest_of_a_rounded_count(size, kept):
    values = distinct(size)
    mask = masks.largest(values, 1 - kept, "rounded")
    count = int(np.rint(np.float32(size) * (1 - np.float32(1 - kept))))
    assert set(np.abs(values[mask])) == set(range(size - count + 1, size + 1))


def test_the_two_counts_are_those_worked_out_by_hand():
    # 10 weights, a quarter kept: 2.5 rounds to 2, and the 75th percentile lies at index 6.75,
    # whose next higher weight is the third from the top.
    counts = {count: masks.largest(distinct(10), 0.75, count).sum() for count in masks.COUNTS}
    assert counts == {"rounded": 2, "percentile": 3}


@pytest.mark.parametrize("count", masks.COUNTS)
def test_equal_weights_at_the_limit_are_all_kept(count):
    values = np.array([3.0, -1.0, 1.0, 1.0, 0.5, 0.0])
    kept = masks.largest(values, 2 / 3, count)
    assert kept.tolist() == [True, True, True, True, False, False]


def test_a_count_of_none_is_an_empty_mask():
    assert not masks.largest(distinct(10), 0.96, "rounded").any()


ANY = tfmot.sparsity.keras


@pytest.mark.parametrize(
    ("schedule", "pruned"),
    [
        (IterativeHardThresholding(0.5, 3, 6, frequency=2), {3, 4, 5, 6, 7, 8}),
        (IterativeHardThresholding(0.5, 3, 6, frequency=2, regrow=True), {3, 5, 6, 7, 8}),
        (IterativeHardThresholding(0.0, 3, 6), set()),
        (ANY.ConstantSparsity(0.5, 2, 4, frequency=1), {2, 3, 4, 5, 6, 7, 8}),
        (ANY.PolynomialDecay(0.0, 0.5, 2, 6, frequency=2), {4, 5, 6, 7, 8}),
        (ANY.PolynomialDecay(0.5, 0.0, 2, 6, frequency=2), {2, 3, 4, 5}),
    ],
)
def test_weights_are_pruned_from_the_first_update_that_left_zeros(schedule, pruned):
    assert {steps for steps in range(9) if masks.is_pruned(schedule, steps)} == pruned
