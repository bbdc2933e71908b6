"""The layers that the exporter takes: one entry each, which holds all that is known of it.

A new layer is a module here that registers its entry.
"""

import sys

from keras_fastgrnn.graph.entries import import_modules
from keras_fastgrnn.graph.layer_handlers.handler import (
    HANDLERS,
    InTraining,
    LayerHandler,
    names_of,
    needs_length,
    register,
    stride_of,
)

__all__ = [
    "HANDLERS",
    "InTraining",
    "LayerHandler",
    "names_of",
    "needs_length",
    "register",
    "stride_of",
]

import_modules(sys.modules[__name__])
