"""Beyond which values a tensor's readers cannot tell, and what its integers hold, by hand."""

import math

import numpy as np
import pytest
from graphs import chain, fastgrnn_step

from keras_fastgrnn.graph.graph import Op, Tensor
from keras_fastgrnn.quantization.limits import (
    ends_by_design,
    has_fixed_range,
    real_ends,
    useful_limit,
)

FULL = "FULLY_CONNECTED"
W = np.eye(2)

# The sigmoid of ln 511 is 511/512, half a unit of 2^-8 from 1; the tanh of half of it is 255/256,
# half a unit of 2^-7 from 1.
SIGMOID_LIMIT = {"int16": 8.0, "int8": math.log(511.0)}
TANH_LIMIT = {"int16": 8.0, "int8": math.log(511.0) / 2.0}

each_type = pytest.mark.parametrize("dtype", ["int16", "int8"])


def limits_of(graph, dtype):
    tensors = [tensor for tensor in graph.tensors() if not tensor.is_constant]
    return {tensor.name: useful_limit(graph, tensor, dtype) for tensor in tensors}


@each_type
def test_sigmoid_and_tanh_tell_values_apart_up_to_where_they_are_within_half_a_unit(dtype):
    for kind, limit in (("LOGISTIC", SIGMOID_LIMIT), ("TANH", TANH_LIMIT)):
        found = limits_of(chain(2, (kind, [], {}), (FULL, [W], {})), dtype)
        assert found["input"] == pytest.approx(limit[dtype], rel=1e-12)


@each_type
def test_limit_of_several_readers_is_the_largest_and_a_constant_adds_to_it(dtype):
    """The sigmoid reads the sum as it is, the tanh the sum plus at most 3."""
    found = limits_of(fastgrnn_step(), dtype)
    assert found["cpre"] == pytest.approx(TANH_LIMIT[dtype])
    assert found["sum"] == pytest.approx(max(SIGMOID_LIMIT[dtype], TANH_LIMIT[dtype] + 3.0))


@each_type
def test_what_a_matrix_a_sum_a_product_or_the_outside_reads_has_no_limit(dtype):
    found = limits_of(fastgrnn_step(), dtype)
    assert {found[name] for name in ("wx", "x", "diff", "gate", "after", "out")} == {math.inf}
    graph = chain(2, (FULL, [W], {}), ("TANH", [], {}))
    graph.outputs.append(graph.ops[0].output)
    assert limits_of(graph, dtype)["fully_connected_0"] == math.inf


@each_type
def test_hard_sigmoid_is_read_only_as_far_as_it_rises(dtype):
    """`clip(x / 4 + 1 / 2)` rises from -2 to 2, whatever reads it."""
    ops = ("ADD", [[2.0]], {}), ("MUL", [[0.25]], {"low": 0.0, "high": 1.0}), (FULL, [W], {})
    found = limits_of(chain(2, *ops), dtype)
    # A magnitude is meant, so the clip's limit of 1 comes to 4 before the shift, and to 6 before.
    assert (found["add_0"], found["input"]) == (4.0, 6.0)


@each_type
def test_multiplication_by_zero_sets_no_limit(dtype):
    ops = ("MUL", [[0.0, 2.0]], {}), ("TANH", [], {})
    assert limits_of(chain(2, *ops), dtype)["input"] == math.inf


@pytest.mark.parametrize(
    ("kind", "low", "high", "fixed"),
    [
        ("LOGISTIC", -math.inf, math.inf, True),
        ("TANH", -math.inf, math.inf, True),
        ("SOFTMAX", -math.inf, math.inf, True),
        ("MUL", 0.0, 1.0, True),
        ("ADD", -1.0, 1.0, True),
        ("ADD", 0.0, math.inf, False),
        ("ADD", -math.inf, math.inf, False),
    ],
)
def test_range_is_fixed_by_a_function_that_ends_or_a_clip_from_above(kind, low, high, fixed):
    assert has_fixed_range(Op(kind, [], Tensor("y", (1, 2)), low, high)) is fixed


