"""Layers that act in training alone: exported as if they were not there, and trained with."""

import numpy as np
import pytest
from small_models import sequences, sequential

from keras_fastgrnn import FastGRNN, export, keras
from keras_fastgrnn.graph.trace import trace
from keras_fastgrnn.quantization import quantize_aware

LAYERS = keras.layers

SILENT = {
    "Identity": LAYERS.Identity,
    "ActivityRegularization": lambda **kw: LAYERS.ActivityRegularization(l2=0.01, **kw),
}
RANDOM = {
    "AlphaDropout": lambda **kw: LAYERS.AlphaDropout(0.5, **kw),
    "Dropout": lambda **kw: LAYERS.Dropout(0.5, **kw),
    "GaussianDropout": lambda **kw: LAYERS.GaussianDropout(0.5, **kw),
    "GaussianNoise": lambda **kw: LAYERS.GaussianNoise(0.5, **kw),
    "SpatialDropout1D": lambda **kw: LAYERS.SpatialDropout1D(0.5, **kw),
}
UNCHANGED = SILENT | RANDOM

# Sensors of two sizes, so that noise in the units of the device would be another noise.
MEANS, DEVIATIONS = [100.0, 0.0, -3.0], [20.0, 1e-3, 1.0]


def normalization():
    return LAYERS.Normalization(mean=MEANS, variance=np.square(DEVIATIONS))


def kinds(model):
    return [op.kind for op in trace(model).ops]


@pytest.mark.parametrize("layer", UNCHANGED.values(), ids=UNCHANGED)
def test_it_costs_no_operator_wherever_it_stands(layer):
    bare = FastGRNN(4, return_sequences=True), LAYERS.Dense(3), LAYERS.Dense(2)
    first, *others = [FastGRNN(4, return_sequences=True), LAYERS.Dense(3), LAYERS.Dense(2)]
    between = [one for other in others for one in (layer(), other)]
    assert kinds(sequential(layer(), first, *between, layer())) == kinds(sequential(*bare))


@pytest.mark.parametrize("quantization", ["int16x8", "int8"])
@pytest.mark.parametrize("layer", UNCHANGED.values(), ids=UNCHANGED)
def test_model_trained_with_it_is_the_device(layer, quantization):
    x = sequences() * DEVIATIONS + MEANS
    layers = normalization(), layer(), FastGRNN(4, return_sequences=True), layer()
    model = sequential(*layers, FastGRNN(4), LAYERS.Dense(2))
    aware = quantize_aware(model, quantization, calibration_data=x)
    aware(x, training=True)
    deployed = export.convert(aware)
    unit = deployed.graph.outputs[0].scale
    difference = np.abs(deployed.predict(x, on="reference") - np.asarray(aware(x))) / unit
    # As for the cells without it: a unit of a function's table, or a step that rounds otherwise.
    assert difference.max() <= {"int16x8": 20.0, "int8": 6.0}[quantization]


@pytest.mark.parametrize("layer", RANDOM.values(), ids=RANDOM)
def test_its_noise_is_that_of_the_float_model_in_the_units_of_the_device(layer):
    model = sequential(normalization(), layer(name="noise"), FastGRNN(4), LAYERS.Dense(2))
    x = sequences(512) * DEVIATIONS + MEANS
    noise = quantize_aware(model).get_layer("noise")
    normalized = (x - MEANS) / DEVIATIONS
    keras.utils.set_random_seed(1)
    expected = np.asarray(model.get_layer("noise")(normalized.astype("float32"), training=True))
    keras.utils.set_random_seed(1)
    found = (np.asarray(noise(x.astype("float32"), training=True)) - MEANS) / DEVIATIONS
    # 6,144 values of each: both means within five of their standard errors, and a tenth.
    for channel in range(3):
        assert abs(found[..., channel].mean() - expected[..., channel].mean()) < 0.15
        assert found[..., channel].std() == pytest.approx(expected[..., channel].std(), rel=0.1)
