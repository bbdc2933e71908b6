"""What the device computes is what a quantization-aware model was trained to compute."""

import math

import numpy as np
import pytest
from aware_models import FORMATS, STEPS, aware, data, fitted
from small_models import CHANNELS, needs_tflm, sequential

from keras_fastgrnn import FastGRNN, FastGRNNCell, FastRNN, FastRNNCell, export, keras, quant_tanh
from keras_fastgrnn.quantization import quantize_aware
from keras_fastgrnn.quantization.layer_scales import scales_of

LAYERS = keras.layers

pytestmark = pytest.mark.filterwarnings("ignore::keras_fastgrnn.export.SaturationWarning")

CHAINS = {
    "FastGRNN": lambda: [FastGRNN(8)],
    "FastRNN": lambda: [FastRNN(8)],
    "piecewise-linear": lambda: [FastGRNN(8, "quant_tanh", "quant_sigmoid")],
    "piecewise-linear of another slope": lambda: [FastGRNN(8, "quant_sigmoid", "quant_sigmoid4")],
    "piecewise-linear FastRNN": lambda: [FastRNN(8, "quant_sigmoid4")],
    "relu": lambda: [FastGRNN(6, "relu")],
    "linear FastRNN": lambda: [FastRNN(6, None)],
    "linear FastRNN without bias": lambda: [FastRNN(6, "linear", use_bias=False)],
    "low rank": lambda: [FastGRNN(8, kernel_rank=2, recurrent_rank=4)],
    "without bias": lambda: [FastGRNN(8, use_bias=False)],
    "RNN of a cell": lambda: [LAYERS.RNN(FastGRNNCell(5))],
    "stacked layers": lambda: [FastGRNN(6, return_sequences=True), FastRNN(5)],
    "stacked layers, the second without bias": lambda: [
        FastGRNN(6, return_sequences=True),
        FastGRNN(4, "tanh", "quant_sigmoid4", use_bias=False),
    ],
    "stacked cells": lambda: [LAYERS.RNN([FastGRNNCell(6, kernel_rank=2), FastRNNCell(5)])],
    "unrolled": lambda: [FastGRNN(4, unroll=True)],
    "Normalization": lambda: [
        LAYERS.Normalization(mean=[0.1, -0.2, 0.3], variance=[4.0, 0.25, 1.0]),
        FastGRNN(6, use_bias=False),
    ],
    "Normalization of a low rank": lambda: [
        LAYERS.Normalization(mean=[0.1, -0.2, 0.3], variance=[4.0, 0.25, 1.0]),
        FastRNN(6, kernel_rank=2),
    ],
    "Rescaling": lambda: [LAYERS.Rescaling(1 / 3, offset=-0.5), FastGRNN(6)],
    "Rescaling by channel": lambda: [
        LAYERS.Rescaling([0.5, -2.0, 1.0], [0.0, 1.0, 3.0]),
        FastRNN(6),
    ],
    "Normalization after": lambda: [
        FastGRNN(4),
        LAYERS.Normalization(mean=[0.1, -0.2, 0.3, 0.0], variance=[0.1, 0.2, 0.3, 1.0]),
    ],
    "Dense before": lambda: [LAYERS.Dense(4, "relu"), FastGRNN(5)],
    "Normalization and Dense before": lambda: [
        LAYERS.Normalization(mean=[0.1, -0.2, 0.3], variance=[4.0, 0.25, 1.0]),
        LAYERS.Dense(4, "tanh", use_bias=False),
        FastGRNN(5),
    ],
    "Dropout": lambda: [
        LAYERS.Dropout(0.2),
        FastGRNN(5, dropout=0.5, recurrent_dropout=0.5),
        LAYERS.Dropout(0.2),
    ],
    "Dense relu between": lambda: [FastGRNN(6), LAYERS.Dense(4, "relu")],
    "Dense tanh between": lambda: [FastGRNN(6), LAYERS.Dense(4, "tanh", use_bias=False)],
    "Dense softmax between": lambda: [FastGRNN(6), LAYERS.Dense(4, "softmax")],
    "two Dense between": lambda: [
        FastGRNN(6),
        LAYERS.Dense(4, activation=quant_tanh),
        LAYERS.Dropout(0.2),
        LAYERS.Dense(4),
    ],
    "every step": lambda: [FastGRNN(5, return_sequences=True)],
}