@pytest.mark.parametrize(
    ("dtype", "scale", "zero_point", "ends"),
    [
        ("int16", 2.0**-15, 0, (-1.0, 1.0 - 2.0**-15)),
        ("int8", 0.5, 0, (-64.0, 63.5)),
        ("int8", 0.5, -128, (0.0, 127.5)),
        ("int8", 0.25, 100, (-57.0, 6.75)),
    ],
)
def test_real_ends_are_those_of_the_smallest_and_largest_integer(dtype, scale, zero_point, ends):
    tensor = Tensor("x", (1, 2), dtype, scale=scale, zero_point=zero_point)
    assert real_ends(tensor) == ends


# What a value at the end of 16 or 8 bits means


def integer_graph(dtype, scale, zero_point, *ops):
    """`h = W x` counted in a scale, then operators: `(kind, constants, options)`."""
    graph = chain(2, (FULL, [W], {}), *ops)
    for tensor in graph.tensors():
        tensor.dtype, tensor.scale = dtype, None if tensor.is_constant else 2.0**-15
    graph.ops[0].output.scale, graph.ops[0].output.zero_point = scale, zero_point
    return graph


SATURATION = {
    "read by a matrix": ("int16", 2.0**-12, 0, [(FULL, [W], {})], (False, False)),
    "read by the outside": ("int16", 2.0**-12, 0, [], (False, False)),
    "tanh from -8 to 8": ("int16", 2.0**-12, 0, [("TANH", [], {})], (True, True)),
    "tanh from -4 to 4": ("int16", 2.0**-13, 0, [("TANH", [], {})], (False, False)),
    "tanh after an addition": (
        *("int16", 2.0**-12, 0),
        [("ADD", [[0.5]], {}), ("TANH", [], {})],
        (False, False),
    ),
    "tanh after an addition, held so far": (
        *("int16", 2.0**-11, 0),
        [("ADD", [[0.5]], {}), ("TANH", [], {})],
        (True, True),
    ),
    "hard sigmoid": (
        *("int16", 2.0**-14, 0),
        [("MUL", [[0.5]], {"low": 0.0, "high": 1.0})],
        (True, True),
    ),
    "relu": ("int16", 2.0**-14, 0, [("MUL", [[0.5]], {"low": 0.0})], (False, False)),
    # int8 tanh ends at 3.12, int8 sigmoid at 6.24.
    "int8 tanh from -3.2 to 3.175": ("int8", 0.025, 0, [("TANH", [], {})], (True, True)),
    "int8 tanh from -3.07 to 3.05": ("int8", 0.024, 0, [("TANH", [], {})], (False, False)),
    "int8 tanh from -0.7 to 5.7": ("int8", 0.025, -100, [("TANH", [], {})], (False, True)),
    "int8 tanh from -5.7 to 0.7": ("int8", 0.025, 100, [("TANH", [], {})], (True, False)),
    "int8 sigmoid from -6.4 to 6.35": ("int8", 0.05, 0, [("LOGISTIC", [], {})], (True, True)),
    "int8 read by a matrix": ("int8", 1.0, 0, [(FULL, [W], {})], (False, False)),
}


@pytest.mark.parametrize("case", SATURATION)
def test_each_end_of_the_range_is_harmless_only_where_no_reader_can_tell(case):
    dtype, scale, zero_point, ops, harmless = SATURATION[case]
    graph = integer_graph(dtype, scale, zero_point, *ops)
    assert ends_by_design(graph, graph.ops[0].output) == harmless


@each_type
@pytest.mark.parametrize(
    ("kind", "options", "harmless"),
    [
        ("LOGISTIC", {}, True),
        ("TANH", {}, True),
        ("SOFTMAX", {}, True),
        ("CONCATENATION", {}, True),
        ("MUL", {"low": 0.0, "high": 1.0}, True),
        ("MUL", {"low": -1.0, "high": 1.0}, True),
        ("MUL", {"low": 0.0}, False),
        ("MUL", {}, False),
    ],
)
def test_end_of_what_ends_there_or_is_copied_is_harmless(dtype, kind, options, harmless):
    constants = [[1.0]] if kind == "MUL" else []
    graph = integer_graph(dtype, 2.0**-12, 0, (kind, constants, options))
    assert ends_by_design(graph, graph.outputs[0]) == (harmless, harmless)


@each_type
def test_saturated_input_and_state_are_never_harmless(dtype):
    graph = fastgrnn_step()
    for tensor in graph.tensors():
        tensor.dtype, tensor.scale = dtype, 2.0**-5
    for tensor in (graph.inputs[0], graph.states[0].after, graph.outputs[0]):
        assert ends_by_design(graph, tensor) == (False, False)
