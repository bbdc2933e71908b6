"""Layers that change nothing where a model is used: they act in training, or name its input."""

from keras_fastgrnn.graph.layer_handlers.handler import InTraining, LayerHandler, register
from keras_fastgrnn.graph.symbol import Symbol
from keras_fastgrnn.keras_api import keras


def _trace(layer, value: Symbol) -> Symbol:
    return value


register(
    LayerHandler(_trace, in_training=InTraining.KEPT),
    keras.layers.InputLayer,
    keras.layers.ActivityRegularization,
    keras.layers.AlphaDropout,
    keras.layers.Dropout,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.Identity,
    keras.layers.Masking,  # masked steps are not fed
    keras.layers.SpatialDropout1D,
)
