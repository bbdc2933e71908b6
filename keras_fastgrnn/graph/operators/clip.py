"""CLIP, which is ours until it is fused, and MINIMUM, which clips floats in a file."""

import numpy as np

from keras_fastgrnn.graph.operators.file_calls import verify_broadcast
from keras_fastgrnn.graph.operators.kernels import binary
from keras_fastgrnn.graph.operators.operator import Arithmetic, Operator, register


def _clip(op):
    return lambda x: x  # its limits are applied to every result


def _minimum(op):
    return binary(op, np.minimum)


register(Operator("CLIP", {"float32": Arithmetic(_clip)}, elementwise=True))
register(
    Operator(
        "MINIMUM",
        arithmetic={"float32": Arithmetic(_minimum)},
        elementwise=True,
        verify=verify_broadcast,
    )
)
