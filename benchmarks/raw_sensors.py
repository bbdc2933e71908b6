"""Quantization-aware training on raw sensor values: accuracy before and after two epochs of it.

    python -m benchmarks.raw_sensors [--epochs N] [--fine-epochs N]

Four classes of noisy sines, three channels in the unit of some sensor: their deviation is 0.01, 1,
100 or 10,000, and their mean twice that. A Normalization layer in front of each model makes them
numbers of the order of 1, and is folded on the device. Each model is trained in float, and then
quantization-aware at an ordinary learning rate; accuracies are those on other sequences, after
training on the device's own integers. "apart" are channels whose deviations differ by 30 and 1000.
"""

import argparse
import warnings
from dataclasses import dataclass

import numpy as np

from benchmarks.command_line import positive_integer
from keras_fastgrnn import FastGRNN, FastRNN, export, keras
from keras_fastgrnn.keras_api import FLAVOR
from keras_fastgrnn.quantization import quantize_aware

CLASSES, STEPS, CHANNELS = 4, 24, 3
SEQUENCES = 640
BATCH = 32
LEARNING_RATE, FINE_LEARNING_RATE = 1e-2, 1e-3
EPOCHS, FINE_EPOCHS = 12, 2
QUANTIZATIONS = ("int16x8", "int8")
SCALES = (1e-2, 1.0, 1e2, 1e4)
APART = (1.0, 30.0, 1000.0)
OFFSET = 2.0
_LAYERS = keras.layers
MODELS = {
    "FastGRNN": lambda: [FastGRNN(16)],
    "FastRNN": lambda: [FastRNN(16, alpha_initializer=-1.0, beta_initializer=1.0)],
    "low rank": lambda: [FastGRNN(16, kernel_rank=2, recurrent_rank=6)],
    "two layers": lambda: [FastGRNN(12, return_sequences=True), FastGRNN(12)],
    "Dense first": lambda: [_LAYERS.Dense(6, "tanh"), FastGRNN(16)],
    "Dropout": lambda: [_LAYERS.Dropout(0.1), FastGRNN(16, dropout=0.1)],
}

# How much accuracy quantization-aware training may cost.
LIMIT = 0.02


@dataclass(frozen=True)
class Accuracies:
    """Accuracies of one model: in float, and quantization-aware before and after training."""

    float_model: float
    before: dict[str, float]
    after: dict[str, float]


def make_data(seed: int, scale, sequences: int = SEQUENCES) -> tuple[np.ndarray, np.ndarray]:
    """Returns sequences of shape `(sequences, STEPS, CHANNELS)` and their classes."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, CLASSES, sequences)
    frequencies = np.array([0.05, 0.08, 0.11, 0.14])[y]
    phases = rng.uniform(0.0, np.pi, (sequences, 1, CHANNELS))
    angles = 2.0 * np.pi * frequencies[:, np.newaxis, np.newaxis] * np.arange(STEPS)[:, np.newaxis]
    x = np.sin(angles + phases) + rng.normal(0.0, 0.5, phases.shape[:1] + (STEPS, CHANNELS))
    return ((x + OFFSET) * scale).astype(np.float32), y


def measured(
    name: str,
    scale,
    epochs: int = EPOCHS,
    fine_epochs: int = FINE_EPOCHS,
    quantizations=QUANTIZATIONS,
) -> Accuracies:
    """Trains one model and returns its accuracies.

    Args:
        name: String, a key of `MODELS`.
        scale: Number, or one for each channel, the deviation of the sines.
        epochs: Integer, of training in float.
        fine_epochs: Integer, of quantization-aware training.
        quantizations: Some of `QUANTIZATIONS`.
    """
    keras.utils.set_random_seed(0)
    (x, y), other = make_data(0, scale), make_data(1, scale)
    normalization = _LAYERS.Normalization()
    normalization.adapt(x)
    layers = [_LAYERS.Input((STEPS, CHANNELS)), normalization, *MODELS[name]()]
    model = keras.Sequential([*layers, _LAYERS.Dense(CLASSES)])
    _fit(model, x, y, LEARNING_RATE, epochs)
    before, after = {}, {}
    for quantization in quantizations:
        aware = quantize_aware(model, quantization, calibration_data=x[:128])
        before[quantization] = accuracy(aware.predict(other[0], verbose=0), other[1])
        _fit(aware, x, y, FINE_LEARNING_RATE, fine_epochs)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", export.SaturationWarning)
            answers = export.convert(aware).predict(other[0], on="reference")
        after[quantization] = accuracy(answers, other[1])
    return Accuracies(accuracy(model.predict(other[0], verbose=0), other[1]), before, after)


def _fit(model, x, y, learning_rate: float, epochs: int) -> None:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(learning_rate), loss)
    model.fit(x, y, epochs=epochs, batch_size=BATCH, verbose=0)


def accuracy(logits: np.ndarray, y: np.ndarray) -> float:
    """Returns the part of the sequences whose class is the largest logit's."""
    return float(np.mean(logits.argmax(axis=-1) == y))


def row(name: str, scale, found: Accuracies) -> str:
    """Returns a line to print: accuracies in percent, and whether training cost too much."""
    cells = [f"{name:12}{scale!s:>8}{100 * found.float_model:8.1f}"]
    for quantization, after in found.after.items():
        verdict = "ok" if after >= found.float_model - LIMIT else "LOST"
        cells.append(f"{100 * found.before[quantization]:9.1f}{100 * after:7.1f} {verdict:4}")
    return "".join(cells)


def main() -> None:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    add, count = parser.add_argument, positive_integer
    add("--epochs", type=count, default=EPOCHS, help="of training in float; default: 12")
    add("--fine-epochs", type=count, default=FINE_EPOCHS, help="quantization-aware; default: 2")
    given = parser.parse_args()
    print(f"{FLAVOR}; accuracy in percent, quantization-aware before and after training")
    print(
        f"{'model':12}{'scale':>8}{'float':>8}" + "".join(f"{q:>14}       " for q in QUANTIZATIONS)
    )
    for name in MODELS:
        for scale in (*SCALES, "apart"):
            channels = APART if scale == "apart" else scale
            found = measured(name, channels, given.epochs, given.fine_epochs)
            print(row(name, scale, found), flush=True)


if __name__ == "__main__":
    main()
