"""Checks everything that TFLite Micro takes for granted in a file, before it sees a byte of it.

TFLite Micro verifies nothing: an index, a shape or a buffer that does not fit makes it read or
write out of bounds. What is checked here is what every model has; what each operator needs is in
`verify_operators`. A tensor that no operator reads or writes, such as an LSTM's intermediates,
takes room at most; its scales and values may be anything.
"""

import numpy as np

from keras_fastgrnn.errors import MalformedModelError
from keras_fastgrnn.export.foreign.verify_control_flow import (
    SUBGRAPHS,
    CheckedSubgraph,
    check_control_flow,
)
from keras_fastgrnn.export.foreign.verify_operators import check_operator, rule_of
from keras_fastgrnn.export.foreign.verify_variables import check_variables
from keras_fastgrnn.export.tflite.flatbuffer_reader import read_model
from keras_fastgrnn.export.tflite.schema import (
    TYPE_BITS,
    TYPE_NAMES,
    VERSION,
    constant_of,
    operator_name,
    shape_of,
    tensor_bytes,
    vector_of,
)
from keras_fastgrnn.graph.fixed_scales import LARGEST_SCALE, SMALLEST_SCALE
from keras_fastgrnn.graph.operators.file_calls import CheckedTensor, OperatorCall

# TFLite Micro's shapes have room for so many dimensions.
MAX_RANK = 6
# Far more than a microcontroller has; the desktop shall not be asked for more.
MAX_COMPUTED_BYTES = 1 << 26
# More than any model has; what a file shares is checked as often as it is used.
MAX_ENTRIES = 1 << 17
_OPERANDS = ("inputs", "outputs")
# What TFLite Micro obeys without a check of its own.
_OBEYED_METADATA = ("OfflineMemoryAllocation", "COMPRESSION_METADATA")


def verify(data: bytes, allow_unverified: bool = False) -> dict:
    """Checks that TFLite Micro can be given a file.

    Args:
        data: Bytes of the file.
        allow_unverified: Boolean, whether to pass operators for which there is no rule (see
            `unverified_operators`); those that TFLite Micro has are checked for their number of
            inputs, outputs and for their types alone. Run such a file in a process of its own.
            Defaults to `False`.

    Returns:
        The `Model` table, as `flatbuffer_reader.read_model` returns it.

    Raises:
        MalformedModelError: If anything in it could lead TFLite Micro out of bounds, on into an
            endless loop or to an abort; the message is one line and says what and where.
    """
    model = read_model(data)
    check_indices(model)
    for field in _OPERANDS:
        _require(model["subgraphs"][0][field] is not None, f"subgraph 0 has no {field}")
    _require(model["version"] == VERSION, f"its version is {model['version']}, not {VERSION}")
    for entry in model["metadata"] or []:
        _require(entry["name"] not in _OBEYED_METADATA, f"its metadata has {entry['name']}")
    graphs = [
        _check_subgraph(model, graph, f"subgraph {number}")
        for number, graph in enumerate(model["subgraphs"])
    ]
    tensors = [t for graph in graphs for t in graph.tensors]
    computed = sum(t.size * 8 for t in tensors if t.data is None)
    _require(computed <= MAX_COMPUTED_BYTES, "its tensors take more than 64 MiB")
    check_control_flow(graphs)
    check_variables([graph.calls for graph in graphs])
    unverified = [] if allow_unverified else unverified_operators(model)
    what = f"there is no rule to verify {', '.join(unverified)} by, and it was not allowed"
    _require(not unverified, f"{what} (--allow-unverified, allow_unverified=True)")
    return model


def unverified_operators(model: dict) -> list[str]:
    """Returns the names of a model's operators for which there is no rule.

    Args:
        model: The `Model` table, whose indices are checked.
    """
    names = [operator_name(code) for code in model["operator_codes"]]
    used = [names[o["opcode_index"]] for g in model["subgraphs"] for o in g["operators"] or []]
    return sorted({name for name in used if not rule_of(name) and name not in SUBGRAPHS})


