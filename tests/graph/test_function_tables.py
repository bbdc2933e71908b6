"""The int16 functions of training, against the kernels of the exporter's reference."""

import numpy as np
import pytest
import tensorflow as tf

from keras_fastgrnn.graph import function_tables, real_values, reference
from keras_fastgrnn.graph.graph import Graph, Op, Tensor

INTEGERS = np.arange(-(2**15), 2**15)
KINDS = {"sigmoid": "LOGISTIC", "tanh": "TANH"}


def on_the_device(kind, exponent):
    """Every integer's answer; the tests of the reference hold it against TFLite Micro."""
    x = Tensor("x", (1, 1), "int16", scale=2.0**exponent)
    y = Tensor("y", (1, 1), "int16", scale=2.0**-15)
    graph = Graph(inputs=[x], outputs=[y], ops=[Op(kind, [x], y)])
    answers = reference.run(graph, INTEGERS[:, np.newaxis, np.newaxis])
    return real_values.dequantize_values(answers.ravel(), y)


@pytest.mark.parametrize("exponent", [-15, -13, -12, -11, -9])
@pytest.mark.parametrize("name", KINDS)
def test_every_integer_has_the_answer_of_the_device(name, exponent):
    values = tf.constant(INTEGERS * 2.0**exponent, tf.float32)
    found = function_tables.FUNCTIONS[name](values).numpy()
    np.testing.assert_array_equal(found, on_the_device(KINDS[name], exponent))


@pytest.mark.parametrize("name", KINDS)
def test_what_is_not_finite_stops_nothing(name):
    found = function_tables.FUNCTIONS[name](tf.constant([np.nan, np.inf, -np.inf, 0.5])).numpy()
    assert np.isfinite(found[3])
