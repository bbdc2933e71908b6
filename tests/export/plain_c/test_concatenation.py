"""Plain C has CONCATENATION before a matrix alone, whose rows meet each vector."""

import pytest
from graphs import chain, value

from keras_fastgrnn.errors import UnsupportedOperatorError
from keras_fastgrnn.export.plain_c.schedule import for_c
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


@pytest.mark.parametrize("reader", ["operator", "output", "state"])
def test_a_concatenation_that_something_else_reads_is_refused(reader):
    graph = joined()
    join = graph.ops[0].output
    if reader == "operator":
        graph.ops.append(Op("TANH", [join], value(5)))
    elif reader == "output":
        graph.outputs = [join]
    else:
        graph.states.append(State(value(5), join))
    with pytest.raises(
        UnsupportedOperatorError, match="does not compute the operator CONCATENATION"
    ):
        for_c(graph)
