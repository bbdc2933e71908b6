"""The fixed-point arithmetic."""

import pytest

from keras_fastgrnn.export import fixed_point


@pytest.mark.parametrize("real", [1.0, 0.5, 2.0**-31, 0.3, 1.7e-4, 123.456])
def test_quantize_multiplier_is_the_nearest_of_31_bits(real):
    multiplier, shift = fixed_point.quantize_multiplier(real)
    assert 2**30 <= multiplier < 2**31
    assert multiplier * 2.0 ** (shift - 31) == pytest.approx(real, rel=2.0**-31)
