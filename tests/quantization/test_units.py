"""Groups of tensors that share their unit, written down by hand."""

import pytest
from graphs import fastgrnn_step

from keras_fastgrnn.quantization.units import groups_of

NAMES = {"x", "before", "wx", "ug", "sum", "gate", "cpre", "c", "diff", "kept", "added"}
NAMES |= {"after", "out"}


def groups(*ties):
    """The groups of more than one tensor, as sets of names."""
    graph = fastgrnn_step()
    by_name = {tensor.name: tensor for tensor in graph.tensors() if not tensor.is_constant}
    found = groups_of(graph, [[by_name[name] for name in tied] for tied in ties])
    assert {tensor.name for tensor in found} == NAMES
    members = {}
    for tensor, group in found.items():
        assert found[group] is group
        members.setdefault(group, set()).add(tensor.name)
    return [names for names in members.values() if len(names) > 1]


@pytest.mark.parametrize(
    ("ties", "expected"),
    [
        ([], []),
        ([[]], []),
        ([["x"]], []),
        ([["x", "x"]], []),
        ([["x", "sum"]], [{"x", "sum"}]),
        ([["x", "sum"], ["c", "gate"]], [{"x", "sum"}, {"c", "gate"}]),
        ([["x", "sum"], ["c", "gate"], ["gate", "x"]], [{"x", "sum", "c", "gate"}]),
        ([["before", "after"], ["kept", "added", "after"]], [{"before", "after", "kept", "added"}]),
        ([["x", "sum"], ["sum", "x"], ["x", "sum", "c"]], [{"x", "sum", "c"}]),
    ],
)
def test_ties_join_all_that_they_reach(ties, expected):
    found = groups(*ties)
    assert len(found) == len(expected)
    assert all(names in found for names in expected)


def test_constants_in_a_tie_are_left_out():
    graph = fastgrnn_step()
    add = next(op for op in graph.ops if op.output.name == "cpre")
    assert add.inputs[1].is_constant
    found = groups_of(graph, [[*add.inputs, add.output], [add.inputs[1]]])
    assert found[add.inputs[0]] is found[add.output]
    assert add.inputs[1] not in found
