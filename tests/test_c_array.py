"""The generated header and array, compiled by gcc and g++ and run without TFLite Micro."""

import re
import subprocess

import pytest
from small_models import needs_compilers, sequences, sequential

from keras_fastgrnn import FastGRNN, FastRNN, export, keras
from keras_fastgrnn.export import c_array
from keras_fastgrnn.export.graph import Tensor

WARNINGS = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror", "-pedantic"]

MODELS = {
    "int16x8": ("gesture", [FastGRNN(4), keras.layers.Dense(2)], "int16x8"),
    "float32": ("a1", [FastRNN(3)], None),
    "softmax": ("Model_", [FastRNN(3), keras.layers.Dense(3, activation="softmax")], "int16x8"),
}


@pytest.fixture(scope="module", params=MODELS)
def saved(request, tmp_path_factory):
    """An exported model and the folder it was saved in."""
    name, layers, quantization = MODELS[request.param]
    x = sequences() * 100.0  # a scale above 2^-12
    deployed = export.convert(sequential(*layers), x, quantization=quantization, name=name)
    folder = tmp_path_factory.mktemp("saved")
    deployed.save(folder)
    return deployed, folder


def compile_and_run(folder, compiler, *arguments):
    command = [*compiler, *WARNINGS, *arguments, "-o", "program"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, ""), result.stderr
    result = subprocess.run(["./program"], cwd=folder, capture_output=True)
    assert result.returncode == 0
    return result.stdout


COMPILERS = [
    (["gcc", "-std=c99"], "c"),
    (["gcc", "-std=c11"], "c"),
    (["g++", "-std=c++11"], "cc"),
    (["g++", "-std=c++17", "-O3"], "cc"),
]


@needs_compilers
@pytest.mark.parametrize(("compiler", "suffix"), COMPILERS, ids=lambda value: str(value))
def test_header_compiles_without_a_warning_and_has_the_numbers_of_the_model(
    saved, compiler, suffix
):
    deployed, folder = saved
    name, upper = deployed.name, deployed.name.upper()
    sides = {"INPUT": deployed.graph.inputs[0], "OUTPUT": deployed.graph.outputs[0]}
    expected = {"MODEL_LENGTH": len(deployed.tflite), "ARENA_SIZE": deployed.report.arena_bytes}
    for side, tensor in sides.items():
        expected[f"{side}_SIZE"] = tensor.shape[-1]
        if tensor.scale is not None:
            expected[f"{side}_SCALE"], expected[f"{side}_ZERO_POINT"] = tensor.scale, 0
    expected = {key: number for key, number in expected.items() if number is not None}
    lines = [f'printf("%.17g\\n", (double){upper}_{key});' for key in expected]
    for key in expected:  # a scale is a float, everything else an integer
        size = "sizeof(float)" if key.endswith("SCALE") else "sizeof(int)"
        lines.append(f"(void)sizeof(char[sizeof {upper}_{key} == {size} ? 1 : -1]);")
    program = folder / f"main.{suffix}"
    program.write_text(
        f'#include "{name}_model.h"\n#include "{name}_model.h"\n#include <stdio.h>\n'
        f"int main(void) {{ {' '.join(lines)} return 0; }}\n"
    )
    output = compile_and_run(folder, compiler, program.name).decode().split()
    assert dict(zip(expected, map(float, output), strict=True)) == expected


PROGRAM = """
#include <cstdint>
#include <cstdio>
#include <cstring>
#include "NAME_model.h"

int main() {
  if (reinterpret_cast<std::uintptr_t>(NAME_model) % 16 != 0) return 2;
  if (std::memcmp(NAME_model + 4, "TFL3", 4) != 0) return 3;
  std::fwrite(NAME_model, 1, UPPER_MODEL_LENGTH, stdout);
  return 0;
}
"""


@needs_compilers
@pytest.mark.parametrize("level", ["-O0", "-O2", "-Os"])
def test_linked_array_is_the_file_and_is_aligned(saved, level):
    deployed, folder = saved
    name = deployed.name
    program = PROGRAM.replace("NAME", name).replace("UPPER", name.upper())
    (folder / "main.cc").write_text(program)
    sources = ["main.cc", f"{name}_model.cc"]
    output = compile_and_run(folder, ["g++", "-std=c++11", level], *sources)
    assert output == deployed.tflite == (folder / f"{name}.tflite").read_bytes()


@needs_compilers
def test_two_models_link_into_one_program_and_c_can_read_the_array(tmp_path):
    deployed = {}
    for name in ("first", "second"):
        model = sequential(FastRNN(2), seed=len(deployed))
        deployed[name] = export.convert(model, quantization=None, name=name)
        deployed[name].save(tmp_path)
    (tmp_path / "main.c").write_text(
        '#include "first_model.h"\n#include "second_model.h"\n#include <stdio.h>\n'
        "int main(void) { fwrite(first_model, 1, FIRST_MODEL_LENGTH, stdout);"
        " fwrite(second_model, 1, SECOND_MODEL_LENGTH, stdout); return 0; }\n"
    )
    command = ["gcc", "-std=c99", *WARNINGS, "-c", "main.c"]
    subprocess.run(command, cwd=tmp_path, check=True)
    sources = ["main.o", "first_model.cc", "second_model.cc"]
    output = compile_and_run(tmp_path, ["g++", "-std=c++11"], *sources)
    assert output == deployed["first"].tflite + deployed["second"].tflite


def test_array_has_every_byte_in_hexadecimal():
    data = bytes(range(256)) + b"\n"
    text = c_array.source("gesture", data)
    assert bytes(int(byte, 16) for byte in re.findall(r"0x([0-9a-f]{2})\b", text)) == data
    assert max(map(len, text.splitlines())) <= 100
    assert text.isascii() and text.endswith("};\n")


def test_header_says_where_the_arena_was_not_measured():
    tensor = Tensor("x", (1, 3))
    measured = c_array.header("gesture", b"1234", 3056, tensor, tensor)
    assert "#define GESTURE_ARENA_SIZE 3056" in measured
    unmeasured = c_array.header("gesture", b"1234", None, tensor, tensor)
    assert "ARENA_SIZE" not in unmeasured and "not measured" in unmeasured
    for text in (measured, unmeasured):
        assert "#define GESTURE_MODEL_LENGTH 4" in text
        assert "INPUT_SCALE" not in text


GOOD_NAMES = ["gesture", "g", "Model2", "my_model_", "INT", "classes", "modelclass", "a" * 60]


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_identifiers_are_names(name):
    assert c_array.check_name(name) == name


BAD_NAMES = [
    "",
    " ",
    "2fast",
    "my-model",
    "my model",
    "gesture\n",
    "_model",
    "mod\u00e8le",
    "a.b",
    "../a",
]
BAD_NAMES += ["int", "class", "static_assert", "restrict", "xor", "nullptr", "while"]
BAD_NAMES += [None, 3, b"model", ["model"]]


@pytest.mark.parametrize("name", BAD_NAMES, ids=repr)
def test_what_is_no_identifier_of_c_and_cpp_is_refused(name):
    with pytest.raises(ValueError) as error:
        c_array.check_name(name)
    assert str(error.value) == (
        "Received an invalid value for argument name, expected a C identifier such as 'gesture', "
        f"got {name!r}."
    )


def test_bad_name_is_refused_before_the_model_is_looked_at():
    with pytest.raises(ValueError, match="for argument name"):
        export.convert(None, name="my model")
