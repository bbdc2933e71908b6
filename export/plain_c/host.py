"""Compiles the generated C with the host's compiler, and runs sequences through it."""

import os
import re
import shutil
import subprocess
import tempfile
import weakref
from pathlib import Path

import numpy as np

from keras_fastgrnn.errors import InexactExportError
from keras_fastgrnn.export.plain_c import runtime

COMPILERS = ("cc", "gcc", "clang")
FLAGS = ("-std=c99", "-O1")
MAIN = runtime.FOLDER / "run_sequences.c"

# How the names of the sections begin that a device has in flash or RAM.
_IN_MEMORY = (".text", ".rodata", ".progmem", ".data", ".bss")


class MissingCompilerError(RuntimeError):
    """There is no C compiler on this machine, or it fails."""


def find_compiler() -> list[str]:
    """Returns the command of the host's C compiler: that of the variable CC, or the first found.

    Raises:
        MissingCompilerError: If there is none.
    """
    named = os.environ.get("CC", "").split()
    for command in [named] if named else [[name] for name in COMPILERS]:
        if shutil.which(command[0]):
            return command
    raise MissingCompilerError(
        f"There is no C compiler ({' '.join(named) or ', '.join(COMPILERS)}) to run the model "
        "with. Install one, such as Debian's package gcc, or name one in the environment variable "
        "CC; or run the same integers with on='reference'."
    )


def section_bytes(name: str, header: str, source: str, compiler: list[str]) -> dict[str, int]:
    """Compiles the files to an object, and returns what its sections take in memory.

    Args:
        name: String, the model's.
        header: String, the text of `NAME.h`.
        source: String, the text of `NAME.c`.
        compiler: List of strings, the command of a compiler such as gcc, with its options.

    Returns:
        Dictionary from the name of a section to its bytes.

    Raises:
        MissingCompilerError: If the compiler or its `size` is not there, or fails.
    """
    with tempfile.TemporaryDirectory(prefix="keras_fastgrnn_") as folder:
        _write(folder, {f"{name}.h": header, f"{name}.c": source})
        _run([*compiler, "-c", f"{name}.c", "-o", "model.o"], folder)
        size = re.sub(r"(gcc|clang|cc)(-[\d.]+)?$", "size", compiler[0])
        lines = _run([size, "-A", "-d", "model.o"], folder).splitlines()
    rows = [line.split() for line in lines if line.startswith(_IN_MEMORY)]
    return {row[0]: int(row[1]) for row in rows if int(row[1])}


def _write(folder, texts: dict[str, str]) -> None:
    for file_name, text in texts.items():
        Path(folder, file_name).write_text(text)


def _run(command: list[str], folder) -> str:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except OSError as error:
        raise MissingCompilerError(
            f"There is no {command[0]} to compile the model with. Install it, or name another "
            "compiler."
        ) from error
    if done.returncode:
        problem = next(iter(done.stderr.strip().splitlines()), "no reason given")
        raise MissingCompilerError(f"The C compiler failed: {' '.join(command)}: {problem}")
    return done.stdout


class HostProgram:
    """A program of this machine that runs the generated C on sequences.

    Attributes:
        command: String, the compiler's command and options.

    Args:
        name: String, the model's.
        header: String, the text of `NAME.h`.
        source: String, the text of `NAME.c`.
        flags: Sequence of strings, the compiler's options. Defaults to `FLAGS`.
        compiler: List of strings, the compiler's command. Defaults to `None`, the one found.

    Raises:
        MissingCompilerError: If there is no compiler, or it refuses the files.
    """

    def __init__(self, name, header, source, flags=FLAGS, compiler=None):
        folder = tempfile.mkdtemp(prefix="keras_fastgrnn_")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        main = runtime.of_model(MAIN.read_text(encoding="ascii"), name)
        _write(folder, {f"{name}.h": header, f"{name}.c": source, MAIN.name: main})
        self._program = Path(folder, MAIN.stem)
        command = [*(compiler or find_compiler()), *flags]
        self.command = " ".join(command)
        files = [f"{name}.c", MAIN.name, "-o", str(self._program)]
        _run([*command, *files], folder)

    def run(self, integers: np.ndarray, outputs: int, states: int = 0) -> np.ndarray:
        """Runs sequences, each from a reset state.

        Args:
            integers: int16 array of shape `(batch, steps, input_dim)`.
            outputs: Integer, how many answers the model gives.
            states: Integer, how many numbers its states have, to have them too. Defaults to 0.

        Returns:
            int16 array of shape `(batch, steps, outputs + states)`.

        Raises:
            MissingCompilerError: If the compiler's programs are not for this machine.
            InexactExportError: If the program fails.
        """
        batch, steps, _ = integers.shape
        command = [str(self._program), str(steps), *(["states"] if states else [])]
        data = np.ascontiguousarray(integers, np.int16).tobytes()
        try:
            done = subprocess.run(command, input=data, capture_output=True, check=False)
        except OSError as error:
            raise MissingCompilerError(
                f"The programs of {self.command} do not run on this machine: {error.strerror}. "
                "Name another compiler in the environment variable CC."
            ) from error
        if done.returncode:
            problem = next(iter(done.stderr.decode(errors="replace").splitlines()), "no message")
            raise InexactExportError(
                f"The program that {self.command} made ended with {done.returncode}: {problem}. "
                "This is a mistake in keras_fastgrnn.export: please report it with the model."
            )
        return np.frombuffer(done.stdout, np.int16).reshape(batch, steps, outputs + states)
