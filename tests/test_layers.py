"""The numbers that the layers compute, in every mode of a recurrent layer of Keras."""

import numpy as np
import paper
import pytest
import tensorflow as tf
from weights import arrays, assign, randomize, variables

import keras_fastgrnn
from keras_fastgrnn import FastGRNN, FastGRNNCell, FastRNN, FastRNNCell, keras
from keras_fastgrnn.keras_api import IS_TF_KERAS

LAYERS = [FastGRNN, FastRNN]
MAKERS = {
    "FastGRNN": FastGRNN,
    "FastRNN": FastRNN,
    "RNN-FastGRNNCell": lambda units, **kwargs: keras.layers.RNN(FastGRNNCell(units), **kwargs),
    "RNN-FastRNNCell": lambda units, **kwargs: keras.layers.RNN(FastRNNCell(units), **kwargs),
}
B, T, D, H = 3, 8, 4, 6

# float32 against float64: some 1e-7 a step, for at most 20 steps of states below 3.
CLOSE = {"rtol": 0.0, "atol": 3e-6}


def draw(*shape, seed=1, dtype="float32"):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def ready(layer, scale=0.5):
    """The layer with weights for inputs of shape `(B, T, D)`, all drawn."""
    layer.build((B, T, D))
    randomize(layer, scale=scale)
    return layer


every_maker = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


@pytest.mark.parametrize("case", paper.authors_cases(), ids=str)
def test_layer_matches_the_authors_cells(case):
    make = getattr(keras_fastgrnn, case.cell)
    layer = make(case.h.shape[2], return_sequences=True, **case.arguments)
    layer.build(case.x.shape)
    assign(layer, case.weights)
    h = layer(tf.constant(case.x), initial_state=[tf.constant(case.h0)])
    # Both are float32 and round differently, for 24 steps.
    np.testing.assert_allclose(h, case.h, rtol=0, atol=1e-5)


@pytest.mark.parametrize("ranks", [(None, None), (2, None), (None, 5), (2, 5)])
@pytest.mark.parametrize("activation", ["tanh", "relu", "quant_tanh", "linear"])
@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("layer", LAYERS)
def test_layer_follows_the_papers_equations(layer, use_bias, activation, ranks):
    arguments = {"activation": activation}
    if layer is FastGRNN:
        arguments["recurrent_activation"] = "quant_sigmoid4"
    ranks = dict(zip(("kernel_rank", "recurrent_rank"), ranks, strict=True))
    made = layer(H, use_bias=use_bias, return_sequences=True, **arguments, **ranks)
    # Small weights, because nothing else bounds the state where the activation does not.
    ready(made, scale=0.3)
    x, h0 = draw(B, T, D), draw(B, H, seed=2)
    h = made(tf.constant(x), initial_state=[tf.constant(h0)])
    np.testing.assert_allclose(h, paper.states(arrays(made), x, h0, **arguments), **CLOSE)


@pytest.mark.parametrize("ranks", [(None, None), (2, 5)])
@pytest.mark.parametrize("layer", LAYERS)
def test_gradients_of_the_layer_are_those_of_the_papers_equations(layer, ranks):
    made = layer(
        H, kernel_rank=ranks[0], recurrent_rank=ranks[1], return_sequences=True, dtype="float64"
    )
    ready(made)
    x, direction = draw(B, T, D, dtype="float64"), draw(B, T, H, seed=2, dtype="float64")
    values = arrays(made)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(direction * made(tf.constant(x)))
    named = variables(made).values()
    gradients = tape.gradient(loss, [v if IS_TF_KERAS else v.value for v in named])

    for (name, value), gradient in zip(values.items(), gradients, strict=True):
        numeric = np.empty(value.shape)
        for index in np.ndindex(value.shape):
            shift = np.zeros(value.shape)
            shift[index] = 1e-5
            up, down = (
                np.sum(direction * paper.states({**values, name: value + sign * shift}, x))
                for sign in (1, -1)
            )
            numeric[index] = (up - down) / 2e-5
        # Central differences of step 1e-5 err by about 1e-9 in float64.
        np.testing.assert_allclose(gradient, numeric, rtol=1e-6, atol=1e-7, err_msg=name)


@every_maker
@pytest.mark.parametrize("unroll", [False, True])
def test_outputs_are_the_last_state_or_all_and_the_state(make, unroll):
    x = draw(B, T, D)
    for return_sequences in (False, True):
        for return_state in (False, True):
            made = ready(
                make(
                    H,
                    return_sequences=return_sequences,
                    return_state=return_state,
                    unroll=unroll,
                )
            )
            h = paper.states(arrays(made), x)
            expected = [h if return_sequences else h[:, -1], h[:, -1]][: 1 + return_state]
            outputs = made(tf.constant(x))
            outputs = list(outputs) if return_state else [outputs]
            assert len(outputs) == len(expected)
            for output, value in zip(outputs, expected, strict=True):
                assert output.shape == value.shape
                np.testing.assert_allclose(output, value, **CLOSE)


@every_maker
@pytest.mark.parametrize("unroll", [False, True])
def test_going_backwards_reads_the_sequence_from_its_end(make, unroll):
    made = ready(make(H, go_backwards=True, return_sequences=True, unroll=unroll))
    x = draw(B, T, D)
    np.testing.assert_allclose(
        made(tf.constant(x)), paper.states(arrays(made), x[:, ::-1]), **CLOSE
    )


