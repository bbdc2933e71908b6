"""The dense row of C on each device, in emulators: rows of every length against NumPy's product."""

import re
import subprocess

import numpy as np
import pytest
from compilers import WARNINGS, needed_device

from examples.firmware import firmware
from keras_fastgrnn.export.plain_c import runtime

LONGEST, STARTS, VECTOR_STARTS = 255, 4, 2
LEVELS = ["-O0", "-O2", "-O3", "-Os"]
PROGRAM = """
#include "board.h"
{definitions}
static const int8_t weights[] FLASH = {{{weights}}};
static int16_t values[] = {{{values}}};

int main(void) {{
  uint32_t sums = 0;
  for (uint8_t start = 0; start < {starts}; ++start) {{
    for (uint8_t first = 0; first < {vector_starts}; ++first) {{
      for (uint16_t count = 1; count <= {longest}; ++count) {{
        const int8_t *row = weights + start;
        const int32_t sum = add_dense(-(int32_t)count, &row, values + first, (uint8_t)count);
        sums = sums * 31 + (uint32_t)sum;
        if (row != weights + start + count) sums = 0;
      }}
    }}
  }}
  board_begin();
  for (uint8_t bit = 32; bit-- > 0;) board_put(sums >> bit & 1 ? '1' : '0');
  board_put('\\n');
  board_end(0);
}}
"""


def ran(target, program, level, folder):
    """What a program prints on a device."""
    (folder / "main.c").write_text(program)
    sources = ["main.c", str(firmware.FOLDER / target.board)]
    command = [target.compiler, *target.machine, level, *firmware.FIRMWARE_FLAGS]
    command += [f"-I{firmware.FOLDER}", *sources, *target.link, "-o", "program.elf"]
    subprocess.run(command, cwd=folder, check=True)
    command = [*target.emulator, "program.elf"]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, stdin=subprocess.DEVNULL, timeout=100, text=True
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("device", firmware.TARGETS)
def test_the_row_of_each_device_is_the_product(device, level, tmp_path):
    """From places of every alignment, with the largest integers among them."""
    rng = np.random.default_rng(0)
    weights = rng.integers(-128, 128, LONGEST + STARTS)
    values = rng.integers(-(2**15), 2**15, LONGEST + VECTOR_STARTS)
    weights[3:40:5], values[2:50:3] = -128, -(2**15)
    program = PROGRAM.format(
        definitions="\n".join(map(runtime.definition, ["flash", "add_dense"])),
        weights=", ".join(map(str, weights)),
        values=", ".join(map(str, values)),
        starts=STARTS,
        vector_starts=VECTOR_STARTS,
        longest=LONGEST,
    )
    sums = 0
    for start in range(STARTS):
        for first in range(VECTOR_STARTS):
            products = weights[start : start + LONGEST] * values[first : first + LONGEST]
            for count, total in enumerate(np.cumsum(products), 1):
                assert abs(total) < 2**31 - LONGEST
                sums = (sums * 31 + int(total) - count) % 2**32
    printed = ran(needed_device(device), program, level, tmp_path)
    assert re.search("[01]{32}", printed)[0] == f"{sums:032b}"


# Among them some that multiply 16 bits, but not two pairs of them, and one that stores the highest
# byte first.
PROCESSORS = {
    "ARM926EJ-S": ["-mcpu=arm926ej-s"],
    "Cortex-A9": ["-mcpu=cortex-a9"],
    "Cortex-A9, big-endian": ["-mcpu=cortex-a9", "-mbig-endian"],
    "Cortex-R5": ["-mcpu=cortex-r5", "-mthumb"],
    **{f"Cortex-M{n}": [f"-mcpu=cortex-m{n}", "-mthumb"] for n in (0, 3, 4, 7, 23, 33, 55)},
}
CALL = """
#include <stdint.h>
int32_t product(const int8_t *row, const int16_t *values, uint8_t count);
{definitions}
int32_t product(const int8_t *row, const int16_t *values, uint8_t count) {{
  return add_dense(0, &row, values, count);
}}
"""


@pytest.mark.parametrize("options", PROCESSORS.values(), ids=PROCESSORS)
def test_every_arm_processor_assembles_the_row(options, tmp_path):
    compiler = needed_device("cortex-m4").compiler
    definitions = "\n".join(map(runtime.definition, ["flash", "add_dense"]))
    (tmp_path / "product.c").write_text(CALL.format(definitions=definitions))
    command = [compiler, *options, "-std=c99", "-O2", *WARNINGS, "-c", "product.c"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
