"""Where the two packages lie; everything else about the project stands in pyproject.toml."""

from setuptools import setup

setup(
    packages=["keras_fastgrnn", "keras_fastgrnn.export"],
    package_dir={"keras_fastgrnn.export": "export"},
    package_data={"": ["py.typed"]},
)
