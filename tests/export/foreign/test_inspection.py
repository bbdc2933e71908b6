"""What inspect says of a file, held against TFLite Micro's own reader and TFLite Micro itself."""

import json

import numpy as np
import pytest
import tensorflow as tf
import tflite_files
from blocked_tflm import BLOCKER
from small_models import needs_tflm
from tflite_files import CONVERTER, FORMATS, changed, deployed, of_converter

from keras_fastgrnn.errors import MalformedModelError
from keras_fastgrnn.export.foreign.inspection import KINDS, inspect
from keras_fastgrnn.export.tflite.flatbuffer_reader import read_model
from keras_fastgrnn.export.tflite.flatbuffer_writer import TableWriter
from keras_fastgrnn.export.tflite.schema import OPERATORS, TENSOR_TYPES
from keras_fastgrnn.export.tflm.interpreter import find_arena_size
from keras_fastgrnn.export.tflm.process import TFLMProcess

pytestmark = needs_tflm


@pytest.fixture(scope="module")
def process():
    with TFLMProcess() as process:
        yield process


@pytest.fixture(scope="module")
def files():
    return tflite_files.files()


def read_by_tflite_micro(data):
    from tflite_micro.tensorflow.lite.micro.python import schema_py_generated as schema

    return schema, schema.ModelT.InitFromPackedBuf(data)


@pytest.mark.parametrize("name", [*FORMATS, CONVERTER])
def test_tensors_and_operators_are_those_that_tflite_micros_reader_finds(name, files, process):
    schema, expected = read_by_tflite_micro(files[name])
    codes = {value: key for key, value in vars(schema.BuiltinOperator).items()}
    types = {value: key.lower() for key, value in vars(schema.TensorType).items()}
    found = inspect(files[name], process)
    assert found.not_in_tflm == []
    for one, other in zip(found.subgraphs, expected.subgraphs, strict=True):
        assert (one.inputs, one.outputs) == (list(other.inputs), list(other.outputs))
        names = [codes[expected.operatorCodes[o.opcodeIndex].builtinCode] for o in other.operators]
        assert one.operators == {name: names.count(name) for name in dict.fromkeys(names)}
        for tensor, table in zip(one.tensors, other.tensors, strict=True):
            assert (tensor.name or None) == (table.name and table.name.decode())
            assert tensor.shape == tuple(() if table.shape is None else table.shape)
            assert tensor.type == types[table.type]
            data = expected.buffers[table.buffer].data
            if data is not None:
                assert (tensor.kind, tensor.bytes) == ("constant", len(data))
            else:
                assert tensor.kind == ("variable" if table.isVariable else "computed")
                item = np.dtype(tensor.type).itemsize
                assert tensor.bytes == int(np.prod(tensor.shape)) * item
            scales = table.quantization and table.quantization.scale
            if scales is None or not len(scales):
                assert (tensor.scale, tensor.zero_point) == (None, None)
            else:
                assert tensor.scale == max(scales)
                assert tensor.zero_point == table.quantization.zeroPoint[0]


@pytest.mark.parametrize("name", [*FORMATS, CONVERTER])
def test_bytes_by_kind_are_all_bytes_of_the_file(name, files, process):
    data = files[name]
    _, model = read_by_tflite_micro(data)
    found = inspect(data, process)
    assert tuple(found.bytes_by_kind) == KINDS
    assert sum(found.bytes_by_kind.values()) == found.file_bytes == len(data)
    constants = {bytes(buffer.data) for buffer in model.buffers if buffer.data is not None}
    kinds = ("weights", "biases", "other constants")
    assert sum(found.bytes_by_kind[kind] for kind in kinds) >= sum(map(len, constants))
    weights, biases = {}, {}
    for graph in model.subgraphs:
        for operator in graph.operators:
            if model.operatorCodes[operator.opcodeIndex].builtinCode == 9:
                for place, index in zip((weights, biases), operator.inputs[1:], strict=False):
                    if index != -1:
                        buffer = bytes(model.buffers[graph.tensors[index].buffer].data)
                        place[buffer] = len(buffer)
    assert found.bytes_by_kind["weights"] == sum(weights.values())
    assert found.bytes_by_kind["biases"] == sum(biases.values())


@pytest.mark.parametrize("name", ["int16x8", "int8", "sequence"])
def test_arena_is_measured(name, files, process):
    assert inspect(files[name], process).arena_bytes == find_arena_size(files[name])
    assert inspect(files[name]).arena_bytes == find_arena_size(files[name])


def test_printed_text_has_what_the_dictionary_has(process):
    found = inspect(of_converter(), process)
    text = str(found)
    values = json.loads(json.dumps(found.to_dict()))
    assert values["file_bytes"] == len(of_converter())
    assert f"{values['arena_bytes']:,} bytes" in text
    assert "has every operator in these types" in text
    for graph in values["subgraphs"]:
        for name, count in graph["operators"].items():
            assert f"{name} x{count}" in text
        for tensor in graph["tensors"]:
            assert tensor["name"] in text


def of_one_operator(name, **code):
    """A file with one operator of that name, from one row to another, of type float32."""
    tensors = [{"shape": [1, 4], "type": 0, "buffer": 0, "name": text} for text in ("x", "y")]
    operator = {"opcode_index": 0, "inputs": [0], "outputs": [1]}
    graph = {"tensors": tensors, "inputs": [0], "outputs": [1], "operators": [operator]}
    model = {
        "version": 3,
        "operator_codes": [{"builtin_code": OPERATORS[name], **code}],
        "subgraphs": [graph],
        "buffers": [{}],
    }
    return TableWriter().finish(model)


