"""Normalization: by the mean and variance of data that was given to `adapt`."""

import numpy as np

from keras_fastgrnn.graph.layer_handlers.handler import InTraining, LayerHandler, register
from keras_fastgrnn.graph.layer_handlers.per_channel import is_per_channel
from keras_fastgrnn.keras_api import keras


def _problems(layer):
    if getattr(layer, "mean", None) is None:
        yield "it has no mean and variance; call adapt, or give them as arguments"
    elif not is_per_channel(layer.mean, layer):
        yield "it normalizes over steps; use axis=-1"


def _trace(layer, value):
    mean = np.asarray(layer.mean, np.float64).ravel()
    deviation = np.sqrt(np.asarray(layer.variance, np.float64).ravel())
    deviation = np.maximum(deviation, keras.backend.epsilon())
    if layer.invert:
        return value * deviation + mean
    return (value - mean) * (1.0 / deviation)


register(LayerHandler(_trace, _problems, InTraining.FOLDED), keras.layers.Normalization)
