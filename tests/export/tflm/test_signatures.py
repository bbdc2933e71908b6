"""The table of what TFLite Micro computes, held against TFLite Micro itself."""

import numpy as np
import pytest
from small_models import needs_tflm

from keras_fastgrnn.export.foreign.verify import verify
from keras_fastgrnn.export.tflite.schema import OPERATORS
from keras_fastgrnn.export.tflm.process import TFLMProcess
from keras_fastgrnn.export.tflm.signatures import CUSTOM, SIGNATURES, takes

pytestmark = needs_tflm

T = "the type that is asked for"
ROW, IMAGE, DEEP = (1, 4), (1, 4, 4, 1), (1, 2, 2, 4)


def numbers(*values):
    return "int32", np.array(values, np.int32)


def scalar(value):
    return "int32", np.array(value, np.int32)


def like(shape):
    return T, shape


def options(name, **fields):
    from tflite_micro.tensorflow.lite.micro.python import schema_py_generated as schema

    made = getattr(schema, f"{name}OptionsT")()
    for field, value in fields.items():
        setattr(made, field, value)
    return made


PADDING = ("int32", np.array([[0, 0], [1, 1]], np.int32))
NO_PADDING = ("int32", np.zeros((2, 2), np.int32))
POOL = {"padding": 1, "strideW": 2, "strideH": 2, "filterWidth": 2, "filterHeight": 2}

# How an operator is called: inputs, outputs, options. The rest is one row in, one row out.
SAMPLES = {
    "ADD_N": ([like(ROW), like(ROW)], [like(ROW)]),
    "ARG_MAX": ([like(ROW), numbers(1)], [("int32", (1,))], "ArgMax", {"outputType": 2}),
    "ARG_MIN": ([like(ROW), numbers(1)], [("int32", (1,))], "ArgMin", {"outputType": 2}),
    "AVERAGE_POOL_2D": ([like(IMAGE)], [like((1, 2, 2, 1))], "Pool2D", POOL),
    "BATCH_MATMUL": ([like((1, 2, 3)), like((1, 3, 4))], [like((1, 2, 4))]),
    "BATCH_TO_SPACE_ND": (
        [like((4, 2, 2, 1)), numbers(2, 2), NO_PADDING],
        [like((1, 4, 4, 1))],
    ),
    "BROADCAST_ARGS": ([like((2,)), like((2,))], [like((2,))]),
    "BROADCAST_TO": ([like(ROW), numbers(2, 4)], [like((2, 4))]),
    "CONCATENATION": ([like(ROW), like(ROW)], [like((1, 8))], "Concatenation", {"axis": 1}),
    "CUMSUM": ([like(ROW), scalar(1)], [like(ROW)]),
    "DEPTH_TO_SPACE": ([like(DEEP)], [like(IMAGE)], "DepthToSpace", {"blockSize": 2}),
    "DYNAMIC_UPDATE_SLICE": ([like(ROW), like((1, 2)), numbers(0, 1)], [like(ROW)]),
    "EMBEDDING_LOOKUP": ([numbers(0, 1), like((3, 4))], [like((2, 4))]),
    "EXPAND_DIMS": ([like(ROW), numbers(0)], [like((1, 1, 4))]),
    "FILL": ([numbers(1, 4), like(())], [like(ROW)]),
    "GATHER": ([like(ROW), numbers(1, 0)], [like((1, 2))], "Gather", {"axis": 1}),
    "GATHER_ND": ([like(ROW), ("int32", np.zeros((1, 2), np.int32))], [like((1,))]),
    "L2_NORMALIZATION": ([like(ROW)], [like(ROW)], "L2Norm", {}),
    "L2_POOL_2D": ([like(IMAGE)], [like((1, 2, 2, 1))], "Pool2D", POOL),
    "LEAKY_RELU": ([like(ROW)], [like(ROW)], "LeakyRelu", {"alpha": 0.1}),
    "MAX_POOL_2D": ([like(IMAGE)], [like((1, 2, 2, 1))], "Pool2D", POOL),
    "MIRROR_PAD": ([like(ROW), PADDING], [like((1, 6))], "MirrorPad", {}),
    "PACK": ([like((4,)), like((4,))], [like((2, 4))], "Pack", {"valuesCount": 2}),
    "PAD": ([like(ROW), PADDING], [like((1, 6))]),
    "PADV2": ([like(ROW), PADDING, like((1,))], [like((1, 6))]),
    "RESHAPE": ([like(ROW), numbers(4, 1)], [like((4, 1))]),
    "RESIZE_BILINEAR": ([like((1, 2, 2, 1)), numbers(4, 4)], [like((1, 4, 4, 1))]),
    "RESIZE_NEAREST_NEIGHBOR": ([like((1, 2, 2, 1)), numbers(4, 4)], [like((1, 4, 4, 1))]),
    "REVERSE_V2": ([like(ROW), numbers(1)], [like(ROW)]),
    "SELECT_V2": ([("bool", ROW), like(ROW), like(ROW)], [like(ROW)]),
    "SHAPE": ([like(ROW)], [("int32", (2,))], "Shape", {"outType": 2}),
    "SLICE": ([like(ROW), numbers(0, 1), numbers(1, 2)], [like((1, 2))]),
    "SOFTMAX": ([like(ROW)], [like(ROW)], "Softmax", {"beta": 1.0}),
    "SPACE_TO_BATCH_ND": (
        [like((1, 4, 4, 1)), numbers(2, 2), NO_PADDING],
        [like((4, 2, 2, 1))],
    ),
    "SPACE_TO_DEPTH": ([like(IMAGE)], [like(DEEP)], "SpaceToDepth", {"blockSize": 2}),
    "SPLIT": ([scalar(1), like(ROW)], [like((1, 2)), like((1, 2))], "Split", {"numSplits": 2}),
    "SPLIT_V": (
        [like(ROW), numbers(2, 2), scalar(1)],
        [like((1, 2)), like((1, 2))],
        "SplitV",
        {"numSplits": 2},
    ),
    "SQUEEZE": ([like(ROW)], [like((4,))], "Squeeze", {"squeezeDims": [0]}),
    "STRIDED_SLICE": (
        [like(ROW), numbers(0, 1), numbers(1, 3), numbers(1, 1)],
        [like((1, 2))],
        "StridedSlice",
        {},
    ),
    "TRANSPOSE": ([like(ROW), numbers(1, 0)], [like((4, 1))]),
    "UNPACK": ([like((2, 4))], [like((4,)), like((4,))], "Unpack", {"num": 2}),
}  # fmt: skip
UNARY = "ABS CEIL COS ELU EXP FLOOR HARD_SWISH LOG LOG_SOFTMAX LOGICAL_NOT LOGISTIC NEG RELU RELU6 \
    ROUND RSQRT SIN SQRT SQUARE TANH ZEROS_LIKE"
