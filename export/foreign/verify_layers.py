"""Rules of operators with weights, and of pools: layers of a neural network."""

import math

from keras_fastgrnn.export.tflite.schema import ACTIVATIONS
from keras_fastgrnn.graph.operators.file_calls import (
    require_bias,
    require_scales,
    require_scales_of_channels,
    require_shape,
    shapes_of,
)

SAME, VALID = 0, 1
# Filters, strides and dilations are counted in 32 bits by the kernels.
MAX_EXTENT = 1 << 24


def _all_are_given(call) -> None:
    """The kernel reads a bias that is listed as left out; it may not be listed at all."""
    call.require(None not in call.inputs, "its bias is listed and left out")


def _windows(call, size, filters, dilations) -> tuple[int, int]:
    """Height and width of what windows of a filter over an image make."""
    padding = call.option("padding")
    call.require(padding in (SAME, VALID), f"its padding is number {padding}")
    strides = call.option("stride_h"), call.option("stride_w")
    counts = []
    for length, one, dilation, stride in zip(size, filters, dilations, strides, strict=True):
        extent = (one - 1) * dilation + 1
        fits = all(1 <= value < MAX_EXTENT for value in (one, dilation, stride, extent))
        what = f"its windows have the size {one}, the dilation {dilation} and the stride {stride}"
        call.require(fits, what)
        counts.append(-(-(length if padding == SAME else length - extent + 1) // stride))
    return tuple(counts)


def _images(call, *tensors) -> None:
    call.require(all(len(t.shape) == 4 for t in tensors), f"its shapes are {shapes_of(*tensors)}")


def _dilations(call) -> tuple[int, int]:
    return call.option("dilation_h_factor"), call.option("dilation_w_factor")


def _conv_2d(call) -> None:
    x, weights, bias = [*call.inputs, None][:3]
    (y,) = call.outputs
    _images(call, x, weights, y)
    batch, *size, channels = x.shape
    units, *filters, depth = weights.shape
    groups = channels // depth
    fits = groups * depth == channels and units % max(1, groups) == 0
    call.require(fits, f"its weights {list(weights.shape)} take no groups of {channels} channels")
    require_shape(call, y, (batch, *_windows(call, size, filters, _dilations(call)), units))
    require_scales(call, x, y)
    require_scales_of_channels(call, weights, dimension=0)
    require_bias(call, bias, units)


def _depthwise_conv_2d(call) -> None:
    _all_are_given(call)
    x, weights, bias = [*call.inputs, None][:3]
    (y,) = call.outputs
    _images(call, x, weights, y)
    batch, *size, channels = x.shape
    one, *filters, units = weights.shape
    multiplier = call.option("depth_multiplier")
    fits = one == 1 and multiplier >= 1 and channels * multiplier == units
    what = f"its weights {list(weights.shape)} are not {multiplier} for each of {channels} channels"
    call.require(fits, what)
    require_shape(call, y, (batch, *_windows(call, size, filters, _dilations(call)), units))
    require_scales(call, x, y)
    require_scales_of_channels(call, weights, dimension=3)
    require_bias(call, bias, units)


def _pool_2d(call) -> None:
    (x,), (y,) = call.inputs, call.outputs
    _images(call, x, y)
    batch, *size, channels = x.shape
    filters = call.option("filter_height"), call.option("filter_width")
    require_shape(call, y, (batch, *_windows(call, size, filters, (1, 1)), channels))
    require_scales(call, x, y)


def _svdf(call) -> None:
    _all_are_given(call)
    x, features, times, bias, state = call.inputs
    (y,) = call.outputs
    matrices = (x, features, times, state, y)
    call.require(all(len(t.shape) == 2 for t in matrices), f"its shapes are {shapes_of(*matrices)}")
    batch, inputs = x.shape
    filters, memory = times.shape
    rank = call.option("rank")
    call.require(rank >= 1 and filters % rank == 0, f"its rank is {rank}, of {filters} filters")
    require_shape(call, features, (filters, inputs))
    require_shape(call, state, (batch, filters * memory))
    require_shape(call, y, (batch, filters // rank))
    call.require(state.is_variable, f"{state.name} is its state and no variable")
    require_scales(call, *matrices)
    require_bias(call, bias, filters // rank)


# Where the tensors of an LSTM lie, and those that TFLite Micro's kernel does not have: peepholes,
# a projection and normalization.
_INPUT_WEIGHTS, _RECURRENT_WEIGHTS, _BIASES = slice(1, 5), slice(5, 9), slice(12, 16)
_STATES = slice(18, 20)
_ABSENT = (*range(9, 12), 16, 17, *range(20, 24))


def _lstm(call) -> None:
    x, (y,) = call.inputs[0], call.outputs
    given = [index for index in _ABSENT if call.inputs[index] is not None]
    call.require(not given, f"it has input {given and given[0]}, which the kernel does not take")
    needed = [index for index in range(20) if index not in _ABSENT]
    missing = [index for index in needed if call.inputs[index] is None]
    call.require(not missing, f"input {missing and missing[0]} is left out")
    output, cell = call.inputs[_STATES]
    call.require(len(x.shape) == 3 and output.shape, f"its shapes are {shapes_of(x, output)}")
    units = output.shape[-1]
    batch = x.shape[1] if call.option("time_major") else x.shape[0]
    for state in (output, cell):
        require_shape(call, state, (batch, units))
        call.require(state.is_variable, f"{state.name} is its state and no variable")
    for matrices, inputs in ((_INPUT_WEIGHTS, x.shape[2]), (_RECURRENT_WEIGHTS, units)):
        for weights in call.inputs[matrices]:
            require_shape(call, weights, (units, inputs))
            count = len(weights.scales)
            fits = weights.type == "float32" or count == 1
            call.require(fits, f"{weights.name} has {count} scales, expected 1")
    for bias in call.inputs[_BIASES]:
        require_shape(call, bias, (units,))
    require_shape(call, y, (*x.shape[:2], units))
    require_scales(call, x, output, cell, y)
    activation = call.option("fused_activation_function")
    call.require(activation == ACTIVATIONS["TANH"], f"its activation is number {activation}")
    clip = call.option("cell_clip")
    call.require(0.0 <= clip < math.inf, f"its cell_clip is {clip}")


RULES = {
    "AVERAGE_POOL_2D": _pool_2d,
    "CONV_2D": _conv_2d,
    "DEPTHWISE_CONV_2D": _depthwise_conv_2d,
    "MAX_POOL_2D": _pool_2d,
    "SVDF": _svdf,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _lstm,
}
