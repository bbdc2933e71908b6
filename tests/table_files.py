"""TFLite files written from tables, with operators that no converter at hand writes."""

from dataclasses import dataclass

import numpy as np

from keras_fastgrnn.export.tflite.flatbuffer_writer import TableWriter
from keras_fastgrnn.export.tflite.schema import OPERATORS, OPTIONS_TYPES, TENSOR_TYPES


@dataclass
class T:
    """A tensor of a file.

    Attributes:
        shape: List of integers; of a constant, that of its values.
        type: String, as in `schema.TENSOR_TYPES`.
        data: Array of a constant's values.
        scale: Float, list of floats or `None`.
        zero_point: Integer.
        name: String.
        is_variable: Boolean.
        quantized_dimension: Integer.
    """

    shape: list[int] | None = None
    type: str = "float32"
    data: np.ndarray | None = None
    scale: float | list[float] | None = None
    zero_point: int = 0
    name: str | None = None
    is_variable: bool = False
    quantized_dimension: int = 0


@dataclass
class Op:
    """An operator; its tensors are places in the list of tensors, -1 for one that is left out."""

    name: str
    inputs: list[int]
    outputs: list[int]
    options: str | None = None
    fields: dict | None = None


def file_of(tensors, operators, inputs, outputs, signatures=None) -> bytes:
    """Returns the bytes of a file.

    Args:
        tensors: List of `T`.
        operators: List of `Op`; a name that is no builtin operator's, or that follows "CUSTOM ", is
            a custom one's.
        inputs, outputs: Lists of places of tensors.
        signatures: Pair of dictionaries from a name to a place, of the inputs and the outputs.
    """
    buffers = [{}]
    model = {
        "version": 3,
        "operator_codes": [_code(op.name) for op in operators],
        "subgraphs": [
            {
                "tensors": [_tensor(tensor, buffers) for tensor in tensors],
                "inputs": inputs,
                "outputs": outputs,
                "operators": [_operator(op, number) for number, op in enumerate(operators)],
            }
        ],
        "buffers": buffers,
    }
    if signatures is not None:
        ends = (
            [{"name": name, "tensor_index": place} for name, place in side.items()]
            for side in signatures
        )
        names = dict(zip(("inputs", "outputs"), ends, strict=True))
        model["signature_defs"] = [{**names, "signature_key": "serving_default"}]
    return TableWriter().finish(model)


def _code(name):
    if name in OPERATORS:
        return {
            "builtin_code": OPERATORS[name],
            "deprecated_builtin_code": min(127, OPERATORS[name]),
        }
    custom = OPERATORS["CUSTOM"]
    return {
        "builtin_code": custom,
        "deprecated_builtin_code": custom,
        "custom_code": name.removeprefix("CUSTOM "),
    }


def _tensor(tensor, buffers):
    table = {
        "shape": tensor.shape if tensor.data is None else list(tensor.data.shape),
        "type": TENSOR_TYPES[tensor.type if tensor.data is None else tensor.data.dtype.name],
        "buffer": 0,
        "name": tensor.name,
        "is_variable": tensor.is_variable,
    }
    if tensor.data is not None:
        table["buffer"] = len(buffers)
        buffers.append({"data": np.ascontiguousarray(tensor.data)})
    if tensor.scale is not None:
        scales = np.ravel(np.array(tensor.scale, np.float32))
        table["quantization"] = {
            "scale": scales,
            "zero_point": np.full(len(scales), tensor.zero_point),
            "quantized_dimension": tensor.quantized_dimension,
        }
    return table


def _operator(op, number):
    table = {"opcode_index": number, "inputs": op.inputs, "outputs": op.outputs}
    if op.options is not None:
        table["builtin_options_type"] = OPTIONS_TYPES[f"{op.options}Options"]
        table["builtin_options"] = op.fields or {}
    return table
