"""The scale and zero point that each int8 tensor gets, from ranges written down by hand."""

import math

import numpy as np
import pytest
from graphs import chain, constant, fastgrnn_step, fastrnn_step, value
from small_models import answers_of, sequences, sequential

from keras_fastgrnn import FastGRNN, keras
from keras_fastgrnn.export import convert
from keras_fastgrnn.graph.fixed_scales import Scale
from keras_fastgrnn.graph.graph import Graph, Op, State
from keras_fastgrnn.graph.ranges import Range
from keras_fastgrnn.quantization.int8_scales import (
    assign_int8_scales,
    dictated_int8_scale,
    int8_scale_for,
)

FULL = "FULLY_CONNECTED"
W = np.eye(2)


def integers(values, scale):
    """Nearest integers, half away from zero, as firmware computes them."""
    quotient = np.asarray(values, np.float64) / scale.scale
    return np.trunc(quotient + np.copysign(0.5, quotient)).astype(int) + scale.zero_point


RANGES = [
    (0.0, 0.0),
    (-1.0, 1.0),
    (0.0, 6.0),
    (-6.0, 0.0),
    (2.0, 6.0),
    (-6.0, -2.0),
    (-0.01, 5.0),
    (-5.0, 0.01),
    (-1e-30, 1e-30),
    (-3e30, 1e30),
]
_RNG = np.random.default_rng(0)
RANGES += [tuple(sorted(pair)) for pair in _RNG.normal(size=(200, 2)) * 10.0]


@pytest.mark.parametrize("widening", [1.0, 1.25, 2.0])
def test_calibrated_range_and_zero_lie_within_the_ends_of_8_bits(widening):
    """A value at an end tells that the calibrated range was left."""
    for low, high in RANGES:
        scale = int8_scale_for(low, high, widening)
        assert -128 <= scale.zero_point <= 127
        assert scale.scale == np.float32(scale.scale) > 0.0
        assert integers([0.0], scale) == scale.zero_point
        inside = integers([low, high], scale)
        assert inside.min() >= -124 and inside.max() <= 123, (low, high)


def test_range_is_spread_over_all_the_integers_between_the_ends():
    for low, high in RANGES:
        low, high = min(low, 0.0), max(high, 0.0)
        width = (high - low) or 1.0
        symmetric = 2.0 * max(-low, high)
        # 247 steps from -124 to 123; a symmetric range has 246 around the zero point 0.
        expected = symmetric / 246.0 if symmetric == width else width / 247.0
        assert int8_scale_for(low, high).scale == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("low", "high", "widening", "expected"),
    [
        (0.0, 247.0, 1.0, (1.0, -124)),
        (-247.0, 0.0, 1.0, (1.0, 123)),
        (-100.0, 147.0, 1.0, (1.0, -24)),
        (10.0, 247.0, 1.0, (1.0, -124)),
        (-123.0, 123.0, 1.0, (1.0, 0)),
        (0.0, 0.0, 1.0, (1.0 / 247.0, -124)),
        # Symmetric, [-100, 147] would be 294 wide, 1.19 times 247.
        (-100.0, 147.0, 1.19, (1.0, -24)),
        (-100.0, 147.6, 1.2, (1.2, 0)),
        (-123.0, 0.0, 1.9, (123.0 / 247.0, 123)),
        (-123.0, 0.0, 2.0, (1.0, 0)),
    ],
)
def test_scale_and_zero_point_worked_out_by_hand(low, high, widening, expected):
    scale = int8_scale_for(low, high, widening)
    assert (scale.scale, scale.zero_point) == (np.float32(expected[0]), expected[1])


# Which operators dictate


@pytest.mark.parametrize(
    ("kind", "limits", "expected"),
    [
        ("LOGISTIC", {}, (1 / 256, -128)),
        ("TANH", {}, (1 / 128, 0)),
        ("SOFTMAX", {}, (1 / 256, -128)),
        ("MUL", {"low": 0.0, "high": 1.0}, (float(np.float32(1 / 255)), -128)),
        ("MUL", {"low": -1.0, "high": 1.0}, (float(np.float32(1 / 127)), 0)),
        ("MUL", {"low": 0.0}, None),
        ("MUL", {}, None),
        ("ADD", {}, None),
        (FULL, {}, None),
    ],
)
def test_scale_that_an_operator_dictates(kind, limits, expected):
    scale = dictated_int8_scale(Op(kind, [], value(2), **limits))
    assert scale == (expected and Scale(*expected))


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 1.0)])
def test_both_limits_of_a_clip_are_integers(low, high):
    scale = dictated_int8_scale(Op("MUL", [], value(2), low=low, high=high))
    assert integers([low, high], scale).tolist() == [-128 if low == 0.0 else -127, 127]
    for limit, integer in zip((low, high), integers([low, high], scale), strict=True):
        assert (integer - scale.zero_point) * scale.scale == pytest.approx(limit, rel=1e-7)


