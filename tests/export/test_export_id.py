"""Files of two exports do not compile together, whichever of them were mixed; those of one do."""

import itertools
import shutil
import subprocess
from pathlib import Path

import pytest
from compilers import C_MODES, CPP_MODES, WARNINGS, in_each, needed
from small_models import sequences, sequential

from keras_fastgrnn import FastGRNN, export, keras
from keras_fastgrnn.export.firmware.names import marked

PLAIN_C = ["gesture.c", "gesture.h"]
TFLM = ["gesture_model.cc", "gesture_model.h", "gesture_ops.h", "gesture_golden.h"]
AVR = [("avr-gcc", "-std=c99")]


@pytest.fixture(scope="module")
def exports(tmp_path_factory) -> tuple[Path, Path]:
    """Two folders: a model's files, and those of the same model after one more training step."""
    folders = tmp_path_factory.mktemp("first"), tmp_path_factory.mktemp("second")
    model = sequential(FastGRNN(2), keras.layers.Dense(2))
    for folder in folders:
        export.convert(model, sequences(), name="gesture").save(folder)
        export.convert_c(model, sequences(), name="gesture").save(folder, overwrite=True)
        model.layers[-1].bias.assign([0.5, -0.5])
    return folders


def compiled(folder, mode, program) -> str:
    """What a compiler says: nothing where all is well."""
    compiler, standard = mode
    (folder / "main.c").write_text(program)
    language = ["-x", "c++"] if "++" in compiler else ["-x", "c"]
    device = ["-mmcu=atmega328p"] if compiler == "avr-gcc" else []
    command = [needed(compiler), standard, *device, *WARNINGS, *language, "-fsyntax-only", "main.c"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True).stderr


def mixtures(exports, names, tmp_path):
    """Folders with every mixture of two exports, and whether it is one export."""
    for number, choice in enumerate(itertools.product((0, 1), repeat=len(names))):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name, source in zip(names, choice, strict=True):
            shutil.copy(exports[source] / name, folder / name)
        yield folder, len(set(choice)) == 1


def check(exports, names, program, mode, tmp_path):
    for folder, is_one in mixtures(exports, names, tmp_path):
        said = compiled(folder, mode, program)
        if is_one:
            assert said == ""
        else:
            assert "is of another export: copy all the files that one save wrote" in said


@in_each(C_MODES + CPP_MODES + AVR)
def test_plain_c_of_two_exports_is_refused(mode, exports, tmp_path):
    check(exports, PLAIN_C, '#include "gesture.c"\n', mode, tmp_path)


@in_each(C_MODES + CPP_MODES)
@pytest.mark.parametrize("order", [TFLM, TFLM[::-1]], ids=["model first", "operators first"])
def test_headers_and_source_of_two_exports_are_refused(mode, order, exports, tmp_path):
    program = "".join(f'#include "{name}"\n' for name in order)
    check(exports, TFLM, program, mode, tmp_path)


def test_source_refuses_a_header_without_a_mark(exports, tmp_path):
    for name in PLAIN_C:
        shutil.copy(exports[0] / name, tmp_path / name)
    header = (tmp_path / "gesture.h").read_text().replace("GESTURE_EXPORT_ID", "GESTURE_OTHER")
    (tmp_path / "gesture.h").write_text(header)
    assert "is of another export" in compiled(tmp_path, C_MODES[0], '#include "gesture.c"\n')


def test_same_export_is_the_same_to_the_byte(exports, tmp_path):
    model = sequential(FastGRNN(2), keras.layers.Dense(2))
    for number in range(2):
        export.convert(model, sequences(), name="gesture").save(tmp_path / str(number))
        plain = export.convert_c(model, sequences(), name="gesture")
        plain.save(tmp_path / str(number), overwrite=True)
    for path in (tmp_path / "0").iterdir():
        assert path.read_bytes() == (tmp_path / "1" / path.name).read_bytes()


def test_mark_is_of_every_file():
    texts = {"h": "#define A_EXPORT_ID 0x00000000\n", "c": "x\n#if A_EXPORT_ID != 0x00000000\n"}
    changed = [
        marked(texts),
        marked({**texts, "c": texts["c"] + "\n"}),
        marked({**texts, "h": texts["h"] + "\n"}),
        marked(texts, b"model"),
        marked(texts, b"other"),
    ]
    marks = [one["h"].split()[2] for one in changed]
    assert len(set(marks)) == 5 and "0x00000000" not in marks
    for mark, one in zip(marks, changed, strict=True):
        assert one["c"].split("#if A_EXPORT_ID != ")[1].strip() == mark
