"""Graph -> TFLite flatbuffer, read back and checked."""

import math

import numpy as np

from keras_fastgrnn.export.flatbuffer_reader import read_model
from keras_fastgrnn.export.flatbuffer_writer import TableWriter
from keras_fastgrnn.export.graph import Graph, Op, Tensor, constant
from keras_fastgrnn.export.reference import clip_limits
from keras_fastgrnn.export.schema import (
    ACTIVATIONS,
    OPERATORS,
    OPTIONS_TYPES,
    TENSOR_TYPES,
    VERSION,
)

_OPTIONS = {
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "SOFTMAX": "SoftmaxOptions",
    "CONCATENATION": "ConcatenationOptions",
    "ADD": "AddOptions",
    "MUL": "MulOptions",
    "SUB": "SubOptions",
}


def write(graph: Graph, *, outputs: list[Tensor] | None = None) -> bytes:
    """Writes a graph of one time step as a TFLite model with its state inside.

    A state is a variable tensor that the operator which computes the next state writes directly,
    so it costs no operator, and TFLite Micro's `Reset()` clears it.

    Args:
        graph: Float or integer graph.
        outputs: List of tensors that the model returns, for looking inside. Defaults to the
            graph's own.

    Returns:
        The bytes of the `.tflite` file.
    """
    if graph.inputs[0].dtype == "float32":
        graph = with_float_clips(graph)
    _check_state_order(graph)
    stored = {state.after: state.before for state in graph.states}
    tensors = [t for t in graph.tensors() if t not in stored]
    index = {tensor: number for number, tensor in enumerate(tensors)}
    index.update({after: index[before] for after, before in stored.items()})
    kinds = list(dict.fromkeys(op.kind for op in graph.ops))
    buffers, tables = [{}], []
    for tensor in tensors:
        tables.append(_tensor_table(tensor, buffers, is_variable=tensor in stored.values()))
    model = {
        "version": VERSION,
        "operator_codes": [{"builtin_code": OPERATORS[kind]} for kind in kinds],
        "subgraphs": [
            {
                "tensors": tables,
                "inputs": [index[tensor] for tensor in graph.inputs],
                "outputs": [index[tensor] for tensor in outputs or graph.outputs],
                "operators": [_operator_table(op, kinds, index) for op in graph.ops],
            }
        ],
        "buffers": buffers,
    }
    data = TableWriter().finish(model)
    _check_written(data, model)
    return data


def with_float_clips(graph: Graph) -> Graph:
    """Replaces what float operators cannot clip: [0, 1] becomes RELU, then MINIMUM with 1.

    Args:
        graph: Float graph.

    Returns:
        A new graph of operators as they are written.
    """
    ops = []
    for op in graph.ops:
        if (op.low, op.high) == (0.0, 1.0):
            ramp = Tensor(f"{op.output.name}/ramp", op.output.shape)
            ops.append(Op(op.kind, op.inputs, ramp, low=0.0))
            ops.append(Op("MINIMUM", [ramp, constant(1.0)], op.output))
        else:
            ops.append(op)
    return Graph(graph.inputs, graph.outputs, ops, graph.states)


def _check_state_order(graph: Graph) -> None:
    """A state may be overwritten only after everything that reads it has run."""
    for state in graph.states:
        written = graph.ops.index(graph.producer(state.after))
        late = [op for op in graph.consumers(state.before) if graph.ops.index(op) > written]
        if late:
            raise AssertionError(f"{state.before.name!r} is overwritten before it is read.")


def _tensor_table(tensor: Tensor, buffers: list, is_variable: bool) -> dict:
    """Writes `is_variable` into every integer tensor: equal fields share one layout."""
    is_float = tensor.dtype == "float32"
    buffer = None
    if tensor.is_constant:
        data = tensor.data.astype(np.dtype(tensor.dtype).newbyteorder("<"))
        buffer = len(buffers)
        buffers.append({"data": data})
    quantization = None
    if tensor.scale is not None:
        quantization = {"scale": [tensor.scale], "zero_point": [tensor.zero_point]}
    return {
        "shape": tensor.shape,
        "type": None if is_float else TENSOR_TYPES[tensor.dtype],
        "buffer": buffer,
        "quantization": quantization,
        "is_variable": None if is_float and not is_variable else is_variable,
    }


def _operator_table(op: Op, kinds: list[str], index: dict) -> dict:
    table = {
        "opcode_index": kinds.index(op.kind),
        "inputs": [index[tensor] for tensor in op.inputs],
        "outputs": [index[op.output]],
    }
    options = _options(op)
    if any(options.values()):  # a table of defaults may be left out
        table["builtin_options_type"] = OPTIONS_TYPES[_OPTIONS[op.kind]]
        table["builtin_options"] = options
    return table


def _options(op: Op) -> dict:
    if op.kind == "CONCATENATION":
        return {"axis": len(op.output.shape) - 1}
    if op.kind == "SOFTMAX":
        return {"beta": 1.0}
    return {"fused_activation_function": ACTIVATIONS[_activation(op)]}


def _activation(op: Op) -> str:
    """The fused activation whose limits are the operator's; int16 ends by itself near 2^15."""
    limits = {
        "NONE": (-math.inf, math.inf),
        "RELU": (0.0, math.inf),
        "RELU_N1_TO_1": (-1.0, 1.0),
    }
    for name, (low, high) in limits.items():
        if op.output.dtype == "float32":
            same = (op.low, op.high) == (low, high)
        else:
            same = clip_limits(op) == clip_limits(Op(op.kind, [], op.output, low, high))
        if same:
            return name
    raise AssertionError(f"No activation clips to [{op.low}, {op.high}].")


def _check_written(data: bytes, model: dict) -> None:
    """Reads the file back and compares it with what was meant, field by field."""
    written = read_model(data)
    _compare(written, model, "model")
    types = {table["type"] for table in written["subgraphs"][0]["tensors"]}
    if len(types) > 1 and TENSOR_TYPES["float32"] in types:
        raise AssertionError("An integer model has a float tensor left.")


def _compare(read, meant, path) -> None:
    if meant is None:
        return
    if isinstance(meant, dict):
        for key, value in meant.items():
            _compare(read[key], value, f"{path}.{key}")
    elif isinstance(meant, list) and meant and isinstance(meant[0], dict):
        if len(read) != len(meant):
            raise AssertionError(f"{path} has {len(read)} entries, expected {len(meant)}.")
        for number, (one, other) in enumerate(zip(read, meant, strict=True)):
            _compare(one, other, f"{path}[{number}]")
    elif not _is_equal(read, meant):
        raise AssertionError(f"{path} is {read}, expected {meant}.")


def _is_equal(read, meant) -> bool:
    if isinstance(meant, np.ndarray):
        return read.tobytes() == meant.tobytes()
    return np.array_equal(read, np.asarray(meant, np.asarray(read).dtype))
