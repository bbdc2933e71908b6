"""What is in a TFLite file, whoever made it, and whether stock TFLite Micro runs it."""

from collections import Counter
from dataclasses import asdict, dataclass

import numpy as np

from keras_fastgrnn.errors import MalformedModelError
from keras_fastgrnn.export.foreign.verify import check_indices, unverified_operators, verify
from keras_fastgrnn.export.tflite.flatbuffer_reader import read_model
from keras_fastgrnn.export.tflite.schema import (
    TYPE_NAMES,
    constant_of,
    operator_name,
    shape_of,
    tensor_bytes,
    vector_of,
)
from keras_fastgrnn.export.tflm import interpreter
from keras_fastgrnn.export.tflm.process import TFLMProcess
from keras_fastgrnn.export.tflm.signatures import BIASES, WEIGHTS, describe_types, takes

# What the bytes of a file are; where two lie in one place, the later counts.
KINDS = ("structure", "quantization", "other constants", "biases", "weights")


@dataclass(frozen=True)
class TensorSummary:
    """One tensor of a file.

    Attributes:
        index: Integer, its place in the subgraph.
        name: String, empty where it has none.
        shape: Tuple of integers.
        type: String, such as "int8".
        scale: Float, the largest of several; `None` where there is none, or none that is finite.
        zero_point: Integer, of that scale, or `None`.
        scales: Integer, how many scales it has: 1, or one for each channel.
        kind: String, "constant", "variable" or "computed".
        bytes: Integer, what its values take.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    type: str
    scale: float | None
    zero_point: int | None
    scales: int
    kind: str
    bytes: int


@dataclass(frozen=True)
class SubgraphSummary:
    """One subgraph of a file; the first is the model.

    Attributes:
        name: String, empty where it has none.
        operators: Dictionary from an operator's name to how often it occurs.
        tensors: List of `TensorSummary`.
        inputs, outputs: Lists of integers, indices into `tensors`.
    """

    name: str
    operators: dict[str, int]
    tensors: list[TensorSummary]
    inputs: list[int]
    outputs: list[int]


@dataclass(frozen=True)
class Inspection:
    """What `inspect` found; prints as a table.

    Attributes:
        file_bytes: Integer.
        description: String, the file's own, empty where it has none.
        bytes_by_kind: Dictionary from each of `KINDS` to bytes, `file_bytes` in all.
        subgraphs: List of `SubgraphSummary`.
        not_in_tflm: List of strings, the operators that stock TFLite Micro does not have in the
            types of their tensors; empty where it has all.
        unverified: List of strings, the operators for which there is no rule to verify them by;
            TFLite Micro is given a file that has one only where that is allowed.
        refusal: String, why TFLite Micro is not given the file, or what it says where it refuses
            it; `None` where it takes it, or is not installed.
        arena_bytes: Integer, the smallest arena in which TFLite Micro runs it on this machine, or
            `None`.
    """

    file_bytes: int
    description: str
    bytes_by_kind: dict[str, int]
    subgraphs: list[SubgraphSummary]
    not_in_tflm: list[str]
    unverified: list[str]
    refusal: str | None
    arena_bytes: int | None

    def to_dict(self) -> dict:
        """Returns everything as dictionaries, lists, strings and numbers, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [f"file        {self.file_bytes:,} bytes"]
        lines += [f"  {kind:17} {count:>9,}" for kind, count in self.bytes_by_kind.items() if count]
        if self.description:
            lines.append(f"description {self.description}")
        lines.append(f"TFLM        {self._verdict()}")
        if self.unverified:
            lines.append(f"unverified  {', '.join(self.unverified)}")
        lines.append(f"arena       {self._arena()}")
        for number, graph in enumerate(self.subgraphs):
            lines += ["", *_lines_of(graph, number)]
        return "\n".join(lines)

    def _verdict(self) -> str:
        if self.not_in_tflm:
            return "does not have " + "; ".join(self.not_in_tflm)
        return "has every operator in these types"

    def _arena(self) -> str:
        if self.arena_bytes is not None:
            return f"{self.arena_bytes:,} bytes"
        return f"refused: {self.refusal}" if self.refusal else "not measured: no TFLite Micro"


def inspect(
    data: bytes, process: TFLMProcess | None = None, allow_unverified: bool = False
) -> Inspection:
    """Says what is in a TFLite file.

    Args:
        data: Bytes of the file; nothing in it is trusted.
        process: `TFLMProcess` to find the arena with. Defaults to one that is started for it,
            where TFLite Micro is installed.
        allow_unverified: Boolean, whether TFLite Micro is given a file with operators for which
            there is no rule, to find its arena. Defaults to `False`.

    Returns:
        `Inspection`.

    Raises:
        MalformedModelError: If the bytes are not a TFLite file, or what is in it cannot be told.

    Example:

    >>> import numpy as np
    >>> from keras_fastgrnn import FastGRNN, export, keras
    >>> from keras_fastgrnn.export.foreign.inspection import inspect
    >>> model = keras.Sequential([keras.layers.Input((128, 9)), FastGRNN(16)])
    >>> found = inspect(export.convert(model, quantization=None).tflite)
    >>> found.subgraphs[0].operators["FULLY_CONNECTED"], found.not_in_tflm
    (1, [])
    """
    model = read_model(data)
    check_indices(model)
    names = [operator_name(code) for code in model["operator_codes"]]
    arena_bytes, refusal = _arena_of(data, process, allow_unverified)
    return Inspection(
        file_bytes=len(data),
        description=model["description"] or "",
        bytes_by_kind=_bytes_by_kind(data, model, names),
        subgraphs=[_summary(model, graph, names) for graph in model["subgraphs"]],
        not_in_tflm=_not_in_tflm(model, names),
        unverified=unverified_operators(model),
        refusal=refusal,
        arena_bytes=arena_bytes,
    )


