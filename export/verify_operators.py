"""What TFLite Micro's kernels take for granted, operator by operator.

A kernel computes from the shapes of its tensors where to read and write, and mostly does not
compare them. A rule here is a function of an `OperatorCall` that raises where they do not fit.
"""

import math
from dataclasses import dataclass

import numpy as np

from keras_fastgrnn.export.errors import MalformedModelError
from keras_fastgrnn.export.schema import ACTIVATIONS, OPTIONS
from keras_fastgrnn.export.tflm_operators import SIGNATURES, takes

# The dimensions that kernels can broadcast, and that those which slice can take.
MAX_BROADCAST_RANK = 4
MAX_SLICED_RANK = 5
QUANTIZED = ("int8", "int16", "uint8", "int4")
BIAS_TYPES = {"float32": "float32", "int8": "int32", "int16": "int64"}


@dataclass(eq=False)
class CheckedTensor:
    """A tensor of a file whose own fields are checked.

    Attributes:
        name: String, where it is in the file.
        shape: Tuple of integers.
        type: String, as in `schema.TENSOR_TYPES`.
        scales: List of floats, empty where it is not quantized.
        zero_points: List of integers, as many.
        data: Array of a constant's values (of its bytes, for types that NumPy lacks), or `None`.
        is_variable: Boolean, whether it keeps its value from one Invoke to the next.
    """

    name: str
    shape: tuple[int, ...]
    type: str
    scales: list[float]
    zero_points: list[int]
    data: np.ndarray | None
    is_variable: bool

    @property
    def size(self) -> int:
        """How many elements it has."""
        return math.prod(self.shape)


@dataclass(eq=False)
class OperatorCall:
    """An operator of a file whose indices are checked.

    Attributes:
        name: String, as in `schema.OPERATORS`.
        where: String, where it is in the file.
        inputs: List of tensors; `None` for one that is left out.
        outputs: List of tensors.
        options_type: Integer, the number of its table of options, 0 for none.
        options: Dictionary, that table, or `None`.
    """

    name: str
    where: str
    inputs: list[CheckedTensor | None]
    outputs: list[CheckedTensor]
    options_type: int
    options: dict | None

    def require(self, holds, what: str) -> None:
        """Raises MalformedModelError where something does not hold."""
        if not holds:
            raise MalformedModelError(f"The model cannot be run safely: {self.where}: {what}.")

    def option(self, name: str):
        """Returns the value of an option; 0 where the table is left out, as in the kernels."""
        return 0 if self.options is None else self.options[name]


def check_operator(call: OperatorCall) -> None:
    """Checks an operator.

    Args:
        call: The operator.

    Raises:
        MalformedModelError: If TFLite Micro does not have it, or its tensors do not fit it.
    """
    signature = SIGNATURES.get(call.name)
    call.require(signature, "TFLite Micro does not have this operator")
    for what, tensors, expected in (
        ("inputs", call.inputs, signature.inputs),
        ("outputs", call.outputs, signature.outputs),
    ):
        low, high = (expected, expected) if isinstance(expected, int) else expected
        call.require(low <= len(tensors) <= high, f"it has {len(tensors)} {what}")
    for index, tensor in enumerate(call.inputs):
        call.require(tensor or index >= signature.optional, f"input {index} is left out")
    types = [t and t.type for t in call.inputs], [t.type for t in call.outputs]
    named = ", ".join(map(str, types[0])) + " -> " + ", ".join(types[1])
    call.require(takes(call.name, *types), f"TFLite Micro does not compute {named}")
    _check_options(call, signature)
    RULES.get(call.name, lambda call: None)(call)


def _check_options(call, signature) -> None:
    name = (OPTIONS.get(call.options_type) or "").removesuffix("Options")
    known = not call.options_type or name == signature.options
    call.require(known, f"its options are those of {name or call.options_type}")
    has = bool(call.options_type) and call.options is not None
    call.require(has or not call.options_type, "its table of options is absent")
    needed = signature.options is not None and call.name not in _DEFAULTS_ARE_SAFE
    call.require(has or not needed, "it has no options")
    activation = (call.options or {}).get("fused_activation_function", 0)
    fused = ("NONE", "RELU", "RELU_N1_TO_1", "RELU6")
    fits = activation in [ACTIVATIONS[name] for name in fused]
    call.require(fits, f"its fused activation is number {activation}")


def _quantized(call, *tensors) -> None:
    for tensor in tensors:
        fits = tensor.type not in QUANTIZED or tensor.scales
        call.require(fits, f"{tensor.name} has no scale")


def _one_type(call, *tensors) -> None:
    types = list(dict.fromkeys(tensor.type for tensor in tensors))
    call.require(len(types) == 1, f"its tensors are of the types {', '.join(types)}")


def _shapes(*tensors) -> str:
    return ", ".join(str(list(tensor.shape)) for tensor in tensors)