# A whole graph


def scales_of(graph, sums_share=False, **ranges):
    """Scales by the name of the tensor; the range is [-1, 0.5] where none is given."""
    tensors = [t for t in graph.tensors() if not t.is_constant]
    assert ranges.keys() <= {tensor.name for tensor in tensors}
    by_tensor = {tensor: Range(*ranges.get(tensor.name, (-1.0, 0.5))) for tensor in tensors}
    scales = assign_int8_scales(graph, by_tensor, sums_share=sums_share)
    assert scales.keys() == set(tensors)
    return {tensor.name: scale for tensor, scale in scales.items()}


def test_state_before_and_after_have_one_scale_that_holds_both_ranges():
    found = scales_of(fastgrnn_step(), before=(-3.0, 0.0), after=(-2.0, 7.0))
    assert found["before"] == found["after"]
    assert found["before"].scale == pytest.approx(10.0 / 247.0, rel=1e-3)
    inside = integers([-3.0, 7.0], found["before"])
    assert inside.min() >= -124 and inside.max() <= 123


def test_functions_answer_in_the_scale_they_dictate_whatever_was_seen():
    found = scales_of(fastgrnn_step(), gate=(0.4, 0.6), c=(-0.1, 0.1))
    assert found["gate"] == Scale(1 / 256, -128)
    assert found["c"] == Scale(1 / 128, 0)


def test_state_that_a_function_answers_is_read_in_the_scale_it_dictates():
    x, before, total, after = (value(2, name) for name in ("x", "before", "sum", "after"))
    ops = [Op("ADD", [x, before], total), Op("TANH", [total], after)]
    found = scales_of(Graph([x], [after], ops, [State(before, after)]))
    assert found["before"] == found["after"] == Scale(1 / 128, 0)


def test_concatenation_and_what_it_joins_have_one_scale():
    x, g, joined, output = (value(2, name) for name in ("x", "g", "joined", "output"))
    joined.shape = (1, 4)
    matrix = constant(np.ones((2, 4)))
    ops = [Op("CONCATENATION", [x, g], joined), Op(FULL, [joined, matrix], output)]
    graph = Graph([x], [output], ops, [State(g, output)])
    found = scales_of(graph, x=(-1.0, 9.0), g=(-4.0, 1.0))
    assert found["x"] == found["g"] == found["joined"] == found["output"]
    inside = integers([-4.0, 9.0], found["x"])
    assert inside.min() >= -124 and inside.max() <= 123


# Together they fill [-9, 8].
PARTS_OF_A_STATE = {
    "before": (-3.0, 0.0),
    "after": (-2.0, 7.0),
    "kept": (-9.0, 1.0),
    "added": (-1.0, 8.0),
    "diff": (-4.0, 2.0),
}


def test_parts_of_a_state_share_one_scale_that_holds_all_their_ranges_if_sums_share():
    found = scales_of(fastgrnn_step(), sums_share=True, **PARTS_OF_A_STATE)
    (scale,) = {found[name] for name in PARTS_OF_A_STATE}
    # Of 247 steps 9 / 17 are from -124 to the zero point.
    assert scale.scale == pytest.approx(17.0 / 247.0, rel=1e-3)
    assert scale.zero_point == 7
    assert not {found[name] for name in ("x", "sum", "gate", "c", "out")} & {scale}


@pytest.mark.parametrize("widest", PARTS_OF_A_STATE)
def test_each_part_of_a_state_widens_the_scale_that_they_share(widest):
    found = scales_of(fastgrnn_step(), sums_share=True, **{widest: (-9.0, 8.0)})
    for name in PARTS_OF_A_STATE:
        assert found[name].scale == pytest.approx(17.0 / 247.0, rel=1e-3)
        assert found[name].zero_point == 7


def test_parts_of_a_state_have_scales_of_their_own_unless_sums_share():
    found = scales_of(fastgrnn_step(), **PARTS_OF_A_STATE)
    assert found["before"] == found["after"]
    assert found["kept"] == found["diff"]  # which a gate multiplies by at most 1
    widths = {"before": 10.0, "kept": 11.0, "added": 9.0}
    for name, width in widths.items():
        assert found[name].scale == pytest.approx(width / 247.0, rel=1e-3)
    # Of 247 steps 3 / 10, 9 / 11 and 1 / 9 are from -124 to the zero point.
    assert [found[name].zero_point for name in widths] == [-50, 78, -97]


def test_operand_of_a_dictated_scale_is_left_out_where_sums_share():
    ranges = {"before": (-3.0, 0.0), "after": (-2.0, 7.0), "kept": (-1.0, 9.0)}
    found = scales_of(fastrnn_step(), sums_share=True, **ranges)
    assert found["candidate"] == Scale(1 / 128, 0)
    # Of 247 steps 3 / 12 are from -124 to the zero point.
    assert {found[name] for name in ranges} == {Scale(float(np.float32(12.0 / 247.0)), -62)}


