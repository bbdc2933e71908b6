"""TimeDistributed: a layer that acts step by step, as most here do without it."""

from keras_fastgrnn.graph.layer_handlers.advice import advice_on
from keras_fastgrnn.graph.layer_handlers.handler import (
    HANDLERS,
    InTraining,
    LayerHandler,
    register,
)
from keras_fastgrnn.graph.symbol import Symbol
from keras_fastgrnn.keras_api import keras
from keras_fastgrnn.models import input_of, output_of


def _problems(layer):
    inner, kind = layer.layer, type(layer.layer)
    if kind not in HANDLERS:
        yield f"of the {kind.__name__} in it, {advice_on(kind.__name__)}"
    elif _leaves_as_it_is(layer):
        return
    elif isinstance(inner, keras.layers.RNN) or HANDLERS[kind].takes_frames(layer):
        yield f"it runs the {kind.__name__} in it on each step for itself; use it without"
    elif HANDLERS[kind].in_training is InTraining.FOLDED:
        yield f"{kind.__name__} acts step by step by itself; use it without the wrapper"
    else:
        yield from HANDLERS[kind].problems(inner)


def _trace(layer, value: Symbol) -> Symbol:
    if _leaves_as_it_is(layer):
        return value
    return HANDLERS[type(layer.layer)].trace(layer.layer, value)


def _leaves_as_it_is(layer) -> bool:
    """Whether the layer inside changes no step's shape, and nothing else."""
    is_left_out = HANDLERS[type(layer.layer)].in_training is InTraining.LEFT_OUT
    return is_left_out and input_of(layer).shape[1:] == output_of(layer).shape[1:]


register(LayerHandler(_trace, _problems), keras.layers.TimeDistributed)