BINARY = "ADD DIV FLOOR_DIV FLOOR_MOD MAXIMUM MINIMUM MUL PRELU SQUARED_DIFFERENCE SUB"
SAMPLES.update({name: ([like(ROW)], [like(ROW)]) for name in UNARY.split()})
SAMPLES.update({name: ([like(ROW), like(ROW)], [like(ROW)]) for name in BINARY.split()})
for _name in ("EQUAL", "NOT_EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL"):
    SAMPLES[_name] = ([like(ROW), like(ROW)], [("bool", ROW)])
for _name in ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_ALL"):
    SAMPLES[_name] = ([like((1, 2, 4)), numbers(1)], [like((1, 4))], "Reducer", {})
NEEDED_OPTIONS = {
    "ADD": "Add", "ADD_N": "AddN", "BATCH_MATMUL": "BatchMatMul", "CUMSUM": "Cumsum", "DIV": "Div",
    "MUL": "Mul", "RESIZE_BILINEAR": "ResizeBilinear", "SUB": "Sub",
    "RESIZE_NEAREST_NEIGHBOR": "ResizeNearestNeighbor",
}  # fmt: skip
# Its kernel reads any type as if it were bool; the table says what it computes.
UNCHECKED = ("LOGICAL_AND", "LOGICAL_OR")
# Called with weights, subgraphs or resources: tested on whole models, here or elsewhere.
ELSEWHERE = {
    "ASSIGN_VARIABLE", "CALL_ONCE", "CAST", "CONV_2D", "DEPTHWISE_CONV_2D", "DEQUANTIZE",
    "FULLY_CONNECTED", "IF", "QUANTIZE", "READ_VARIABLE", "SVDF", "TRANSPOSE_CONV", "VAR_HANDLE",
    "UNIDIRECTIONAL_SEQUENCE_LSTM", "WHILE", *UNCHECKED,
}  # fmt: skip


@pytest.fixture(scope="module")
def process():
    with TFLMProcess(timeout=20) as process:
        yield process


def refusal(process, name, inputs, outputs, made):
    import one_operator

    return one_operator.refusal(process, one_operator.model(name, inputs, outputs, made), inputs)


def asked(process, name, kind) -> str:
    """What TFLite Micro says to an operator in a type; nothing where it computes it."""
    inputs, outputs, *made = SAMPLES[name]
    inputs, outputs = (
        [(kind if t == T else t, shape) for t, shape in side] for side in (inputs, outputs)
    )
    if not made and name in NEEDED_OPTIONS:
        made = [NEEDED_OPTIONS[name], {}]
    return refusal(process, name, inputs, outputs, options(made[0], **made[1]) if made else None)


def test_every_operator_is_asked_here_or_elsewhere():
    assert set(SIGNATURES) == set(SAMPLES) | ELSEWHERE


@pytest.mark.parametrize("name", SAMPLES)
def test_table_says_what_tflite_micro_computes(name, process):
    from one_operator import TYPES

    inputs, outputs, *_ = SAMPLES[name]
    answers = {kind: asked(process, name, kind) for kind in TYPES}
    for kind, answer in answers.items():
        types = [[kind if t == T else t for t, _ in side] for side in (inputs, outputs)]
        assert takes(name, *types) == (not answer), (kind, answer)
    assert not all(answers.values())


