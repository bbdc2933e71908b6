"""Quantization-aware models made of float ones: their weights, zeros, and what is refused."""

import numpy as np
import pytest
import tensorflow as tf
from aware_models import FORMATS, STEPS, aware, data, fitted
from small_models import CHANNELS, answers_of, compile_to_fit, sequential

from keras_fastgrnn import FastGRNN, FastGRNNCell, FastRNN, FastRNNCell, export, keras, quant_tanh
from keras_fastgrnn.export import UnsupportedLayerError
from keras_fastgrnn.keras_api import IS_TF_KERAS
from keras_fastgrnn.quantization import quantize_aware
from keras_fastgrnn.sparsity import IterativeHardThresholding, PruneLowMagnitude

LAYERS = keras.layers

pytestmark = pytest.mark.filterwarnings("ignore::keras_fastgrnn.export.SaturationWarning")


def make(*layers, spread=0.25):
    return sequential(*layers, steps=STEPS, spread=spread)


CHAINS = {
    "FastGRNN": lambda: [FastGRNN(6), LAYERS.Dense(2)],
    "FastRNN": lambda: [FastRNN(6), LAYERS.Dense(2)],
    "low rank": lambda: [FastGRNN(6, kernel_rank=2, recurrent_rank=3), LAYERS.Dense(2)],
    "without biases": lambda: [
        FastGRNN(6, use_bias=False),
        LAYERS.Dense(2, activation=quant_tanh, use_bias=False),
    ],
    "folded": lambda: [
        LAYERS.Rescaling(0.5, offset=0.25),
        LAYERS.Normalization(mean=[0.1, -0.2, 0.3], variance=[4.0, 0.25, 1.0]),
        FastGRNN(6, use_bias=False, kernel_rank=2),
        LAYERS.Dense(2),
    ],
    "folded, inverted": lambda: [
        LAYERS.Normalization(mean=[0.1, -0.2, 0.3], variance=[4.0, 0.25, 1.0], invert=True),
        LAYERS.Dense(4, use_bias=False),
        FastRNN(6),
        LAYERS.Dense(2),
    ],
    "folded after a state": lambda: [
        FastGRNN(3, return_sequences=True),
        LAYERS.Normalization(mean=[0.1, -0.2, 0.3], variance=[4.0, 0.25, 1.0]),
        FastRNN(4, use_bias=False),
        LAYERS.Rescaling(2.0, offset=[0.1, 0.2, 0.3, 0.4]),
        LAYERS.Dense(2, use_bias=False),
    ],
    "GRU": lambda: [LAYERS.GRU(5), LAYERS.Dense(2)],
    "GRU that resets before": lambda: [LAYERS.GRU(5, reset_after=False), LAYERS.Dense(2)],
    "LSTM": lambda: [LAYERS.LSTM(5, use_bias=False), LAYERS.Dense(2)],
    "SimpleRNN": lambda: [LAYERS.SimpleRNN(5), LAYERS.Dense(2)],
    "other cells, folded and beside ours": lambda: [
        LAYERS.Normalization(mean=[0.1, -0.2, 0.3], variance=[4.0, 0.25, 1.0]),
        LAYERS.GRU(4, return_sequences=True),
        LAYERS.RNN([LAYERS.LSTMCell(3), FastGRNNCell(3)]),
        LAYERS.Dense(2),
    ],
    "stacked cells": lambda: [LAYERS.RNN([FastRNNCell(4), FastGRNNCell(3)]), LAYERS.Dense(2)],
    "float16": lambda: [FastGRNN(4, dtype="mixed_float16"), LAYERS.Dense(2, dtype="float64")],
}


