"""What the rounding of each tensor costs, alone."""

import math

import numpy as np

from keras_fastgrnn.export import reference
from keras_fastgrnn.export.graph import Graph, Op, Tensor, constant


def rounding_costs(
    graph: Graph, integers: Graph, x: np.ndarray, every_step: bool
) -> dict[str, float]:
    """Rounds one tensor at a time in an otherwise float computation.

    Biases are left out, which are counted so finely that they cost nothing, and what is only
    copied.

    Args:
        graph: Float graph.
        integers: Integer graph made from it, operator by operator.
        x: Array of shape `(batch, steps, input_dim)`, real values.
        every_step: Boolean, whether the outputs of every step count, or of the last one.

    Returns:
        Dictionary from the name of a tensor to the root mean square difference that its rounding
        alone makes in the outputs, over their standard deviation; the largest first.
    """
    wanted = slice(None) if every_step else slice(-1, None)

    def outputs(graph, rounding):
        steps = reference.steps(graph, x, rounding)
        return np.stack([values[graph.outputs[0]] for values in steps][wanted])

    twins = _twins(graph, integers)
    graph = _in_real_values(graph, twins)
    expected = outputs(graph, {})
    deviation = max(float(expected.std()), 1e-30)
    costs: dict[str, float] = {}
    for tensor, twin in twins.items():
        if _is_copy(graph, tensor) or any(tensor is state.before for state in graph.states):
            continue
        if twin.is_constant:
            found = outputs(_with_rounded_constant(graph, tensor, twin), {})
        else:
            found = outputs(graph, {tensor: twin})
        cost = math.sqrt(np.mean(np.square(found - expected))) / deviation
        costs[twin.name] = max(cost, costs.get(twin.name, 0.0))
    return dict(sorted(costs.items(), key=lambda item: -item[1]))


def _twins(graph: Graph, integers: Graph) -> dict[Tensor, Tensor]:
    twins = dict(zip(graph.inputs, integers.inputs, strict=True))
    for op, integer in zip(graph.ops, integers.ops, strict=True):
        twins.update(zip(op.inputs[:2], integer.inputs[:2], strict=True))
        twins[op.output] = integer.output
    return twins


def _is_copy(graph: Graph, tensor: Tensor) -> bool:
    producer = graph.producer(tensor)
    return producer is not None and producer.kind == "CONCATENATION"


def _in_real_values(graph: Graph, twins: dict[Tensor, Tensor]) -> Graph:
    """A joined matrix counts all its inputs in one unit, though their scales may differ."""
    real = graph.copy()
    for op in graph.ops:
        if op.kind == "CONCATENATION":
            joined = next(copy for copy in real.ops if copy.output is op.output)
            for place, tensor in enumerate(op.inputs):
                unit = twins[op.output].scale / twins[tensor].scale
                joined.inputs[place] = Tensor("", tensor.shape)
                counted = Op("MUL", [tensor, constant(unit)], joined.inputs[place])
                real.ops.insert(real.ops.index(joined), counted)
    return real


def _with_rounded_constant(graph: Graph, tensor: Tensor, twin: Tensor) -> Graph:
    rounded = graph.copy()
    values = reference.dequantize_values(twin.data, twin).astype(np.float64)
    rounded.replace(tensor, Tensor(tensor.name, tensor.shape, data=values))
    return rounded
