"""Flatbuffer -> C array and header, for a firmware that links TFLite Micro."""

import re

from keras_fastgrnn import __version__
from keras_fastgrnn.export.graph import Tensor

_KEYWORDS = """
    alignas alignof and and_eq asm auto bitand bitor bool break case catch char char16_t
    char32_t class compl const const_cast constexpr continue decltype default delete do double
    dynamic_cast else enum explicit export extern false float for friend goto if inline int
    long mutable namespace new noexcept not not_eq nullptr operator or or_eq private protected
    public register reinterpret_cast restrict return short signed sizeof static static_assert
    static_cast struct switch template this thread_local throw true try typedef typeid
    typename union unsigned using virtual void volatile wchar_t while xor xor_eq
"""  # C99 and C++11
_BYTES_A_LINE = 12


def check_name(name) -> str:
    """Checks that a model's name can begin the names of C.

    Args:
        name: String.

    Returns:
        `name`.

    Raises:
        ValueError: If it is not a C identifier.
    """
    valid = isinstance(name, str) and re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name)
    if not valid or name in _KEYWORDS.split():
        raise ValueError(
            "Received an invalid value for argument name, expected a C identifier such as "
            f"'gesture', got {name!r}."
        )
    return name


def header(
    name: str, tflite: bytes, arena_bytes: int | None, inputs: Tensor, outputs: Tensor
) -> str:
    """Returns the text of `NAME_model.h`, for C99 and C++11.

    Args:
        name: String, a C identifier.
        tflite: Bytes of the `.tflite` file.
        arena_bytes: Integer, or `None` where it was not measured.
        inputs: The model's input tensor.
        outputs: The model's output tensor.

    Returns:
        String.
    """
    upper = name.upper()
    arena = (
        "/* Bytes of tensor arena: the smallest that runs on 64-bit Linux; 32-bit devices need "
        f"less. */\n#define {upper}_ARENA_SIZE {arena_bytes}"
    )
    if arena_bytes is None:
        arena = (
            "/* The arena is not measured: TFLite Micro was not installed when this file was "
            "written. */"
        )
    return f"""{_banner(name)}
#ifndef {upper}_MODEL_H_
#define {upper}_MODEL_H_

#ifdef __cplusplus
extern "C" {{
#endif

/* The model, aligned to 16 bytes. One Invoke() is one time step; Reset() starts a sequence. */
extern const unsigned char {name}_model[];
#define {upper}_MODEL_LENGTH {len(tflite)}

{arena}

{_tensor_constants(upper, "INPUT", inputs)}
{_tensor_constants(upper, "OUTPUT", outputs)}
#ifdef __cplusplus
}}
#endif

#endif /* {upper}_MODEL_H_ */
"""


def source(name: str, tflite: bytes) -> str:
    """Returns the text of `NAME_model.cc`, C++11.

    Args:
        name: String, a C identifier.
        tflite: Bytes of the `.tflite` file.

    Returns:
        String.
    """
    numbers = [f"0x{byte:02x}" for byte in tflite]
    rows = [numbers[i : i + _BYTES_A_LINE] for i in range(0, len(numbers), _BYTES_A_LINE)]
    body = "\n".join(f"    {', '.join(row)}," for row in rows)
    return f"""{_banner(name)}
#include "{name}_model.h"

alignas(16) extern const unsigned char {name}_model[{name.upper()}_MODEL_LENGTH] = {{
{body}
}};
"""


def _banner(name) -> str:
    return (
        f"/* Model {name}, written by keras-fastgrnn {__version__}. This file is yours: it "
        "carries no license. */"
    )


def _tensor_constants(upper, role, tensor: Tensor) -> str:
    c_type = {"float32": "float", "int16": "int16_t"}[tensor.dtype]
    lines = [
        f"/* {role.capitalize()} of a step: {tensor.shape[-1]} values of type {c_type}. */",
        f"#define {upper}_{role}_SIZE {tensor.shape[-1]}",
    ]
    if tensor.scale is not None:
        lines += [
            f"/* real value = (integer - {upper}_{role}_ZERO_POINT) * {upper}_{role}_SCALE */",
            f"#define {upper}_{role}_SCALE {tensor.scale!r}f",
            f"#define {upper}_{role}_ZERO_POINT {tensor.zero_point}",
        ]
    return "\n".join(lines) + "\n"