@pytest.mark.parametrize("chain", CHAINS)
def test_before_any_range_was_seen_only_weights_are_rounded(chain):
    model = make(*CHAINS[chain]())
    x, _ = data()
    expected = answers_of(model, x)
    found = quantize_aware(model).predict(x, verbose=0)
    # Weights of 8 bits: half of 1 in 127 of the largest, in every sum.
    np.testing.assert_allclose(found, expected, atol=0.02 * max(np.ptp(expected), 1.0))


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("quantization", FORMATS)
def test_model_answers_about_as_the_float_one(quantization, chain):
    model = make(*CHAINS[chain]())
    x, _ = data()
    expected = answers_of(model, x)
    found = np.asarray(quantize_aware(model, quantization, calibration_data=x)(x))
    part = {"int16x8": 0.03, "int8": 0.15}[quantization]
    np.testing.assert_allclose(found, expected, atol=part * max(np.ptp(expected), 1.0))


def test_layers_keep_their_names_weights_and_what_else_they_are():
    layers = [
        FastGRNN(6, "quant_tanh", "quant_sigmoid", dropout=0.1, recurrent_dropout=0.2, name="rnn"),
        LAYERS.Dropout(0.3, name="drop"),
        LAYERS.Dense(2, "softmax", kernel_regularizer="l2", name="head"),
    ]
    model = make(*layers)
    made = quantize_aware(model)
    assert [layer.name for layer in made.layers[1:]] == ["rnn", "drop", "head"]
    cell, drop, head = made.layers[1].cell, made.layers[2], made.layers[3]
    assert (cell.dropout, cell.recurrent_dropout, drop.layer.rate) == (0.1, 0.2, 0.3)
    assert head.activation is keras.activations.softmax
    assert head.kernel_regularizer is not None
    for weight, value in zip(made.trainable_weights, model.trainable_weights, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value.numpy())


RAW = 1000.0
MEANS = [500.0, 0.0, 2000.0]


def layers_for_raw_values():
    """Layers for raw sensor values."""
    normalization = LAYERS.Normalization(mean=MEANS, variance=[RAW**2] * 3)
    return {
        "FastGRNN": [normalization, FastGRNN(5)],
        "FastRNN": [normalization, FastRNN(5)],
        "low rank": [normalization, FastGRNN(5, kernel_rank=2, use_bias=False)],
        "Rescaling": [LAYERS.Rescaling(1.0 / RAW, offset=-0.5), FastGRNN(5)],
        "two layers": [normalization, FastGRNN(4, return_sequences=True), FastRNN(3)],
        "Dense first": [normalization, LAYERS.Dense(4, "tanh", use_bias=False), FastGRNN(5)],
    }


def gradients(of, x, y):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean((of(x) - y) ** 2)
    return tape.gradient(loss, [v if IS_TF_KERAS else v.value for v in of.trainable_weights])


@pytest.mark.parametrize("quantization", FORMATS)
@pytest.mark.parametrize("case", layers_for_raw_values())
def test_weights_and_gradients_are_those_of_the_float_model_whatever_the_unit(case, quantization):
    model = make(*layers_for_raw_values()[case], LAYERS.Dense(2))
    x, y = data()
    x = (x * RAW + MEANS).astype("float32")
    found = quantize_aware(model, quantization, calibration_data=x)
    for weight, expected in zip(found.trainable_weights, model.trainable_weights, strict=True):
        np.testing.assert_array_equal(weight.numpy(), expected.numpy())
    pairs = zip(gradients(found, x, y), gradients(model, x, y), strict=True)
    part = {"int16x8": 0.05, "int8": 0.3}[quantization]  # weights and values are rounded
    for gradient, expected in pairs:
        if expected.shape == ():  # zeta acts on the layer after it by what it was
            continue
        np.testing.assert_allclose(gradient, expected, atol=part * np.abs(expected).max())


