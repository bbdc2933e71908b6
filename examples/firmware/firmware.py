"""Builds the self-test of a generated model for a small device, and runs it in an emulator.

`test` does all of it: it writes what `export.convert_c` made beside main.c, compiles as many images
as the golden sequences fill, runs each, and returns what they printed together.
"""

import dataclasses
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from examples.firmware.golden import Golden, golden_header

FOLDER = Path(__file__).resolve().parent

# What main.c, a board's file and the compiler's own library take of the flash, whatever is
# optimized.
FIRMWARE_BYTES = 8 * 1024

# Of C that the exporter wrote, and of the firmware around it.
MODEL_FLAGS = ("-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror")
FIRMWARE_FLAGS = ("-std=gnu11", "-Wall", "-Wextra", "-Werror")


@dataclass(frozen=True)
class Target:
    """A device: how to compile for it, and how to run it.

    Attributes:
        title: String.
        compiler: String, the command of its C compiler.
        size: String, the command that tells the sections of an object.
        machine: Tuple of strings, the compiler's flags that choose the processor.
        board: String, the C file beside main.c.
        link: Tuple of strings, the flags to link with.
        emulator: Tuple of strings, the command that runs an image; the image comes last.
        flash: Integer, bytes for code and constants.
        unit: String, what the clock counts.
        packages: String, what Debian calls all of it.
    """

    title: str
    compiler: str
    size: str
    machine: tuple[str, ...]
    board: str
    link: tuple[str, ...]
    emulator: tuple[str, ...]
    flash: int
    unit: str
    packages: str


def _cortex(title: str, processor: str, machine: str) -> Target:
    emulator = f"qemu-system-arm -machine {machine} -display none -monitor none -serial none"
    emulator += " -icount shift=0 -semihosting-config enable=on,target=native -kernel"
    return Target(
        title,
        compiler="arm-none-eabi-gcc",
        size="arm-none-eabi-size",
        machine=(f"-mcpu={processor}", "-mthumb"),
        board="board_cortex_m.c",
        link=("-nostartfiles", "-T", str(FOLDER / "cortex_m.ld")),
        emulator=tuple(emulator.split()),
        flash=256 * 1024,
        unit="instructions",
        packages="gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm",
    )


TARGETS = {
    "atmega328p": Target(
        "ATmega328P, 16 MHz (simavr)",
        compiler="avr-gcc",
        size="avr-size",
        machine=("-mmcu=atmega328p",),
        board="board_avr.c",
        link=(),
        emulator=("simavr", "-m", "atmega328p", "-f", "16000000"),
        flash=32 * 1024,
        unit="cycles",
        packages="gcc-avr avr-libc simavr",
    ),
    "cortex-m0": _cortex("Cortex-M0 (QEMU microbit)", "cortex-m0", "microbit"),
    "cortex-m3": _cortex("Cortex-M3 (QEMU mps2-an385)", "cortex-m3", "mps2-an385"),
    "cortex-m4": _cortex("Cortex-M4 (QEMU mps2-an386)", "cortex-m4", "mps2-an386"),
}


class MissingToolError(RuntimeError):
    """A compiler or an emulator is not installed."""


class FirmwareError(RuntimeError):
    """An image could not be built, or did not end with its line."""


class TooLargeError(FirmwareError):
    """A model leaves no room in a device's flash for one golden sequence."""


@dataclass(frozen=True)
class Result:
    """What a model did on a device.

    Attributes:
        differences, compared: Integers: how many numbers differ, of how many.
        step, output: Floats, cycles or instructions of `NAME_step` and `NAME_output`, averaged
            over the long run; 0 without one.
        tick: Float, how many of them a tick of the clock takes: the resolution of one measurement.
        flash: Integer, bytes of the sections of `NAME.o`.
        state: Integer, bytes of `NAME_state`.
        step_stack, output_stack, classify_stack: Integers, bytes of stack of each function.
        ram: Integer, bytes: the state and the stack of step or output, whichever is deeper.
    """

    differences: int
    compared: int
    step: float
    output: float
    tick: float
    flash: int
    state: int
    step_stack: int
    output_stack: int
    classify_stack: int
    ram: int

    @property
    def has_passed(self) -> bool:
        return self.differences == 0 and self.compared > 0


_LINE = re.compile(
    r"(?:PASS|FAIL) (\d+) of (\d+) numbers differ; step ([\d.]+) \w+, output ([\d.]+) \w+; "
    r"tick ([\d.]+); flash (\d+) bytes; state (\d+), stack of step (\d+), output (\d+), "
    r"classify (\d+); RAM (\d+) bytes"
)


def missing_tools(target: Target) -> list[str]:
    """Returns the commands of a target that are not installed."""
    commands = (target.compiler, target.size, target.emulator[0])
    return [command for command in commands if shutil.which(command) is None]


