"""GlobalMaxPooling1D and GlobalAveragePooling1D: states, the largest and the mean of all steps."""

from collections.abc import Callable, Iterable

from keras_fastgrnn.graph.frames import zero_before, zero_while_late
from keras_fastgrnn.graph.graph import State, Tensor
from keras_fastgrnn.graph.layer_handlers.handler import LayerHandler, register
from keras_fastgrnn.graph.layer_handlers.windows import always, window_problems
from keras_fastgrnn.graph.symbol import Symbol, UnfitInputsError
from keras_fastgrnn.keras_api import keras


def _problems(layer) -> Iterable[str]:
    yield from window_problems(layer)
    if layer.keepdims:
        yield "keepdims=True makes a sequence of one step; use keepdims=False"


def _handler(pooled: Callable[[Symbol, Symbol], Symbol], needs_length: bool) -> LayerHandler:
    def trace(layer, value: Symbol) -> Symbol:
        before = Symbol(value.graph, Tensor(layer.name, value.tensor.shape))
        after = pooled(before, value.one_frame())
        after.tensor.name = layer.name
        value.graph.states.append(State(before.tensor, after.tensor))
        return after

    return LayerHandler(
        trace, _problems, takes_frames=always, needs_length=lambda layer: needs_length
    )


def _largest(before: Symbol, value: Symbol) -> Symbol:
    """The state is 0 at first; in the first step with a value that stands in its place."""
    later = zero_before(value.pace.late + 1, value.graph)
    first = later * -1.0 + 1.0
    return (before.times_number(later) + value.times_number(first)).larger(value)


def _mean(before: Symbol, value: Symbol) -> Symbol:
    """The sum so far over the number of all steps: the mean after the last of them."""
    if value.pace.length is None:
        raise UnfitInputsError(
            "it divides by the number of steps, of which the model takes any; build the model with "
            "Input((steps, input_dim))"
        )
    return before + zero_while_late(value) * (1.0 / value.pace.length)


register(_handler(_largest, needs_length=False), keras.layers.GlobalMaxPooling1D)
register(_handler(_mean, needs_length=True), keras.layers.GlobalAveragePooling1D)
