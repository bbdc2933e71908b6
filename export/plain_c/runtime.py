"""The functions that generated C calls: the files of C beside this one, put together by name."""

import functools
import re
from collections.abc import Iterable
from pathlib import Path

FOLDER = Path(__file__).parent

# A function of a target's file, with the comment before it.
_TWIN = re.compile(r"^/\*.*?^static inline \w+ (\w+)\(.*?^}$", re.MULTILINE | re.DOTALL)

_INCLUDES = re.compile(r'^#(?:pragma once|include (?:<stdint\.h>|"(\w+)\.h"))\n', re.MULTILINE)


def names() -> list[str]:
    """Returns the names of all files, each that of what it defines."""
    return sorted(path.stem for path in FOLDER.glob("*.h"))


@functools.cache
def _text(name: str) -> str:
    return (FOLDER / f"{name}.h").read_text(encoding="ascii")


def portable(name: str) -> str:
    """Returns what a file defines, without what it includes.

    Args:
        name: String, one of `names()`.
    """
    return _INCLUDES.sub("", _text(name)).strip()


@functools.cache
def targets() -> dict[str, dict[str, str]]:
    """Returns what targets compute faster, by the condition of C that tells a target.

    Returns:
        Dictionary from the condition to one from the names of functions to their text.
    """
    found = {}
    for path in sorted((FOLDER / "targets").glob("*.h")):
        _, condition, body = re.split(r"^#if (.+)$", path.read_text("ascii"), flags=re.MULTILINE)
        found[condition] = {twin[1]: twin[0] for twin in _TWIN.finditer(body)}
    return found


def definition(name: str) -> str:
    """Returns what a file defines, for the targets that compute it faster in their way.

    Args:
        name: String, one of `names()`.
    """
    text = portable(name)
    twins = [(condition, own[name]) for condition, own in targets().items() if name in own]
    if not twins:
        return text
    cases = "\n#elif ".join(f"{condition}\n{twin}" for condition, twin in twins)
    return f"#if {cases}\n#else\n{text}\n#endif"


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
