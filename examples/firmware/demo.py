"""A small model as plain C on four bare devices, each in its emulator; prints a table.

    python -m examples.firmware.demo --output build/firmware

Every number that a device computes is compared with the reference, over golden sequences and over
10,000 steps of its own. A device whose tools are missing is named with the packages it wants.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from examples.firmware import firmware
from examples.firmware.golden import checksums_of, generated_inputs, golden_of
from keras_fastgrnn import FastGRNN, export, keras
from keras_fastgrnn.graph import real_values

LONG_RUN_BLOCKS = 100


def model_and_data():
    """Returns a model of 3 channels, 16 units and 6 classes, untrained, and sequences for it."""
    keras.utils.set_random_seed(0)
    recurrent = FastGRNN(16, "quant_tanh", "quant_sigmoid4", kernel_rank=2, recurrent_rank=8)
    layers = [keras.layers.Input((20, 3)), recurrent, keras.layers.Dense(6)]
    x = np.random.default_rng(0).normal(size=(40, 20, 3)).astype("float32")
    return keras.Sequential(layers), x


def main():
    """Builds and runs all images; the exit status tells whether every number was right."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("build/firmware"), help="folder")
    output = parser.parse_args().output
    model, x = model_and_data()
    deployed = export.convert_c(model, x, name="gesture", power_of_two_weights=True)
    inputs = real_values.quantize_input(x, deployed.graph.inputs[0])
    golden = golden_of(deployed, inputs)
    checksums = checksums_of(golden_of(deployed, generated_inputs(LONG_RUN_BLOCKS, 3)))
    print(f"{'':30} {'step':>8} {'output':>8} {'':12} {'flash':>6} {'RAM':>5} {'differ':>7}")
    is_fine = True
    for name, target in firmware.TARGETS.items():
        try:
            result = firmware.test(target, deployed, golden, checksums, folder=output / name)
        except (firmware.MissingToolError, firmware.FirmwareError) as error:
            print(error)
            is_fine = False
            continue
        is_fine &= result.has_passed
        print(
            f"{target.title:30} {result.step:8,.0f} {result.output:8,.0f} {target.unit:12} "
            f"{result.flash:6,} {result.ram:5,} {result.differences:7,} of {result.compared:,}"
        )
    sys.exit(0 if is_fine else 1)


if __name__ == "__main__":
    main()
