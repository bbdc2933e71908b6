"""Float graphs turned into integers, against numbers worked out by hand."""

import math
from fractions import Fraction

import numpy as np
import pytest
from graphs import chain, fastrnn_step, kinds

from keras_fastgrnn.export.lowering.integers import quantize_int8, quantize_int16
from keras_fastgrnn.graph import real_values, reference
from keras_fastgrnn.graph.fixed_scales import Scale

FULL = "FULLY_CONNECTED"


def quantized(steps, exponents, width=2):
    """Quantizes a chain; `exponents` are those of the input and of each result."""
    graph = chain(width, *steps)
    tensors = [graph.inputs[0], *(op.output for op in graph.ops)]
    return quantize_int16(graph, dict(zip(tensors, exponents, strict=True)))


def test_types_and_scales():
    graph = quantized([(FULL, [np.eye(2), [1.0, 2.0]], {}), ("TANH", [], {})], [-11, -12, -15])
    product, tanh = graph.ops
    x, weights, bias = product.inputs
    assert [t.dtype for t in (x, weights, bias, product.output)] == [
        "int16",
        "int8",
        "int64",
        "int16",
    ]
    assert [t.scale for t in (x, product.output, tanh.output)] == [2.0**-11, 2.0**-12, 2.0**-15]
    assert {tensor.zero_point for tensor in graph.tensors()} == {0}
    assert (graph.inputs, graph.outputs) == ([x], [tanh.output])


def nearest(value, scale):
    """The integer nearest to `value / scale`, half away from zero, in exact arithmetic."""
    quotient = Fraction(float(value)) / Fraction(float(scale))
    rounded = int(abs(quotient) + Fraction(1, 2))
    return rounded if quotient >= 0 else -rounded


@pytest.mark.parametrize("seed", range(5))
def test_weights_and_bias_are_the_nearest_integers(seed):
    rng = np.random.default_rng(seed)
    matrix, bias = rng.normal(size=(7, 5)) * 10.0 ** rng.integers(-6, 4), rng.normal(size=7)
    graph = quantized([(FULL, [matrix, bias], {})], [-12, -11], width=5)
    _, weights, offset = graph.ops[0].inputs
    # 2^-12 over 2^-11 is a half, so the scale itself has the 15 bits that the factor has.
    units = Fraction(float(np.float32(np.abs(matrix).max() / 127)))
    exponent = 15 - math.frexp(units)[1]
    assert Fraction(weights.scale) == Fraction(math.ceil(units * Fraction(2) ** exponent)) / (
        Fraction(2) ** exponent
    )
    expected = [[nearest(v, weights.scale) for v in row] for row in matrix]
    assert weights.data.tolist() == expected
    assert np.abs(weights.data).max() == 127
    assert offset.scale == float(np.float32(2.0**-12) * np.float32(weights.scale))
    assert offset.data.tolist() == [nearest(v, offset.scale) for v in bias]


def test_largest_weight_is_127_on_both_sides():
    graph = quantized([(FULL, [[[-3.0, 3.0], [1.52, 0.0118]]], {})], [-15, -15])
    assert graph.ops[0].inputs[1].data.tolist() == [[-127, 127], [64, 0]]


@pytest.mark.parametrize("zero_point", [-124, 0, 123])
def test_int8_bias_of_a_matrix_of_zeros_fits_its_32_bits(zero_point):
    end = 0.02 * (123 if zero_point < 0 else -124) - 0.02 * zero_point
    graph = chain(2, (FULL, [np.zeros((1, 2)), [end]], {}))
    scales = {graph.inputs[0]: Scale(0.01, 0), graph.outputs[0]: Scale(0.02, zero_point)}
    (product,) = quantize_int8(graph, scales, frozenset()).ops
    bias = product.inputs[2]
    assert bias.data[0] * bias.scale == pytest.approx(end, rel=1e-6)


@pytest.mark.parametrize("seed", range(20))
def test_factor_of_an_int16_product_has_15_bits(seed):
    """TFLite Micro's kernel uses no more of it, and full TFLite all: they must do the same."""
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(3, 3)) * 10.0 ** rng.integers(-3, 3)
    graph = quantized([(FULL, [matrix], {})], list(rng.integers(-15, -8, 2)), width=3)
    (product,) = graph.ops
    factor = product.inputs[0].scale * product.inputs[1].scale / product.output.scale
    assert (math.frexp(factor)[0] * 2**15).is_integer()


