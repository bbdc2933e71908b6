"""SLICE: entries of a vector that lie one after another."""

from keras_fastgrnn.graph.graph import Op
from keras_fastgrnn.graph.operators.c_writer import CWriter
from keras_fastgrnn.graph.operators.operator import Arithmetic, Operator, register


def _kernel(op):
    end = op.start + op.output.shape[-1]
    return lambda values: values[:, op.start : end]


def _ties(graph, op, dictated, sums_share):
    return [[*op.inputs, op.output]]


def _expression(c: CWriter, op: Op, entry: str) -> str:
    c.set_ends(op.output, *c.ends_of(op.inputs[0]))
    return entry


_ANY = Arithmetic(_kernel, in_type=True, ties=_ties)

register(
    Operator(
        "SLICE",
        arithmetic={"float32": _ANY, "int16": _ANY, "int8": _ANY},
        copies=True,
        expression=_expression,
        equation="a part of {0}",
    )
)