def test_dropout_before_a_folded_layer_drops_to_the_mean():
    normalization = LAYERS.Normalization(mean=MEANS, variance=[RAW**2] * 3)
    model = make(normalization, LAYERS.Dropout(0.5, name="drop"), FastGRNN(4), LAYERS.Dense(2))
    drop = quantize_aware(model).get_layer("drop")
    x = np.full((64, STEPS, CHANNELS), np.add(MEANS, RAW), "float32")
    dropped = np.asarray(drop(x, training=True))
    np.testing.assert_array_equal(np.asarray(drop(x)), x)
    means = np.broadcast_to(np.float32(MEANS), dropped.shape)
    is_dropped = np.isclose(dropped, means)
    assert 0.4 < is_dropped.mean() < 0.6
    np.testing.assert_allclose(dropped[~is_dropped], (means + 2.0 * RAW)[~is_dropped], rtol=1e-5)


def test_dropout_of_the_cell_drops_to_the_mean():
    normalization = LAYERS.Normalization(mean=MEANS, variance=[RAW**2] * 3)
    model = make(normalization, FastGRNN(4, dropout=0.999999), LAYERS.Dense(2))
    at_mean = np.broadcast_to(np.float32(MEANS), (8, STEPS, CHANNELS))
    x = (data()[0][:8] * RAW + MEANS).astype("float32")
    found = quantize_aware(model, calibration_data=x)
    expected = np.asarray(found(at_mean.astype("float32")))
    np.testing.assert_allclose(np.asarray(found(x, training=True)), expected, atol=1e-3)


def test_channel_that_is_rescaled_to_a_constant_stays_that_constant():
    model = make(LAYERS.Rescaling([1.0, 0.0, 2.0], [0.0, 3.0, 1.0]), FastGRNN(4, use_bias=False))
    model = keras.Sequential([LAYERS.Input((STEPS, CHANNELS)), *model.layers, LAYERS.Dense(2)])
    x, _ = data()
    found = quantize_aware(model, calibration_data=x)
    np.testing.assert_allclose(np.asarray(found(x)), np.asarray(model(x)), atol=0.02)


def test_model_itself_stays_as_it_was():
    model = make(FastGRNN(4), LAYERS.Dense(2))
    before = model.get_weights()
    fitted(quantize_aware(model, calibration_data=data()[0]))
    for weight, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, old)


def test_frozen_layers_stay_frozen():
    model = make(FastGRNN(4, name="rnn"), LAYERS.Dense(2))
    model.layers[0].trainable = False
    made = quantize_aware(model)
    assert [w.shape for w in made.trainable_weights] == [w.shape for w in model.layers[1].weights]
    kernels = (of.get_layer("rnn").cell.kernel_factors[0].numpy() for of in (made, model))
    np.testing.assert_array_equal(*kernels)


def test_dropout_acts_in_training_alone():
    model = aware(LAYERS.Dropout(0.5), FastGRNN(4, recurrent_dropout=0.5), LAYERS.Dropout(0.5))
    x, _ = data()
    np.testing.assert_array_equal(np.asarray(model(x)), np.asarray(model(x)))
    assert np.any(np.asarray(model(x, training=True)) != np.asarray(model(x, training=True)))


@pytest.mark.parametrize("quantization", FORMATS)
def test_calibration_shows_what_is_computed_without_dropout(quantization):
    def made(rate):
        cells = [
            FastGRNNCell(4, dropout=rate, recurrent_dropout=rate),
            FastRNNCell(3, dropout=rate),
        ]
        layers = LAYERS.Dropout(rate), LAYERS.RNN(cells), LAYERS.Dropout(rate)
        return aware(*layers, quantization=quantization)

    for weight, expected in zip(made(0.5).weights, made(0.0).weights, strict=True):
        np.testing.assert_array_equal(weight.numpy(), expected.numpy())


@pytest.mark.parametrize("quantization", FORMATS)
def test_infinite_and_missing_values_in_training_do_not_stop_the_rounding(quantization):
    model = aware(FastGRNN(4), quantization=quantization)
    x, _ = data()
    expected = np.asarray(model(x))
    for value in (np.nan, np.inf, -np.inf):
        model(np.where(x > 1.0, value, x).astype("float32"), training=True)
    np.testing.assert_allclose(np.asarray(model(x)), expected, atol=0.05 * np.ptp(expected))
    export.convert(model)