OPTIONS = {
    "4 bits": {"weight_bits": 4},
    "powers of two": {"power_of_two_weights": True},
    "byte biases": {"byte_biases": True},
    "powers of two, byte biases": {"power_of_two_weights": True, "byte_biases": True},
    "4 bits, powers of two": {"weight_bits": 4, "power_of_two_weights": True},
    "all": {"weight_bits": 4, "power_of_two_weights": True, "byte_biases": True},
    "zeros not kept": {"preserve_zeros": False},
}
OPTIONED = {
    "smooth": lambda: [FastGRNN(6)],
    "piecewise-linear, low rank": lambda: [
        FastGRNN(6, "quant_tanh", "quant_sigmoid", kernel_rank=2, recurrent_rank=3)
    ],
    "FastRNN": lambda: [FastRNN(6, "quant_sigmoid")],
}


def assert_the_device_computes(model, deployed=None, x=None, extra=0.0):
    """Outputs of TFLite Micro are within 0.1 % of the range in int16, and a few units in int8."""
    deployed = deployed or export.convert(model)
    x = data()[0] if x is None else x
    expected = np.asarray(model(x))
    difference = np.abs(deployed.predict(x) - expected)
    if deployed.report.quantization == "int8":
        unit = scales_of(model.layers[-1])[model.layers[-1].name].scale
        assert difference.max() <= 6.1 * unit + extra
        assert difference.mean() <= 0.51 * unit + extra  # half a unit, in float32
    else:
        assert np.percentile(difference, 99) <= 1e-3 * np.ptp(expected) + extra


@needs_tflm
@pytest.mark.parametrize("quantization", FORMATS)
@pytest.mark.parametrize("chain", CHAINS)
def test_the_device_computes_what_was_trained(chain, quantization):
    assert_the_device_computes(aware(*CHAINS[chain](), quantization=quantization, spread=0.3))


@needs_tflm
@pytest.mark.parametrize("quantization", FORMATS)
@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh", "softmax", quant_tanh])
def test_the_device_computes_the_last_function_that_was_trained(activation, quantization):
    x, _ = data()
    layers = FastGRNN(6), LAYERS.Dense(3, activation=activation)
    model = sequential(*layers, steps=STEPS, spread=0.6)
    assert_the_device_computes(quantize_aware(model, quantization, calibration_data=x))


@needs_tflm
@pytest.mark.parametrize("quantization", FORMATS)
@pytest.mark.parametrize("chain", OPTIONED)
@pytest.mark.parametrize("options", OPTIONS)
def test_the_device_computes_what_was_trained_with(options, chain, quantization):
    model = aware(*OPTIONED[chain](), quantization=quantization, spread=0.3, **OPTIONS[options])
    assert_the_device_computes(model)


@needs_tflm
@pytest.mark.parametrize("quantization", FORMATS)
@pytest.mark.parametrize(
    ("activation", "gate"),
    [
        ("tanh", "sigmoid"),
        ("tanh", "quant_sigmoid4"),
        ("quant_sigmoid4", "quant_sigmoid"),
        ("linear", "quant_sigmoid4"),
    ],
)
def test_the_device_computes_a_cell_of_two_equal_biases(activation, gate, quantization):
    layer = FastGRNN(6, activation, gate)
    model = sequential(layer, LAYERS.Dense(2), steps=STEPS, spread=0.3)
    layer.cell.candidate_bias.assign(layer.cell.gate_bias.numpy())
    calibrated = quantize_aware(model, quantization, calibration_data=data()[0])
    assert_the_device_computes(calibrated)


