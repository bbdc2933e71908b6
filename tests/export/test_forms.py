"""Forms of recurrent models that people write: each is exported as Keras computes it, or refused.

On sequences of 20 steps of 6 channels, with FastGRNN(8) and Dense(3) where a name says no more.
"""

import numpy as np
import pytest
from small_models import answers_of, drawn, every_step, needs_tflm

from keras_fastgrnn import FastGRNN, FastGRNNCell, export, keras

LAYERS = keras.layers
STEPS, CHANNELS = 20, 6


def sequential(*layers, inputs=None, head=True):
    inputs = LAYERS.Input((STEPS, CHANNELS)) if inputs is None else inputs
    return keras.Sequential([inputs, *layers, *([LAYERS.Dense(3)] if head else [])])


def functional(body):
    inputs = LAYERS.Input((STEPS, CHANNELS))
    return keras.Model(inputs, body(inputs))


def before(*layers):
    return lambda: sequential(*layers, FastGRNN(8))


def after(*layers):
    return lambda: sequential(FastGRNN(8), *layers, head=False)


def head(value):
    return LAYERS.Dense(3)(value)


def autoencoder(x):
    h = every_step(8)(LAYERS.RepeatVector(STEPS)(FastGRNN(4)(x)))
    return LAYERS.TimeDistributed(LAYERS.Dense(CHANNELS))(h)


def attention(x):
    h = every_step(8)(x)
    weights = LAYERS.Softmax(axis=1)(LAYERS.Dense(1)(h))
    return head(LAYERS.Dot(axes=1)([h, weights]))


def crnn(x):
    x = LAYERS.Reshape((STEPS, CHANNELS, 1))(x)
    x = LAYERS.MaxPooling2D((1, 2))(LAYERS.Conv2D(4, 3, padding="same", activation="relu")(x))
    return head(FastGRNN(8)(LAYERS.Reshape((STEPS, 12))(x)))


def with_vector(x):
    other = LAYERS.Input((4,))
    return keras.Model([x, other], head(LAYERS.Concatenate()([FastGRNN(8)(x), other])))


def heads(x):
    h = FastGRNN(8)(x)
    return keras.Model(x, [LAYERS.Dense(3)(h), LAYERS.Dense(1)(h)])


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.inner = sequential(FastGRNN(8))

    def call(self, x):
        return self.inner(x)


def called(model):
    model(np.zeros((1, STEPS, CHANNELS), "float32"))
    return model


def normalization():
    return LAYERS.Normalization(mean=np.arange(6.0), variance=np.arange(1.0, 7.0))


MIXED = (
    keras.mixed_precision.Policy("mixed_float16")
    if hasattr(keras, "mixed_precision")
    else keras.DTypePolicy("mixed_float16")
)

