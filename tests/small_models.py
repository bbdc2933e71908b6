"""Small Keras models with drawn weights, and what the tests of the exporter need."""

import numpy as np
import pytest

from keras_fastgrnn import FastGRNN, export, keras
from keras_fastgrnn.export.tflm.interpreter import is_available

STEPS, CHANNELS = 12, 3

needs_tflm = pytest.mark.skipif(
    not is_available(),
    reason="The TFLite Micro wheel is absent; install keras-fastgrnn[tflm].",
)


def sequential(*layers, steps=STEPS, channels=CHANNELS, seed=0, spread=0.4):
    """A Sequential model of these layers, every weight drawn from N(0, spread)."""
    model = keras.Sequential([keras.layers.Input((steps, channels)), *layers])
    return drawn(model, seed, spread)


def every_step(units=4):
    """A FastGRNN that answers at every step."""
    return FastGRNN(units, return_sequences=True)


def drawn(model, seed=0, spread=0.4):
    rng = np.random.default_rng(seed)
    for weight in model.trainable_weights:
        weight.assign(rng.normal(0.0, spread, tuple(weight.shape)))
    return model


def sequences(count=16, steps=STEPS, channels=CHANNELS, seed=1):
    """Sequences of N(0, 1)."""
    return np.random.default_rng(seed).normal(size=(count, steps, channels)).astype("float32")


def answers_of(model, x):
    """What Keras answers, without the function that `predict` first makes of a model."""
    return np.asarray(model(x, training=False))


def compile_to_fit(model, optimizer, loss, **arguments):
    """Compiles a model, and makes the optimizer's variables.

    A function that makes them while it is traced would be traced twice.
    """
    model.compile(optimizer, loss, **arguments)
    model.optimizer.build(model.trainable_variables)


def with_int8_weights(model, seed=0):
    """Gives every matrix multiples of 1/256 that reach 127/256, and every unit the size 1.

    Such weights are int8 exactly, also in a joined matrix, so that only activations are rounded.
    """
    rng = np.random.default_rng(seed)
    for weight in model.trainable_weights:
        values = rng.normal(0.0, 0.4, tuple(weight.shape))
        if values.ndim == 2:
            values = rng.integers(-127, 128, values.shape)
            values.flat[rng.integers(values.size)] = 127
            values = values / 256.0
        elif any(name in weight.name for name in ("zeta", "alpha")):
            values = np.array(30.0)  # the sigmoid of it is 1 in float32
        weight.assign(np.reshape(values, tuple(weight.shape)))
    return model


def check_everywhere(model, quantization, x=None, in_c=True):
    """A model's answers on TFLite Micro and in C are the reference's, and near those of Keras.

    Values are of the order of 1: in float32, with weights of 8 bits, and with all of 8 bits.
    """
    x = sequences() if x is None else x
    deployed = export.convert(model, x, quantization=quantization)
    answers = deployed.predict(x)
    of_float32 = 0.0 if quantization else 1e-6
    np.testing.assert_allclose(answers, deployed.predict(x, on="reference"), atol=of_float32)
    allowed = {None: 1e-5, "int16x8": 0.03, "int8": 0.2}[quantization]
    np.testing.assert_allclose(answers, answers_of(model, x), atol=allowed)
    if in_c and quantization == "int16x8":
        compiled = export.convert_c(model, x)
        np.testing.assert_array_equal(compiled.predict(x), compiled.predict(x, on="reference"))
