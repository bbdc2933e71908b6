"""The power of two that each tensor gets, from ranges written down by hand."""

import numpy as np
import pytest
from graphs import chain, constant, fastgrnn_step, value

from keras_fastgrnn.graph.graph import Graph, Op, State
from keras_fastgrnn.graph.ranges import Range
from keras_fastgrnn.quantization.int16_scales import (
    assign_exponents,
    exponent_for,
    may_have_any_scale,
    scale_of,
    shared_exponent,
)

FULL = "FULLY_CONNECTED"
W = np.eye(2)


@pytest.mark.parametrize(
    ("magnitude", "exponent"),
    [
        (0.0, -15),
        (1.0, -15),
        (np.nextafter(1.0, 2.0), -14),
        (0.5, -16),
        (0.75, -15),
        (7.9, -12),
        (8.0, -12),
        (8.1, -11),
        (61.9, -9),
        (1e-6, -34),
        (1e6, 5),
    ],
)
def test_exponent_is_the_smallest_whose_16_bits_hold_the_magnitude(magnitude, exponent):
    assert exponent_for(magnitude) == exponent
    if magnitude:
        assert magnitude <= 2.0**15 * 2.0**exponent < 2 * magnitude


@pytest.mark.parametrize(
    ("needed", "others", "bits", "expected"),
    [
        (-12, [], 2, -12),
        (-12, [-15, -13], 2, -12),
        (-12, [-15, -11], 2, -11),
        (-12, [-10, -11], 2, -11),
        (-12, [-10], 2, -10),
        (-12, [-10], 1, -12),
        (-12, [-9], 2, -12),
        (-12, [-12, -11], 2, -12),
        (-12, [-11.5], 2, -12),
    ],
)
def test_scale_in_use_is_shared_where_it_costs_few_bits(needed, others, bits, expected):
    assert shared_exponent(needed, others, bits) == expected


@pytest.mark.parametrize("exponent", [-12, -15.0, -12.3, 3])
def test_scale_is_a_float32(exponent):
    scale = scale_of(exponent)
    assert scale == float(np.float32(scale)) == pytest.approx(2.0**exponent, rel=2.0**-24)


def ranges_of(graph, **magnitudes):
    """Ranges by the name of the tensor, from minus to plus the number; 1 where none is given."""
    tensors = [t for t in graph.tensors() if not t.is_constant]
    assert magnitudes.keys() <= {tensor.name for tensor in tensors}
    numbers = {tensor: magnitudes.get(tensor.name, 1.0) for tensor in tensors}
    return {t: Range(-number, 0.5 * number) for t, number in numbers.items()}


def exponents_of(graph, lowest=None, **magnitudes):
    ranges = ranges_of(graph, **magnitudes)
    by_name = {t.name: t for t in graph.tensors() if not t.is_constant}
    lowest = {by_name[name]: exponent for name, exponent in (lowest or {}).items()}
    exponents = assign_exponents(graph, ranges, lowest)
    return {name: exponents[tensor] for name, tensor in by_name.items()}


def test_state_difference_and_both_parts_of_the_sum_share_the_largest_exponent():
    found = exponents_of(fastgrnn_step(), after=3.0, diff=2.9, kept=2.0, added=1.1)
    # 1.25 * 3.0 needs 4, that is 2^-13.
    assert [found[name] for name in ("before", "after", "diff", "kept", "added")] == [-13] * 5
    found = exponents_of(fastgrnn_step(), after=3.0, diff=50.0)
    assert [found[name] for name in ("before", "after", "diff", "kept", "added")] == [-9] * 5


def test_sigmoid_and_tanh_read_units_of_2_to_the_minus_12_and_answer_in_2_to_the_minus_15():
    found = exponents_of(fastgrnn_step(), sum=0.1, cpre=0.1, c=0.1, gate=0.1)
    assert (found["sum"], found["cpre"], found["gate"], found["c"]) == (-12, -12, -15, -15)


def test_sum_before_a_sigmoid_is_held_up_to_where_it_makes_no_difference():
    """The tanh reads the sum plus at most 3: beyond 8 + 3 nothing changes."""
    graph = fastgrnn_step()
    # 16 needs 2^-11; parts of the sum are rescaled exactly.
    found = exponents_of(graph, sum=1000.0, cpre=1000.0)
    assert [found[name] for name in ("sum", "wx", "ug", "cpre")] == [-11] * 4


