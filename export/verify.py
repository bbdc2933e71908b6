"""Checks everything that TFLite Micro takes for granted in a file, before it sees a byte of it.

TFLite Micro verifies nothing: an index, a shape or a buffer that does not fit makes it read or
write out of bounds. What is checked here is what every model has; what each operator needs is in
`keras_fastgrnn.export.verify_operators`.
"""

import numpy as np

from keras_fastgrnn.export.errors import MalformedModelError
from keras_fastgrnn.export.flatbuffer_reader import read_model
from keras_fastgrnn.export.schema import (
    TYPE_BITS,
    TYPE_NAMES,
    VERSION,
    constant_of,
    operator_name,
    shape_of,
    tensor_bytes,
)
from keras_fastgrnn.export.tflm_operators import CUSTOM
from keras_fastgrnn.export.verify_control_flow import (
    SUBGRAPHS,
    CheckedSubgraph,
    check_control_flow,
)
from keras_fastgrnn.export.verify_operators import CheckedTensor, OperatorCall, check_operator
from keras_fastgrnn.fixed_scales import LARGEST_SCALE, SMALLEST_SCALE

# TFLite Micro's shapes have room for so many dimensions.
MAX_RANK = 6
# Far more than a microcontroller has; the desktop shall not be asked for more.
MAX_COMPUTED_BYTES = 1 << 26
# More than any model has; what a file shares is checked as often as it is used.
MAX_ENTRIES = 1 << 17
_OPERANDS = ("inputs", "outputs")
# What TFLite Micro obeys without a check of its own.
_OBEYED_METADATA = ("OfflineMemoryAllocation", "COMPRESSION_METADATA")


def verify(data: bytes) -> dict:
    """Checks that TFLite Micro can be given a file.

    Operators whose rules are not known here (see `verify_operators.RULES`) are checked for their
    number of inputs, outputs and for their types alone: run those in a process of their own.

    Args:
        data: Bytes of the file.

    Returns:
        The `Model` table, as `flatbuffer_reader.read_model` returns it.

    Raises:
        MalformedModelError: If anything in it could lead TFLite Micro out of bounds, on into an
            endless loop or to an abort; the message is one line and says what and where.
    """
    model = read_model(data)
    check_indices(model)
    _require(model["version"] == VERSION, f"its version is {model['version']}, not {VERSION}")
    for entry in model["metadata"] or []:
        _require(entry["name"] not in _OBEYED_METADATA, f"its metadata has {entry['name']}")
    start = np.frombuffer(data, np.uint8).ctypes.data
    graphs = [
        _check_subgraph(model, graph, f"subgraph {number}", start)
        for number, graph in enumerate(model["subgraphs"])
    ]
    computed = sum(t.size * 8 for graph in graphs for t in graph.tensors if t.data is None)
    _require(computed <= MAX_COMPUTED_BYTES, "its tensors take more than 64 MiB")
    check_control_flow(graphs)
    return model


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
        for field in ("tensors", *_OPERANDS):
            _require(graph[field] is not None, f"{where} has no {field}")
        for index, tensor in enumerate(graph["tensors"]):
            _check_index(tensor["buffer"], model["buffers"], f"tensor {index} of {where}", "buffer")
        for index in [*graph["inputs"], *graph["outputs"]]:
            _check_index(index, graph["tensors"], where, "tensor")
        for index, operator in enumerate(graph["operators"] or []):
            _check_operands(model, graph, operator, f"{where}, operator {index}")


def _check_operands(model, graph, operator, where) -> None:
    _check_index(operator["opcode_index"], model["operator_codes"], where, "operator code")
    for field in _OPERANDS:
        _require(operator[field] is not None, f"{where} has no {field}")
    for index in operator["inputs"]:
        if index != -1:  # an input that is left out
            _check_index(index, graph["tensors"], where, "tensor")
    for index in [*operator["outputs"], *_absent_is_empty(operator["intermediates"])]:
        _check_index(index, graph["tensors"], where, "tensor")


def _absent_is_empty(vector):
    return () if vector is None else vector


def _require(holds, what) -> None:
    if not holds:
        raise MalformedModelError(f"The model cannot be run safely: {what}.")


def _check_index(index, entries, where, what) -> None:
    inside = 0 <= index < len(entries)
    _require(inside, f"{where} has {what} {index}, and there are {len(entries)}")


def _entries(graph) -> int:
    fields = (*_OPERANDS, "intermediates")
    operands = (operator[field] for operator in graph["operators"] or [] for field in fields)
    ends = (graph[field] for field in _OPERANDS)
    vectors = [len(_absent_is_empty(vector)) for vector in (*operands, *ends)]
    return len(graph["tensors"] or []) + len(vectors) + sum(vectors)


