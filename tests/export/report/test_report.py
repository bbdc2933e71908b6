"""What the report says, counted a second time by other means."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf
from graphs import chain
from small_models import STEPS, answers_of, needs_tflm, sequences, sequential

from keras_fastgrnn import FastGRNN, FastGRNNCell, FastRNN, export, keras
from keras_fastgrnn.export.report.report import compare, observe

FULL = "FULLY_CONNECTED"
D, H, C = 3, 6, 2
GRU = {"LOGISTIC": 1, "TANH": 1, "SUB": 1, "MUL": 2}


def dense(units=C, activation=None):
    return keras.layers.Dense(units, activation=activation)


# Layers, multiply-accumulates a step, float operators (both as in docs/numerics.md)
MODELS = {
    "FastGRNN": (
        lambda: [FastGRNN(H), dense()],
        D * H + H * H + H * C,
        {"CONCATENATION": 1, FULL: 2, "ADD": 2, **GRU},
    ),
    "FastRNN": (
        lambda: [FastRNN(H)],
        D * H + H * H,
        {"CONCATENATION": 1, FULL: 1, "TANH": 1, "MUL": 2, "ADD": 1},
    ),
    "low rank": (
        lambda: [FastGRNN(H, kernel_rank=1, recurrent_rank=2), dense()],
        D * 1 + 1 * H + H * 2 + 2 * H + H * C,
        {"CONCATENATION": 1, FULL: 4, "ADD": 2, **GRU},
    ),
    "stacked": (
        lambda: [keras.layers.RNN([FastGRNNCell(H), FastGRNNCell(4)]), dense(3, "softmax")],
        D * H + H * H + H * 4 + 4 * 4 + 4 * 3,
        {"CONCATENATION": 2, FULL: 3, "ADD": 4, **{k: 2 * n for k, n in GRU.items()}, "SOFTMAX": 1},
    ),
    "hard": (
        lambda: [FastGRNN(H, "quant_tanh", "quant_sigmoid"), dense(C, "relu")],
        D * H + H * H + H * C,
        {"CONCATENATION": 1, FULL: 2, "ADD": 2, "SUB": 1, "MUL": 3, "MINIMUM": 1},
    ),
}


@pytest.fixture(scope="module")
def reports():
    """Exported models by name and quantization, made once."""
    made = {}

    def get(name, quantization):
        if (name, quantization) not in made:
            model = sequential(*MODELS[name][0](), seed=2)
            made[name, quantization] = export.convert(model, sequences(), quantization=quantization)
        return made[name, quantization]

    return get


each_model = pytest.mark.parametrize("name", MODELS)
each_type = pytest.mark.parametrize("quantization", ["int16x8", None])


@needs_tflm
@each_model
@each_type
def test_bytes_add_up(reports, name, quantization):
    """Constants as TFLite Micro's own schema finds them, each distinct one once."""
    from tflite_micro.tensorflow.lite.micro.python import schema_py_generated as schema

    deployed = reports(name, quantization)
    buffers = schema.ModelT.InitFromPackedBuf(deployed.tflite).buffers
    constants = {bytes(bytearray(b.data)) for b in buffers if b.data is not None}
    report = deployed.report
    assert report.file_bytes == len(deployed.tflite)
    assert report.weight_bytes == sum(map(len, constants))
    assert report.overhead_bytes == report.file_bytes - report.weight_bytes > 0


@each_model
@each_type
def test_multiply_accumulates_are_those_of_the_matrices(reports, name, quantization):
    assert reports(name, quantization).report.multiply_accumulates == MODELS[name][1]


@each_model
def test_float_operators_are_those_documented(reports, name):
    assert reports(name, None).report.operators == MODELS[name][2]


@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")
@each_model
@each_type
def test_operators_are_counted_as_tensorflow_counts_them(reports, name, quantization):
    deployed = reports(name, quantization)
    interpreter = tf.lite.Interpreter(model_content=deployed.tflite)
    names = [operator["op_name"] for operator in interpreter._get_ops_details()]
    assert deployed.report.operators == {kind: names.count(kind) for kind in names}


@each_model
@each_type
def test_dictionary_is_json_and_comes_back(reports, name, quantization):
    report = reports(name, quantization).report
    text = json.dumps(report.to_dict(), allow_nan=False)
    back = json.loads(text)
    assert back == report.to_dict()
    assert {field.name for field in dataclasses.fields(report)} <= back.keys()
    assert back["overhead_bytes"] == report.overhead_bytes
    assert back["tensors"][0]["name"] == "input"


@each_type
def test_text_has_the_numbers(reports, quantization):
    deployed = reports("FastGRNN", quantization)
    report = deployed.report
    text = str(report)
    assert text.startswith(f"model: {quantization or 'float32'}, streaming, variable state\n")
    arena = "not measured" if report.arena_bytes is None else f"{report.arena_bytes:,} bytes"
    for part in (f"{len(deployed.tflite):,} bytes", arena, "2 FULLY_CONNECTED", "66 a step"):
        assert part in text
    assert "/state (state)" in text
    assert "same class" in text and "16 sequences" in text
    assert ("saturated" in text) == (quantization is not None)
    assert max(map(len, text.splitlines())) < 120 and text.isascii()


