"""Rules of operators that compute each element from those of the same place."""

import numpy as np

from keras_fastgrnn.graph.operators.file_calls import (
    QUANTIZED,
    axis_within,
    constant_integers,
    require_same_shape,
    require_shape,
    verify_along_the_last,
    verify_broadcast,
    verify_elementwise,
)
from keras_fastgrnn.graph.operators.softmax import require_softmax_scale

MAX_NORMALIZED_RANK = 4


def _number_by_number(call) -> None:
    """Integers are taken as they are, whatever they stand for."""
    require_same_shape(call)


def _log_softmax(call) -> None:
    verify_along_the_last(call)
    require_softmax_scale(call, 1.0)


def _l2_normalization(call) -> None:
    verify_along_the_last(call)
    rank = len(call.inputs[0].shape)
    call.require(rank <= MAX_NORMALIZED_RANK, f"it normalizes {rank} dimensions")


def _leaky_relu(call) -> None:
    verify_elementwise(call)
    call.require(np.isfinite(call.option("alpha")), f"its alpha is {call.option('alpha')}")


def _division(call) -> None:
    verify_broadcast(call)
    divisor = call.inputs[1]
    if divisor.type == "int32":  # 0, and -1 under the smallest integer, end the process
        fits = divisor.data is not None and not np.isin(divisor.data, (0, -1)).any()
        call.require(fits, f"its divisor {divisor.name} is not seen to be other than 0 and -1")


def _comparison(call) -> None:
    verify_broadcast(call)
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
    "ABS": verify_elementwise,
    "ARG_MAX": _largest,
    "ARG_MIN": _largest,
    "CAST": _number_by_number,
    "CEIL": verify_elementwise,
    "COS": verify_elementwise,
    "DIV": _division,
    "ELU": verify_elementwise,
    "EQUAL": _comparison,
    "EXP": verify_elementwise,
    "FLOOR": verify_elementwise,
    "FLOOR_DIV": verify_broadcast,
    "FLOOR_MOD": verify_broadcast,
    "GREATER": _comparison,
    "GREATER_EQUAL": _comparison,
    "HARD_SWISH": verify_elementwise,
    "L2_NORMALIZATION": _l2_normalization,
    "LEAKY_RELU": _leaky_relu,
    "LESS": _comparison,
    "LESS_EQUAL": _comparison,
    "LOG": verify_elementwise,
    "LOGICAL_AND": verify_broadcast,
    "LOGICAL_NOT": verify_elementwise,
    "LOGICAL_OR": verify_broadcast,
    "LOG_SOFTMAX": _log_softmax,
    "MAXIMUM": verify_broadcast,
    "NEG": verify_elementwise,
    "NOT_EQUAL": _comparison,
    "RELU": verify_elementwise,
    "RELU6": verify_elementwise,
    "ROUND": verify_elementwise,
    "RSQRT": verify_elementwise,
    "SIN": verify_elementwise,
    "SQRT": verify_elementwise,
    "SQUARE": verify_elementwise,
    "SQUARED_DIFFERENCE": verify_broadcast,
    "ZEROS_LIKE": _number_by_number,
}
