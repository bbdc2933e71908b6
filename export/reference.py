"""Runs a graph in NumPy, float or integer: the definition of the arithmetic.

The integer functions are those of TFLite Micro's reference kernels, rounding by rounding;
`docs/numerics.md` states them as formulas. Every function works on a batch of sequences at once:
activations have the shape `(batch, units)`.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np

from keras_fastgrnn.export.fixed_point import multiply, quantize_multiplier, wrap_int32
from keras_fastgrnn.export.graph import Graph, Op, Tensor
from keras_fastgrnn.export.tables import INT16_MAX, INT16_MIN, SIGMOID_TABLE, softmax_tables


def run(graph: Graph, x: np.ndarray) -> np.ndarray:
    """Runs sequences through a graph, each from a zero state.

    Args:
        graph: Float or integer graph.
        x: Array of shape `(batch, steps, input_dim)`, in the graph's own numbers.

    Returns:
        Array of shape `(batch, steps, outputs)`.
    """
    output = graph.outputs[0]
    return np.stack([values[output] for values in steps(graph, x)], axis=1)


def steps(graph: Graph, x: np.ndarray) -> Iterator[dict[Tensor, np.ndarray]]:
    """Yields the value of every computed tensor after each time step.

    Args:
        graph: Float or integer graph.
        x: Array of shape `(batch, steps, input_dim)`, in the graph's own numbers.

    Yields:
        Dictionary from tensor to array of shape `(batch, units)`. The tensor a state is read from
        holds the value before the step.
    """
    operations = [(op, _compile(op)) for op in graph.ops]
    dtype = np.float64 if graph.inputs[0].dtype == "float32" else np.int64
    carried = {s.before: np.zeros((len(x), s.before.shape[-1]), dtype) for s in graph.states}
    for time in range(x.shape[1]):
        values = {graph.inputs[0]: x[:, time].astype(dtype), **carried}
        for op, function in operations:
            values[op.output] = function(*(values[t] for t in op.inputs if not t.is_constant))
        yield values
        carried = {state.before: values[state.after] for state in graph.states}


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
        tensor: The model's input tensor.

    Returns:
        Array of int16.
    """
    quotient = np.asarray(x, np.float32) / np.float32(tensor.scale)
    rounded = np.trunc(quotient.astype(np.float64) + np.copysign(0.5, quotient))
    return np.clip(rounded, INT16_MIN, INT16_MAX).astype(np.int16)


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
    functions = _FLOAT if op.output.dtype == "float32" else _INTEGER
    function = functions[op.kind](op)
    if op.output.dtype == "float32":
        return lambda *values: np.clip(function(*values), op.low, op.high)
    low, high = clip_limits(op)
    return lambda *values: np.clip(function(*values), low, high)


def clip_limits(op: Op) -> tuple[int, int]:
    """Returns the integers to which an int16 operator clips its result.

    Args:
        op: Operator of an integer graph.

    Returns:
        The lowest and the highest integer.
    """
    low, high = INT16_MIN, INT16_MAX
    if op.low != -math.inf:
        low = max(low, int(quantize_values(op.low, op.output)))
    if op.high != math.inf:
        high = min(high, int(quantize_values(op.high, op.output)))
    return low, high


def _binary(op: Op, operation: Callable) -> Callable:
    """Binds the constant operand, if there is one, in its place."""
    first, second = op.inputs
    if second.is_constant:
        return lambda a: operation(a, second.data)
    if first.is_constant:
        return lambda b: operation(first.data, b)
    return operation


def _float_fully_connected(op):
    weights = op.inputs[1].data.T
    bias = op.inputs[2].data if len(op.inputs) == 3 else 0.0
    return lambda x: x @ weights + bias


