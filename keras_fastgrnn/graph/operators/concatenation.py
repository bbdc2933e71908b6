"""CONCATENATION: vectors one after another."""

import numpy as np

from keras_fastgrnn.graph.operators.operator import Arithmetic, Operator, register


def _kernel(op):
    return lambda *values: np.concatenate(values, axis=-1)


def _options(op, portable):
    sizes = zip(op.inputs[0].shape, op.output.shape, strict=True)
    return {"axis": next(i for i, (part, whole) in enumerate(sizes) if part != whole)}


def _int8_ties(graph, op, dictated, sums_share):
    return [[*op.inputs, op.output]]


# In int16 a matrix that reads the result takes in that the inputs may have different scales.
register(
    Operator(
        "CONCATENATION",
        arithmetic={
            "float32": Arithmetic(_kernel, in_type=True),
            "int16": Arithmetic(_kernel, in_type=True),
            "int8": Arithmetic(_kernel, in_type=True, ties=_int8_ties),
        },
        copies=True,
        options_table="ConcatenationOptions",
        options=_options,
    )
)
