"""What a step of plain C costs: cycles, instructions, flash and RAM, on devices in emulators.

    python -m benchmarks.plain_c_cost [--output FILE]

Exports untrained models with `export.convert_c`, runs each in `examples/firmware`, which compares
every number with the reference, and writes `benchmarks/PLAIN_C.md`. Needs the tools that
`examples/firmware/README.md` names.
"""

import argparse
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.command_line import output_file
from examples.firmware import firmware
from examples.firmware.golden import checksums_of, generated_inputs, golden_of
from keras_fastgrnn import FastGRNN, export, keras, sparsity
from keras_fastgrnn.export.files import write_all
from keras_fastgrnn.graph import real_values
from keras_fastgrnn.quantization import quantize_aware

DOCUMENT = Path("benchmarks/PLAIN_C.md")
OPTIMIZATION = "-O2"
STEPS = 20
SMOOTH, PIECEWISE_LINEAR = ("tanh", "sigmoid"), ("quant_tanh", "quant_sigmoid4")
SIZES, DENSITIES = (8, 16, 32), (1.0, 0.5, 0.25)
KEPT = {"kernel": 0.2, "recurrent_kernel": 0.3}
COMPRESSED = {
    "HAR-2, the paper's setting: D 9, H 80, ranks 5 and 40, kept .2 and .3": {
        "input_dim": 9,
        "layer": {"units": 80, "kernel_rank": 5, "recurrent_rank": 40},
    },
    "the size of a wake word: D 32, H 32, ranks 10 and 15, kept .2 and .3": {
        "input_dim": 32,
        "layer": {"units": 32, "kernel_rank": 10, "recurrent_rank": 15},
    },
}

_TEXT = """# Plain C on small devices

Measured by `python -m benchmarks.plain_c_cost`: untrained models with weights of normal noise,
exported by `export.convert_c(..., power_of_two_weights=True)` and run in emulators by
`examples/firmware`, which compared {compared:,} numbers with the reference: 0 differ. Cycles are
simavr's, exact; instructions are QEMU's, right to about one. Both are means over {steps:,} steps
with inputs of every size. "flash" is all of the generated object, code and constants; "RAM" is the
state and the deeper stack of step and output.

{compilers}

## A classifier of 3 channels

D 3, H 16, rank 2 of W and 8 of U, 6 classes.

| nonlinearities | device | a step | output | | flash | RAM |
|---|---|---|---|---|---|---|
{small}

## A gesture model

D 9, H 16, full rank, smooth, 2 classes.

| device | a step | output | both | | flash | RAM |
|---|---|---|---|---|---|---|
{gesture}

## Cost against size

D 9, full rank, smooth, {m4}, {long_steps:,} steps. The smallest of
the weights of W and U are set to zero. "stored" are the constants of the whole model with a head of
2 classes.

| H | kept | weights kept | instructions a step | for each kept weight | W | U | stored |
|---|---|---|---|---|---|---|---|
{sizes}

## What compressed models store

Random weights at the settings' density, biases of one byte, powers of two, a head of 2 classes:
everything a model stores but the table of the smooth nonlinearities, which is 512 bytes once. "by
the paper" is the count of Kusupati et al. 2018 with one-byte biases: an index of a byte for each
weight kept.

| model | bits of a weight | weights kept | stored | by the paper |
|---|---|---|---|---|
{stored}
"""


@dataclass(frozen=True)
class Case:
    """An exported model with what a device must compute."""

    deployed: export.PlainCModel
    golden: object
    checksums: list[int]

    def run(self, device: str) -> firmware.Result:
        """Returns what a device did; ends the program where a number differs."""
        target = firmware.TARGETS[device]
        result = firmware.test(target, self.deployed, self.golden, self.checksums, OPTIMIZATION)
        if not result.has_passed:
            raise SystemExit(f"{target.title}: {result.differences} numbers differ")
        _compared.append(result.compared)
        return result


_compared: list[int] = []