def _summary(model, graph, names) -> SubgraphSummary:
    operators = graph["operators"] or []
    return SubgraphSummary(
        name=graph["name"] or "",
        operators=dict(Counter(names[operator["opcode_index"]] for operator in operators)),
        tensors=[_tensor(model, tensor, i) for i, tensor in enumerate(graph["tensors"])],
        inputs=[int(index) for index in vector_of(graph, "inputs")],
        outputs=[int(index) for index in vector_of(graph, "outputs")],
    )


def _tensor(model, tensor, index) -> TensorSummary:
    quantization = tensor["quantization"] or {"scale": None, "zero_point": None}
    scales, zero_points = (
        [] if vector is None else vector.tolist()
        for vector in (quantization["scale"], quantization["zero_point"])
    )
    finite = np.nan_to_num(scales, nan=-np.inf, posinf=-np.inf)
    largest = int(np.argmax(finite)) if scales else 0
    has_scale = bool(scales) and np.isfinite(finite[largest])
    constant = constant_of(model, tensor)
    kind = "variable" if tensor["is_variable"] else "computed"
    return TensorSummary(
        index=index,
        name=tensor["name"] or "",
        shape=shape_of(tensor),
        type=_type(tensor),
        scale=scales[largest] if has_scale else None,
        zero_point=zero_points[largest] if largest < len(zero_points) else None,
        scales=len(scales),
        kind=kind if constant is None else "constant",
        bytes=tensor_bytes(tensor) if constant is None else constant.size,
    )


def _type(tensor) -> str:
    return TYPE_NAMES.get(tensor["type"], f"type {tensor['type']}")


def _calls(model, names):
    """Yields the name, inputs and outputs of every operator; `None` for an input left out."""
    for graph in model["subgraphs"]:
        tensors = graph["tensors"]
        for operator in graph["operators"] or []:
            inputs = [None if i == -1 else tensors[i] for i in vector_of(operator, "inputs")]
            outputs = [tensors[index] for index in vector_of(operator, "outputs")]
            yield names[operator["opcode_index"]], inputs, outputs


def _not_in_tflm(model, names) -> list[str]:
    found = []
    for name, inputs, outputs in _calls(model, names):
        types = [t and _type(t) for t in inputs], [_type(t) for t in outputs]
        if not takes(name, *types):
            found.append(f"{name} of {describe_types(*types)}")
    return list(dict.fromkeys(found))


def _bytes_by_kind(data, model, names) -> dict[str, int]:
    """Every byte of the file once, also where what overlaps or is shared is listed twice."""
    kind_of_byte = np.zeros(len(data), np.uint8)
    start = np.frombuffer(data, np.uint8).ctypes.data

    def mark(array, kind):
        if array is not None:
            place = array.ctypes.data - start
            part = kind_of_byte[place : place + array.nbytes]
            np.maximum(part, KINDS.index(kind), out=part)

    for table in {id(b): b for b in model["buffers"]}.values():
        mark(table["data"], "other constants")
    tensors = [tensor for graph in model["subgraphs"] for tensor in graph["tensors"]]
    for table in {id(t): t["quantization"] for t in tensors if t["quantization"]}.values():
        mark(table["scale"], "quantization")
        mark(table["zero_point"], "quantization")
    constants = {}
    for name, inputs, _ in _calls(model, names):
        for kind, table in (("biases", BIASES), ("weights", WEIGHTS)):
            for position in table.get(name, ()):
                if position < len(inputs) and inputs[position]:
                    constants[id(inputs[position]), kind] = inputs[position]
    for (_, kind), tensor in constants.items():
        mark(constant_of(model, tensor), kind)
    counts = np.bincount(kind_of_byte, minlength=len(KINDS))
    return dict(zip(KINDS, counts.tolist(), strict=True))


def _arena_of(data, process, allow_unverified) -> tuple[int | None, str | None]:
    try:
        verify(data, allow_unverified)
        if process is not None:
            return process.find_arena_size(data), None
        if not interpreter.is_available():
            return None, None
        with TFLMProcess() as process:
            return process.find_arena_size(data), None
    except (MalformedModelError, RuntimeError) as error:
        return None, str(error)


def _lines_of(graph, number) -> list[str]:
    counts = ", ".join(f"{name} x{count}" for name, count in graph.operators.items())
    lines = [f"subgraph {number} {graph.name}".rstrip(), f"  operators {counts or 'none'}"]
    for what, indices in (("inputs", graph.inputs), ("outputs", graph.outputs)):
        lines.append(f"  {what:9} {', '.join(map(str, indices)) or 'none'}")
    header = ("tensor", "shape", "type", "scale", "zero point", "kind", "bytes", "name")
    rows = [header, *map(_row, graph.tensors)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        lines.append("  " + "  ".join(cells).rstrip())
    return lines


def _row(tensor) -> tuple[str, ...]:
    scale = "" if tensor.scale is None else f"{tensor.scale:.6g}"
    if tensor.scales > 1:
        scale = f"{tensor.scales} up to {scale}"
    return (
        str(tensor.index),
        "x".join(map(str, tensor.shape)) or "scalar",
        tensor.type,
        scale,
        "" if tensor.zero_point is None else str(tensor.zero_point),
        tensor.kind,
        f"{tensor.bytes:,}",
        tensor.name,
    )
