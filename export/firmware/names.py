"""What the generated C files share: their names, frame and numbers."""

import hashlib
import re
import textwrap

import numpy as np

from keras_fastgrnn import __version__
from keras_fastgrnn.keras_api import invalid_argument

_UNMARKED = "0x00000000"
C_TYPES = {"float32": "float", "int16": "int16_t", "int8": "int8_t"}


def check_name(name) -> str:
    """Checks that a model's name can begin the names of C and of files.

    Every name in the generated files is the model's with an ending, such as `gesture_model` or
    `GESTURE_INPUT_SIZE`, so that keywords may begin them too.

    Args:
        name: String.

    Returns:
        `name`.

    Raises:
        ValueError: If it is not a C identifier, or begins with an underscore.
    """
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise invalid_argument("name", "a C identifier such as 'gesture'", name)
    return name


def banner(name: str) -> str:
    """Returns the first line of every generated file.

    Args:
        name: String, the model's.
    """
    return (
        f"/* Model {name}, written by keras-fastgrnn {__version__}. This file is yours: it "
        "carries no license. */"
    )


def header_file(name: str, ending: str, *parts: str) -> str:
    """Returns the text of `NAME_ENDING.h`.

    Args:
        name: String, the model's.
        ending: String, such as "model".
        *parts: Strings, the text between the include guards; they are separated by empty lines.
    """
    guard = f"{name}_{ending}_H_".upper()
    opening = f"{banner(name)}\n#ifndef {guard}\n#define {guard}"
    return "\n\n".join([opening, *parts, f"#endif /* {guard} */\n"])


def export_id(name: str, file_name: str) -> str:
    """Returns what a header says about the export it is of, and refuses another's.

    The number is 0 until `marked` sets it. Headers may be included in any order.

    Args:
        name: String, the model's.
        file_name: String, the header's.
    """
    macro = f"{name.upper()}_EXPORT_ID"
    return f"""/* The same in all files of one export. */
#ifndef {macro}
#define {macro} {_UNMARKED}
#elif {macro} != {_UNMARKED}
{_error(file_name)}
#endif"""


def export_check(name: str, file_name: str) -> str:
    """Returns what a file says that has included a header of the same export.

    Args:
        name: String, the model's.
        file_name: String, the file's.
    """
    return f"#if {name.upper()}_EXPORT_ID != {_UNMARKED}\n{_error(file_name)}\n#endif"


def _error(file_name) -> str:
    return f'#error "{file_name} is of another export: copy all the files that one save wrote."'


def marked(texts: dict[str, str], *others: bytes) -> dict[str, str]:
    """Returns the files of one export, marked by a hash of them all.

    Args:
        texts: Dictionary from a file's name or ending to its text.
        *others: Bytes of files that are of the same export, and hold no mark.
    """
    digest = hashlib.sha256()
    for part in (*(text.encode() for _, text in sorted(texts.items())), *others):
        digest.update(hashlib.sha256(part).digest())
    mark = f"0x{digest.hexdigest()[:8]}"
    place = re.compile(rf"(?<=_EXPORT_ID ){_UNMARKED}|(?<=_EXPORT_ID != ){_UNMARKED}")
    return {name: place.sub(mark, text) for name, text in texts.items()}


def literal(value, dtype: str) -> str:
    """Returns a number as C writes it, exact for every finite value of the type.

    Args:
        value: Number.
        dtype: String, "float32" or an integer type.
    """
    if dtype != "float32":
        return str(int(value))
    text = f"{np.float32(value):.9g}"
    return f"{text}f" if "." in text or "e" in text else f"{text}.0f"


def comment_text(text: str) -> str:
    """Returns text that cannot end a C comment: a Keras name may hold any character.

    Args:
        text: String.
    """
    return re.sub(r"[^\w./ -]", "_", text, flags=re.ASCII)


def rows(texts: list[str], indent: str = "    ") -> str:
    """Returns numbers separated by commas, in lines of at most 100 characters.

    Args:
        texts: List of strings.
        indent: String before every line. Defaults to 4 spaces.
    """
    return textwrap.fill(
        ", ".join(texts),
        100,
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
    )
