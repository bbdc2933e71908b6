"""What layers over time are made of: the frames of the last steps, kept as a state.

A layer without padding has no answer before it has seen as many frames as its window is long. Keras
leaves those steps out; a device runs them, and what follows stays at zero in them.
"""

import dataclasses
import math

import numpy as np

from keras_fastgrnn.graph.feeding import Pace, Window
from keras_fastgrnn.graph.graph import Graph, State, Tensor
from keras_fastgrnn.graph.symbol import Symbol, UnfitInputsError


@dataclasses.dataclass(frozen=True)
class Frames:
    """The frames of the last steps and of this one, in which a layer finds its windows.

    Attributes:
        value: `Symbol` of all of them, the oldest first.
        starts: List of integers, the frame that each window of this step begins with.
        count: Integer, how many frames there are.
    """

    value: Symbol
    starts: list[int]
    count: int

    @property
    def channels(self) -> int:
        """How many channels a frame has."""
        return self.value.tensor.shape[-1] // self.count


def frames_of(value: Symbol, window: Window, padding: int, name: str) -> Frames:
    """Returns the frames from which a step's part of a layer's output is computed.

    Args:
        value: `Symbol` of the layer's input.
        window: `Window` of the layer.
        padding: Integer, how many frames of zeros Keras puts before the first one.
        name: String, the layer's.
    """
    pace, stride = value.pace, window.stride
    if pace.frames % stride:
        raise UnfitInputsError(
            f"it strides over {stride} frames, which other branches do not; give all the same"
        )
    if padding:
        value = zero_while_late(value)
    late = max(0, math.ceil((window.length + pace.late - padding - stride) / stride))
    # Frame i of the output begins at frame `stride i - padding` of Keras's input, and is computed
    # where frame `i + late` is, so that all of its frames have come.
    first = pace.late - padding - late * stride
    kept = max(0, -first)
    starts = [first + kept + place for place in range(0, pace.frames, stride)]
    count = kept + pace.frames
    value = _with_last(value, kept, name)
    answers_each = stride == 1 and (window.is_padded or window.length == 1)
    is_in_step = answers_each and late == pace.late
    windows = pace.windows if is_in_step else (*pace.windows, window)
    length = None if pace.length is None else window.answers(pace.length)
    after = Pace(pace.frames // stride, late, windows, length)
    return Frames(Symbol(value.graph, value.tensor, after), starts, count)


def _with_last(value: Symbol, count: int, name: str) -> Symbol:
    """A value after frames of the steps before, which are zero before the first step."""
    if count == 0:
        return value
    channels = value.tensor.shape[-1] // value.pace.frames
    before = Tensor(f"{name}/frames_before", (1, count * channels))
    frames = Symbol(value.graph, before, value.pace).before_frames(value)
    frames.tensor.name = f"{name}/frames"
    after = frames.part(value.tensor.shape[-1], before.shape[-1])
    after.tensor.name = before.name
    value.graph.states.append(State(before, after.tensor))
    return frames


def zero_while_late(value: Symbol) -> Symbol:
    """Returns a value that is zero at the steps that have none in Keras."""
    if not value.pace.late:
        return value
    if value.pace.frames > 1:
        raise UnfitInputsError(
            "it pads what comes after a layer without padding, before strides; use padding='valid'"
        )
    name, value.tensor.name = value.tensor.name, ""
    zeroed = value.times_number(zero_before(value.pace.late, value.graph))
    zeroed.tensor.name = name
    return zeroed


def zero_before(step: int, graph: Graph) -> Symbol:
    """Returns a number that is 0 before some step of a sequence, and 1 from then on.

    Ones move through a state as frames do, so that no type of integers rounds them.

    Args:
        step: Integer, from 1 on.
        graph: `Graph` in the making.
    """
    name = f"started/after_{step}_steps"
    state = next((one for one in graph.states if one.before.name == name), None)
    if state is not None:  # what is oldest was read first
        return Symbol(graph, graph.consumers(state.before)[0].output)
    before = Symbol(graph, Tensor(name, (1, step)))
    oldest = before.part(0, 1)
    newest = before @ np.zeros((step, 1)) + 1.0
    after = newest if step == 1 else before.before_frames(newest).part(1, step)
    after.tensor.name = name
    graph.states.append(State(before.tensor, after.tensor))
    return oldest
