"""Float graph -> integer graph: int8 weights, and activations of int16 or of int8.

The formulas are in `docs/numerics.md`.
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from keras_fastgrnn.errors import too_different_in_size
from keras_fastgrnn.graph.fixed_point import quantize_multipliers
from keras_fastgrnn.graph.fixed_scales import SMALLEST_SCALE, Scale
from keras_fastgrnn.graph.graph import Constant, Graph, Op, State, Tensor
from keras_fastgrnn.graph.operators import operator_of
from keras_fastgrnn.graph.operators.fully_connected import SUM_LIMITS
from keras_fastgrnn.graph.real_values import quantize_values
from keras_fastgrnn.quantization.fake_quantization import WeightFormat
from keras_fastgrnn.quantization.int16_scales import (
    CONSTANT_SHARING_BITS,
    exponent_for,
    scale_of,
    shared_exponent,
)
from keras_fastgrnn.quantization.limits import check_scale

INT8_MAX = 127
INT8_WEIGHTS = WeightFormat()

# Weights this small, as a part of the output's unit for each unit of the input, add less than a
# thousandth of that unit; a smaller scale would only leave no room for the bias, which has 32 bits
# where the output has 8.
SMALLEST_MULTIPLIERS = {"int16": 2.0**-24, "int8": 2.0**-22}

# A factor of 15 bits times the unit of a state over it may be so little above one of 15 bits, as a
# part of the last of them.
_HAIR = 2.0**-5

BIAS_TYPES = {"int16": "int64", "int8": "int32"}

# About one scale in 128 has the factor that is looked for, but they may lie together: of a thousand
# searches one takes more than 12,000 numbers.
_ATTEMPTS = 1 << 18
_ATTEMPTS_AT_ONCE = 1 << 10


def quantize_int16(
    graph: Graph, exponents: dict[Tensor, float], weight_format: WeightFormat = INT8_WEIGHTS
) -> Graph:
    """Quantizes a float graph to int16 activations.

    Args:
        graph: Float graph.
        exponents: Dictionary from computed tensor to exponent, as `assign_exponents` returns it.
        weight_format: `WeightFormat` of the matrices. Defaults to 8 bits with any scale.

    Returns:
        A new `Graph` of integers.

    Raises:
        ValueError: If values are too large for the arithmetic.
    """
    used = set(exponents.values())

    def constant(tensor: Constant, op: Op, weight_scales: set[float]) -> Constant:
        needed = exponent_for(max(-tensor.data.min(), tensor.data.max() * (1.0 + 2.0**-16)))
        exponent = shared_exponent(needed, used, CONSTANT_SHARING_BITS)
        return _constant(tensor, "int16", max(2.0**exponent, SMALLEST_SCALE))

    integers = {
        tensor: Tensor(tensor.name, tensor.shape, "int16", scale=scale_of(exponent))
        for tensor, exponent in exponents.items()
    }
    return _integer_graph(graph, integers, constant, _MatrixRules(weight_format))


def quantize_int8(
    graph: Graph,
    scales: dict[Tensor, Scale],
    per_channel: frozenset[Tensor],
    portable: bool = False,
    weight_format: WeightFormat = INT8_WEIGHTS,
    constant_format: WeightFormat | None = None,
) -> Graph:
    """Quantizes a float graph to int8 activations.

    Args:
        graph: Float graph.
        scales: Dictionary from computed tensor to scale and zero point, as `assign_int8_scales`
            returns it.
        per_channel: Set of the results of FULLY_CONNECTED operators whose weights have a scale
            for each unit.
        portable: Boolean, whether weights and biases are even and their scales such that full
            TFLite, which rounds a product once and not twice, computes the same integers.
            Defaults to `False`.
        weight_format: `WeightFormat` of the matrices. Defaults to 8 bits with any scale.
        constant_format: `WeightFormat` to which the constants of ADDs are rounded already, or
            `None` where constants may have the scales of other tensors, which saves bytes.
            Defaults to `None`.

    Returns:
        A new `Graph` of integers.

    Raises:
        ValueError: If values are too large for the arithmetic.
    """

    used = {scale.scale for scale in scales.values() if scale.zero_point == 0}

    def constant(tensor: Constant, op: Op, weight_scales: set[float]) -> Constant:
        if constant_format is None:
            unit = scales[op.output].scale if operator_of(op.kind).adds else 0.0
            scale = _int8_constant_scale(tensor.data, unit, used | weight_scales)
        else:
            rounded_to = constant_format if operator_of(op.kind).adds else INT8_WEIGHTS
            scale = float(np.float32(max(weight_scale(tensor.data, rounded_to), SMALLEST_SCALE)))
        return _constant(tensor, "int8", scale)

    integers = {
        tensor: Tensor(
            tensor.name, tensor.shape, "int8", scale=scale.scale, zero_point=scale.zero_point
        )
        for tensor, scale in scales.items()
    }
    rules = _MatrixRules(weight_format, per_channel, 2 if portable else 1)
    return _integer_graph(graph, integers, constant, rules)


def _int8_constant_scale(values: np.ndarray, unit: float, used: set[float]) -> float:
    """A scale in use that rounds the constant as finely as one of its own might, or its own.

    What is added to values counted in `unit` need not be finer than a tenth of that.
    """
    largest = np.abs(values).max() or 1.0
    tolerance = max(largest / (2 * INT8_MAX), 0.1 * unit)
    for scale in sorted(used):
        rounded = np.round(values / scale)
        error = np.abs(rounded * scale - values).max()
        if np.abs(rounded).max() <= INT8_MAX and error <= tolerance:
            return scale
    return float(np.float32(max(largest / INT8_MAX, SMALLEST_SCALE)))


def _constant(tensor: Constant, dtype: str, scale: float) -> Constant:
    check_scale(scale, tensor.name, dtype)
    counted = Tensor(tensor.name, tensor.shape, dtype, scale=scale)
    return _filled(counted, quantize_values(tensor.data, counted))


def _filled(tensor: Tensor, data: np.ndarray) -> Constant:
    return Constant(tensor.name, tensor.shape, tensor.dtype, tensor.scale, data=data)


def _integer_graph(
    graph: Graph,
    integers: dict[Tensor, Tensor],
    constant: Callable[[Constant, Op, set[float]], Constant],
    rules: "_MatrixRules",
) -> Graph:
    for tensor in integers.values():
        check_scale(tensor.unit, tensor.name, tensor.dtype)
    matrices = {
        op: _matrix(op, integers[op.inputs[0]], integers[op.output], rules)
        for op in graph.ops
        if operator_of(op.kind).has_matrix
    }
    scales = [weights.scale for _, weights, *_ in matrices.values()]
    units = {scale for scale in scales if isinstance(scale, float)}
    ops = []
    for op in graph.ops:
        inputs = matrices.get(op) or [
            constant(t, op, units) if isinstance(t, Constant) else integers[t] for t in op.inputs
        ]
        ops.append(dataclasses.replace(op, inputs=inputs, output=integers[op.output]))
        check_rescaling(ops[-1])
    return dataclasses.replace(
        graph,
        inputs=[integers[tensor] for tensor in graph.inputs],
        outputs=[integers[tensor] for tensor in graph.outputs],
        ops=ops,
        states=[State(integers[s.before], integers[s.after]) for s in graph.states],
    )


@dataclass(frozen=True)
class _MatrixRules:
    """How matrices become integers.

    Attributes:
        weight_format: `WeightFormat`.
        per_channel: Set of the results of matrices with a scale for each unit.
        step: Integer that all integers of weights and biases are multiples of.
    """

    weight_format: WeightFormat
    per_channel: frozenset[Tensor] = frozenset()
    step: int = 1


def weight_scale(
    matrix: np.ndarray, weight_format: WeightFormat, axis: int | None = None
) -> np.ndarray:
    """Returns the scale of a matrix; for one that is rounded already, that of its integers.

    Args:
        matrix: Array.
        weight_format: `WeightFormat`.
        axis: Integer, the axis along which one scale is to do. Defaults to `None`, both.
    """
    scale = np.abs(matrix).max(axis=axis, keepdims=axis is not None) / weight_format.largest
    if weight_format.power_of_two and np.all(scale > 0.0):
        # What was a power of two times another number may be a hair above one.
        return 2.0 ** np.ceil(np.log2(scale) - 1e-6)
    return scale


def _matrix(op: Op, x: Tensor, output: Tensor, rules: _MatrixRules) -> list[Tensor]:
    """Input, weights and bias."""
    matrix = op.weights.data
    smallest = SMALLEST_MULTIPLIERS[output.dtype] * output.unit / x.unit
    per_channel, step = op.output in rules.per_channel, rules.step
    least = weight_scale(matrix, rules.weight_format, 1 if per_channel else None)
    least = np.maximum(least, smallest)
    check_scale(least, op.output.name, output.dtype)
    scale: np.ndarray | float = least.astype(np.float32)
    if not per_channel:
        settle = _short_scale if output.dtype == "int16" else _settled_scale
        settle = _scale_of_a_power if step == 2 else settle
        scale = settle(float(scale), x.unit, output)
    check_scale(scale, op.output.name, output.dtype)
    weights = Tensor(f"{op.output.name}/weights", matrix.shape, "int8", scale=scale)
    integers = np.clip(_multiples(matrix, weights, step), -INT8_MAX, INT8_MAX)
    tensors = [x, _filled(weights, integers)]
    if op.bias is not None:
        product = np.float32(x.unit) * np.asarray(scale, np.float32)
        check_scale(product, op.output.name, output.dtype)
        bias = Tensor(f"{op.output.name}/bias", op.bias.shape, BIAS_TYPES[output.dtype])
        bias.scale = product.ravel() if per_channel else float(product)
        if np.any(np.abs(op.bias.data / bias.scale) >= SUM_LIMITS[output.dtype]):
            raise _refusal(output)
        tensors.append(_filled(bias, _multiples(op.bias.data, bias, step)))
    return tensors


def _multiples(values: np.ndarray, tensor: Tensor, step: int) -> np.ndarray:
    if step == 1:
        return quantize_values(values, tensor)
    coarse = dataclasses.replace(tensor, scale=step * tensor.unit)
    return step * quantize_values(values, coarse).astype(np.int64)


def _short_scale(scale: float, input_scale: float, output: Tensor) -> float:
    """Enlarges a scale by up to 1 in 2^14 until the factor of the product has 15 bits.

    TFLite Micro's int16 kernel uses 15 bits of it and full TFLite's all: so they do the same.
    """
    mantissa, exponent = math.frexp(input_scale * scale / output.unit)
    factor = math.ldexp(math.ceil(math.ldexp(mantissa, 15) - _HAIR), exponent - 15)
    return float(np.float32(factor * output.unit / input_scale))


def _scale_of_a_power(scale: float, input_scale: float, output: Tensor) -> float:
    """Enlarges a scale until the factor of the product is a hair above a power of two.

    Then an even sum is halved exactly in the first of TFLite Micro's two roundings, and what is
    halfway in the second goes away from zero in full TFLite's only one, too.
    """
    _, exponent = math.frexp(input_scale * scale * INT8_MAX / (INT8_MAX - 1) / output.unit)

    def is_above(product):
        multiplier, shift = quantize_multipliers(product / output.unit)
        return (shift == exponent + 1) & (multiplier > 2**30) & (multiplier < 2**30 + 2**13)

    def are_above(scales):
        double, single = _products(input_scale, scales)
        return is_above(double) & is_above(single)

    first = float(np.float32(math.ldexp(output.unit / input_scale, exponent)))
    return _enlarged(first, are_above, output)


def _settled_scale(scale: float, input_scale: float, output: Tensor) -> float:
    """Enlarges a scale by some parts in a million until the product's factor is unmistakable.

    TFLite Micro multiplies the scales of input and weights in double precision; until October
    2026 it did in single. About one scale in 128 gives the same multiplier in both.
    """

    def agree(scales):
        double, single = (
            np.stack(quantize_multipliers(product / output.unit))
            for product in _products(input_scale, scales)
        )
        return np.all(double == single, axis=0)

    return _enlarged(scale, agree, output)


def _products(input_scale: float, scales: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The products in double and in single precision."""
    single = np.float32(input_scale) * scales
    return input_scale * scales.astype(np.float64), single.astype(np.float64)


def _enlarged(scale: float, are_right: Callable[[np.ndarray], np.ndarray], output: Tensor) -> float:
    """The first float32 number from a scale on that is right."""
    first = int(np.float32(scale).view(np.int32))
    for start in range(first, first + _ATTEMPTS, _ATTEMPTS_AT_ONCE):
        bits = np.arange(start, start + _ATTEMPTS_AT_ONCE, dtype=np.int32)
        scales = bits.view(np.float32)
        right = are_right(scales)
        if right.any():
            return float(scales[right.argmax()])
    raise _refusal(output)


def _refusal(tensor: Tensor) -> ValueError:
    return too_different_in_size(tensor.name, 8 * np.dtype(tensor.dtype).itemsize)


def check_rescaling(op: Op) -> None:
    """Refuses scales whose products would leave the widths of TFLite Micro's kernels.

    Args:
        op: Operator of an integer graph.

    Raises:
        ValueError: If they would.
    """
    for tensor in (*op.inputs, op.output):
        if tensor.scale is not None and not tensor.is_constant:
            check_scale(tensor.unit, tensor.name, tensor.dtype)
    if not operator_of(op.kind).in_type(op.output.dtype).fits(op):
        raise _refusal(op.output)
