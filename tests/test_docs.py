"""Runs every example of the docstrings, and the Python of the README and of the search."""

import doctest
import functools
import importlib
import pkgutil
import re

import numpy as np
import pytest
from compilers import CPP_MODES, in_each, needed_device, run_program
from small_models import needs_tflm, sequences, sequential

import keras_fastgrnn
from keras_fastgrnn import FastGRNN, export, keras, recipe


def _modules():
    yield keras_fastgrnn.__name__
    for module in pkgutil.walk_packages(keras_fastgrnn.__path__, f"{keras_fastgrnn.__name__}."):
        if not module.name.endswith(".__main__"):
            yield module.name


@pytest.mark.parametrize("name", list(_modules()))
def test_docstring_examples(name, tmp_path, monkeypatch):
    module = importlib.import_module(name)
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert result.failed == 0


def code_in(path, language):
    blocks = re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), re.M | re.S)
    assert blocks
    return "\n".join(blocks)


def test_python_of_the_readme_runs(root, tmp_path, run_python):
    (tmp_path / "readme.py").write_text(code_in(root / "README.md", "python"))
    run_python("readme.py")


def test_python_of_the_budget_search_runs(root, tmp_path, monkeypatch):
    """As it stands, but for fewer settings and epochs."""
    needed_device("atmega328p")
    rng = np.random.default_rng(0)
    x, x_validation = rng.normal(size=(2, 40, 128, 9)).astype("float32")
    names = {"x": x, "x_validation": x_validation, "y": np.arange(40) % 6}
    names["y_validation"] = names["y"]
    short = {"candidates": 2, "units": [4], "epochs": 3, "quantization_epochs": 1}
    monkeypatch.setattr(recipe, "search", functools.partial(recipe.search, **short))
    monkeypatch.chdir(tmp_path)
    exec(code_in(root / "docs" / "budget_search.md", "python"), names)
    assert (tmp_path / "search.png").exists()
    assert names["deployed"].predict(x[:2]).shape == (2, 6)
    assert names["cycles"](names["result"].model) > 1000


@needs_tflm  # without it the arena's size is not measured
@in_each(CPP_MODES)
def test_cpp_of_the_readme_names_what_the_generated_files_declare(root, tmp_path, mode):
    """Not TFLite Micro's own names: no package brings its headers."""
    code = code_in(root / "README.md", "cpp")
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
