"""The learning rates of the epochs of a training, of any length."""

import math

import numpy as np
import pytest

from keras_fastgrnn.recipe.learning_rates import fallen, risen_and_fallen


@pytest.mark.parametrize("epochs", [1, 2, 3, 4, 6, 21, 60, 300, 3000])
def test_rate_rises_for_a_fifth_of_any_number_of_epochs_and_then_falls(epochs):
    rates = np.array([risen_and_fallen(2e-2, epoch, epochs) for epoch in range(epochs)])
    assert ((rates > 0.0) & (rates <= 2e-2)).all()
    highest = rates.argmax()
    assert (np.diff(rates[: highest + 1]) > 0.0).all() and (np.diff(rates[highest:]) < 0.0).all()
    assert abs(highest - epochs / 5) <= 1.0
    assert rates.max() >= 0.7 * 2e-2


def test_rates_of_five_epochs_are_those_computed_by_hand():
    rates = [risen_and_fallen(1.0, epoch, 5) for epoch in range(5)]
    quarter = (1.0 + math.sqrt(0.5)) / 2.0
    falling = [0.01 + 0.99 * part for part in (1.0, quarter, 0.5, 1.0 - quarter)]
    assert rates == pytest.approx([0.5, *falling])


def test_rate_falls_to_a_hundredth():
    rates = [fallen(1e-3, epoch, 4) for epoch in range(5)]
    assert (rates[0], rates[2], rates[4]) == pytest.approx((1e-3, 0.505e-3, 1e-5))
    assert fallen(1e-3, 0, 1) == pytest.approx(1e-3)
