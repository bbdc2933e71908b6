"""The one Keras of this process: Keras 3, or tf_keras where `TF_USE_LEGACY_KERAS=1`.

TensorFlow chooses between the two when `tf.keras` is first touched. Every other module takes
`keras` from here, so that one process never holds cells of both.
"""

import tensorflow as tf

keras = tf.keras

IS_TF_KERAS = keras.layers.RNN.__module__.startswith("tf_keras")
FLAVOR = "tf_keras" if IS_TF_KERAS else "Keras 3"

_OTHER_FLAVOR = "Keras 3" if IS_TF_KERAS else "tf_keras"
_SWITCH = "unset TF_USE_LEGACY_KERAS" if IS_TF_KERAS else "set TF_USE_LEGACY_KERAS=1"


def mixed_flavors_message(what: str) -> str:
    """Returns the error text for an object of the other Keras.

    Args:
        what: String, the object that belongs to the other Keras.
    """
    return (
        f"{what} belongs to {_OTHER_FLAVOR}, but keras_fastgrnn runs on {FLAVOR} in this process. "
        f"Build everything with `tf.keras` ({FLAVOR}), or {_SWITCH} before TensorFlow is imported."
    )


def register(function_or_class):
    """Registers a class or function with Keras, so that saved models load without help."""
    return keras.utils.register_keras_serializable(package="keras_fastgrnn")(function_or_class)
