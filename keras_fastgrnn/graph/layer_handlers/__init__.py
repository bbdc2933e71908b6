"""The layers that the exporter takes: one entry each, which holds all that is known of it.

A new layer is a module here that registers its entry.
"""

import importlib
import pkgutil

from keras_fastgrnn.graph.layer_handlers.handler import (
    HANDLERS,
    InTraining,
    LayerHandler,
    names_of,
    register,
)

__all__ = ["HANDLERS", "InTraining", "LayerHandler", "names_of", "register"]

for _module in pkgutil.iter_modules(__path__, f"{__name__}."):
    importlib.import_module(_module.name)
