"""Rounding in training, against NumPy, and its gradients."""

import math

import numpy as np
import pytest
import tensorflow as tf

from keras_fastgrnn.graph.fixed_scales import Scale
from keras_fastgrnn.quantization.fake_quantization import (
    FORMATS,
    WeightFormat,
    power_of_two_at_least,
    round_to_integers,
    round_to_multiples,
)


def gradient(function, values):
    tensor = tf.constant(values, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        total = tf.reduce_sum(function(tensor))
    return tape.gradient(total, tensor).numpy()


# Activations

SCALES = [
    (8, 2.0**-7, 0),
    (8, 1 / 256, -128),
    (8, float(np.float32(0.0371)), 17),
    (8, float(np.float32(1 / 255)), -128),
    (16, 2.0**-15, 0),
    (16, 2.0**-12, 0),
    (16, 4.0, 0),
]


def real_values(integers, scale, zero_point):
    return (scale * (np.asarray(integers, np.float64) - zero_point)).astype("float32")


@pytest.mark.parametrize(("bits", "scale", "zero_point"), SCALES)
def test_values_go_to_the_nearest_integer_of_the_type(bits, scale, zero_point):
    rng = np.random.default_rng(0)
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    integers = np.array([low, low + 1, zero_point, high - 1, high, *rng.integers(low, high, 500)])
    # A 16-bit integer leaves 8 bits of float32 for its fraction.
    away = rng.uniform(-0.48, 0.48, integers.shape)
    rounded = round_to_integers(
        real_values(integers + away, scale, zero_point), scale, zero_point, bits
    )
    expected = real_values(integers, scale, zero_point)
    # A scale that is no power of two is divided by in float32.
    np.testing.assert_allclose(rounded, expected, rtol=1e-6, atol=1e-6 * scale)


@pytest.mark.parametrize(("bits", "scale", "zero_point"), SCALES)
def test_values_beyond_the_ends_are_clipped_and_have_no_gradient(bits, scale, zero_point):
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    beyond = np.array([low - 1.0, low - 1e6, high + 1.0, high + 1e6])
    inside = np.array([low + 0.3, zero_point + 0.3, high - 0.3])

    def rounding(value):
        return round_to_integers(value, scale, zero_point, bits)

    outside = real_values(beyond, scale, zero_point)
    expected = real_values([low, low, high, high], scale, zero_point)
    np.testing.assert_allclose(rounding(outside), expected, rtol=1e-6)
    np.testing.assert_array_equal(gradient(rounding, outside), np.zeros(4))
    np.testing.assert_array_equal(
        gradient(rounding, real_values(inside, scale, zero_point)), np.ones(3)
    )


@pytest.mark.parametrize(("bits", "scale", "zero_point"), SCALES)
def test_zero_stays_zero(bits, scale, zero_point):
    assert round_to_integers(tf.zeros(3), scale, zero_point, bits).numpy().tolist() == [0.0] * 3


# Powers of two


def test_power_of_two_is_exact_at_powers_of_two_and_one_float_around_them():
    powers = np.float32(2.0) ** np.arange(-120, 120, dtype="float32")
    np.testing.assert_array_equal(power_of_two_at_least(powers), powers)
    np.testing.assert_array_equal(power_of_two_at_least(np.nextafter(powers, 0)), powers)
    above = np.nextafter(powers, np.float32(np.inf))
    np.testing.assert_array_equal(power_of_two_at_least(above), 2 * powers)


def test_power_of_two_of_any_number_is_the_smallest_that_holds_it():
    numbers = np.exp(np.random.default_rng(0).uniform(-60.0, 60.0, 1000)).astype("float32")
    expected = [2.0 ** math.ceil(math.log2(float(number))) for number in numbers]
    np.testing.assert_array_equal(power_of_two_at_least(numbers), np.float32(expected))


# Scales from ranges


@pytest.mark.parametrize(
    ("low", "high", "limit", "magnitude"),
    [
        (-1.0, 3.0, math.inf, 4.0),
        (-4.0, 3.0, math.inf, 4.0),
        (-4.001, 3.0, math.inf, 8.0),
        (0.0, 0.3, math.inf, 0.5),
        (-100.0, 100.0, 8.0, 8.0),
        (-100.0, 100.0, 6.2, 8.0),
    ],
)
def test_int16_scale_is_the_smallest_power_of_two_that_holds_the_range(low, high, limit, magnitude):
    scale, zero_point = FORMATS["int16x8"].scale_of_range(tf.constant([low, high]), limit)
    assert (float(scale), float(zero_point)) == (magnitude / 2**15, 0.0)


@pytest.mark.parametrize(
    ("low", "high", "limit"),
    [
        (-1.0, 3.0, math.inf),
        (0.0, 3.0, math.inf),
        (0.5, 3.0, math.inf),  # a range holds 0
        (-3.0, -0.5, math.inf),
        (-100.0, 3.0, 6.2),
        (-1e-6, 1e-6, math.inf),
        (-0.25, 0.0, math.inf),
    ],
)
def test_int8_scale_spreads_the_range_over_the_integers_inside_the_ends(low, high, limit):
    scale, zero_point = FORMATS["int8"].scale_of_range(tf.constant([low, high]), limit)
    scale, zero_point = float(scale), float(zero_point)
    low, high = max(min(low, 0.0), -limit), min(max(high, 0.0), limit)
    assert scale == pytest.approx((high - low) / 247, rel=1e-6)
    assert zero_point == int(zero_point)
    assert abs(low / scale + zero_point + 124) < 0.51
    assert abs(high / scale + zero_point - 123) < 0.51


# What TFLite Micro's functions answer, and what is clipped to [0, 1] or [-1, 1]
INT8_RESULTS = {
    "sigmoid": Scale(1 / 256, -128),
    "tanh": Scale(1 / 128, 0),
    "softmax": Scale(1 / 256, -128),
    "quant_sigmoid": Scale(float(np.float32(1 / 255)), -128),
    "quant_sigmoid4": Scale(float(np.float32(1 / 255)), -128),
    "quant_tanh": Scale(float(np.float32(1 / 127)), 0),
    "relu": None,
    "linear": None,
}
ENDS = {
    "quant_sigmoid": (0.0, 1.0),
    "quant_sigmoid4": (0.0, 1.0),
    "quant_tanh": (-1.0, 1.0),
    "relu": (0.0, math.inf),
}


@pytest.mark.parametrize(("name", "int8"), INT8_RESULTS.items())
def test_functions_answer_at_the_scales_of_tflite_micro(name, int8):
    ends = ENDS.get(name)
    assert FORMATS["int8"].scale_of_function(name, ends) == int8
    int16 = int8 and Scale(2.0**-15, 0)
    assert FORMATS["int16x8"].scale_of_function(name, ends) == int16


# Weights

MATRIX = np.random.default_rng(0).normal(0.0, 0.3, (12, 9)).astype("float32")
MATRIX[::3, ::2] = 0.0


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("power_of_two", [False, True])
def test_weights_are_the_nearest_of_symmetric_integers(bits, power_of_two):
    largest = {8: 127, 4: 7}[bits]
    # TFLite Micro's int16 kernel multiplies by 15 bits of a scale.
    mantissa, exponent = math.frexp(float(np.abs(MATRIX).max()) / largest)
    scale = math.ldexp(math.ceil(mantissa * 2.0**15), exponent - 15)
    if power_of_two:
        scale = 2.0**exponent
    weight_format = WeightFormat(bits, power_of_two)
    assert weight_format.largest == largest
    assert float(weight_format.scale(MATRIX)) == scale
    integers = np.asarray(weight_format.round(MATRIX)) / scale
    np.testing.assert_allclose(integers, np.round(MATRIX / scale), atol=1e-4)
    assert np.abs(np.round(integers)).max() <= largest
    if not power_of_two:
        assert np.abs(np.round(integers)).max() == largest
    np.testing.assert_array_equal(np.asarray(weight_format.round(MATRIX))[MATRIX == 0.0], 0.0)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("power_of_two", [False, True])
def test_rounded_weights_round_to_themselves_at_the_same_scale(bits, power_of_two):
    weight_format = WeightFormat(bits, power_of_two)
    rounded = weight_format.round(MATRIX)
    # Any factor may come between, as the unit of a state does.
    again = (rounded * 0.3) / 0.3
    np.testing.assert_allclose(weight_format.round(again), rounded, rtol=1e-6)
    unit, scale = weight_format.scale(MATRIX), weight_format.scale_of_rounded(again)
    if power_of_two:  # where no weight reaches the end, half the scale may do
        assert float(scale) in (float(unit), float(unit) / 2)
        integers = np.asarray(rounded) / float(scale)
        assert np.abs(np.round(integers)).max() <= weight_format.largest
    else:
        assert float(scale) == float(unit)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("power_of_two", [False, True])
def test_every_weight_has_the_gradient_of_itself(bits, power_of_two):
    weight_format = WeightFormat(bits, power_of_two)
    np.testing.assert_array_equal(gradient(weight_format.round, MATRIX), np.ones(MATRIX.shape))


def test_matrix_of_zeros_stays_one():
    for weight_format in (WeightFormat(8), WeightFormat(4), WeightFormat(8, power_of_two=True)):
        assert not np.any(weight_format.round(np.zeros((3, 2), "float32")))


def test_multiples_of_a_unit_have_no_ends_and_a_straight_gradient():
    unit = 0.037
    values = np.array([0.0, 1.0, -1.0, 1e4, -1e4, 0.018, 0.019], "float32")
    rounded = round_to_multiples(tf.constant(values), unit)
    np.testing.assert_allclose(rounded, np.round(values / unit) * unit, rtol=1e-6)
    straight = gradient(lambda value: round_to_multiples(value, unit), values)
    np.testing.assert_array_equal(straight, np.ones(7))
