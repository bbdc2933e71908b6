"""TFLite files written and read, held against TensorFlow's own converter and reader."""

import ast
import inspect
import re
import struct

import numpy as np
import pytest
import tensorflow as tf
from small_models import sequences, sequential

from keras_fastgrnn import FastGRNN, export, keras
from keras_fastgrnn.errors import MalformedModelError
from keras_fastgrnn.export.tflite.flatbuffer_reader import read_model
from keras_fastgrnn.export.tflite.flatbuffer_writer import TableWriter
from keras_fastgrnn.export.tflite.schema import (
    ACTIVATIONS,
    OPERATORS,
    OPTIONS_TYPES,
    TABLES,
    TENSOR_TYPES,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")


def schema_of_tflite_micro():
    module = "tflite_micro.tensorflow.lite.micro.python.schema_py_generated"
    return pytest.importorskip(module)


def test_numbers_are_those_of_tflite_micros_schema():
    schema = schema_of_tflite_micro()
    for ours, theirs in (
        (OPERATORS, schema.BuiltinOperator),
        ({name.upper(): code for name, code in TENSOR_TYPES.items()}, schema.TensorType),
        ({"NONE": 0, **OPTIONS_TYPES}, schema.BuiltinOptions),
        (ACTIVATIONS, schema.ActivationFunctionType),
    ):
        assert ours == {key: value for key, value in vars(theirs).items() if key[0] != "_"}


def test_fields_lie_where_tflite_micros_schema_has_them():
    """Its function that adds a field names the slot, and for a scalar its type and default."""
    schema = schema_of_tflite_micro()
    kinds = {"Int8": "b", "Uint8": "B", "Bool": "?", "Int32": "i", "Uint32": "I", "Uint64": "Q"}
    for name, fields in TABLES.items():
        for key, field in fields.items():
            camel = "".join(part.capitalize() for part in key.split("_"))
            source = inspect.getsource(getattr(schema, f"{name}Add{camel}"))
            prepend, slot, default = re.search(
                r"Prepend(\w+)Slot\((\d+), .*, (\S+)\)", source
            ).groups()
            assert field.slot == int(slot), (name, key)
            if len(field.kind) > 1:
                assert prepend == "UOffsetTRelative"
            else:
                assert {**kinds, "Float32": "f"}[prepend] == field.kind
                assert field.default == ast.literal_eval(default)


def tensor(shape, kind, buffer, **more):
    return {"shape": shape, "type": TENSOR_TYPES[kind], "buffer": buffer, **more}


def model_of(tensors, buffers, operators=(), **more):
    subgraph = {"tensors": tensors, "inputs": [0], "outputs": [1], "operators": list(operators)}
    codes = [{"builtin_code": OPERATORS[name]} for name in ("MUL", "FULLY_CONNECTED")]
    return {
        "version": 3,
        "operator_codes": codes,
        "subgraphs": [{**subgraph, **more}],
        "buffers": [{}, *({"data": data} for data in buffers)],
    }


@pytest.fixture(scope="module")
def of_tensorflow():
    """A file made by TensorFlow's converter, and its arrays."""
    rng = np.random.default_rng(0)
    w, b = (rng.normal(size=s).astype("float32") for s in ((3, 4), 4))
    signature = tf.TensorSpec((1, 3), tf.float32)
    function = tf.function(lambda x: tf.tanh(tf.nn.relu(x @ w + b)), input_signature=[signature])
    concrete = function.get_concrete_function()
    data = tf.lite.TFLiteConverter.from_concrete_functions([concrete], function).convert()
    return data, w, b


def test_file_of_tensorflow_is_read_as_tensorflow_reads_it(of_tensorflow):
    data, w, b = of_tensorflow
    model = read_model(data)
    (subgraph,) = model["subgraphs"]
    interpreter = tf.lite.Interpreter(model_content=data)
    details = interpreter.get_tensor_details()[: len(subgraph["tensors"])]
    for found, expected in zip(subgraph["tensors"], details, strict=True):
        assert (found["name"], tuple(found["shape"])) == (
            expected["name"],
            tuple(expected["shape"]),
        )
        assert found["type"] == TENSOR_TYPES[expected["dtype"].__name__]
    assert subgraph["inputs"].tolist() == [interpreter.get_input_details()[0]["index"]]
    assert subgraph["outputs"].tolist() == [interpreter.get_output_details()[0]["index"]]

    codes = [code["builtin_code"] for code in model["operator_codes"]]
    names = [codes[operator["opcode_index"]] for operator in subgraph["operators"]]
    assert names == [OPERATORS["FULLY_CONNECTED"], OPERATORS["TANH"]]
    product = subgraph["operators"][0]
    assert product["builtin_options"]["fused_activation_function"] == 1
    tensors = [subgraph["tensors"][index] for index in product["inputs"]]
    constants = [model["buffers"][t["buffer"]]["data"] for t in tensors[1:]]
    assert np.frombuffer(constants[0].tobytes(), "float32").tolist() == w.T.ravel().tolist()
    assert np.frombuffer(constants[1].tobytes(), "float32").tolist() == b.tolist()


def everything():
    """A model with every kind of field."""
    quantization = {"scale": [0.25], "zero_point": [-3]}
    tensors = [
        tensor([1, 3], "int16", 0, quantization=quantization, is_variable=True),
        tensor([1, 2], "int64", 1, name="second"),
        tensor([], "int8", 2, quantization={"scale": [0.5], "zero_point": [0]}),
    ]
    options = {"builtin_options_type": 21, "builtin_options": {"fused_activation_function": 2}}
    operators = [
        {"opcode_index": 0, "inputs": [0, -1], "outputs": [1], **options},
        {"opcode_index": 1, "inputs": [0], "outputs": [1]},
    ]
    constants = [np.array([[1], [-(2**40)]], "<i8"), np.array([-7], "i1")]
    return model_of(tensors, constants, operators, name="main")


def test_what_is_written_is_what_tensorflow_reads():
    interpreter = tf.lite.Interpreter(model_content=TableWriter().finish(everything()))
    details = interpreter.get_tensor_details()
    assert [(d["name"], list(d["shape"]), d["dtype"].__name__) for d in details] == [
        ("", [1, 3], "int16"),
        ("second", [1, 2], "int64"),
        ("", [], "int8"),
    ]
    quantization = [d["quantization_parameters"] for d in details]
    assert [list(q["scales"]) for q in quantization] == [[0.25], [], [0.5]]
    assert [list(q["zero_points"]) for q in quantization] == [[-3], [], [0]]
    operators = interpreter._get_ops_details()
    found = [(o["op_name"], list(o["inputs"]), list(o["outputs"])) for o in operators]
    assert found == [("MUL", [0, -1], [1]), ("FULLY_CONNECTED", [0], [1])]


def test_what_is_written_is_read_back():
    model = read_model(TableWriter().finish(everything()))
    (subgraph,) = model["subgraphs"]
    assert (model["version"], model["description"], subgraph["name"]) == (3, None, "main")
    assert [t["is_variable"] for t in subgraph["tensors"]] == [True, False, False]
    assert subgraph["tensors"][0]["quantization"]["zero_point"].tolist() == [-3]
    assert subgraph["tensors"][1]["quantization"] is None
    assert [o["builtin_options"] for o in subgraph["operators"]] == [
        {"fused_activation_function": 2},
        None,
    ]
    assert subgraph["operators"][0]["inputs"].tolist() == [0, -1]
    assert model["buffers"][0]["data"] is None
    assert model["buffers"][1]["data"].tobytes() == struct.pack("<2q", 1, -(2**40))
    assert model["buffers"][2]["data"].tobytes() == b"\xf9"


def test_equal_tables_and_constants_are_written_once():
    """20 more tensors and buffers like one that is there: two offsets of 4 bytes each."""
    constant = np.arange(64, dtype="int8").reshape(8, 8)

    def size(count):
        tensors = [tensor([8, 8], "int8", 1, quantization={"scale": [0.5], "zero_point": [0]})]
        return len(TableWriter().finish(model_of(tensors * count, [constant] * count)))

    assert size(22) - size(2) == 20 * 8
    assert size(2) < 2 * 64 + 300


@pytest.mark.parametrize(
    ("constant", "alignment"),
    [
        (np.full((5, 7), 99, "int8"), 16),
        (np.full((3, 3), 99.0, "float32"), 16),
        (np.full(5, 99, "int64"), 8),
        (np.full((1, 5), 99, "int16"), 4),
    ],
)
def test_constants_are_aligned_in_the_file(constant, alignment):
    for odd in range(8):  # whatever else is in the file
        model = model_of([tensor([1], "int8", 1, name="n" * odd)], [constant])
        data = TableWriter().finish(model)
        assert data.count(constant.tobytes()) == 1
        assert data.find(constant.tobytes()) % alignment == 0


# Damaged files


@pytest.fixture(scope="module")
def files(of_tensorflow):
    model = sequential(FastGRNN(3, kernel_rank=1), keras.layers.Dense(2, activation="softmax"))
    ours = [export.convert(model, sequences(), quantization=q).tflite for q in ("int16x8", None)]
    return [of_tensorflow[0], *ours]


@pytest.mark.parametrize(
    "data",
    [b"", b"TFL3", b"\0" * 64, b"\0\0\0\0TFL2" + b"\0" * 64, b"PK\3\4" * 9, b"\0\0\0\0TFL3"],
    ids=["nothing", "4 bytes", "zeros", "another version", "an archive", "no table"],
)
def test_other_bytes_are_refused(data):
    with pytest.raises(MalformedModelError, match=r"^Expected a TFLite model, got "):
        read_model(data)


@pytest.mark.parametrize("offset", [0, 1, 7, 2**31, 2**32 - 1, 2**32 - 8])
def test_root_that_points_anywhere_is_refused(files, offset):
    for data in files:
        with pytest.raises(MalformedModelError, match="cut off or damaged"):
            read_model(struct.pack("<I", offset) + data[4:])


def test_file_cut_off_anywhere_is_refused(files):
    ours = files[1]
    for length in range(len(ours)):
        with pytest.raises(MalformedModelError):
            read_model(ours[:length])


def overlapping(count):
    """A file of `count` subgraphs whose vectors of tensors begin one number after the other.

    Each number is the length of one vector and, in those before it, the offset of a tensor.
    """
    numbers = 500
    graphs = 36 + 4 * count
    vtable = graphs + 8 + 8 * count
    first, tensors = vtable + 4, vtable + 4 + 4 * numbers
    words = [20, int.from_bytes(b"TFL3", "little"), 0x0008_000A, 0, 4, 12, 4, count]
    words += [graphs + 8 + 8 * k - (32 + 4 * k) for k in range(count)]
    words += [0] * ((graphs - 4 * len(words)) // 4) + [0x0008_0006, 4]
    for k in range(count):
        place = graphs + 8 + 8 * k
        words += [place - graphs, first + 4 * k - (place + 4)]
    words += [0x0004_0004]
    words += [tensors - (first + 4 * k) for k in range(numbers)]
    words += [tensors + 4 * k - vtable for k in range(9 * numbers)]
    return struct.pack(f"<{len(words)}I", *words)


def test_vectors_that_overlap_are_not_read_again_and_again():
    """The bytes are sound; reading all would take time that grows with their square."""
    (graph,) = read_model(overlapping(1))["subgraphs"]
    assert len(graph["tensors"]) == 4 * 500
    with pytest.raises(MalformedModelError):
        read_model(overlapping(400))


@pytest.mark.parametrize("bytes_changed", [1, 4, 40])
def test_garbled_file_is_read_or_refused_but_nothing_else(files, bytes_changed):
    rng = np.random.default_rng(bytes_changed)
    refused = 0
    for data in files:
        for _ in range(300):
            garbled = np.frombuffer(data, np.uint8).copy()
            places = rng.integers(0, len(data), bytes_changed)
            garbled[places] = rng.choice([0, 1, 127, 128, 255, rng.integers(256)], bytes_changed)
            try:
                assert read_model(garbled.tobytes()).keys() == read_model(data).keys()
            except MalformedModelError:
                refused += 1
    assert refused > 30
