"""The order in which plain C computes an integer graph: loops over units, each of many operators.

A row of a matrix needs the whole vector it multiplies, everything else one entry at a time. So
operators run in one loop where none of its rows reads a vector that the loop computes; what no
other loop reads is a local number of it, and needs no memory.
"""

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np

from keras_fastgrnn.errors import UnsupportedOperatorError
from keras_fastgrnn.graph.graph import Constant, Graph, Op, State, Tensor
from keras_fastgrnn.graph.operators import operator_of


@dataclass(eq=False)
class Loop:
    """Operators whose results have one length, computed unit by unit.

    Attributes:
        units: Integer, the length.
        ops: List of `Op` in the order they run.
    """

    units: int
    ops: list[Op] = field(default_factory=list)

    @property
    def computed(self) -> set[Tensor]:
        return {op.output for op in self.ops}


@dataclass(eq=False)
class DelayLine(State):
    """A state that holds what `after` was in the last steps, the oldest first, or its last part.

    Attributes:
        newest: List of the tensors that lie one after another in `after`.
    """

    newest: list[Tensor] = field(default_factory=list)

    @property
    def holds_newest(self) -> bool:
        """Whether all of `after` is in it after the step."""
        return self.after.shape[-1] <= self.before.shape[-1]


@dataclass(eq=False)
class Schedule:
    """What a function of the generated C computes.

    Attributes:
        loops: List of `Loop` in the order they run.
        arrays: List of tensors that more than one loop uses, and that are no state.
        buffered: List of `State` whose new value waits in an array until all loops have run.
        delays: List of `DelayLine`, which move on after that.
    """

    loops: list[Loop]
    arrays: list[Tensor]
    buffered: list[State] = field(default_factory=list)
    delays: list[DelayLine] = field(default_factory=list)


def step_schedule(graph: Graph) -> Schedule:
    """Returns the loops that bring all states to the next time step.

    Args:
        graph: Integer graph.
    """
    loops = _loops(graph, _computed_for_states(graph))
    delays, states = _delay_lines(graph), _other_states(graph)
    buffered = [state for state in states if _needs_buffer(state, loops)]
    kept = {tensor for state in states for tensor in (state.before, state.after)}
    moved_on = {part for delay in delays for part in delay.newest}
    return Schedule(loops, _arrays(loops, kept, moved_on), buffered, delays)


def output_schedule(graph: Graph) -> Schedule:
    """Returns the loops that compute the output from the states after a step.

    Args:
        graph: Integer graph, as `for_c` gives it, whose output is one of the states or is
            computed from them.
    """
    done = _kept(graph)
    parts = output_parts(graph)
    loops = _loops(graph, parts, done)
    return Schedule(loops, _arrays(loops, {*done, *parts}))


def output_parts(graph: Graph) -> list[Tensor]:
    """Returns the vectors that lie one after another in the output.

    Args:
        graph: Integer graph, as `for_c` gives it.
    """
    (output,) = graph.outputs
    join = graph.producer(output)
    if join is None or not _joins_vectors(join):
        return [output]
    return join.inputs


def for_c(graph: Graph) -> Graph:
    """Returns the graph as plain C computes it.

    What reads a CONCATENATION reads the vectors themselves: of a matrix each meets some columns,
    and what is computed entry by entry is so for each of them. A SOFTMAX at the end is left out,
    so the outputs are logits.

    Args:
        graph: Integer graph of one time step.

    Raises:
        UnsupportedOperatorError: If there is an operator that plain C does not compute.
    """
    graph = _with_parts(_with_delay_lines(with_logits(graph)))
    states = [*graph.states, *_kept_for_output(graph)]
    answers = set(graph.outputs).difference(state.after for state in graph.states)
    for op in graph.ops:
        is_output = _joins_vectors(op) and op.output in answers
        if not operator_of(op.kind).has_matrix and not is_output:
            operator_of(op.kind).in_c()
    return dataclasses.replace(graph, states=states)


def _joins_vectors(op: Op) -> bool:
    """Whether it lays vectors one after another, for which C has no expression."""
    return operator_of(op.kind).copies and operator_of(op.kind).expression is None


def _takes_entries(op: Op) -> bool:
    """Whether its result holds some of the entries of its input."""
    return operator_of(op.kind).copies and not _joins_vectors(op)


def _moves_on(state: State, shift: Op, join: Op) -> bool:
    """Whether a state is the last entries of what it was and one vector behind it."""
    if not _takes_entries(shift) or not _joins_vectors(join) or len(join.inputs) != 2:
        return False
    before, newest = join.inputs
    return before is state.before and shift.start == newest.shape[-1]


