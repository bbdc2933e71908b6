"""Runs every example of the docstrings, and the Python of the README."""

import doctest
import importlib
import inspect
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


@pytest.mark.parametrize(
    "package", [keras_fastgrnn, keras_fastgrnn.export], ids=lambda p: p.__name__
)
def test_everything_public_has_an_example(package):
    public = {name: getattr(package, name) for name in package.__all__}
    documented = {n: o for n, o in public.items() if inspect.isclass(o) or inspect.isfunction(o)}
    assert documented
    assert [n for n, o in documented.items() if "\nExample:\n" not in inspect.getdoc(o)] == []


def test_readme(root, tmp_path, run_python):
    blocks = re.findall(r"^```python\n(.*?)^```", (root / "README.md").read_text(), re.M | re.S)
    assert blocks
    (tmp_path / "readme.py").write_text("\n".join(blocks))
    run_python("readme.py")
