"""Rules of operators that compute each element from those of the same place."""

import numpy as np

from keras_fastgrnn.export.foreign.verify_call import (
    QUANTIZED,
    axis_within,
    constant_integers,
    require_scales,
    require_shape,
    shapes_of,
)

# The dimensions that kernels can broadcast.
MAX_BROADCAST_RANK = 4
MAX_NORMALIZED_RANK = 4


def _number_by_number(call) -> None:
    """Integers are taken as they are, whatever they stand for."""
    (x,), (y,) = call.inputs, call.outputs
    call.require(x.shape == y.shape, f"its shapes are {shapes_of(x, y)}")


def _same_shape(call) -> None:
    _number_by_number(call)
    require_scales(call, *call.inputs, *call.outputs)


def _softmax(call) -> None:
    _along_the_last(call)
    beta = float(call.option("beta"))
    call.require(0.0 < beta < 2.0**20, f"its beta is {beta}")
    _scale_is_not_too_small(call, beta)


def _log_softmax(call) -> None:
    _along_the_last(call)
    _scale_is_not_too_small(call, 1.0)


def _along_the_last(call) -> None:
    _same_shape(call)
    call.require(call.inputs[0].shape, "its input is a scalar")


def _scale_is_not_too_small(call, beta) -> None:
    """The kernel ends the process otherwise."""
    (x,) = call.inputs
    if x.type == "int8":
        call.require(beta * x.scales[0] * 2.0**26 > 1.0, f"its input has the scale {x.scales[0]}")


def _l2_normalization(call) -> None:
    _along_the_last(call)
    rank = len(call.inputs[0].shape)
    call.require(rank <= MAX_NORMALIZED_RANK, f"it normalizes {rank} dimensions")


def _leaky_relu(call) -> None:
    _same_shape(call)
    call.require(np.isfinite(call.option("alpha")), f"its alpha is {call.option('alpha')}")


def _broadcast(call) -> None:
    a, b = call.inputs
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


def _sum(call) -> None:
    _broadcast(call)
    (y,) = call.outputs
    if y.type in QUANTIZED:
        largest = 2.0 * max(tensor.scales[0] for tensor in call.inputs)
        shift = 15 if y.type == "int16" else 20
        fits = largest / 2.0**shift / y.scales[0] < 1.0  # the kernel ends the process otherwise
        call.require(fits, "its output's scale is far too small for its inputs'")


def _division(call) -> None:
    _broadcast(call)
    divisor = call.inputs[1]
    if divisor.type == "int32":  # 0, and -1 under the smallest integer, end the process
        fits = divisor.data is not None and not np.isin(divisor.data, (0, -1)).any()
        call.require(fits, f"its divisor {divisor.name} is not seen to be other than 0 and -1")


def _comparison(call) -> None:
    _broadcast(call)
    for tensor in call.inputs:  # the kernel ends the process otherwise
        fits = tensor.type not in QUANTIZED or tensor.scales[0] < 1.0
        call.require(fits, f"{tensor.name} has the scale {tensor.scales[:1]}")


def _largest(call) -> None:
    x, axis = call.inputs
    call.require(x.shape, "its input is a scalar")
    (axis,) = constant_integers(call, axis, 1)
    axis = axis_within(call, axis, len(x.shape))
    require_shape(call, call.outputs[0], x.shape[:axis] + x.shape[axis + 1 :])


RULES = {
    "ABS": _same_shape,
    "ADD": _sum,
    "ARG_MAX": _largest,
    "ARG_MIN": _largest,
    "CAST": _number_by_number,
    "CEIL": _same_shape,
    "COS": _same_shape,
    "DEQUANTIZE": _same_shape,
    "DIV": _division,
    "ELU": _same_shape,
    "EQUAL": _comparison,
    "EXP": _same_shape,
    "FLOOR": _same_shape,
    "FLOOR_DIV": _broadcast,
    "FLOOR_MOD": _broadcast,
    "GREATER": _comparison,
    "GREATER_EQUAL": _comparison,
    "HARD_SWISH": _same_shape,
    "L2_NORMALIZATION": _l2_normalization,
    "LEAKY_RELU": _leaky_relu,
    "LESS": _comparison,
    "LESS_EQUAL": _comparison,
    "LOG": _same_shape,
    "LOGICAL_AND": _broadcast,
    "LOGICAL_NOT": _same_shape,
    "LOGICAL_OR": _broadcast,
    "LOGISTIC": _same_shape,
    "LOG_SOFTMAX": _log_softmax,
    "MAXIMUM": _broadcast,
    "MINIMUM": _broadcast,
    "MUL": _broadcast,
    "NEG": _same_shape,
    "NOT_EQUAL": _comparison,
    "QUANTIZE": _same_shape,
    "RELU": _same_shape,
    "RELU6": _same_shape,
    "ROUND": _same_shape,
    "RSQRT": _same_shape,
    "SIN": _same_shape,
    "SOFTMAX": _softmax,
    "SQRT": _same_shape,
    "SQUARE": _same_shape,
    "SQUARED_DIFFERENCE": _broadcast,
    "SUB": _sum,
    "TANH": _same_shape,
    "ZEROS_LIKE": _number_by_number,
}
