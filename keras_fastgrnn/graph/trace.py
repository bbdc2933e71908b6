"""Keras model -> float graph of one time step.

The handlers of its layers run on symbols, and each operation they do becomes an operator.
"""

import numpy as np

from keras_fastgrnn.graph.graph import Graph, Tensor
from keras_fastgrnn.graph.layer_handlers import HANDLERS
from keras_fastgrnn.graph.supported_layers import chain_of, refuse_layers, unsupported_layers
from keras_fastgrnn.graph.symbol import Symbol


def trace(model) -> Graph:
    """Traces a Keras model into the float graph of one time step.

    Args:
        model: Keras model whose layers form a chain from one input of shape
            `(batch, steps, input_dim)`.

    Returns:
        `Graph` with one input of shape `(1, input_dim)` and one output of shape `(1, outputs)`.

    Raises:
        UnsupportedLayerError: If a layer cannot be exported; names all of them.
        ValueError: If the model is not built, its input is not a sequence of vectors, or a weight
            is not finite.
    """
    chain = chain_of(model)
    refuse_layers(unsupported_layers(chain))
    graph = Graph(inputs=[], outputs=[])
    value = Symbol(graph, Tensor("input", (1, model.inputs[0].shape[-1])))
    graph.inputs = [value.tensor]
    for layer in chain.layers:
        first = len(graph.ops)
        with np.errstate(all="ignore"):
            value = HANDLERS[type(layer)].trace(layer, value)
        _check_constants(graph.ops[first:], layer)
    graph.outputs = [value.tensor]
    return graph


def _check_constants(ops, layer):
    constants = [tensor.data for op in ops for tensor in op.inputs if tensor.is_constant]
    if not all(np.isfinite(data).all() for data in constants):
        raise ValueError(
            f"The layer {layer.name} has weights that are NaN or infinite, or so large or small "
            "that numbers computed from them are. Check its weights."
        )
