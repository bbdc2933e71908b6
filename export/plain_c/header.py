"""The header of a model in plain C: what a firmware calls, what it computes and costs."""

import textwrap

from keras_fastgrnn.export.firmware.ends import constants, conversions
from keras_fastgrnn.export.firmware.names import banner, comment_text, export_id
from keras_fastgrnn.export.plain_c.schedule import sources
from keras_fastgrnn.export.plain_c.source import Source, short
from keras_fastgrnn.graph.graph import Constant, Op, Tensor
from keras_fastgrnn.graph.operators import operator_of


def header(source: Source) -> str:
    """Returns the text of `NAME.h`, for C99 and C++11.

    Args:
        source: `Source` of the model.
    """
    name, upper, graph = source.name, source.name.upper(), source.graph
    (x,), (output,) = graph.inputs, graph.outputs
    helpers = "\n\n".join(conversions(name, x, output))
    members = "\n".join(f"  int16_t {member}[{n}];" for member, n in source.state_members())
    return f"""{banner(name)}
#ifndef {upper}_H_
#define {upper}_H_

#include <stdint.h>

{export_id(name, f"{name}.h")}

{_description(source)}

{constants(name, "INPUT", "Input", x)}

{constants(name, "OUTPUT", "Output", output)}

#define {upper}_STATE_BYTES {source.state_bytes}
#define {upper}_CONSTANT_BYTES {sum(source.tables.values())}
#define {upper}_MULTIPLY_ACCUMULATES {source.multiply_accumulates}

#ifdef __cplusplus
extern "C" {{
#endif

/* What is kept from one time step to the next. The caller owns it: one for each sequence that runs
   at the same time. */
typedef struct {{
{members}
}} {name}_state;

/* Begins a sequence. */
void {name}_reset({name}_state *state);

/* One time step of {upper}_INPUT_SIZE integers. */
void {name}_step({name}_state *state, const int16_t *input);

/* The {upper}_OUTPUT_SIZE answers after the steps so far. */
void {name}_output(const {name}_state *state, int16_t *logits);

/* {_class_comment(output)} */
uint16_t {name}_classify(const {name}_state *state);

#ifdef __cplusplus
}}
#endif

/* For sensors that give floats: define {upper}_FLOATS before this file is included. */
#ifdef {upper}_FLOATS
{helpers}
#endif

#endif /* {upper}_H_ */
"""


def _class_comment(output: Tensor) -> str:
    if output.shape[-1] == 1:
        return "Whether the answer is above 0."
    return "Which answer is the largest, the first of equals."


def _description(source: Source) -> str:
    """What is computed, in the words of the exporter's graph."""
    lines = [
        "One time step, in integers of 16 bits and weights of 8 or 4. In real numbers:",
        "",
        *(f"  {_equation(op)}" for op in source.graph.ops),
        "",
        "A state on the right is that of the step before.",
        "",
        f"A step is {source.multiply_accumulates:,} multiply-accumulates with the answer; the "
        f"constants take {sum(source.tables.values()):,} bytes.",
    ]
    wrapped = [part for line in lines for part in _wrapped(line)]
    return "/* " + "\n".join(f"   {line}".rstrip() for line in wrapped).lstrip() + " */"


def _wrapped(line: str) -> list[str]:
    return textwrap.wrap(line, 94, subsequent_indent="      ") or [""]


def _equation(op: Op) -> str:
    values = [_constant(t) if isinstance(t, Constant) else _name(t) for t in op.inputs]
    clip = f", clipped to [{op.low:g}, {op.high:g}]" if op.is_clipped else ""
    largest = 2**15 * op.output.unit
    operator = operator_of(op.kind)
    if operator.has_matrix:
        terms = [f"{_name(t)} * matrix" for t in sources(op)]
        text = " + ".join(terms + ([] if op.bias is None else ["bias"]))
    else:
        text = operator.equation.format(*values)
    return f"{_name(op.output)} = {text}{clip} (within {largest:g})"


def _name(tensor: Tensor) -> str:
    return comment_text(short(tensor))


def _constant(tensor: Constant) -> str:
    values = tensor.data.ravel()
    return f"{values[0] * tensor.unit:g}" if (values == values[0]).all() else "constants"