def test_matrix_of_zeros_leaves_the_bias_exact():
    """Its scale could be any; it must be small enough for the bias, which alone is the answer."""
    graph = quantized([(FULL, [np.zeros((2, 2)), [0.3, -0.70001]], {})], [-2, -15])
    assert not graph.ops[0].inputs[1].data.any()
    answers = reference.run(graph, np.full((1, 1, 2), 32767, np.int16))[0, 0]
    assert answers.tolist() == [round(0.3 * 2**15), round(-0.70001 * 2**15)]


@pytest.mark.parametrize("size", [1e-4, 1e-7, 1e-9, 1e-15, 1e-30])
def test_matrix_far_smaller_than_its_bias_leaves_the_bias(size):
    graph = quantized([(FULL, [np.full((2, 2), size), [0.3, -0.7]], {})], [-12, -15])
    answers = reference.run(graph, np.full((1, 1, 2), 4096, np.int16))[0, 0]
    # The 16-bit multiplier is exact to 2^-16, half a unit of 0.7.
    expected = (np.array([0.3, -0.7]) + 2 * size) * 2**15
    np.testing.assert_allclose(answers, expected, atol=1.0)


@pytest.mark.parametrize(
    ("constant", "scale", "integers"),
    [
        ([[0.75]], 2.0**-15, [24576]),
        ([[1.0]], 2.0**-14, [16384]),
        ([[-1.0]], 2.0**-15, [-32768]),
        ([[1.2, -0.1]], 2.0**-14, [19661, -1638]),
        ([[0.0]], 2.0**-15, [0]),
        ([[-100.0]], 2.0**-8, [-25600]),
    ],
)
def test_constants_of_additions_and_multiplications(constant, scale, integers):
    graph = quantized([("MUL", [constant], {})], [-3, -3])
    tensor = graph.ops[0].inputs[1]
    assert (tensor.dtype, tensor.scale) == ("int16", scale)
    assert np.ravel(tensor.data).tolist() == integers


def test_constant_shares_a_scale_that_is_one_bit_larger():
    for exponent, expected in ((-15, -15), (-14, -14), (-13, -15)):
        graph = quantized([("MUL", [[0.75]], {})], [exponent, exponent])
        assert graph.ops[0].inputs[1].scale == 2.0**expected


def test_states_and_limits_are_kept_and_the_float_graph_is_left_alone():
    floats = fastrnn_step()
    floats.ops[-1].low = 0.0
    exponents = dict.fromkeys((t for t in floats.tensors() if not t.is_constant), -12)
    exponents[floats.ops[4].output] = -15
    before = [(op.kind, list(op.inputs), op.output) for op in floats.ops]
    graph = quantize_int16(floats, exponents)
    assert kinds(graph) == kinds(floats)
    (state,) = graph.states
    assert state.before is graph.ops[1].inputs[0] is graph.ops[5].inputs[0]
    assert state.after is graph.ops[6].output
    assert (graph.ops[-1].low, graph.ops[-1].high) == (0.0, np.inf)
    assert [(op.kind, op.inputs, op.output) for op in floats.ops] == before
    assert {t.dtype for t in floats.tensors()} == {"float32"}


def test_integer_graph_is_near_the_float_graph():
    floats = fastrnn_step(seed=3)
    exponents = dict.fromkeys((t for t in floats.tensors() if not t.is_constant), -12)
    exponents[floats.ops[4].output] = -15
    graph = quantize_int16(floats, exponents)
    x = np.random.default_rng(0).normal(size=(4, 30, 3))
    expected = reference.run(floats, x)
    integers = reference.run(graph, real_values.quantize_values(x, graph.inputs[0]))
    # int8 weights of size 2 are wrong by 0.008 each; a state of size 3 lives for 1 / (1 - 0.7).
    np.testing.assert_allclose(integers * 2.0**-12, expected, atol=0.15)