def _with_delay_lines(graph: Graph) -> Graph:
    """Returns the graph with a `DelayLine` where a state is the last entries of itself and more."""
    states, shifts = [], []
    for state in graph.states:
        shift = graph.producer(state.after)
        join = None if shift is None else graph.producer(shift.inputs[0])
        if shift is not None and join is not None and _moves_on(state, shift, join):
            before, newest = join.inputs
            states.append(DelayLine(before, newest, [newest]))
            shifts.append(shift)
        else:
            states.append(state)
    ops = [op for op in graph.ops if op not in shifts]
    return dataclasses.replace(graph, ops=ops, states=states)


def _with_parts(graph: Graph) -> Graph:
    """Returns the graph without a CONCATENATION but one that is the output or a state."""
    parts: dict[Tensor, list[Tensor]] = {}
    kept = {*graph.outputs, *(state.after for state in _other_states(graph))}
    ops: list[Op] = []
    for op in graph.ops:
        operator = operator_of(op.kind)
        if _joins_vectors(op) or operator.has_matrix:
            inputs = [part for tensor in op.inputs for part in parts.get(tensor, [tensor])]
            op = dataclasses.replace(op, inputs=inputs)
            if _joins_vectors(op):
                parts[op.output] = inputs
        elif any(tensor in parts for tensor in op.inputs):
            each = _slices(op, parts) if operator.copies else _part_by_part(op, parts)
            ops += each
            parts[op.output] = [one.output for one in each]
            op = Op("CONCATENATION", parts[op.output], op.output)
        if op.output not in parts or op.output in kept:
            ops.append(op)
    for delay in _delay_lines(graph):
        delay.newest = parts.get(delay.after, delay.newest)
    return dataclasses.replace(graph, ops=ops)


def _delay_lines(graph: Graph) -> list[DelayLine]:
    return [state for state in graph.states if isinstance(state, DelayLine)]


def _other_states(graph: Graph) -> list[State]:
    return [state for state in graph.states if not isinstance(state, DelayLine)]


def _computed_for_states(graph: Graph) -> list[Tensor]:
    """What a step computes to be kept."""
    after = [state.after for state in _other_states(graph)]
    return [*after, *(part for line in _delay_lines(graph) for part in line.newest)]


def _slices(op: Op, parts: dict[Tensor, list[Tensor]]) -> list[Op]:
    """SLICE of vectors that lie one after another, as one of each that it takes entries of."""
    start, end = op.start, op.start + op.output.shape[-1]
    each = []
    for part in parts[op.inputs[0]]:
        width = part.shape[-1]
        first, last = max(start, 0), min(end, width)
        if first < last:
            name = f"{op.output.name}_{len(each) + 1}"
            output = dataclasses.replace(op.output, name=name, shape=(1, last - first))
            each.append(dataclasses.replace(op, inputs=[part], output=output, start=first))
        start, end = start - width, end - width
    return each


def _part_by_part(op: Op, parts: dict[Tensor, list[Tensor]]) -> list[Op]:
    """An operator that computes entry by entry, once for each part of what it reads.

    Raises:
        UnsupportedOperatorError: If it reads vectors of other parts.
    """
    vectors = [tensor for tensor in sources(op) if not is_one_number(tensor, op)]
    cuts = {tuple(np.cumsum([part.shape[-1] for part in parts.get(t, [t])])) for t in vectors}
    if len(cuts) > 1:
        raise UnsupportedOperatorError(
            f"Plain C does not compute {op.kind} of vectors that are put together of other parts. "
            "Let a Dense layer read the Concatenate."
        )
    ends = cuts.pop()
    each = []
    for index, (start, end) in enumerate(zip((0, *ends), ends, strict=False)):
        inputs = [
            _constant_part(tensor, start, end) if isinstance(tensor, Constant) else tensor
            for tensor in op.inputs
        ]
        inputs = [parts[tensor][index] if tensor in parts else tensor for tensor in inputs]
        name = f"{op.output.name}_{index + 1}"
        output = dataclasses.replace(op.output, name=name, shape=(1, end - start))
        each.append(dataclasses.replace(op, inputs=inputs, output=output))
    return each


def _constant_part(tensor: Constant, start: int, end: int) -> Constant:
    if tensor.data.size == 1:
        return tensor
    data = tensor.data.reshape(1, -1)[:, start:end]
    return dataclasses.replace(tensor, shape=data.shape, data=data)


