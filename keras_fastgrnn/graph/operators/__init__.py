"""The operators of a graph: one entry each, which holds all that is known of it.

A new operator is a module here that registers its entry.
"""

import importlib
import pkgutil

from keras_fastgrnn.graph.operators.operator import (
    Arithmetic,
    Operator,
    kinds,
    operator_of,
    register,
)

__all__ = ["Arithmetic", "Operator", "kinds", "operator_of", "register"]

for _module in pkgutil.iter_modules(__path__, f"{__name__}."):
    importlib.import_module(_module.name)