def test_addition_of_a_constant_shares_nothing_where_sums_share():
    graph = chain(2, ("ADD", [[[5.0, 5.0]]], {}))
    found = scales_of(graph, sums_share=True, input=(-1.0, 1.0), add_0=(4.0, 6.0))
    assert found["input"] == Scale(float(np.float32(1.0 / 123.0)), 0)
    assert found["add_0"] == Scale(float(np.float32(6.0 / 247.0)), -124)


def test_sum_before_a_function_is_held_only_as_far_as_the_function_tells_values_apart():
    """int8 tanh tells values apart up to half of ln 511."""
    graph = chain(2, (FULL, [W], {}), ("TANH", [], {}))
    found = scales_of(graph, fully_connected_0=(-50.0, 80.0))["fully_connected_0"]
    reach = math.log(511.0) / 2.0
    inside = integers([-reach, reach], found)
    assert inside.min() >= -124 and inside.max() <= 123
    assert 2.0 * reach / found.scale > 244.0


def test_result_of_a_relu_spends_no_integers_on_what_it_cuts_off():
    graph = chain(2, (FULL, [W], {"low": 0.0}), (FULL, [W], {}))
    found = scales_of(graph, fully_connected_0=(0.0, 24.7))["fully_connected_0"]
    assert found == Scale(float(np.float32(0.1)), -124)


@pytest.mark.parametrize("kinds", [("LOGISTIC", "TANH"), ("TANH", "SOFTMAX")])
def test_contradicting_dictated_scales_are_refused(kinds):
    x, first, second, joined = (value(2, name) for name in ("x", "first", "second", "joined"))
    joined.shape = (1, 4)
    ops = [Op(kind, [x], y) for kind, y in zip(kinds, (first, second), strict=True)]
    ops.append(Op("CONCATENATION", [first, second], joined))
    with pytest.raises(ValueError, match="The values around 'first' differ too much in size"):
        scales_of(Graph([x], [joined], ops))


# SUB


def factor(real):
    """A factor as TFLite Micro stores it: 31 bits of mantissa and an exponent."""
    fraction, exponent = math.frexp(real)
    return round(fraction * 2**31), exponent


def factors(first, second, output, number):
    """SUB's three factors, computed in numbers of that type throughout."""
    first, second, output = (number(scale.scale) for scale in (first, second, output))
    twice = number(2.0) * max(first, second)
    shifted = number(2.0**20) * output
    return [factor(float(f)) for f in (first / twice, second / twice, twice / shifted)]


def subtractions(shared):
    """`p = a - b` and `q = c - d` of free scales; with `shared`, `a` and `c` have one."""
    x, joined = value(2, "x"), value(4, "joined")
    a, b, c, d, p, q = (value(2, name) for name in "abcdpq")
    ops = [Op(FULL, [x, constant(W)], y) for y in (a, b, c, d)]
    ops += [Op("SUB", [a, b], p), Op("SUB", [c, d], q)]
    if shared:
        ops.append(Op("CONCATENATION", [a, c], joined))
    return Graph([x], [p, q], ops)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("seed", range(10))
def test_subtraction_has_the_same_factors_in_single_and_double_precision(shared, seed):
    """TFLite Micro divides in the one up to October 2026, in the other from then on."""
    sizes = np.random.default_rng(seed).uniform(0.1, 9.0, (2, 6))
    ranges = {name: (-low, high) for name, low, high in zip("abcdpq", *sizes, strict=True)}
    found = scales_of(subtractions(shared), **ranges)
    for names in ("abp", "cdq"):
        scales = [found[name] for name in names]
        assert factors(*scales, np.float32) == factors(*scales, np.float64), names
    for name, (low, high) in ranges.items():
        inside = integers([low, high], found[name])
        assert inside.min() >= -124 and inside.max() <= 123


@pytest.mark.filterwarnings("ignore::keras_fastgrnn.export.PrecisionWarning")
@pytest.mark.parametrize("size", [1e-30, 1e-9, 1e-6, 1e-3, 1.0])
@pytest.mark.parametrize("head", ["sigmoid", "tanh", "softmax"])
def test_nonlinearity_of_tiny_values_is_exported_and_computed_alike(head, size):
    model = sequential(FastGRNN(3), keras.layers.Dense(2, activation=head), spread=0.4)
    model.layers[-1].kernel.assign(size * np.ones((3, 2)))
    model.layers[-1].bias.assign(np.zeros(2))
    x = sequences()
    deployed = convert(model, x, quantization="int8")
    outputs = deployed.predict(x, on="reference")
    # One unit of 2^-7 or 2^-8, and what rounding the state makes of it.
    assert np.abs(outputs - answers_of(model, x)).max() < 0.02 + 0.05 * size
