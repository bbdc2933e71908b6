"""Runs a graph in NumPy, float or integer: the definition of the arithmetic.

The integer functions are those of TFLite Micro's reference kernels, rounding by rounding;
`docs/numerics.md` states them as formulas. Every function works on a batch of sequences at once:
activations have the shape `(batch, units)`.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from keras_fastgrnn.graph.graph import Graph, Op, Tensor
from keras_fastgrnn.graph.operators import operator_of
from keras_fastgrnn.graph.real_values import clip_limits, dequantize_values, quantize_values
from keras_fastgrnn.graph.sequences import Sequences, as_sequences


def run(graph: Graph, x: np.ndarray | Sequences) -> np.ndarray:
    """Runs sequences through a graph, each from a zero state.

    Args:
        graph: Float or integer graph.
        x: Array of shape `(batch, steps, input_dim)`, or `Sequences`, in the graph's own numbers.

    Returns:
        Array of shape `(batch, steps, outputs)`, or what `Sequences.together` returns.
    """
    output = graph.outputs[0]
    return as_sequences(x).together([values[output] for values in steps(graph, x)])


def answer_to_nothing(graph: Graph) -> np.ndarray:
    """Returns what the head answers to zero states, as Keras does at masked steps at the start.

    Args:
        graph: Float or integer graph.

    Returns:
        Array of shape `(outputs,)`.
    """
    values = {state.after: _start_values(state.after, 1) for state in graph.states}
    for op in graph.ops:
        given = [tensor for tensor in op.inputs if not tensor.is_constant]
        if op.output not in values and all(tensor in values for tensor in given):
            values[op.output] = _compile(op)(*(values[tensor] for tensor in given))
    return values[graph.outputs[0]][0]


def steps(
    graph: Graph,
    x: np.ndarray | Sequences,
    rounding: Sequence[tuple[Tensor, slice, Tensor]] = (),
) -> Iterator[dict[Tensor, np.ndarray]]:
    """Yields the value of every computed tensor after each time step.

    Args:
        graph: Float or integer graph.
        x: Array of shape `(batch, steps, input_dim)`, or `Sequences`, in the graph's own numbers.
        rounding: Sequence of tensors of a float graph, each with some rows of the batch and an
            integer tensor: there its values are rounded to those that the integers stand for.
            Defaults to none.

    Yields:
        Dictionary from tensor to array of shape `(batch, units)`, without the sequences that have
        ended. The tensor a state is read from holds the value before the step.
    """

    to_round = {}
    for tensor, rows, twin in rounding:
        to_round.setdefault(tensor, []).append((rows, twin))

    def rounded(tensor, values):
        for rows, twin in to_round.get(tensor, ()):
            values = values.copy()
            values[rows] = dequantize_values(quantize_values(values[rows], twin), twin)
        return values

    operations = [
        (op.output, _compile(op), [t for t in op.inputs if not t.is_constant]) for op in graph.ops
    ]
    (source,) = graph.inputs
    carried = {s.before: _start_values(s.before, len(x)) for s in graph.states}
    for now in as_sequences(x).each_step():
        carried = {tensor: value[: len(now)] for tensor, value in carried.items()}
        values = {source: rounded(source, now.astype(_counting_type(source))), **carried}
        for output, function, inputs in operations:
            values[output] = rounded(output, function(*[values[tensor] for tensor in inputs]))
        yield values
        carried = {state.before: values[state.after] for state in graph.states}


def _counting_type(tensor: Tensor):
    return np.float64 if tensor.dtype == "float32" else np.int64


def _start_values(tensor: Tensor, batch: int) -> np.ndarray:
    """What stands for 0."""
    return np.full((batch, tensor.shape[-1]), tensor.zero_point, _counting_type(tensor))


def _compile(op: Op) -> Callable:
    arithmetic = operator_of(op.kind).in_type(op.output.dtype)
    function = arithmetic.kernel(op)
    low, high = (op.low, op.high) if op.output.dtype == "float32" else clip_limits(op)
    if arithmetic.in_type or (low, high) == (-math.inf, math.inf):
        return function
    return lambda *values: np.minimum(np.maximum(function(*values), low), high)
