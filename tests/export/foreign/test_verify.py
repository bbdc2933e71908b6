"""Files that TFLite Micro cannot be trusted with are refused, each for its reason."""

import numpy as np
import pytest
import tflite_files
from small_models import needs_tflm
from tflite_files import CONVERTER, FORMATS, changed, damaged

from keras_fastgrnn.errors import MalformedModelError
from keras_fastgrnn.export.foreign.verify import verify
from keras_fastgrnn.export.tflite.flatbuffer_reader import read_model
from keras_fastgrnn.export.tflite.flatbuffer_writer import TableWriter
from keras_fastgrnn.export.tflite.schema import OPERATORS, TENSOR_TYPES
from keras_fastgrnn.export.tflm.process import TFLMProcess

STREAMING, SEQUENCE = "int16x8", "sequence"


@pytest.fixture(scope="module")
def files():
    return tflite_files.files()


@pytest.mark.parametrize("name", [*FORMATS, CONVERTER])
def test_sound_file_passes_and_is_returned_as_read(name, files):
    read, verified = read_model(files[name]), verify(files[name])
    assert verified.keys() == read.keys()
    for one, other in zip(verified["subgraphs"], read["subgraphs"], strict=True):
        assert [t["name"] for t in one["tensors"]] == [t["name"] for t in other["tensors"]]
        np.testing.assert_array_equal(one["outputs"], other["outputs"])


@pytest.mark.parametrize("name", FORMATS)
def test_file_written_again_passes(name, files):
    verify(changed(files[name], lambda model: None))


def operator(model, kind, graph=0):
    """The first operator of that kind."""
    codes = [code["builtin_code"] for code in model["operator_codes"]]
    operators = model["subgraphs"][graph]["operators"]
    return next(o for o in operators if codes[o["opcode_index"]] == OPERATORS[kind])


def operand(model, kind, position, graph=0, side="inputs"):
    """A tensor that the first operator of that kind reads, or writes."""
    return model["subgraphs"][graph]["tensors"][operator(model, kind, graph)[side][position]]


def tensor(model, index):
    return model["subgraphs"][0]["tensors"][index]


def constant(model, found):
    return model["buffers"][found["buffer"]]


def alone(found):
    """A tensor's quantization, for it alone."""
    found["quantization"] = {
        key: value if value is None or np.isscalar(value) else value.copy()
        for key, value in found["quantization"].items()
    }
    return found["quantization"]


def replace(table, field, index, value):
    table[field] = table[field].copy()
    table[field][index] = value


def swap_operators(model):
    operators = model["subgraphs"][0]["operators"]
    operators[0], operators[1] = operators[1], operators[0]


def make_constant(model):
    first = model["subgraphs"][0]["inputs"][0]
    tensor(model, first)["buffer"] = len(model["buffers"])
    model["buffers"].append({"data": np.zeros(3, "<i2")})


def bias_of(values):
    """A change that gives the first FULLY_CONNECTED this bias."""

    def change(model):
        kind = TENSOR_TYPES[values.dtype.name]
        bias = operand(model, "FULLY_CONNECTED", 2)
        bias.update(shape=[len(values)], type=kind, buffer=len(model["buffers"]))
        model["buffers"].append({"data": values})

    return change


def options_of(kind, options_type, **options):
    """A change that gives the first operator of that kind these options."""

    def change(model):
        found = operator(model, kind)
        found.update(builtin_options_type=options_type, builtin_options=options)

    return change


def result_of(kind, graph=0, **fields):
    """A change that gives the result of the first operator of that kind these fields."""
    return lambda model: operand(model, kind, 0, graph, "outputs").update(fields)


def give_plan(model):
    model["metadata"] = [{"name": "OfflineMemoryAllocation", "buffer": 0}]


def of_code(model, kind, other):
    code = model["operator_codes"][operator(model, kind)["opcode_index"]]
    code["builtin_code"] = OPERATORS[other]


def custom(model):
    code = model["operator_codes"][operator(model, "TANH")["opcode_index"]]
    code.update(builtin_code=OPERATORS["CUSTOM"], custom_code="SignalRfft")


def old_code(model):
    code = model["operator_codes"][operator(model, "WHILE")["opcode_index"]]
    code.update(builtin_code=0, deprecated_builtin_code=OPERATORS["WHILE"])