TAKEN = {
    "Functional": lambda: functional(lambda x: head(FastGRNN(8)(x))),
    "Sequential without Input": lambda: called(keras.Sequential([FastGRNN(8), LAYERS.Dense(3)])),
    "Input of any steps": lambda: sequential(FastGRNN(8), inputs=LAYERS.Input((None, CHANNELS))),
    "batch_size=1": lambda: sequential(
        FastGRNN(8), inputs=LAYERS.Input((STEPS, CHANNELS), batch_size=1)
    ),
    "Normalization": before(normalization()),
    "Rescaling": before(LAYERS.Rescaling(0.5, 0.1)),
    "Dropout": before(LAYERS.Dropout(0.2)),
    "dropout=": lambda: sequential(FastGRNN(8, dropout=0.2)),
    "Dense softmax": after(LAYERS.Dense(3, "softmax")),
    "Dense sigmoid": after(LAYERS.Dense(1, "sigmoid")),
    "Dense relu before": before(LAYERS.Dense(6, "relu")),
    "Dense relu, Dense": after(LAYERS.Dense(6, "relu"), LAYERS.Dense(3)),
    "use_bias=False": after(LAYERS.Dense(3, use_bias=False)),
    "return_sequences": lambda: sequential(every_step(8)),
    "stacked": lambda: sequential(every_step(8), FastGRNN(8)),
    "RNN of cells": lambda: sequential(LAYERS.RNN([FastGRNNCell(8), FastGRNNCell(8)])),
    "GRU": lambda: sequential(LAYERS.GRU(8)),
    "LSTM": lambda: sequential(LAYERS.LSTM(8)),
    "GRU reset_after=False": lambda: sequential(LAYERS.GRU(8, reset_after=False)),
    "no head": after(),
    "mixed_float16": lambda: sequential(FastGRNN(8, dtype=MIXED)),
    "Dense float64": after(LAYERS.Dense(3, dtype="float64")),
    "SpatialDropout1D": before(LAYERS.SpatialDropout1D(0.2)),
    "GaussianNoise": before(LAYERS.GaussianNoise(0.1)),
    "Dense leaky_relu": after(LAYERS.Dense(6, "leaky_relu"), LAYERS.Dense(3)),
    "Dense hard_sigmoid": after(LAYERS.Dense(3, "hard_sigmoid")),
    "TimeDistributed(Dense)": lambda: sequential(
        every_step(8), LAYERS.TimeDistributed(LAYERS.Dense(3)), head=False
    ),
    "BatchNormalization first": before(LAYERS.BatchNormalization()),
    "BatchNormalization between": after(LAYERS.BatchNormalization(), LAYERS.Dense(3)),
    "Dense, BatchNormalization, ReLU": before(
        LAYERS.Dense(8), LAYERS.BatchNormalization(), LAYERS.ReLU()
    ),
    "Masking": before(LAYERS.Masking()),
    "h[:, -1]": lambda: functional(lambda x: head(every_step(8)(x)[:, -1])),
    "Flatten after the last step": after(LAYERS.Flatten(), LAYERS.Dense(3)),
    "Activation(softmax)": after(LAYERS.Dense(3), LAYERS.Activation("softmax")),
    "Softmax": after(LAYERS.Dense(3), LAYERS.Softmax()),
    "Activation(relu)": after(LAYERS.Dense(6), LAYERS.Activation("relu"), LAYERS.Dense(3)),
    "ReLU": after(LAYERS.Dense(6), LAYERS.ReLU(), LAYERS.Dense(3)),
    "LeakyReLU": after(LAYERS.Dense(6), LAYERS.LeakyReLU(), LAYERS.Dense(3)),
    "PReLU": after(LAYERS.Dense(6), LAYERS.PReLU(), LAYERS.Dense(3)),
    "x * 0.5": lambda: functional(lambda x: head(FastGRNN(8)(x * 0.5))),
    "residual Add": lambda: functional(
        lambda x: head(FastGRNN(8)(LAYERS.Add()([every_step(6)(x), x])))
    ),
    "residual a + b": lambda: functional(lambda x: head(FastGRNN(8)(every_step(6)(x) + x))),
    "skip Concatenate": lambda: functional(
        lambda x: head(FastGRNN(8)(LAYERS.Concatenate()([every_step(6)(x), x])))
    ),
    "nested Sequential": lambda: functional(
        lambda x: head(FastGRNN(8)(sequential(LAYERS.Dense(6, "relu"), head=False)(x)))
    ),
    "stateful": lambda: keras.Sequential(
        [
            LAYERS.Input(batch_shape=(1, STEPS, CHANNELS)),
            FastGRNN(8, stateful=True),
            LAYERS.Dense(3),
        ]
    ),
    "return_state": lambda: functional(lambda x: head(FastGRNN(8, return_state=True)(x)[0])),
    "Identity": before(LAYERS.Identity()),
    "ActivityRegularization": before(LAYERS.ActivityRegularization(1e-3)),
    "Dense relu6": after(LAYERS.Dense(6, "relu6"), LAYERS.Dense(3)),
    "Conv1D": before(LAYERS.Conv1D(8, 3, activation="relu")),
    "Conv1D causal": before(LAYERS.Conv1D(8, 3, padding="causal")),
    "Conv1D, BatchNormalization, ReLU": before(
        LAYERS.Conv1D(8, 5, strides=2, padding="same"),
        LAYERS.BatchNormalization(),
        LAYERS.ReLU(),
    ),
    "DepthwiseConv1D": before(LAYERS.DepthwiseConv1D(3)),
    "SeparableConv1D": before(LAYERS.SeparableConv1D(8, 3)),
    "Conv1D of one step": before(LAYERS.Conv1D(8, 1)),
    "MaxPooling1D": before(LAYERS.MaxPooling1D(2)),
    "AveragePooling1D": before(LAYERS.AveragePooling1D(2)),
    "GlobalAveragePooling1D": lambda: sequential(every_step(8), LAYERS.GlobalAveragePooling1D()),
    "GlobalMaxPooling1D": lambda: sequential(every_step(8), LAYERS.GlobalMaxPooling1D()),
    "Flatten of a sequence": lambda: sequential(every_step(8), LAYERS.Flatten()),
}

