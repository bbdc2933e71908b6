"""The generated header and array, compiled by every compiler and run without TFLite Micro."""

import re

import numpy as np
import pytest
from c_interfaces import INTERFACES
from compilers import C_MODES, CPP_MODES, in_each, run_program
from small_models import sequences, sequential

from keras_fastgrnn import FastGRNN, FastRNN, export, keras
from keras_fastgrnn.export.firmware import model_array
from keras_fastgrnn.graph.graph import Tensor

MODELS = {
    "int16x8": ("gesture", [FastGRNN(4), keras.layers.Dense(2)], "int16x8"),
    "float32": ("a1", [FastRNN(3)], None),
    "softmax": ("switch", [FastRNN(3), keras.layers.Dense(3, activation="softmax")], "int16x8"),
    "int8": ("Model_", [FastGRNN(4), keras.layers.Dense(2)], "int8"),
}


def expected_constants(inputs, outputs):
    """What the header must define, by the ending of its name."""
    sides = {"INPUT": inputs[0], "OUTPUT": outputs[0]}
    sides.update({f"STATE_{i}": tensor for i, tensor in enumerate(inputs[1:])})
    constants = {}
    for side, tensor in sides.items():
        constants[f"{side}_SIZE"] = tensor.shape[-1]
        if 128 in tensor.shape:
            constants[f"{side}_STEPS"] = 128
        if tensor.scale is not None:
            constants[f"{side}_SCALE"] = float(np.float32(tensor.scale))
            constants[f"{side}_ZERO_POINT"] = tensor.zero_point
        if side.startswith("STATE"):
            constants[f"{side}_INDEX"] = 1 + int(side[-1])
            constants[f"{side}_START"] = tensor.zero_point
    if len(inputs) > 1:
        constants["STATE_COUNT"] = len(inputs) - 1
    return constants


def printed_constants(folder, mode, name, endings):
    """Compiles a program that includes the header twice and prints its constants."""
    lines = [f'printf("%.17g\\n", (double){name.upper()}_{ending});' for ending in endings]
    program = (
        f'#include "{name}_model.h"\n#include "{name}_model.h"\n#include <stdio.h>\n'
        f"int main(void) {{ {' '.join(lines)} return 0; }}\n"
    )
    values = map(float, run_program(folder, mode, program).split())
    return dict(zip(endings, values, strict=True))


@in_each(C_MODES + CPP_MODES)
@pytest.mark.parametrize("kind", INTERFACES)
def test_header_of_every_interface_compiles_and_has_its_numbers(tmp_path, kind, mode):
    inputs, outputs = INTERFACES[kind]
    text = model_array.header("gesture", b"12345678", 3056, inputs, outputs)
    (tmp_path / "gesture_model.h").write_text(text)
    constants = expected_constants(inputs, outputs)
    expected = {"EXPORT_ID": 0, "MODEL_LENGTH": 8, "ARENA_SIZE": 3056, **constants}
    defined = set(re.findall(r"^#define GESTURE_(\w+) ", text, re.M))
    assert defined == set(expected)
    assert printed_constants(tmp_path, mode, "gesture", expected) == expected


@pytest.fixture(scope="module", params=MODELS)
def saved(request, tmp_path_factory):
    """An exported model and the folder it was saved in."""
    name, layers, quantization = MODELS[request.param]
    x = sequences() * 100.0  # a scale above 2^-12
    deployed = export.convert(sequential(*layers), x, quantization=quantization, name=name)
    folder = tmp_path_factory.mktemp("saved")
    deployed.save(folder)
    return deployed, folder


@in_each(C_MODES + CPP_MODES)
def test_header_has_the_numbers_of_the_model(saved, mode):
    deployed, folder = saved
    constants = expected_constants(deployed.inputs, deployed.outputs)
    expected = {"MODEL_LENGTH": len(deployed.tflite), **constants}
    if deployed.report.arena_bytes is not None:
        expected["ARENA_SIZE"] = deployed.report.arena_bytes
    assert printed_constants(folder, mode, deployed.name, expected) == expected


