"""ADD and SUB."""

import numpy as np

from keras_fastgrnn.graph.fixed_point import multiply, quantize_multiplier
from keras_fastgrnn.graph.operators.kernels import binary
from keras_fastgrnn.graph.operators.operator import Arithmetic, Operator, register

# Bits by which the operands are shifted to the left before they are rescaled.
_LEFT_SHIFTS = {"int16": 15, "int8": 20}


def _float(sign):
    return lambda op: binary(op, _operation(sign))


def _operation(sign):
    return np.add if sign > 0 else np.subtract


def _integer(sign, dtype):
    left_shift = _LEFT_SHIFTS[dtype]

    def kernel(op):
        first, second = op.inputs
        largest = 2.0 * max(first.scale, second.scale)
        first_factor = quantize_multiplier(first.scale / largest)
        second_factor = quantize_multiplier(second.scale / largest)
        output_factor = quantize_multiplier(largest / (2**left_shift * op.output.scale))
        if first.scale == second.scale == op.output.scale:  # nothing is rounded
            operation = _operation(sign)
            constant = op.output.zero_point - first.zero_point - sign * second.zero_point
            return binary(op, lambda a, b: operation(a, b, dtype=np.int64) + constant)

        def function(a, b):
            a = multiply((a - np.int64(first.zero_point)) << left_shift, *first_factor)
            b = multiply((b - np.int64(second.zero_point)) << left_shift, *second_factor)
            return multiply(a + sign * b, *output_factor) + op.output.zero_point

        return binary(op, function)

    return kernel


def _register(kind, sign):
    integers = {dtype: Arithmetic(_integer(sign, dtype)) for dtype in _LEFT_SHIFTS}
    arithmetic = {"float32": Arithmetic(_float(sign)), **integers}
    register(Operator(kind, arithmetic, can_clip=True))


_register("ADD", 1)
_register("SUB", -1)
