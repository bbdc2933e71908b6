"""What quantization-aware training costs: steps per second, against float training.

    python -m benchmarks.quantization_cost [--rounds N] [--steps N]

Trains FastGRNN and a Dense head (batch 64, 128 steps of 9 channels, 32 units, 2 classes) in float,
int16x8 and int8, without and with `jit_compile`, in turn: a block of training steps of each model a
round. Prints the median speed of each, and the median over rounds of how much longer a step takes
than float's of the same round.
"""

import argparse
import statistics
import time

import numpy as np

from benchmarks.command_line import positive_integer
from keras_fastgrnn import FastGRNN, keras
from keras_fastgrnn.keras_api import FLAVOR
from keras_fastgrnn.quantization import quantize_aware

BATCH, TIME_STEPS, CHANNELS, UNITS, CLASSES = 64, 128, 9, 32, 2
ROUNDS, TRAINING_STEPS = 7, 20
KINDS = ("float", "int16x8", "int8")

# What a step may take at most, as a multiple of float's, by jit_compile.
LIMITS = {False: 3.0, True: 2.5}


def make_model(kind: str, jit_compile: bool, x: np.ndarray):
    """Returns a compiled model of one of the `KINDS`."""
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Input((TIME_STEPS, CHANNELS)), FastGRNN(UNITS)]
    model = keras.Sequential([*layers, keras.layers.Dense(CLASSES)])
    if kind != "float":
        model = quantize_aware(model, kind, calibration_data=x[:BATCH])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss, jit_compile=jit_compile)
    return model


def seconds_a_step(model, x: np.ndarray, y: np.ndarray) -> float:
    """Returns how long a training step takes, from one pass over the data."""
    begin = time.perf_counter()
    model.fit(x, y, batch_size=BATCH, epochs=1, shuffle=False, verbose=0)
    return (time.perf_counter() - begin) / (len(x) / BATCH)


def measured(rounds: int, steps: int) -> dict[tuple[str, bool], list[float]]:
    """Returns the seconds a step of every model, in every round."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(steps * BATCH, TIME_STEPS, CHANNELS)).astype("float32")
    y = rng.integers(0, CLASSES, len(x))
    models = {(kind, jit): make_model(kind, jit, x) for jit in LIMITS for kind in KINDS}
    for model in models.values():
        seconds_a_step(model, x[:BATCH], y[:BATCH])  # compiles
    seconds = {key: [] for key in models}
    for _ in range(rounds):
        for key, model in models.items():
            seconds[key].append(seconds_a_step(model, x, y))
    return seconds


def table(seconds: dict[tuple[str, bool], list[float]]) -> str:
    """Returns the lines to print."""
    lines = [f"{FLAVOR}, batch {BATCH}, T {TIME_STEPS}, D {CHANNELS}, H {UNITS}, FastGRNN + Dense"]
    for (kind, jit), times in seconds.items():
        ratios = [a / b for a, b in zip(times, seconds["float", jit], strict=True)]
        ratio = statistics.median(ratios)
        verdict = "" if kind == "float" else f"{ratio:6.2f} x float, at most {LIMITS[jit]}"
        speed = 1.0 / statistics.median(times)
        title = f"{kind}, {'with' if jit else 'without'} jit_compile"
        lines.append(f"{title:28} {speed:7.1f} steps/s {verdict}".rstrip())
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--rounds", type=positive_integer, default=ROUNDS, help="blocks of each model"
    )
    parser.add_argument(
        "--steps", type=positive_integer, default=TRAINING_STEPS, help="steps in a block"
    )
    arguments = parser.parse_args()
    print(table(measured(arguments.rounds, arguments.steps)))


if __name__ == "__main__":
    main()
