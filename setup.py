"""Where the packages lie; everything else about the project stands in pyproject.toml."""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["keras_fastgrnn", "keras_fastgrnn.*"], exclude=["*.export*"]),
        "keras_fastgrnn.export",
        *(f"keras_fastgrnn.export.{room}" for room in find_packages("export")),
    ],
    package_dir={"keras_fastgrnn.export": "export"},
    package_data={"": ["py.typed", "*.h", "*.c", "targets/*.h"]},
)
