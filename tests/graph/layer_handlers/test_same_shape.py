"""Flatten, Reshape, TimeDistributed and return_state, where they change nothing in a step."""

import numpy as np
import pytest
from small_models import CHANNELS, STEPS, answers_of, sequences, sequential

from keras_fastgrnn import FastGRNN, export, keras
from keras_fastgrnn.graph.trace import trace
from keras_fastgrnn.quantization import quantize_aware

LAYERS = keras.layers


def of_unread_states(layer):
    inputs = LAYERS.Input((STEPS, CHANNELS))
    outputs, *_ = layer(4, return_state=True)(inputs)
    return keras.Model(inputs, LAYERS.Dense(2)(outputs))


MODELS = {
    "Flatten": lambda: sequential(FastGRNN(4), LAYERS.Flatten(), LAYERS.Dense(2)),
    "Reshape": lambda: sequential(
        LAYERS.Reshape((STEPS, CHANNELS)), FastGRNN(4), LAYERS.Reshape((4,)), LAYERS.Dense(2)
    ),
    "TimeDistributed": lambda: sequential(
        LAYERS.TimeDistributed(LAYERS.Dense(4, "relu"), name="dense"),
        LAYERS.TimeDistributed(LAYERS.Dense(3)),
        LAYERS.TimeDistributed(LAYERS.ReLU()),
        LAYERS.TimeDistributed(LAYERS.Dropout(0.5)),
        FastGRNN(4, return_sequences=True),
        LAYERS.TimeDistributed(LAYERS.Dense(2)),
    ),
    "states of FastGRNN": lambda: of_unread_states(FastGRNN),
    "states of an LSTM": lambda: of_unread_states(LAYERS.LSTM),
}


@pytest.mark.filterwarnings("ignore::keras_fastgrnn.export.SaturationWarning")
@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_it_is_exported_as_keras_computes_it(make):
    model, x = make(), sequences()
    expected = answers_of(model, x)
    # Values of up to 2, in float32, with weights of 8 bits, and with all of 8 bits.
    for quantization, allowed in ((None, 1e-5), ("int16x8", 0.06), ("int8", 0.2)):
        deployed = export.convert(model, x, quantization=quantization)
        answers = deployed.predict(x, return_sequences=expected.ndim == 3)
        np.testing.assert_allclose(answers, expected, atol=allowed)


def test_it_costs_no_operator():
    bare = [op.kind for op in trace(sequential(FastGRNN(4), LAYERS.Dense(2))).ops]
    for name in ("Flatten", "Reshape"):
        assert [op.kind for op in trace(MODELS[name]()).ops] == bare


@pytest.mark.parametrize("quantization", ["int16x8", "int8"])
@pytest.mark.parametrize("name", ["Flatten", "Reshape", "TimeDistributed", "states of an LSTM"])
def test_model_trained_with_it_is_the_device(name, quantization):
    model, x = MODELS[name](), sequences()
    aware = quantize_aware(model, quantization, calibration_data=x)
    deployed = export.convert(aware)
    expected = np.asarray(aware(x))
    answers = deployed.predict(x, on="reference", return_sequences=expected.ndim == 3)
    unit = deployed.graph.outputs[0].scale
    # As for the other models: a step that rounds the other way.
    assert np.abs(answers - expected).max() / unit <= {"int16x8": 20.0, "int8": 6.0}[quantization]
