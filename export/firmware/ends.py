"""The model's inputs and outputs in C: sizes, scales, and the way to integers and back."""

import math

import numpy as np

from keras_fastgrnn.export.firmware.names import C_TYPES, comment_text, literal
from keras_fastgrnn.graph.graph import Tensor


def declarations(name: str, inputs: list[Tensor], outputs: list[Tensor]) -> str:
    """Returns the constants and functions of the model's inputs and outputs, for C99 and C++11.

    The first input and output are the model's own; the others, if any, are its states.

    Args:
        name: String, a C identifier.
        inputs: List of tensors with the shapes, types and scales of the file.
        outputs: List of tensors, as many.

    Returns:
        String.
    """
    parts = [constants(name, "INPUT", "Input", inputs[0])]
    parts += [constants(name, "OUTPUT", "Output", outputs[0])]
    if len(inputs) > 1:
        parts.append(_states(name, inputs[1:]))
    return "\n\n".join([*parts, *conversions(name, inputs[0], outputs[0])])


def conversions(name: str, x: Tensor, output: Tensor) -> list[str]:
    """Returns the functions from real inputs to integers, and from integer outputs back.

    Args:
        name: String, a C identifier.
        x: The model's input.
        output: The model's output.
    """
    parts = [_quantize(name, x)] if x.scale is not None else []
    return parts + ([_dequantize(name, output)] if output.scale is not None else [])


def steps_of(tensor: Tensor) -> int:
    """Returns how many time steps a tensor holds; it may have a batch of 1.

    Args:
        tensor: Input or output of a file.
    """
    return math.prod(tensor.shape[:-1])


def constants(name: str, role: str, title: str, tensor: Tensor) -> str:
    """Returns the size, scale and zero point of a tensor as macros of C.

    Args:
        name: String, a C identifier.
        role: String, what the macros call it, such as "INPUT".
        title: String, what the comment calls it.
        tensor: Input, output or state of the model.
    """
    prefix, size, steps = f"{name.upper()}_{role}", tensor.shape[-1], steps_of(tensor)
    if steps > 1:
        what = f"{steps} steps of {size} values each"
        lines = [f"#define {prefix}_STEPS {steps}"]
    else:
        what, lines = f"{size} values", []
    lines.insert(0, f"/* {title}: {what}, of type {C_TYPES[tensor.dtype]}. */")
    lines.append(f"#define {prefix}_SIZE {size}")
    if tensor.scale is not None:
        lines += [
            f"/* real value = (integer - {prefix}_ZERO_POINT) * {prefix}_SCALE */",
            f"#define {prefix}_SCALE {literal(tensor.scale, 'float32')}",
            f"#define {prefix}_ZERO_POINT ({tensor.zero_point})",
        ]
    return "\n".join(lines)


def _states(name, states: list[Tensor]) -> str:
    prefix = f"{name.upper()}_STATE"
    parts = [
        f"""/* The caller keeps the states: input {prefix}_<n>_INDEX takes what the output of that
   index gave in the step before. A sequence starts from {prefix}_<n>_START everywhere. */
#define {prefix}_COUNT {len(states)}"""
    ]
    for number, tensor in enumerate(states):
        start = literal(tensor.zero_point, tensor.dtype)
        title = f"State {number}, {comment_text(tensor.name)}"
        lines = constants(name, f"STATE_{number}", title, tensor)
        parts.append(
            f"{lines}\n#define {prefix}_{number}_INDEX {number + 1}\n"
            f"#define {prefix}_{number}_START ({start})"
        )
    return "\n\n".join(parts)


def _quantize(name, tensor: Tensor) -> str:
    upper, c_type = name.upper(), C_TYPES[tensor.dtype]
    limits = np.iinfo(tensor.dtype)
    low, high = (literal(end - tensor.zero_point, "float32") for end in (limits.min, limits.max))
    return f"""/* One real value as an integer: half rounds away from zero, what is too large is
   clipped, and NaN becomes the largest integer. */
static inline {c_type} {name}_quantize_input(float value) {{
  const float quotient = value / {upper}_INPUT_SCALE;
  if (!(quotient < {high})) return {limits.max};
  if (quotient <= {low}) return {limits.min};
  const int32_t whole = (int32_t)quotient;
  const float fraction = quotient - (float)whole;
  const int32_t nearest = fraction >= 0.5f ? whole + 1 : fraction <= -0.5f ? whole - 1 : whole;
  return ({c_type})(nearest + {upper}_INPUT_ZERO_POINT);
}}

/* The {upper}_INPUT_SIZE values of one time step. */
static inline void {name}_quantize_input_vector(const float *values, {c_type} *integers) {{
  for (int i = 0; i < {upper}_INPUT_SIZE; ++i) {{
    integers[i] = {name}_quantize_input(values[i]);
  }}
}}"""


def _dequantize(name, tensor: Tensor) -> str:
    upper, c_type = name.upper(), C_TYPES[tensor.dtype]
    return f"""/* One integer of the output as a real value. */
static inline float {name}_dequantize_output({c_type} value) {{
  return (float)(value - {upper}_OUTPUT_ZERO_POINT) * {upper}_OUTPUT_SCALE;
}}

/* The {upper}_OUTPUT_SIZE values of one answer. */
static inline void {name}_dequantize_output_vector(const {c_type} *integers, float *values) {{
  for (int i = 0; i < {upper}_OUTPUT_SIZE; ++i) {{
    values[i] = {name}_dequantize_output(integers[i]);
  }}
}}"""
