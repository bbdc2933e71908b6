"""The operators in int8, as TFLite Micro's reference kernels compute them."""

import numpy as np

from keras_fastgrnn.graph.fixed_point import (
    logistic_table_int8,
    multiply,
    quantize_multiplier,
    softmax_int8,
    tanh_table_int8,
)
from keras_fastgrnn.graph.kernels import binary, concatenate, sums_of_products

# Bits by which ADD and SUB shift their operands to the left before they rescale them.
_LEFT_SHIFT = 20


def _fully_connected(op):
    x, weights, *bias = op.inputs
    multiplier, shift = _output_factor(x.scale, weights.scale, op.output.scale)
    integers = weights.data.T.astype(np.int64)
    # Every sum of a part of the products is then an integer that the float type holds.
    largest = 128 * np.abs(integers).sum(axis=0).max()
    matrix = integers.astype(np.float32 if largest <= 2**24 else np.float64)
    offset = (bias[0].data if bias else 0) - x.zero_point * integers.sum(axis=0)

    def function(values):
        sums = sums_of_products(values.astype(matrix.dtype), matrix).astype(np.int64)
        sums += offset
        result = multiply(sums, multiplier, shift)
        result += op.output.zero_point
        return result

    return function


def _output_factor(input_scale, weights_scale, output_scale):
    """One factor for a matrix of one scale, else one for each of its units."""
    if np.ndim(weights_scale) == 0:
        product = float(np.float32(input_scale) * np.float32(weights_scale))
        return quantize_multiplier(product / output_scale)
    factors = [quantize_multiplier(input_scale * s / output_scale) for s in np.ravel(weights_scale)]
    return tuple(np.array(factors).T)


def _sum(sign):
    add_or_subtract = np.add if sign > 0 else np.subtract

    def compile_sum(op):
        first, second = op.inputs
        largest = 2.0 * max(first.scale, second.scale)
        first_factor = quantize_multiplier(first.scale / largest)
        second_factor = quantize_multiplier(second.scale / largest)
        output_factor = quantize_multiplier(largest / (2**_LEFT_SHIFT * op.output.scale))
        if first.scale == second.scale == op.output.scale:  # nothing is rounded
            constant = op.output.zero_point - first.zero_point - sign * second.zero_point
            return binary(op, lambda a, b: add_or_subtract(a, b, dtype=np.int64) + constant)

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
        outputs = np.roll(table(x.scale, x.zero_point), -128)  # negative indices count from the end
        return lambda values: outputs[values]

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
