"""What is built and installed away from the source tree, and what importing it brings in."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections import Counter
from email.parser import HeaderParser
from pathlib import Path

import pytest
import setuptools
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import keras_fastgrnn

BUILT_FROM = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "NOTICE")
PACKAGES = ("keras_fastgrnn", "export")

FIND_WITHOUT_IMPORT = """
from importlib.machinery import PathFinder
from importlib.util import find_spec

places = find_spec("keras_fastgrnn").submodule_search_locations
for name in ("keras_fastgrnn.export", "keras_fastgrnn.export.tflite"):
    found = PathFinder.find_spec(name, places)
    places = found.submodule_search_locations
    print(found.origin)
"""


@pytest.fixture(scope="module")
def clone(root, tmp_path_factory) -> Path:
    """The folder of a copy of the sources, with their link."""
    clone = tmp_path_factory.mktemp("packaging") / "clone"
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(root / package, clone / package, symlinks=True, ignore=ignored)
    for name in BUILT_FROM:
        shutil.copy(root / name, clone)
    return clone


@pytest.fixture(scope="module")
def wheel(clone) -> Path:
    """A wheel that is built from the sdist."""
    _run_module(clone.parent, "build", "--no-isolation", "--outdir", clone.parent, clone)
    (wheel,) = clone.parent.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def installed(wheel) -> Path:
    """The folder that the wheel is installed in."""
    target = wheel.parent / "target"
    install = ["pip", "install", "--no-deps", "--no-index", "--target", target, wheel]
    _run_module(wheel.parent, *install)
    return target


def _run_module(folder, *arguments):
    command = [sys.executable, "-m", *map(str, arguments)]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.fixture(scope="module")
def metadata(installed):
    (info,) = installed.glob("keras_fastgrnn-*.dist-info")
    return HeaderParser().parsestr((info / "METADATA").read_text())


def test_wheel_holds_every_file_of_both_packages_once(root, wheel):
    tracked = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *PACKAGES]
    listed = subprocess.run(tracked, cwd=root, capture_output=True, text=True, check=True).stdout
    files = [file for file in listed.splitlines() if (root / file).is_file()]
    expected = [re.sub("^export/", "keras_fastgrnn/export/", file) for file in files]
    with zipfile.ZipFile(wheel) as archive:
        held = [name for name in archive.namelist() if ".dist-info/" not in name]
    assert sorted(held) == sorted(expected)
    assert {"keras_fastgrnn/py.typed", "keras_fastgrnn/export/py.typed"} <= set(held)


@pytest.mark.parametrize("mode", ["lenient", "strict"])
def test_editable_install_holds_the_exporter(clone, mode, tmp_path):
    venv.create(tmp_path, with_pip=False)
    python = tmp_path / ("Scripts" if os.name == "nt" else "bin") / "python"
    own = Path(sysconfig.get_path("purelib", vars={"base": str(tmp_path)}))
    (own / "build.pth").write_text(str(Path(setuptools.__file__).parent.parent))
    options = ["--no-deps", "--no-index", "--no-build-isolation"]
    settings = ["--config-settings", f"editable_mode={mode}"]
    _run_module(tmp_path, "pip", "--python", python, "install", *options, *settings, "-e", clone)
    find = [python, "-c", FIND_WITHOUT_IMPORT]
    found = subprocess.run(find, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    exporter, room = map(Path, found.splitlines())
    assert (exporter.resolve(), room.resolve()) == (
        clone / "export" / "__init__.py",
        clone / "export" / "tflite" / "__init__.py",
    )


def test_exporter_is_found_in_the_folder_of_a_clone_beside_an_installed_wheel(
    clone, installed, monkeypatch
):
    """Python looks in the folder it is started in first."""
    find = [sys.executable, "-c", FIND_WITHOUT_IMPORT]
    monkeypatch.setenv("PYTHONPATH", str(installed))
    found = subprocess.run(find, cwd=clone, capture_output=True, text=True, check=True).stdout
    assert Path(found.splitlines()[0]) == clone / "keras_fastgrnn" / "export" / "__init__.py"


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
