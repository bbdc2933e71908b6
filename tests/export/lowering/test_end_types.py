"""Types of a model's own input and output: what the file holds, and what the conversion costs."""

import functools

import numpy as np
import pytest
from small_models import answers_of, needs_tflm, sequences, sequential

from keras_fastgrnn import FastGRNN, FastRNN, export, keras, quant_sigmoid
from keras_fastgrnn.export.lowering.end_types import TYPES, with_io_types
from keras_fastgrnn.export.lowering.lower import CHOOSERS
from keras_fastgrnn.export.tflite import write
from keras_fastgrnn.graph import real_values, reference
from keras_fastgrnn.graph.ranges import calibrate
from keras_fastgrnn.graph.rewrite import fold_all, simplify
from keras_fastgrnn.graph.trace import trace
from keras_fastgrnn.quantization.int8_scales import int8_scale_for

OWN = {"int16x8": "int16", "int8": "int8", None: "float32"}

# QUANTIZE rounds twice, here to an eighth of a unit or finer and then to the unit.
HALF = 0.5 + 1 / 16

each_input = pytest.mark.parametrize("input_type", [None, *TYPES])
each_output = pytest.mark.parametrize("output_type", [None, *TYPES])
each_quantization = pytest.mark.parametrize("quantization", OWN)

HEADS = {
    "linear": None,
    "tanh": "tanh",
    "sigmoid": "sigmoid",
    "softmax": "softmax",
    "relu": "relu",
    "quant_sigmoid": quant_sigmoid,
}


@functools.cache
def exported(quantization, head="linear"):
    """A graph, the ranges of its ends, and data that reaches neither end."""
    model = sequential(FastGRNN(5), keras.layers.Dense(3, HEADS[head]), spread=0.3)
    x = sequences()
    graph = trace(model)
    simplify(graph)
    ranges = calibrate(graph, x)
    ends = ranges[graph.inputs[0]], ranges[graph.outputs[0]]
    if quantization is None:
        fold_all(graph)
    else:
        graph = CHOOSERS[quantization](graph, ranges, x).choose().integers
    return graph, ends, x


def typed(quantization, input_type, output_type, head="linear"):
    graph, ends, x = exported(quantization, head)
    graph = with_io_types(graph, input_type, output_type, *ends)
    return graph, to_type(x, graph.inputs[0])


def to_type(x, tensor):
    return x if tensor.dtype == "float32" else real_values.quantize_input(x, tensor)


def real(values, tensor):
    if tensor.dtype == "float32":
        return np.asarray(values, np.float64)
    return (np.asarray(values, np.float64) - tensor.zero_point) * tensor.scale


@each_quantization
@each_input
@each_output
def test_ends_have_the_types_asked_for_and_tflite_micro_answers_as_the_reference(
    wheels, quantization, input_type, output_type
):
    graph, x = typed(quantization, input_type, output_type)
    (given,), (returned,) = graph.inputs, graph.outputs
    assert given.dtype == (input_type or OWN[quantization])
    assert returned.dtype == (output_type or OWN[quantization])
    one = x[0].astype(given.dtype)
    expected = reference.run(graph, one[np.newaxis])[0]
    for wheel in wheels.values():
        (outputs,) = wheel.run(write.write(graph), one, 1)
        assert outputs.dtype == returned.dtype
        if quantization is None:  # float32 sums in another order; an integer may be the next one
            tolerance = 1e-5 if returned.dtype == "float32" else 1.0
            np.testing.assert_allclose(outputs, expected, atol=tolerance)
        else:
            np.testing.assert_array_equal(outputs, expected)


@each_quantization
@each_output
def test_converted_output_is_the_output_to_half_a_unit(quantization, output_type):
    plain, x = typed(quantization, None, None)
    graph, _ = typed(quantization, None, output_type)
    expected = real(reference.run(plain, x), plain.outputs[0])
    outputs = real(reference.run(graph, x), graph.outputs[0])
    half = 1e-6 if graph.outputs[0].scale is None else HALF * graph.outputs[0].scale
    np.testing.assert_allclose(outputs, expected, atol=half)


@each_quantization
@each_input
def test_converted_input_is_the_input_to_half_a_unit(quantization, input_type):
    graph, x = typed(quantization, input_type, None)
    conversions = [op for op in graph.ops if op.inputs[0] is graph.inputs[0]]
    inside = graph.inputs[0]
    if input_type not in (None, OWN[quantization]):
        (conversion,) = conversions
        assert conversion.kind == ("DEQUANTIZE" if quantization is None else "QUANTIZE")
        inside = conversion.output
    half = 1e-6 if inside.scale is None else HALF * inside.scale
    for time, values in enumerate(reference.steps(graph, x)):
        given = real(x[:, time], graph.inputs[0])
        np.testing.assert_allclose(real(values[inside], inside), given, atol=half)


@each_quantization
@each_input
@each_output
def test_type_that_a_model_has_anyway_costs_no_operator(quantization, input_type, output_type):
    plain, _ = typed(quantization, None, None)
    graph, _ = typed(quantization, input_type, output_type)
    conversions = [input_type, output_type]
    conversions = [t for t in conversions if t not in (None, OWN[quantization])]
    assert len(graph.ops) == len(plain.ops) + len(conversions)


