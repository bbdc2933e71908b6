"""Plain C has no CONCATENATION: what reads one reads its parts."""

import pytest
from graphs import chain, value

from keras_fastgrnn.errors import UnsupportedOperatorError
from keras_fastgrnn.export.plain_c.schedule import for_c, output_parts
from keras_fastgrnn.graph.graph import Graph, Op, State

FULL = "FULLY_CONNECTED"


def joined():
    """A CONCATENATION that a matrix reads."""
    graph = chain(5, (FULL, [[[1.0] * 5]], {}))
    x, (product,) = graph.inputs[0], graph.ops
    join = Op("CONCATENATION", [value(2, "a"), value(3, "b")], x)
    return Graph(join.inputs, graph.outputs, [join, product])


def test_a_concatenation_before_a_matrix_is_dropped():
    graph = joined()
    (product,) = for_c(graph).ops
    assert product.inputs[:2] == graph.inputs


def test_what_is_computed_of_it_is_so_of_each_part():
    graph = joined()
    join, product = graph.ops
    tanh = Op("TANH", [join.output], value(5))
    product.inputs[0] = tanh.output
    graph.ops.insert(1, tanh)
    *parts, product = for_c(graph).ops
    assert [(one.kind, one.inputs) for one in parts] == [("TANH", [t]) for t in graph.inputs]
    assert [one.output.shape for one in parts] == [(1, 2), (1, 3)]
    assert product.inputs[:2] == [one.output for one in parts]


def test_an_output_has_the_parts_one_after_another():
    graph = joined()
    graph.outputs = [graph.ops[0].output]
    assert output_parts(for_c(graph)) == graph.inputs


def test_a_state_of_parts_is_refused():
    graph = joined()
    graph.states.append(State(value(5), graph.ops[0].output))
    with pytest.raises(
        UnsupportedOperatorError, match="does not compute the operator CONCATENATION"
    ):
        for_c(graph)
