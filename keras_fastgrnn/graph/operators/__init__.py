"""The operators of a graph: one entry each, which holds all that is known of it.

A new operator is a module here that registers its entry, and its name below.
"""

from keras_fastgrnn.graph.operators import (  # noqa: F401
    clip,
    concatenation,
    conversions,
    fully_connected,
    mul,
    packing,
    sigmoids,
    softmax,
    sums,
)
from keras_fastgrnn.graph.operators.operator import (
    Arithmetic,
    Operator,
    kinds,
    operator_of,
    register,
)

__all__ = ["Arithmetic", "Operator", "kinds", "operator_of", "register"]