PROGRAM = """
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include "NAME_model.h"

int main(void) {
  if ((uintptr_t)NAME_model % 16 != 0) return 2;
  if (memcmp(NAME_model + 4, "TFL3", 4) != 0) return 3;
  if (sizeof NAME_model != UPPER_MODEL_LENGTH) return 4;
  fwrite(NAME_model, 1, sizeof NAME_model, stdout);
  return 0;
}
"""


@in_each(C_MODES + CPP_MODES)
@pytest.mark.parametrize("level", ["-O0", "-O2", "-Os"])
def test_linked_array_is_the_file_and_is_aligned(saved, mode, level):
    deployed, folder = saved
    name = deployed.name
    source = f"{name}_model.cc"
    if mode in C_MODES:  # as a C project would take it
        (folder / f"{name}_model.c").write_bytes((folder / source).read_bytes())
        source = f"{name}_model.c"
    program = PROGRAM.replace("NAME", name).replace("UPPER", name.upper())
    output = run_program(folder, mode, program, source, options=[level])
    assert output == deployed.tflite == (folder / f"{name}.tflite").read_bytes()


@in_each(C_MODES + CPP_MODES)
def test_array_is_aligned_where_compilers_do_not_do_so_by_themselves(tmp_path, mode):
    """They align long arrays anyway; of these short ones, some would begin anywhere."""
    names, sources = ["a", "b", "c", "d"], []
    tensor = Tensor("x", (1, 3))
    for name in names:
        header = model_array.header(name, b"x" * 13, None, [tensor], [tensor])
        (tmp_path / f"{name}_model.h").write_text(header)
        sources.append(f"{name}_model.{'c' if mode in C_MODES else 'cc'}")
        (tmp_path / sources[-1]).write_text(model_array.source(name, b"x" * 13))
    includes = "".join(f'#include "{name}_model.h"\n' for name in names)
    prints = "".join(f'printf("%d ", (int)((uintptr_t){name}_model % 16)); ' for name in names)
    program = f"{includes}#include <stdio.h>\nint main(void) {{ {prints}return 0; }}\n"
    assert run_program(tmp_path, mode, program, *sources).split() == [b"0"] * len(names)


TWO_MODELS = """
#include "first_golden.h"
#include "first_model.h"
#include "first_ops.h"
#include "second_golden.h"
#include "second_model.h"
#include "second_ops.h"
#include <stdio.h>

int main(void) {
  fwrite(first_model, 1, FIRST_MODEL_LENGTH, stdout);
  fwrite(second_model, 1, SECOND_MODEL_LENGTH, stdout);
  return 0;
}
"""


@in_each(C_MODES + CPP_MODES)
def test_all_files_of_two_models_go_into_one_program(tmp_path, mode):
    deployed = {}
    for name, quantization in (("first", None), ("second", "int16x8")):
        model = sequential(FastRNN(2), seed=len(deployed))
        deployed[name] = export.convert(model, sequences(), quantization=quantization, name=name)
        deployed[name].save(tmp_path)
    sources = ["first_model.cc", "second_model.cc"]
    if mode in C_MODES:
        for name in sources:
            (tmp_path / name).rename(tmp_path / name.replace(".cc", ".c"))
        sources = ["first_model.c", "second_model.c"]
    output = run_program(tmp_path, mode, TWO_MODELS, *sources)
    assert output == deployed["first"].tflite + deployed["second"].tflite


def test_array_has_every_byte_in_hexadecimal():
    data = bytes(range(256)) + b"\n"
    text = model_array.source("gesture", data)
    assert bytes(int(byte, 16) for byte in re.findall(r"0x([0-9a-f]{2})\b", text)) == data
    assert max(map(len, text.splitlines())) <= 100
    assert text.isascii() and text.endswith("};\n")


def test_header_says_where_the_arena_was_not_measured():
    tensor = Tensor("x", (1, 3))
    text = model_array.header("gesture", b"1234", None, [tensor], [tensor])
    assert "ARENA_SIZE" not in text and "not measured" in text


@pytest.mark.parametrize("kind", INTERFACES)
def test_header_is_ascii(kind):
    assert model_array.header("gesture", b"1234", 3056, *INTERFACES[kind]).isascii()
