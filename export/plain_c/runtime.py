"""The functions that generated C calls: the files of C beside this one, put together by name."""

import functools
import re
from collections.abc import Iterable
from pathlib import Path

FOLDER = Path(__file__).parent

_INCLUDES = re.compile(r'^#(?:pragma once|include (?:<stdint\.h>|"(\w+)\.h"))\n', re.MULTILINE)


def names() -> list[str]:
    """Returns the names of all files, each that of what it defines."""
    return sorted(path.stem for path in FOLDER.glob("*.h"))


@functools.cache
def _text(name: str) -> str:
    return (FOLDER / f"{name}.h").read_text(encoding="ascii")


def definition(name: str) -> str:
    """Returns what a file defines, without what it includes.

    Args:
        name: String, one of `names()`.
    """
    return _INCLUDES.sub("", _text(name)).strip()


def of_model(text: str, name: str) -> str:
    """Returns C for the model called "model", as `model.h` declares it, with another's names.

    Args:
        text: String.
        name: String, the other model's name.
    """
    text = text.replace("MODEL_", f"{name.upper()}_")
    return re.sub(r"\bmodel(?=_|\.h\b)", name, text)


def needed(wanted: Iterable[str]) -> set[str]:
    """Returns names, and those of all files that they include.

    Args:
        wanted: Strings, of `names()`.
    """
    found, left = set(), list(wanted)
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += filter(None, _INCLUDES.findall(_text(name)))
    return found
