"""An operator of a file and its tensors, and what the rules of several operators check."""

import math
from dataclasses import dataclass

import numpy as np

from keras_fastgrnn.errors import MalformedModelError

QUANTIZED = ("int8", "int16", "uint8", "int4")
# The dimensions that kernels can broadcast.
MAX_BROADCAST_RANK = 4


@dataclass(eq=False)
class CheckedTensor:
    """A tensor of a file whose own fields are checked.

    Attributes:
        name: String, where it is in the file.
        shape: Tuple of integers.
        type: String, as in `schema.TENSOR_TYPES`.
        scales: List of floats, empty where it is not quantized.
        zero_points: List of integers, as many.
        quantized_dimension: Integer, which dimension has a scale each, where there are several;
            not checked, as most kernels read the first scale alone.
        data: Array of a constant's values (of its bytes, for types that NumPy lacks), or `None`.
        is_variable: Boolean, whether it keeps its value from one Invoke to the next.
    """

    name: str
    shape: tuple[int, ...]
    type: str
    scales: list[float]
    zero_points: list[int]
    quantized_dimension: int
    data: np.ndarray | None
    is_variable: bool

    @property
    def size(self) -> int:
        """How many elements it has."""
        return math.prod(self.shape)

    @property
    def values(self) -> np.ndarray:
        """The data of a constant; raises MalformedModelError where it is none."""
        if self.data is None:
            raise _refusal(self.name, "it is computed, expected a constant")
        return self.data


@dataclass(eq=False)
class OperatorCall:
    """An operator of a file whose indices are checked.

    Attributes:
        name: String, as `schema.operator_name` returns it.
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
            raise self.refusal(what)

    def refusal(self, what: str) -> MalformedModelError:
        """Returns the error that says what does not hold."""
        return _refusal(self.where, what)

    def operand(self, index: int) -> CheckedTensor:
        """Returns an input that may not be left out."""
        tensor = self.inputs[index]
        if tensor is None:
            raise self.refusal(f"input {index} is left out")
        return tensor

    @property
    def operands(self) -> list[CheckedTensor]:
        """The inputs of an operator that has no optional ones."""
        return [self.operand(index) for index in range(len(self.inputs))]

    def option(self, name: str):
        """Returns the value of an option; 0 where the table is left out, as in the kernels."""
        return 0 if self.options is None else self.options[name]


def _refusal(where: str, what: str) -> MalformedModelError:
    return MalformedModelError(f"The model cannot be run safely: {where}: {what}.")


def require_scales(call: OperatorCall, *tensors: CheckedTensor) -> None:
    """Every tensor of a quantized type has a scale."""
    for tensor in tensors:
        fits = tensor.type not in QUANTIZED or tensor.scales
        call.require(fits, f"{tensor.name} has no scale")


def require_scales_of_channels(call: OperatorCall, tensor: CheckedTensor, dimension: int) -> None:
    """A tensor has one scale, or one for each index of a dimension."""
    require_scales(call, tensor)
    if len(tensor.scales) > 1:
        call.require(
            tensor.quantized_dimension == dimension
            and len(tensor.scales) == tensor.shape[dimension],
            f"{tensor.name} has {len(tensor.scales)} scales for the shape {list(tensor.shape)} "
            f"along the quantized dimension {tensor.quantized_dimension}",
        )


def require_shape(call: OperatorCall, tensor: CheckedTensor, expected: tuple[int, ...]) -> None:
    """A tensor has the shape that the operator's other tensors and options make."""
    what = f"{tensor.name} has the shape {list(tensor.shape)}, expected {list(expected)}"
    call.require(tensor.shape == tuple(expected), what)


def require_same_shape(call: OperatorCall) -> None:
    """The one output has the shape of the one input."""
    (x,), (y,) = call.operands, call.outputs
    call.require(x.shape == y.shape, f"its shapes are {shapes_of(x, y)}")


def require_bias(call: OperatorCall, bias: CheckedTensor | None, units: int) -> None:
    """A bias, where there is one, has a number for each unit."""
    fits = bias is None or bias.size == units
    call.require(fits, f"its bias is {bias and bias.type} {list(bias.shape) if bias else ''}")


def verify_elementwise(call: OperatorCall) -> None:
    """The rule of operators that compute each entry from one of the same place."""
    require_same_shape(call)
    require_scales(call, *call.operands, *call.outputs)


def verify_along_the_last(call: OperatorCall) -> None:
    """The rule of operators that compute each row from one of the same place."""
    verify_elementwise(call)
    call.require(call.operand(0).shape, "its input is a scalar")


def verify_broadcast(call: OperatorCall) -> None:
    """The rule of operators that compute each entry from two, which may be repeated."""
    a, b = call.operands
    (y,) = call.outputs
    require_scales(call, a, b, y)
    if a.shape != b.shape:
        rank = max(len(a.shape), len(b.shape))
        call.require(rank <= MAX_BROADCAST_RANK, f"it broadcasts {rank} dimensions")
    try:
        expected = np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        expected = None
    call.require(y.shape == expected, f"its shapes are {shapes_of(a, b, y)}")


def constant_integers(call: OperatorCall, tensor: CheckedTensor, size: int | None) -> list[int]:
    """Returns the values of a constant vector of int32, or of a scalar where `size` is 1."""
    call.require(tensor.data is not None, f"{tensor.name} is computed, expected a constant")
    fits = tensor.type == "int32" and len(tensor.shape) <= 1 and size in (None, tensor.size)
    expected = "" if size is None else f"{size} "
    what = f"{tensor.name} is {tensor.type} {list(tensor.shape)}, expected {expected}int32"
    call.require(fits, what)
    return tensor.values.tolist()


def axis_within(call: OperatorCall, axis: int, rank: int) -> int:
    """Returns an axis counted from the front."""
    call.require(-rank <= axis < rank, f"its axis is {axis}, of {rank} dimensions")
    return axis % rank


def shapes_of(*tensors: CheckedTensor) -> str:
    """Returns the shapes for a message."""
    return ", ".join(str(list(tensor.shape)) for tensor in tensors)
