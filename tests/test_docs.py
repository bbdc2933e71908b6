"""Runs every example of the docstrings, and the Python of the README."""

import doctest
import importlib
import pkgutil
import re

import pytest
from compilers import CPP_MODES, in_each, run_program
from small_models import needs_tflm, sequences, sequential

import keras_fastgrnn
from keras_fastgrnn import FastGRNN, export, keras


def _modules():
    for package in (keras_fastgrnn, export):
        yield package.__name__
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            if not module.ispkg and not module.name.endswith(".__main__"):
                yield module.name


@pytest.mark.parametrize("name", list(_modules()))
def test_docstring_examples(name, tmp_path, monkeypatch):
    module = importlib.import_module(name)
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert result.failed == 0


def code_in_readme(root, language):
    text = (root / "README.md").read_text()
    blocks = re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)
    assert blocks
    return "\n".join(blocks)


def test_python_of_the_readme_runs(root, tmp_path, run_python):
    (tmp_path / "readme.py").write_text(code_in_readme(root, "python"))
    run_python("readme.py")


@needs_tflm  # without it the arena's size is not measured
@in_each(CPP_MODES)
def test_cpp_of_the_readme_names_what_the_generated_files_declare(root, tmp_path, mode):
    """Not TFLite Micro's own names: no package brings its headers."""
    code = code_in_readme(root, "cpp")
    includes = re.findall(r'^#include "gesture_.*"$', code, re.M)
    names = set(re.findall(r"\b(?:gesture|GESTURE)_\w+\b(?!\.h)", code))
    assert {"gesture_model", "gesture_add_operators", "GESTURE_ARENA_SIZE"} <= names
    uses = [f"(void){name};" for name in sorted(names - {"gesture_add_operators"})]
    program = "\n".join(
        [
            *includes,
            "template <typename R> bool add(R& r) { return gesture_add_operators(r); }",
            f"int main() {{ {' '.join(uses)} return 0; }}\n",
        ]
    )
    model = sequential(FastGRNN(4), keras.layers.Dense(2))
    export.convert(model, sequences(), name="gesture").save(tmp_path)
    run_program(tmp_path, mode, program, "gesture_model.cc")
