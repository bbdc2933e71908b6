"""The layers that the exporter takes: one entry each, which holds all that is known of it.

A new layer is a module here that registers its entry, and its name below.
"""

from keras_fastgrnn.graph.layer_handlers import (  # noqa: F401
    batch_normalization,
    dense,
    normalization,
    recurrent,
    rescaling,
    unchanged,
)
from keras_fastgrnn.graph.layer_handlers.handler import (
    HANDLERS,
    InTraining,
    LayerHandler,
    names_of,
    register,
)

__all__ = ["HANDLERS", "InTraining", "LayerHandler", "names_of", "register"]
