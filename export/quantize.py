"""Float graph -> integer graph (int16 activations, int8 weights, int64 biases).

Every activation scale is a power of two. The formulas are in `docs/numerics.md`.
"""

import numpy as np

from keras_fastgrnn.export.calibrate import Range
from keras_fastgrnn.export.graph import Graph, Op, State, Tensor
from keras_fastgrnn.export.reference import quantize_values
from keras_fastgrnn.export.rewrite import fold_input_affine, fuse_products, fusible_products
from keras_fastgrnn.export.scales import (
    FIXED_KINDS,
    assign_exponents,
    exponent_for,
    shared_exponent,
)

# A rewrite that saves an operator may cost this factor in predicted error.
TOLERATED_LOSS = 1.5

# A rounding of the state is fed back, and lives on for tens of steps.
STATE_PERSISTENCE = 64.0

INT8_MAX = 127


def quantize(graph: Graph, ranges: dict[Tensor, Range]) -> Graph:
    """Quantizes a simplified float graph.

    Args:
        graph: Float graph; it is rewritten in place where that suits the integers.
        ranges: Dictionary from tensor to `Range`, as `calibrate` returns it.

    Returns:
        A new `Graph` of integers.

    Raises:
        ValueError: If values are too large for the arithmetic.
    """
    for op in [op for op in graph.ops if op.kind == "FULLY_CONNECTED"]:
        while _folding_pays(graph, op, ranges) and fold_input_affine(graph, op):
            pass
    lowest: dict[Tensor, int] = {}
    settled: set[Tensor] = set()
    for add in fusible_products(graph):
        _choose_products(graph, add, ranges, lowest, settled)
    return _to_integers(graph, assign_exponents(graph, ranges, lowest))


def _folding_pays(graph, op, ranges) -> bool:
    before = graph.producer(op.inputs[0])
    if before is None or before.kind not in ("ADD", "MUL") or not before.inputs[1].is_constant:
        return False
    weights = op.inputs[1].data
    folded = weights * before.inputs[1].data if before.kind == "MUL" else weights
    now = _rounding_error([weights], [ranges[before.output].mean_square])
    then = _rounding_error([folded], [ranges[before.inputs[0]].mean_square])
    return then <= TOLERATED_LOSS**2 * now


def _rounding_error(matrices, mean_squares) -> float:
    """Mean square of the error that int8 weights of one common scale leave in a sum."""
    step = max(np.abs(matrix).max() for matrix in matrices) / INT8_MAX
    return step**2 / 12.0 * sum(np.sum(mean_square) for mean_square in mean_squares)


def _choose_products(graph, add, ranges, lowest, settled) -> None:
    """Joins two products where that costs little, at the scales that cost least."""
    products = [graph.producer(value) for value in add.inputs]
    values = [product.inputs[0] for product in products]
    matrices = [product.inputs[1].data for product in products]
    mean_squares = [ranges[value].mean_square for value in values]
    exponents = assign_exponents(graph, ranges, lowest)
    groups = exponents.groups
    current = [exponents[value] for value in values]
    is_state = [any(value is state.before for state in graph.states) for value in values]

    def activation_error(chosen):
        return sum(
            4.0**exponent / 12.0 * np.square(matrix).sum(axis=1).mean() * persistence
            for exponent, matrix, persistence in zip(
                chosen, matrices, np.where(is_state, STATE_PERSISTENCE, 1.0), strict=True
            )
        )

    def joined_error(chosen):
        shifts = [2.0 ** (exponent - chosen[-1]) for exponent in chosen]
        scaled = [m * shift for m, shift in zip(matrices, shifts, strict=True)]
        squares = [m / shift**2 for m, shift in zip(mean_squares, shifts, strict=True)]
        return _rounding_error(scaled, squares) + activation_error(chosen)

    choices = [
        range(1 if value in exponents.fixed or groups[value] in settled else 9) for value in values
    ]
    if groups[values[0]] is groups[values[1]]:
        choices = [range(1), range(1)]
    options = [(current[0] + i, current[1] + j) for i in choices[0] for j in choices[1]]
    best = min(options, key=lambda chosen: joined_error(chosen) * (1.0 + (chosen[0] != chosen[1])))
    separate = activation_error(current) + sum(
        _rounding_error([m], [s]) for m, s in zip(matrices, mean_squares, strict=True)
    )
    settled.update(groups[value] for value in values)
    if joined_error(best) > TOLERATED_LOSS**2 * separate:
        return
    for value, exponent in zip(values, best, strict=True):
        lowest[value] = exponent
    shifts = [2.0 ** (exponent - best[-1]) for exponent in best]
    fuse_products(graph, add, [m * shift for m, shift in zip(matrices, shifts, strict=True)])


def _to_integers(graph: Graph, exponents) -> Graph:
    integers = {
        tensor: Tensor(tensor.name, tensor.shape, "int16", scale=2.0 ** exponents[tensor])
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
        inputs = _integer_matrix(op, integers[op.inputs[0]])
    else:
        inputs = [integers[t] if t in integers else _int16_constant(t, used) for t in op.inputs]
    integer = Op(op.kind, inputs, output, op.low, op.high)
    _check_rescaling(integer)
    return integer


def _integer_matrix(op, x: Tensor) -> list[Tensor]:
    matrix = op.inputs[1].data
    largest = np.abs(matrix).max()
    scale = float(np.float32(largest / INT8_MAX)) if largest > 0 else 1.0
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
    exponent = shared_exponent(exponent_for(np.abs(tensor.data).max()), used)
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
    else:
        fits = op.kind in (*FIXED_KINDS, "CONCATENATION")
    if not fits:
        raise ValueError(
            f"The values around {op.output.name!r} differ too much in size for 16-bit integers. "
            "Scale the inputs or the weights of the model to the order of 1."
        )