@needs_tflm
@pytest.mark.parametrize("quantization", FORMATS)
def test_the_device_computes_what_training_made_of_a_model(quantization):
    model = fitted(aware(FastGRNN(6), quantization=quantization), epochs=2, learning_rate=1e-2)
    assert_the_device_computes(model)


# Integers


def constants_of(graph):
    """Matrices, biases and other constants of an integer graph, as lists."""
    products = [op for op in graph.ops if op.kind == "FULLY_CONNECTED"]
    matrices = [op.inputs[1] for op in products]
    biases = [tensor for op in products for tensor in op.inputs[2:]]
    others = [op for op in graph.ops if op not in products]
    added = [t for op in others if op.kind == "ADD" for t in op.inputs if t.is_constant]
    return matrices, biases, added


@pytest.mark.parametrize("quantization", FORMATS)
@pytest.mark.parametrize("options", ["4 bits", "4 bits, powers of two"])
def test_weights_of_4_bits_are_integers_of_4_bits(options, quantization):
    model = aware(FastGRNN(6, kernel_rank=2), quantization=quantization, **OPTIONS[options])
    matrices, _, _ = constants_of(export.convert(model).graph)
    for tensor in matrices:
        assert np.abs(tensor.data).max() <= 7
        if options == "4 bits":
            assert np.abs(tensor.data).max() == 7


@pytest.mark.parametrize("quantization", FORMATS)
@pytest.mark.parametrize("chain", OPTIONED)
def test_scales_of_matrices_are_powers_of_two(chain, quantization):
    model = aware(*OPTIONED[chain](), quantization=quantization, power_of_two_weights=True)
    matrices, _, _ = constants_of(export.convert(model).graph)
    for tensor in matrices:
        # In int8 the exporter settles them by some parts in a million.
        exponent = math.log2(tensor.scale)
        assert abs(exponent - round(exponent)) < {"int16x8": 1e-9, "int8": 1e-4}[quantization]


@pytest.mark.parametrize("quantization", FORMATS)
@pytest.mark.parametrize("chain", OPTIONED)
def test_biases_are_bytes_times_a_power_of_two(chain, quantization):
    model = aware(*OPTIONED[chain](), quantization=quantization, byte_biases=True)
    _, biases, added = constants_of(export.convert(model).graph)
    assert biases
    for tensor in (*biases, *added):
        values = np.float64(tensor.data) * tensor.scale
        unit = 2.0 ** math.ceil(math.log2(np.abs(values).max() / 127) - 1e-4)
        # A bias is stored in the unit of the products it is added to.
        np.testing.assert_allclose(
            values / unit, np.round(values / unit), atol=tensor.scale / unit + 1e-3
        )


# Options of convert


@needs_tflm
@pytest.mark.parametrize("quantization", FORMATS)
@pytest.mark.parametrize("layer", [FastGRNN, FastRNN])
def test_sequence_is_computed_as_trained(layer, quantization):
    model = aware(layer(6), quantization=quantization)
    assert_the_device_computes(model, export.convert(model, mode="sequence"))


def held(tensor):
    """The smallest and the largest value that an integer tensor holds."""
    integers = np.iinfo(tensor.dtype)
    return [(int(end) - tensor.zero_point) * tensor.scale for end in (integers.min, integers.max)]