def make_case(
    input_dim: int,
    units: int,
    nonlinearities: tuple[str, str],
    classes: int,
    density: float = 1.0,
    blocks: int = 100,
    **ranks,
) -> Case:
    """Exports an untrained FastGRNN with a Dense head."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    layers = [FastGRNN(units, *nonlinearities, **ranks), keras.layers.Dense(classes)]
    model = keras.Sequential([keras.layers.Input((STEPS, input_dim)), *layers])
    for weight in model.trainable_weights:
        values = weight.numpy() + rng.normal(0.0, 0.1, weight.shape)
        if values.ndim == 2 and values.shape[1] == units:
            values *= np.abs(values) >= np.quantile(np.abs(values), 1.0 - density)
        weight.assign(values)
    x = rng.normal(size=(32, STEPS, input_dim)).astype("float32")
    deployed = export.convert_c(model, x, name="model", power_of_two_weights=True)
    golden = golden_of(deployed, real_values.quantize_input(x, deployed.graph.inputs[0]))
    long_run = golden_of(deployed, generated_inputs(blocks, input_dim))
    return Case(deployed, golden[:8], checksums_of(long_run))


def small_rows() -> list[str]:
    rows = []
    for title, functions in (("piecewise-linear", PIECEWISE_LINEAR), ("smooth", SMOOTH)):
        case = make_case(3, 16, functions, 6, kernel_rank=2, recurrent_rank=8)
        for device, target in firmware.TARGETS.items():
            result = case.run(device)
            rows.append(
                f"| {title} | {target.title} | {result.step:,.0f} | {result.output:,.0f} | "
                f"{target.unit} | {result.flash:,} | {result.ram:,} |"
            )
    return rows


def gesture_rows() -> list[str]:
    case = make_case(9, 16, SMOOTH, 2)
    rows = []
    for device, target in firmware.TARGETS.items():
        result = case.run(device)
        rows.append(
            f"| {target.title} | {result.step:,.0f} | {result.output:,.0f} | "
            f"{result.step + result.output:,.0f} | {target.unit} | {result.flash:,} | "
            f"{result.ram:,} |"
        )
    return rows


def size_rows(blocks: int) -> list[str]:
    rows = []
    for units in SIZES:
        for density in DENSITIES:
            case = make_case(9, units, SMOOTH, 2, density, blocks)
            result = case.run("cortex-m4")
            report = case.deployed.report
            kernel, recurrent, _ = report.matrices
            kept = kernel["kept"] + recurrent["kept"]
            rows.append(
                f"| {units} | {density:g} | {kept:,} | {result.step:,.0f} | "
                f"{result.step / kept:.2f} | {kernel['storage']} | {recurrent['storage']} | "
                f"{sum(report.constant_bytes.values()):,} |"
            )
    return rows


def compressed(settings: dict):
    """Returns a model with random weights of the settings' density."""
    rng = np.random.default_rng(0)
    layer = FastGRNN(**settings["layer"])
    shape = STEPS, settings["input_dim"]
    model = keras.Sequential([keras.layers.Input(shape), layer, keras.layers.Dense(2)])
    cell = layer.cell
    for factors, kept in (
        (cell.kernel_factors, KEPT["kernel"]),
        (cell.recurrent_factors, KEPT["recurrent_kernel"]),
    ):
        for factor in factors:
            values = rng.normal(0.0, 0.1, factor.shape)
            factor.assign(values * (np.abs(values) > np.quantile(np.abs(values), 1.0 - kept)))
    for bias in (cell.gate_bias, cell.candidate_bias):
        bias.assign(1.0 + rng.normal(0.0, 0.1, bias.shape))
    return model, rng.normal(size=(16, *shape)).astype("float32")


def stored_rows() -> list[str]:
    rows = []
    for title, settings in COMPRESSED.items():
        model, x = compressed(settings)
        for bits in (8, 4):
            aware = quantize_aware(
                model,
                "int16x8",
                weight_bits=bits,
                power_of_two_weights=True,
                byte_biases=True,
                calibration_data=x,
            )
            report = export.convert_c(aware).report
            stored = sum(report.constant_bytes.values()) - report.constant_bytes["sigmoid_table"]
            paper = sparsity.report(aware, weight_bits=bits, bias_bytes=1).total_bytes["paper"]
            kept = sum(matrix["kept"] for matrix in report.matrices)
            rows.append(f"| {title} | {bits} | {kept:,} | {stored:,} | {paper:,} |")
    return rows


def compilers() -> str:
    """Returns each compiler's version, and the flags of each device."""
    flags = " ".join((OPTIMIZATION, *firmware.MODEL_FLAGS))
    lines = []
    for target in firmware.TARGETS.values():
        version = subprocess.run(
            [target.compiler, "-dumpfullversion", "-dumpversion"], capture_output=True, text=True
        ).stdout.split()[0]
        machine = " ".join(target.machine)
        lines.append(f"- {target.title}: `{target.compiler} {machine} {flags}` ({version})")
    return "\n".join(lines)


def main():
    """Measures everything and writes the document."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--output", type=output_file, default=DOCUMENT, help="Markdown file to write"
    )
    output = parser.parse_args().output
    blocks = 20
    try:
        for target in firmware.TARGETS.values():
            firmware.check_tools(target)
    except firmware.MissingToolError as error:
        parser.error(str(error))
    rows = {
        "small": "\n".join(small_rows()),
        "gesture": "\n".join(gesture_rows()),
        "sizes": "\n".join(size_rows(blocks)),
        "stored": "\n".join(stored_rows()),
    }
    text = _TEXT.format(
        **rows,
        compilers=compilers(),
        compared=sum(_compared),
        steps=10_000,
        long_steps=100 * blocks,
        m4=firmware.TARGETS["cortex-m4"].title,
    )
    write_all(output.parent, {output.name: text.encode()}, True)
    print(text)


if __name__ == "__main__":
    main()
