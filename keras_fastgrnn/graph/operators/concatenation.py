"""CONCATENATION: vectors one after another."""

import numpy as np

from keras_fastgrnn.graph.operators.operator import Arithmetic, Operator, register


def _kernel(op):
    return lambda *values: np.concatenate(values, axis=-1)


register(
    Operator(
        "CONCATENATION",
        arithmetic=dict.fromkeys(("float32", "int16", "int8"), Arithmetic(_kernel, in_type=True)),
    )
)