NO_EXPORTER = "there is no exporter for this layer; use"
NO_OPERATOR = "has no operator; use"
REFUSED = {
    "Sequential unbuilt": (
        lambda: keras.Sequential([FastGRNN(8), LAYERS.Dense(3)]),
        "Begin it with Input((steps, input_dim)), or call it once on data.",
    ),
    "Dense elu": (after(LAYERS.Dense(6, "elu")), NO_OPERATOR),
    "LayerNormalization": (after(LAYERS.LayerNormalization()), "train with BatchNormalization"),
    "UnitNormalization": (after(LAYERS.UnitNormalization()), NO_EXPORTER),
    "CRNN": (lambda: functional(crnn), NO_EXPORTER),
    "Bidirectional": (
        lambda: sequential(LAYERS.Bidirectional(LAYERS.RNN(FastGRNNCell(8)))),
        "it reads the sequence from its end; use the forward layer alone",
    ),
    "Bidirectional LSTM": (
        lambda: sequential(LAYERS.Bidirectional(LAYERS.LSTM(8))),
        "it reads the sequence from its end; use the forward layer alone",
    ),
    "Lambda of the last step": (
        lambda: sequential(every_step(8), LAYERS.Lambda(lambda h: h[:, -1])),
        NO_EXPORTER,
    ),
    "Reshape of the input": (
        lambda: keras.Sequential(
            [LAYERS.Input((120,)), LAYERS.Reshape((20, 6)), FastGRNN(8), LAYERS.Dense(3)]
        ),
        "expected an input of shape (batch, steps, input_dim), got (None, 120)",
    ),
    "two inputs": (
        lambda: with_vector(LAYERS.Input((STEPS, CHANNELS))),
        "Put the channels of all inputs beside each other in the data",
    ),
    "heads": (
        lambda: heads(LAYERS.Input((STEPS, CHANNELS))),
        "Convert a model for each output, keras.Model(model.inputs, model.outputs[0])",
    ),
    "subclassed": (lambda: called(Subclassed()), "Give keras.Model(x, model.call(x)) with x = "),
    "Embedding": (
        lambda: keras.Sequential([LAYERS.Input((20,)), LAYERS.Embedding(9, 6), FastGRNN(8)]),
        "expected an input of shape (batch, steps, input_dim), got (None, 20)",
    ),
    "attention": (lambda: functional(attention), NO_EXPORTER),
    "autoencoder": (lambda: functional(autoencoder), NO_EXPORTER),
    "go_backwards": (
        lambda: sequential(FastGRNN(8, go_backwards=True)),
        "train with go_backwards=False",
    ),
    "ZeroPadding1D": (before(LAYERS.ZeroPadding1D(1)), NO_EXPORTER),
    "Permute": (before(LAYERS.Permute((2, 1))), NO_EXPORTER),
    "MultiHeadAttention": (
        lambda: functional(
            lambda x: head(FastGRNN(8)(LAYERS.MultiHeadAttention(2, 4)(x, x))),
        ),
        NO_EXPORTER,
    ),
}


def test_there_are_79_forms():
    assert (len(TAKEN), len(REFUSED)) == (60, 19)


@needs_tflm
@pytest.mark.parametrize("form", TAKEN)
def test_form_is_exported_as_keras_computes_it(form):
    model = drawn(TAKEN[form](), spread=0.3)
    x = np.random.default_rng(1).normal(size=(16, STEPS, CHANNELS)).astype("float32")
    if form == "stateful":
        x = x[:1]
    expected = answers_of(model, x)
    half = 3e-3 if form == "mixed_float16" else 1e-4  # Keras computes in float16
    found = export.convert(model, quantization=None).predict(x)
    np.testing.assert_allclose(found, expected, atol=half * max(1.0, expected.std()))
    deployed = export.convert(model, x, quantization="int16x8")
    np.testing.assert_array_equal(deployed.predict(x), deployed.predict(x, on="reference"))
    compiled = export.convert_c(model, x)
    np.testing.assert_array_equal(compiled.predict(x), compiled.predict(x, on="reference"))


@pytest.mark.parametrize("form", REFUSED)
def test_form_is_refused_in_a_line_that_helps(form):
    make, advice = REFUSED[form]
    with pytest.raises((ValueError, export.UnsupportedLayerError)) as told:
        export.convert(make(), quantization=None)
    assert advice in str(told.value)
