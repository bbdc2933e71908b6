"""Models that cannot be exported are refused before any work, with one clear error."""

import numpy as np
import pytest
import tensorflow as tf
from small_models import CHANNELS, STEPS, sequences

from keras_fastgrnn import FastGRNN, FastGRNNCell, FastRNN, FastRNNCell, export, keras
from keras_fastgrnn.keras_api import IS_TF_KERAS

LAYERS = keras.layers


def functional(body):
    inputs = LAYERS.Input((STEPS, CHANNELS))
    return keras.Model(inputs, body(inputs))


def lines_of(model):
    """The lines of the error that `convert` raises, without the first."""
    with pytest.raises(export.UnsupportedLayerError) as error:
        export.convert(model, sequences(2))
    first, *lines = str(error.value).split("\n")
    assert first == "The model has layers that cannot be exported:"
    return lines


def other(x):
    return x * 0.5


class OwnCell(LAYERS.GRUCell):
    """A cell that may compute anything."""


def bidirectional(name):
    return LAYERS.Bidirectional(LAYERS.RNN(FastGRNNCell(2)), name=name)


MEANS = np.zeros((STEPS, CHANNELS), "float32")

UNSUPPORTED = {
    "Bidirectional": (lambda n: [bidirectional(n)], "it reads the sequence from its end"),
    "GRU": (
        lambda n: [LAYERS.GRU(2, recurrent_activation="softplus", name=n)],
        "its recurrent_activation 'softplus' has no operator; use hard_sigmoid, leaky_relu,",
    ),
    "LSTM": (
        lambda n: [LAYERS.LSTM(2, activation="softsign", name=n)],
        "its activation 'softsign' has no operator; use hard_sigmoid, leaky_relu,",
    ),
    "SimpleRNN": (
        lambda n: [LAYERS.SimpleRNN(2, activation="elu", name=n)],
        "its activation 'elu' has no operator; use hard_sigmoid, leaky_relu,",
    ),
    "ZeroPadding1D": (
        lambda n: [LAYERS.ZeroPadding1D(1, name=n), FastGRNN(2)],
        "there is no exporter for this layer; use Activation, ActivityRegularization,",
    ),
    "BatchNormalization": (
        lambda n: [LAYERS.BatchNormalization(axis=1, name=n), FastGRNN(2)],
        "it normalizes over steps; use axis=-1.",
    ),
    "LayerNormalization": (
        lambda n: [FastGRNN(2), LAYERS.LayerNormalization(name=n)],
        "it divides by a deviation at every step, for which TFLite Micro has no integers",
    ),
    "TimeDistributed": (
        lambda n: [LAYERS.TimeDistributed(LAYERS.Rescaling(2.0), name=n), FastGRNN(2)],
        "Rescaling acts step by step by itself; use it without the wrapper.",
    ),
    "Reshape": (
        lambda n: [LAYERS.Reshape((STEPS * CHANNELS, 1), name=n), FastGRNN(2)],
        "it makes the shape",
    ),
    "Activation": (
        lambda n: [FastGRNN(2), LAYERS.Activation("mish", name=n)],
        "its activation 'mish' has no operator; use hard_sigmoid, leaky_relu,",
    ),
    "ReLU": (lambda n: [FastGRNN(2), LAYERS.ReLU(5.0, name=n)], "it has a max_value other than 6"),
    "Softmax": (
        lambda n: [FastGRNN(2, return_sequences=True), LAYERS.Softmax(axis=1, name=n)],
        "it divides by a sum over steps; use axis=-1.",
    ),
    "UnitNormalization": (lambda n: [LAYERS.UnitNormalization(name=n), FastGRNN(2)], "there is no"),
    "Lambda": (lambda n: [LAYERS.Lambda(other, name=n), FastGRNN(2)], "there is no exporter"),
    "RNN": (
        lambda n: [LAYERS.RNN(OwnCell(2), name=n)],
        "its cell is a OwnCell; use FastGRNNCell, FastRNNCell, GRUCell, LSTMCell, SimpleRNNCell.",
    ),
    "Dense": (
        lambda n: [FastGRNN(2), LAYERS.Dense(2, activation="gelu", name=n)],
        "its activation 'gelu' has no operator; use hard_sigmoid, leaky_relu,",
    ),
    "FastGRNN": (
        lambda n: [FastGRNN(2, recurrent_activation=other, name=n)],
        "its recurrent_activation 'other' has no operator; use hard_sigmoid, leaky_relu,",
    ),
    "FastRNN": (lambda n: [FastRNN(2, "softplus", name=n)], "its activation 'softplus' has no"),
    "Normalization": (
        lambda n: [LAYERS.Normalization(axis=(1, 2), mean=MEANS, variance=1.0 + MEANS, name=n)],
        "it normalizes over steps; use axis=-1.",
    ),
    "Rescaling": (
        lambda n: [LAYERS.Rescaling(np.ones((STEPS, 1)), name=n), FastGRNN(2)],
        "its scale or offset is not one number or one per channel.",
    ),
}


