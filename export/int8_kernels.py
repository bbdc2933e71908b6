"""The operators in int8, as TFLite Micro's reference kernels compute them."""

import numpy as np

from keras_fastgrnn.export.fixed_point import (
    logistic_table_int8,
    multiply,
    quantize_multiplier,
    softmax_int8,
    tanh_table_int8,
)
from keras_fastgrnn.export.kernels import binary, concatenate

# Bits by which ADD and SUB shift their operands to the left before they rescale them.
_LEFT_SHIFT = 20


def _fully_connected(op):
    x, weights, *bias = op.inputs
    multiplier, shift = _output_factor(x.scale, weights.scale, op.output.scale)
    matrix = weights.data.T.astype(np.float64)
    offset = bias[0].data.astype(np.int64) if bias else 0

    def function(values):
        centered = (values - x.zero_point).astype(np.float64)
        sums = (centered @ matrix).astype(np.int64) + offset
        return multiply(sums, multiplier, shift) + op.output.zero_point

    return function


def _output_factor(input_scale, weights_scale, output_scale):
    """One factor for a matrix of one scale, else one for each of its units."""
    if np.ndim(weights_scale) == 0:
        product = float(np.float32(input_scale) * np.float32(weights_scale))
        return quantize_multiplier(product / output_scale)
    factors = [quantize_multiplier(input_scale * s / output_scale) for s in np.ravel(weights_scale)]
    return tuple(np.array(factors).T)


def _sum(sign):
    def compile_sum(op):
        first, second = op.inputs
        largest = 2.0 * max(first.scale, second.scale)
        first_factor = quantize_multiplier(first.scale / largest)
        second_factor = quantize_multiplier(second.scale / largest)
        output_factor = quantize_multiplier(largest / (2**_LEFT_SHIFT * op.output.scale))

        def function(a, b):
            a = multiply((a - np.int64(first.zero_point)) << _LEFT_SHIFT, *first_factor)
            b = multiply((b - np.int64(second.zero_point)) << _LEFT_SHIFT, *second_factor)
            return multiply(a + sign * b, *output_factor) + op.output.zero_point

        return binary(op, function)

    return compile_sum


def _mul(op):
    first, second = op.inputs
    factor = quantize_multiplier(first.scale * second.scale / op.output.scale)

    def function(a, b):
        product = (a - np.int64(first.zero_point)) * (b - np.int64(second.zero_point))
        return multiply(product, *factor) + op.output.zero_point

    return binary(op, function)


def _look_up(table):
    def compile_look_up(op):
        (x,) = op.inputs
        outputs = table(x.scale, x.zero_point)
        return lambda values: outputs[values + 128]

    return compile_look_up


def _softmax(op):
    return lambda values: softmax_int8(values, op.inputs[0].scale)


INT8_KERNELS = {
    "FULLY_CONNECTED": _fully_connected,
    "CONCATENATION": concatenate,
    "ADD": _sum(1),
    "SUB": _sum(-1),
    "MUL": _mul,
    "LOGISTIC": _look_up(logistic_table_int8),
    "TANH": _look_up(tanh_table_int8),
    "SOFTMAX": _softmax,
}
