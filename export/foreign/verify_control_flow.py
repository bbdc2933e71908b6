"""Operators that run other subgraphs: what these take and give, and that every loop ends."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from keras_fastgrnn.graph.operators.file_calls import CheckedTensor, OperatorCall

SUBGRAPHS = {
    "WHILE": ("cond_subgraph_index", "body_subgraph_index"),
    "IF": ("then_subgraph_index", "else_subgraph_index"),
    "CALL_ONCE": ("init_subgraph_index",),
}
MAX_DEPTH = 16
# A loop goes once round for a time step; a day of a step a second is fewer.
MAX_ROUNDS = 100_000


@dataclass(eq=False)
class CheckedSubgraph:
    """A subgraph of a file whose tensors and operators are checked.

    Attributes:
        name: String, where it is in the file.
        tensors: List of all its tensors.
        inputs, outputs: Lists of tensors.
        calls: List of operators, in their order.
        left_out: List of strings, those of "inputs" and "outputs" whose empty vector is left out,
            which control flow reads.
    """

    name: str
    tensors: list[CheckedTensor]
    inputs: list[CheckedTensor]
    outputs: list[CheckedTensor]
    calls: list[OperatorCall]
    left_out: list[str]


def check_control_flow(graphs: list[CheckedSubgraph]) -> None:
    """Checks every operator that runs other subgraphs.

    Args:
        graphs: List of all subgraphs of the model.

    Raises:
        MalformedModelError: If a subgraph does not fit its caller, calls itself, or is the body
            of a loop that is not seen to end.
    """
    called = [
        {index: call for call in graph.calls for index in _targets(call, len(graphs))}
        for graph in graphs
    ]
    for number in range(len(graphs)):
        _check_depth(number, called, [])
    for graph in graphs:
        for call in graph.calls:
            if call.name in SUBGRAPHS:
                targets = [graphs[index] for index in _targets(call, len(graphs))]
                _CHECKS[call.name](graph, call, *targets)
    _check_computed_positions(graphs)


def _targets(call, count) -> list[int]:
    indices = [call.option(field) for field in SUBGRAPHS.get(call.name, ())]
    for index in indices:
        call.require(0 <= index < count, f"it runs subgraph {index}, and there are {count}")
    return indices


def _check_depth(number, called, path) -> None:
    for index, call in called[number].items():
        call.require(len(path) < MAX_DEPTH, f"it runs subgraphs more than {MAX_DEPTH} deep")
        call.require(index not in [*path, number], f"it runs subgraph {index}, which runs it")
        _check_depth(index, called, [*path, number])


def _check_alike(call, what, given, taken) -> None:
    counts = f"it has {len(given)} {what}, and the subgraph {len(taken)}"
    call.require(len(given) == len(taken), counts)
    for one, other in zip(given, taken, strict=True):
        same = (one.type, one.shape) == (other.type, other.shape)
        call.require(same, f"{one.name} and {other.name} differ in type or shape")


def _check_ends(call, target) -> None:
    what = f"{target.name} has no {target.left_out and target.left_out[0]}"
    call.require(not target.left_out, what)


def _check_if(graph, call, *branches) -> None:
    call.require(call.inputs[0].size == 1, "its condition has more than one element")
    for branch in branches:
        _check_ends(call, branch)
        _check_alike(call, "inputs", call.inputs[1:], branch.inputs)
        _check_alike(call, "outputs", call.outputs, branch.outputs)


def _check_call_once(graph, call, init) -> None:
    _check_alike(call, "inputs", [], init.inputs)
    _check_alike(call, "outputs", [], init.outputs)


def _check_while(graph, call, condition, body) -> None:
    _check_alike(call, "outputs", call.inputs, call.outputs)
    for target in (condition, body):
        _check_ends(call, target)
        _check_alike(call, "inputs", call.inputs, target.inputs)
    _check_alike(call, "outputs", call.outputs, body.outputs)
    fits = len(condition.outputs) == 1 and condition.outputs[0].type == "bool"
    call.require(fits, "its condition is not one bool")  # of several elements the first counts
    counters = _counters(graph, call, body)
    rounds = _rounds(condition, counters)
    if rounds is None:
        raise call.refusal("it is not seen to end: it counts no input up to a constant")
    call.require(rounds <= MAX_ROUNDS, f"it goes round {rounds:,} times")
    for position, (first, step) in counters.items():
        last = first + step * max(0, rounds - 1)
        _check_positions(
            body, body.inputs[position], np.minimum(first, last), np.maximum(first, last)
        )


def _counters(graph, call, body) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """The inputs that the body adds a constant to: where they begin, and that constant."""
    written = {tensor for other in graph.calls for tensor in other.outputs} | set(graph.inputs)
    made_by = {tensor: other for other in body.calls for tensor in other.outputs}
    found = {}
    for position, (start, counter) in enumerate(zip(call.inputs, body.inputs, strict=True)):
        addition = made_by.get(body.outputs[position])
        if start.type != "int32" or addition is None or addition.name != "ADD":
            continue
        if counter in made_by:  # a variable, which something else writes, too
            continue
        first = start.data
        if first is None and start.is_variable and start not in written:
            first = np.zeros(start.size, np.int32)
        step = addition.inputs[1].data
        if addition.inputs[0] is counter and step is not None and first is not None:
            first, step = np.broadcast_arrays(first.astype(np.int64), step.astype(np.int64))
            found[position] = first, step
    return found


def _rounds(condition, counters) -> int | None:
    """How often a loop goes round at most: while a counter is below a constant."""
    made_by = {tensor: call for call in condition.calls for tensor in call.outputs}
    tests, found = [condition.outputs[0]], []
    while tests:
        test = made_by.get(tests.pop())
        if test and test.name == "LOGICAL_AND":  # it ends with the first that is false
            tests += test.inputs
        elif test and test.name == "LESS" and test.inputs[0] in condition.inputs:
            counter, limit = test.inputs
            if counter in made_by:
                continue
            first, step = counters.get(condition.inputs.index(counter), ((0,), (0,)))
            if limit.data is not None and step[0] >= 1:
                found.append(max(0, -(-(int(limit.data[0]) - int(first[0])) // int(step[0]))))
    return min(found, default=None)


def _check_positions(body, counter, smallest, largest) -> None:
    """What a counter picks lies inside of what it picks from, in every round."""
    for call in body.calls:
        if not _picks_at_computed_positions(call) or call.inputs[1] is not counter:
            continue
        shape = np.array(call.inputs[0].shape)
        if call.name == "SLICE":
            room = shape - np.maximum(call.inputs[2].data, 1)
        else:
            room = shape[call.option("axis")] - 1
        fits = (smallest >= 0).all() and (largest <= room).all()
        call.require(
            fits, f"it takes from {largest.tolist()} of {shape.tolist()} in the last round"
        )


def _picks_at_computed_positions(call) -> bool:
    return call.name in ("SLICE", "GATHER") and call.inputs[1].data is None


def _check_computed_positions(graphs) -> None:
    """Only a loop's counter, whose range is known, may say where to pick from."""
    callers = {}
    for graph in graphs:
        for call in graph.calls:
            for index in _targets(call, len(graphs)):
                callers.setdefault(index, []).append((graph, call))
    for number, graph in enumerate(graphs):
        picks = [call for call in graph.calls if _picks_at_computed_positions(call)]
        counters = _counters_of_all(callers.get(number, []), number, graph) if picks else set()
        for call in picks:
            position = call.inputs[1]
            what = f"it picks at {position.name}, which may lie out of range"
            call.require(position in counters, what)


def _counters_of_all(callers, number, body) -> set[CheckedTensor]:
    """The inputs of a body that count in every loop, where nothing but loops runs it."""
    found = [
        {body.inputs[place] for place in _counters(graph, call, body)}
        if call.name == "WHILE" and call.option("body_subgraph_index") == number
        else set()
        for graph, call in callers
    ]
    return set.intersection(*found) if found else set()


_CHECKS: dict[str, Callable] = {
    "WHILE": _check_while,
    "IF": _check_if,
    "CALL_ONCE": _check_call_once,
}