def check_indices(model: dict) -> None:
    """Checks that a file has what every model has, and that its indices lead to something.

    Args:
        model: The `Model` table.

    Raises:
        MalformedModelError: If something is absent or an index is out of range.
    """
    for field in ("operator_codes", "subgraphs", "buffers"):
        _require(bool(model[field]), f"it has no {field}")
    for entry in model["metadata"] or []:
        _check_index(entry["buffer"], model["buffers"], "its metadata", "buffer")
    entries = sum(map(_entries, model["subgraphs"]))
    _require(entries <= MAX_ENTRIES, f"it has more than {MAX_ENTRIES:,} tensors and operands")
    for number, graph in enumerate(model["subgraphs"]):
        where = f"subgraph {number}"
        _require(graph["tensors"] is not None, f"{where} has no tensors")
        for index, tensor in enumerate(graph["tensors"]):
            _check_index(tensor["buffer"], model["buffers"], f"tensor {index} of {where}", "buffer")
        for index in [*vector_of(graph, "inputs"), *vector_of(graph, "outputs")]:
            _check_index(index, graph["tensors"], where, "tensor")
        for index, operator in enumerate(graph["operators"] or []):
            _check_operands(model, graph, operator, f"{where}, operator {index}")


def _check_operands(model, graph, operator, where) -> None:
    _check_index(operator["opcode_index"], model["operator_codes"], where, "operator code")
    for index in vector_of(operator, "inputs"):
        if index != -1:  # an input that is left out
            _check_index(index, graph["tensors"], where, "tensor")
    for index in [*vector_of(operator, "outputs"), *vector_of(operator, "intermediates")]:
        _check_index(index, graph["tensors"], where, "tensor")


def _require(holds, what) -> None:
    if not holds:
        raise MalformedModelError(f"The model cannot be run safely: {what}.")


def _check_index(index, entries, where, what) -> None:
    inside = 0 <= index < len(entries)
    _require(inside, f"{where} has {what} {index}, and there are {len(entries)}")


def _entries(graph) -> int:
    fields = (*_OPERANDS, "intermediates")
    operands = [vector_of(op, field) for op in graph["operators"] or [] for field in fields]
    ends = [vector_of(graph, field) for field in _OPERANDS]
    vectors = [len(vector) for vector in (*operands, *ends)]
    return len(graph["tensors"] or []) + len(vectors) + sum(vectors)


def _check_subgraph(model, graph, where) -> CheckedSubgraph:
    used = _used(graph)
    tensors = [
        _check_tensor(model, tensor, f"tensor {number} of {where}", number in used)
        for number, tensor in enumerate(graph["tensors"])
    ]
    calls = [
        _check_call(model, operator, tensors, f"{where}, operator {number}")
        for number, operator in enumerate(graph["operators"] or [])
    ]
    inputs, outputs = ([tensors[index] for index in vector_of(graph, f)] for f in _OPERANDS)
    _check_order(inputs, calls, outputs, tensors)
    for call in calls:
        check_operator(call)
    left_out = [field for field in _OPERANDS if graph[field] is None]
    return CheckedSubgraph(where, tensors, inputs, outputs, calls, left_out)


def _used(graph) -> set[int]:
    """The tensors that something reads or writes, and those for which room is made at the start."""
    tables = [graph, *(graph["operators"] or [])]
    used = {
        int(index) for table in tables for field in _OPERANDS for index in vector_of(table, field)
    }
    return used | {i for i, tensor in enumerate(graph["tensors"]) if tensor["is_variable"]}


