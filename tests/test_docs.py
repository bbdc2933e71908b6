"""Runs every example of the docstrings, and the Python of the README."""

import doctest
import importlib
import pkgutil
import re

import pytest

import keras_fastgrnn
import keras_fastgrnn.export


def _modules():
    for package in (keras_fastgrnn, keras_fastgrnn.export):
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


def test_readme(root, tmp_path, run_python):
    blocks = re.findall(r"^```python\n(.*?)^```", (root / "README.md").read_text(), re.M | re.S)
    assert blocks
    (tmp_path / "readme.py").write_text("\n".join(blocks))
    run_python("readme.py")
