"""Keras models traced into one time step, run in plain loops against Keras."""

import numpy as np
import pytest
from chains import CHAINS, adapted
from graphs import evaluate, kinds
from small_models import CHANNELS, answers_of, sequences, sequential

from keras_fastgrnn import FastGRNN, FastGRNNCell, FastRNN, FastRNNCell, keras
from keras_fastgrnn.graph.trace import trace

LAYERS = keras.layers

# Keras computes in float32, the traced graph in float64: 12 steps of sums of ten numbers.
FLOAT32 = 1e-5


@pytest.mark.parametrize("layers", CHAINS.values(), ids=CHAINS)
def test_one_step_after_the_other_is_what_keras_computes(layers):
    model = sequential(*layers(), spread=0.25)  # more, and a state behind a relu gate explodes
    x = sequences(1)
    expected = answers_of(model, x)[0]
    outputs = evaluate(trace(model), x[0])
    every_step = expected.ndim == 2
    np.testing.assert_allclose(outputs if every_step else outputs[-1], expected, atol=FLOAT32)


@pytest.mark.parametrize("invert", [False, True])
def test_adapted_normalization_of_very_different_channels(invert):
    model = sequential(adapted(invert=invert), FastRNN(3, "tanh"))
    x = sequences(1)
    if not invert:
        x = (x * [1e-3, 1.0, 1e3] + [0.0, -5.0, 2e3]).astype("float32")
    expected = answers_of(model, x)[0]
    np.testing.assert_allclose(evaluate(trace(model), x[0])[-1], expected, atol=FLOAT32)


def test_functional_and_loaded_models_are_traced_like_sequential_ones(tmp_path):
    model = sequential(FastGRNN(4), LAYERS.Dense(2))
    inputs = LAYERS.Input((None, CHANNELS))
    functional = keras.Model(
        inputs, model.layers[-1](LAYERS.Dropout(0.5)(model.layers[-2](inputs)))
    )
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    x = sequences(1)[0]
    expected = evaluate(trace(model), x)
    np.testing.assert_array_equal(evaluate(trace(functional), x), expected)
    np.testing.assert_array_equal(evaluate(trace(loaded), x), expected)


PRODUCTS = ["MUL", "FULLY_CONNECTED", "FULLY_CONNECTED", "ADD", "ADD"]
GRNN_STEP = [*PRODUCTS, "LOGISTIC", "ADD", "TANH", "SUB", "MUL", "MUL", "ADD", "MUL"]
RNN_STEP = [*PRODUCTS, "TANH", "MUL", "ADD", "MUL"]


@pytest.mark.parametrize(
    ("layer", "operators"),
    [(FastGRNN, GRNN_STEP), (FastRNN, RNN_STEP)],
    ids=["FastGRNN", "FastRNN"],
)
def test_operators_are_those_of_the_step(layer, operators):
    assert kinds(trace(sequential(layer(5)))) == operators


def test_additions_of_0_and_multiplications_by_1_are_not_traced():
    layer = FastRNN(5, use_bias=False, alpha_initializer=30.0, beta_initializer=30.0)
    model = keras.Sequential([LAYERS.Input((12, 3)), layer])
    assert kinds(trace(model)) == ["FULLY_CONNECTED", "FULLY_CONNECTED", "ADD", "TANH", "ADD"]


def test_matrices_are_stored_by_row_of_the_output_in_float64():
    model = sequential(LAYERS.Dense(4), FastRNN(5))
    weights = trace(model).ops[0].inputs[1]
    assert (weights.shape, weights.data.dtype) == ((4, 3), np.float64)
    np.testing.assert_array_equal(weights.data, np.asarray(model.layers[0].kernel).T)


def test_every_cell_has_one_state_of_its_own():
    cells = [FastGRNNCell(5), FastRNNCell(2)]
    layers = [LAYERS.RNN(cells, return_sequences=True, name="two"), FastGRNN(3, name="one")]
    graph = trace(sequential(*layers))
    assert [s.before.shape for s in graph.states] == [(1, 5), (1, 2), (1, 3)]
    names = ["two/0/state", "two/1/state", "one/state"]
    assert [state.after.name for state in graph.states] == names
    tensors = [t for s in graph.states for t in (s.before, s.after)]
    assert len(set(tensors)) == 6
    assert {graph.producer(state.after).kind for state in graph.states} == {"ADD"}


def test_tensors_have_the_names_of_their_layer_and_of_the_step():
    graph = trace(sequential(FastGRNN(5, name="gru"), LAYERS.Dense(2, name="head")))
    names = {tensor.name for tensor in graph.tensors() if tensor.name}
    step = [
        "kernel_product",
        "recurrent_product",
        "gate_pre",
        "gate",
        "candidate_pre",
        "candidate",
        "difference",
        "kept",
        "added",
        "state",
    ]
    assert names == {"input", "head", *(f"gru/{name}" for name in step)}


def test_lstm_keeps_its_output_and_its_cell_state():
    graph = trace(sequential(LAYERS.LSTM(4, name="rnn")))
    names = ["rnn/state", "rnn/cell_state"]
    assert [state.before.name for state in graph.states] == names
    assert [state.after.name for state in graph.states] == names
    assert {state.before.shape for state in graph.states} == {(1, 4)}
    assert graph.outputs == [graph.states[0].after]
    assert [graph.producer(state.after).kind for state in graph.states] == ["MUL", "ADD"]


def test_tracing_leaves_the_model_as_it_was():
    model = sequential(adapted(), FastGRNN(4, dropout=0.5), LAYERS.Dense(2))
    x = sequences(2)
    before = [np.copy(w) for w in model.get_weights()]
    expected = answers_of(model, x)
    trace(model)
    for weight, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, old)
    np.testing.assert_array_equal(answers_of(model, x), expected)


@pytest.mark.parametrize("layer", [FastGRNN, LAYERS.SimpleRNN, LAYERS.GRU, LAYERS.LSTM])
@pytest.mark.parametrize("dtype", ["float64", "mixed_float16"])
def test_weights_of_another_policy_are_traced(dtype, layer):
    model = sequential(layer(4, dtype=dtype), LAYERS.Dense(2, dtype=dtype))
    x = sequences(1)
    # float16 has 11 bits, and Keras sums in it; the traced graph does not.
    tolerance = 2e-2 if dtype == "mixed_float16" else 1e-6
    expected = answers_of(model, x)[0]
    np.testing.assert_allclose(evaluate(trace(model), x[0])[-1], expected, atol=tolerance)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("layer", ["rnn", "head"])
def test_weights_that_are_not_finite_are_refused_by_the_name_of_their_layer(layer, value):
    model = sequential(FastGRNN(4, name="rnn"), LAYERS.Dense(2, name="head"))
    weight = model.get_layer(layer).trainable_weights[0]
    poisoned = np.copy(weight.numpy())
    poisoned[0, 0] = value
    weight.assign(poisoned)
    with pytest.raises(ValueError, match=rf"^The layer {layer} has weights that are NaN or infin"):
        trace(model)


def test_a_unit_of_0_is_refused():
    model = sequential(FastGRNN(4, name="rnn"))
    model.layers[-1].cell.zeta_logit.assign(-200.0)  # float32's sigmoid of it is 0
    with pytest.raises(ValueError, match=r"^The layer rnn has weights .* Check its weights\.$"):
        trace(model)


def test_a_negative_variance_is_refused():
    model = sequential(
        LAYERS.Normalization(mean=0.0, variance=-1.0, axis=None, name="n"), FastRNN(2)
    )
    with pytest.raises(ValueError, match=r"^The layer n has weights that are NaN"):
        trace(model)
