"""Quantization-aware training of every recurrent cell: how near the device comes to the model.

    python -m benchmarks.aware_cells [--task NAME] [--units N] [--epochs N] [--fine-epochs N]

Each cell is trained in float and then quantization-aware, and exported. All test sequences run
through TFLite Micro and through the quantization-aware Keras model: how many have the same class,
how far the logits are apart (the 99th percentile, as a part of the range of the model's logits),
and both accuracies.
"""

import argparse
import warnings
from dataclasses import dataclass

import numpy as np

from benchmarks import tasks
from benchmarks.command_line import positive_integer
from benchmarks.raw_sensors import QUANTIZATIONS, accuracy
from keras_fastgrnn import FastGRNN, FastRNN, export, keras
from keras_fastgrnn.keras_api import FLAVOR
from keras_fastgrnn.quantization import quantize_aware

TASK = "har"
UNITS, EPOCHS, FINE_EPOCHS, BATCH = 16, 10, 2, 64
LEARNING_RATE, FINE_LEARNING_RATE = 5e-3, 5e-4
CALIBRATION = 256
CELLS = {
    "FastGRNN": FastGRNN,
    "FastRNN": lambda units: FastRNN(units, alpha_initializer=-3.0, beta_initializer=3.0),
    "GRU": keras.layers.GRU,
    "LSTM": keras.layers.LSTM,
    "SimpleRNN": keras.layers.SimpleRNN,
}


@dataclass(frozen=True)
class Nearness:
    """How near a device is to the model it was exported from, on the test sequences.

    Attributes:
        same_class: Float, the part of the sequences with the same class.
        difference: Float, the 99th percentile of the logits' differences, as a part of the range
            of the model's logits.
        model, device: Floats, the accuracies.
        size: Integer, bytes of the `.tflite` file.
    """

    same_class: float
    difference: float
    model: float
    device: float
    size: int


def measured(
    cell: str, task, units: int = UNITS, epochs: int = EPOCHS, fine_epochs: int = FINE_EPOCHS
) -> dict[str, Nearness]:
    """Trains a cell on a task, and compares the model and the device in each quantization.

    Args:
        cell: String, a key of `CELLS`.
        task: `benchmarks.tasks.Task`.
        units: Integer.
        epochs: Integer, of training in float.
        fine_epochs: Integer, of quantization-aware training.
    """
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Input(task.shape), CELLS[cell](units), keras.layers.Dense(task.classes)]
    model = keras.Sequential(layers)
    _fit(model, task.training, LEARNING_RATE, epochs)
    found = {}
    for quantization in QUANTIZATIONS:
        aware = quantize_aware(model, quantization, calibration_data=task.training.x[:CALIBRATION])
        _fit(aware, task.training, FINE_LEARNING_RATE, fine_epochs)
        found[quantization] = _nearness(aware, task.test)
    return found


def _fit(model, part, learning_rate: float, epochs: int) -> None:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(learning_rate, clipnorm=1.0), loss)
    model.fit(part.x, part.y, epochs=epochs, batch_size=BATCH, verbose=0)


def _nearness(aware, test) -> Nearness:
    logits = aware.predict(test.x, batch_size=256, verbose=0)
    deployed = export.convert(aware)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", export.SaturationWarning)
        answers = deployed.predict(test.x)
    difference = np.percentile(np.abs(answers - logits), 99)
    return Nearness(
        same_class=float(np.mean(answers.argmax(axis=1) == logits.argmax(axis=1))),
        difference=float(difference / np.ptp(logits)),
        model=accuracy(logits, test.y),
        device=accuracy(answers, test.y),
        size=len(deployed.tflite),
    )


def row(cell: str, quantization: str, found: Nearness) -> str:
    """Returns a line to print."""
    return (
        f"{cell:10}{quantization:8}{100 * found.same_class:9.2f}{100 * found.difference:9.3f}"
        f"{100 * found.model:9.2f}{100 * found.device:9.2f}{found.size:9,}"
    )


def main() -> None:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    add, count = parser.add_argument, positive_integer
    add("--task", choices=sorted(tasks.TASKS), default=TASK, help=f"default: {TASK}")
    add("--units", type=count, default=UNITS, help=f"of each cell; default: {UNITS}")
    add("--epochs", type=count, default=EPOCHS, help=f"in float; default: {EPOCHS}")
    add("--fine-epochs", type=count, default=FINE_EPOCHS, help=f"default: {FINE_EPOCHS}")
    given = parser.parse_args()
    task = tasks.load(given.task)
    print(f"{FLAVOR}; percent of the test sequences, of the logits' range, and accuracies")
    print(f"{'cell':10}{'':8}{'same':>9}{'apart':>9}{'model':>9}{'device':>9}{'bytes':>9}")
    for cell in CELLS:
        nearness = measured(cell, task, given.units, given.epochs, given.fine_epochs)
        for quantization, found in nearness.items():
            print(row(cell, quantization, found), flush=True)


if __name__ == "__main__":
    main()