def _softmax(x):
    exponentials = np.exp(x - x.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def _concatenate(op):
    return lambda *values: np.concatenate(values, axis=-1)


_FLOAT = {
    "FULLY_CONNECTED": _float_fully_connected,
    "CONCATENATION": _concatenate,
    "ADD": lambda op: _binary(op, np.add),
    "SUB": lambda op: _binary(op, np.subtract),
    "MUL": lambda op: _binary(op, np.multiply),
    "MINIMUM": lambda op: _binary(op, np.minimum),
    "LOGISTIC": lambda op: lambda x: 0.5 * (1.0 + np.tanh(0.5 * x)),
    "TANH": lambda op: np.tanh,
    "SOFTMAX": lambda op: _softmax,
}


def _fully_connected(op):
    """int16 x int8 products summed exactly, then rescaled by a 16-bit multiplier."""
    x, weights, *bias = op.inputs
    multiplier, shift = quantize_multiplier(
        float(np.float32(x.scale) * np.float32(weights.scale)) / op.output.scale
    )
    reduced = (multiplier + 2**15) >> 16 if multiplier < 0x7FFF0000 else 0x7FFF
    total_shift = 15 - shift
    matrix = weights.data.T.astype(np.float64)
    offset = bias[0].data if bias else 0

    def function(values):
        sums = (values.astype(np.float64) @ matrix).astype(np.int64) + offset
        scaled = (sums * reduced + (1 << (total_shift - 1))) >> total_shift
        return wrap_int32(scaled)

    return function


def _sum(sign):
    def compile_sum(op):
        first, second = (tensor.scale for tensor in op.inputs)
        largest = 2.0 * max(first, second)
        first_factor = quantize_multiplier(first / largest)
        second_factor = quantize_multiplier(second / largest)
        output_factor = quantize_multiplier(largest / (2**15 * op.output.scale))

        def function(a, b):
            a = multiply(np.asarray(a, np.int64) << 15, *first_factor)
            b = multiply(np.asarray(b, np.int64) << 15, *second_factor)
            return multiply(a + sign * b, *output_factor)

        return _binary(op, function)

    return compile_sum


def _mul(op):
    first, second = (tensor.scale for tensor in op.inputs)
    factor = quantize_multiplier(first * second / op.output.scale)
    return _binary(op, lambda a, b: multiply(np.asarray(a, np.int64) * b, *factor))


def _table_input(op, shifts_without_multiply):
    """Scales int16 so that 2^17 stands for 10.7, the range of the sigmoid table."""
    shift = round(math.log2(op.inputs[0].scale)) + 12
    if shift in shifts_without_multiply:
        return lambda values: values * (3 << shift)
    multiplier, right = op.inputs[0].scale * 4096.0 * 3.0, 0
    while multiplier <= 32767.0 / 2.0 and right <= 30:
        multiplier, right = 2.0 * multiplier, right + 1
    multiplier = int(multiplier)
    half = 1 << (right - 1) if right > 0 else 0
    return lambda values: (values * multiplier + half) >> right


def _interpolate(magnitude, bits):
    index = np.minimum(magnitude >> bits, 254)
    low, high = SIGMOID_TABLE[index], SIGMOID_TABLE[index + 1]
    return (low << bits) + (magnitude & ((1 << bits) - 1)) * (high - low)


def _logistic(op):
    to_table = _table_input(op, (0,))

    def function(values):
        scaled = to_table(values)
        magnitude = np.abs(scaled)
        result = np.where(magnitude >> 9 >= 255, 0x7FFF << 10, _interpolate(magnitude, 9))
        return np.where(scaled >= 0, result + (1 << 9), (1 << 25) - result + (1 << 9) - 1) >> 10

    return function


def _tanh(op):
    to_table = _table_input(op, (0, 1))

    def function(values):
        scaled = to_table(values)
        magnitude = np.abs(scaled)
        result = np.where(magnitude >> 8 >= 255, 0xFFFF << 8, _interpolate(magnitude, 8))
        offset = (1 << 23) - (1 << 7)
        return np.where(scaled >= 0, result - offset, offset - result + (1 << 8) - 1) >> 8

    return function


def _look_up(values, table):
    index = 256 + (values >> 7)
    slope = table[index + 1] - table[index]
    return table[index] + ((slope * (values & 0x7F) + 64) >> 7)


def _integer_softmax(op):
    exponential, reciprocal = softmax_tables()
    factor = quantize_multiplier(op.inputs[0].scale / (10.0 / 65535.0))

    def function(values):
        difference = values - values.max(axis=-1, keepdims=True)
        scaled = np.clip(multiply(difference, *factor) + INT16_MAX, INT16_MIN, INT16_MAX)
        exponentials = _look_up(scaled, exponential)
        total = exponentials.sum(axis=-1, keepdims=True)
        leading_zeros = 32 - np.frexp(total.astype(np.float64))[1]
        shifted = ((total << (leading_zeros - 1)) + (1 << 13)) >> 14
        centered = np.clip(shifted - (1 << 15) - (1 << 16), INT16_MIN, INT16_MAX)
        right = 31 - leading_zeros
        products = exponentials * _look_up(centered, reciprocal)
        return np.maximum((products + (1 << (right - 1))) >> right, 0)

    return function


_INTEGER = {
    "FULLY_CONNECTED": _fully_connected,
    "CONCATENATION": _concatenate,
    "ADD": _sum(1),
    "SUB": _sum(-1),
    "MUL": _mul,
    "LOGISTIC": _logistic,
    "TANH": _tanh,
    "SOFTMAX": _integer_softmax,
}
