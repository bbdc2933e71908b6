"""LeakyReLU and PReLU: what is negative is multiplied by a slope."""

from collections.abc import Callable

import numpy as np

from keras_fastgrnn.graph.layer_handlers.handler import LayerHandler, register
from keras_fastgrnn.graph.layer_handlers.per_channel import is_per_channel
from keras_fastgrnn.graph.symbol import Symbol
from keras_fastgrnn.keras_api import IS_TF_KERAS, keras


def _slope_of_leaky(layer) -> np.ndarray:
    return np.asarray(layer.alpha if IS_TF_KERAS else layer.negative_slope, np.float64)


def _slopes_of_prelu(layer) -> np.ndarray:
    return np.asarray(layer.alpha, np.float64)


def _handler(slope_of: Callable) -> LayerHandler:
    def problems(layer):
        slope = slope_of(layer)
        if not is_per_channel(slope, layer):
            yield "it has a slope for each step; use shared_axes=[1]"
        elif np.any(np.abs(slope) > 1.0):
            largest = slope.flat[np.abs(slope).argmax()]
            yield f"it has a slope of {largest:g}; use slopes between -1 and 1"

    def trace(layer, value: Symbol) -> Symbol:
        value = value.leaky(np.ravel(slope_of(layer)))
        value.tensor.name = value.tensor.name or layer.name
        return value

    return LayerHandler(trace, problems)


register(_handler(_slope_of_leaky), keras.layers.LeakyReLU)
register(_handler(_slopes_of_prelu), keras.layers.PReLU)