@pytest.mark.parametrize("quantization", FORMATS)
def test_model_learns(quantization):
    model = aware(FastGRNN(4), quantization=quantization)
    x, y = data()
    before = np.mean((answers_of(model, x) - y) ** 2)
    fitted(model, epochs=10, learning_rate=2e-2)
    assert np.mean((answers_of(model, x) - y) ** 2) < 0.5 * before


# Zeros

PRUNED = {
    "full rank": lambda: FastGRNN(8),
    "low rank": lambda: FastRNN(8, kernel_rank=2, recurrent_rank=4),
}


def factors(model):
    cell = model.layers[-2].cell
    return [w.numpy() for w in (*cell.kernel_factors, *cell.recurrent_factors)]


def pruned_by_hand(layer):
    model = make(layer, LAYERS.Dense(2))
    rng = np.random.default_rng(0)
    for weight in (*layer.cell.kernel_factors, *layer.cell.recurrent_factors):
        weight.assign(weight.numpy() * (rng.random(weight.shape) < 0.4))
    return model


@pytest.mark.parametrize(
    ("quantization", "layer", "options"),
    [
        ("int16x8", "full rank", {}),
        ("int8", "low rank", {}),
        ("int16x8", "low rank", {"weight_bits": 4, "power_of_two_weights": True}),
    ],
    ids=str,
)
def test_zeros_of_pruning_stay_exactly_zero_in_training(quantization, layer, options):
    model = pruned_by_hand(PRUNED[layer]())
    x, _ = data()
    made = quantize_aware(model, quantization, calibration_data=x, **options)
    fitted(made, epochs=3, learning_rate=1e-2)
    for found, original in zip(factors(made), factors(model), strict=True):
        np.testing.assert_array_equal(found == 0.0, original == 0.0)
        assert np.any(found != original)
    stored = {t.name: t.data for t in export.convert(made).graph.tensors() if t.is_constant}
    joined = [data for name, data in stored.items() if name.endswith("product/weights")]
    for matrix in joined:  # none is stored as anything else
        assert np.mean(matrix == 0) > 0.4


def test_zeros_that_are_not_to_be_kept_return():
    model = pruned_by_hand(FastGRNN(8))
    made = quantize_aware(model, calibration_data=data()[0], preserve_zeros=False)
    fitted(made, epochs=1, learning_rate=1e-2)
    for found, original in zip(factors(made), factors(model), strict=True):
        assert np.mean(found == 0.0) < 0.1 < np.mean(original == 0.0)


@pytest.mark.parametrize("quantization", FORMATS)
def test_quantization_aware_model_is_pruned(quantization):
    model = aware(FastGRNN(8), quantization=quantization)
    compile_to_fit(model, keras.optimizers.Adam(1e-2), "mse", jit_compile=False)
    schedule = IterativeHardThresholding(0.75, 1, 4, frequency=1)
    x, y = data()
    callbacks = [PruneLowMagnitude(schedule, schedule)]
    model.fit(x, y, batch_size=4, epochs=2, callbacks=callbacks, verbose=0)
    assert [np.mean(factor == 0.0) for factor in factors(model)] == [0.75, 0.75]
    deployed = export.convert(model)
    difference = np.abs(deployed.predict(x, on="reference") - np.asarray(model(x)))
    assert difference.max() <= 20 * deployed.graph.outputs[0].scale


# Mistakes


def with_nan(layer):
    model = make(FastGRNN(4, name="rnn"), LAYERS.Dense(2, name="head"))
    weight = model.get_layer(layer).trainable_weights[0]
    values = weight.numpy().copy()
    values[0, 0] = np.nan
    weight.assign(values)
    return model