@pytest.mark.parametrize(("kind", "why"), [(k, w) for k, (_, w) in UNSUPPORTED.items()])
def test_layer_that_has_no_exporter_is_named_with_the_reason(kind, why):
    layers = UNSUPPORTED[kind][0]("culprit")
    model = keras.Sequential([LAYERS.Input((STEPS, CHANNELS)), *layers])
    (line,) = lines_of(model)
    assert line.startswith(f"- culprit ({kind}): {why}")


FLAGS = {
    "go_backwards": "go_backwards reads the sequence from its end; train with go_backwards=False.",
}


@pytest.mark.parametrize(
    "layer",
    [
        FastGRNN,
        FastRNN,
        LAYERS.SimpleRNN,
        LAYERS.GRU,
        LAYERS.LSTM,
        lambda u, **kw: LAYERS.RNN(FastRNNCell(u), **kw),
    ],
)
@pytest.mark.parametrize("flag", FLAGS)
def test_flag_of_a_recurrent_layer_is_named(layer, flag):
    inputs = LAYERS.Input(batch_shape=(4, STEPS, CHANNELS))
    model = keras.Model(inputs, layer(2, name="culprit", **{flag: True})(inputs))
    (line,) = lines_of(model)
    assert line.startswith("- culprit (") and FLAGS[flag] in line


def test_what_only_this_keras_has_is_refused():
    arguments = {"time_major": True} if IS_TF_KERAS else {}
    layers = [FastGRNN(2, **arguments), LAYERS.Dense(2)]
    model = keras.Sequential([LAYERS.Input((STEPS, CHANNELS)), *layers])
    if IS_TF_KERAS:
        assert "time_major=True takes the steps first; use time_major=False." in lines_of(model)[0]
    else:
        model.layers[-1].quantize("int8")
        assert "Keras has quantized it; export the float model." in lines_of(model)[0]


def test_every_culprit_is_named_at_once():
    layers = [
        LAYERS.ZeroPadding1D(1, name="padding"),
        LAYERS.RNN([FastGRNNCell(2, other), OwnCell(2)], go_backwards=True, name="rnn"),
        LAYERS.Dropout(0.5, name="fine"),
        LAYERS.Dense(2, activation=other, name="head"),
    ]
    lines = lines_of(keras.Sequential([LAYERS.Input((STEPS, CHANNELS)), *layers]))
    assert [line.split(":")[0] for line in lines] == [
        "- padding (ZeroPadding1D)",
        "- rnn (RNN)",
        "- rnn (RNN)",
        "- rnn (RNN)",
        "- head (Dense)",
    ]
    assert [
        next(word for word in ("activation 'other'", "OwnCell", "go_backwards") if word in line)
        for line in lines[1:4]
    ] == ["activation 'other'", "OwnCell", "go_backwards"]


def twice(layer, *between):
    def body(inputs):
        x = layer(inputs)
        for one in between:
            x = one(x)
        return layer(x)

    return body


def sequence_and_answer(inputs):
    return LAYERS.Add(name="culprit")([inputs, FastGRNN(CHANNELS)(inputs)])


def own_initial_state(inputs):
    start = LAYERS.Dense(2)(FastRNN(2)(inputs))
    return FastGRNN(2, name="culprit")(inputs, initial_state=[start])


def state_read(inputs):
    outputs, *states = LAYERS.LSTM(2, return_state=True)(inputs)
    return LAYERS.Dense(2, name="culprit")(states[-1])


def state_answered(inputs):
    return LAYERS.LSTM(2, return_state=True, name="culprit")(inputs)[2]


