"""What layers over time are made of: the frames of the last steps, kept as a state.

A convolution without padding has no answer before it has seen as many frames as its kernel is
long. Keras leaves those steps out; a device runs them, and what follows stays at zero in them.
"""

import numpy as np

from keras_fastgrnn.graph.graph import State, Tensor
from keras_fastgrnn.graph.symbol import Symbol


def last_frames(value: Symbol, count: int, name: str) -> Symbol:
    """Returns a value of this step after those of the steps before, the oldest first.

    Before the first step they are zero.

    Args:
        value: `Symbol` of shape `(1, channels)`.
        count: Integer, how many.
        name: String, that of the layer which asks for them.

    Returns:
        `Symbol` of shape `(1, count * channels)`.
    """
    if count == 1:
        return value
    channels = value.tensor.shape[-1]
    width = (count - 1) * channels
    before = Tensor(f"{name}/frames_before", (1, width))
    frames = Symbol(value.graph, before, value.late).followed_by(value)
    frames.tensor.name = f"{name}/frames"
    after = frames.part(channels, width)
    after.tensor.name = before.name
    value.graph.states.append(State(before, after.tensor))
    return frames


def zero_while_late(value: Symbol) -> Symbol:
    """Returns a value that is zero at the steps that have none in Keras."""
    if not value.late:
        return value
    name, value.tensor.name = value.tensor.name, ""
    zeroed = value.times_number(_is_in_time(value))
    zeroed.tensor.name = name
    return zeroed


def _is_in_time(value: Symbol) -> Symbol:
    """A number that is 0 in as many steps as a value is late, and 1 in all after them.

    Ones move through a state as frames do, so that no type of integers rounds them.
    """
    graph, late = value.graph, value.late
    name = f"after_{late}_steps"
    state = next((one for one in graph.states if one.before.name == name), None)
    if state is not None:  # what is oldest was read first
        return Symbol(graph, graph.consumers(state.before)[0].output)
    before = Symbol(graph, Tensor(name, (1, late)))
    oldest = before.part(0, 1)
    newest = before @ np.zeros((late, 1)) + 1.0
    after = newest if late == 1 else before.followed_by(newest).part(1, late)
    after.tensor.name = name
    graph.states.append(State(before.tensor, after.tensor))
    return oldest
