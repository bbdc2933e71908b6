"""MUL: the product, entry by entry."""

import math

import numpy as np

from keras_fastgrnn.graph.fixed_point import multiply, quantize_multiplier
from keras_fastgrnn.graph.operators.file_calls import verify_broadcast
from keras_fastgrnn.graph.operators.kernels import binary
from keras_fastgrnn.graph.operators.operator import Arithmetic, Operator, register
from keras_fastgrnn.graph.real_values import real_constant


def _float(op):
    return binary(op, np.multiply)


def _integer(op):
    first, second = op.inputs
    factor = quantize_multiplier(first.scale * second.scale / op.output.scale)

    def function(a, b):
        product = (a - np.int64(first.zero_point)) * (b - np.int64(second.zero_point))
        return multiply(product, *factor) + op.output.zero_point

    return binary(op, function)


def _int16_fits(op):
    first, second = op.inputs
    return first.scale * second.scale / op.output.scale <= 1.0


def _int8_fits(op):
    first, second = op.inputs
    return first.scale * second.scale / op.output.scale < 2**14


def _int8_ties(graph, op, dictated, sums_share):
    """A difference, and the part of it that a gate keeps."""
    producers = {tensor: graph.producer(tensor) for tensor in op.inputs}
    differences = [t for t, producer in producers.items() if producer and producer.kind == "SUB"]
    return [[difference, op.output] for difference in differences]


def _limit_before(op, tensor, limit):
    if not op.inputs[1].is_constant:
        return math.inf
    smallest = np.abs(real_constant(op.inputs[1])).min()
    return limit / smallest if smallest > 0.0 else math.inf


register(
    Operator(
        "MUL",
        arithmetic={
            "float32": Arithmetic(_float),
            "int16": Arithmetic(_integer, fits=_int16_fits),
            "int8": Arithmetic(_integer, ties=_int8_ties, fits=_int8_fits),
        },
        can_clip=True,
        elementwise=True,
        limit_before=_limit_before,
        options_table="MulOptions",
        verify=verify_broadcast,
    )
)
