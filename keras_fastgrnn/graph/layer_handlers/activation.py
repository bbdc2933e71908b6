"""Activations as layers of their own."""

from keras_fastgrnn.graph.layer_handlers.handler import (
    LayerHandler,
    activation_problems,
    register,
)
from keras_fastgrnn.graph.symbol import Symbol, activated
from keras_fastgrnn.keras_api import keras
from keras_fastgrnn.models import output_of


def _activation_problems(layer):
    return activation_problems(layer, "activation")


def _relu_problems(layer):
    if layer.max_value not in (None, 6.0) or layer.negative_slope or layer.threshold:
        yield (
            "it has a max_value other than 6, a negative_slope or a threshold; use a plain ReLU, "
            "ReLU(6.0) or LeakyReLU"
        )


def _relu(layer):
    return keras.activations.get("relu" if layer.max_value is None else "relu6")


def _softmax_problems(layer):
    if layer.axis != -1 and layer.axis != len(output_of(layer).shape) - 1:
        yield "it divides by a sum over steps; use axis=-1"


def _handler(function_of, problems) -> LayerHandler:
    """The handler of layers that are the activation `function_of(layer)`."""

    def trace(layer, value: Symbol) -> Symbol:
        value = activated(function_of(layer))(value)
        value.tensor.name = value.tensor.name or layer.name
        return value

    return LayerHandler(trace, problems, activation=function_of)


register(_handler(lambda layer: layer.activation, _activation_problems), keras.layers.Activation)
register(_handler(_relu, _relu_problems), keras.layers.ReLU)
register(_handler(lambda layer: keras.activations.softmax, _softmax_problems), keras.layers.Softmax)
