"""A small model, data for it, and a callback that keeps what training does to its weights."""

import numpy as np
from small_models import compile_to_fit

from keras_fastgrnn import FastGRNN, keras
from keras_fastgrnn.models import weight_name

BATCH, STEPS, CHANNELS, UNITS = 8, 5, 3, 10


def model_of(layer=None, optimizer="adam", dtype=None, **compile_arguments):
    """A compiled model of a recurrent layer and a classifier."""
    layer = FastGRNN(UNITS) if layer is None else layer
    head = keras.layers.Dense(2, name="head", dtype=dtype)
    model = keras.Sequential([keras.layers.Input((STEPS, CHANNELS)), layer, head])
    compile_to_fit(model, optimizer, "mse", **compile_arguments)
    return model


def batches(count, seed=0):
    """Inputs and targets of so many batches."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count * BATCH, STEPS, CHANNELS)).astype("float32")
    return x, rng.normal(0.0, 4.0, (count * BATCH, 2)).astype("float32")


def weights_by_name(model):
    """Copies of the trainable weights: the last part of their names, with "head_" at the head's."""
    found = {}
    for weight in model.trainable_weights:
        name = weight_name(weight).split("/")
        prefix = "head_" if "head" in name else ""
        found[prefix + name[-1]] = weight.numpy().copy()
    return found


class Recorder(keras.callbacks.Callback):
    """Keeps the weights after every step."""

    def __init__(self):
        super().__init__()
        self.history = []

    def on_train_batch_end(self, batch, logs=None):
        self.history.append(weights_by_name(self.model))


def train(model, data, *callbacks, epochs=1):
    """Trains without shuffling, and returns the weights after every step."""
    recorder = Recorder()
    callbacks = [*callbacks, recorder]
    x, y = data
    settings = {"batch_size": BATCH, "epochs": epochs, "shuffle": False, "verbose": 0}
    model.fit(x, y, callbacks=callbacks, **settings)
    return recorder.history
