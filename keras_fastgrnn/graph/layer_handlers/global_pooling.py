"""GlobalMaxPooling1D and GlobalAveragePooling1D: the largest and the mean of the steps so far."""

from collections.abc import Callable, Iterable

from keras_fastgrnn.graph.frames import zero_before, zero_while_late
from keras_fastgrnn.graph.graph import State, Tensor
from keras_fastgrnn.graph.layer_handlers.handler import LayerHandler, register
from keras_fastgrnn.graph.layer_handlers.windows import window_problems
from keras_fastgrnn.graph.symbol import Symbol, UnfitInputsError
from keras_fastgrnn.keras_api import keras
from keras_fastgrnn.models import input_of


def _max_problems(layer) -> Iterable[str]:
    yield from window_problems(layer)
    if layer.keepdims:
        yield "keepdims=True makes a sequence of one step; use keepdims=False"


def _mean_problems(layer) -> Iterable[str]:
    yield from _max_problems(layer)
    if input_of(layer).shape[1] is None:
        yield (
            "it divides by the number of steps, of which the model takes any; build the model with "
            "Input((steps, input_dim))"
        )


def _handler(problems: Callable[..., Iterable[str]], pooled: Callable) -> LayerHandler:
    def trace(layer, value: Symbol) -> Symbol:
        if value.pace.frames > 1:
            raise UnfitInputsError(
                f"a step has {value.pace.frames} frames of it; put the layers that stride before it"
            )
        before = Symbol(value.graph, Tensor(layer.name, value.tensor.shape))
        after = pooled(before, value, layer)
        after.tensor.name = layer.name
        value.graph.states.append(State(before.tensor, after.tensor))
        return after

    return LayerHandler(trace, problems, takes_frames=True)


def _largest(before: Symbol, value: Symbol, layer) -> Symbol:
    """The state is 0 at first; in the first step with a value that stands in its place."""
    later = zero_before(value.pace.late + 1, value.graph)
    first = later * -1.0 + 1.0
    return (before.times_number(later) + value.times_number(first)).larger(value)


def _mean(before: Symbol, value: Symbol, layer) -> Symbol:
    return before + zero_while_late(value) * (1.0 / input_of(layer).shape[1])


register(_handler(_max_problems, _largest), keras.layers.GlobalMaxPooling1D)
register(_handler(_mean_problems, _mean), keras.layers.GlobalAveragePooling1D)
