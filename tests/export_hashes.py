"""Prints a hash of every file that 40 seeded models are exported to.

Two runs before and after a change that ought not to change any export are compared with `diff`:

    PYTHONPATH=tests python tests/export_hashes.py > before.txt
"""

import hashlib
import os
import tempfile
import warnings
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from keras_fastgrnn import FastGRNN, FastGRNNCell, FastRNN, export, keras
from keras_fastgrnn.quantization import quantize_aware

L = keras.layers

# From a name to what makes the layers between the input and a Dense layer of three units.
CHAINS = {
    "fastgrnn": lambda: [FastGRNN(8)],
    "fastgrnn_low_rank": lambda: [FastGRNN(12, kernel_rank=3, recurrent_rank=5)],
    "fastgrnn_hard": lambda: [
        FastGRNN(8, activation="quant_tanh", recurrent_activation="quant_sigmoid")
    ],
    "fastgrnn_two": lambda: [L.RNN([FastGRNNCell(8), FastGRNNCell(6)])],
    "fastgrnn_sequences": lambda: [FastGRNN(8, return_sequences=True), L.Dropout(0.3), FastGRNN(5)],
    "fastrnn": lambda: [FastRNN(8)],
    "fastrnn_relu": lambda: [FastRNN(8, activation="relu")],
    "normalized": lambda: [_normalization(), FastGRNN(8)],
    "rescaled": lambda: [L.Rescaling(0.5, 0.25), FastGRNN(8, use_bias=False)],
    "gru": lambda: [L.GRU(7)],
    "gru_before": lambda: [L.GRU(7, reset_after=False)],
    "lstm": lambda: [L.LSTM(6)],
    "simple_rnn": lambda: [L.SimpleRNN(9)],
    "dense_first": lambda: [L.Dense(6, activation="relu"), FastGRNN(8)],
}
TRAINED = (
    "fastgrnn",
    "fastgrnn_low_rank",
    "fastgrnn_hard",
    "fastgrnn_two",
    "fastrnn",
    "normalized",
)
# Those exported in all modes.
FORMS_OF = ("fastgrnn", "lstm", "dense_first")


def _normalization():
    return L.Normalization(mean=[0.1, -0.2, 0.3, 0.0], variance=[1.0, 2.0, 0.5, 1.5])


def made(name: str):
    """Returns the model of a chain, with weights and data drawn by its name alone."""
    rng = np.random.default_rng(int(hashlib.sha256(name.encode()).hexdigest()[:8], 16))
    model = keras.Sequential([L.Input((20, 4)), *CHAINS[name](), L.Dense(3)])
    for variable in model.trainable_weights:
        shape = tuple(variable.shape)
        scalar_or_bias = len(shape) < 2 or 1 in shape
        scale = 0.3 if scalar_or_bias else 1.0 / np.sqrt(shape[0])
        offset = np.asarray(variable) if shape in ((), (1,), (1, 1)) else 0.0
        variable.assign((offset + rng.normal(scale=scale, size=shape)).astype("float32"))
    return model, rng.normal(size=(40, 20, 4)).astype("float32")


def exports():
    """Yields a name and what `convert` or `convert_c` returned, for every export."""
    for name in CHAINS:
        model, x = made(name)
        for quantization in ("int16x8", "int8"):
            yield f"{name} {quantization}", export.convert(model, x, quantization=quantization)
        yield f"{name} c", export.convert_c(model, x)
        if name in FORMS_OF:
            yield f"{name} float32", export.convert(model, quantization=None)
            yield f"{name} sequence", export.convert(model, x, mode="sequence")
            yield (
                f"{name} explicit",
                export.convert(model, x, quantization="int8", state="explicit"),
            )
    for name in TRAINED:
        model, x = made(name)
        for quantization in ("int16x8", "int8"):
            aware = quantize_aware(model, quantization, calibration_data=x)
            yield f"{name} trained {quantization}", export.convert(aware, x)
            if quantization == "int16x8":
                yield f"{name} trained c", export.convert_c(aware, x)


def main():
    warnings.simplefilter("ignore")
    for name, exported in exports():
        with tempfile.TemporaryDirectory() as folder:
            exported.save(folder)
            for file in sorted(Path(folder).iterdir()):
                if file.suffix in (".tflite", ".c", ".h", ".cc"):
                    text = file.read_bytes()
                    print(
                        f"{name}: {file.name} {hashlib.sha256(text).hexdigest()[:16]}", flush=True
                    )


if __name__ == "__main__":
    main()
