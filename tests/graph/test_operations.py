"""Operations that are no layers, models inside models, and layers that keep their state."""

import numpy as np
import pytest
import tensorflow as tf
from small_models import (
    CHANNELS,
    STEPS,
    answers_of,
    check_everywhere,
    drawn,
    needs_tflm,
    sequences,
)

from keras_fastgrnn import FastGRNN, export, keras
from keras_fastgrnn.keras_api import IS_TF_KERAS
from keras_fastgrnn.quantization import quantize_aware

LAYERS = keras.layers
FORMATS = [None, "int16x8", "int8"]
OPS = tf.nn if IS_TF_KERAS else keras.ops
DIVISORS = np.array([1.0, 2.0, 4.0], "float32")


def functional(body):
    inputs = LAYERS.Input((STEPS, CHANNELS))
    return drawn(keras.Model(inputs, body(inputs)), spread=0.25)


def answered(value):
    return LAYERS.Dense(2)(FastGRNN(4)(value))


def last_of_two(x):
    h = FastGRNN(4, return_sequences=True)(x)
    return LAYERS.Dense(2)(LAYERS.Dense(4, activation="relu")(h)[:, -1, :])


def inside(*layers, channels=CHANNELS):
    return keras.Sequential([LAYERS.Input((STEPS, channels)), *layers])


def functional_inside(x):
    inputs = LAYERS.Input((STEPS, CHANNELS))
    outputs = LAYERS.Dropout(0.1)(LAYERS.Dense(5, activation="tanh")(inputs) * 0.5)
    return answered(keras.Model(inputs, outputs)(x))


# With what quantization-aware training has of it.
CHAINS = {
    "x * 2 + 1": lambda x: answered(x * 2.0 + 1.0),
    "(1 - x) / channels": lambda x: answered((1.0 - x) / DIVISORS),
    "-x - channels": lambda x: answered(-x - DIVISORS),
    "h[:, -1]": lambda x: LAYERS.Dense(2)(FastGRNN(4, return_sequences=True)(x)[:, -1]),
    "h[:, -1, :] of a Dense": last_of_two,
    "relu(x)": lambda x: LAYERS.Dense(2)(OPS.relu(LAYERS.Dense(5)(FastGRNN(4)(x)))),
    "Sequential inside": lambda x: answered(inside(LAYERS.Dense(4, activation="relu"))(x)),
    "recurrent layers inside": lambda x: LAYERS.Dense(2)(
        inside(FastGRNN(5, return_sequences=True), LAYERS.GRU(4))(x)
    ),
    "models inside a model inside": lambda x: answered(inside(inside(LAYERS.Dense(4)))(x)),
    "Functional inside": functional_inside,
    "its name is that of one outside": lambda x: LAYERS.Dense(2, name="same")(
        FastGRNN(4)(inside(LAYERS.Dense(4, name="same"))(x))
    ),
}


def convolutions_of_some_channels(x):
    """Kernels of several lengths, each for channels of its own."""
    x = LAYERS.Dense(6, activation="relu")(LAYERS.Conv1D(5, 3, strides=2)(x))
    each = [
        LAYERS.Dense(2)(x[..., :2]),
        LAYERS.Conv1D(3, 3, padding="causal")(x[:, :, 2:5]),
        x[..., -1:],
    ]
    return answered(LAYERS.Concatenate()(each))


SOME_CHANNELS = {
    "channels": convolutions_of_some_channels,
    "channels of the answer": lambda x: LAYERS.Dense(2)(FastGRNN(5)(x)[:, 1:4]),
    "channels of the last step": lambda x: FastGRNN(4, return_sequences=True)(x)[:, -1][:, :3],
}
AFTER_THE_LAST_LAYER = {
    **SOME_CHANNELS,
    "Dense(h) * 2 - 0.5": lambda x: answered(x) * 2.0 - 0.5,
    "tanh(h)": lambda x: OPS.tanh(FastGRNN(4)(x)),
    "sigmoid(h)": lambda x: OPS.sigmoid(FastGRNN(4)(x)),
}


@needs_tflm
@pytest.mark.parametrize("quantization", FORMATS)
@pytest.mark.parametrize("body", {**CHAINS, **AFTER_THE_LAST_LAYER})
def test_it_runs_on_tflite_micro_and_in_c(body, quantization):
    check_everywhere(functional({**CHAINS, **AFTER_THE_LAST_LAYER}[body]), quantization)


