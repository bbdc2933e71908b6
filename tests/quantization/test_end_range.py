"""The ranges of inputs and outputs: of all values, or averaged over batches."""

import math

import pytest
import tensorflow as tf

from keras_fastgrnn import keras
from keras_fastgrnn.quantization.end_range import EndRange
from keras_fastgrnn.quantization.fake_quantization import FORMATS


class Owner(keras.layers.Layer):
    """Holds the weights of a range."""


def observed(group, *batches):
    for batch in batches:
        group.observe_replicas(tf.constant(batch, tf.float32))
    return group.values().numpy().tolist()


@pytest.fixture
def average():
    return EndRange("range", Owner(), FORMATS["int8"], momentum=0.9)


def test_range_without_momentum_holds_all_values():
    group = EndRange("range", Owner(), FORMATS["int16x8"])
    assert observed(group, [0.5, 1.0], [[-0.5], [0.25]]) == [-0.5, 1.0]
    assert group.reached() == (-0.5, 1.0)


def test_average_begins_with_the_first_batch_and_follows_the_others_slowly(average):
    assert observed(average, [-1.0, 3.0]) == [-1.0, 3.0]
    assert observed(average, [-2.0, 1.0]) == [pytest.approx(-1.1), pytest.approx(2.8)]


def test_average_holds_0(average):
    assert observed(average, [3.0]) == [0.0, 3.0]
    assert observed(average, [-1.0, -1.0]) == [pytest.approx(-0.1), pytest.approx(2.7)]


def test_average_knows_the_values_that_it_clips(average):
    observed(average, [-1.0, 3.0], [-2.0, 1.0], [0.0, 7.0])
    assert average.reached() == (-2.0, 7.0)


def test_average_that_came_from_elsewhere_clips_values_of_any_size(average):
    average.seen.assign([-1.0, 1.0])
    assert average.reached() == (-math.inf, math.inf)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_batch_that_is_not_finite_or_empty_leaves_the_average_as_it_was(average, value):
    assert observed(average, [[value], [4.0]]) == [0.0, 0.0]
    assert observed(average, [-1.0, 1.0], [2.0, value], []) == [-1.0, 1.0]
    assert average.reached() == (-1.0, 1.0)
