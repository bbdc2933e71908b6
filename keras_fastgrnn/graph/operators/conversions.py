"""QUANTIZE and DEQUANTIZE, between types and scales."""

import numpy as np

from keras_fastgrnn.graph.fixed_point import multiply, quantize_multiplier
from keras_fastgrnn.graph.operators.operator import Arithmetic, Operator, register
from keras_fastgrnn.graph.real_values import dequantize_values, quantize_input


def _quantize(op):
    (x,) = op.inputs
    if x.dtype == "float32":
        return lambda values: quantize_input(values, op.output).astype(np.int64)
    factor = quantize_multiplier(x.scale / op.output.scale)
    limits = np.iinfo(op.output.dtype)

    def function(values):
        rescaled = multiply(values - x.zero_point, *factor) + op.output.zero_point
        return np.clip(rescaled, limits.min, limits.max)

    return function


def _dequantize(op):
    return lambda values: dequantize_values(values, op.inputs[0]).astype(np.float64)


register(
    Operator("QUANTIZE", dict.fromkeys(("int16", "int8"), Arithmetic(_quantize, in_type=True)))
)
register(Operator("DEQUANTIZE", {"float32": Arithmetic(_dequantize, in_type=True)}))
