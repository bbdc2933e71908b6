"""ADD and SUB."""

import math

import numpy as np

from keras_fastgrnn.graph.fixed_point import multiply, quantize_multiplier
from keras_fastgrnn.graph.graph import Graph, Op
from keras_fastgrnn.graph.operators.c_writer import CWriter, exponent_of
from keras_fastgrnn.graph.operators.file_calls import QUANTIZED, verify_broadcast
from keras_fastgrnn.graph.operators.kernels import binary
from keras_fastgrnn.graph.operators.operator import Arithmetic, Operator, operator_of, register
from keras_fastgrnn.graph.real_values import real_constant, real_ends
from keras_fastgrnn.keras_api import ops

# Bits by which the operands are shifted to the left before they are rescaled.
_LEFT_SHIFTS = {"int16": 15, "int8": 20}

# The int16 kernel adds in units of 2^-14 of the larger scale, and halves the sum: without a loss
# where the scales differ by no more bits than this.
_EXACT_BITS = 13


def _float(sign):
    return lambda op: binary(op, _operation(sign))


def _operation(sign):
    return np.add if sign > 0 else np.subtract


def _integer(sign, dtype):
    left_shift = _LEFT_SHIFTS[dtype]

    def kernel(op):
        first, second = op.inputs
        largest = 2.0 * max(first.scale, second.scale)
        first_factor = quantize_multiplier(first.scale / largest)
        second_factor = quantize_multiplier(second.scale / largest)
        output_factor = quantize_multiplier(largest / (2**left_shift * op.output.scale))
        if first.scale == second.scale == op.output.scale:  # nothing is rounded
            operation = _operation(sign)
            constant = op.output.zero_point - first.zero_point - sign * second.zero_point
            return binary(op, lambda a, b: operation(a, b, dtype=np.int64) + constant)

        def function(a, b):
            a = multiply((a - np.int64(first.zero_point)) << left_shift, *first_factor)
            b = multiply((b - np.int64(second.zero_point)) << left_shift, *second_factor)
            return multiply(a + sign * b, *output_factor) + op.output.zero_point

        return binary(op, function)

    return kernel


def _sum_fits(scales, output_scale, dtype):
    """The kernel scales a sum down alone."""
    return 2.0 * max(scales) / 2.0 ** _LEFT_SHIFTS[dtype] / output_scale < 1.0


def _fits(op):
    return _sum_fits([tensor.scale for tensor in op.inputs], op.output.scale, op.output.dtype)


def adds_products(graph: Graph, op: Op) -> bool:
    """Returns whether an operator adds up what matrices make."""
    return op.kind == "ADD" and all(_is_product(graph, tensor) for tensor in op.inputs)


def _is_product(graph, tensor) -> bool:
    producer = graph.producer(tensor)
    return producer is not None and operator_of(producer.kind).has_matrix


def _adds_before_nonlinearity(graph, op) -> bool:
    limits = [operator_of(r.kind).arithmetic["int8"].limit for r in graph.consumers(op.output)]
    return op.inputs[1].is_constant and bool(limits) and all(map(math.isfinite, limits))


def _verify(call):
    verify_broadcast(call)
    (y,) = call.outputs
    if y.type in QUANTIZED:
        scales = [tensor.scales[0] for tensor in call.inputs]
        fits = _sum_fits(scales, y.scales[0], y.type)  # the kernel ends the process otherwise
        call.require(fits, "its output's scale is far too small for its inputs'")


def _int16_ties(graph, op, dictated, sums_share):
    return [_not_dictated(op, dictated)]


def _int8_add_ties(graph, op, dictated, sums_share):
    shares = sums_share and not op.inputs[1].is_constant
    if shares or adds_products(graph, op) or _adds_before_nonlinearity(graph, op):
        return [_not_dictated(op, dictated)]
    return []


def _int8_factors(scales, number):
    """SUB divides scales in double precision; until October 2026 it did in single."""
    first, second, output = map(number, scales)
    largest = number(2.0) * max(first, second)
    of_inputs = [quantize_multiplier(float(scale / largest)) for scale in (first, second)]
    shift = number(2.0 ** _LEFT_SHIFTS["int8"])
    return [of_inputs, of_inputs, quantize_multiplier(float(largest / (shift * output)))]


def _not_dictated(op, dictated):
    return [tensor for tensor in (*op.inputs, op.output) if tensor not in dictated]


def _options(op, portable):
    """TFLite Micro takes it for granted that int16 operands may have any scales."""
    is_told = portable and op.output.dtype == "int16"
    return {"pot_scale_int16": False} if is_told else {}


def _limit_before_add(op, tensor, limit):
    first, second = op.inputs
    if second.is_constant:
        return limit + np.abs(real_constant(second)).max()
    if tensor.scale is None:
        return math.inf
    return limit + max(map(abs, real_ends(first if tensor is second else second)))


def _expression(c: CWriter, op: Op, first: str, second: str) -> str:
    exponents = [exponent_of(t) for t in op.inputs]
    is_exact = max(exponents) - min(exponents) <= _EXACT_BITS
    unit = min(exponents) if is_exact else max(exponents) - _EXACT_BITS - 1
    terms = [
        c.in_units(f"(int32_t){text}", c.ends_of(tensor), exponent - unit)
        for text, tensor, exponent in zip((first, second), op.inputs, exponents, strict=True)
    ]
    (a, a_ends), (b, b_ends) = terms
    if op.kind == "SUB":
        total, ends = f"{a} - {b}", [a_ends[0] - b_ends[1], a_ends[1] - b_ends[0]]
    else:
        total, ends = f"{a} + {b}", [a_ends[0] + b_ends[0], a_ends[1] + b_ends[1]]
    c.in_32_bits([end + 1 for end in ends])
    bits = exponent_of(op.output) - unit
    if not is_exact:
        total, ends = f"({total} + 1) >> 1", [(end + 1) >> 1 for end in ends]
        bits -= 1
    if bits:
        total, ends = c.in_units(f"({total})", ends, -bits)
    return c.clipped(op, total, ends)


def _int16(sign):
    return Arithmetic(
        _integer(sign, "int16"), ties=_int16_ties, fits=_fits, rounds_halves_away=True
    )


register(
    Operator(
        "ADD",
        arithmetic={
            "float32": Arithmetic(_float(1)),
            "int16": _int16(1),
            "int8": Arithmetic(_integer(1, "int8"), ties=_int8_add_ties, fits=_fits),
        },
        can_clip=True,
        elementwise=True,
        adds=True,
        limit_before=_limit_before_add,
        options_table="AddOptions",
        options=_options,
        verify=_verify,
        expression=_expression,
        equation="{0} + {1}",
        on_tensors=ops.add,
    )
)
register(
    Operator(
        "SUB",
        arithmetic={
            "float32": Arithmetic(_float(-1)),
            "int16": _int16(-1),
            "int8": Arithmetic(_integer(-1, "int8"), factors=_int8_factors, fits=_fits),
        },
        can_clip=True,
        elementwise=True,
        adds=True,
        options_table="SubOptions",
        options=_options,
        verify=_verify,
        expression=_expression,
        equation="{0} - {1}",
        on_tensors=ops.subtract,
    )
)
