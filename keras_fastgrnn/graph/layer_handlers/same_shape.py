"""Flatten and Reshape: a step as it is, or all frames of a sequence in one vector."""

from collections.abc import Iterable

from keras_fastgrnn.graph.feeding import Window
from keras_fastgrnn.graph.frames import frames_of
from keras_fastgrnn.graph.layer_handlers.handler import InTraining, LayerHandler, register
from keras_fastgrnn.graph.layer_handlers.unchanged import trace_nothing
from keras_fastgrnn.graph.symbol import Symbol, UnfitInputsError
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


def _joins_frames(layer) -> bool:
    before, after = _shapes(layer)
    return len(before) > len(after)


def _trace(layer, value: Symbol) -> Symbol:
    if not _joins_frames(layer):
        return value
    if value.pace.length is None:
        raise UnfitInputsError(
            "it joins all steps, of which the model takes any number; build the model with "
            "Input((steps, input_dim))"
        )
    window = Window(value.pace.length, 1, is_padded=False)
    return frames_of(value.one_frame(), window, 0, layer.name).value


register(LayerHandler(trace_nothing, _problems, InTraining.LEFT_OUT), keras.layers.Reshape)
register(
    LayerHandler(
        _trace,
        in_training=InTraining.LEFT_OUT,
        takes_frames=_joins_frames,
        needs_length=_joins_frames,
    ),
    keras.layers.Flatten,
)
