"""Operators as C where their integers are at the ends of what the arithmetic holds."""

import numpy as np
import pytest
from c_programs import compiled, differing

from keras_fastgrnn.graph.graph import Constant, Graph, Op, Tensor, name_tensors

INT16 = np.iinfo(np.int16)


def int16_value(name, units, exponent):
    return Tensor(name, (1, units), "int16", scale=2.0**exponent)


def int16_constant(values, exponent):
    return Constant("", values.shape, "int16", scale=2.0**exponent, data=values.astype(np.int16))


def graph_of(op):
    graph = Graph([op.inputs[0]], [op.output], [op])
    name_tensors(graph)
    return graph


def steps_of(integers, units):
    """One sequence whose steps are the given integers, each for all units."""
    return np.repeat(integers.astype(np.int16)[np.newaxis, :, np.newaxis], units, axis=2)


@pytest.mark.parametrize("kind", ["ADD", "SUB"])
@pytest.mark.parametrize("larger", [0, 1], ids=["first is larger", "second is larger"])
@pytest.mark.parametrize("difference", [0, 1, 12, 13, 14, 15, 20])
@pytest.mark.parametrize("above", [1, 3, 13], ids="result {} bits up".format)
def test_sum_of_scales_of_any_difference_is_the_reference(kind, larger, difference, above):
    """From 14 bits of difference on the smaller operand is halved before the sum is rounded."""
    exponents = [-30, -30]
    exponents[larger] += difference
    rng = np.random.default_rng(0)
    near = 2 ** np.arange(15)
    ends = np.concatenate([near - 1, near, near + 1, [INT16.max, INT16.min]])
    second = np.concatenate([ends, -ends, rng.integers(INT16.min, INT16.max, 100)])
    second = np.clip(second, INT16.min, INT16.max)
    x = int16_value("x", len(second), exponents[0])
    y = int16_value("y", len(second), max(exponents) - 14 + above)
    graph = graph_of(Op(kind, [x, int16_constant(second, exponents[1])], y))
    first = np.concatenate([np.arange(-9, 10), second])
    assert differing(compiled(graph), graph, steps_of(first, len(second))) == 0


def product(weights, bias, exponent):
    weights = np.asarray(weights)
    units, inputs = weights.shape
    x, y = int16_value("x", inputs, -15), int16_value("y", units, exponent)
    matrix = Constant("", weights.shape, "int8", scale=2.0**-7, data=weights.astype(np.int8))
    bias = Constant("", (units,), "int64", scale=2.0**-22, data=np.asarray(bias, np.int64))
    return graph_of(Op("FULLY_CONNECTED", [x, matrix, bias], y))


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("largest", [2**31 - 2, 2**31 + 2, 2**32 - 2, 2**32 + 2, 2**33 + 2])
def test_sum_that_just_fits_its_type_or_just_does_not_is_the_reference(largest, sign):
    """The sanitizers end the program where a sum leaves its type."""
    weights = sign * np.full((2, 5), 99)
    half, greatest = 2**16, 5 * 99 * -INT16.min
    bias = sign * np.array([largest - greatest - half, 1])
    graph = product(weights, bias, -5)
    integers = steps_of(np.array([INT16.min, INT16.max, -1, 0, 1]), 5)
    assert differing(compiled(graph), graph, integers) == 0


@pytest.mark.parametrize("largest", [6, 7, 8, 9, 127])
@pytest.mark.parametrize("sign", [1, -1])
def test_weights_of_every_size_are_those_of_the_matrix(largest, sign):
    """4 bits hold -7 to 7."""
    rng = np.random.default_rng(0)
    weights = rng.integers(1, largest + 1, (7, 11)) * rng.choice([-1, 1], (7, 11))
    weights[3, 4] = sign * largest
    graph = product(weights, np.zeros(7), -13)
    integers = rng.integers(INT16.min, INT16.max, (1, 50, 11)).astype(np.int16)
    assert differing(compiled(graph), graph, integers) == 0
