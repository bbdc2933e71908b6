"""Layers that change nothing where a model is used: they act in training, or not at all."""

from keras_fastgrnn.graph.layer_handlers.handler import InTraining, LayerHandler, register
from keras_fastgrnn.graph.symbol import Symbol
from keras_fastgrnn.keras_api import keras


def trace_nothing(layer, value: Symbol) -> Symbol:
    """Returns the input of a layer that changes nothing."""
    return value


register(
    LayerHandler(trace_nothing, in_training=InTraining.KEPT),
    keras.layers.ActivityRegularization,
    keras.layers.AlphaDropout,
    keras.layers.Dropout,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.Masking,  # masked steps are not fed
    keras.layers.SpatialDropout1D,
)
register(
    LayerHandler(trace_nothing, in_training=InTraining.LEFT_OUT),
    keras.layers.Identity,
    keras.layers.InputLayer,
)
