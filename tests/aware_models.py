"""Small quantization-aware models, and how far the device may be from them."""

import numpy as np
from small_models import compile_to_fit, sequences, sequential

from keras_fastgrnn import keras
from keras_fastgrnn.quantization import quantize_aware

STEPS = 8
FORMATS = ["int16x8", "int8"]


def data(count=16, steps=STEPS):
    """Sequences, and what a small model can learn of them."""
    x = sequences(count, steps)
    return x, np.stack([x.mean(axis=(1, 2)), x[:, -1, 0]], axis=1)


def aware(*layers, quantization="int16x8", outputs=2, calibrated=True, spread=0.25, **options):
    """A quantization-aware model of these layers and a Dense head, with drawn weights."""
    model = sequential(*layers, keras.layers.Dense(outputs), steps=STEPS, spread=spread)
    if calibrated:
        options["calibration_data"] = data()[0]
    return quantize_aware(model, quantization, **options)


def fitted(model, epochs=1, learning_rate=1e-3):
    """The model after some training on `data`.

    One epoch is of two batches, which take less time than to make a function of them.
    """
    if getattr(model, "optimizer", None) is None:
        way = {"run_eagerly": True} if epochs == 1 else {"jit_compile": False}
        compile_to_fit(model, keras.optimizers.Adam(learning_rate), "mse", **way)
    x, y = data()
    model.fit(x, y, epochs=epochs, batch_size=8, shuffle=False, verbose=0)
    return model
