"""The operators of a TFLite file as C++ that registers them with TFLite Micro."""

from keras_fastgrnn.export.firmware.names import export_id, header_file
from keras_fastgrnn.export.tflite.flatbuffer_reader import read_model
from keras_fastgrnn.export.tflite.schema import OPERATORS


def header(name: str, tflite: bytes) -> str:
    """Returns the text of `NAME_ops.h`, for C99 (the count alone) and C++11.

    It includes nothing of TFLite Micro: any class with its resolver's methods will do.

    Args:
        name: String, a C identifier.
        tflite: Bytes of the `.tflite` file, which the operators are read from.

    Returns:
        String.
    """
    upper = name.upper()
    methods = [_method(operator) for operator in _operators(tflite)]
    calls = " &&\n         ".join(f"resolver.{method}() == 0" for method in methods)
    return header_file(
        name,
        "ops",
        export_id(name, f"{name}_ops.h"),
        f"/* Operators that the model uses. */\n#define {upper}_OPERATOR_COUNT {len(methods)}",
        f"""#ifdef __cplusplus
/* Registers them with a tflite::MicroMutableOpResolver<{upper}_OPERATOR_COUNT>, or a larger one.
   Returns whether every one succeeded: 0 is kTfLiteOk. */
template <typename Resolver>
bool {name}_add_operators(Resolver& resolver) {{
  return {calls};
}}
#endif""",
    )


def _operators(tflite) -> list[str]:
    names = {code: name for name, code in OPERATORS.items()}
    codes = {table["builtin_code"] for table in read_model(tflite)["operator_codes"]}
    return sorted(names[code] for code in codes)


def _method(operator) -> str:
    """The resolver's methods are named so for all operators that are written here."""
    return "Add" + "".join(word.capitalize() for word in operator.split("_"))
