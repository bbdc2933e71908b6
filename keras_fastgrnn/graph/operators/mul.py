"""MUL: the product, entry by entry."""

import numpy as np

from keras_fastgrnn.graph.fixed_point import multiply, quantize_multiplier
from keras_fastgrnn.graph.operators.kernels import binary
from keras_fastgrnn.graph.operators.operator import Arithmetic, Operator, register


def _float(op):
    return binary(op, np.multiply)


def _integer(op):
    first, second = op.inputs
    factor = quantize_multiplier(first.scale * second.scale / op.output.scale)

    def function(a, b):
        product = (a - np.int64(first.zero_point)) * (b - np.int64(second.zero_point))
        return multiply(product, *factor) + op.output.zero_point

    return binary(op, function)


register(
    Operator(
        "MUL",
        arithmetic={
            "float32": Arithmetic(_float),
            "int16": Arithmetic(_integer),
            "int8": Arithmetic(_integer),
        },
        can_clip=True,
    )
)
