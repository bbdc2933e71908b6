"""The fixed-point arithmetic against exact fractions, and against TFLite Micro's int8 operators."""

import decimal
import fractions
import math

import numpy as np
import pytest
from mutations import TRUNCATING

from keras_fastgrnn.export.tflite import write
from keras_fastgrnn.graph import fixed_point
from keras_fastgrnn.graph.graph import Graph, Op, Tensor

TABLES = {
    "LOGISTIC": fixed_point.logistic_table_int8,
    "TANH": fixed_point.tanh_table_int8,
}
OUTPUTS = {  # scale and zero point
    "LOGISTIC": (2.0**-8, -128),
    "TANH": (2.0**-7, 0),
    "SOFTMAX": (2.0**-8, -128),
}
SCALES = [*(2.0**e for e in range(-8, 0)), *np.float32([0.0431, 0.0078, 0.117, 3.0]).tolist()]
EVERY_INPUT = np.arange(-128, 128, dtype=np.int8)[np.newaxis]


@pytest.mark.parametrize("real", [1.0, 0.5, 2.0**-31, 0.3, 1.7e-4, 123.456])
def test_quantize_multiplier_is_the_nearest_of_31_bits(real):
    multiplier, shift = fixed_point.quantize_multiplier(real)
    assert 2**30 <= multiplier < 2**31
    assert multiplier * 2.0 ** (shift - 31) == pytest.approx(real, rel=2.0**-31)


@pytest.mark.parametrize("exponent", [0, 1, 4, 31])
def test_rounding_shift_rounds_half_away_from_zero(exponent):
    values = np.concatenate([np.arange(-50, 51), [-(2**31), -(2**30), 2**30, 2**31 - 1]])
    rounded = [
        int((decimal.Decimal(v) / 2**exponent).to_integral_value(decimal.ROUND_HALF_UP))
        for v in values.tolist()
    ]
    assert fixed_point.rounding_shift(values, exponent).tolist() == rounded


@pytest.mark.parametrize("multiplier", [2**30, 2**30 + 1, 2**31 - 1, -1, -(2**30)])
def test_doubling_high_multiply_rounds_half_toward_plus_infinity(multiplier):
    values = np.concatenate([np.arange(-50, 51), [-(2**31) + 1, -(2**30), 2**30, 2**31 - 1]])
    half = fractions.Fraction(1, 2)
    rounded = [
        math.floor(fractions.Fraction(v * multiplier, 2**31) + half) for v in values.tolist()
    ]
    assert fixed_point.doubling_high_multiply(values, multiplier).tolist() == rounded


def test_multiply_takes_a_factor_for_each_entry_of_the_last_axis():
    reals = [0.01, 0.3, 1.0, 7.0]
    factors = [fixed_point.quantize_multiplier(real) for real in reals]
    values = np.random.default_rng(0).integers(-(2**20), 2**20, (50, len(reals)))
    together = fixed_point.multiply(values, *np.array(factors).T)
    columns = [fixed_point.multiply(values[:, i], *factor) for i, factor in enumerate(factors)]
    np.testing.assert_array_equal(together, np.stack(columns, axis=1))
    np.testing.assert_allclose(together, values * reals, rtol=0, atol=1.0)  # rounded twice


def of_tflm(wheel, kind, scale, zero_point, integers):
    """One operator's outputs, for inputs of shape `(steps, units)`."""
    shape = (1, integers.shape[1])
    output_scale, output_zero_point = OUTPUTS[kind]
    x = Tensor("x", shape, "int8", scale=scale, zero_point=zero_point)
    y = Tensor("y", shape, "int8", scale=output_scale, zero_point=output_zero_point)
    return wheel.run(write.write(Graph([x], [y], [Op(kind, [x], y)])), integers, 1)[0]


@pytest.mark.parametrize("wheel", ["installed", "oldest"])
@pytest.mark.parametrize("zero_point", [-128, -5, 0, 77, 127])
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("kind", TABLES)
def test_a_table_is_that_of_tflm(wheels, wheel, kind, scale, zero_point):
    (expected,) = of_tflm(wheels[wheel], kind, scale, zero_point, EVERY_INPUT)
    np.testing.assert_array_equal(TABLES[kind](scale, zero_point), expected)


def scales_near_ties(kind, count=40):
    """Scales at which some input's output lies nearly in the middle between two integers.

    There every one of the 31 bits counts.
    """
    differences = np.arange(1, 256)
    middles = 0.5 + (np.arange(1, 127)[:, np.newaxis] + 0.5) / 256
    scales = np.float32(np.log(middles / (1 - middles)) / differences).astype(np.float64)
    distances = np.abs(1 / (1 + np.exp(-scales * differences)) - middles)
    nearest = scales.ravel()[np.argsort(distances, axis=None)[:count]]
    return nearest / 2 if kind == "TANH" else nearest


def differing_near_ties(wheel, kind):
    return sum(
        np.count_nonzero(
            TABLES[kind](scale, zero_point)
            != of_tflm(wheel, kind, scale, zero_point, EVERY_INPUT)[0]
        )
        for scale in scales_near_ties(kind)
        for zero_point in (-128, 127)
    )


@pytest.mark.parametrize("wheel", ["installed", "oldest"])
@pytest.mark.parametrize("kind", TABLES)
def test_no_integer_differs_where_the_last_bit_counts(wheels, wheel, kind):
    assert differing_near_ties(wheels[wheel], kind) == 0


@pytest.mark.parametrize("name", TRUNCATING)
@pytest.mark.parametrize("kind", TABLES)
def test_another_rounding_in_a_table_is_found(wheels, monkeypatch, kind, name):
    monkeypatch.setattr(fixed_point, name, TRUNCATING[name])
    assert differing_near_ties(wheels["installed"], kind) > 0


def softmax_inputs(units):
    """Rows of small, of large and of extreme differences."""
    rng = np.random.default_rng(units)
    small = np.clip(rng.normal(size=(300, units)) * rng.choice([3, 20], (300, 1)), -128, 127)
    extreme = rng.choice([-128, -127, 126, 127], (100, units))
    equal = np.repeat([[-128], [0], [127]], units, axis=1)
    return np.concatenate([small, rng.integers(-128, 128, (300, units)), extreme, equal]).astype(
        np.int8
    )


def differing_in_softmax(wheel, scale, units):
    integers = softmax_inputs(units)
    expected = of_tflm(wheel, "SOFTMAX", scale, -5, integers)
    return np.count_nonzero(fixed_point.softmax_int8(integers, scale) != expected)


@pytest.mark.parametrize("wheel", ["installed", "oldest"])
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("units", [1, 2, 5, 19])
def test_softmax_is_that_of_tflm(wheels, wheel, units, scale):
    assert differing_in_softmax(wheels[wheel], scale, units) == 0


def test_another_rounding_in_softmax_is_found(wheels, monkeypatch):
    monkeypatch.setattr(fixed_point, "rounding_shift", TRUNCATING["rounding_shift"])
    assert differing_in_softmax(wheels["installed"], 2.0**-4, 5) > 0
