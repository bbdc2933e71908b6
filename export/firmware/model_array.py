"""Flatbuffer -> C array and header, for a firmware that links TFLite Micro."""

from keras_fastgrnn.export.firmware.ends import declarations
from keras_fastgrnn.export.firmware.names import banner, export_check, export_id, header_file, rows
from keras_fastgrnn.graph.graph import Tensor


def header(
    name: str,
    tflite: bytes,
    arena_bytes: int | None,
    inputs: list[Tensor],
    outputs: list[Tensor],
) -> str:
    """Returns the text of `NAME_model.h`, for C99 and C++11.

    Args:
        name: String, a C identifier.
        tflite: Bytes of the `.tflite` file.
        arena_bytes: Integer, or `None` where it was not measured.
        inputs: List of the model's input tensors: its own input, then the states it is given.
        outputs: List of the model's output tensors, in the same order.

    Returns:
        String.
    """
    upper = name.upper()
    array = f"""/* The model, aligned to 16 bytes. {_invocation(inputs)} */
#define {upper}_MODEL_LENGTH {len(tflite)}
#ifdef __cplusplus
extern "C" {{
#endif
extern const unsigned char {name}_model[{upper}_MODEL_LENGTH];
#ifdef __cplusplus
}}
#endif"""
    arena = (
        "/* Bytes of tensor arena: the smallest that runs on 64-bit Linux; 32-bit devices need "
        f"less. */\n#define {upper}_ARENA_SIZE {arena_bytes}"
    )
    if arena_bytes is None:
        arena = (
            "/* The arena is not measured: TFLite Micro was not installed when this file was "
            "written. */"
        )
    tensors = declarations(name, inputs, outputs)
    mark = export_id(name, f"{name}_model.h")
    return header_file(name, "model", "#include <stdint.h>", mark, array, arena, tensors)


def source(name: str, tflite: bytes) -> str:
    """Returns the text of `NAME_model.cc`, C++11; renamed to `NAME_model.c` it is C99.

    Args:
        name: String, a C identifier.
        tflite: Bytes of the `.tflite` file.

    Returns:
        String.
    """
    return f"""{banner(name)}
#include "{name}_model.h"

{export_check(name, f"{name}_model.cc")}

#ifdef __cplusplus
alignas(16)
#else
__attribute__((aligned(16)))
#endif
const unsigned char {name}_model[{name.upper()}_MODEL_LENGTH] = {{
{rows([f"0x{byte:02x}" for byte in tflite])}
}};
"""


def _invocation(inputs) -> str:
    if len(inputs[0].shape) == 3:
        return "One Invoke() is a whole sequence."
    if len(inputs) > 1:
        return "One Invoke() is one time step."
    return "One Invoke() is one time step; Reset() starts a sequence."
