"""A golden input and output in C, for a self-test on the device."""

import numpy as np

from keras_fastgrnn.export.firmware.names import C_TYPES, export_check, header_file, literal, rows
from keras_fastgrnn.graph.graph import Tensor

MOST_INVOKES = 16

# TFLite Micro's float kernels and a device's C library round differently.
FLOAT_TOLERANCE = 1e-5


def header(
    name: str,
    input_tensor: Tensor,
    output_tensor: Tensor,
    x: np.ndarray,
    y: np.ndarray,
    is_exact: bool = True,
) -> str:
    """Returns the text of `NAME_golden.h`, for C99 and C++11.

    Args:
        name: String, a C identifier.
        input_tensor: The model's own input.
        output_tensor: The model's own output.
        x: Array of inputs in the model's own numbers, one for each Invoke of a sequence from its
            start; the first 16 are written.
        y: Array of the output of each Invoke.
        is_exact: Boolean, whether an integer output must be met exactly, or to one unit because
            it was computed in floats. Defaults to `True`.

    Returns:
        String.
    """
    upper = name.upper()
    count = min(len(x), MOST_INVOKES)
    x, y = (values[:count].reshape(count, -1) for values in (x, y))
    in_type, out_type = (C_TYPES[tensor.dtype] for tensor in (input_tensor, output_tensor))
    return header_file(
        name,
        "golden",
        f'#include <stdint.h>\n\n#include "{name}_model.h"',
        export_check(name, f"{name}_golden.h"),
        f"""/* The start of the calibration data's first sequence: what each Invoke() is given, and
   what it must answer. */
#define {upper}_GOLDEN_INVOKES {count}
{_array(f"{name}_golden_input", upper, x, input_tensor)}
{_array(f"{name}_golden_output", upper, y, output_tensor)}""",
        f"""/* Call it at the start of a sequence. `invoke` gives the model an input, runs it,
   copies its output (and any state that the caller keeps) and returns 0. The result is
   how many values are wrong, 0 if all is well, or -1 if `invoke` fails. */
static inline int {name}_self_test(int (*invoke)(const {in_type} *input, {out_type} *output)) {{
  int wrong = 0;
  for (int i = 0; i < {upper}_GOLDEN_INVOKES; ++i) {{
    {out_type} output[{y.shape[1]}];
    if (invoke({name}_golden_input[i], output) != 0) return -1;
    for (int j = 0; j < {y.shape[1]}; ++j) {{
      const {out_type} expected = {name}_golden_output[i][j];
{_comparison(output_tensor, is_exact)}
    }}
  }}
  return wrong;
}}""",
    )


def _array(symbol, upper, values, tensor: Tensor) -> str:
    literals = [[literal(value, tensor.dtype) for value in row] for row in values]
    lines = [f"    {{{rows(row, ' ' * 5).strip()}}}" for row in literals]
    return (
        f"static const {C_TYPES[tensor.dtype]} "
        f"{symbol}[{upper}_GOLDEN_INVOKES][{values.shape[1]}] = {{\n" + ",\n".join(lines) + "\n};"
    )


def _comparison(tensor: Tensor, is_exact: bool) -> str:
    if tensor.dtype != "float32" and is_exact:
        return "      if (output[j] != expected) ++wrong;"
    if tensor.dtype != "float32":
        return """      const int error = output[j] - expected;
      if (error < -1 || 1 < error) ++wrong;"""
    return f"""      const float size = expected < 0.0f ? -expected : expected;
      const float tolerance = {FLOAT_TOLERANCE}f * (size < 1.0f ? 1.0f : size);
      const float error = output[j] - expected;
      if (!(-tolerance <= error && error <= tolerance)) ++wrong;"""
