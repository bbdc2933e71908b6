"""Dense: a matrix, a bias, and an activation."""

import numpy as np

from keras_fastgrnn.graph.layer_handlers.handler import (
    LayerHandler,
    activation_problems,
    register,
)
from keras_fastgrnn.graph.symbol import Symbol, activated
from keras_fastgrnn.keras_api import keras


def _problems(layer):
    return activation_problems(layer, "activation")


def _trace(layer, value: Symbol) -> Symbol:
    value = value @ np.asarray(layer.kernel, np.float64)
    if layer.use_bias:
        value = value + np.asarray(layer.bias, np.float64)
    return after_product(layer, value)


def after_product(layer, logits: Symbol) -> Symbol:
    """Returns what a layer makes of its product, and names both.

    Args:
        layer: Layer with an `activation`.
        logits: `Symbol`.
    """
    logits.tensor.name = f"{layer.name}/logits"
    value = activated(layer.activation)(logits)
    value.tensor.name = layer.name
    return value


register(LayerHandler(_trace, _problems), keras.layers.Dense)
