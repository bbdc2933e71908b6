"""How far Keras and the device are apart after quantization-aware training, on random models.

    python -m benchmarks.aware_exactness [--models N]

Random models (FastGRNN, FastRNN, both in turn, low rank, every function, Normalization or none,
one matrix or two), trained for an epoch, half of them in int16x8 and half in int8. Keras's answers
to other sequences are compared with the device's integers, in units of the output and as a part of
the outputs' deviation.
"""

import argparse
import warnings
from dataclasses import dataclass

import numpy as np

from benchmarks.command_line import positive_integer
from keras_fastgrnn import FastGRNN, FastRNN, export, keras
from keras_fastgrnn.graph import real_values, reference
from keras_fastgrnn.keras_api import FLAVOR
from keras_fastgrnn.quantization import quantize_aware

MODELS = 100
SEQUENCES, STEPS, CLASSES = 64, 20, 3
QUANTIZATIONS = ("int16x8", "int8")
FUNCTIONS = ("tanh", "sigmoid", "relu", "quant_tanh", "quant_sigmoid", "quant_sigmoid4")
GATES = ("sigmoid", "sigmoid", "quant_sigmoid", "quant_sigmoid4")


@dataclass(frozen=True)
class Difference:
    """How far one model is apart: in units of its outputs, and of their deviation."""

    units: np.ndarray
    part: float


def random_layers(rng: np.random.Generator, input_dim: int) -> list:
    """Returns one or two recurrent layers, with a Normalization before some."""
    layers = []
    if rng.random() < 0.5:
        mean, variance = rng.normal(0.0, 2.0, input_dim), rng.uniform(0.1, 9.0, input_dim)
        layers.append(keras.layers.Normalization(mean=mean, variance=variance))
    count = int(rng.integers(1, 3))
    width = input_dim
    for index in range(count):
        units = int(rng.integers(2, 17))
        arguments = {"return_sequences": index < count - 1, "use_bias": bool(rng.random() < 0.8)}
        if rng.random() < 0.3:
            arguments["kernel_rank"] = int(rng.integers(1, min(width, units) + 1))
            arguments["recurrent_rank"] = int(rng.integers(1, units + 1))
        kind = FastGRNN if rng.random() < 0.6 else FastRNN
        if kind is FastGRNN:
            arguments["recurrent_activation"] = str(rng.choice(GATES))
        # A relu that is not the last layer's may grow without end over the steps.
        functions = FUNCTIONS if index == count - 1 else FUNCTIONS[:2]
        layers.append(kind(units, str(rng.choice(functions)), **arguments))
        width = units
    return layers


def difference(seed: int) -> tuple[str, Difference]:
    """Trains a random model and returns its quantization and how far Keras and device are apart."""
    rng = np.random.default_rng(seed)
    keras.utils.set_random_seed(seed)
    quantization = QUANTIZATIONS[seed % len(QUANTIZATIONS)]
    input_dim = int(rng.integers(1, 7))
    shape = (2 * SEQUENCES, STEPS, input_dim)
    x = (rng.normal(size=shape) * rng.choice([0.3, 1.0, 10.0])).astype(np.float32)
    y = np.tanh(x.mean(axis=1) @ rng.normal(size=(input_dim, CLASSES)))
    layers = random_layers(rng, input_dim)
    head = keras.layers.Dense(CLASSES)
    model = keras.Sequential([keras.layers.Input(shape[1:]), *layers, head])
    for weight in model.trainable_weights:
        if len(weight.shape) == 2:
            weight.assign(rng.normal(0.0, 0.4, tuple(weight.shape)))
    aware = quantize_aware(model, quantization, calibration_data=x[:SEQUENCES])
    aware.compile(keras.optimizers.Adam(1e-3), "mse")
    aware.fit(x[:SEQUENCES], y[:SEQUENCES], batch_size=16, verbose=0)
    other = x[SEQUENCES:]
    graph = export.convert(aware).graph
    integers = reference.run(graph, real_values.quantize_input(other, graph.inputs[0]))[:, -1]
    answers = real_values.dequantize_values(integers, graph.outputs[0])
    apart = np.abs(aware.predict(other, verbose=0) - answers)
    part = float(apart.max() / (np.std(answers) or 1.0))
    return quantization, Difference(apart / graph.outputs[0].scale, part)


def line(quantization: str, found: list[Difference]) -> str:
    """Returns what to print of the models of one quantization."""
    units = np.concatenate([one.units.ravel() for one in found])
    largest = [one.units.max() for one in found]
    parts = [one.part for one in found]
    return (
        f"{quantization:8} {len(found):4} models: {np.mean(units < 0.5):.2%} of the outputs equal, "
        f"99 of 100 within {np.percentile(units, 99):.1f} units, all within {max(largest):.1f}; "
        f"{np.mean(np.less(largest, 0.5)):.0%} of the models equal in all outputs; at most "
        f"{max(parts):.3%} of the outputs' deviation, {np.median(parts):.3%} in the median model"
    )


def main() -> None:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    add = parser.add_argument
    add("--models", type=positive_integer, default=MODELS, help="random models; default: 100")
    given = parser.parse_args()
    found: dict[str, list[Difference]] = {}
    for seed in range(given.models):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", export.SaturationWarning)
            quantization, apart = difference(seed)
        found.setdefault(quantization, []).append(apart)
    print(FLAVOR)
    for quantization, differences in found.items():
        print(line(quantization, differences))


if __name__ == "__main__":
    main()
