"""Conv1D, DepthwiseConv1D, SeparableConv1D: a matrix over the frames of the last steps."""

from collections.abc import Iterable

import numpy as np

from keras_fastgrnn.graph.frames import last_frames, zero_while_late
from keras_fastgrnn.graph.layer_handlers.dense import after_product
from keras_fastgrnn.graph.layer_handlers.handler import (
    LayerHandler,
    activation_problems,
    register,
)
from keras_fastgrnn.graph.symbol import Symbol
from keras_fastgrnn.keras_api import keras


def _problems(layer) -> Iterable[str]:
    if layer.padding not in ("causal", "valid"):
        yield (
            f"padding={layer.padding!r} reads frames that are still to come; train with "
            "padding='causal' or 'valid'"
        )
    if np.ravel(layer.strides).max() > 1:
        yield "its strides leave out steps; train with strides=1"
    if layer.data_format != "channels_last":
        yield "it takes the channels first; use data_format='channels_last'"
    yield from activation_problems(layer, "activation")


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
    (dilation,) = np.ravel(layer.dilation_rate)[:1]
    count = (len(kernel) - 1) * int(dilation) + 1
    spread = np.zeros((count, *kernel.shape[1:]))
    spread[:: int(dilation)] = kernel
    if layer.padding == "causal":
        value = zero_while_late(value)
    frames = last_frames(value, count, layer.name)
    if layer.padding == "valid":
        frames = Symbol(frames.graph, frames.tensor, value.late + count - 1)
    return frames @ spread.reshape(-1, kernel.shape[-1])


def _answer(layer, product: Symbol) -> Symbol:
    if layer.use_bias:
        product = product + np.asarray(layer.bias, np.float64)
    return after_product(layer, product)


register(LayerHandler(_trace_full, _problems), keras.layers.Conv1D)
register(LayerHandler(_trace_depthwise, _problems), keras.layers.DepthwiseConv1D)
register(LayerHandler(_trace_separable, _problems), keras.layers.SeparableConv1D)