@pytest.mark.parametrize("name", ["QUANTIZE", "DEQUANTIZE", "CAST"])
def test_table_says_what_tflite_micro_converts(name, process):
    import one_operator

    for source in one_operator.TYPES:
        for target in one_operator.TYPES:
            inputs, outputs = [(source, ROW)], [(target, ROW)]
            answer = refusal(process, name, inputs, outputs, None)
            if "int32" in (source, target) and name == "QUANTIZE":
                continue  # int32 has a scale in QUANTIZE alone
            assert takes(name, [source], [target]) == (not answer), (source, target, answer)


@pytest.mark.parametrize("other", ["float32", "int8", "int16", "int32", "bool", "uint32"])
def test_cast_takes_uint32_both_ways(other, process):
    """TFLite Micro's Python takes no array of uint32: it comes from a constant, or goes unseen."""
    from table_files import Op, T, file_of

    assert takes("CAST", ["uint32"], [other]) and takes("CAST", [other], ["uint32"])
    values = np.array([[0, 1, 1, 0]])
    given = T(data=values.astype(other))
    tensors = [T([1]), given, T([1, 4], "uint32"), T([1, 4], "float32"), T([1, 4], other)]
    operators = [Op("CAST", [1], [2]), Op("CAST", [2], [3]), Op("CAST", [2], [4])]
    data = file_of(tensors, operators, [0], [3])
    verify(data)
    process.load(data)
    np.testing.assert_array_equal(process.run([np.zeros((1, 1), np.float32)])[0][0], values)


# A type that the kernel does not look at, or not in this operator's rows of one element.
UNREAD = {("RESHAPE", 1), ("SPLIT_V", 1)}


@pytest.mark.parametrize("name", [name for name in SAMPLES if len(SAMPLES[name][0]) > 1])
def test_type_of_every_input_is_part_of_the_table(name):
    """An input of a type that no alternative has makes the operator another."""
    inputs, outputs, *_ = SAMPLES[name]
    kinds = [k for k in ("float32", "bool", "int32", "int64") if passes(name, inputs, outputs, k)]
    assert kinds
    types, results = ([kinds[0] if t == T else t for t, _ in side] for side in (inputs, outputs))
    for index in range(len(types)):
        if (name, index) not in UNREAD:
            changed = [*types[:index], "float64", *types[index + 1 :]]
            assert not takes(name, changed, results), index
    assert not takes(name, types, ["float64"] * len(results))


def passes(name, inputs, outputs, kind) -> bool:
    return takes(name, *([kind if t == T else t for t, _ in side] for side in (inputs, outputs)))


WEIGHTED = {
    "FULLY_CONNECTED": ((1, 4), (3, 4), (1, 3), "FullyConnected", {}),
    "CONV_2D": (
        (1, 4, 4, 2),
        (3, 2, 2, 2),
        (1, 4, 4, 3),
        "Conv2D",
        {"strideW": 1, "strideH": 1, "dilationWFactor": 1, "dilationHFactor": 1},
    ),
    "DEPTHWISE_CONV_2D": (
        (1, 4, 4, 2),
        (1, 2, 2, 2),
        (1, 4, 4, 2),
        "DepthwiseConv2D",
        {
            "strideW": 1,
            "strideH": 1,
            "depthMultiplier": 1,
            "dilationWFactor": 1,
            "dilationHFactor": 1,
        },
    ),
}


@pytest.mark.parametrize("name", WEIGHTED)
@pytest.mark.parametrize("weights", ["float32", "int8", "int16", "int4"])
@pytest.mark.parametrize("values", ["float32", "int8", "int16", "uint8"])
def test_table_says_which_weights_go_with_which_values(name, values, weights, process):
    from one_operator import TYPES, Packed

    source, shape, target, kind, fields = WEIGHTED[name]
    matrix = np.ones(shape, TYPES.get(weights, np.int8))
    if weights == "int4":
        matrix = Packed(shape)
    inputs = [(values, source), (weights, matrix)]
    if name != "FULLY_CONNECTED":  # the convolutions take no bias only if it is listed
        bias = {"float32": "float32", "int16": "int64"}.get(values, "int32")
        inputs.append((bias, np.zeros(target[-1], TYPES[bias])))
    answer = refusal(process, name, inputs, [(values, target)], options(kind, **fields))
    found = takes(name, [t for t, _ in inputs], [values])
    assert found == (not answer), answer


def test_tflite_micro_has_no_other_operator(process):
    others = set(OPERATORS) - set(SIGNATURES) - {"CUSTOM"}
    assert len(others) > 100
    for name in others:
        assert "Didn't find op" in refusal(
            process, name, [("float32", ROW)], [("float32", ROW)], None
        )


def test_custom_operators_are_those_that_the_library_names():
    from pathlib import Path

    from tflite_micro import runtime

    library = Path(runtime.__file__).with_name("_runtime.so").read_bytes()
    for name in CUSTOM:
        assert b"\0" + name.encode() + b"\0" in library
    assert takes("SignalRfft", ["int16"], ["int16"])
    assert not takes("SignalNothing", ["int16"], ["int16"])
