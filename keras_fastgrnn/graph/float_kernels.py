"""The operators in float."""

import numpy as np

from keras_fastgrnn.graph.kernels import binary, concatenate, sums_of_products


def _fully_connected(op):
    weights = op.inputs[1].data.T
    bias = op.inputs[2].data if len(op.inputs) == 3 else 0.0
    return lambda x: sums_of_products(x, weights) + bias


def softmax(x: np.ndarray) -> np.ndarray:
    """Returns the softmax over the last axis."""
    exponentials = np.exp(x - x.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


FLOAT_KERNELS = {
    "FULLY_CONNECTED": _fully_connected,
    "CONCATENATION": concatenate,
    "ADD": lambda op: binary(op, np.add),
    "SUB": lambda op: binary(op, np.subtract),
    "MUL": lambda op: binary(op, np.multiply),
    "MINIMUM": lambda op: binary(op, np.minimum),
    "LOGISTIC": lambda op: lambda x: 0.5 * (1.0 + np.tanh(0.5 * x)),
    "TANH": lambda op: np.tanh,
    "SOFTMAX": lambda op: softmax,
}
