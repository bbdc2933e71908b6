"""The operators of a graph: one entry each, which holds all that is known of it.

A new operator is a module here that registers its entry.
"""

import sys

from keras_fastgrnn.graph.entries import import_modules
from keras_fastgrnn.graph.operators.operator import (
    Arithmetic,
    Operator,
    is_for_matrices,
    kinds,
    operator_of,
    register,
)

__all__ = ["Arithmetic", "Operator", "is_for_matrices", "kinds", "operator_of", "register"]

import_modules(sys.modules[__name__])
