"""Activations that are layers are exported as those that are arguments."""

import numpy as np
import pytest
from small_models import check_everywhere, needs_tflm, sequences, sequential

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
    is_softmax = layer is LAYERS.Softmax  # which plain C has at the end alone
    check_everywhere(sequential(*layers), quantization, in_c=not is_softmax)


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