ONES = tf.ones((2, 2))
INITIAL_STATE = "it is given an initial_state; an exported model starts from zero."
CALLS = {
    "used twice": (
        twice(LAYERS.Dense(CHANNELS, name="culprit"), FastGRNN(CHANNELS)),
        "it is used 2 times; use a layer for each.",
    ),
    "used twice in a row": (
        twice(FastGRNN(CHANNELS, return_sequences=True, name="culprit")),
        "it is used 2 times; use a layer for each.",
    ),
    "a state that is read": (state_read, "it reads a state; let it read the layer's output."),
    "a state that is answered": (
        state_answered,
        "the model answers its state; let it answer the layer's output.",
    ),
    "an initial state of the model": (own_initial_state, INITIAL_STATE),
    "an initial state that is a constant": (
        lambda x: FastGRNN(2, name="culprit")(x, initial_state=[ONES]),
        INITIAL_STATE,
    ),
    "an initial state by position": (
        lambda x: FastGRNN(2, name="culprit")(x, [ONES]),
        INITIAL_STATE,
    ),
    "a mask that is a constant": (
        lambda x: FastGRNN(2, name="culprit")(x, mask=tf.ones((2, STEPS)) > 0),
        "it is given a mask of its own; use a Masking layer behind the Input.",
    ),
    "a model used twice": (
        lambda x: FastGRNN(2)(twice(keras.Sequential([LAYERS.Dense(CHANNELS)], name="culprit"))(x)),
        "it is used 2 times; use a model for each.",
    ),
    "a sequence and an answer": (
        sequence_and_answer,
        "it joins what there is at every step with what there is after the last.",
    ),
    "dropout that stays on": (
        lambda x: FastGRNN(2)(LAYERS.Dropout(0.5, name="culprit")(x, training=True)),
        "training=True leaves its dropout on; call it without.",
    ),
    "recurrent dropout that stays on": (
        lambda x: FastGRNN(2, dropout=0.5, name="culprit")(x, training=True),
        "training=True leaves its dropout on; call it without.",
    ),
}


@pytest.mark.parametrize("case", CALLS)
def test_call_that_computes_something_else_is_refused(case):
    body, why = CALLS[case]
    lines = lines_of(functional(body))
    assert any(line.startswith("- culprit (") and line.endswith(f": {why}") for line in lines)


CONSTANT = "it computes with a constant that is not one number or one per channel."
OPERATIONS = {
    "another step": (lambda h: h[:, 0], "it takes other values than the last step, h[:, -1]"),
    "some steps": (lambda h: h[:, 2:], "it takes other values than the last step"),
    "every second channel": (lambda h: h[..., ::2], "it takes other values than the last step"),
    "a division by what is computed": (lambda h: 1.0 / h, "it divides by what the model computes"),
    "a number for each step": (lambda h: h * np.ones((STEPS, 1), "float32"), CONSTANT),
    "a power": (lambda h: h**2.0, "there is no exporter for this operation; use Add, Subtract,"),
}


@pytest.mark.parametrize("case", OPERATIONS)
def test_operation_that_has_no_exporter_is_named_with_the_reason(case):
    operation, why = OPERATIONS[case]
    (line,) = lines_of(functional(lambda x: operation(FastGRNN(2, return_sequences=True)(x))))
    assert f"): {why}" in line


@pytest.mark.parametrize(
    "join", [lambda a, b: a + b, lambda a, b: LAYERS.Multiply()([a, b])], ids=["a + b", "Multiply"]
)
def test_inputs_of_different_widths_are_refused(join):
    (line,) = lines_of(functional(lambda x: join(FastGRNN(1)(x), FastGRNN(2)(x))))
    assert line.endswith(": its inputs have 1 and 2 channels; give them as many.")


def test_models_inside_of_several_inputs_or_outputs_are_refused():
    x = LAYERS.Input((STEPS, CHANNELS))
    inside = keras.Model(x, [LAYERS.Dense(2)(x), LAYERS.Dense(3)(x)], name="culprit")
    for index in (0, 1):
        (line,) = lines_of(functional(lambda x, index=index: FastGRNN(2)(inside(x)[index])))
        assert line.startswith("- culprit (") and "there is no exporter for this layer" in line


def test_branches_behind_masking_are_refused():
    def body(x):
        x = LAYERS.Masking(name="masking")(x)
        return FastGRNN(2)(LAYERS.Add(name="culprit")([x, LAYERS.Dense(CHANNELS)(x)]))

    assert any(
        "culprit (Add): behind masking it computes" in one for one in lines_of(functional(body))
    )


