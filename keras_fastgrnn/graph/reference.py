"""Runs a graph in NumPy, float or integer: the definition of the arithmetic.

The integer functions are those of TFLite Micro's reference kernels, rounding by rounding;
`docs/numerics.md` states them as formulas. Every function works on a batch of sequences at once:
activations have the shape `(batch, units)`.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from keras_fastgrnn.graph.fixed_point import multiply, quantize_multiplier
from keras_fastgrnn.graph.float_kernels import FLOAT_KERNELS
from keras_fastgrnn.graph.graph import Graph, Op, Tensor
from keras_fastgrnn.graph.int8_kernels import INT8_KERNELS
from keras_fastgrnn.graph.int16_kernels import INT16_KERNELS
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


def quantize_values(values: np.ndarray, tensor: Tensor) -> np.ndarray:
    """Turns real values into the integers of a tensor; half rounds away from zero.

    Args:
        values: Array of real values.
        tensor: Tensor of type "int8", "int16" or "int64".

    Returns:
        Array of integers, clipped to the tensor's type.
    """
    scaled = np.asarray(values, np.float64) / tensor.scale
    rounded = np.trunc(scaled + np.copysign(0.5, scaled)) + tensor.zero_point
    limits = np.iinfo(tensor.dtype)
    if tensor.dtype == "int64":
        return rounded.astype(np.int64)
    return np.clip(rounded, limits.min, limits.max).astype(tensor.dtype)


def quantize_input(x: np.ndarray, tensor: Tensor) -> np.ndarray:
    """Turns sensor values into integers as C's `lroundf(x / scale)` does, then clips.

    Args:
        x: Array of real values.
        tensor: The model's input tensor, of type "int8", "int16" or "uint8".

    Returns:
        Array of the tensor's type.
    """
    with np.errstate(over="ignore"):  # infinite values are clipped
        quotient = np.asarray(x, np.float32) / np.float32(tensor.scale)
    rounded = np.trunc(quotient.astype(np.float64) + np.copysign(0.5, quotient))
    limits = np.iinfo(tensor.dtype)
    return np.clip(rounded + tensor.zero_point, limits.min, limits.max).astype(tensor.dtype)


def dequantize_values(integers: np.ndarray, tensor: Tensor) -> np.ndarray:
    """Turns the integers of a tensor into real values.

    Args:
        integers: Array of integers.
        tensor: Tensor they belong to.

    Returns:
        float32 array of the same shape.
    """
    return ((integers - float(tensor.zero_point)) * tensor.scale).astype(np.float32)


def _compile(op: Op) -> Callable:
    if op.kind in _CONVERSIONS:
        return _CONVERSIONS[op.kind](op)
    function = _KERNELS[op.output.dtype][op.kind](op)
    if op.output.dtype == "float32":
        low, high = op.low, op.high
    else:
        low, high = clip_limits(op)
    if op.kind in _NEVER_CLIPPED or (low, high) == (-math.inf, math.inf):
        return function
    return lambda *values: np.minimum(np.maximum(function(*values), low), high)


def clip_limits(op: Op) -> tuple[int, int]:
    """Returns the integers to which an operator clips its result.

    Args:
        op: Operator of an integer graph.

    Returns:
        The lowest and the highest integer.
    """
    limits = np.iinfo(op.output.dtype)
    low, high = limits.min, limits.max
    if op.low != -math.inf:
        low = max(low, int(quantize_input(op.low, op.output)))
    if op.high != math.inf:
        high = min(high, int(quantize_input(op.high, op.output)))
    return low, high


def _quantize(op: Op) -> Callable:
    (x,) = op.inputs
    if x.dtype == "float32":
        return lambda values: quantize_input(values, op.output).astype(np.int64)
    factor = quantize_multiplier(x.scale / op.output.scale)
    limits = np.iinfo(op.output.dtype)

    def function(values):
        rescaled = multiply(values - x.zero_point, *factor) + op.output.zero_point
        return np.clip(rescaled, limits.min, limits.max)

    return function


def _dequantize(op: Op) -> Callable:
    return lambda values: dequantize_values(values, op.inputs[0]).astype(np.float64)


# Their results are values of the type already, and have no fused activation.
_NEVER_CLIPPED = ("CONCATENATION", "LOGISTIC", "TANH")

_CONVERSIONS = {"QUANTIZE": _quantize, "DEQUANTIZE": _dequantize}
_KERNELS = {"float32": FLOAT_KERNELS, "int16": INT16_KERNELS, "int8": INT8_KERNELS}
