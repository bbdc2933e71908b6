"""Fits and tests the estimate of `keras_fastgrnn.recipe.step_cost` on models that ran in QEMU.

    python -m benchmarks.step_cost_fit [--models 120]

Exports random layers as plain C, counts the instructions of a step on a Cortex-M4, and prints the
coefficients of the least relative squares, the error of the estimate, and where it is largest.
Needs the tools that `examples/firmware/README.md` names.
"""

import argparse
import warnings
from dataclasses import dataclass

import numpy as np

from benchmarks.command_line import positive_integer
from examples.firmware import firmware
from examples.firmware.golden import checksums_of, generated_inputs, golden_of
from keras_fastgrnn import FastGRNN, FastRNN, export, keras, storage
from keras_fastgrnn.graph import real_values
from keras_fastgrnn.models import fast_cells
from keras_fastgrnn.recipe import step_cost

STEPS, BLOCKS = 20, 5
SMOOTH, PIECEWISE_LINEAR = ("tanh", "sigmoid"), ("quant_tanh", "quant_sigmoid4")
CHANNELS, UNITS = (3, 9, 16, 32), (6, 8, 13, 16, 24, 32, 48)
KEPT = (1.0, 1.0, 0.6, 0.4, 0.25, 0.1, 0.05)
FEATURES = (
    "a row of a matrix",
    *(cost.title for one in storage.STORAGES for cost in one.costs),
    "a unit of FastGRNN",
    "a unit of FastRNN",
    "a tanh or sigmoid of a unit",
)


@dataclass(frozen=True)
class Measurement:
    """A layer that ran on the emulated device.

    Attributes:
        title: String.
        counts: List of numbers, one for each of `FEATURES`.
        instructions: Float, of a step, as QEMU counted.
        estimate: Float, of `step_cost.plain_c_instructions`.
    """

    title: str
    counts: list[int]
    instructions: float
    estimate: float

    @property
    def error(self) -> float:
        """How far the estimate is off, as a fraction of the instructions."""
        return self.estimate / self.instructions - 1.0


def random_model(rng):
    """Returns a random sparse model, and what it is."""
    channels, units = int(rng.choice(CHANNELS)), int(rng.choice(UNITS))
    functions = SMOOTH if rng.random() < 0.6 else PIECEWISE_LINEAR
    ranks = {
        "kernel_rank": int(rng.integers(1, min(channels, units) + 1)),
        "recurrent_rank": int(rng.integers(2, units // 2 + 1)),
    }
    ranks = {name: rank for name, rank in ranks.items() if rng.random() < 0.5}
    is_gated = rng.random() < 0.67
    layer = (
        FastGRNN(units, *functions, **ranks) if is_gated else FastRNN(units, functions[0], **ranks)
    )
    model = keras.Sequential([keras.layers.Input((STEPS, channels)), layer, keras.layers.Dense(2)])
    for weight in model.trainable_weights:
        weight.assign(rng.normal(0.0, 0.2, tuple(weight.shape)))
    (cell,) = fast_cells(model)
    kept, is_in_blocks = rng.choice(KEPT, 2), rng.random() < 0.3
    for factors, fraction in zip((cell.kernel_factors, cell.recurrent_factors), kept, strict=True):
        for factor in factors:
            values = factor.numpy()
            size = np.abs(values)
            if is_in_blocks:  # of four inputs, which their first decides
                size = np.repeat(size[::4], 4, axis=0)[: len(size)]
            factor.assign(values * (size >= np.quantile(size, 1.0 - fraction)))
    title = f"{type(layer).__name__} D {channels} H {units} {functions[0]} {ranks} kept {kept}"
    title += " in blocks" if is_in_blocks else ""
    return model, title


def measure(model, title: str, seed: int = 0) -> Measurement:
    """Counts the instructions of a model's step on the emulated device.

    Args:
        model: Keras model of one FastRNN or FastGRNN layer and a Dense layer.
        title: String.
        seed: Integer. Defaults to 0.
    """
    shape = model.input_shape[1:]
    x = np.random.default_rng(seed).normal(size=(32, *shape)).astype("float32")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", export.PrecisionWarning)  # of random weights
        deployed = export.convert_c(model, x, name="model", power_of_two_weights=True)
    golden = golden_of(deployed, real_values.quantize_input(x, deployed.graph.inputs[0]))[:2]
    checksums = checksums_of(golden_of(deployed, generated_inputs(BLOCKS, shape[-1])))
    result = firmware.test(firmware.TARGETS["cortex-m4"], deployed, golden, checksums, "-O2")
    if not result.has_passed:
        raise SystemExit(f"{title}: {result.differences} numbers differ")
    *matrices, _ = deployed.report.matrices
    counts = counted(fast_cells(model)[0], matrices)
    return Measurement(title, counts, result.step, step_cost.plain_c_instructions(model))


def counted(cell, matrices) -> list[int]:
    """Returns how often each of `FEATURES` occurs in what was exported of a cell."""
    counts = dict.fromkeys(FEATURES, 0)
    for matrix in matrices:
        rows, columns = matrix["shape"]
        counts["a row of a matrix"] += rows
        (stored,) = (one for one in storage.STORAGES if one.name == matrix["storage"])
        for cost in stored.costs:
            counts[cost.title] += cost.count(rows, columns, matrix["kept"])
    functions = [getattr(cell, name, None) for name in ("activation", "recurrent_activation")]
    smooth = [keras.activations.tanh, keras.activations.sigmoid]
    kind = "a unit of FastGRNN" if functions[1] else "a unit of FastRNN"
    counts[kind] = cell.units
    counts["a tanh or sigmoid of a unit"] = cell.units * sum(f in smooth for f in functions)
    return list(counts.values())


def _first_error(error) -> str:
    lines = [line for line in str(error).splitlines() if "error:" in line]
    return lines[0] if lines else str(error)


def main():
    """Measures random models and prints the fit."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=positive_integer, default=120, help="how many; 120")
    arguments = parser.parse_args()
    try:
        firmware.check_tools(firmware.TARGETS["cortex-m4"])
    except firmware.MissingToolError as error:
        parser.error(str(error))
    rng = np.random.default_rng(0)
    measured = []
    for _ in range(arguments.models):
        model, title = random_model(rng)
        try:
            measured.append(measure(model, title))
        except firmware.FirmwareError as error:
            print(f"left out: {title}: {_first_error(error)}")
    relative = np.array([one.counts for one in measured], float)
    relative /= np.array([[one.instructions] for one in measured])
    coefficients, *_ = np.linalg.lstsq(relative, np.ones(len(measured)), rcond=None)
    for name, coefficient in zip(FEATURES, coefficients, strict=True):
        print(f"{name:34} {coefficient:6.1f}")
    errors = np.array([abs(one.error) for one in measured])
    print(f"estimate off by {np.median(errors):.1%} in the median, {errors.max():.1%} at most:")
    for one in sorted(measured, key=lambda one: -abs(one.error))[:5]:
        print(f"{one.error:+7.1%}  {one.instructions:7,.0f}  {one.title}")


if __name__ == "__main__":
    main()
