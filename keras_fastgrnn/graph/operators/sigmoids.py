"""LOGISTIC and TANH, which the integers look up."""

import functools
import math

import numpy as np

from keras_fastgrnn.graph import function_tables
from keras_fastgrnn.graph.fixed_point import logistic_table_int8, tanh_table_int8
from keras_fastgrnn.graph.fixed_scales import (
    FINEST_BEFORE_INT8_FUNCTION,
    INT8_FUNCTION_SCALES,
    INT8_LIMITS,
    INT16_LIMIT,
    INT16_RESULT_EXPONENT,
    INT16_TABLE_EXPONENT,
    Scale,
)
from keras_fastgrnn.graph.graph import Op
from keras_fastgrnn.graph.operators.c_writer import CWriter, exponent_of
from keras_fastgrnn.graph.operators.file_calls import verify_elementwise
from keras_fastgrnn.graph.operators.operator import Arithmetic, Operator, register
from keras_fastgrnn.graph.tables import INT16_MAX, INT16_MIN, SIGMOID_TABLE
from keras_fastgrnn.keras_api import ops


def _float_logistic(op):
    return lambda x: 0.5 * (1.0 + np.tanh(0.5 * x))


def _float_tanh(op):
    return np.tanh


# Bits by which the scale of an input may be above 2^-12 for the kernel to shift it alone.
_SHIFTS_WITHOUT_MULTIPLY = {"LOGISTIC": (0,), "TANH": (0, 1)}


def _table_input(scale, kind):
    """Scales all int16 so that 2^17 stands for 10.7, the range of the sigmoid table."""
    values = np.roll(np.arange(INT16_MIN, INT16_MAX + 1), INT16_MIN)
    shift = round(math.log2(scale)) + 12
    if shift in _SHIFTS_WITHOUT_MULTIPLY[kind]:
        return values * (3 << shift)
    multiplier, right = _input_factor(scale)
    half = 1 << (right - 1) if right > 0 else 0
    return (values * multiplier + half) >> right


def _input_factor(scale):
    """The factor of 15 bits, and the shift to the right."""
    multiplier, right = scale * 4096.0 * 3.0, 0
    while multiplier <= 32767.0 / 2.0 and right <= 30:
        multiplier, right = 2.0 * multiplier, right + 1
    return int(multiplier), right


def _interpolate(magnitude, bits):
    index = np.minimum(magnitude >> bits, 254)
    low, high = SIGMOID_TABLE[index], SIGMOID_TABLE[index + 1]
    return (low << bits) + (magnitude & ((1 << bits) - 1)) * (high - low)


def _logistic(scale):
    scaled = _table_input(scale, "LOGISTIC")
    magnitude = np.abs(scaled)
    result = np.where(magnitude >> 9 >= 255, 0x7FFF << 10, _interpolate(magnitude, 9))
    return np.where(scaled >= 0, result + (1 << 9), (1 << 25) - result + (1 << 9) - 1) >> 10


def _tanh(scale):
    scaled = _table_input(scale, "TANH")
    magnitude = np.abs(scaled)
    result = np.where(magnitude >> 8 >= 255, 0xFFFF << 8, _interpolate(magnitude, 8))
    offset = (1 << 23) - (1 << 7)
    return np.where(scaled >= 0, result - offset, offset - result + (1 << 8) - 1) >> 8


@functools.lru_cache(maxsize=64)
def _answers(function, scale):
    """What a function of one operand answers to 0, 1, ..., 32767, -32768, ..., -1."""
    answers = function(scale)
    answers.flags.writeable = False
    return answers


def _int16(function):
    def kernel(op):
        answers = _answers(function, op.inputs[0].scale)
        return lambda values: answers[values]

    return kernel


def _int8(table):
    def kernel(op):
        (x,) = op.inputs
        outputs = np.roll(table(x.scale, x.zero_point), -128)  # negative indices count from the end
        return lambda values: outputs[values]

    return kernel


def _int16_fits(op):
    return 3.0 * 4096.0 * op.inputs[0].scale * 2**15 < 2**31


def _int8_fits(op):
    return op.inputs[0].scale < 16.0  # from there on even 0 is beyond the fixed-point numbers


def _expression(c: CWriter, op: Op, value: str) -> str:
    is_logistic = op.kind == "LOGISTIC"
    name = "logistic" if is_logistic else "hyperbolic_tangent"
    c.set_ends(op.output, 0 if is_logistic else -INT16_MAX, INT16_MAX)
    exponent = exponent_of(op.inputs[0]) + 12
    if exponent in _SHIFTS_WITHOUT_MULTIPLY[op.kind]:
        return c.call(name, f"{3 << exponent} * (int32_t){value}")
    factor, right = _input_factor(op.inputs[0].scale)
    scaled = f"(int32_t){value} * {factor}"
    if right:
        scaled = f"({scaled} + {1 << (right - 1)}) >> {right}"
    return c.call(name, scaled)


def _register(kind, name, equation, of_float, of_int16, table_of_int8, on_tensors, table):
    int16 = Arithmetic(
        _int16(of_int16),
        in_type=True,
        result=Scale(2.0**INT16_RESULT_EXPONENT),
        limit=INT16_LIMIT,
        finest=2.0**INT16_TABLE_EXPONENT,
        fits=_int16_fits,
        table=table,
    )
    int8 = Arithmetic(
        _int8(table_of_int8),
        in_type=True,
        result=INT8_FUNCTION_SCALES[name],
        limit=INT8_LIMITS[name],
        finest=FINEST_BEFORE_INT8_FUNCTION,
        fits=_int8_fits,
    )
    of_type = {"float32": Arithmetic(of_float, in_type=True), "int16": int16, "int8": int8}
    register(
        Operator(
            kind,
            arithmetic=of_type,
            elementwise=True,
            verify=verify_elementwise,
            expression=_expression,
            equation=equation,
            on_tensors=on_tensors,
        )
    )


_register(
    "LOGISTIC",
    "sigmoid",
    "1 / (1 + exp(-{0}))",
    _float_logistic,
    _logistic,
    logistic_table_int8,
    ops.sigmoid,
    function_tables.logistic,
)
_register(
    "TANH",
    "tanh",
    "tanh({0})",
    _float_tanh,
    _tanh,
    tanh_table_int8,
    ops.tanh,
    function_tables.tanh,
)