def _kept_for_output(graph: Graph) -> list[State]:
    """States for what the output reads besides the states: the input, or what a step makes of it.

    The output is computed after the step, from what is kept.
    """
    done = _kept(graph)
    by_step = {op.output for op in _needed(graph, _computed_for_states(graph), ())}
    delayed = {line.before for line in _delay_lines(graph)}
    of_input = {*graph.inputs, *delayed}
    for op in graph.ops:
        if op.output not in done and of_input.intersection(op.inputs):
            of_input.add(op.output)
    kept: dict[Tensor, State] = {}
    wanted = list(graph.outputs)
    while wanted:
        tensor = wanted.pop()
        if tensor in done or tensor in kept or tensor.is_constant:
            continue
        is_given = tensor in graph.inputs or tensor in delayed
        op = graph.producer(tensor)
        reads_delayed = (
            op is not None and not _joins_vectors(op) and not delayed.isdisjoint(op.inputs)
        )
        if is_given or reads_delayed or (tensor in by_step and tensor in of_input):
            before = Tensor(f"{tensor.name}/kept", tensor.shape, tensor.dtype, tensor.scale)
            kept[tensor] = State(before, tensor)
        else:
            wanted += [] if op is None else op.inputs
    return list(kept.values())


def _kept(graph: Graph) -> set[Tensor]:
    """What is there after a step, for the output."""
    states = {state.after for state in _other_states(graph)}
    return states.union(*(line.newest for line in _delay_lines(graph) if line.holds_newest))


def with_logits(graph: Graph) -> Graph:
    """Returns the graph without a SOFTMAX at its end.

    Args:
        graph: Integer graph of one time step.
    """
    (output,) = graph.outputs
    last = graph.producer(output)
    is_state = any(state.after is output for state in graph.states)
    if last is None or not operator_of(last.kind).leads_alike or is_state:
        return graph
    ops = [op for op in graph.ops if op is not last]
    return dataclasses.replace(graph, ops=ops, outputs=[last.inputs[0]])


def sources(op: Op) -> list[Tensor]:
    """Returns the computed tensors that an operator reads.

    Args:
        op: Operator.
    """
    return [tensor for tensor in op.inputs if not tensor.is_constant]


def _reads_across(op: Op, tensor: Tensor) -> bool:
    """Whether an entry is computed from another unit's entry of a tensor, without a matrix."""
    return operator_of(op.kind).copies or is_one_number(tensor, op)


def is_one_number(tensor: Tensor, op: Op) -> bool:
    """Returns whether an operator reads the same number of a tensor for each unit.

    Args:
        tensor: Tensor that the operator reads.
        op: Operator.
    """
    return tensor.shape[-1] == 1 != op.output.shape[-1]


def _loops(graph: Graph, wanted: list[Tensor], given: Collection[Tensor] = ()) -> list[Loop]:
    ops = _needed(graph, wanted, given)
    levels = _levels(ops)
    loops: dict[tuple[int, int], Loop] = {}
    for op in sorted(ops, key=levels.__getitem__):
        key = levels[op], op.output.shape[-1]
        loops.setdefault(key, Loop(key[1])).ops.append(op)
    return list(loops.values())


def _needed(graph: Graph, wanted, given) -> list[Op]:
    """The operators that the wanted tensors need."""
    needed = set(wanted).difference(given)
    ops = []
    for op in reversed(graph.ops):
        if op.output in needed:
            needed.update(tensor for tensor in op.inputs if tensor not in given)
            ops.append(op)
    return ops[::-1]


def _levels(ops: list[Op]) -> dict[Op, int]:
    """How many matrices come one after another before each operator, as late as its readers let.

    What other units of a loop read is computed before that, too.

    What is late need not wait in an array for the vector that it is added to.
    """
    made_by = {op.output: op for op in ops}
    levels: dict[Op, int] = {}
    for op in ops:
        before = [levels[made_by[t]] + _reads_across(op, t) for t in sources(op) if t in made_by]
        levels[op] = max(before, default=0) + operator_of(op.kind).has_matrix
    for op in reversed(ops):
        after = [
            levels[reader]
            - (operator_of(reader.kind).has_matrix or _reads_across(reader, op.output))
            for reader in ops
            if op.output in sources(reader)
        ]
        levels[op] = min(after, default=levels[op])
    return levels


def _needs_buffer(state: State, loops: list[Loop]) -> bool:
    """Whether something still reads the old value when the new one is written."""
    written = next((i for i, loop in enumerate(loops) if state.after in loop.computed), None)
    if written is None:
        return True
    for index, loop in enumerate(loops):
        for op in loop.ops:
            reads_vector = operator_of(op.kind).has_matrix and index == written
            if state.before in sources(op) and (index > written or reads_vector):
                return True
    return False


def _arrays(
    loops: list[Loop], elsewhere: set[Tensor], read_at_the_end: Collection[Tensor] = ()
) -> list[Tensor]:
    read_in: dict[Tensor, set[int]] = {tensor: {len(loops)} for tensor in read_at_the_end}
    for index, loop in enumerate(loops):
        for op in loop.ops:
            for tensor in sources(op):
                read_in.setdefault(tensor, set()).add(index)
    return [
        op.output
        for index, loop in enumerate(loops)
        for op in loop.ops
        if read_in.get(op.output, set()) - {index} and op.output not in elsewhere
    ]
