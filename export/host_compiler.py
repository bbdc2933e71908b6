"""Compiles the generated C with the host's compiler, and runs sequences through it."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

COMPILERS = ("cc", "gcc", "clang")
FLAGS = ("-std=c99", "-O2")

_MAIN = """#include <stdio.h>
#include <stdlib.h>

#include "NAME.h"

/* Reads the steps of sequences as integers, and writes the answers after each step. */
int main(int argc, char **argv) {
  static int16_t input[UPPER_INPUT_SIZE], output[UPPER_OUTPUT_SIZE];
  static NAME_state state;
  const long steps = argc > 1 ? atol(argv[1]) : 1;
  for (long step = 0; fread(input, sizeof input, 1, stdin) == 1; ++step) {
    if (step % steps == 0) NAME_reset(&state);
    NAME_step(&state, input);
    NAME_output(&state, output);
    fwrite(output, sizeof output, 1, stdout);
    if (argc > 2) fwrite(&state, sizeof state, 1, stdout);
  }
  return 0;
}
"""


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


class HostProgram:
    """A program of this machine that runs the generated C on sequences.

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
        self._folder = tempfile.TemporaryDirectory(prefix="keras_fastgrnn_")
        folder = Path(self._folder.name)
        main = _MAIN.replace("NAME", name).replace("UPPER", name.upper())
        texts = {f"{name}.h": header, f"{name}.c": source, "run_sequences.c": main}
        for file_name, text in texts.items():
            (folder / file_name).write_text(text)
        self._program = folder / "run_sequences"
        command = [*(compiler or find_compiler()), *flags, f"{name}.c", "run_sequences.c"]
        command += ["-o", str(self._program)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise MissingCompilerError(
                f"The C compiler failed: {' '.join(command)}\n{done.stderr.strip()}"
            )

    def run(self, integers: np.ndarray, outputs: int, states: int = 0) -> np.ndarray:
        """Runs sequences, each from a reset state.

        Args:
            integers: int16 array of shape `(batch, steps, input_dim)`.
            outputs: Integer, how many answers the model gives.
            states: Integer, how many numbers its states have, to have them too. Defaults to 0.

        Returns:
            int16 array of shape `(batch, steps, outputs + states)`.
        """
        batch, steps, _ = integers.shape
        command = [str(self._program), str(steps), *(["states"] if states else [])]
        data = np.ascontiguousarray(integers, np.int16).tobytes()
        done = subprocess.run(command, input=data, capture_output=True, check=True)
        return np.frombuffer(done.stdout, np.int16).reshape(batch, steps, outputs + states)