HEAD = LAYERS.Dense
REFUSED_MODELS = {
    "no recurrent layer": (lambda: make(HEAD(3), HEAD(2)), "it has no recurrent layer"),
    "ours inside another layer": (
        lambda: make(LAYERS.Bidirectional(FastGRNN(3), name="both"), HEAD(2)),
        r"both \(Bidirectional\): it reads the sequence from its end; use the forward layer alone",
    ),
    "a recurrent layer at the end": (
        lambda: make(FastGRNN(3, name="rnn")),
        r"expected a Dense layer at its end, got rnn \(FastGRNN\)",
    ),
    "a Dropout at the end": (
        lambda: make(FastGRNN(3), HEAD(2), LAYERS.Dropout(0.5, name="drop")),
        r"expected a Dense layer at its end, got drop \(Dropout\)",
    ),
    "already quantization-aware": (
        lambda: aware(FastGRNN(3, name="rnn")),
        "expected a model of float layers, got rnn, which is quantization-aware already",
    ),
    "not built": (
        lambda: keras.Sequential([FastGRNN(3), HEAD(2)]),
        "expected a built Sequential or Functional model",
    ),
    "NaN in the cell": (lambda: with_nan("rnn"), "The layer rnn has weights that are NaN"),
    "NaN in the head": (lambda: with_nan("head"), "The layer head has weights that are NaN"),
}


@pytest.mark.parametrize("case", REFUSED_MODELS)
def test_model_that_cannot_be_trained_so_is_refused(case):
    model, message = REFUSED_MODELS[case]
    with pytest.raises(ValueError, match=message):
        quantize_aware(model())


def test_layers_that_cannot_be_exported_are_all_named():
    model = make(FastGRNN(3, "gelu", name="rnn"), LAYERS.LayerNormalization(name="norm"), HEAD(2))
    with pytest.raises(UnsupportedLayerError) as error:
        quantize_aware(model)
    assert "- rnn (FastGRNN): its activation 'gelu'" in str(error.value)
    assert "- norm (LayerNormalization):" in str(error.value)


@pytest.mark.parametrize(
    "model", [None, "model.keras", FastGRNN(3)], ids=["nothing", "path", "layer"]
)
def test_what_is_no_model_is_refused(model):
    with pytest.raises(TypeError, match="^Received an invalid value for argument model, expected"):
        quantize_aware(model)


def test_model_of_the_other_flavor_is_refused():
    class Model:
        """What a model of another Keras looks like from here."""

    with pytest.raises(TypeError, match=r"^The model .*TF_USE_LEGACY_KERAS"):
        quantize_aware(Model())


ARGUMENTS = {
    "quantization": ("'int16x8' or 'int8'", ["int4", None, "auto", 8, ["int8"]]),
    "weight_bits": ("4 or 8", [2, 16, "8", 8.0, True, None]),
    "power_of_two_weights": ("True or False", [1, "yes", None]),
    "byte_biases": ("True or False", [0, None]),
    "preserve_zeros": ("True or False", [0, None]),
}


@pytest.mark.parametrize(
    ("argument", "expected", "value"),
    [(name, expected, v) for name, (expected, values) in ARGUMENTS.items() for v in values],
)
def test_invalid_argument_is_refused(argument, expected, value):
    with pytest.raises(ValueError) as error:
        quantize_aware(make(FastGRNN(3), HEAD(2)), **{argument: value})
    assert str(error.value) == (
        f"Received an invalid value for argument {argument}, expected {expected}, got {value!r}."
    )


X = data()[0]
BAD_DATA = {
    "no sequences": X[0],
    "other channels": X[:, :, :2],
    "other steps": X[:, :5],
    "none": X[:0],
    "NaN": np.where(X > 1.0, np.nan, X),
    "infinite": np.where(X > 1.0, np.inf, X),
    "text": "x",
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_calibration_data_is_checked(case):
    with pytest.raises(ValueError, match="^Received an invalid value for argument calib") as error:
        quantize_aware(make(FastGRNN(3), HEAD(2)), calibration_data=BAD_DATA[case])
    assert "\n" not in str(error.value)
    assert f"{STEPS}, {CHANNELS}" in str(error.value)
