"""How one time step becomes the subgraphs of a file.

Streaming is one subgraph, the step itself. A whole sequence is three: the main one, which runs a
WHILE and then what follows the last step, the WHILE's condition, and its body, which is the step.
The body takes each step's channels from the sequence laid out in a row, so that the position in it
is one number, which the condition can compare.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from keras_fastgrnn.graph.graph import Constant, Graph, Op, Tensor
from keras_fastgrnn.graph.operators import operator_of


@dataclass(eq=False)
class While:
    """The operator that runs the subgraph `body` as long as `condition` says true.

    Attributes:
        inputs: List of tensors before the first round.
        outputs: List of tensors after the last.
        condition: Integer, index of a subgraph.
        body: Integer, index of a subgraph.
    """

    inputs: list[Tensor]
    outputs: list[Tensor]
    condition: int
    body: int
    kind = "WHILE"


@dataclass(eq=False)
class Subgraph:
    """One subgraph of a file.

    Attributes:
        inputs: List of tensors given from outside.
        outputs: List of tensors returned.
        ops: List of operators in the order they run.
        variables: List of tensors that are 0 when the model is loaded or reset, and keep what is
            written to them.
        stored: Dictionary from a computed tensor to the variable in whose place it is written.
    """

    inputs: list[Tensor]
    outputs: list[Tensor]
    ops: Sequence[Op | While]
    variables: list[Tensor] = field(default_factory=list)
    stored: dict[Tensor, Tensor] = field(default_factory=dict)

    def tensors(self) -> list[Tensor]:
        """Returns every tensor once, but for the stored ones."""
        found = dict.fromkeys([*self.inputs, *self.variables])
        for op in self.ops:
            found.update(dict.fromkeys([*op.inputs, *op.outputs]))
        return [tensor for tensor in found if tensor not in self.stored]


def streaming(graph: Graph, explicit: bool) -> list[Subgraph]:
    """Packs one time step an Invoke.

    Args:
        graph: Graph of one time step.
        explicit: Boolean, whether the states are inputs and outputs; else they are kept inside.

    Returns:
        List of one `Subgraph`.
    """
    graph = _with_file_operands(graph)
    before = [state.before for state in graph.states]
    after = [state.after for state in graph.states]
    if explicit:
        return [Subgraph([*graph.inputs, *before], [*graph.outputs, *after], graph.ops)]
    stored = dict(zip(after, before, strict=True))
    return [Subgraph(graph.inputs, graph.outputs, graph.ops, before, stored)]


def sequence(graph: Graph, steps: int, every_step: bool, explicit: bool) -> list[Subgraph]:
    """Packs a whole sequence an Invoke.

    Args:
        graph: Graph of one time step.
        steps: Integer, length of the sequence.
        every_step: Boolean, whether the model returns what every step computes, or the last.
        explicit: Boolean, whether the states before the first step are inputs, and those after
            the last are outputs; else each sequence starts from 0.

    Returns:
        List of the main `Subgraph`, the condition and the body. The main one takes an input of
        shape `(1, steps, input_dim)`, and returns `(1, steps, outputs)` or `(1, outputs)`.
    """
    graph = _with_file_operands(graph)
    (x,), (y,) = graph.inputs, graph.outputs
    conversions = [op for op in graph.ops if operator_of(op.kind).mixes_types]
    entry = [op for op in conversions if op.inputs[0] is x]
    exit = [op for op in conversions if op.output is y and every_step]
    step_input = entry[0].output if entry else x
    step_output = exit[0].inputs[0] if exit else y

    channels = x.shape[-1]
    stride = _integers(channels)
    position = _Carried(_number("position"), _number("next_position"))
    row = _Carried(_shaped(step_input, steps * channels))
    states = [_Carried(state.before, state.after) for state in graph.states]
    results, collect = _collection(step_output, steps) if every_step else ([], [])
    wanted = [*(state.after for state in states), *(step_output for _ in results)]
    step = _needed(graph, wanted, given=step_input)
    rest = exit if every_step else [op for op in graph.ops if op not in [*entry, *step]]
    kept = [] if every_step else _kept_for_the_rest(rest, y, step_input, step, states)
    carried = [position, row, *states, *results, *kept]
    taken = _shaped(step_input, channels)
    body = Subgraph(
        [value.before for value in carried],
        [value.after for value in carried],
        [
            Op("SLICE", [row.before, position.before, stride], taken),
            Op("RESHAPE", [taken], step_input),
            *step,
            *collect,
            Op("ADD", [position.before, stride], position.after),
        ],
    )

    last = {value.after: value.last for value in [*states, *kept]}
    if every_step:
        last[step_output] = results[0].last
    rest = [dataclasses.replace(op, inputs=[last.get(t, t) for t in op.inputs]) for op in rest]
    output = last.get(y, y)
    if every_step:
        if exit:
            output = rest[-1].output = _shaped(y, *results[0].last.shape)
        rest.append(Op("RESHAPE", [output], _shaped(output, 1, *output.shape)))
        output = rest[-1].output
    whole_input = _shaped(x, 1, steps, channels)
    converted = _shaped(step_input, 1, steps, channels) if entry else whole_input
    first = [value.first for value in carried]
    given = [whole_input, *(value.first for value in states if explicit)]
    main = Subgraph(
        given,
        [output, *(state.last for state in states if explicit)],
        [
            *(Op(op.kind, [whole_input], converted) for op in entry),
            Op("RESHAPE", [converted], row.first),
            While(first, [value.last for value in carried], condition=1, body=2),
            *rest,
        ],
        variables=[tensor for tensor in first if tensor is not row.first and tensor not in given],
    )
    return [main, _condition(carried, steps * channels), body]


def _kept_for_the_rest(rest, y, step_input, step, states) -> list["_Carried"]:
    """What follows the last step reads of it, besides the states."""
    read = dict.fromkeys([*(tensor for op in rest for tensor in op.inputs), y])
    inside = {step_input, *(op.output for op in step)} - {state.after for state in states}
    return [_Carried(dataclasses.replace(t), t) for t in read if t in inside]


def _with_file_operands(graph: Graph) -> Graph:
    """Returns the graph of operators as they are in a file."""
    graph = graph.copy()
    for op in graph.ops:
        op.inputs += [_integers(*values) for values in operator_of(op.kind).file_operands(op)]
    return graph


class _Carried:
    """A value that goes from round to round: before and after one, and in the main subgraph."""

    def __init__(self, before: Tensor, after: Tensor | None = None):
        self.before = before
        self.after = after or before
        self.first, self.last = dataclasses.replace(before), dataclasses.replace(before)


def _shaped(tensor: Tensor, *shape: int) -> Tensor:
    """The same type of numbers in another shape."""
    return dataclasses.replace(tensor, shape=shape)


def _integers(*values: int) -> Tensor:
    return Constant("", (len(values),), "int32", data=np.array(values, np.int32))


def _number(name: str) -> Tensor:
    return Tensor(name, (1,), "int32")


def _condition(carried: list[_Carried], end: int) -> Subgraph:
    inputs = [dataclasses.replace(value.before) for value in carried]
    is_inside = Tensor("is_inside", (1,), "bool")
    return Subgraph(inputs, [is_inside], [Op("LESS", [inputs[0], _integers(end)], is_inside)])


def _collection(step_output: Tensor, steps: int) -> tuple[list[_Carried], list[Op]]:
    """All results: each round drops the first and appends its own."""
    width = step_output.shape[-1]
    before, after = _shaped(step_output, steps, width), _shaped(step_output, steps, width)
    if steps == 1:
        return [_Carried(before, step_output)], []
    kept = _shaped(step_output, steps - 1, width)
    drop = Op("SLICE", [before, _integers(1, 0), _integers(*kept.shape)], kept)
    return [_Carried(before, after)], [drop, Op("CONCATENATION", [kept, step_output], after)]


def _needed(graph: Graph, wanted: list[Tensor], given: Tensor) -> list[Op]:
    """The operators that compute the wanted tensors from the given one."""
    needed, ops = set(wanted), []
    for op in reversed(graph.ops):
        if op.output in needed and op.output is not given:
            ops.insert(0, op)
            needed.update(op.inputs)
    return ops
