"""Flatten and Reshape that leave a step as it is."""

from keras_fastgrnn.graph.layer_handlers.handler import InTraining, LayerHandler, register
from keras_fastgrnn.graph.layer_handlers.unchanged import trace_nothing
from keras_fastgrnn.keras_api import keras
from keras_fastgrnn.models import input_of, output_of


def _problems(layer):
    before, after = input_of(layer).shape[1:], output_of(layer).shape[1:]
    if tuple(before) != tuple(after):
        yield (
            f"it makes the shape {tuple(after)} of {tuple(before)}, and so values of one step of "
            "several, or the other way; leave it out, or give the model steps of that shape"
        )


register(
    LayerHandler(trace_nothing, _problems, InTraining.LEFT_OUT),
    keras.layers.Flatten,
    keras.layers.Reshape,
)