def check_tools(target: Target) -> None:
    """Raises a `MissingToolError` that names Debian's packages where a command is missing."""
    missing = missing_tools(target)
    if missing:
        raise MissingToolError(
            f"{target.title} needs {', '.join(missing)}; on Debian: "
            f"apt-get install {target.packages}"
        )


def build(
    target: Target,
    deployed,
    golden: Golden,
    checksums: list[int],
    folder: Path,
    optimization: str = "-O2",
) -> list[Path]:
    """Compiles the images that together replay all golden sequences.

    Args:
        target: `Target`.
        deployed: What `export.convert_c` returned.
        golden: `Golden` sequences; each must fit into the device's flash.
        checksums: List of integers, the long run's, which the first image does; empty for none.
        folder: Path, where everything is written.
        optimization: String, the compiler's flag. Defaults to "-O2".

    Returns:
        List of paths.

    Raises:
        MissingToolError: If a command is not installed; the message names Debian's packages.
        FirmwareError: If something does not compile, without a warning, or does not fit.
    """
    check_tools(target)
    name = deployed.name
    if name in ("board", "golden"):
        raise FirmwareError(f"The firmware has a {name}.h itself; name the model otherwise.")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.h").write_text(deployed.header)
    (folder / f"{name}.c").write_text(deployed.source)
    compiler = [target.compiler, *target.machine, optimization]
    model = folder / f"{name}.o"
    _run([*compiler, *MODEL_FLAGS, "-c", str(folder / f"{name}.c"), "-o", str(model)])
    flash = section_bytes(target, model)
    room = target.flash - FIRMWARE_BYTES - flash - 4 * len(checksums)
    at_once = room // golden.bytes_a_sequence
    if at_once < 1:
        raise TooLargeError(
            f"A golden sequence takes {golden.bytes_a_sequence:,} bytes; beside the model "
            f"{target.title} has {room:,}. Take shorter ones."
        )
    images = []
    for first in range(0, len(golden), at_once):
        part = folder / f"image{len(images)}"
        part.mkdir(exist_ok=True)
        text = golden_header(name, golden[first : first + at_once], [] if images else checksums)
        (part / "golden.h").write_text(text)
        image = part / f"{name}.elf"
        sources = [FOLDER / "main.c", FOLDER / target.board, model]
        includes = [f"-I{place}" for place in (FOLDER, folder, part)]
        _run(
            [*compiler, *FIRMWARE_FLAGS, *includes, f"-DTESTED_FLASH_BYTES={flash}"]
            + [*map(str, sources), *target.link, "-o", str(image)]
        )
        images.append(image)
    return images


def section_bytes(target: Target, compiled: Path) -> int:
    """Returns the bytes of code, constants and variables in an object file."""
    _, sizes, *_ = _run([target.size, str(compiled)]).splitlines()
    return sum(int(number) for number in sizes.split()[:3])


def run(target: Target, image: Path, timeout: float = 120.0) -> Result:
    """Runs an image in the target's emulator.

    Args:
        target: `Target`.
        image: Path.
        timeout: Float, seconds until it is given up. Defaults to 120.

    Returns:
        `Result`.

    Raises:
        FirmwareError: If it does not end with its line.
    """
    command = [*target.emulator, str(image)]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise FirmwareError(f"{target.title} did not end within {timeout:g} s.") from None
    printed = done.stdout + done.stderr
    line = _LINE.search(printed)
    if line is None:
        raise FirmwareError(f"{target.title} printed no result: {printed.strip()!r}")
    kinds = [field.type for field in dataclasses.fields(Result)]
    return Result(*(kind(text) for kind, text in zip(kinds, line.groups(), strict=True)))


def test(
    target: Target,
    deployed,
    golden: Golden,
    checksums: list[int],
    optimization: str = "-O2",
    folder: Path | None = None,
) -> Result:
    """Builds all images, runs them, and returns their results as one.

    Args:
        target, deployed, golden, checksums, optimization: As for `build`.
        folder: Path of what is built. Defaults to `None`, a temporary one.

    Returns:
        `Result`, of which everything but the differences is the first image's.

    Raises:
        MissingToolError, FirmwareError: As `build` and `run`.
    """
    with tempfile.TemporaryDirectory(prefix="keras_fastgrnn_") as temporary:
        images = build(target, deployed, golden, checksums, folder or temporary, optimization)
        results = [run(target, image) for image in images]
    return dataclasses.replace(
        results[0],
        differences=sum(result.differences for result in results),
        compared=sum(result.compared for result in results),
    )


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise FirmwareError(f"{' '.join(command)}\n{done.stderr.strip()}")
    return done.stdout
