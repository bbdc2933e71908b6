"""MaxPooling1D and AveragePooling1D: the largest, or the mean, of some frames."""

import functools
from collections.abc import Callable, Iterable

import numpy as np

from keras_fastgrnn.graph.feeding import Window
from keras_fastgrnn.graph.frames import Frames, frames_of
from keras_fastgrnn.graph.layer_handlers.handler import LayerHandler, register
from keras_fastgrnn.graph.layer_handlers.windows import always, first_of, stride, window_problems
from keras_fastgrnn.graph.symbol import Symbol
from keras_fastgrnn.keras_api import keras


def _problems(layer) -> Iterable[str]:
    yield from window_problems(layer)
    if layer.padding != "valid":
        yield "padding='same' pools fewer frames at the ends; train with padding='valid'"


def _handler(pooled: Callable[[Frames, int], Symbol]) -> LayerHandler:
    def trace(layer, value: Symbol) -> Symbol:
        length = first_of(layer.pool_size)
        window = Window(length, stride(layer), is_padded=False)
        answer = pooled(frames_of(value, window, 0, layer.name), length)
        answer.tensor.name = layer.name
        return answer

    return LayerHandler(trace, _problems, stride=stride, takes_frames=always)


def _largest(frames: Frames, length: int) -> Symbol:
    channels = frames.channels
    pooled = []
    for start in frames.starts:
        parts = [
            frames.value.part(place * channels, channels) for place in range(start, start + length)
        ]
        pooled.append(functools.reduce(Symbol.larger, parts))
    first, *others = pooled
    return first.before_frames(*others) if others else first


def _mean(frames: Frames, length: int) -> Symbol:
    means = np.zeros((frames.count, len(frames.starts)))
    for place, start in enumerate(frames.starts):
        means[start : start + length, place] = 1.0 / length
    return frames.value.in_a_product(np.kron(means, np.eye(frames.channels)))


register(_handler(_largest), keras.layers.MaxPooling1D)
register(_handler(_mean), keras.layers.AveragePooling1D)