def test_model_without_recurrent_layer_is_refused():
    model = keras.Sequential([LAYERS.Input((STEPS, CHANNELS)), LAYERS.Dense(2)])
    assert lines_of(model) == [
        "- the whole model: it has no recurrent layer; use TensorFlow's converter."
    ]


def test_layers_shared_with_another_model_are_exported():
    layers = [LAYERS.Normalization(mean=0.0, variance=4.0, axis=None), FastGRNN(2), LAYERS.Dense(2)]
    first, second = LAYERS.Input((None, 7)), LAYERS.Input((STEPS, 7))
    for inputs in (first, second):
        outputs = inputs
        for layer in layers:
            outputs = layer(outputs)
    deployed = export.convert(keras.Model(second, outputs), quantization=None)
    assert deployed.graph.inputs[0].shape == (1, 7)


# Models that are not a chain from a sequence at all


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.layer = FastGRNN(2)

    def call(self, x):
        return self.layer(x)


def called_subclass():
    model = Subclassed()
    model(sequences(1))
    return model


def two_inputs():
    x, state = LAYERS.Input((STEPS, CHANNELS)), LAYERS.Input((2,))
    return keras.Model([x, state], FastGRNN(2)(x, initial_state=[state]))


def two_outputs():
    return functional(lambda x: FastGRNN(2, return_state=True)(x))


def of_shape(*shape):
    inputs = LAYERS.Input(shape)
    return keras.Model(inputs, LAYERS.Dense(2)(inputs))


MODEL = "Received an invalid value for argument model, expected "
NOT_BUILT = (
    f"{MODEL}a built Sequential or Functional model, got one without a known input. Begin it"
)
WRONG_MODELS = {
    "unbuilt": (lambda: keras.Sequential([FastGRNN(2)]), ValueError, NOT_BUILT),
    "empty": (lambda: keras.Sequential(), ValueError, NOT_BUILT),
    "subclassed": (
        called_subclass,
        ValueError,
        f"{MODEL}a Sequential or Functional model, got a Subclassed, whose layers only its call",
    ),
    "two inputs": (two_inputs, ValueError, f"{MODEL}one input and one output, got 2 and 1."),
    "two outputs": (two_outputs, ValueError, f"{MODEL}one input and one output, got 1 and 2."),
    "a vector": (
        lambda: of_shape(3),
        ValueError,
        f"{MODEL}an input of shape (batch, steps, input_dim), got (None, 3).",
    ),
    "an image": (lambda: of_shape(8, 8, 3), ValueError, f"{MODEL}an input of shape (batch, steps"),
    "a layer": (lambda: FastGRNN(2), TypeError, f"{MODEL}a "),
    "a class": (lambda: keras.Sequential, TypeError, f"{MODEL}a "),
    "a path": (lambda: "model.keras", TypeError, f"{MODEL}a "),
    "None": (lambda: None, TypeError, f"{MODEL}a "),
}


@pytest.mark.parametrize("case", WRONG_MODELS)
def test_what_is_no_model_of_sequences_gets_one_clear_error(case):
    make, kind, message = WRONG_MODELS[case]
    with pytest.raises(kind) as error:
        export.convert(make(), sequences(2))
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("other_flavor", ["keras", "tf_keras"])
def test_model_of_the_other_keras_is_refused_by_name(run_python, other_flavor):
    code = f"""
import {other_flavor} as other
from keras_fastgrnn import export
model = other.Sequential([other.layers.Input((5, 3)), other.layers.GRU(2)])
try:
    export.convert(model)
except TypeError as error:
    print(error)
"""
    legacy = "1" if other_flavor == "keras" else "0"
    output = run_python("-c", code, TF_USE_LEGACY_KERAS=legacy)
    ours, theirs = ("tf_keras", "Keras 3") if legacy == "1" else ("Keras 3", "tf_keras")
    assert output.startswith(
        f"The model belongs to {theirs}, but keras_fastgrnn runs on {ours} in this process. Build"
    )


def test_refusal_comes_before_the_data_is_looked_at():
    model = keras.Sequential([LAYERS.Input((STEPS, CHANNELS)), LAYERS.Conv1D(2, 3)])
    with pytest.raises(export.UnsupportedLayerError):
        export.convert(model, "no data")