REFUSED = {
    "a product beyond 31 bits": ([(FULL, [np.full((2, 2), 1e6)], {})], [0, -15]),
    "a bias beyond 31 bits": ([(FULL, [np.eye(2), [1e9, 0.0]], {})], [-15, -15]),
    "a sum counted far finer than its parts": ([("ADD", [[1.0]], {})], [0, -16]),
    "a multiplication that shifts to the left": ([("MUL", [[1e3]], {})], [-5, -12]),
    "a tanh of values beyond its table": ([("TANH", [], {})], [3, -15]),
    "a sigmoid of values beyond its table": ([("LOGISTIC", [], {})], [3, -15]),
    "a softmax of logits beyond 31 bits": ([("SOFTMAX", [], {})], [3, -15]),
    "a bias beyond 47 bits": ([(FULL, [np.full((2, 2), 1e-3), [2.0**9, 0.0]], {})], [-30, -15]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_scales_that_the_kernels_cannot_rescale_are_refused(case):
    steps, exponents = REFUSED[case]
    name = f"{steps[0][0].lower()}_0"
    message = (
        rf"^The values around '{name}' differ too much in size for 16-bit integers\. Scale the"
    )
    with pytest.raises(ValueError, match=message):
        quantized(steps, exponents)


BEYOND_ALL_SCALES = {
    "an input": ([(FULL, [np.eye(2)], {})], [61, 61]),
    "a result": ([(FULL, [np.eye(2) * 2.0**-30], {})], [-30, -61]),
    "a matrix": ([(FULL, [np.eye(2) * 2.0**80], {})], [-30, 50]),
    "a matrix of huge results": ([(FULL, [np.eye(2)], {})], [-30, 60]),
    "a bias": ([(FULL, [np.eye(2) * 2.0**-30, [0.0, 1.0]], {})], [-40, -60]),
    "a constant": ([("MUL", [[2.0**90]], {})], [-60, 30]),
}


@pytest.mark.parametrize("dtype", ["int16", "int8"])
@pytest.mark.parametrize("case", BEYOND_ALL_SCALES)
def test_scales_beyond_those_that_kernels_compute_with_are_refused(case, dtype):
    steps, exponents = BEYOND_ALL_SCALES[case]
    graph = chain(2, *steps)
    tensors = [graph.inputs[0], *(op.output for op in graph.ops)]
    with pytest.raises(ValueError, match=f"differ too much in size for {dtype[3:]}-bit integers"):
        if dtype == "int16":
            quantize_int16(graph, dict(zip(tensors, exponents, strict=True)))
        else:
            scales = {t: Scale(2.0**e) for t, e in zip(tensors, exponents, strict=True)}
            quantize_int8(graph, scales, frozenset())


@pytest.mark.parametrize(
    ("kind", "scale"), [("LOGISTIC", 16.0), ("TANH", 1e10), ("SOFTMAX", 2.0**-26), ("MUL", 2.0**25)]
)
def test_int8_scales_that_a_kernel_cannot_rescale_are_refused(kind, scale):
    graph = chain(2, (kind, [[1.0]] if kind == "MUL" else [], {}))
    scales = {graph.inputs[0]: Scale(scale), graph.outputs[0]: Scale(2.0**-8, -128)}
    with pytest.raises(ValueError, match="differ too much in size for 8-bit integers"):
        quantize_int8(graph, scales, frozenset())


@pytest.mark.parametrize(("part", "fits"), [(0.98, True), (1.02, False)])
def test_int8_sum_has_31_bits_after_its_shift_to_the_left(part, fits):
    """256 * 127 times a factor just below 2^16 is below 2^31, and just above it is not."""
    graph = chain(2, (FULL, [np.eye(2)], {}))
    scales = {graph.inputs[0]: Scale(part * 2.0**8 * 127), graph.outputs[0]: Scale(2.0**-8)}
    if fits:
        quantize_int8(graph, scales, frozenset())
        return
    with pytest.raises(ValueError, match="differ too much in size for 8-bit integers"):
        quantize_int8(graph, scales, frozenset())


@pytest.mark.parametrize("portable", [False, True])
@pytest.mark.parametrize("size", [1e-30, 1e-12, 1.0, 1e12, 1e30])
def test_scale_of_an_int8_matrix_is_found_in_bounded_time_or_refused(size, portable):
    graph = chain(2, (FULL, [np.array([[0.3, -1.7], [0.0, 0.4]]) * size], {}))
    scales = {graph.inputs[0]: Scale(0.03), graph.outputs[0]: Scale(float(np.float32(0.05 * size)))}
    if 1e-15 < size < 1e15:
        weights = quantize_int8(graph, scales, frozenset(), portable).ops[0].inputs[1]
        assert np.abs(weights.data).max() >= 63
        return
    with pytest.raises(ValueError, match="differ too much in size"):
        quantize_int8(graph, scales, frozenset(), portable)


@pytest.mark.parametrize("dtype", ["int16", "int8"])
def test_constant_too_small_for_any_scale_becomes_0(dtype):
    graph = chain(2, ("ADD", [[1e-30]], {}))
    tensors = [t for t in graph.tensors() if not t.is_constant]
    if dtype == "int16":
        integers = quantize_int16(graph, dict.fromkeys(tensors, -12))
    else:
        integers = quantize_int8(graph, dict.fromkeys(tensors, Scale(0.1, 3)), frozenset())
    assert integers.ops[0].inputs[1].data.tolist() == [0]
    assert integers.ops[0].inputs[1].scale >= 2.0**-60


def test_values_at_the_border_are_not_refused():
    assert quantized([("TANH", [], {})], [2, -15])
    assert quantized([("ADD", [[1.0]], {})], [0, -13])
    assert quantized([("MUL", [[-1.0]], {})], [0, -15])


@pytest.mark.parametrize("seed", range(20))
def test_portable_int8_product_is_of_even_integers_and_a_factor_above_a_power_of_two(seed):
    """So full TFLite, which rounds it once, and TFLite Micro, which rounds it twice, agree."""
    rng = np.random.default_rng(seed)
    matrix, bias = rng.normal(size=(3, 4)) * 10.0 ** rng.integers(-3, 3), rng.normal(size=3)
    graph = chain(4, (FULL, [matrix, bias], {}))
    sizes = rng.uniform(0.001, 1.0, 2)
    tensors = [t for t in graph.tensors() if not t.is_constant]
    scales = {t: Scale(float(np.float32(s)), 3) for t, s in zip(tensors, sizes, strict=True)}
    (product,) = quantize_int8(graph, scales, frozenset(), portable=True).ops
    x, weights, offset = product.inputs
    assert not np.any(weights.data % 2) and not np.any(offset.data % 2)
    assert 62 <= np.abs(weights.data).max() <= 126
    mantissa, _ = math.frexp(x.scale * weights.scale / product.output.scale)
    assert 0.5 < mantissa < 0.5 + 2.0**-18
    np.testing.assert_allclose(weights.data * weights.scale, matrix, atol=1.001 * weights.scale)
    np.testing.assert_allclose(offset.data * offset.scale, bias, atol=1.001 * offset.scale)


# Constants of int8


def last_constant(steps, scales, per_channel=False):
    """Scale and integers of the last operator's constant, in a chain of width 2.

    `scales` are those of the input and of each result; one with the zero point 3 is not shared.
    """
    graph = chain(2, *steps)
    tensors = [t for t in graph.tensors() if not t.is_constant]
    scales = [Scale(size, 3) if isinstance(size, float) else size for size in scales]
    by_tensor = dict(zip(tensors, scales, strict=True))
    outputs = frozenset([graph.ops[0].output] if per_channel else [])
    tensor = quantize_int8(graph, by_tensor, outputs).ops[-1].inputs[1]
    assert (tensor.dtype, tensor.zero_point) == ("int8", 0)
    return tensor.scale, np.ravel(tensor.data).tolist()


# A matrix that reaches 127/128 has the scale 1/128 where input and result have powers of two.
PRODUCT = (FULL, [np.eye(2) * 127 / 128], {})


def constant_after_product(kind, values, unit, **options):
    """The same of an operator that reads a product and answers in units of that size."""
    return last_constant([PRODUCT, (kind, [values], {})], [2.0**-5, 2.0**-4, unit], **options)


@pytest.mark.parametrize(
    ("values", "unit", "integers"),
    [
        # A tenth of the unit is 0.4 of 1/128; a 254th of the constant is 0.24 of it.
        ([60.39 / 128], 2.0**-5, [60]),
        ([-60.39 / 128], 2.0**-5, [-60]),
        ([0.39 / 128], 2.0**-5, [0]),
        # A tenth of the unit is nothing; a 254th of the largest value is 0.252 of 1/128.
        ([[64 / 128, 32.24 / 128]], 2.0**-12, [64, 32]),
        ([[-64 / 128, 32.24 / 128]], 2.0**-12, [-64, 32]),
        ([127 / 128], 2.0**-12, [127]),
        ([-127.39 / 128], 2.0**-5, [-127]),
        ([0.0], 2.0**-12, [0]),
    ],
)
def test_constant_of_an_addition_shares_the_scale_of_a_matrix_that_is_fine_enough(
    values, unit, integers
):
    assert constant_after_product("ADD", values, unit) == (2.0**-7, integers)


@pytest.mark.parametrize(
    ("values", "unit", "integers"),
    [
        # Coarser than 0.4 and 0.252 of 1/128.
        ([60.41 / 128], 2.0**-5, [127]),
        ([[64 / 128, 32.26 / 128]], 2.0**-12, [127, 64]),
        # Beyond 127, however coarse the result.
        ([128 / 128], 2.0**-5, [127]),
        ([-128 / 128], 1.0, [-127]),
        ([[0.0, 300 / 128]], 1.0, [0, 127]),
    ],
)
def test_constant_of_an_addition_has_its_own_scale_where_none_is_fine_enough(
    values, unit, integers
):
    own = float(np.float32(np.abs(values).max() / 127))
    assert constant_after_product("ADD", values, unit) == (own, integers)


def test_factor_is_not_shared_for_the_unit_of_its_result():
    own = float(np.float32(60.39 / 128 / 127))
    assert constant_after_product("MUL", [60.39 / 128], 2.0**-5) == (own, [127])
    # 0.23 of 1/128 is less than a 254th of it.
    assert constant_after_product("MUL", [60.23 / 128], 2.0**-5) == (2.0**-7, [60])


def test_scales_for_each_unit_of_a_matrix_are_not_shared():
    found = constant_after_product("ADD", [0.5], 2.0**-5, per_channel=True)
    assert found == (np.float32(0.5 / 127), [127])


@pytest.mark.parametrize(
    ("value", "scale", "integer"), [(60.2 / 256, 2.0**-8, 60), (128.2 / 256, 2.0**-7, 64)]
)
def test_constant_shares_the_smallest_scale_that_holds_it(value, scale, integer):
    half_as_large = (FULL, [np.eye(2) * 127 / 256], {})
    steps = [half_as_large, PRODUCT, ("ADD", [[value]], {})]
    found = last_constant(steps, [2.0**-5, 2.0**-5, 2.0**-4, 2.0**-5])
    assert found == (scale, [integer])


@pytest.mark.parametrize(("zero_point", "scale", "integer"), [(0, 2.0**-8, 64), (3, 2.0**-7, 32)])
def test_scale_of_a_computed_tensor_is_shared_if_its_zero_point_is_0(zero_point, scale, integer):
    found = constant_after_product("ADD", [0.25], Scale(2.0**-8, zero_point))
    assert found == (scale, [integer])


def test_no_matrix_of_ordinary_scales_is_refused():
    """Some need a scale that is thousands of float32 numbers away."""
    rng = np.random.default_rng(0)
    for weight, input_scale, output_scale in rng.uniform(0.004, 0.01, (500, 3)).astype("float32"):
        graph = chain(1, (FULL, [[[127.0 * weight]]], {}))
        scales = [Scale(float(input_scale), 0), Scale(float(output_scale), 0)]
        tensors = graph.inputs[0], graph.ops[0].output
        integers = quantize_int8(graph, dict(zip(tensors, scales, strict=True)), frozenset())
        # No more than 2^18 of the 2^23 numbers up to twice the scale.
        assert weight <= integers.ops[0].inputs[1].scale <= 1.07 * weight
