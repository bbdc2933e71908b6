"""Entries that are found by their modules: operators and layers."""

import importlib
import pkgutil
from types import ModuleType


def import_modules(package: ModuleType) -> None:
    """Imports every module of a package, each of which registers its entry.

    Args:
        package: Module of a package.
    """
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
