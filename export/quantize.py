"""Float graph -> integer graph (int16 activations, int8 weights, int64 biases).

The formulas are in `docs/numerics.md`.
"""

import numpy as np

from keras_fastgrnn.export.graph import Graph, Op, State, Tensor
from keras_fastgrnn.export.reference import quantize_values
from keras_fastgrnn.export.scales import (
    CONSTANT_SHARING_BITS,
    FIXED_KINDS,
    exponent_for,
    scale_of,
    shared_exponent,
)

INT8_MAX = 127

# Weights this small, as a part of the output's unit for each unit of the input, add less than a
# thousandth of that unit; a smaller scale would only leave no room for the bias.
SMALLEST_MULTIPLIER = 2.0**-24


def quantize(graph: Graph, exponents: dict[Tensor, float]) -> Graph:
    """Quantizes a float graph whose tensors have their scales.

    Args:
        graph: Float graph.
        exponents: Dictionary from computed tensor to exponent, as `assign_exponents` returns it.

    Returns:
        A new `Graph` of integers.

    Raises:
        ValueError: If values are too large for the arithmetic.
    """
    integers = {
        tensor: Tensor(tensor.name, tensor.shape, "int16", scale=scale_of(exponents[tensor]))
        for tensor in graph.tensors()
        if not tensor.is_constant
    }
    used = set(exponents.values())
    ops = [_integer_op(op, integers, used) for op in graph.ops]
    return Graph(
        inputs=[integers[tensor] for tensor in graph.inputs],
        outputs=[integers[tensor] for tensor in graph.outputs],
        ops=ops,
        states=[State(integers[s.before], integers[s.after]) for s in graph.states],
    )


def _integer_op(op: Op, integers, used) -> Op:
    output = integers[op.output]
    if op.kind == "FULLY_CONNECTED":
        inputs = _integer_matrix(op, integers[op.inputs[0]], output)
    else:
        inputs = [integers[t] if t in integers else _int16_constant(t, used) for t in op.inputs]
    integer = Op(op.kind, inputs, output, op.low, op.high)
    _check_rescaling(integer)
    return integer


def _integer_matrix(op, x: Tensor, output: Tensor) -> list[Tensor]:
    matrix = op.inputs[1].data
    smallest = SMALLEST_MULTIPLIER * output.scale / x.scale
    scale = float(np.float32(max(np.abs(matrix).max() / INT8_MAX, smallest)))
    weights = Tensor(f"{op.output.name}/weights", matrix.shape, "int8", scale=scale)
    weights.data = np.clip(quantize_values(matrix, weights), -INT8_MAX, INT8_MAX)
    tensors = [x, weights]
    if len(op.inputs) == 3:
        bias_scale = float(np.float32(x.scale) * np.float32(scale))
        bias = Tensor(f"{op.output.name}/bias", op.inputs[2].shape, "int64", scale=bias_scale)
        bias.data = quantize_values(op.inputs[2].data, bias)
        tensors.append(bias)
    return tensors


def _int16_constant(tensor: Tensor, used) -> Tensor:
    exponent = shared_exponent(exponent_for(np.abs(tensor.data).max()), used, CONSTANT_SHARING_BITS)
    constant = Tensor(tensor.name, tensor.shape, "int16", scale=2.0**exponent)
    constant.data = quantize_values(tensor.data, constant)
    return constant


def _check_rescaling(op: Op) -> None:
    """Refuses scales whose products would leave the 32 bits of TFLite Micro's kernels."""
    scales = [tensor.scale for tensor in op.inputs]
    if op.kind == "FULLY_CONNECTED":
        sums = np.abs(op.inputs[1].data.astype(np.int64)).sum(axis=1) * 2**15
        if len(op.inputs) == 3:
            sums = sums + np.abs(op.inputs[2].data)
        fits = sums.max() * scales[0] * scales[1] / op.output.scale < 2**31
    elif op.kind in ("ADD", "SUB"):
        fits = 2.0 * max(scales) / (2**15 * op.output.scale) < 1.0
    elif op.kind == "MUL":
        fits = scales[0] * scales[1] / op.output.scale <= 1.0
    elif op.kind in ("LOGISTIC", "TANH"):
        fits = 3.0 * 4096.0 * scales[0] * 2**15 < 2**31
    else:
        fits = op.kind in (*FIXED_KINDS, "CONCATENATION")
    if not fits:
        raise ValueError(
            f"The values around {op.output.name!r} differ too much in size for 16-bit integers. "
            "Scale the inputs or the weights of the model to the order of 1, and leave out input "
            "channels that never change: a Normalization multiplies them by 1e7."
        )
