"""How one time step becomes the subgraphs of a file.

Streaming is one subgraph, the step itself. A whole sequence is three: the main one, which runs a
WHILE and then what follows the last step, the WHILE's condition, and its body, which is the step.
"""

import dataclasses
from dataclasses import dataclass, field

import numpy as np

from keras_fastgrnn.export.graph import Graph, Op, Tensor

CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")


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
    ops: list[Op | While]
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
        List of the main `Subgraph`, the condition and the body.
    """
    (x,), (y,) = graph.inputs, graph.outputs
    entry = [op for op in graph.ops if op.kind in CONVERSIONS and op.inputs[0] is x]
    exit = [op for op in graph.ops if op.kind in CONVERSIONS and op.output is y and every_step]
    step_input = entry[0].output if entry else x
    step_output = exit[0].inputs[0] if exit else y

    counter, count_up = _counter()
    signal = _Carried(_like(step_input, steps))
    whole_input = _like(x, steps) if entry else signal.first
    states = [_Carried(state.before, state.after) for state in graph.states]
    results, collect = _collection(step_output, steps) if every_step else ([], [])
    carried = [counter, signal, *states, *results]

    wanted = [*(state.after for state in states), *(step_output for _ in results)]
    step = _needed(graph, wanted, given=step_input)
    take = _slice(signal.before, counter.before, step_input)
    body = Subgraph(
        [value.before for value in carried],
        [value.after for value in carried],
        [take, *step, *collect, count_up],
    )

    last = {value.after: value.last for value in states}
    if every_step:
        last[step_output] = results[0].last
    rest = exit if every_step else [op for op in graph.ops if op not in [*entry, *step]]
    rest = [dataclasses.replace(op, inputs=[last.get(t, t) for t in op.inputs]) for op in rest]
    if exit:
        rest[-1].output = _like(y, steps)
    first = [value.first for value in carried]
    given = [signal.first, *(value.first for value in states if explicit)]
    main = Subgraph(
        [whole_input, *given[1:]],
        [rest[-1].output if exit else last.get(y, y), *(s.last for s in states if explicit)],
        [
            *(Op(op.kind, [whole_input], signal.first) for op in entry),
            While(first, [value.last for value in carried], condition=1, body=2),
            *rest,
        ],
        variables=[tensor for tensor in first if tensor not in given],
    )
    return [main, _condition(carried, steps), body]


class _Carried:
    """A value that goes from round to round: before and after one, and in the main subgraph."""

    def __init__(self, before: Tensor, after: Tensor | None = None):
        self.before = before
        self.after = after or before
        self.first, self.last = dataclasses.replace(before), dataclasses.replace(before)


def _like(tensor: Tensor, steps: int) -> Tensor:
    """The same for every step of a sequence."""
    return dataclasses.replace(tensor, shape=(steps, tensor.shape[-1]))


def _integers(*values: int) -> Tensor:
    return Tensor("", (len(values),), "int32", data=np.array(values, np.int32))


def _counter() -> tuple[_Carried, Op]:
    """Where the step begins in the sequence: its number, and channel 0."""
    before, after = Tensor("step", (2,), "int32"), Tensor("next_step", (2,), "int32")
    return _Carried(before, after), Op("ADD", [before, _integers(1, 0)], after)


def _condition(carried: list[_Carried], steps: int) -> Subgraph:
    inputs = [dataclasses.replace(value.before) for value in carried]
    is_inside = Tensor("is_inside", (2,), "bool")
    return Subgraph(inputs, [is_inside], [Op("LESS", [inputs[0], _integers(steps, 1)], is_inside)])


def _slice(source: Tensor, begin: Tensor, output: Tensor) -> Op:
    return Op("SLICE", [source, begin, _integers(*output.shape)], output)


def _collection(step_output: Tensor, steps: int) -> tuple[list[_Carried], list[Op]]:
    """All results: each round drops the first and appends its own."""
    before, after = _like(step_output, steps), _like(step_output, steps)
    if steps == 1:
        return [_Carried(before, step_output)], []
    kept = _like(step_output, steps - 1)
    ops = [_slice(before, _integers(1, 0), kept), Op("CONCATENATION", [kept, step_output], after)]
    return [_Carried(before, after)], ops


def _needed(graph: Graph, wanted: list[Tensor], given: Tensor) -> list[Op]:
    """The operators that compute the wanted tensors from the given one."""
    needed, ops = set(wanted), []
    for op in reversed(graph.ops):
        if op.output in needed and op.output is not given:
            ops.insert(0, op)
            needed.update(op.inputs)
    return ops
