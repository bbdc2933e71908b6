"""What exporting takes: CPU seconds of `import`, `convert` and `predict`.

    python -m benchmarks.convert_time [--models ...] [--sequences N]

Every model reads 64 steps of 9 channels and ends in Dense(4), has Keras's initial weights, and is
calibrated on 200 sequences of N(0, 1). Keras has run it before, and a small model was converted
before, so that nothing is loaded or compiled any more. Then FastGRNN(16) answers to N sequences of
128 steps. CPU seconds are those of all threads of this process, and for plain C of its child, too;
they depend on what else the machine does.
"""

import argparse
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable

import numpy as np

from benchmarks.command_line import positive_integer
from keras_fastgrnn import FastGRNN, export, keras
from keras_fastgrnn.keras_api import FLAVOR

STEPS, CHANNELS, CLASSES, CALIBRATION_SEQUENCES = 64, 9, 4, 200
QUANTIZATIONS = ("int16x8", "int8")
PREDICTED_SEQUENCES, PREDICTED_STEPS = 3000, 128


def lstms(units: int, count: int) -> list:
    """Returns LSTM layers on top of each other."""
    return [keras.layers.LSTM(units, return_sequences=index < count - 1) for index in range(count)]


LAYERS = {
    "FastGRNN(16)": lambda: [FastGRNN(16)],
    "LSTM(64) x 2": lambda: lstms(64, 2),
    "GRU(100), relu": lambda: [keras.layers.GRU(100, activation="relu")],
    "LSTM(128) x 4": lambda: lstms(128, 4),
}

IMPORTS = {
    "TensorFlow's Keras alone": "import tensorflow; tensorflow.keras.layers",
    "keras_fastgrnn": "import keras_fastgrnn",
    "keras_fastgrnn.export": "import keras_fastgrnn.export",
}

# CPU seconds that converting them may take on an idle machine.
LIMITS = {"FastGRNN(16)": 1.5, "LSTM(64) x 2": 4.0, "LSTM(128) x 4": 30.0}


def seeded_model(layers: Callable[[], list], steps: int = STEPS):
    """Returns a model of Keras's initial weights."""
    keras.utils.set_random_seed(0)
    chain = [keras.layers.Input((steps, CHANNELS)), *layers(), keras.layers.Dense(CLASSES)]
    return keras.Sequential(chain)


def sequences(count: int, steps: int = STEPS) -> np.ndarray:
    """Returns sequences of N(0, 1)."""
    shape = count, steps, CHANNELS
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def cpu_seconds(function: Callable[[], object]) -> float:
    """Returns the CPU seconds that a call takes, in all threads and in child processes."""

    def spent():
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.process_time() + children.ru_utime + children.ru_stime

    begin = spent()
    function()
    return spent() - begin


def converting(name: str, quantization: str) -> float:
    """Returns the CPU seconds of converting one of the `LAYERS`."""
    model, x = seeded_model(LAYERS[name]), sequences(CALIBRATION_SEQUENCES)
    model.predict(x, verbose=0)
    return cpu_seconds(lambda: export.convert(model, x, quantization=quantization))


def importing(statements: str) -> float:
    """Returns the CPU seconds of a process of its own that imports something."""
    command = [sys.executable, "-c", statements]
    return cpu_seconds(lambda: subprocess.run(command, check=True, stderr=subprocess.DEVNULL))


def predicting(count: int) -> dict[str, float]:
    """Returns the CPU seconds that answering to so many sequences takes, by what answers."""
    model, x = (
        seeded_model(LAYERS["FastGRNN(16)"], PREDICTED_STEPS),
        sequences(count, PREDICTED_STEPS),
    )
    deployed, plain_c = export.convert(model, x[:64]), export.convert_c(model, x[:64])
    model.predict(x[:2], verbose=0)
    ways = {
        "TFLite Micro": lambda x: deployed.predict(x, verbose=False),
        "reference": lambda x: deployed.predict(x, on="reference", verbose=False),
        "plain C": plain_c.predict,
        "Keras": lambda x: model.predict(x, verbose=0),
    }
    seconds = {}
    for name, predict in ways.items():
        predict(x[:2])  # loads, or compiles
        seconds[name] = cpu_seconds(lambda predict=predict: predict(x))
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--models", nargs="+", choices=list(LAYERS), default=list(LAYERS))
    parser.add_argument(
        "--sequences",
        type=positive_integer,
        default=PREDICTED_SEQUENCES,
        help=f"that predict answers to; default: {PREDICTED_SEQUENCES}",
    )
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", export.PrecisionWarning)  # of random weights
    warnings.simplefilter("ignore", export.SaturationWarning)
    print(f"{FLAVOR}, CPU seconds")
    for name, statements in IMPORTS.items():
        print(f"import {name:27} {importing(statements):6.2f}", flush=True)
    export.convert(seeded_model(LAYERS["FastGRNN(16)"]), sequences(8))
    for name in arguments.models:
        limit = f"  at most {LIMITS[name]}" if name in LIMITS else ""
        for quantization in QUANTIZATIONS:
            seconds = converting(name, quantization)
            print(f"convert {name:18} {quantization:7} {seconds:6.2f}{limit}", flush=True)
    shape = f"{arguments.sequences} x {PREDICTED_STEPS} steps"
    for name, seconds in predicting(arguments.sequences).items():
        print(f"predict {shape} on {name:12} {seconds:6.2f}", flush=True)


if __name__ == "__main__":
    main()
