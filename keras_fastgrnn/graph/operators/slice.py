"""SLICE: entries of a vector that lie one after another."""

import numpy as np

from keras_fastgrnn.graph.graph import Op
from keras_fastgrnn.graph.operators.c_writer import CWriter
from keras_fastgrnn.graph.operators.file_calls import constant_integers
from keras_fastgrnn.graph.operators.operator import Arithmetic, Operator, register

# The dimensions that the kernel has room for.
MAX_SLICED_RANK = 5


def _kernel(op):
    end = op.start + op.output.shape[-1]
    return lambda values: values[:, op.start : end]


def _ties(graph, op, dictated, sums_share):
    return [[*op.inputs, op.output]]


def _verify(call) -> None:
    x, begin, size = call.inputs
    (y,) = call.outputs
    rank = len(x.shape)
    call.require(1 <= rank <= MAX_SLICED_RANK, f"it slices {rank} dimensions")
    count = np.array(constant_integers(call, size, rank), np.int64)
    if begin.data is None:
        first = np.zeros(rank, np.int64)  # the loop that counts it is checked for its range
        call.require(begin.shape == (rank,), f"{begin.name} has the shape {list(begin.shape)}")
    else:
        first = np.array(constant_integers(call, begin, rank), np.int64)
    count = np.where(count == -1, np.array(x.shape) - first, count)
    fits = (first >= 0).all() and (count >= 1).all() and (first + count <= x.shape).all()
    call.require(
        fits and tuple(count) == y.shape,
        f"it takes {count.tolist()} from {first.tolist()} of {list(x.shape)} into {list(y.shape)}",
    )


def _expression(c: CWriter, op: Op, entry: str) -> str:
    c.set_ends(op.output, *c.ends_of(op.inputs[0]))
    return entry


_ANY = Arithmetic(_kernel, in_type=True, ties=_ties)

register(
    Operator(
        "SLICE",
        arithmetic={"float32": _ANY, "int16": _ANY, "int8": _ANY},
        copies=True,
        file_operands=lambda op: [(0, op.start), op.output.shape],
        verify=_verify,
        expression=_expression,
        equation="a part of {0}",
    )
)
