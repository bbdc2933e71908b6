"""Layers and operations of several inputs, and models whose branches they join."""

import numpy as np
import pytest
from small_models import CHANNELS, STEPS, check_everywhere, drawn, every_step, needs_tflm, sequences

from keras_fastgrnn import FastGRNN, export, keras
from keras_fastgrnn.errors import UnsupportedOperatorError
from keras_fastgrnn.quantization import quantize_aware

LAYERS = keras.layers
FORMATS = [None, "int16x8", "int8"]


def functional(body):
    inputs = LAYERS.Input((STEPS, CHANNELS))
    return drawn(keras.Model(inputs, body(inputs)), spread=0.25)


def classified(value):
    return LAYERS.Dense(2)(FastGRNN(4)(value))


def residual(x):
    h = every_step(4)(x)
    return LAYERS.Dense(2)(LAYERS.Add()([h, every_step(4)(h)]))


def gated(x):
    gate = LAYERS.Dense(4, activation="sigmoid")(LAYERS.GRU(3)(x))
    return LAYERS.Dense(2)(LAYERS.Multiply()([FastGRNN(4)(x), gate]))


def answers_of_three_layers(x):
    answers = [FastGRNN(4)(x), LAYERS.GRU(3)(x), LAYERS.LSTM(2)(x)]
    return LAYERS.Dense(2)(LAYERS.Concatenate()(answers))


def bounded(x):
    return LAYERS.Dense(CHANNELS, activation="tanh")(x)


BRANCHES = {
    "Add": lambda x: classified(LAYERS.Add()([every_step(CHANNELS)(x), x])),
    "Subtract": lambda x: classified(LAYERS.Subtract()([every_step(CHANNELS)(x), x])),
    "Multiply": lambda x: classified(LAYERS.Multiply()([every_step(CHANNELS)(x), x])),
    "Average": lambda x: classified(LAYERS.Average()([every_step(CHANNELS)(x), x, bounded(x)])),
    "Maximum": lambda x: classified(LAYERS.Maximum()([every_step(CHANNELS)(x), x])),
    "Concatenate": lambda x: classified(LAYERS.Concatenate()([every_step(5)(x), x])),
    "a + b": lambda x: classified(every_step(CHANNELS)(x) + x),
    "a - b": lambda x: classified(every_step(CHANNELS)(x) - x),
    "a * b": lambda x: classified(every_step(CHANNELS)(x) * x),
    "twice the same": lambda x: classified(LAYERS.Add()([x, x]) * LAYERS.Multiply()([x, x])),
    "residual": residual,
    "gate": gated,
    "answers of three layers": answers_of_three_layers,
    "Maximum of a tanh and what is larger": lambda x: classified(
        LAYERS.Maximum()([bounded(x), x * 5.0])
    ),
}

# What the head reads of the input is kept for it in C.
SKIPS = {
    "input to the head": lambda x: LAYERS.Dense(2)(LAYERS.Concatenate()([every_step(4)(x), x])),
    "heads added": lambda x: LAYERS.Add()([LAYERS.Dense(2)(every_step(4)(x)), LAYERS.Dense(2)(x)]),
    "what the layer reads to the head": lambda x: (
        lambda v: LAYERS.Dense(2)(LAYERS.Concatenate()([every_step(4)(v), v]))
    )(LAYERS.Dense(5, activation="relu")(x)),
}

# What reads a Concatenate entry by entry, and answers that are one.
JOINED = {
    "the answer": lambda x: LAYERS.Concatenate()([FastGRNN(4)(x), LAYERS.GRU(3)(x)]),
    "an answer of heads": lambda x: (
        lambda h: LAYERS.Concatenate()([LAYERS.Dense(2)(h), h, LAYERS.Dense(3)(h)])
    )(FastGRNN(4)(x)),
    "an answer of the same": lambda x: (lambda h: LAYERS.Concatenate()([h, h]))(
        LAYERS.Dense(2)(FastGRNN(4)(x))
    ),
    "an answer with the input": lambda x: LAYERS.Concatenate()(
        [x, LAYERS.Dense(2)(every_step(4)(x))]
    ),
    "a scaled answer": lambda x: (
        LAYERS.Concatenate()([FastGRNN(4)(x), LAYERS.GRU(2)(x)]) * np.arange(1.0, 7.0)
    ),
    "one of another": lambda x: LAYERS.Dense(2)(
        LAYERS.Concatenate()([FastGRNN(2)(x), LAYERS.Concatenate()([FastGRNN(3)(x), x[:, -1]])])
    ),
    "relu of a tanh and what is larger": lambda x: classified(
        LAYERS.Activation("relu")(LAYERS.Concatenate()([bounded(x), x * 5.0]))
    ),
    "relu of a tanh and a sigmoid": lambda x: classified(
        LAYERS.Activation("relu")(
            LAYERS.Concatenate()([bounded(x), LAYERS.Dense(4, activation="sigmoid")(x)])
        )
    ),
    "a sum of two": lambda x: classified(
        LAYERS.Concatenate()([x, every_step(2)(x)])
        + LAYERS.Concatenate()([bounded(x), LAYERS.Dense(2)(x)])
    ),
}


@needs_tflm
@pytest.mark.parametrize("quantization", FORMATS)
@pytest.mark.parametrize("body", {**BRANCHES, **SKIPS, **JOINED})
def test_branches_are_computed_on_tflite_micro_and_in_c(body, quantization):
    check_everywhere(functional({**BRANCHES, **SKIPS, **JOINED}[body]), quantization)


def test_c_refuses_vectors_of_other_parts_in_one_line():
    model = functional(
        lambda x: classified(
            LAYERS.Concatenate()([x, every_step(2)(x)])
            + LAYERS.Concatenate()([every_step(2)(x), LAYERS.Dense(3)(x)])
        )
    )
    check_everywhere(model, "int16x8", in_c=False)
    with pytest.raises(UnsupportedOperatorError, match="Plain C does not compute ADD of vectors"):
        export.convert_c(model, sequences())


@pytest.mark.parametrize("skip", SKIPS)
def test_c_keeps_no_more_than_the_head_reads(skip):
    model = functional(SKIPS[skip])
    plain = functional(lambda x: LAYERS.Dense(2)(every_step(4)(x)))
    sizes = [export.convert_c(one, sequences()).report.state_bytes for one in (model, plain)]
    kept = {"what the layer reads to the head": 5}.get(skip, CHANNELS)
    assert sizes[0] - sizes[1] == 2 * kept


def test_training_refuses_branches_by_name():
    with pytest.raises(ValueError, match="expected a plain chain of layers, .*, got .* on another"):
        quantize_aware(functional(BRANCHES["Add"]))


@pytest.mark.parametrize("quantization", FORMATS)
def test_a_whole_sequence_is_computed_as_step_by_step(quantization):
    model, x = functional(residual), sequences()
    answers = [
        export.convert(model, x, quantization=quantization, mode=mode).predict(x, on="reference")
        for mode in ("streaming", "sequence")
    ]
    np.testing.assert_array_equal(*(np.reshape(one, (len(x), -1)) for one in answers))
