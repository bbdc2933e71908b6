"""Keras model -> float graph of one time step.

The handlers of its layers run on symbols, and each operation they do becomes an operator.
"""

import numpy as np

from keras_fastgrnn.graph.calls import Call
from keras_fastgrnn.graph.graph import Graph, Tensor
from keras_fastgrnn.graph.layer_handlers import HANDLERS
from keras_fastgrnn.graph.operations import computed
from keras_fastgrnn.graph.supported_layers import (
    computing_calls,
    functional_of,
    refuse_layers,
    unsupported_layers,
)
from keras_fastgrnn.graph.symbol import DifferentWidthsError, Symbol


def trace(model) -> Graph:
    """Traces a Keras model into the float graph of one time step.

    Args:
        model: Keras model of one input, of shape `(batch, steps, input_dim)`, and one output.

    Returns:
        `Graph` with one input of shape `(1, input_dim)` and one output of shape `(1, outputs)`.

    Raises:
        UnsupportedLayerError: If a layer cannot be exported; names all of them.
        ValueError: If the model is not built, its input is not a sequence of vectors, or a weight
            is not finite.
    """
    model = functional_of(model)
    (first, *calls), answer = computing_calls(model)
    refuse_layers(unsupported_layers([first, *calls], answer))
    graph = Graph(inputs=[], outputs=[])
    value = Symbol(graph, Tensor("input", (1, model.inputs[0].shape[-1])))
    graph.inputs = [value.tensor]
    values = {first.name: value}
    for call in calls:
        before = len(graph.ops)
        try:
            with np.errstate(all="ignore"):
                values[call.name] = _traced(call, values)
        except DifferentWidthsError as error:
            refuse_layers([f"{call.title}: {error}."])
        _check_constants(graph.ops[before:], call.layer)
    graph.outputs = [values[answer.name].tensor]
    graph.unanswered = values[answer.name].late
    return graph


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
