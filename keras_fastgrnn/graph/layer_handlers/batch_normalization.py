"""BatchNormalization: by the mean and variance that training left."""

import numpy as np

from keras_fastgrnn.graph.layer_handlers.handler import InTraining, LayerHandler, register
from keras_fastgrnn.keras_api import keras
from keras_fastgrnn.models import output_of


def _problems(layer):
    if set(np.ravel(layer.axis)) - {-1, len(output_of(layer).shape) - 1}:
        yield "it normalizes over steps; use axis=-1"


def _trace(layer, value):
    variance, mean = (np.asarray(v, np.float64) for v in (layer.moving_variance, layer.moving_mean))
    factor = 1.0 / np.sqrt(variance + layer.epsilon)
    if layer.scale:
        factor = factor * np.asarray(layer.gamma, np.float64)
    shift = -mean * factor
    if layer.center:
        shift = shift + np.asarray(layer.beta, np.float64)
    return value * factor + shift


register(LayerHandler(_trace, _problems, InTraining.FOLDED), keras.layers.BatchNormalization)