def _same_shape(call) -> None:
    """One input and one output of the same shape; their types stand in the signature."""
    (x,), (y,) = call.inputs, call.outputs
    call.require(x.shape == y.shape, f"its shapes are {_shapes(x, y)}")
    _quantized(call, x, y)


def _activation(call) -> None:
    _same_shape(call)
    _one_type(call, *call.inputs, *call.outputs)


def _softmax(call) -> None:
    _same_shape(call)
    (x,) = call.inputs
    call.require(x.shape, "its input is a scalar")
    beta = float(call.option("beta"))
    call.require(0.0 < beta < 2.0**20, f"its beta is {beta}")
    if x.type == "int8":  # the kernel ends the process otherwise
        call.require(beta * x.scales[0] * 2.0**26 > 1.0, f"its input has the scale {x.scales[0]}")


def _broadcast(call) -> None:
    a, b = call.inputs
    (y,) = call.outputs
    _one_type(call, a, b)
    _quantized(call, a, b)
    if a.shape != b.shape:
        rank = max(len(a.shape), len(b.shape))
        call.require(rank <= MAX_BROADCAST_RANK, f"it broadcasts {rank} dimensions")
    try:
        expected = np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        expected = None
    call.require(y.shape == expected, f"its shapes are {_shapes(a, b, y)}")


def _arithmetic(call) -> None:
    _broadcast(call)
    _one_type(call, *call.inputs, *call.outputs)
    _quantized(call, *call.outputs)


def _sum(call) -> None:
    _arithmetic(call)
    (y,) = call.outputs
    if y.type in QUANTIZED:
        largest = 2.0 * max(tensor.scales[0] for tensor in call.inputs)
        shift = 15 if y.type == "int16" else 20
        fits = largest / 2.0**shift / y.scales[0] < 1.0  # the kernel ends the process otherwise
        call.require(fits, "its output's scale is far too small for its inputs'")


def _comparison(call) -> None:
    _broadcast(call)
    call.require(call.outputs[0].type == "bool", f"its output is of type {call.outputs[0].type}")
    for tensor in call.inputs:  # the kernel ends the process otherwise
        fits = tensor.type not in QUANTIZED or tensor.scales[0] < 1.0
        call.require(fits, f"{tensor.name} has the scale {tensor.scales[:1]}")


def _logical(call) -> None:
    _broadcast(call)
    _one_type(call, *call.inputs, *call.outputs)


def _fully_connected(call) -> None:
    x, weights, bias = [*call.inputs, None][:3]
    (y,) = call.outputs
    _one_type(call, x, y)
    _quantized(call, x, weights, y)
    fits = len(weights.shape) == 2 and y.shape and x.shape
    call.require(fits, f"its shapes are {_shapes(x, weights, y)}")
    units, inputs = weights.shape
    batch = y.size // units
    fits = y.shape[-1] == units and x.size == batch * inputs
    call.require(fits, f"its shapes are {_shapes(x, weights, y)}")
    call.require(len(weights.scales) in (0, 1, units), f"its weights have {weights.scales} scales")
    call.require(not call.option("weights_format"), "its weights are shuffled")
    if bias is not None:
        fits = bias.type == BIAS_TYPES[x.type] and bias.size == units
        call.require(fits, f"its bias is {bias.type} {list(bias.shape)}")


def _concatenation(call) -> None:
    (y,) = call.outputs
    _one_type(call, *call.inputs, y)
    _quantized(call, *call.inputs, y)
    axis = _axis(call, call.option("axis"), y)
    fits = (
        all(
            len(x.shape) == len(y.shape)
            and all(i == axis or x.shape[i] == y.shape[i] for i in range(len(y.shape)))
            for x in call.inputs
        )
        and sum(x.shape[axis] for x in call.inputs) == y.shape[axis]
    )
    call.require(fits, f"its shapes are {_shapes(*call.inputs, y)} along axis {axis}")


def _axis(call, axis, tensor) -> int:
    rank = len(tensor.shape)
    call.require(-rank <= axis < rank, f"its axis is {axis}, of {rank} dimensions")
    return axis % rank


def _reshape(call) -> None:
    x, (y,) = call.inputs[0], call.outputs
    _one_type(call, x, y)
    call.require(x.size == y.size, f"its shapes are {_shapes(x, y)}")
    for shape in call.inputs[1:]:
        _index_vector(call, shape, shape.size)
    if call.options and call.options["new_shape"] is not None:
        rank = call.options["new_shape"].size
        call.require(rank <= MAX_SLICED_RANK + 1, f"its new shape has {rank} dimensions")


def _index_vector(call, tensor, size) -> None:
    fits = tensor.type == "int32" and tensor.size == size and len(tensor.shape) <= 1
    call.require(fits, f"{tensor.name} is {tensor.type} {list(tensor.shape)}, not {size} int32")


