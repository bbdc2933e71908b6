"""MAXIMUM: the larger of two, entry by entry."""

import numpy as np

from keras_fastgrnn.graph.graph import Op
from keras_fastgrnn.graph.operators.c_writer import CWriter
from keras_fastgrnn.graph.operators.file_calls import verify_broadcast
from keras_fastgrnn.graph.operators.kernels import binary
from keras_fastgrnn.graph.operators.operator import Arithmetic, Operator, register
from keras_fastgrnn.keras_api import ops


def _kernel(op):
    return binary(op, np.maximum)


def _ties(graph, op, dictated, sums_share):
    """The kernel compares integers, whatever they stand for."""
    return [[*op.inputs, op.output]]


def _fits(op):
    return len({(tensor.scale, tensor.zero_point) for tensor in (*op.inputs, op.output)}) == 1


def _limit_before(op, tensor, limit):
    return limit


def _expression(c: CWriter, op: Op, first: str, second: str) -> str:
    ends = zip(*(c.ends_of(tensor) for tensor in op.inputs), strict=True)
    return c.clipped(op, f"{first} > {second} ? {first} : {second}", list(map(max, ends)))


_INTEGERS = Arithmetic(_kernel, ties=_ties, fits=_fits)

register(
    Operator(
        "MAXIMUM",
        arithmetic={"float32": Arithmetic(_kernel), "int16": _INTEGERS, "int8": _INTEGERS},
        elementwise=True,
        one_unit=True,
        limit_before=_limit_before,
        options_table="MaximumMinimumOptions",
        verify=verify_broadcast,
        expression=_expression,
        equation="max({0}, {1})",
        on_tensors=ops.maximum,
    )
)
