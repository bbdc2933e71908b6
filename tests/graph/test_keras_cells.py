"""The steps of Keras's own cells against the cells themselves."""

import numpy as np
import pytest
import tensorflow as tf
from small_models import drawn

from keras_fastgrnn import activations, keras
from keras_fastgrnn.graph.cell_tracing import exact
from keras_fastgrnn.graph.keras_cells import KERAS_CELLS

LAYERS = keras.layers
BATCH, INPUTS, UNITS, STEPS = 4, 3, 5, 12

# The cells compute in float32, 12 steps of sums of ten numbers.
FLOAT32 = 1e-5

CELLS = {
    "SimpleRNN": LAYERS.SimpleRNNCell,
    "GRU": LAYERS.GRUCell,
    "GRU that resets before": lambda *args, **kw: LAYERS.GRUCell(*args, reset_after=False, **kw),
    "GRU that resets after": lambda *args, **kw: LAYERS.GRUCell(*args, reset_after=True, **kw),
    "LSTM": LAYERS.LSTMCell,
}
GATED = [name for name in CELLS if name != "SimpleRNN"]

SIMPLE_RNN_TENSORS = ["state_pre", "state"]
GATES = ["update_pre", "update", "reset_pre", "reset"]
MIXED = ["candidate_pre", "candidate", "difference", "kept", "state"]
RESET_AFTER = ["candidate_input", "candidate_state", "reset_candidate_state"]
LSTM_TENSORS = [
    *("forget_pre", "forget", "kept", "candidate_pre", "candidate"),
    *("input_pre", "input", "added", "cell_state"),
    *("output_pre", "output", "activated_cell_state", "state"),
]
TENSORS = {
    "SimpleRNN": SIMPLE_RNN_TENSORS,
    "GRU": [*GATES, *RESET_AFTER, *MIXED],
    "GRU that resets before": [*GATES, "reset_state", *MIXED],
    "GRU that resets after": [*GATES, *RESET_AFTER, *MIXED],
    "LSTM": LSTM_TENSORS,
}


def random_cell(kind, *args, **kwargs):
    cell = CELLS[kind](UNITS, *args, **kwargs)
    drawn(keras.Sequential([LAYERS.Input((STEPS, INPUTS)), LAYERS.RNN(cell)]))
    return cell


def zero_states(cell):
    return [np.zeros((BATCH, units)) for units in np.ravel(cell.state_size)]


def inputs():
    return np.random.default_rng(1).normal(size=(STEPS, BATCH, INPUTS))


def assert_step_is_the_cell(cell):
    step, weights = KERAS_CELLS[type(cell)](cell, lambda read: exact(cell, read))
    states = [tf.constant(state) for state in zero_states(cell)]
    expected = [tf.constant(state, tf.float32) for state in zero_states(cell)]
    for x in inputs():
        states = step(tf.constant(x), *states, weights)
        states = states if isinstance(states, tuple) else (states,)
        output, expected = cell(tf.constant(x, tf.float32), expected)
        np.testing.assert_array_equal(output, expected[0])
        for state, other in zip(states, expected, strict=True):
            np.testing.assert_allclose(state, other, rtol=0, atol=FLOAT32)


@pytest.mark.parametrize("use_bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("activation", ["tanh", "relu", "linear", "quant_tanh"])
@pytest.mark.parametrize("kind", CELLS)
def test_step_is_that_of_the_cell(kind, activation, use_bias):
    assert_step_is_the_cell(random_cell(kind, activations.get(activation), use_bias=use_bias))


@pytest.mark.parametrize("recurrent_activation", ["tanh", "softmax", "quant_sigmoid"])
@pytest.mark.parametrize("kind", GATED)
def test_step_has_the_gate_s_nonlinearity_of_the_cell(kind, recurrent_activation):
    function = activations.get(recurrent_activation)
    assert_step_is_the_cell(random_cell(kind, recurrent_activation=function))


@pytest.mark.parametrize("implementation", [1, 2])
@pytest.mark.parametrize("kind", GATED)
def test_step_knows_no_implementation(kind, implementation):
    if "implementation" not in CELLS[kind](UNITS).get_config():
        kwargs = {}
    else:
        kwargs = {"implementation": implementation}
    assert_step_is_the_cell(random_cell(kind, **kwargs))


def test_forget_bias_of_1_is_in_the_stored_bias():
    cell = LAYERS.LSTMCell(UNITS, unit_forget_bias=True)
    cell.build((None, INPUTS))
    _, weights = KERAS_CELLS[type(cell)](cell, lambda read: exact(cell, read))
    np.testing.assert_array_equal(weights.forget.bias, np.ones(UNITS))
    np.testing.assert_array_equal(weights.input.bias, np.zeros(UNITS))


@pytest.mark.parametrize("kind", CELLS)
def test_tap_sees_every_tensor_once_and_says_how_to_go_on(kind):
    cell = random_cell(kind)
    step, weights = KERAS_CELLS[type(cell)](cell, lambda read: exact(cell, read))
    seen = []

    def tap(name, value):
        seen.append(name)
        return tf.zeros_like(value) if name.endswith("state") else value

    states = step(tf.constant(inputs()[0]), *map(tf.constant, zero_states(cell)), weights, tap)
    assert seen == TENSORS[kind]
    assert not np.any(states)
