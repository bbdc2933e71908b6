"""LeakyReLU and PReLU, which the larger of two values makes."""

import numpy as np
import pytest
from small_models import needs_tflm, sequences, sequential

from keras_fastgrnn import FastGRNN, FastRNN, export, keras
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
    "LeakyReLU": lambda: leaky(0.3),
    "LeakyReLU of slope 1": lambda: leaky(1.0),
    "LeakyReLU of slope 0": lambda: leaky(0.0),
    "PReLU": lambda: prelu([[0.25, 0.0, -1.0, 1.0]], shared_axes=[1]),
}


@needs_tflm
@pytest.mark.filterwarnings("ignore::keras_fastgrnn.export.SaturationWarning")
@pytest.mark.parametrize("quantization", [None, "int16x8", "int8"])
@pytest.mark.parametrize("layer", TAKEN.values(), ids=TAKEN)
def test_it_runs_on_tflite_micro_and_in_c(layer, quantization):
    model, x = sequential(LAYERS.Dense(4), layer(), FastGRNN(3), LAYERS.Dense(2)), sequences()
    deployed = export.convert(model, x, quantization=quantization)
    answers = deployed.predict(x)
    of_float32 = 0.0 if quantization else 1e-6
    np.testing.assert_allclose(answers, deployed.predict(x, on="reference"), atol=of_float32)
    # Values of the order of 1, in float32, with weights of 8 bits, and with all of 8 bits.
    allowed = {None: 1e-5, "int16x8": 0.03, "int8": 0.2}[quantization]
    np.testing.assert_allclose(answers, model.predict(x, verbose=0), atol=allowed)
    if quantization:
        compiled = export.convert_c(model, x)
        np.testing.assert_array_equal(compiled.predict(x), compiled.predict(x, on="reference"))


REFUSED = {
    "a slope for each step": (
        lambda: prelu(0.5, name="culprit"),
        "culprit (PReLU): it has a slope for each step; use shared_axes=[1].",
    ),
    "a slope above 1": (
        lambda: leaky(1.5, name="culprit"),
        "culprit (LeakyReLU): it has a slope of 1.5; use slopes of at most 1.",
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
