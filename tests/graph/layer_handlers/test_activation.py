"""Activations that are layers are exported as those that are arguments."""

import numpy as np
import pytest
from small_models import needs_tflm, sequences, sequential

from keras_fastgrnn import FastGRNN, export, keras
from keras_fastgrnn.quantization import quantize_aware

LAYERS = keras.layers

ALIKE = {
    "Activation": (lambda: LAYERS.Activation("tanh"), "tanh"),
    "hard_sigmoid": (lambda: LAYERS.Activation("hard_sigmoid"), "hard_sigmoid"),
    "ReLU": (LAYERS.ReLU, "relu"),
    "Softmax": (LAYERS.Softmax, "softmax"),
    "linear": (lambda: LAYERS.Activation("linear"), "linear"),
}


def with_layer(layer):
    return sequential(FastGRNN(4), LAYERS.Dense(5), layer(), LAYERS.Dense(3), layer())


def with_argument(activation):
    return sequential(FastGRNN(4), LAYERS.Dense(5, activation), LAYERS.Dense(3, activation))


@pytest.mark.parametrize("quantization", [None, "int16x8", "int8"])
@pytest.mark.parametrize(("layer", "activation"), ALIKE.values(), ids=ALIKE)
def test_it_answers_as_the_activation_of_the_layer_before(layer, activation, quantization):
    x = sequences()
    expected = export.convert(with_argument(activation), x, quantization=quantization)
    found = export.convert(with_layer(layer), x, quantization=quantization)
    assert [op.kind for op in found.graph.ops] == [op.kind for op in expected.graph.ops]
    np.testing.assert_array_equal(
        found.predict(x, on="reference"), expected.predict(x, on="reference")
    )


# Rounding alone may take a state past the values that calibration saw.
@needs_tflm
@pytest.mark.filterwarnings("ignore::keras_fastgrnn.export.SaturationWarning")
@pytest.mark.parametrize("quantization", [None, "int16x8", "int8"])
@pytest.mark.parametrize("layer", [layer for layer, _ in ALIKE.values()], ids=ALIKE)
def test_it_runs_wherever_it_stands(layer, quantization):
    layers = layer(), FastGRNN(4, return_sequences=True), layer(), FastGRNN(3), layer()
    model, x = sequential(*layers), sequences()
    deployed = export.convert(model, x, quantization=quantization)
    answers = deployed.predict(x)
    of_float32 = 0.0 if quantization else 1e-6
    np.testing.assert_allclose(answers, deployed.predict(x, on="reference"), atol=of_float32)
    # Values of the order of 1, in float32, with weights of 8 bits, and with all of 8 bits.
    allowed = {None: 1e-5, "int16x8": 0.03, "int8": 0.2}[quantization]
    np.testing.assert_allclose(answers, model.predict(x, verbose=0), atol=allowed)
    if quantization and layer is not LAYERS.Softmax:  # which plain C has at the end alone
        compiled = export.convert_c(model, x)
        np.testing.assert_array_equal(compiled.predict(x), compiled.predict(x, on="reference"))


@pytest.mark.parametrize("quantization", ["int16x8", "int8"])
@pytest.mark.parametrize(("layer", "activation"), ALIKE.values(), ids=ALIKE)
def test_training_takes_it_into_the_dense_layer_before(layer, activation, quantization):
    x = sequences()
    found = quantize_aware(with_layer(layer), quantization, calibration_data=x)
    expected = quantize_aware(with_argument(activation), quantization, calibration_data=x)
    np.testing.assert_array_equal(np.asarray(found(x)), np.asarray(expected(x)))
    assert export.convert(found).tflite == export.convert(expected).tflite


def test_training_refuses_it_where_no_dense_layer_is_before_it():
    model = sequential(FastGRNN(4), LAYERS.ReLU(name="culprit"), LAYERS.Dense(2))
    with pytest.raises(ValueError, match=r"expected layers that are rounded.*got culprit \(ReLU\)"):
        quantize_aware(model)
