"""The layers in training: precision, compilation, dropout, regularizers, constraints."""

import numpy as np
import paper
import pytest
import tensorflow as tf
from small_models import compile_to_fit
from weights import arrays, randomize

from keras_fastgrnn import FastGRNN, FastRNN, keras
from keras_fastgrnn.keras_api import IS_TF_KERAS

LAYERS = [FastGRNN, FastRNN]
B, T, D, H = 6, 12, 4, 5


def draw(*shape, seed=1):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def make_model(layer, **compile_arguments):
    model = keras.Sequential([keras.layers.Input((T, D)), layer])
    randomize(layer, scale=0.3)
    compile_to_fit(model, keras.optimizers.SGD(0.1), "mse", **compile_arguments)
    return model


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize(("unroll", "jit_compile"), [(False, False), (True, False), (False, True)])
def test_training_step_goes_down_the_gradient_of_the_papers_equations(layer, unroll, jit_compile):
    made = layer(H, kernel_rank=2, unroll=unroll)
    model = make_model(made, jit_compile=jit_compile)
    before, x, y = arrays(made), draw(B, T, D), draw(B, H, seed=2)
    model.fit(x, y, batch_size=B, epochs=1, shuffle=False, verbose=0)

    def loss(weights):
        return np.mean((paper.states(weights, x)[:, -1] - y) ** 2)

    after = arrays(made)
    for name, value in before.items():
        gradient = np.empty(value.shape)
        for index in np.ndindex(value.shape):
            shift = np.zeros(value.shape)
            shift[index] = 1e-5
            up, down = (loss({**before, name: value + sign * shift}) for sign in (1, -1))
            gradient[index] = (up - down) / 2e-5
        # The layer is float32: 1e-7 of weights below 1, and of gradients through 12 steps.
        expected = value - 0.1 * gradient
        np.testing.assert_allclose(after[name], expected, rtol=0, atol=2e-6, err_msg=name)
        assert np.any(np.abs(after[name] - value) > 1e-5), name


@pytest.mark.parametrize("layer", LAYERS)
def test_jit_compiled_prediction_follows_the_papers_equations(layer):
    made = layer(H, recurrent_rank=2, return_sequences=True)
    model = make_model(made, jit_compile=True)
    x = draw(B, T, D)
    # float32 against float64, 12 steps.
    expected = paper.states(arrays(made), x)
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=0, atol=3e-6)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize(
    # Half precision keeps 11 bits of a number, bfloat16 keeps 8; the states are below 2.
    ("half", "atol", "jit_compile"),
    [("float16", 0.01, False), ("float16", 0.01, True), ("bfloat16", 0.08, False)],
)
def test_mixed_precision_computes_in_half_and_trains_in_float32(layer, half, atol, jit_compile):
    made = layer(H, kernel_rank=2, return_sequences=True, dtype=f"mixed_{half}")
    model = make_model(made, jit_compile=jit_compile)
    x, y = draw(B, T, D), draw(B, T, H, seed=2)
    before = arrays(made)
    output = made(tf.constant(x))
    assert output.dtype == half
    np.testing.assert_allclose(
        tf.cast(output, "float64"), paper.states(before, x), rtol=0, atol=atol
    )

    model.fit(x, y, batch_size=B, verbose=0)
    for name, value in arrays(made).items():
        assert value.dtype == "float32"
        assert np.all(np.isfinite(value))
        assert np.any(value != before[name]), name


@pytest.mark.parametrize("layer", LAYERS)
def test_float64_layer_computes_in_float64(layer):
    made = layer(H, return_sequences=True, dtype="float64")
    made.build((B, T, D))
    randomize(made)
    x = draw(B, T, D).astype("float64")
    h = made(tf.constant(x))
    assert h.dtype == "float64"
    np.testing.assert_allclose(h, paper.states(arrays(made), x), rtol=0, atol=1e-13)


# Dropout


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize(
    ("arguments", "jit_compile"),
    [
        ({"dropout": 0.5}, False),
        ({"recurrent_dropout": 0.5}, False),
        ({"dropout": 0.5, "recurrent_dropout": 0.5}, True),
    ],
)
def test_dropout_acts_in_training_only(layer, arguments, jit_compile):
    keras.utils.set_random_seed(0)
    made = layer(H, return_sequences=True, **arguments)
    model = make_model(made, jit_compile=jit_compile)
    x, before = draw(B, T, D), arrays(made)
    expected = paper.states(before, x)
    # float32 against float64, 12 steps.
    close = {"rtol": 0, "atol": 3e-6}
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, **close)
    np.testing.assert_allclose(made(tf.constant(x), training=False), expected, **close)
    assert np.abs(made(tf.constant(x), training=True) - expected).max() > 0.01

    model.fit(x, expected, batch_size=B, verbose=0)
    # The targets are what the layer computes without dropout, so only dropout makes a gradient.
    assert np.abs(arrays(made)["kernel"] - before["kernel"]).max() > 1e-4


