"""How far rounded outputs are from exact ones, and what rounding each tensor alone costs."""

import math

import numpy as np

from keras_fastgrnn.graph import real_values, reference
from keras_fastgrnn.graph.graph import Constant, Graph, Op, Tensor, constant
from keras_fastgrnn.graph.operators import operator_of
from keras_fastgrnn.graph.ranges import spread
from keras_fastgrnn.graph.sequences import Sequences, as_sequences

# Sequences of the data on which the cost of each tensor's rounding is measured.
COSTING_SEQUENCES = 16


def relative_error(outputs: np.ndarray, expected: np.ndarray) -> float:
    """Returns the root mean square difference over the standard deviation of what is expected.

    Args:
        outputs: Array.
        expected: Array of the same shape. Where it does not vary, its root mean square counts.
    """
    expected = np.asarray(expected, np.float64)
    size = math.sqrt(np.mean(np.square(expected)))
    deviation = float(expected.std())
    if deviation <= 1e-6 * size:  # one number, or the same for every sequence
        deviation = size
    return math.sqrt(np.mean(np.square(outputs - expected))) / max(deviation, 1e-30)


def twins_of(graph: Graph, integers: Graph) -> list[tuple[Tensor, Tensor]]:
    """Pairs the tensors of a float graph with those of the integer graph made from it.

    Biases are left out, which are counted so finely that they cost nothing, and what is only
    copied.

    Args:
        graph: Float graph.
        integers: Integer graph of the same operators.

    Returns:
        List of pairs of a float and an integer tensor.
    """
    twins = dict(zip(graph.inputs, integers.inputs, strict=True))
    for op, integer in zip(graph.ops, integers.ops, strict=True):
        twins.update(zip(op.inputs[:2], integer.inputs[:2], strict=True))
        twins[op.output] = integer.output
    copies = {op.output for op in graph.ops if operator_of(op.kind).copies}
    left_out = copies | {state.before for state in graph.states}
    return [(tensor, twin) for tensor, twin in twins.items() if tensor not in left_out]


def in_real_values(graph: Graph, integers: Graph) -> Graph:
    """Returns a float graph that computes what the integers stand for.

    A joined matrix counts all its inputs in one unit, though their scales may differ.

    Args:
        graph: Float graph.
        integers: Integer graph of the same operators.
    """
    real = graph.copy()
    for op, integer in zip(graph.ops, integers.ops, strict=True):
        if operator_of(op.kind).copies:
            joined = next(copy for copy in real.ops if copy.output is op.output)
            for place, tensor in enumerate(op.inputs):
                unit = integer.output.unit / integer.inputs[place].unit
                joined.inputs[place] = Tensor("", tensor.shape)
                counted = Op("MUL", [tensor, constant(unit)], joined.inputs[place])
                real.ops.insert(real.ops.index(joined), counted)
    return real


def rounding_costs(
    graph: Graph,
    twins: list[tuple[Tensor, Tensor]],
    x: np.ndarray | Sequences,
    every_step: bool,
) -> dict[str, float]:
    """Rounds one tensor at a time in an otherwise float computation.

    Args:
        graph: Float graph.
        twins: List of pairs of a tensor of it and the integer tensor to round it to.
        x: Array of shape `(batch, steps, input_dim)`, or `Sequences`, of real values, of which
            some sequences are taken.
        every_step: Boolean, whether the outputs of every step count, or of the last one.

    Returns:
        Dictionary from the name of an integer tensor to the `relative_error` that its rounding
        alone makes in the outputs; the largest first.
    """
    computed = [pair for pair in twins if not pair[1].is_constant]
    x = spread(as_sequences(x), COSTING_SEQUENCES)
    count = len(computed) + 1
    rows = [slice(i, None, count) for i in range(count)]  # also of the sequences that go on
    rounding = [(tensor, part, twin) for part, (tensor, twin) in zip(rows, computed, strict=False)]
    together = _outputs(graph, x.repeated(count), rounding, every_step)
    expected = together[rows[-1]]
    found = {twin.name: together[part] for part, (_, twin) in zip(rows, computed, strict=False)}
    for tensor, twin in twins:
        if isinstance(twin, Constant):
            rounded = _with_rounded_constant(graph, tensor, twin)
            found[twin.name] = _outputs(rounded, x, [], every_step)
    costs = {name: relative_error(outputs, expected) for name, outputs in found.items()}
    return dict(sorted(costs.items(), key=lambda item: -item[1]))


def _outputs(graph, x, rounding, every_step) -> np.ndarray:
    """All steps, as `Sequences.together` returns them, or the last of each sequence."""
    results = [values[graph.outputs[0]] for values in reference.steps(graph, x, rounding)]
    return x.together(results) if every_step else x.last(results)


def _with_rounded_constant(graph: Graph, tensor: Tensor, twin: Constant) -> Graph:
    rounded = graph.copy()
    values = real_values.dequantize_values(twin.data, twin).astype(np.float64)
    rounded.replace(tensor, Constant(tensor.name, tensor.shape, data=values))
    return rounded
