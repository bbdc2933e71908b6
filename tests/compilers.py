"""The C and C++ compilers that generated files must compile with, and programs built by them."""

import shutil
import subprocess

import pytest

from examples.firmware import firmware

WARNINGS = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wpedantic", "-Werror"]
C_MODES = [("gcc", "-std=c99"), ("clang", "-std=c99")]
CPP_MODES = [("g++", "-std=c++11"), ("clang++", "-std=c++11")]


def in_each(modes):
    """Runs a test once with each compiler as `mode`."""
    return pytest.mark.parametrize("mode", modes, ids="".join)


def needed(compiler):
    """Returns the name of a compiler; skips the test where it is absent."""
    if not shutil.which(compiler):
        pytest.skip(f"{compiler} is absent.")
    return compiler


def needed_device(name):
    """Returns the target of `examples/firmware`; skips the test where a tool of it is absent."""
    target = firmware.TARGETS[name]
    if firmware.missing_tools(target):
        pytest.skip(f"{target.title} is absent; on Debian: {target.packages}")
    return target


def build(folder, mode, program, *sources, options=("-O1",)):
    """Compiles `program` and the other sources without a warning.

    Args:
        folder: Path of the folder that it is compiled in.
        mode: Compiler and language standard, one of `C_MODES` and `CPP_MODES`.
        program: String, the text of the source that has `main`.
        *sources: Strings, names of other sources in the folder.
        options: Further options of the compiler.

    Returns:
        A function that runs the program on the bytes it is to read, and returns what it prints.
    """
    main = folder / ("main.c" if mode in C_MODES else "main.cc")
    main.write_text(program)
    compiler, standard = mode
    options = [standard, *WARNINGS, *options]
    command = [needed(compiler), *options, main.name, *sources, "-o", "program"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, ""), result.stderr

    def run(stdin=b"") -> bytes:
        result = subprocess.run([folder / "program"], input=stdin, capture_output=True)
        assert result.returncode == 0
        return result.stdout

    return run


def run_program(folder, mode, program, *sources, options=("-O1",), stdin=b"") -> bytes:
    """Builds a program and runs it; see `build`."""
    return build(folder, mode, program, *sources, options=options)(stdin)
