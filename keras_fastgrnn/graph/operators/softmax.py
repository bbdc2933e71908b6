"""SOFTMAX, over the last axis."""

import numpy as np

from keras_fastgrnn.graph.fixed_point import multiply, quantize_multiplier, softmax_int8
from keras_fastgrnn.graph.fixed_scales import (
    FINEST_BEFORE_INT8_FUNCTION,
    INT8_FUNCTION_SCALES,
    INT16_RESULT_EXPONENT,
    Scale,
)
from keras_fastgrnn.graph.operators.file_calls import OperatorCall, verify_along_the_last
from keras_fastgrnn.graph.operators.operator import Arithmetic, Operator, register
from keras_fastgrnn.graph.tables import INT16_MAX, INT16_MIN, softmax_tables
from keras_fastgrnn.keras_api import ops


def softmax(x: np.ndarray) -> np.ndarray:
    """Returns the softmax over the last axis."""
    exponentials = np.exp(x - x.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def _int16(op):
    exponential, reciprocal = softmax_tables()
    factor = quantize_multiplier(op.inputs[0].scale / (10.0 / 65535.0))

    def function(values):
        difference = values - values.max(axis=-1, keepdims=True)
        scaled = np.clip(multiply(difference, *factor) + INT16_MAX, INT16_MIN, INT16_MAX)
        exponentials = _look_up(scaled, exponential)
        total = exponentials.sum(axis=-1, keepdims=True)
        leading_zeros = 32 - np.frexp(total.astype(np.float64))[1]
        shifted = ((total << (leading_zeros - 1)) + (1 << 13)) >> 14
        centered = np.clip(shifted - (1 << 15) - (1 << 16), INT16_MIN, INT16_MAX)
        right = 31 - leading_zeros
        products = exponentials * _look_up(centered, reciprocal)
        return np.maximum((products + (1 << (right - 1))) >> right, 0)

    return function


def _look_up(values, table):
    index = 256 + (values >> 7)
    slope = table[index + 1] - table[index]
    return table[index] + ((slope * (values & 0x7F) + 64) >> 7)


def _int8(op):
    return lambda values: softmax_int8(values, op.inputs[0].scale)


def _int16_fits(op):
    return quantize_multiplier(op.inputs[0].scale / (10.0 / 65535.0))[1] <= 15


def _int8_fits(op):
    return _takes(op.inputs[0].scale)


def _takes(scale):
    """Whether the int8 kernel takes an input of a scale; it ends the process otherwise."""
    return scale * 2.0**26 > 1.0


def _verify(call):
    verify_along_the_last(call)
    beta = float(call.option("beta"))
    call.require(0.0 < beta < 2.0**20, f"its beta is {beta}")
    require_softmax_scale(call, beta)


def require_softmax_scale(call: OperatorCall, beta: float) -> None:
    """The input's scale is not too small for the kernel of a softmax, or its logarithm."""
    (x,) = call.operands
    if x.type == "int8":
        call.require(_takes(beta * x.scales[0]), f"its input has the scale {x.scales[0]}")


register(
    Operator(
        "SOFTMAX",
        arithmetic={
            "float32": Arithmetic(lambda op: softmax),
            "int16": Arithmetic(_int16, result=Scale(2.0**INT16_RESULT_EXPONENT), fits=_int16_fits),
            "int8": Arithmetic(
                _int8,
                result=INT8_FUNCTION_SCALES["softmax"],
                finest=FINEST_BEFORE_INT8_FUNCTION,
                fits=_int8_fits,
            ),
        },
        options_table="SoftmaxOptions",
        options=lambda op, portable: {"beta": 1.0},
        verify=_verify,
        leads_alike=True,
        on_tensors=ops.softmax,
    )
)
