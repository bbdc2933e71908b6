"""What to do about layers that cannot be exported."""

from keras_fastgrnn.graph.layer_handlers.handler import HANDLERS, names_of

_IN_SCOPE = "load the file in TF-MOT's quantize_scope, and call convert on the model in Python"
_HINTS = {
    "Bidirectional": "it reads the sequence from its end; use the forward layer alone",
    "Embedding": "its input is an index; look the vector up before the model",
    "LayerNormalization": (
        "it divides by a deviation at every step, for which TFLite Micro has no integers; train "
        "with BatchNormalization, which is folded into the next layer"
    ),
    "PruneLowMagnitude": "call TF-MOT's strip_pruning on the model first",
    "QuantizeAnnotate": "call TF-MOT's quantize_apply on the model, and train it first",
    "QuantizeLayer": _IN_SCOPE,
    "QuantizeWrapperV2": _IN_SCOPE,
}


def hint(class_name: str) -> str | None:
    """Returns what to do about a layer that is often met and cannot be exported, if it is one.

    Args:
        class_name: String, the name of its class.
    """
    return _HINTS.get(class_name)


def advice_on(class_name: str) -> str:
    """Returns why a layer that has no handler cannot be exported, and what to do about it.

    Args:
        class_name: String, the name of its class.
    """
    known = hint(class_name)
    return known or f"there is no exporter for this layer; use {names_of(HANDLERS)}"