@every_maker
def test_initial_state_may_be_an_input_of_a_model(make):
    inputs, state = keras.layers.Input((T, D)), keras.layers.Input((H,))
    layer = make(H)
    model = keras.Model([inputs, state], layer(inputs, initial_state=[state]))
    randomize(layer)
    x, h0 = draw(B, T, D), draw(B, H, seed=2)
    h = model.predict([x, h0], verbose=0)
    np.testing.assert_allclose(h, paper.states(arrays(layer), x, h0)[:, -1], **CLOSE)


MASK = np.array([[1] * 8, [1, 0, 1, 1, 0, 0, 1, 0], [0, 0, 0, 1, 1, 1, 0, 0]], bool)


@every_maker
@pytest.mark.parametrize("unroll", [False, True])
@pytest.mark.parametrize("go_backwards", [False, True])
def test_masked_steps_keep_the_state(make, unroll, go_backwards):
    made = ready(make(H, return_sequences=True, unroll=unroll, go_backwards=go_backwards))
    x = draw(B, T, D)
    order = slice(None, None, -1 if go_backwards else 1)
    expected = paper.states(arrays(made), x[:, order], mask=MASK[:, order])
    np.testing.assert_allclose(made(tf.constant(x), mask=tf.constant(MASK)), expected, **CLOSE)


@every_maker
def test_masking_layer_masks(make):
    layer = make(H)
    model = keras.Sequential([keras.layers.Input((T, D)), keras.layers.Masking(), layer])
    randomize(layer)
    x = draw(B, T, D) * MASK[:, :, None]
    expected = paper.states(arrays(layer), x, mask=MASK)[:, -1]
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, **CLOSE)


@every_maker
def test_stateful_layer_goes_on_where_the_last_batch_ended(make):
    layer = make(H, stateful=True, return_sequences=True)
    model = keras.Sequential([keras.layers.Input((T, D), batch_size=B), layer])
    randomize(layer)
    x = draw(B, 2 * T, D)
    expected = paper.states(arrays(layer), x)
    for part in (slice(0, T), slice(T, 2 * T)):
        h = model.predict(x[:, part], batch_size=B, verbose=0)
        np.testing.assert_allclose(h, expected[:, part], **CLOSE)
    layer.reset_states()
    h = model.predict(x[:, :T], batch_size=B, verbose=0)
    np.testing.assert_allclose(h, expected[:, :T], **CLOSE)


@every_maker
def test_bidirectional_runs_both_ways_with_weights_of_their_own(make):
    both = keras.layers.Bidirectional(make(H, return_sequences=True))
    both.build((B, T, D))
    randomize(both)
    x = draw(B, T, D)
    forward = paper.states(arrays(both.forward_layer), x)
    backward = paper.states(arrays(both.backward_layer), x[:, ::-1])[:, ::-1]
    expected = np.concatenate([forward, backward], axis=-1)
    np.testing.assert_allclose(both(tf.constant(x)), expected, **CLOSE)


@pytest.mark.parametrize("wrap", [list, keras.layers.StackedRNNCells], ids=["list", "Stacked"])
def test_stacked_cells_feed_each_other(wrap):
    cells = [FastGRNNCell(H, kernel_rank=2), FastRNNCell(5), FastGRNNCell(3)]
    layer = keras.layers.RNN(wrap(cells), return_sequences=True, return_state=True)
    layer.build((B, T, D))
    randomize(layer)
    x = draw(B, T, D)
    output, *last_states = layer(tf.constant(x))
    h = x
    for cell, state in zip(cells, last_states, strict=True):
        h = paper.states(arrays(cell), h)
        np.testing.assert_allclose(tf.nest.flatten(state)[0], h[:, -1], **CLOSE)
    np.testing.assert_allclose(output, h, **CLOSE)


def test_layers_stack_with_each_other_and_with_layers_of_keras():
    layers = [FastRNN(5, return_sequences=True), FastGRNN(H, recurrent_rank=2)]
    dense = keras.layers.Dense(2, use_bias=False)
    model = keras.Sequential([keras.layers.Input((T, D)), *layers, dense])
    randomize(model)
    x = draw(B, T, D)
    h = paper.states(arrays(layers[0]), x)
    h = paper.states(arrays(layers[1]), h)[:, -1]
    # The product of 6 states adds its own rounding.
    np.testing.assert_allclose(model(x), h @ dense.get_weights()[0], rtol=0, atol=1e-5)


@every_maker
def test_length_and_batch_may_vary(make):
    layer = make(H, return_sequences=True)
    model = keras.Sequential([keras.layers.Input((None, D)), layer])
    randomize(layer)
    assert tuple(model.output_shape) == (None, None, H)
    for batch, length in ((1, 1), (2, 20), (5, 3)):
        x = draw(batch, length, D)
        h = model.predict(x, verbose=0)
        np.testing.assert_allclose(h, paper.states(arrays(layer), x), **CLOSE)


@pytest.mark.parametrize("layer", [FastGRNN, FastRNN])
def test_input_that_is_no_sequence_is_refused_as_gru_refuses_it(layer):
    with pytest.raises(ValueError, match="expected ndim=3, found ndim=2. Full shape received: "):
        keras.Sequential([keras.layers.Input((3,)), layer(8)])