def test_part_of_a_sum_that_is_larger_than_the_sum_decides():
    found = exponents_of(fastgrnn_step(), wx=20.0, ug=20.0, sum=0.5)
    assert [found[name] for name in ("sum", "wx", "ug", "cpre")] == [-10] * 4


def test_hard_sigmoid_ends_at_1():
    graph = fastgrnn_step("MUL", low=0.0, high=1.0)
    assert exponents_of(graph, gate=1.0)["gate"] == -15


def test_relu_has_no_limit_of_its_own():
    graph = chain(2, (FULL, [W], {"low": 0.0}), (FULL, [W], {}))
    assert exponents_of(graph, fully_connected_0=100.0)["fully_connected_0"] == -8


def test_output_takes_a_scale_in_use_within_two_bits():
    graph = chain(2, (FULL, [W], {}), ("TANH", [], {}), (FULL, [W], {}))
    # 1.25 * 5 needs 2^-12, which the tanh's input has; 1.25 * 1.5 would need 2^-14.
    assert exponents_of(graph, fully_connected_2=5.0, input=1.0)["fully_connected_2"] == -12
    assert exponents_of(graph, fully_connected_2=1.5, input=1.0)["fully_connected_2"] == -14
    found = exponents_of(graph, fully_connected_2=1.5, input=2.5)
    assert found["fully_connected_2"] == found["input"] == -13


def test_output_that_is_a_state_keeps_the_state_s_scale():
    graph = fastgrnn_step()
    graph.ops.pop()
    graph.outputs = [graph.states[0].after]
    found = exponents_of(graph, after=1.5, x=3.0, diff=1.0)
    assert found["before"] == found["after"] == -14


@pytest.mark.parametrize(
    ("kind", "constants", "options"),
    [("TANH", [], {}), ("MUL", [1.0], {"low": 0.0, "high": 1.0}), ("SOFTMAX", [], {})],
)
def test_state_that_a_table_or_a_clip_answers_is_read_in_the_scale_it_is_written_in(
    kind, constants, options
):
    x, before, product, after, output = (
        value(2, name) for name in ("x", "before", "pre", "after", "out")
    )
    ops = [
        Op("ADD", [x, before], product),
        Op(kind, [product, *map(constant, constants)], after, **options),
        Op(FULL, [after, constant(W)], output),
    ]
    graph = Graph([x], [output], ops, [State(before, after)])
    found = exponents_of(graph, x=100.0, pre=101.0)
    assert found["before"] == found["after"] == -15
    exponents = assign_exponents(graph, ranges_of(graph), {before: -9})
    assert exponents[before] == exponents[after] == -15
    assert {before, after} <= exponents.fixed


def test_concatenation_is_counted_as_its_last_input():
    x, g, joined, output = (value(2, name) for name in ("x", "g", "joined", "output"))
    ops = [Op("CONCATENATION", [x, g], joined), Op(FULL, [joined, constant(W)], output)]
    graph = Graph([x], [output], ops, [State(g, output)])
    found = exponents_of(graph, x=100.0, output=3.0, g=3.0)
    assert (found["x"], found["g"], found["joined"], found["output"]) == (-8, -13, -13, -13)


def test_exponents_may_be_raised_from_outside():
    found = exponents_of(fastgrnn_step(), lowest={"after": -7, "x": -8.5})
    assert [found[name] for name in ("before", "diff", "kept", "after")] == [-7] * 4
    assert found["x"] == -8.5
    assert exponents_of(fastgrnn_step(), lowest={"after": -20}) == exponents_of(fastgrnn_step())


def test_constant_zero_gets_the_scale_of_values_up_to_1():
    zeros = dict.fromkeys(("x", "before", "after", "diff", "kept", "added"), 0.0)
    found = exponents_of(fastgrnn_step(), **zeros)
    assert (found["x"], found["after"]) == (-15, -15)


@pytest.mark.parametrize(
    ("name", "any_scale"),
    [("x", True), ("before", False), ("wx", False), ("sum", False), ("c", False), ("out", False)],
)
def test_only_what_matrices_alone_read_may_have_any_scale(name, any_scale):
    graph = fastgrnn_step()
    by_name = {tensor.name: tensor for tensor in graph.tensors()}
    assert may_have_any_scale(graph, by_name[name]) is any_scale