def _slice(call) -> None:
    x, begin, size = call.inputs
    (y,) = call.outputs
    _one_type(call, x, y)
    rank = len(x.shape)
    call.require(1 <= rank <= MAX_SLICED_RANK, f"it slices {rank} dimensions")
    for vector in (begin, size):
        _index_vector(call, vector, rank)
    call.require(size.data is not None, "its size is computed")
    first = np.zeros(rank, np.int64) if begin.data is None else begin.data.astype(np.int64)
    count = np.where(size.data == -1, np.array(x.shape) - first, size.data)
    fits = (first >= 0).all() and (count >= 1).all() and (first + count <= x.shape).all()
    call.require(
        fits and tuple(count) == y.shape,
        f"it takes {count.tolist()} from {first.tolist()} of {list(x.shape)} into {list(y.shape)}",
    )


def _strided_slice(call) -> None:
    x, *vectors = call.inputs
    _one_type(call, x, *call.outputs)
    rank = len(x.shape)
    call.require(1 <= rank <= MAX_SLICED_RANK, f"it slices {rank} dimensions")
    for vector in vectors:
        _index_vector(call, vector, rank)
        call.require(vector.data is not None, f"{vector.name} is computed")
    call.require((vectors[2].data != 0).all(), "it has a stride of 0")


def _gather(call) -> None:
    x, indices = call.inputs
    (y,) = call.outputs
    _one_type(call, x, y)
    axis = _axis(call, call.option("axis"), x)
    call.require(indices.type == "int32", f"its indices are of type {indices.type}")
    call.require(call.option("batch_dims") == 0, "it has dimensions of batches")
    expected = x.shape[:axis] + indices.shape + x.shape[axis + 1 :]
    call.require(y.shape == expected, f"its shapes are {_shapes(x, indices, y)}")
    if indices.data is not None:
        fits = (indices.data >= 0).all() and (indices.data < x.shape[axis]).all()
        call.require(fits, "it has an index out of range")


# Without a table of options these compute with zeros, as the table would say.
_DEFAULTS_ARE_SAFE = {
    "ADD", "SUB", "MUL", "CONCATENATION", "DEQUANTIZE", "FULLY_CONNECTED", "GATHER", "EQUAL",
    "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL", "LOGICAL_AND", "LOGICAL_NOT", "LOGICAL_OR",
    "MAXIMUM", "MINIMUM", "NOT_EQUAL", "QUANTIZE", "READ_VARIABLE", "ASSIGN_VARIABLE", "RESHAPE",
    "SLICE", "BROADCAST_TO", "BATCH_TO_SPACE_ND", "SPACE_TO_BATCH_ND", "FILL", "EXPAND_DIMS", "EXP",
    "FLOOR_DIV", "FLOOR_MOD", "SQUARE", "ZEROS_LIKE", "SELECT_V2", "COS", "NEG", "ABS", "TRANSPOSE",
    "PAD", "PADV2", "DYNAMIC_UPDATE_SLICE", "ADD_N", "REVERSE_V2", "CAST", "HARD_SWISH",
    "GATHER_ND", "LOG_SOFTMAX", "SQUARED_DIFFERENCE", "STRIDED_SLICE", "RESIZE_NEAREST_NEIGHBOR",
}  # fmt: skip

RULES = {
    "ADD": _sum,
    "CONCATENATION": _concatenation,
    "DEQUANTIZE": _same_shape,
    "EQUAL": _comparison,
    "FULLY_CONNECTED": _fully_connected,
    "GATHER": _gather,
    "GREATER": _comparison,
    "GREATER_EQUAL": _comparison,
    "LESS": _comparison,
    "LESS_EQUAL": _comparison,
    "LOGICAL_AND": _logical,
    "LOGICAL_NOT": _activation,
    "LOGICAL_OR": _logical,
    "LOGISTIC": _activation,
    "MAXIMUM": _arithmetic,
    "MINIMUM": _arithmetic,
    "MUL": _arithmetic,
    "NOT_EQUAL": _comparison,
    "QUANTIZE": _same_shape,
    "RELU": _activation,
    "RELU6": _activation,
    "RESHAPE": _reshape,
    "SLICE": _slice,
    "SOFTMAX": _softmax,
    "STRIDED_SLICE": _strided_slice,
    "SUB": _sum,
    "TANH": _activation,
}
RULES.update(
    dict.fromkeys(
        ("ABS", "CEIL", "COS", "ELU", "EXP", "FLOOR", "HARD_SWISH", "LEAKY_RELU", "LOG", "NEG",
         "ROUND", "RSQRT", "SIN", "SQRT", "SQUARE", "ZEROS_LIKE", "L2_NORMALIZATION",
         "LOG_SOFTMAX"),
        _activation,
    ),
)  # fmt: skip
RULES.update(dict.fromkeys(("DIV", "FLOOR_DIV", "FLOOR_MOD", "SQUARED_DIFFERENCE"), _arithmetic))
RULES["CAST"] = _same_shape