def _check_subgraph(model, graph, where, start) -> CheckedSubgraph:
    tensors = [
        _check_tensor(model, tensor, f"tensor {number} of {where}", start)
        for number, tensor in enumerate(graph["tensors"])
    ]
    calls = [
        _check_call(model, operator, tensors, f"{where}, operator {number}")
        for number, operator in enumerate(graph["operators"] or [])
    ]
    inputs, outputs = ([tensors[index] for index in graph[field]] for field in _OPERANDS)
    _check_order(inputs, calls, outputs, tensors)
    for call in calls:
        check_operator(call)
    return CheckedSubgraph(tensors, inputs, outputs, calls)


def _check_tensor(model, tensor, where, start) -> CheckedTensor:
    kind = TYPE_NAMES.get(tensor["type"])
    _require(kind in TYPE_BITS, f"{where} has the type {kind or tensor['type']}")
    shape = shape_of(tensor)
    _require(len(shape) <= MAX_RANK, f"{where} has {len(shape)} dimensions")
    _require(all(size >= 1 for size in shape), f"{where} has the shape {list(shape)}")
    _require(tensor["sparsity"] is None, f"{where} is sparse")
    scales, zero_points = _check_quantization(tensor["quantization"], shape, kind, where)
    buffer = model["buffers"][tensor["buffer"]]
    _require(not buffer["offset"] and not buffer["size"], f"{where} lies outside of the tables")
    values = constant_of(model, tensor)
    if values is not None:
        values = _check_constant(tensor, values, kind, where, start)
    is_variable = tensor["is_variable"]
    _require(values is None or not is_variable, f"{where} is a variable and a constant")
    return CheckedTensor(where, shape, kind, scales, zero_points, values, is_variable)


def _check_constant(tensor, data, kind, where, start) -> np.ndarray:
    expected = tensor_bytes(tensor)
    _require(data.size == expected, f"{where} has {data.size} bytes, its shape takes {expected}")
    item = max(1, TYPE_BITS[kind] // 8)
    aligned = (data.ctypes.data - start) % min(item, 8) == 0
    _require(aligned, f"the constant of {where} is not aligned to its {item} bytes")
    if kind in ("float32", "int8", "int16", "int32", "int64", "uint8", "bool"):
        return data.view(np.dtype(kind).newbyteorder("<"))
    return data


def _check_quantization(table, shape, kind, where) -> tuple[list[float], list[int]]:
    if table is None:
        return [], []
    _require(not table["details_type"], f"{where} has a quantization of its own")
    scales, zero_points = (
        list(map(number, _absent_is_empty(table[field])))
        for field, number in (("scale", float), ("zero_point", int))
    )
    if not scales and not zero_points:
        return [], []
    what = f"{where} has {len(scales)} scales and {len(zero_points)} zero points"
    _require(len(scales) == len(zero_points), what)
    in_range = all(SMALLEST_SCALE <= scale <= LARGEST_SCALE for scale in scales)
    _require(in_range, f"{where} has a scale that is not between 2^-60 and 2^60")
    low, high = _limits(kind)
    in_range = all(low <= zero_point <= high for zero_point in zero_points)
    _require(in_range, f"{where} has a zero point outside of {kind}")
    if len(scales) > 1:
        dimension = table["quantized_dimension"]
        _check_index(dimension, shape, where, "the quantized dimension")
        what = f"{where} has {len(scales)} scales for the shape {list(shape)}"
        _require(len(scales) == shape[dimension], what)
    return scales, zero_points


def _limits(kind) -> tuple[int, int]:
    if kind.startswith("uint"):
        return 0, 2 ** TYPE_BITS[kind] - 1
    bits = min(32, TYPE_BITS[kind])
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


def _check_call(model, operator, tensors, where) -> OperatorCall:
    code = model["operator_codes"][operator["opcode_index"]]
    name = operator_name(code)
    where = f"{where} ({name})"
    what = f"{where} is a custom operator, whose options cannot be checked"
    _require(name not in CUSTOM and code["custom_code"] is None, what)
    if name in SUBGRAPHS:
        what = f"{where} has no builtin_code, which TFLite Micro looks for in control flow"
        _require(operator_name({**code, "deprecated_builtin_code": 0}) == name, what)
    inputs = [None if index == -1 else tensors[index] for index in operator["inputs"]]
    outputs = [tensors[index] for index in operator["outputs"]]
    number, options = operator["builtin_options_type"], operator["builtin_options"]
    return OperatorCall(name, where, inputs, outputs, number, options)


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
