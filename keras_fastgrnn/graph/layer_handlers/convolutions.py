"""Conv1D, DepthwiseConv1D, SeparableConv1D: a matrix over the last frames."""

from collections.abc import Callable, Iterable

import numpy as np

from keras_fastgrnn.graph.feeding import Window
from keras_fastgrnn.graph.frames import frames_of
from keras_fastgrnn.graph.layer_handlers.dense import after_product
from keras_fastgrnn.graph.layer_handlers.handler import (
    LayerHandler,
    activation_problems,
    register,
)
from keras_fastgrnn.graph.layer_handlers.windows import always, first_of, stride, window_problems
from keras_fastgrnn.graph.symbol import Symbol, UnfitInputsError
from keras_fastgrnn.keras_api import keras


def _problems(layer) -> Iterable[str]:
    yield from window_problems(layer)
    yield from activation_problems(layer, "activation")


def _needs_length(layer) -> bool:
    return layer.padding == "same" and stride(layer) > 1


def _trace_full(layer, value: Symbol) -> Symbol:
    kernel, groups = np.asarray(layer.kernel, np.float64), layer.groups
    inputs, filters = kernel.shape[1], kernel.shape[2] // groups
    matrix = np.zeros((len(kernel), groups * inputs, groups * filters))
    for group in range(groups):
        rows = slice(group * inputs, (group + 1) * inputs)
        columns = slice(group * filters, (group + 1) * filters)
        matrix[:, rows, columns] = kernel[:, :, columns]
    return _answer(layer, _product(layer, value, matrix))


def _trace_depthwise(layer, value: Symbol) -> Symbol:
    return _answer(layer, _product(layer, value, _depthwise(_depthwise_kernel(layer))))


def _trace_separable(layer, value: Symbol) -> Symbol:
    each = _product(layer, value, _depthwise(_depthwise_kernel(layer)))
    each.tensor.name = f"{layer.name}/depthwise"
    return _answer(layer, each @ np.asarray(layer.pointwise_kernel, np.float64)[0])


def _depthwise_kernel(layer) -> np.ndarray:
    name = "depthwise_kernel" if hasattr(layer, "depthwise_kernel") else "kernel"
    return np.asarray(getattr(layer, name), np.float64)


def _depthwise(kernel: np.ndarray) -> np.ndarray:
    """A kernel of shape `(frames, channels, multiplier)` as one of all channels."""
    count, channels, multiplier = kernel.shape
    matrix = np.zeros((count, channels, channels, multiplier))
    each = np.arange(channels)
    matrix[:, each, each] = kernel
    return matrix.reshape(count, channels, channels * multiplier)


def _product(layer, value: Symbol, kernel: np.ndarray) -> Symbol:
    """The product of a kernel of shape `(frames, channels, filters)` with the last frames."""
    dilation = first_of(layer.dilation_rate)
    length = (len(kernel) - 1) * dilation + 1
    window = Window(length, stride(layer), is_padded=layer.padding != "valid")
    frames = frames_of(value, window, _padding(layer, window, value), layer.name)
    _, channels, filters = kernel.shape
    matrix = np.zeros((frames.count, channels, len(frames.starts), filters))
    for place, start in enumerate(frames.starts):
        matrix[start : start + length : dilation, :, place] = kernel
    return frames.value.in_a_product(matrix.reshape(frames.count * channels, -1))


def _padding(layer, window: Window, value: Symbol) -> int:
    """How many frames of zeros Keras puts before the first one."""
    if layer.padding == "valid":
        return 0
    if layer.padding == "causal":
        return window.length - 1
    if value.tensor is not value.graph.inputs[0]:
        raise UnfitInputsError(
            "padding='same' pads what another layer computes with zeros at its end, which no "
            "input makes it compute; train with padding='causal' or 'valid'"
        )
    length = value.pace.length
    if length is None and _needs_length(layer):
        raise UnfitInputsError(
            "padding='same' with strides depends on the number of steps; build the model with "
            "Input((steps, input_dim)), or train with padding='causal' or 'valid'"
        )
    length = length or window.stride
    missing = (window.answers(length) - 1) * window.stride + window.length - length
    return max(0, missing) // 2


def _answer(layer, product: Symbol) -> Symbol:
    if layer.use_bias:
        product = product + np.asarray(layer.bias, np.float64)
    return after_product(layer, product)


def _handler(trace: Callable) -> LayerHandler:
    return LayerHandler(
        trace, _problems, stride=stride, takes_frames=always, needs_length=_needs_length
    )


register(_handler(_trace_full), keras.layers.Conv1D)
register(_handler(_trace_depthwise), keras.layers.DepthwiseConv1D)
register(_handler(_trace_separable), keras.layers.SeparableConv1D)
