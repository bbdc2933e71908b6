"""The files of C that generated C is put together from."""

import re
import subprocess

import pytest
from compilers import needed

from keras_fastgrnn import storage
from keras_fastgrnn.export.plain_c import runtime
from keras_fastgrnn.export.plain_c.expressions import FUNCTIONS

TARGET_FILES = sorted((runtime.FOLDER / "targets").glob("*.h"))
COMPILERS = [
    "gcc",
    "clang",
    "avr-gcc -mmcu=atmega328p",
    "arm-none-eabi-gcc -mcpu=cortex-m0 -mthumb",
    "arm-none-eabi-gcc -mcpu=cortex-m4 -mthumb",
]


@pytest.mark.parametrize("name", runtime.names())
@pytest.mark.parametrize("compiler", COMPILERS)
def test_each_file_compiles_alone(compiler, name, tmp_path):
    """A function that nothing calls is used by the program, so it has the file's name."""
    text = runtime.portable(name)
    use = f"return {name} != 0;" if re.search(rf"\b{name}\(", text) else "return 0;"
    compiled(compiler, f'#include "{name}.h"\nint main(void) {{ {use} }}\n', tmp_path)


def compiled(compiler, program, folder):
    (folder / "main.c").write_text(program)
    flags = ["-O1", "-std=c99", "-Wall", "-Wextra", "-pedantic", "-Wno-address", "-Werror"]
    name, *machine = compiler.split()
    command = [needed(name), *machine, *flags, f"-I{runtime.FOLDER}", "-c", "main.c"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("file", TARGET_FILES, ids=lambda file: file.stem)
@pytest.mark.parametrize("compiler", COMPILERS)
def test_each_file_of_a_target_compiles_alone(compiler, file, tmp_path):
    compiled(compiler, f'#include "{file}"\nint main(void) {{ return 0; }}\n', tmp_path)


def test_what_targets_compute_faster_is_declared_as_everywhere():
    assert len(runtime.targets()) == len(TARGET_FILES)
    for functions in runtime.targets().values():
        assert functions
        for name, text in functions.items():
            (declared,) = re.findall(rf"^static inline .*?\b{name}\([^)]*\) {{", text, re.M | re.S)
            assert declared in runtime.portable(name)


def test_a_definition_has_the_functions_of_all_targets():
    text = runtime.definition("saturate")
    assert text.endswith(f"#else\n{runtime.portable('saturate')}\n#endif")
    assert text.startswith("#if defined(__AVR__)\n/* The nearest integer of 16 bits. */\nstatic")
    assert text.count("saturate(int32_t value) {") == 2


def test_every_storage_has_its_row():
    rows = {f"add_{way.name}_4_bits" for way in storage.STORAGES}
    assert rows | {"add_dense"} == {name for name in runtime.names() if name.startswith("add_")}


def test_files_of_functions_are_in_the_order_of_what_they_call():
    for place, name in enumerate(FUNCTIONS):
        called = runtime.needed([name]) & set(FUNCTIONS) - {name}
        assert called <= set(FUNCTIONS[:place])


def test_what_a_file_includes_is_needed():
    assert runtime.needed(["round_shift"]) == {"round_shift", "shift_right"}
    assert runtime.needed(["logistic", "clip"]) == {"logistic", "sigmoid_table", "flash", "clip"}
    assert runtime.needed([]) == set()


def test_definitions_begin_and_end_with_what_they_define():
    assert runtime.definition("clip") == (
        "static inline int16_t clip(int32_t value, int16_t low, int16_t high) {\n"
        "  return value < low ? low : value > high ? high : (int16_t)value;\n}"
    )
    assert "#include <avr/pgmspace.h>" in runtime.definition("flash")


def test_a_model_gives_its_names():
    text = runtime.of_model(runtime.definition("classify_one"), "wave")
    assert text.startswith("uint16_t wave_classify(const wave_state *state) {")
    assert "model" not in text.lower()
