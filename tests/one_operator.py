"""Models of one operator, made with TFLite Micro's own schema, to ask it which types it takes.

A sample says how the operator is called: the inputs, each a shape for values of the type that is
asked for, or an array for a constant of its own type; the outputs' shapes; the options.
"""

import math

import flatbuffers
import numpy as np
from tflite_micro.tensorflow.lite.micro.python import schema_py_generated as schema

TYPES = {
    "float32": np.float32, "int8": np.int8, "int16": np.int16, "int32": np.int32,
    "int64": np.int64, "uint8": np.uint8, "bool": np.bool_,
}  # fmt: skip
CODES = {name: getattr(schema.TensorType, name.upper()) for name in [*TYPES, "int4", "uint32"]}
INTEGERS = ("int8", "int16", "uint8", "int4")

# The scale and zero point that a kernel insists on for its output.
FIXED_OUTPUTS = {
    ("LOGISTIC", "int8"): (1 / 256, -128),
    ("LOGISTIC", "int16"): (1 / 32768, 0),
    ("TANH", "int8"): (1 / 128, 0),
    ("TANH", "int16"): (1 / 32768, 0),
    ("SOFTMAX", "int8"): (1 / 256, -128),
    ("SOFTMAX", "int16"): (1 / 32768, 0),
    ("LOG_SOFTMAX", "int8"): (16 / 256, 127),
    ("L2_NORMALIZATION", "int8"): (1 / 128, 0),
}


class Packed:
    """A constant of ones of type int4, two in a byte."""

    def __init__(self, shape):
        self.shape = shape

    def tobytes(self) -> bytes:
        return b"\x11" * ((math.prod(self.shape) + 1) // 2)


def is_constant(value) -> bool:
    return hasattr(value, "tobytes")


def quantization(kind, scale=1 / 256, zero_point=0, channels=1):
    made = schema.QuantizationParametersT()
    if kind in INTEGERS:
        made.scale, made.zeroPoint = [scale] * channels, [zero_point] * channels
    return made


def model(name, inputs, outputs, options=None):
    """Returns the bytes of a model with one operator.

    Args:
        name: String, the operator's name in the schema.
        inputs: List of pairs `(type, shape or constant)`, an array or `Packed`.
        outputs: List of pairs `(type, shape)`.
        options: Object of the schema's options class, or `None`.
    """
    made, graph, operator = schema.ModelT(), schema.SubGraphT(), schema.OperatorT()
    made.version, made.buffers, graph.tensors = 3, [schema.BufferT()], []
    for kind, shape in [*inputs, *outputs]:
        tensor = schema.TensorT()
        tensor.type, tensor.buffer = CODES[kind], 0
        tensor.shape = list(getattr(shape, "shape", shape))
        if is_constant(shape):
            tensor.buffer = len(made.buffers)
            buffer = schema.BufferT()
            buffer.data = list(shape.tobytes())
            made.buffers.append(buffer)
        is_output = len(graph.tensors) >= len(inputs)
        fixed = FIXED_OUTPUTS.get((name, kind), ()) if is_output else ()
        tensor.quantization = quantization(kind, *fixed)
        graph.tensors.append(tensor)
    operator.inputs = list(range(len(inputs)))
    operator.outputs = list(range(len(inputs), len(graph.tensors)))
    graph.inputs = [i for i in operator.inputs if not graph.tensors[i].buffer]
    graph.outputs, graph.operators = operator.outputs, [operator]
    if options is not None:
        operator.builtinOptions = options
        kind = type(options).__name__.removesuffix("T")
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, name)
    code.deprecatedBuiltinCode = min(127, code.builtinCode)
    made.operatorCodes, made.subgraphs = [code], [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(made.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def refusal(process, data, inputs):
    """Runs a model once on ones and returns TFLite Micro's words where it refuses, else ""."""
    try:
        process.load(data)
        arrays = [np.ones((1, *s), TYPES[k]) for k, s in inputs if not is_constant(s)]
        if arrays:
            process.run(arrays)
    except RuntimeError as error:
        return str(error)
    return ""