@needs_tflm
@pytest.mark.parametrize("quantization", FORMATS)
@pytest.mark.parametrize(
    "types",
    [
        {"inputs": "float32", "outputs": "float32"},
        {"inputs": "int8"},
        {"outputs": "int8"},
        {"inputs": "int16"},
    ],
    ids=str,
)
def test_ends_of_another_type_hold_the_trained_ranges(types, quantization):
    model = aware(FastGRNN(6), quantization=quantization)
    plain = export.convert(model).graph
    arguments = {f"{end.removesuffix('s')}_type": dtype for end, dtype in types.items()}
    deployed = export.convert(model, **arguments)
    coarser = 0.0
    for end in ("inputs", "outputs"):
        outer, inner = getattr(deployed.graph, end)[0], getattr(plain, end)[0]
        assert outer.dtype == types.get(end, inner.dtype)
        if outer.dtype != "float32":
            assert held(outer)[0] <= 0.99 * held(inner)[0] < 0.0
            assert held(outer)[1] >= 0.99 * held(inner)[1] > 0.0
            coarser += 2.0 * outer.scale
    assert_the_device_computes(model, deployed, extra=coarser)


@needs_tflm
def test_explicit_state_is_computed_as_trained():
    model = aware(FastGRNN(6))
    assert_the_device_computes(model, export.convert(model, state="explicit"))


@needs_tflm
@pytest.mark.parametrize("quantization", FORMATS)
def test_calibration_data_fills_the_report_and_changes_no_bit(quantization):
    model = aware(FastGRNN(6), quantization=quantization)
    x, _ = data()
    deployed, filled = export.convert(model), export.convert(model, x)
    assert filled.tflite == deployed.tflite
    assert filled.report.agreement is not None
    assert filled.report.quantization == quantization


@pytest.mark.parametrize("quantization", FORMATS)
def test_auto_is_what_a_model_was_trained_for(quantization):
    model = aware(FastGRNN(3), quantization=quantization)
    automatic = export.convert(model)
    assert automatic.report.quantization == quantization
    assert automatic.tflite == export.convert(model, quantization=quantization).tflite


@pytest.mark.parametrize("quantization", FORMATS)
def test_converting_changes_nothing_of_the_model(quantization):
    model = aware(FastGRNN(4), quantization=quantization)
    x, _ = data()
    before, expected = model.get_weights(), np.asarray(model(x))
    export.convert(model)
    for weight, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, old)
    np.testing.assert_array_equal(np.asarray(model(x)), expected)


# Mistakes

TRAINED_FOR = {"int16x8": "int8", "int8": "int16x8"}


@pytest.mark.parametrize("other", ["other", None])
@pytest.mark.parametrize("quantization", FORMATS)
def test_another_quantization_than_the_trained_one_is_refused(quantization, other):
    model = aware(FastGRNN(3), quantization=quantization)
    other = other and TRAINED_FOR[quantization]
    with pytest.raises(ValueError) as error:
        export.convert(model, quantization=other)
    assert str(error.value) == (
        "Received an invalid value for argument quantization, expected "
        f"{quantization!r}, for which the model was trained, got {other!r}."
    )


def test_explicit_state_of_int8_is_refused():
    model = aware(FastGRNN(3), quantization="int8")
    with pytest.raises(
        ValueError, match=r"^Received an invalid value for argument state, exp.*\.$"
    ):
        export.convert(model, state="explicit")


@pytest.mark.parametrize("quantization", FORMATS)
def test_ranges_that_no_training_step_has_shown_are_named(quantization):
    model = aware(FastGRNN(3, name="rnn"), quantization=quantization, calibrated=False)
    with pytest.raises(ValueError) as error:
        export.convert(model)
    message = str(error.value)
    assert "\n" not in message
    assert "expected ranges that training has shown, got none yet for input, rnn/" in message
    assert "calibration_data to quantize_aware" in message


def test_layers_that_are_not_all_alike_are_refused():
    first = aware(FastGRNN(3, name="rnn"))
    second = aware(FastGRNN(3, name="rnn"), quantization="int8")
    source = keras.Input((STEPS, CHANNELS))
    mixed = keras.Model(source, second.layers[-1](first.layers[1](source)))
    with pytest.raises(ValueError) as error:
        export.convert(mixed)
    assert "\n" not in str(error.value)
    assert "expected layers that are all quantized alike" in str(error.value)