def factors_of_dropout(argument, graph, unroll):
    """What dropout multiplies each input or state with, shape `(batch, steps, units)`.

    The layer is linear with identity matrices, so that one subtraction recovers the factors.
    """
    made = FastRNN(
        D,
        activation="linear",
        use_bias=False,
        kernel_initializer="identity" if argument == "dropout" else "zeros",
        recurrent_initializer="identity" if argument == "recurrent_dropout" else "zeros",
        alpha_initializer=0.0,
        beta_initializer=0.0,
        return_sequences=True,
        unroll=unroll,
        **{argument: 0.5},
    )

    def train(x, h):
        return made(x, initial_state=[h], training=True)

    h0 = np.ones((B, D), "float32")
    call = tf.function(train) if graph else train
    h = np.asarray(call(tf.ones((B, T, D)), tf.constant(h0)))
    before = np.concatenate([h0[:, None], h[:, :-1]], axis=1)
    # alpha and beta are 1/2: h = (factor * 1 + before) / 2, or h = (factor * before + before) / 2.
    return 2 * h - before if argument == "dropout" else 2 * h / before - 1


def simple_rnn_draws_one_mask(graph, unroll):
    """Whether Keras's own SimpleRNN drops the same inputs at every step."""
    made = keras.layers.SimpleRNN(
        D,
        activation="linear",
        kernel_initializer="identity",
        recurrent_initializer="zeros",
        dropout=0.5,
        return_sequences=True,
        unroll=unroll,
    )

    def train(x):
        return made(x, training=True)

    h = np.asarray((tf.function(train) if graph else train)(tf.ones((B, T, D))))
    return np.all(h == h[:, :1])


@pytest.mark.parametrize("argument", ["dropout", "recurrent_dropout"])
@pytest.mark.parametrize("unroll", [False, True])
@pytest.mark.parametrize("graph", [False, True])
def test_dropout_is_one_mask_per_sequence_where_keras_does_so(argument, graph, unroll):
    keras.utils.set_random_seed(0)
    factors = factors_of_dropout(argument, graph, unroll)
    # Dropped, or doubled so that the mean stays; float32 rounds what is recovered.
    dropped = np.isclose(factors, 0.0, atol=1e-4)
    assert np.all(dropped | np.isclose(factors, 2.0, atol=1e-4))
    # 24 or more independent draws: outside these bounds in less than 1 of 1000 seeds.
    assert 0.15 < dropped.mean() < 0.85
    one_mask = bool(np.all(dropped == dropped[:, :1]))
    assert one_mask == simple_rnn_draws_one_mask(graph, unroll)
    assert one_mask or IS_TF_KERAS


def test_dropout_draws_anew_for_every_batch():
    keras.utils.set_random_seed(0)
    made = FastGRNN(H, dropout=0.5)
    x = tf.constant(draw(B, T, D))
    assert not np.allclose(made(x, training=True), made(x, training=True))


def test_seed_fixes_the_dropout():
    def train(seed):
        # tf_keras has the global seed only.
        keras.utils.set_random_seed(seed if IS_TF_KERAS else 0)
        made = FastGRNN(H, dropout=0.5, recurrent_dropout=0.5, seed=seed)
        made.build((B, T, D))
        randomize(made)
        if not IS_TF_KERAS:
            keras.utils.set_random_seed(np.random.randint(1000))
        return np.asarray(made(tf.constant(draw(B, T, D)), training=True))

    first = train(3)
    np.testing.assert_array_equal(train(3), first)
    assert not np.allclose(train(4), first)


# Regularizers and constraints


@pytest.mark.parametrize("layer", LAYERS)
def test_losses_of_every_factor_reach_the_model(layer):
    made = layer(
        H,
        kernel_rank=2,
        recurrent_rank=3,
        kernel_regularizer=keras.regularizers.L2(0.5),
        recurrent_regularizer=keras.regularizers.L2(0.25),
        bias_regularizer=keras.regularizers.L1(2.0),
    )
    model = make_model(made)
    values = arrays(made)
    expected = 0.0
    for side in ("left", "right"):
        expected += 0.5 * np.sum(values[f"kernel_{side}"] ** 2)
        expected += 0.25 * np.sum(values[f"recurrent_kernel_{side}"] ** 2)
    expected += 2.0 * sum(np.sum(np.abs(v)) for n, v in values.items() if n.endswith("bias"))
    # Sums of at most 50 float32 terms.
    np.testing.assert_allclose(float(sum(model.losses)), expected, rtol=1e-5)


@pytest.mark.parametrize("layer", LAYERS)
def test_activity_regularizer_counts_the_output(layer):
    made = layer(H, activity_regularizer=keras.regularizers.L2(0.5))
    made.build((B, T, D))
    randomize(made)
    output = np.asarray(made(tf.constant(draw(B, T, D))))
    keras_layer = keras.layers.ActivityRegularization(l2=0.5)  # a sum, or a mean over the batch
    keras_layer(tf.constant(output))
    expected = float(sum(keras_layer.losses))
    assert expected > 0.0
    np.testing.assert_allclose(float(sum(made.losses)), expected, rtol=1e-5)


@pytest.mark.parametrize("layer", LAYERS)
def test_constraints_hold_after_a_training_step(layer):
    names = ("kernel_constraint", "recurrent_constraint", "bias_constraint")
    made = layer(H, kernel_rank=2, **{name: keras.constraints.NonNeg() for name in names})
    model = make_model(made)
    assert min(value.min() for value in arrays(made).values()) < 0.0
    model.fit(draw(B, T, D), draw(B, H, seed=2), batch_size=B, verbose=0)
    for name, value in arrays(made).items():
        assert name.endswith("_logit") or np.all(value >= 0.0), name


@pytest.mark.parametrize("layer", LAYERS)
def test_frozen_layer_has_nothing_to_train(layer):
    made = layer(H, trainable=False)
    made.build((B, T, D))
    assert made.trainable_weights == made.cell.trainable_weights == []
    assert len(made.non_trainable_weights) == (6 if layer is FastGRNN else 5)
