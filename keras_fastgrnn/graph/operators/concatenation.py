"""CONCATENATION: vectors one after another."""

import numpy as np

from keras_fastgrnn.graph.operators.file_calls import axis_within, require_scales, shapes_of
from keras_fastgrnn.graph.operators.operator import Arithmetic, Operator, is_for_matrices, register


def _kernel(op):
    return lambda *values: np.concatenate(values, axis=-1)


def _options(op, portable):
    sizes = zip(op.inputs[0].shape, op.output.shape, strict=True)
    return {"axis": next(i for i, (part, whole) in enumerate(sizes) if part != whole)}


def _int8_ties(graph, op, dictated, sums_share):
    return [[*op.inputs, op.output]]


def _int16_ties(graph, op, dictated, sums_share):
    """A matrix that reads the result takes in that the inputs may have different scales."""
    if is_for_matrices(graph, op.output):
        return []
    return _int8_ties(graph, op, dictated, sums_share)


def _verify(call) -> None:
    (y,) = call.outputs
    require_scales(call, *call.inputs, y)
    axis = axis_within(call, call.option("axis"), len(y.shape))
    fits = (
        all(
            len(x.shape) == len(y.shape)
            and all(i == axis or x.shape[i] == y.shape[i] for i in range(len(y.shape)))
            for x in call.inputs
        )
        and sum(x.shape[axis] for x in call.inputs) == y.shape[axis]
    )
    call.require(fits, f"its shapes are {shapes_of(*call.inputs, y)} along axis {axis}")


register(
    Operator(
        "CONCATENATION",
        arithmetic={
            "float32": Arithmetic(_kernel, in_type=True),
            "int16": Arithmetic(_kernel, in_type=True, ties=_int16_ties),
            "int8": Arithmetic(_kernel, in_type=True, ties=_int8_ties),
        },
        copies=True,
        options_table="ConcatenationOptions",
        options=_options,
        verify=_verify,
    )
)
