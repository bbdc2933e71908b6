"""The built wheel, installed away from the source tree, and what importing it brings in."""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from email.parser import HeaderParser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import keras_fastgrnn

BUILT_FROM = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "NOTICE")
PACKAGES = ("keras_fastgrnn", "export")


@pytest.fixture(scope="module")
def installed(root, tmp_path_factory) -> Path:
    """The folder that the wheel, built from a copy of the sources, is installed in."""
    folder = tmp_path_factory.mktemp("packaging")
    source, target = folder / "source", folder / "target"
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(root / package, source / package, symlinks=True, ignore=ignored)
    for name in BUILT_FROM:
        shutil.copy(root / name, source)

    build = ["build", "--wheel", "--no-isolation", "--outdir", folder, source]
    _run_module(folder, *build)
    (wheel,) = folder.glob("*.whl")
    _run_module(folder, "pip", "install", "--no-deps", "--no-index", "--target", target, wheel)
    return target


def _run_module(folder, *arguments):
    command = [sys.executable, "-m", *map(str, arguments)]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.fixture(scope="module")
def metadata(installed):
    (info,) = installed.glob("keras_fastgrnn-*.dist-info")
    return HeaderParser().parsestr((info / "METADATA").read_text())


def test_wheel_holds_both_packages(installed):
    for package in ("keras_fastgrnn", "keras_fastgrnn/export"):
        assert (installed / package / "__init__.py").is_file()
        assert (installed / package / "py.typed").is_file()
    assert not (installed / "export").exists()


def test_wheel_trains_and_exports_from_another_folder(installed, run_python):
    code = """
import numpy as np
import keras_fastgrnn, keras_fastgrnn.export
from keras_fastgrnn import FastGRNN, keras

model = keras.Sequential([keras.layers.Input((8, 9)), FastGRNN(16, recurrent_rank=4)])
model.compile("adam", "mse")
x = np.random.default_rng(0).normal(size=(32, 8, 9))
model.fit(x, np.zeros((32, 16)), verbose=0)
deployed = keras_fastgrnn.export.convert(model, x)
print(keras_fastgrnn.__file__, keras_fastgrnn.export.__file__, deployed.tflite[4:8], sep="\\n")
"""
    output = run_python("-c", code, PYTHONPATH=str(installed))
    package = installed / "keras_fastgrnn"
    assert output.splitlines() == [
        str(package / "__init__.py"),
        str(package / "export" / "__init__.py"),
        "b'TFL3'",
    ]


def test_wheel_installs_the_command(installed, tmp_path):
    command = installed / "bin" / "fastgrnn-export"
    clean = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    result = subprocess.run(
        [command, "inspect", "nothing"],
        cwd=tmp_path,
        env={**clean, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
    )
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "fastgrnn-export: error: No such file or directory: nothing\n"


def test_metadata(metadata):
    assert metadata["Name"] == "keras-fastgrnn"
    assert metadata["Version"] == keras_fastgrnn.__version__
    assert metadata["Requires-Python"] == "<3.14,>=3.10"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata.get_all("License-File") == ["LICENSE", "NOTICE"]


def test_no_dependency_is_named_twice(metadata):
    counts = Counter()
    for line in metadata.get_all("Requires-Dist"):
        extra = re.search(r'extra == "(\w+)"', line)
        counts[canonicalize_name(Requirement(line).name), extra and extra[1]] += 1
    assert counts["tensorflow", None] == 1
    assert {name for name, count in counts.items() if count > 1} == set()


def test_import_needs_neither_tflite_micro_nor_model_optimization(run_python):
    code = """
import os, sys
sys.modules["tflite_micro"] = None
sys.modules["tensorflow_model_optimization"] = None
import keras_fastgrnn, keras_fastgrnn.export
print("TF_USE_LEGACY_KERAS" in os.environ)
"""
    assert run_python("-c", code).strip() == "False"
