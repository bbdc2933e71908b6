"""The operators in int16 with int8 weights, as TFLite Micro's reference kernels compute them."""

import functools
import math

import numpy as np

from keras_fastgrnn.graph.fixed_point import multiply, quantize_multiplier, wrap_int32
from keras_fastgrnn.graph.kernels import binary, concatenate, sums_of_products
from keras_fastgrnn.graph.tables import INT16_MAX, INT16_MIN, SIGMOID_TABLE, softmax_tables


def _fully_connected(op):
    """int16 x int8 products summed exactly, then rescaled by a 16-bit multiplier."""
    x, weights, *bias = op.inputs
    multiplier, shift = quantize_multiplier(
        float(np.float32(x.scale) * np.float32(weights.scale)) / op.output.scale
    )
    reduced = (multiplier + 2**15) >> 16 if multiplier < 0x7FFF0000 else 0x7FFF
    total_shift = 15 - shift
    matrix = weights.data.T.astype(np.float64)
    offset = (bias[0].data if bias else 0) * reduced + (1 << (total_shift - 1))

    def function(values):
        sums = sums_of_products(values.astype(np.float64), matrix).astype(np.int64)
        sums *= reduced
        sums += offset
        sums >>= total_shift
        return wrap_int32(sums)

    return function


def _sum(sign):
    add_or_subtract = np.add if sign > 0 else np.subtract

    def compile_sum(op):
        first, second = (tensor.scale for tensor in op.inputs)
        largest = 2.0 * max(first, second)
        first_factor = quantize_multiplier(first / largest)
        second_factor = quantize_multiplier(second / largest)
        output_factor = quantize_multiplier(largest / (2**15 * op.output.scale))
        if first == second == op.output.scale:  # nothing is rounded
            return binary(op, lambda a, b: add_or_subtract(a, b, dtype=np.int64))

        def function(a, b):
            a = multiply(np.asarray(a, np.int64) << 15, *first_factor)
            b = multiply(np.asarray(b, np.int64) << 15, *second_factor)
            return multiply(a + sign * b, *output_factor)

        return binary(op, function)

    return compile_sum


def _mul(op):
    first, second = (tensor.scale for tensor in op.inputs)
    factor = quantize_multiplier(first * second / op.output.scale)
    return binary(op, lambda a, b: multiply(np.asarray(a, np.int64) * b, *factor))


def _table_input(scale, shifts_without_multiply):
    """Scales all int16 so that 2^17 stands for 10.7, the range of the sigmoid table."""
    values = np.roll(np.arange(INT16_MIN, INT16_MAX + 1), INT16_MIN)
    shift = round(math.log2(scale)) + 12
    if shift in shifts_without_multiply:
        return values * (3 << shift)
    multiplier, right = scale * 4096.0 * 3.0, 0
    while multiplier <= 32767.0 / 2.0 and right <= 30:
        multiplier, right = 2.0 * multiplier, right + 1
    multiplier = int(multiplier)
    half = 1 << (right - 1) if right > 0 else 0
    return (values * multiplier + half) >> right


def _interpolate(magnitude, bits):
    index = np.minimum(magnitude >> bits, 254)
    low, high = SIGMOID_TABLE[index], SIGMOID_TABLE[index + 1]
    return (low << bits) + (magnitude & ((1 << bits) - 1)) * (high - low)


def _logistic(scale):
    scaled = _table_input(scale, (0,))
    magnitude = np.abs(scaled)
    result = np.where(magnitude >> 9 >= 255, 0x7FFF << 10, _interpolate(magnitude, 9))
    return np.where(scaled >= 0, result + (1 << 9), (1 << 25) - result + (1 << 9) - 1) >> 10


def _tanh(scale):
    scaled = _table_input(scale, (0, 1))
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


def _look_up_answer(function):
    def compile_look_up(op):
        answers = _answers(function, op.inputs[0].scale)
        return lambda values: answers[values]

    return compile_look_up


def _look_up(values, table):
    index = 256 + (values >> 7)
    slope = table[index + 1] - table[index]
    return table[index] + ((slope * (values & 0x7F) + 64) >> 7)


def _integer_softmax(op):
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


INT16_KERNELS = {
    "FULLY_CONNECTED": _fully_connected,
    "CONCATENATION": concatenate,
    "ADD": _sum(1),
    "SUB": _sum(-1),
    "MUL": _mul,
    "LOGISTIC": _look_up_answer(_logistic),
    "TANH": _look_up_answer(_tanh),
    "SOFTMAX": _integer_softmax,
}