def test_text_without_calibration_data_has_no_ranges():
    report = export.convert(sequential(FastRNN(2)), quantization=None, name="gesture").report
    assert report.tensors == [] and report.agreement is None
    lines = str(report).splitlines()
    assert [line.split()[0] for line in lines] == [
        "gesture:",
        "file",
        "arena",
        "operators",
        "multiplies",
    ]


# What is seen of each tensor


@each_type
def test_ranges_of_input_output_and_state_are_those_seen(quantization):
    """State and output of this cell are one tensor in Keras, and apart by alpha here."""
    model = sequential(FastRNN(H, return_sequences=True, name="rnn"))
    x = sequences()
    report = export.convert(model, x, quantization=quantization).report
    expected = answers_of(model, x)
    alpha = 1.0 / (1.0 + np.exp(-float(model.layers[-1].cell.alpha_logit.numpy())))
    seen = {tensor.name: tensor for tensor in report.tensors}
    state, first, last = seen["rnn/state"], report.tensors[0], report.tensors[-1]
    # int8 weights leave errors of a percent of the state.
    tolerance = {"rel": 1e-5} if quantization is None else {"rel": 0.05, "abs": 0.02}
    for tensor, values in ((first, x), (last, expected), (state, expected / alpha)):
        assert tensor.low == pytest.approx(values.min(), **tolerance)
        assert tensor.high == pytest.approx(values.max(), **tolerance)
    assert [t.name for t in report.tensors if t.is_state] == ["rnn/state"]
    assert (state.shape, state.values) == ((1, H), 16 * STEPS * H)
    assert (first.name, first.values) == ("input", 16 * STEPS * D)
    if quantization is None:
        assert {(t.scale, t.limit, t.saturated) for t in report.tensors} == {(None, None, 0)}
        assert {t.dtype for t in report.tensors} == {"float32"}
    else:
        assert {tensor.dtype for tensor in report.tensors} == {"int16"}
        for tensor in report.tensors:
            assert tensor.limit == 32767 * tensor.scale
        assert state.limit >= 1.2 * max(-state.low, state.high)
        assert state.saturated == 0


def test_values_at_either_end_of_16_bits_are_counted():
    graph = chain(2, ("MUL", [[0.5]], {}))
    x, y = graph.inputs[0], graph.outputs[0]
    for tensor in graph.tensors():
        tensor.dtype, tensor.scale = "int16", 2.0**-15
    graph.ops[0].inputs[1].data = np.array([16384])
    steps = [[32767, -32768], [32766, -32767], [32767, 0]]
    outputs, tensors = observe(graph, np.array([steps, steps]))
    assert outputs.tolist() == [[[16384, -16384], [16383, -16384], [16384, 0]]] * 2
    assert [(t.name, t.saturated, t.lost, t.values, t.seen) for t in tensors] == [
        (x.name, 6, 6, 12, None),
        (y.name, 0, 0, 12, None),
    ]
    assert (tensors[0].low, tensors[0].high) == (-1.0, 32767 / 32768)


# Agreement with Keras


def test_agreement_compares_classes_and_sizes():
    expected = np.array([[0.0, 1.0], [1.0, 0.0], [0.5, 0.25], [3.0, 4.0]], "float32")
    outputs = expected + np.array([[0.0, 0.0], [0.0, 0.25], [-0.5, 0.0], [0.0, 0.0]], "float32")
    agreement = compare(outputs, expected)
    assert agreement.sequences == 4
    assert agreement.largest_difference == 0.5
    assert agreement.same_class == 0.75
    values = [0.0, 1.0, 1.0, 0.0, 0.5, 0.25, 3.0, 4.0]
    mean = sum(values) / 8
    deviation = (sum((v - mean) ** 2 for v in values) / 8) ** 0.5
    error = ((0.25**2 + 0.5**2) / 8) ** 0.5
    assert agreement.relative_error == pytest.approx(error / deviation)
    assert {type(value) for value in dataclasses.astuple(agreement)} == {int, float}


def test_agreement_of_every_step_counts_steps():
    expected = np.zeros((2, 5, 3), "float32")
    expected[..., 1] = 1.0
    outputs = expected.copy()
    outputs[0, 0, 2] = 2.0
    assert compare(outputs, expected).same_class == 0.9
    assert compare(outputs, expected).sequences == 2


@pytest.mark.parametrize(
    ("expected", "error"), [([[0.4]], 0.025), ([[0.4], [0.4]], 0.025), ([[0.0]], None)]
)
def test_agreement_of_outputs_that_do_not_vary_is_relative_to_their_size(expected, error):
    expected = np.array(expected, "float32")
    agreement = compare(expected + (0.01 if error else 0.0), expected)
    assert agreement.relative_error == pytest.approx(error or 0.0, rel=1e-5)
    assert agreement.same_class is None


def test_agreement_is_that_of_the_model_and_the_reference():
    model = sequential(FastGRNN(H), dense(3))
    x = sequences(40)
    deployed = export.convert(model, x)
    expected, outputs = answers_of(model, x), deployed.predict(x, on="reference")
    agreement = deployed.report.agreement
    assert agreement.sequences == 40
    assert agreement.largest_difference == pytest.approx(np.abs(outputs - expected).max(), rel=1e-6)
    assert agreement.same_class == np.mean(outputs.argmax(1) == expected.argmax(1))