@pytest.mark.parametrize("quantization", ["int16x8", "int8"])
@pytest.mark.parametrize("body", CHAINS)
def test_model_trained_with_it_is_the_device(body, quantization):
    model, x = functional(CHAINS[body]), sequences()
    aware = quantize_aware(model, quantization, calibration_data=x)
    expected = answers_of(aware, x)
    assert expected.shape == answers_of(model, x).shape
    found = export.convert(aware).predict(x, on="reference")
    allowed = {"int16x8": 1e-3, "int8": 0.05}[quantization]
    np.testing.assert_allclose(found, expected, atol=allowed * np.ptp(expected))


def test_training_refuses_some_channels_by_name():
    with pytest.raises(ValueError, match=r"expected layers that take all channels, .* got .*\("):
        quantize_aware(functional(SOME_CHANNELS["channels of the answer"]))


@pytest.mark.parametrize("masking_is_inside", [True, False])
def test_masked_steps_are_not_fed_to_what_is_inside(masking_is_inside):
    x = sequences(8)
    x[:, STEPS // 2 :] = 0.0
    masking = [LAYERS.Masking()]
    inner = inside(*(masking if masking_is_inside else []), FastGRNN(4))
    before = [] if masking_is_inside else masking

    def body(value):
        for layer in [*before, inner]:
            value = layer(value)
        return LAYERS.Dense(2)(value)

    model = functional(body)
    deployed = export.convert(model, x, quantization=None)
    (note,) = deployed.report.notes
    assert "(Masking) is left out" in note
    np.testing.assert_allclose(deployed.predict(x, on="reference"), answers_of(model, x), atol=1e-5)
    real = np.ascontiguousarray(x[:, : STEPS // 2])
    np.testing.assert_allclose(answers_of(model, x), answers_of(unmasked(model), real), atol=1e-5)


def unmasked(model):
    """Of the same weights, for any number of steps."""
    plain = keras.Sequential([LAYERS.Input((None, CHANNELS)), FastGRNN(4), LAYERS.Dense(2)])
    plain.set_weights(model.get_weights())
    return plain


def stateful(steps, *layers, batch=1):
    inputs = LAYERS.Input(batch_shape=(batch, steps, CHANNELS))
    value = inputs
    for layer in layers:
        value = layer(value)
    return drawn(keras.Model(inputs, value))


STATEFUL = {
    "FastGRNN": lambda: [FastGRNN(5, stateful=True), LAYERS.Dense(2)],
    "GRU and LSTM": lambda: [
        LAYERS.GRU(4, stateful=True, return_sequences=True),
        LAYERS.LSTM(3, stateful=True),
        LAYERS.Dense(2),
    ],
}


@pytest.mark.parametrize("layers", STATEFUL)
def test_a_device_keeps_the_state_as_keras_from_batch_to_batch(layers):
    x = sequences(4, steps=30)
    model = stateful(1, *STATEFUL[layers]())
    deployed = export.convert(model, x, quantization=None)
    for sequence, found in zip(x, deployed.predict(x, on="reference"), strict=True):
        for layer in model.layers:
            if getattr(layer, "stateful", False):
                layer.reset_states() if IS_TF_KERAS else layer.reset_state()
        answers = [np.asarray(model(step[np.newaxis, np.newaxis])) for step in sequence]
        np.testing.assert_allclose(found, answers[-1][0], atol=1e-5)


@needs_tflm
@pytest.mark.parametrize("quantization", ["int16x8", "int8"])
@pytest.mark.parametrize("batch", [1, 4])
def test_a_stateful_model_is_the_device_and_trains_for_it(batch, quantization):
    x = sequences()
    model = stateful(STEPS, *STATEFUL["FastGRNN"](), batch=batch)
    plain = stateful(STEPS, FastGRNN(5), LAYERS.Dense(2), batch=None)
    plain.set_weights([w for w in model.get_weights() if w.shape != (batch, 5)])
    deployed = export.convert(model, x, quantization=quantization)
    assert deployed.tflite == export.convert(plain, x, quantization=quantization).tflite
    (note,) = deployed.report.notes
    assert "(FastGRNN) is stateful: a device keeps its state until it is reset" in note
    aware = quantize_aware(model, quantization, calibration_data=x)
    found = export.convert(aware).predict(x)
    np.testing.assert_allclose(found, answers_of(aware, x), atol=0.05)
