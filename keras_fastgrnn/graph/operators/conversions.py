"""QUANTIZE and DEQUANTIZE, between types and scales."""

import numpy as np

from keras_fastgrnn.graph.fixed_point import multiply, quantize_multiplier
from keras_fastgrnn.graph.operators.file_calls import verify_elementwise
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


def _fits(op):
    (x,) = op.inputs
    if x.dtype == "float32":
        return True
    largest = np.iinfo(x.dtype).max - np.iinfo(x.dtype).min
    return largest * 2.0 ** quantize_multiplier(x.scale / op.output.scale)[1] < 2**31


_INTEGERS = Arithmetic(_quantize, in_type=True, fits=_fits)
_FLOATS = Arithmetic(_dequantize, in_type=True)

register(
    Operator(
        "QUANTIZE",
        arithmetic={"int16": _INTEGERS, "int8": _INTEGERS},
        elementwise=True,
        mixes_types=True,
        verify=verify_elementwise,
    )
)
register(
    Operator(
        "DEQUANTIZE",
        arithmetic={"float32": _FLOATS},
        elementwise=True,
        mixes_types=True,
        verify=verify_elementwise,
    )
)