DICTATED = {
    "tanh": {"int8": (1 / 128, 0), "int16": (2.0**-15, 0)},
    "sigmoid": {"int8": (1 / 256, -128), "int16": (2.0**-15, 0)},
    "softmax": {"int8": (1 / 256, -128), "int16": (2.0**-15, 0)},
    "quant_sigmoid": {"int8": (float(np.float32(1 / 255)), -128), "int16": (2.0**-15, 0)},
}


@each_quantization
@pytest.mark.parametrize("output_type", ["int8", "int16"])
@pytest.mark.parametrize("head", DICTATED)
def test_head_that_dictates_a_scale_is_returned_in_it(quantization, output_type, head):
    graph, _ = typed(quantization, None, output_type, head)
    (output,) = graph.outputs
    assert (output.scale, output.zero_point) == DICTATED[head][output_type]


@each_quantization
@pytest.mark.parametrize("head", ["linear", "relu"])
def test_other_ends_hold_what_was_seen(quantization, head):
    """int8 exactly; int16 with a quarter more, in a power of two."""
    _, ends, _ = exported(quantization, head)
    for input_type, output_type in (("int8", "int8"), ("int16", "int16")):
        graph, _ = typed(quantization, input_type, output_type, head)
        for tensor, seen in zip((graph.inputs[0], graph.outputs[0]), ends, strict=True):
            own = tensor.dtype == OWN[quantization]  # chosen with the others
            if tensor.dtype == "int8" and not own:
                expected = int8_scale_for(seen.low, seen.high)
                assert (tensor.scale, tensor.zero_point) == (expected.scale, expected.zero_point)
            elif tensor.dtype == "int16" and not own:
                reach = 2**15 * tensor.scale
                assert np.frexp(tensor.scale)[0] == 0.5
                assert reach / 2 < 1.25 * max(-seen.low, seen.high) <= reach


@each_quantization
def test_graph_that_is_converted_is_left_as_it_was(quantization):
    graph, ends, _ = exported(quantization)
    before = list(graph.ops), list(graph.inputs), list(graph.outputs)
    with_io_types(graph, "int8", "float32", *ends)
    with_io_types(graph, "int16", "int8", *ends)
    assert (graph.ops, graph.inputs, graph.outputs) == before


# convert


@needs_tflm
@pytest.mark.filterwarnings("ignore::keras_fastgrnn.export.SaturationWarning")
@pytest.mark.parametrize(
    ("quantization", "input_type", "output_type"),
    [("int16x8", "float32", "int8"), ("int8", "int16", "float32"), (None, "int8", "int16")],
)
def test_predict_takes_and_returns_real_values_whatever_the_types(
    quantization, input_type, output_type
):
    model = sequential(FastRNN(4, return_sequences=True), keras.layers.Dense(2), spread=0.3)
    x = sequences()
    deployed = export.convert(
        model, x, quantization=quantization, input_type=input_type, output_type=output_type
    )
    outputs = deployed.predict(x)
    expected = answers_of(model, x)
    assert (outputs.dtype, outputs.shape) == (np.float32, expected.shape)
    # int8 rounds by 1/253 of a range, the input's as well as the state's, which lives on.
    assert np.sqrt(np.mean(np.square(outputs - expected))) < 0.05 * expected.std()
    unit = 1e-5 if quantization else 1.01 * deployed.outputs[0].scale
    np.testing.assert_allclose(outputs, deployed.predict(x, on="reference"), atol=unit)


@pytest.mark.parametrize(
    ("quantization", "types"),
    [
        (None, {"input_type": "int8"}),
        (None, {"output_type": "int16"}),
        (None, {"input_type": "float32", "output_type": "int8"}),
        ("int16x8", {}),
        ("int8", {"input_type": "float32", "output_type": "float32"}),
    ],
)
def test_integers_without_calibration_data_are_refused(quantization, types):
    with pytest.raises(ValueError, match="^Received an invalid value for argument calibration_dat"):
        export.convert(sequential(FastGRNN(4)), quantization=quantization, **types)


@pytest.mark.parametrize("types", [{}, {"input_type": "float32", "output_type": "float32"}])
def test_floats_need_no_calibration_data(types):
    deployed = export.convert(sequential(FastGRNN(4)), quantization=None, **types)
    assert deployed.inputs[0].dtype == deployed.outputs[0].dtype == "float32"


@pytest.mark.parametrize("input_type", [None, *TYPES])
@pytest.mark.parametrize("quantization", CHOOSERS)
def test_data_too_coarse_for_the_integers_gives_a_warning_whatever_the_type(
    quantization, input_type
):
    """One channel is 10,000 times another, which alone matters."""
    model = sequential(FastGRNN(4), keras.layers.Dense(2), spread=0.3)
    kernel = model.trainable_weights[0]
    values = np.copy(kernel.numpy())
    values[0] = 0.0
    kernel.assign(values)
    x = (sequences() * [1e4, 1.0, 1.0]).astype("float32")
    with pytest.warns(export.PrecisionWarning, match="differ from the Keras model's"):
        export.convert(model, x, quantization=quantization, input_type=input_type)
