"""LeakyReLU and PReLU, which the larger of two values makes."""

import numpy as np
import pytest
from small_models import check_everywhere, needs_tflm, sequences, sequential

from keras_fastgrnn import FastGRNN, FastRNN, export, keras, quant_tanh
from keras_fastgrnn.keras_api import IS_TF_KERAS
from keras_fastgrnn.quantization import quantize_aware

LAYERS = keras.layers
SLOPE = "alpha" if IS_TF_KERAS else "negative_slope"


def leaky(slope, **arguments):
    return LAYERS.LeakyReLU(**{SLOPE: slope}, **arguments)


def prelu(slopes, **arguments):
    initializer = keras.initializers.Constant(slopes)
    return LAYERS.PReLU(alpha_initializer=initializer, trainable=False, **arguments)


TAKEN = {
    "LeakyReLU": lambda: [leaky(0.3)],
    "slope 1": lambda: [leaky(1.0)],
    "slope 0": lambda: [leaky(0.0)],
    "twice": lambda: [leaky(0.3), leaky(0.5)],
    "PReLU": lambda: [prelu([[0.25, 0.0, -1.0, 1.0]], shared_axes=[1])],
    # Functions whose results have a scale of their own
    "behind tanh": lambda: [LAYERS.Activation("tanh"), leaky(0.3)],
    "behind sigmoid": lambda: [LAYERS.Activation("sigmoid"), leaky(0.3), leaky(0.5)],
    "behind hard_sigmoid": lambda: [LAYERS.Activation("hard_sigmoid"), leaky(0.3)],
    "behind quant_tanh": lambda: [LAYERS.Activation(quant_tanh), prelu(-1.0, shared_axes=[1])],
}


# Rounding alone may take a state past the values that calibration saw.
@needs_tflm
@pytest.mark.filterwarnings("ignore::keras_fastgrnn.export.SaturationWarning")
@pytest.mark.parametrize("quantization", [None, "int16x8", "int8"])
@pytest.mark.parametrize("layers", TAKEN.values(), ids=TAKEN)
def test_it_runs_on_tflite_micro_and_in_c(layers, quantization):
    head = LAYERS.Dense(2)
    check_everywhere(sequential(LAYERS.Dense(4), *layers(), FastGRNN(3), head), quantization)


@pytest.mark.filterwarnings("ignore::keras_fastgrnn.export.PrecisionWarning")  # of weights of 30
@pytest.mark.parametrize("quantization", ["int16x8", "int8"])
def test_ends_of_a_function_before_it_are_no_lost_values(quantization):
    model = sequential(FastGRNN(3), LAYERS.Dense(4, "tanh"), leaky(0.5))
    model.layers[1].kernel.assign(30.0 * np.asarray(model.layers[1].kernel))
    x = sequences()
    answers = export.convert(model, x, quantization=quantization).predict(x, on="reference")
    assert answers.max() > 0.99 and answers.min() < -0.49


REFUSED = {
    "a slope for each step": (
        lambda: prelu(0.5, name="culprit"),
        "culprit (PReLU): it has a slope for each step; use shared_axes=[1].",
    ),
    "a slope above 1": (
        lambda: leaky(1.5, name="culprit"),
        "culprit (LeakyReLU): it has a slope of 1.5; use slopes between -1 and 1.",
    ),
}


@pytest.mark.parametrize(("layer", "message"), REFUSED.values(), ids=REFUSED)
def test_what_the_larger_of_two_does_not_make_is_refused(layer, message):
    model = sequential(LAYERS.Dense(4), layer(), FastGRNN(3))
    with pytest.raises(export.UnsupportedLayerError) as error:
        export.convert(model, sequences(2))
    assert str(error.value).splitlines()[-1] == f"- {message}"


@pytest.mark.parametrize("quantization", ["int16x8", "int8"])
def test_cell_of_it_is_trained_as_the_device_computes_it(quantization):
    x = sequences()
    model = sequential(FastRNN(4, "leaky_relu"), LAYERS.Dense(2))
    aware = quantize_aware(model, quantization, calibration_data=x)
    deployed = export.convert(aware)
    unit = deployed.graph.outputs[0].scale
    difference = np.abs(deployed.predict(x, on="reference") - np.asarray(aware(x))) / unit
    # As for the other cells: a step that rounds the other way.
    assert difference.max() <= {"int16x8": 20.0, "int8": 6.0}[quantization]


def test_dense_layer_of_it_is_not_trained_quantization_aware():
    model = sequential(FastGRNN(3), LAYERS.Dense(4, "leaky_relu", name="head"))
    with pytest.raises(ValueError, match="expected Dense layers whose activation .* got head with"):
        quantize_aware(model)
