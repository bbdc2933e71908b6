"""Rescaling: `x * scale + offset`."""

import numpy as np

from keras_fastgrnn.graph.layer_handlers.handler import InTraining, LayerHandler, register
from keras_fastgrnn.graph.layer_handlers.per_channel import is_per_channel
from keras_fastgrnn.keras_api import keras


def _problems(layer):
    if not (is_per_channel(layer.scale, layer) and is_per_channel(layer.offset, layer)):
        yield "its scale or offset is not one number or one per channel"


def _trace(layer, value):
    return value * np.ravel(layer.scale) + np.ravel(layer.offset)


register(LayerHandler(_trace, _problems, InTraining.FOLDED), keras.layers.Rescaling)
