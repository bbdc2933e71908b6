"""Keras model -> float graph of one time step.

The handlers of its layers run on symbols, and each operation they do becomes an operator.
"""

import numpy as np

from keras_fastgrnn.graph.calls import Call, Result
from keras_fastgrnn.graph.feeding import Feeding, Pace
from keras_fastgrnn.graph.graph import Graph, Tensor
from keras_fastgrnn.graph.layer_handlers import HANDLERS, needs_length, stride_of
from keras_fastgrnn.graph.operations import computed
from keras_fastgrnn.graph.supported_layers import (
    computing_calls,
    functional_of,
    refuse_layers,
    unsupported_layers,
)
from keras_fastgrnn.graph.symbol import Symbol, UnfitInputsError
from keras_fastgrnn.models import output_of


def trace(model) -> Graph:
    """Traces a Keras model into the float graph of one time step.

    Args:
        model: Keras model of one input, of shape `(batch, steps, input_dim)`, and one output.

    Returns:
        `Graph` with one input of shape `(1, input_dim)`, or of several frames where layers stride
        over them, and one output of shape `(1, outputs)`.

    Raises:
        UnsupportedLayerError: If a layer cannot be exported; names all of them.
        ValueError: If the model is not built, its input is not a sequence of vectors, or a weight
            is not finite.
    """
    model = functional_of(model)
    (first, *calls), answer = computing_calls(model)
    refuse_layers(unsupported_layers([first, *calls], answer))
    graph = Graph(inputs=[], outputs=[])
    frames = _frames_of_a_step([first, *calls], answer)
    tensor = Tensor("input", (1, frames * model.inputs[0].shape[-1]))
    length = model.inputs[0].shape[1]
    value = Symbol(graph, tensor, Pace(frames, length=length))
    depends_on_length = False
    graph.inputs = [value.tensor]
    values = {first.name: value}
    for call in calls:
        before = len(graph.ops)
        try:
            with np.errstate(all="ignore"):
                depends_on_length |= _depends_on_length(call, values, length)
                values[call.name] = _traced(call, values)
        except UnfitInputsError as error:
            refuse_layers([f"{call.title}: {error}."])
        _check_constants(graph.ops[before:], call.layer)
    graph.outputs = [values[answer.name].tensor]
    length = length if depends_on_length else None
    graph.feeding = Feeding(frames, values[answer.name].pace, length)
    return graph


def _frames_of_a_step(calls: list[Call], answer: Result) -> int:
    """How many frames of the input there are for one of what the model answers."""
    counts = {calls[0].name: 1}
    for call in calls[1:]:
        before = max(counts[source.name] for source in call.sources)
        counts[call.name] = before * stride_of(call)
    return counts[answer.name]


def _depends_on_length(call: Call, values: dict[str, Symbol], length: int | None) -> bool:
    """Whether what a call computes depends on the number of frames.

    Refuses branches of which a step of the device has different steps of Keras. What there is after
    the last step needs the same last step alone.
    """
    paces = {values[source.name].pace for source in call.sources}
    if len(paces) == 1:
        return needs_length(call)
    is_of_steps = len(output_of(call.layer).shape) > 2
    if is_of_steps or length is None or len({pace.steps(length) for pace in paces}) > 1:
        raise UnfitInputsError(
            "what it joins comes after windows of other frames; let the branches have the same"
        )
    return True


def _traced(call: Call, values: dict[str, Symbol]) -> Symbol:
    if call.operation is None:
        sources = [values[source.name] for source in call.sources]
        return HANDLERS[type(call.layer)].trace(call.layer, *sources)
    return computed(call, lambda result: values[result.name])


def _check_constants(ops, layer):
    constants = [tensor.data for op in ops for tensor in op.inputs if tensor.is_constant]
    if not all(np.isfinite(data).all() for data in constants):
        raise ValueError(
            f"The layer {layer.name} has weights that are NaN or infinite, or so large or small "
            "that numbers computed from them are. Check its weights."
        )
