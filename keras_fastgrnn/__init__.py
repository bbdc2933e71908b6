"""FastRNN and FastGRNN (Kusupati et al., NeurIPS 2018) for Keras, and their way to TFLite Micro.

`keras` here is the Keras of this process (Keras 3, or tf_keras where `TF_USE_LEGACY_KERAS=1`).
`keras_fastgrnn.sparsity`, `low_rank`, `quantization` and `recipe` make a model smaller;
`keras_fastgrnn.export` turns a trained model into what a microcontroller runs. Every class that a
saved model may name is known to Keras once this package is imported.
"""

from keras_fastgrnn import own_command  # noqa: F401  (before TensorFlow)

# isort: split
from keras_fastgrnn.activations import quant_sigmoid, quant_sigmoid4, quant_tanh
from keras_fastgrnn.cells import FastGRNNCell, FastRNNCell
from keras_fastgrnn.keras_api import keras
from keras_fastgrnn.layers import FastGRNN, FastRNN
from keras_fastgrnn.quantization import aware_layers as _registered  # noqa: F401

__version__ = "0.1.0"

__all__ = [
    "FastGRNN",
    "FastGRNNCell",
    "FastRNN",
    "FastRNNCell",
    "keras",
    "quant_sigmoid",
    "quant_sigmoid4",
    "quant_tanh",
]