def loop_without_end(model):
    """Adds 0 to the position in the sequence."""
    body = model["subgraphs"][2]
    (add,) = (op for op in body["operators"] if op["outputs"][0] == body["outputs"][0])
    stride = body["tensors"][add["inputs"][1]]
    add["inputs"] = [add["inputs"][0], len(body["tensors"])]
    body["tensors"].append({**stride, "buffer": len(model["buffers"])})
    model["buffers"].append({"data": np.zeros(1, "<i4")})


def counter_written_twice(graph):
    """The counter is a variable, which an operator adds to before others read it."""

    def change(model):
        subgraph = model["subgraphs"][graph]
        counter, body = subgraph["inputs"][0], model["subgraphs"][2]
        (add,) = (op for op in body["operators"] if op["outputs"][0] == body["outputs"][0])
        stride = len(subgraph["tensors"])
        subgraph["tensors"].append(body["tensors"][add["inputs"][1]])
        subgraph["tensors"][counter] = {**subgraph["tensors"][counter], "is_variable": True}
        more = {**add, "inputs": [counter, stride], "outputs": [counter]}
        subgraph["operators"].insert(0, more)

    return change


def limit(model, end):
    """Sets the position in the sequence at which the loop ends; a step takes 3 numbers."""
    found = operand(model, "LESS", 1, graph=1)
    model["buffers"].append({"data": np.array([end], "<i4")})
    found["buffer"] = len(model["buffers"]) - 1


def call_itself(model):
    """The body of the loop is a loop whose body it is."""
    body, loop = model["subgraphs"][2], operator(model, "WHILE")
    count = len(body["tensors"])
    body["tensors"] += [body["tensors"][index] for index in body["inputs"]]
    outputs = range(count, len(body["tensors"]))
    body["operators"].append({**loop, "inputs": body["inputs"], "outputs": list(outputs)})


