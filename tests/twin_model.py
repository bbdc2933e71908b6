"""The model that the tests of saving and of the two flavors use.

As a script it does in a process of its own what a user would: `archive` loads a saved model by the
names that Keras wrote, `weights` builds the model anew and loads its weights, and `save` writes
new weights. Each predicts.
"""

import sys

import numpy as np

from keras_fastgrnn import FastGRNN, FastGRNNCell, FastRNN, FastRNNCell, keras, quant_tanh
from keras_fastgrnn import quantization as quantization  # a .h5 names its layers, not their modules
from keras_fastgrnn.keras_api import FLAVOR

STEPS, INPUT_DIM = 7, 4


def build():
    """A model with both layers, both cells, wrappers, and every one of our names."""
    layers = keras.layers
    cells = [FastGRNNCell(5, "quant_tanh", "quant_sigmoid"), FastRNNCell(6, kernel_rank=2)]
    low_rank = FastRNN(4, "quant_sigmoid4", recurrent_rank=2, return_sequences=True)
    return keras.Sequential(
        [
            layers.Input((STEPS, INPUT_DIM)),
            FastGRNN(6, kernel_rank=3, recurrent_rank=4, return_sequences=True, name="grnn"),
            layers.Bidirectional(low_rank, name="both_ways"),
            layers.RNN(cells, return_sequences=True, name="stacked"),
            layers.RNN(FastGRNNCell(5, use_bias=False), name="wrapped"),
            layers.Dense(3, activation=quant_tanh, name="dense"),
            layers.Activation("softmax", name="softmax"),
        ]
    )


def build_drawn(seed=0):
    """The model with weights that are all drawn."""
    model = build()
    rng = np.random.default_rng(seed)
    model.set_weights([rng.normal(0.0, 0.5, w.shape) for w in model.get_weights()])
    return model


def inputs():
    """Two batches of sequences."""
    return np.random.default_rng(1).normal(size=(8, STEPS, INPUT_DIM)).astype("float32")


def main(what, file, output):
    if what == "archive":
        model = keras.models.load_model(file)
    elif what == "weights":
        model = build()
        model.load_weights(file)
    else:
        model = build_drawn()
        model.save_weights(file)
    arrays = {f"{index:02}": array for index, array in enumerate(model.get_weights())}
    np.savez(output, y=model(inputs()), **arrays)
    print(FLAVOR)


if __name__ == "__main__":
    main(*sys.argv[1:])