def _check_tensor(model, tensor, where, is_used) -> CheckedTensor:
    kind = TYPE_NAMES.get(tensor["type"], "")
    _require(kind in TYPE_BITS, f"{where} has the type {kind or tensor['type']}")
    shape = shape_of(tensor)
    _require(len(shape) <= MAX_RANK, f"{where} has {len(shape)} dimensions")
    smallest = 1 if is_used else 0
    _require(all(size >= smallest for size in shape), f"{where} has the shape {list(shape)}")
    values = constant_of(model, tensor)
    if not is_used:
        return CheckedTensor(where, shape, kind, [], [], 0, values, False)
    _require(tensor["sparsity"] is None, f"{where} is sparse")
    scales, zero_points, dimension = _check_quantization(tensor["quantization"], kind, where)
    buffer = model["buffers"][tensor["buffer"]]
    _require(not buffer["offset"] and not buffer["size"], f"{where} lies outside of the tables")
    if values is not None:
        values = _check_constant(tensor, values, kind, where)
    is_variable = tensor["is_variable"]
    _require(values is None or not is_variable, f"{where} is a variable and a constant")
    return CheckedTensor(where, shape, kind, scales, zero_points, dimension, values, is_variable)


def _check_constant(tensor, data, kind, where) -> np.ndarray:
    """The reader has found it at a multiple of 4, which is enough for numbers of 8 bytes, too."""
    expected = tensor_bytes(tensor)
    _require(data.size == expected, f"{where} has {data.size} bytes, its shape takes {expected}")
    if kind in ("float32", "int8", "int16", "int32", "int64", "uint8", "bool"):
        return data.view(np.dtype(kind).newbyteorder("<"))
    return data


def _check_quantization(table, kind, where) -> tuple[list[float], list[int], int]:
    if table is None:
        return [], [], 0
    _require(not table["details_type"], f"{where} has a quantization of its own")
    scales = list(map(float, vector_of(table, "scale")))
    zero_points = list(map(int, vector_of(table, "zero_point")))
    what = f"{where} has {len(scales)} scales and {len(zero_points)} zero points"
    _require(len(scales) == len(zero_points), what)
    in_range = all(SMALLEST_SCALE <= scale <= LARGEST_SCALE for scale in scales)
    _require(in_range, f"{where} has a scale that is not between 2^-60 and 2^60")
    low, high = _limits(kind)
    in_range = all(low <= zero_point <= high for zero_point in zero_points)
    _require(in_range, f"{where} has a zero point outside of {kind}")
    return scales, zero_points, table["quantized_dimension"]


def _limits(kind) -> tuple[int, int]:
    if kind.startswith("uint"):
        return 0, 2 ** TYPE_BITS[kind] - 1
    bits = min(32, TYPE_BITS[kind])
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


def _check_call(model, operator, tensors, where) -> OperatorCall:
    code = model["operator_codes"][operator["opcode_index"]]
    name = operator_name(code)
    where = f"{where} ({name})"
    if name in SUBGRAPHS:
        what = f"{where} has no builtin_code, which TFLite Micro looks for in control flow"
        _require(operator_name({**code, "deprecated_builtin_code": 0}) == name, what)
    return OperatorCall(
        name,
        where,
        inputs=[None if i == -1 else tensors[i] for i in vector_of(operator, "inputs")],
        outputs=[tensors[index] for index in vector_of(operator, "outputs")],
        options_type=operator["builtin_options_type"],
        options=operator["builtin_options"],
    )


def _check_order(inputs, calls, outputs, tensors) -> None:
    """A tensor holds a value only after something wrote it, and nothing writes what is not free."""
    for tensor in inputs:
        _require(tensor.data is None, f"{tensor.name} is an input and a constant")
    written = {t for t in tensors if t.data is not None or t.is_variable} | set(inputs)
    for call in calls:
        for tensor in call.inputs:
            known = tensor is None or tensor in written
            _require(known, f"{call.where} reads {tensor and tensor.name}, which has no value yet")
        for tensor in call.outputs:
            free = tensor not in written or tensor.is_variable
            _require(free, f"{call.where} writes {tensor.name}, which has a value")
            written.add(tensor)
    for tensor in outputs:
        _require(tensor in written, f"{tensor.name} is an output and never computed")
