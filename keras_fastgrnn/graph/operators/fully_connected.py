"""FULLY_CONNECTED: the product with a matrix of constants, and a bias."""

import numpy as np

from keras_fastgrnn.graph.fixed_point import multiply, quantize_multiplier, wrap_int32
from keras_fastgrnn.graph.operators.file_calls import (
    require_bias,
    require_scales,
    require_scales_of_channels,
    shapes_of,
)
from keras_fastgrnn.graph.operators.kernels import sums_of_products
from keras_fastgrnn.graph.operators.operator import Arithmetic, Operator, register
from keras_fastgrnn.keras_api import ops

# Below these, by the type of its result, the sum of products and bias is counted.
SUM_LIMITS = {"int16": 2.0**47, "int8": 2.0**31}


def _float(op):
    weights = op.inputs[1].data.T
    bias = op.inputs[2].data if len(op.inputs) == 3 else 0.0
    return lambda x: sums_of_products(x, weights) + bias


def _int16(op):
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


def _int8(op):
    x, weights, *bias = op.inputs
    multiplier, shift = _int8_factor(x.scale, weights.scale, op.output.scale)
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


def _int8_factor(input_scale, weights_scale, output_scale):
    """One factor for a matrix of one scale, else one for each of its units."""
    if np.ndim(weights_scale) == 0:
        product = float(np.float32(input_scale) * np.float32(weights_scale))
        return quantize_multiplier(product / output_scale)
    factors = [quantize_multiplier(input_scale * s / output_scale) for s in np.ravel(weights_scale)]
    return tuple(np.array(factors).T)


def _int16_fits(op):
    x, weights, *_ = op.inputs
    factor, largest = x.scale * weights.scale / op.output.scale, _largest_sum(op, 2**15).max()
    # The kernel shifts its result to the right, by a bit at least.
    is_fraction = quantize_multiplier(factor)[1] < 15
    return bool(is_fraction and largest < SUM_LIMITS["int16"] and largest * factor < 2**31)


def _int8_fits(op):
    x, weights, *_ = op.inputs
    factors = np.ravel(x.scale * weights.scale / op.output.scale)
    left = np.array([2.0 ** max(quantize_multiplier(factor)[1], 0) for factor in factors])
    return bool((_largest_sum(op, 2**8) * left).max() < SUM_LIMITS["int8"])


def _options(op, portable):
    """TFLite Micro takes it for granted that the bias has 64 bits in int16."""
    is_told = portable and op.output.dtype == "int16"
    return {"quantized_bias_type": "int64"} if is_told else {}


def _largest_sum(op, largest_input):
    """The largest sum of products each unit can come to."""
    sums = np.abs(op.inputs[1].data.astype(np.int64)).sum(axis=1) * largest_input
    return sums + np.abs(op.inputs[2].data) if len(op.inputs) == 3 else sums


def _verify(call) -> None:
    x, weights, bias = [*call.inputs, None][:3]
    (y,) = call.outputs
    fits = len(weights.shape) == 2 and y.shape and x.shape
    call.require(fits, f"its shapes are {shapes_of(x, weights, y)}")
    units, inputs = weights.shape
    batch = y.size // units
    fits = y.shape[-1] == units and x.size == batch * inputs
    call.require(fits, f"its shapes are {shapes_of(x, weights, y)}")
    require_scales(call, x, y)
    require_scales_of_channels(call, weights, dimension=0)
    call.require(not call.option("weights_format"), "its weights are shuffled")
    require_bias(call, bias, units)


def _on_tensors(x, matrix, *bias):
    product = ops.matmul(x, matrix)
    return product + bias[0] if bias else product


register(
    Operator(
        "FULLY_CONNECTED",
        arithmetic={
            "float32": Arithmetic(_float),
            "int16": Arithmetic(_int16, fits=_int16_fits),
            "int8": Arithmetic(_int8, fits=_int8_fits, rounds_twice=True),
        },
        can_clip=True,
        has_matrix=True,
        on_tensors=_on_tensors,
        options_table="FullyConnectedOptions",
        options=_options,
        verify=_verify,
    )
)
