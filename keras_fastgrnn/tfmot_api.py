"""TensorFlow Model Optimization (TF-MOT), without what its import does to the environment.

It sets `TF_USE_LEGACY_KERAS`, which every child process would inherit. Every other module takes
`tfmot` from here, once `tf.keras` is chosen, so that the process keeps its Keras; `import
keras_fastgrnn` alone imports neither.

In a Keras 3 process TF-MOT's schedules work; its wrappers take tf_keras models only.
"""

import os

from keras_fastgrnn.cells import FastCell

_SWITCH = "TF_USE_LEGACY_KERAS"

_before = os.environ.get(_SWITCH)
try:
    import tensorflow_model_optimization as tfmot
finally:
    os.environ.pop(_SWITCH, None)
    if _before is not None:
        os.environ[_SWITCH] = _before

# pyright does not see the metaclass, which TF-MOT gives it as Python 2 did.
tfmot.sparsity.keras.PrunableLayer.register(FastCell)  # pyright: ignore[reportAttributeAccessIssue]