BROKEN = {
    "version": (lambda m: m.update(version=2), "its version is 2, not 3"),
    "no buffers": (lambda m: m.update(buffers=None), "it has no buffers"),
    "no subgraphs": (lambda m: m.update(subgraphs=[]), "it has no subgraphs"),
    "no operator codes": (lambda m: m.update(operator_codes=None), "no operator_codes"),
    "no inputs": (lambda m: m["subgraphs"][0].update(inputs=None), "subgraph 0 has no inputs"),
    "offline plan": (give_plan, "its metadata has OfflineMemoryAllocation"),
    "buffer": (lambda m: tensor(m, 0).update(buffer=99), "tensor 0 of subgraph 0 has buffer 99"),
    "input": (lambda m: replace(m["subgraphs"][0], "inputs", 0, 99), "has tensor 99, and there"),
    "output": (lambda m: replace(m["subgraphs"][0], "outputs", 0, -1), "has tensor -1"),
    "operator code": (lambda m: operator(m, "TANH").update(opcode_index=77), "operator code 77"),
    "operand": (lambda m: replace(operator(m, "TANH"), "inputs", 0, 10**6), "tensor 1000000"),
    "result": (lambda m: replace(operator(m, "TANH"), "outputs", 0, -1), "tensor -1, and"),
    "input left out": (lambda m: replace(operator(m, "TANH"), "inputs", 0, -1), "left out"),
    "type": (lambda m: tensor(m, 0).update(type=TENSOR_TYPES["string"]), "the type string"),
    "type unknown": (lambda m: tensor(m, 0).update(type=99), "the type 99"),
    "rank": (lambda m: tensor(m, 0).update(shape=np.ones(7, int)), "has 7 dimensions"),
    "shape 0": (lambda m: replace(tensor(m, 0), "shape", 1, 0), r"the shape \[1, 0\]"),
    "shape negative": (lambda m: replace(tensor(m, 0), "shape", 1, -3), r"the shape \[1, -3\]"),
    "shape huge": (lambda m: replace(tensor(m, 0), "shape", 1, 2**31 - 1), "2147483647"),
    "more than 64 MiB": (
        lambda m: m["subgraphs"][0]["tensors"].append({"shape": [2**24], "type": 0, "buffer": 0}),
        "its tensors take more than 64 MiB",
    ),
    "constant too short": (
        lambda m: replace(operand(m, "FULLY_CONNECTED", 1), "shape", 0, 6),
        "has 40 bytes, its shape takes 48",
    ),
    "constant and variable": (
        lambda m: operand(m, "FULLY_CONNECTED", 1).update(is_variable=True),
        "a variable and a constant",
    ),
    "outside of the tables": (lambda m: m["buffers"][0].update(offset=8, size=8), "lies outside"),
    "scale 0": (lambda m: replace(alone(tensor(m, 0)), "scale", 0, 0.0), "not between 2"),
    "scale NaN": (lambda m: replace(alone(tensor(m, 0)), "scale", 0, np.nan), "not between 2"),
    "scale infinite": (lambda m: replace(alone(tensor(m, 0)), "scale", 0, np.inf), "not between 2"),
    "zero point": (lambda m: replace(alone(tensor(m, 0)), "zero_point", 0, 40000), "of int16"),
    "two scales": (
        lambda m: alone(operand(m, "FULLY_CONNECTED", 1)).update(
            scale=np.ones(2), zero_point=np.zeros(2)
        ),
        r"2 scales for the shape \[5, 8\]",
    ),
    "no zero point": (lambda m: alone(tensor(m, 0)).update(zero_point=None), "0 zero points"),
    "not quantized": (lambda m: tensor(m, 0).update(quantization=None), "has no scale"),
    "quantized dimension": (
        lambda m: alone(operand(m, "FULLY_CONNECTED", 1)).update(
            scale=np.ones(5), zero_point=np.zeros(5), quantized_dimension=9
        ),
        "quantized dimension 9",
    ),
    "input is constant": (make_constant, "is an input and a constant"),
    "order": (swap_operators, "which has no value yet"),
    "output never computed": (
        lambda m: m["subgraphs"][0]["operators"].pop(),
        "is an output and never computed",
    ),
    "writes a constant": (
        lambda m: replace(
            operator(m, "TANH"), "outputs", 0, operator(m, "FULLY_CONNECTED")["inputs"][1]
        ),
        "which has a value",
    ),
    "custom operator": (custom, "no rule to verify SignalRfft by"),
    "unknown operator": (lambda m: of_code(m, "TANH", "RNN"), "does not have this operator"),
    "options of another": (lambda m: of_code(m, "CONCATENATION", "ADD"), "options are those of"),
    "too few inputs": (
        lambda m: operator(m, "SUB").update(inputs=operator(m, "SUB")["inputs"][:1]),
        "it has 1 inputs",
    ),
    "too many outputs": (
        lambda m: operator(m, "TANH").update(outputs=operator(m, "TANH")["outputs"].repeat(2)),
        "which has a value",
    ),
    "fused activation": (
        options_of("FULLY_CONNECTED", 8, fused_activation_function=5),
        "fused activation is number 5",
    ),
    "types differ": (
        result_of("TANH", type=TENSOR_TYPES["int8"]),
        "does not compute int16 to int8",
    ),
    "activation shape": (result_of("TANH", shape=[1, 4]), r"its shapes are \[1, 5\], \[1, 4\]"),
    "weights shape": (
        lambda m: operand(m, "FULLY_CONNECTED", 1).update(shape=[8, 5]),
        r"its shapes are \[1, 8\], \[8, 5\], \[1, 5\]",
    ),
    "bias shape": (bias_of(np.zeros(4, "<i8")), r"its bias is int64 \[4\]"),
    "bias type": (bias_of(np.zeros(5, "<i4")), "does not compute int16, int8, int32 to int16"),
    "concatenation": (options_of("CONCATENATION", 10, axis=0), "along axis 0"),
    "axis": (options_of("CONCATENATION", 10, axis=2), "its axis is 2"),
    "output scale": (
        lambda m: replace(alone(operand(m, "SUB", 0, side="outputs")), "scale", 0, 1e-15),
        "far too small for its inputs",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_broken_file_is_refused_in_one_line_that_says_why(what, files):
    change, message = BROKEN[what]
    data = changed(files[STREAMING], change)
    with pytest.raises(MalformedModelError, match=message) as caught:
        verify(data)
    assert str(caught.value).startswith("The model cannot be run safely: ")
    assert "\n" not in str(caught.value)


BROKEN_LOOPS = {
    "counts twice": (counter_written_twice(2), "is not seen to end"),
    "tests another number": (counter_written_twice(1), "is not seen to end"),
    "without end": (loop_without_end, "is not seen to end"),
    "too long": (lambda m: limit(m, 3 * 10**8), "goes round 100,000,000 times"),
    "past the data": (lambda m: limit(m, 37), r"it takes from \[36\] of \[36\] in the last"),
    "recursion": (call_itself, "it runs subgraph 2, which runs it"),
    "no builtin code": (old_code, "has no builtin_code"),
    "no such subgraph": (
        lambda m: operator(m, "WHILE")["builtin_options"].update(body_subgraph_index=7),
        "subgraph 7, and there are 3",
    ),
    "subgraph negative": (
        lambda m: operator(m, "WHILE")["builtin_options"].update(cond_subgraph_index=-1),
        "subgraph -1",
    ),
    "fewer inputs": (
        lambda m: m["subgraphs"][1].update(inputs=m["subgraphs"][1]["inputs"][:2]),
        "inputs, and the subgraph 2",
    ),
    "other type": (
        lambda m: m["subgraphs"][1]["tensors"].__setitem__(
            1, {**m["subgraphs"][1]["tensors"][1], "type": TENSOR_TYPES["int8"]}
        ),
        "differ in type or shape",
    ),
    "slice": (result_of("SLICE", graph=2, shape=[2, 3]), r"it takes \[3\] from"),
    "condition": (
        result_of("LESS", graph=1, type=TENSOR_TYPES["int32"]),
        "TFLite Micro does not compute|its output is of type int32",
    ),
}


@pytest.mark.parametrize("what", BROKEN_LOOPS)
def test_broken_loop_is_refused(what, files):
    change, message = BROKEN_LOOPS[what]
    with pytest.raises(MalformedModelError, match=message):
        verify(changed(files[SEQUENCE], change))


def test_constant_that_is_not_aligned_is_refused(files):
    """Two bytes more before the bias, and an offset that leads there."""
    data = files[STREAMING]
    model = read_model(data)
    bias = constant(model, operand(model, "FULLY_CONNECTED", 2))["data"].tobytes()
    start = data.index(bias)
    moved = bytearray(data + b"\0" * 2 + data[start - 4 : start] + bias)
    for place in range(0, len(data) - 4, 4):
        if place + int.from_bytes(data[place : place + 4], "little") == start - 4:
            moved[place : place + 4] = (len(data) + 2 - place).to_bytes(4, "little")
    with pytest.raises(MalformedModelError):
        verify(bytes(moved))


@needs_tflm
@pytest.mark.parametrize(
    ("name", "change"),
    [
        (STREAMING, BROKEN["operand"][0]),
        (STREAMING, BROKEN["operator code"][0]),
        (SEQUENCE, loop_without_end),
    ],
    ids=["operand", "operator code", "loop"],
)
def test_what_is_refused_is_not_refused_without_need(name, change, files):
    """TFLite Micro itself crashes on these files, never answers, or tells at best."""
    data = changed(files[name], change)
    model = read_model(data)
    with TFLMProcess(timeout=2) as process, pytest.raises(RuntimeError):
        process.load(data)
        shape = model["subgraphs"][0]["tensors"][0]["shape"]
        process.run([np.zeros((1, *shape), np.int16)])


def test_what_a_file_shares_is_bounded_by_how_often_it_is_used():
    """Some kilobytes: 200 subgraphs that are one table, with 1,000 tensors that are one."""
    tensor = {"shape": [1], "type": 0, "buffer": 0}
    graph = {"tensors": [tensor] * 1000, "inputs": [0], "outputs": [0], "operators": []}
    model = {
        "version": 3,
        "operator_codes": [{"builtin_code": 0}],
        "subgraphs": [graph] * 200,
        "buffers": [{}],
    }
    data = TableWriter().finish(model)
    assert len(data) < 6000
    with pytest.raises(MalformedModelError, match="more than 131,072 tensors and operands"):
        verify(data)


@pytest.mark.parametrize("name", [*FORMATS, CONVERTER])
def test_damaged_file_passes_or_is_refused_in_one_line(name, files):
    rng = np.random.default_rng(len(name))
    refused = 0
    for _ in range(200):
        try:
            verify(damaged(files[name], rng))
        except MalformedModelError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 100
