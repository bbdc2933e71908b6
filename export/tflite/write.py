"""Graph -> TFLite flatbuffer, read back and checked."""

import dataclasses
import math

import numpy as np

from keras_fastgrnn.errors import UnsupportedOperatorError
from keras_fastgrnn.export.tflite.flatbuffer_reader import read_model
from keras_fastgrnn.export.tflite.flatbuffer_writer import TableWriter
from keras_fastgrnn.export.tflite.schema import (
    ACTIVATIONS,
    OPERATOR_NAMES,
    OPERATORS,
    OPTIONS_TYPES,
    TABLES,
    TENSOR_TYPES,
    TYPE_NAMES,
    VERSION,
)
from keras_fastgrnn.export.tflite.subgraphs import Subgraph, While, streaming
from keras_fastgrnn.graph.graph import Constant, Graph, Op, Tensor, constant
from keras_fastgrnn.graph.operators import operator_of
from keras_fastgrnn.graph.real_values import clip_limits


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
    (subgraph,) = streaming(with_float_clips(graph), explicit=False)
    subgraph.outputs = outputs or subgraph.outputs
    return write_subgraphs([subgraph])


def write_subgraphs(subgraphs: list[Subgraph], portable: bool = False) -> bytes:
    """Writes subgraphs, the main one first, as a TFLite model.

    Args:
        subgraphs: List of `Subgraph`.
        portable: Boolean, whether to write what full TFLite needs to be told and TFLite Micro
            does not. Defaults to `False`.

    Returns:
        The bytes of the `.tflite` file.
    """
    kinds = list(dict.fromkeys(op.kind for subgraph in subgraphs for op in subgraph.ops))
    buffers = [{}]
    model = {
        "version": VERSION,
        "operator_codes": [{"builtin_code": _code(kind)} for kind in kinds],
        "subgraphs": [_subgraph_table(s, kinds, buffers, portable) for s in subgraphs],
        "buffers": buffers,
    }
    if portable:
        _name_ends(model["subgraphs"][0])
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
        if op.output.dtype == "float32" and (op.low, op.high) == (0.0, 1.0):
            ramp = Tensor(f"{op.output.name}/ramp", op.output.shape)
            ops.append(Op(op.kind, op.inputs, ramp, low=0.0))
            ops.append(Op("MINIMUM", [ramp, constant(1.0)], op.output))
        else:
            ops.append(op)
    return dataclasses.replace(graph, ops=ops)


def _code(kind: str) -> int:
    if kind not in OPERATORS:
        raise UnsupportedOperatorError(f"TFLite has no operator {kind}.")
    return OPERATORS[kind]


def _subgraph_table(subgraph: Subgraph, kinds, buffers, portable) -> dict:
    _check_stored_last(subgraph)
    tensors = subgraph.tensors()
    index = {tensor: number for number, tensor in enumerate(tensors)}
    index.update({tensor: index[place] for tensor, place in subgraph.stored.items()})
    return {
        "tensors": [_tensor_table(t, buffers, t in subgraph.variables) for t in tensors],
        "inputs": [index[tensor] for tensor in subgraph.inputs],
        "outputs": [index[tensor] for tensor in subgraph.outputs],
        "operators": [_operator_table(op, kinds, index, portable) for op in subgraph.ops],
    }


def _name_ends(subgraph: dict) -> None:
    """Says which output is a state's next value, where the caller keeps it."""
    for ends, first, suffix in (("inputs", "x", ""), ("outputs", "y", "_next")):
        for number, index in enumerate(subgraph[ends]):
            name = f"state{number}{suffix}" if number else first
            subgraph["tensors"][index]["name"] = name


def _check_stored_last(subgraph: Subgraph) -> None:
    """A variable may be overwritten only after everything that reads it has run."""
    for tensor, place in subgraph.stored.items():
        readers = [i for i, op in enumerate(subgraph.ops) if place in op.inputs]
        writer = next(i for i, op in enumerate(subgraph.ops) if tensor in op.outputs)
        if readers and readers[-1] > writer:
            raise AssertionError(f"{place.name!r} is overwritten before it is read.")


def _tensor_table(tensor: Tensor, buffers: list, is_variable: bool) -> dict:
    """Writes `is_variable` into every integer tensor: equal fields share one layout."""
    is_float = tensor.dtype == "float32"
    buffer = None
    if isinstance(tensor, Constant):
        data = tensor.data.astype(np.dtype(tensor.dtype).newbyteorder("<"))
        buffer = len(buffers)
        buffers.append({"data": data})
    quantization = None
    if tensor.scale is not None:
        scales = np.ravel(tensor.scale).astype(np.float32)
        quantization = {"scale": scales, "zero_point": [tensor.zero_point] * len(scales)}
    return {
        "shape": tensor.shape,
        "type": None if is_float else TENSOR_TYPES[tensor.dtype],
        "buffer": buffer,
        "quantization": quantization,
        "is_variable": None if is_float and not is_variable else is_variable,
    }


def _operator_table(op: Op | While, kinds: list[str], index: dict, portable: bool) -> dict:
    options = _options(op, portable)
    name = operator_of(op.kind).options_table
    table = {
        "opcode_index": kinds.index(op.kind),
        "inputs": [index[tensor] for tensor in op.inputs],
        "outputs": [index[tensor] for tensor in op.outputs],
    }
    if name is None:
        return table
    defaults = {key: TABLES[name][key].default for key in options}
    if options != defaults:  # a table of defaults may be left out
        table["builtin_options_type"] = OPTIONS_TYPES[name]
        table["builtin_options"] = options
    return table


def _options(op: Op | While, portable: bool) -> dict:
    operator = operator_of(op.kind)
    options = operator.options(op, portable)
    if operator.can_clip and isinstance(op, Op):
        options = {"fused_activation_function": ACTIVATIONS[_activation(op)], **options}
    types = {name: TENSOR_TYPES[v] for name, v in options.items() if isinstance(v, str)}
    return {**options, **types}


def _activation(op: Op) -> str:
    """The fused activation whose limits are the operator's; int16 ends by itself near 2^15."""
    limits = {
        "NONE": (-math.inf, math.inf),
        "RELU": (0.0, math.inf),
        "RELU_N1_TO_1": (-1.0, 1.0),
    }
    for name, (low, high) in limits.items():
        if op.output.dtype in ("float32", "int32"):
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
    for subgraph in written["subgraphs"]:
        for operator in subgraph["operators"]:
            _check_types(operator, subgraph["tensors"], model["operator_codes"])


def _check_types(operator: dict, tensors: list[dict], codes: list[dict]) -> None:
    """Only a conversion and a loop may touch floats and small integers at once."""
    indices = [*operator["inputs"], *operator["outputs"]]
    types = {TYPE_NAMES[tensors[index]["type"]] for index in indices}
    kind = OPERATOR_NAMES[codes[operator["opcode_index"]]["builtin_code"]]
    mixed = "float32" in types and types & {"int8", "int16"}
    if mixed and not operator_of(kind).mixes_types:
        raise AssertionError(f"An integer model has a float tensor left, at {kind}.")


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