def test_operator_that_tflite_micro_lacks_is_named_and_the_file_refused(process):
    found = inspect(of_one_operator("GELU"), process)
    assert found.not_in_tflm == ["GELU of float32 to float32"]
    assert (found.arena_bytes, found.refusal.count("\n")) == (None, 0)
    assert "GELU" in found.refusal
    assert "does not have GELU of float32 to float32" in str(found)
    assert "refused: " in str(found)


def test_type_that_tflite_micro_lacks_is_named(process):
    def change(model):
        for tensor in model["subgraphs"][0]["tensors"]:
            tensor["type"] = TENSOR_TYPES["int64"]

    found = inspect(changed(of_one_operator("TANH"), change), process)
    assert found.not_in_tflm == ["TANH of int64 to int64"]


def test_custom_operator_is_named_by_its_own_name(process):
    code = {"custom_code": "Mine\x1b[31m"}
    found = inspect(of_one_operator("CUSTOM", **code), process)
    assert found.subgraphs[0].operators == {"Mine\N{REPLACEMENT CHARACTER}[31m": 1}
    assert "Mine" in found.not_in_tflm[0]
    assert found.refusal is not None


def test_old_file_with_the_deprecated_code_alone_is_understood(process):
    code = {"builtin_code": 0, "deprecated_builtin_code": OPERATORS["TANH"]}
    found = inspect(of_one_operator("TANH", **code), process)
    assert found.subgraphs[0].operators == {"TANH": 1}
    assert found.arena_bytes is not None


def test_file_that_tflite_micro_refuses_has_its_words(process):
    def change(model):
        for tensor in model["subgraphs"][0]["tensors"]:
            if tensor["type"] == TENSOR_TYPES["int64"]:
                tensor["quantization"] = {
                    **tensor["quantization"],
                    "scale": tensor["quantization"]["scale"] * 1e6,
                }

    found = inspect(changed(deployed("int16x8").tflite, change), process)
    assert found.refusal.startswith("TFLite Micro refuses the model: ")
    assert "FULLY_CONNECTED" in found.refusal


@pytest.mark.parametrize("kind", ["int8", "dynamic", "float16"])
def test_files_of_tensorflows_converter_are_told(kind, process):
    rng = np.random.default_rng(0)
    weights = tf.constant(rng.normal(size=(8, 300)).astype("float32"))
    signature = tf.TensorSpec((1, 8), tf.float32)
    function = tf.function(lambda x: tf.nn.gelu(x @ weights), input_signature=[signature])
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [function.get_concrete_function()], function
    )
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind == "int8":
        samples = rng.normal(size=(9, 1, 8)).astype("float32")
        converter.representative_dataset = lambda: ([sample] for sample in samples)
    if kind == "float16":
        converter.target_spec.supported_types = [tf.float16]
    data = converter.convert()
    found = inspect(data, process)
    assert found.description == "MLIR Converted."
    assert sum(found.bytes_by_kind.values()) == len(data)
    assert found.not_in_tflm and found.refusal
    assert {"int8": "int8", "dynamic": "int8", "float16": "float16"}[kind] in str(found)


def test_custom_operators_that_tflite_micro_has_are_unverified(process):
    found = inspect(of_one_operator("CUSTOM", custom_code="SignalRfft"), process)
    assert (found.not_in_tflm, found.unverified) == ([], ["SignalRfft"])
    assert "no rule to verify SignalRfft by" in found.refusal
    allowed = inspect(
        of_one_operator("CUSTOM", custom_code="SignalRfft"), process, allow_unverified=True
    )
    assert allowed.refusal.startswith("TFLite Micro ")


@pytest.mark.parametrize("scales", [[np.nan], [np.inf, np.nan]])
def test_scale_that_is_no_number_is_left_out_of_the_json(scales, process):
    def change(model):
        quantization = {"scale": np.array(scales), "zero_point": np.zeros(len(scales))}
        model["subgraphs"][0]["tensors"][0]["quantization"] = quantization

    found = inspect(changed(deployed("int16x8").tflite, change), process)
    assert found.subgraphs[0].tensors[0].scale is None
    assert found.subgraphs[0].tensors[0].scales == len(scales)
    assert "not between 2^-60 and 2^60" in found.refusal
    json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.parametrize("data", [b"", b"TFL3", b"\0" * 99, b"\x08\0\0\0TFL3" + b"\xff" * 99])
def test_what_is_no_model_is_refused(data, process):
    with pytest.raises(MalformedModelError, match="^Expected a TFLite model, got "):
        inspect(data, process)


def test_constants_that_overlap_count_once(process):
    """Two buffers that begin four bytes apart: their bytes together, not their sum."""
    data = bytearray(of_one_operator("TANH"))
    bytes_of = inspect(bytes(data), process).bytes_by_kind

    def change(model):
        model["buffers"] += [{"data": np.arange(64, dtype=np.int8)}] * 2

    made = bytearray(changed(bytes(data), change))
    model = read_model(bytes(made))
    first, second = (b["data"].ctypes.data for b in model["buffers"][1:])
    assert first == second  # written once
    found = inspect(bytes(made), process)
    assert found.bytes_by_kind["other constants"] == 64
    assert bytes_of["other constants"] == 0


def test_without_tflite_micro_the_arena_is_not_measured(run_python, tmp_path):
    (tmp_path / "model.tflite").write_bytes(deployed("int16x8").tflite)
    code = f"""
{BLOCKER}
from keras_fastgrnn.export.foreign.inspection import inspect
found = inspect(open("model.tflite", "rb").read())
assert (found.arena_bytes, found.refusal) == (None, None)
print(found)
"""
    assert "not measured: no TFLite Micro" in run_python("-c", code)
