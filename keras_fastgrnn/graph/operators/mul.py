"""MUL: the product, entry by entry."""

import itertools
import math

import numpy as np

from keras_fastgrnn.graph.fixed_point import multiply, quantize_multiplier, rounding_shift
from keras_fastgrnn.graph.graph import Op
from keras_fastgrnn.graph.operators.c_writer import CWriter, exponent_of
from keras_fastgrnn.graph.operators.file_calls import verify_broadcast
from keras_fastgrnn.graph.operators.kernels import binary
from keras_fastgrnn.graph.operators.operator import Arithmetic, Operator, register
from keras_fastgrnn.graph.real_values import real_constant
from keras_fastgrnn.keras_api import ops


def _float(op):
    return binary(op, np.multiply)


def _integer(op):
    first, second = op.inputs
    factor = quantize_multiplier(first.scale * second.scale / op.output.scale)

    def function(a, b):
        product = (a - np.int64(first.zero_point)) * (b - np.int64(second.zero_point))
        return multiply(product, *factor) + op.output.zero_point

    return binary(op, function)


def _int16_fits(op):
    first, second = op.inputs
    return first.scale * second.scale / op.output.scale <= 1.0


def _int8_fits(op):
    first, second = op.inputs
    return first.scale * second.scale / op.output.scale < 2**14


def _int8_ties(graph, op, dictated, sums_share):
    """A difference, and the part of it that a gate keeps."""
    producers = {tensor: graph.producer(tensor) for tensor in op.inputs}
    differences = [t for t, producer in producers.items() if producer and producer.kind == "SUB"]
    return [[difference, op.output] for difference in differences]


def _limit_before(op, tensor, limit):
    if not op.inputs[1].is_constant:
        return math.inf
    smallest = np.abs(real_constant(op.inputs[1])).min()
    return limit / smallest if smallest > 0.0 else math.inf


def _expression(c: CWriter, op: Op, first: str, second: str) -> str:
    bits = exponent_of(op.output) - sum(map(exponent_of, op.inputs))
    products = [a * b for a, b in itertools.product(*map(c.ends_of, op.inputs))]
    ends = [min(products), max(products)]
    if bits == 15 and ends[1] < 2**30 - 2**15 and not op.is_clipped:
        low, high = (rounding_shift((end + 1) >> 1, 14) for end in ends)
        c.set_ends(op.output, low, high)
        return c.call("multiply_fractions", first, second)
    product = f"(int32_t){first} * {second}"
    if bits == 0:
        if ends[1] == 2**30:  # wraps, as it is doubled first
            product = f"(int32_t)((uint32_t)({product}) << 1) >> 1"
            ends[0] = -(2**30)
        return c.clipped(op, product, ends)
    # Rounded to a multiple of 2 first, as a product of two fractions of 2^31 is.
    factor = _even_factor(op)
    if factor is None:
        value, ends = f"(({product} + 1) >> 1)", [(end + 1) >> 1 for end in ends]
        bits -= 1
    else:
        zeros = min((factor & -factor).bit_length() - 1, bits)
        value, bits = f"(int32_t){first} * {factor >> zeros}", bits - zeros
        value = f"(int32_t){first}" if factor >> zeros == 1 else value
        ends = [end >> zeros for end in ends]
    value, ends = c.in_units(value, ends, -bits)
    return c.clipped(op, value, ends)


def _even_factor(op):
    """The second operand where it is one even number, so that half of the product is exact."""
    second = op.inputs[1]
    if not second.is_constant or np.ptp(second.data):
        return None
    factor = int(second.data.flat[0])
    return factor if factor and factor % 2 == 0 else None


register(
    Operator(
        "MUL",
        arithmetic={
            "float32": Arithmetic(_float),
            "int16": Arithmetic(_integer, fits=_int16_fits, rounds_halves_away=True),
            "int8": Arithmetic(_integer, ties=_int8_ties, fits=_int8_fits, rounds_twice=True),
        },
        can_clip=True,
        elementwise=True,
        limit_before=_limit_before,
        options_table="MulOptions",
        verify=verify_broadcast,
        expression=_expression,
        equation="{0} * {1}",
        on_tensors=ops.multiply,
    )
)
