"""Flatten and Reshape: a step as it is, or all frames of a sequence in one vector."""

from collections.abc import Iterable

from keras_fastgrnn.graph.feeding import Window
from keras_fastgrnn.graph.frames import frames_of
from keras_fastgrnn.graph.layer_handlers.handler import InTraining, LayerHandler, register
from keras_fastgrnn.graph.symbol import Symbol
from keras_fastgrnn.keras_api import keras
from keras_fastgrnn.models import input_of, output_of


def _shapes(layer) -> tuple[tuple, tuple]:
    return tuple(input_of(layer).shape[1:]), tuple(output_of(layer).shape[1:])


def _problems(layer) -> Iterable[str]:
    before, after = _shapes(layer)
    if before != after:
        yield (
            f"it makes the shape {after} of {before}, and so values of one step of several, or the "
            "other way; leave it out, or give the model steps of that shape"
        )


def _flatten_problems(layer) -> Iterable[str]:
    before, _ = _shapes(layer)
    if len(before) == 2 and before[0] is None:
        yield (
            "it joins all steps, of which the model takes any number; build the model with "
            "Input((steps, input_dim))"
        )


def _trace(layer, value: Symbol) -> Symbol:
    before, _ = _shapes(layer)
    if len(before) == 1:
        return value
    window = Window(before[0], 1, is_padded=False)
    return frames_of(value, window, 0, layer.name).value


register(
    LayerHandler(lambda layer, value: value, _problems, InTraining.LEFT_OUT), keras.layers.Reshape
)
register(
    LayerHandler(_trace, _flatten_problems, InTraining.LEFT_OUT, takes_frames=True),
    keras.layers.Flatten,
)
