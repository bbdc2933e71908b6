"""Settings that fit a budget, and what they take."""

import functools

import numpy as np
import pytest
from small_models import sequential

from keras_fastgrnn import FastGRNN, FastGRNNCell, FastRNN, keras, sparsity
from keras_fastgrnn.models import fast_cells
from keras_fastgrnn.recipe.search_space import (
    Budget,
    Plan,
    Settings,
    Structure,
    build,
    checked_widths,
    counted,
    plans,
    spread,
)
from keras_fastgrnn.recipe.step_cost import plain_c_instructions

LAYERS = keras.layers
STEPS, CHANNELS = 10, 6
WIDTHS = (8, 12, 16)


def model_fn(units, kernel_rank, recurrent_rank):
    layer = FastGRNN(units, kernel_rank=kernel_rank, recurrent_rank=recurrent_rank)
    return sequential(layer, LAYERS.Dense(3), steps=STEPS, channels=CHANNELS)


@functools.cache
def planned(*arguments):
    return plans(model_fn, WIDTHS, budget(*arguments))


def budget(size=400, cycles=None, count_cycles=plain_c_instructions, bits=8, bias_bytes=4):
    return Budget(size, cycles, count_cycles, bits, bias_bytes)


def pruned(rng, fraction, shape):
    """A random matrix of which this fraction, rounded, is zero."""
    values = rng.normal(size=shape).ravel()
    kept = int(np.round(np.float32(values.size) * (np.float32(1.0) - np.float32(fraction))))
    values[rng.permutation(values.size)[: values.size - kept]] = 0.0
    return values.reshape(shape)


def bytes_by_hand(matrix, bits):
    """The fewest of all weights, a bitmap with those kept, and a byte of distance before each."""
    kept = np.count_nonzero(matrix)
    entries, zeros = 0, 0
    for weight in matrix.T.ravel():
        if weight:
            entries, zeros = entries + zeros // 256 + 1, 0
        else:
            zeros += 1

    def packed(count):
        return -(-count * bits // 8)

    return min(packed(matrix.size), -(-matrix.size // 8) + packed(kept), entries + packed(entries))


@pytest.mark.parametrize(("bits", "bias_bytes"), [(8, 4), (8, 1), (4, 1)])
def test_models_with_the_zeros_of_a_plan_take_its_bytes(bits, bias_bytes):
    rng = np.random.default_rng(0)
    limit = budget(400 if bits == 8 else 250, bits=bits, bias_bytes=bias_bytes)
    whole, half = plans(model_fn, WIDTHS, limit)
    assert len(whole) > 8
    assert len(half) > 3
    for plan in [whole[index] for index in rng.permutation(len(whole))[:8]] + half[:3]:
        settings = plan.settings
        model = model_fn(*settings.structure)
        (cell,) = fast_cells(model)
        expected = (3 * settings.units * bits + 7) // 8 + (2 * settings.units + 2 + 3) * bias_bytes
        for factors, fraction in (
            (cell.kernel_factors, settings.kernel_sparsity),
            (cell.recurrent_factors, settings.recurrent_sparsity),
        ):
            for factor in factors:
                values = pruned(rng, fraction, tuple(factor.shape))
                factor.assign(values)
                expected += bytes_by_hand(values, bits)
        # Where the zeros lie may save an entry in 256 of an index.
        assert 0 <= plan.bytes - expected <= 0.05 * plan.bytes
        report = sparsity.report(model, bits, bias_bytes)
        assert report.total_bytes["best"] == expected


def test_plans_fill_the_budget_or_half_of_it():
    whole, half = planned(400)
    assert all(320 <= plan.bytes <= 400 for plan in whole)
    assert all(160 <= plan.bytes <= 200 for plan in half)
    assert max(plan.bytes for plan in whole) > 395
    settings = [plan.settings for plan in whole + half]
    assert len(set(settings)) == len(settings)
    for kind in ("units", "kernel_rank", "recurrent_rank", "kernel_sparsity", "recurrent_sparsity"):
        assert len({getattr(one, kind) for one in settings}) > 2
    assert all(plan.cycles is None for plan in whole)


def test_recurrent_matrix_has_no_more_zeros_than_it_must():
    whole, _ = planned(400)
    for plan in whole:
        settings = plan.settings
        if settings.recurrent_sparsity and settings.kernel_sparsity == 0.5:
            structure = Structure(build(model_fn, settings.structure), budget())
            fewer = settings.kernel_sparsity, settings.recurrent_sparsity - 0.02
            assert structure.bytes(fewer) > 400


def test_zeros_that_lie_badly_are_counted():
    """300 zeros before the only weight take an entry more than one byte can tell."""

    def wide(units, kernel_rank, recurrent_rank):
        return sequential(FastRNN(units), LAYERS.Dense(1), steps=STEPS, channels=300)

    structure = Structure(wide(1, None, None), budget(bias_bytes=1))
    one_weight = 299 / 300
    # W of 300 x 1, U of 1 x 1; a bias, two scalars; a head of 1 + 1.
    assert structure.bytes((one_weight, 0.0)) == 2 * 2 + 1 + 3 + 2
    assert structure.bytes((0.999, 0.0)) == np.inf


def test_low_ranks_save_weights_and_differ():
    whole, half = planned(400)
    for settings in (plan.settings for plan in whole + half):
        for rank, rows in ((settings.kernel_rank, CHANNELS), (settings.recurrent_rank, None)):
            rows = rows or settings.units
            assert rank is None or 1 <= rank < rows * settings.units / (rows + settings.units)


def test_model_function_may_leave_ranks_out():
    def full(units, kernel_rank, recurrent_rank):
        return model_fn(units, None, None)

    whole, half = plans(full, WIDTHS[:3], budget(400))
    assert {plan.settings.structure[1:] for plan in whole + half} == {(None, None)}


def test_stacked_cells_are_planned():
    def stacked(units, kernel_rank, recurrent_rank):
        ranks = {"recurrent_rank": recurrent_rank}
        cells = [FastGRNNCell(units, **ranks), FastGRNNCell(units, **ranks)]
        return sequential(LAYERS.RNN(cells), LAYERS.Dense(2), channels=CHANNELS)

    whole, _ = plans(stacked, WIDTHS[:3], budget(600))
    assert all(plan.bytes <= 600 for plan in whole)


def test_cycles_have_a_budget():
    free, _ = planned(400)
    whole, half = planned(400, 2200)
    assert all(plan.cycles <= 2200 and plan.bytes <= 400 for plan in whole + half)
    cycles = [counted(model_fn, plan, budget()).cycles for plan in free]
    assert max(cycles) > 2200
    assert max(plan.cycles for plan in whole) > 0.9 * 2200


def test_cycles_are_counted_by_any_function_on_a_model_with_the_plan_s_zeros():
    def weights(model):
        (cell,) = fast_cells(model)
        return float(sum(np.count_nonzero(factor) for factor in cell.get_prunable_weights()))

    plan = counted(model_fn, Plan(Settings(8, None, 3, 0.5, 0.25), 1), budget(count_cycles=weights))
    assert plan.cycles == 8 * CHANNELS / 2 + 2 * 8 * 3 * 0.75
    assert counted(model_fn, plan, budget()) is plan


def test_spread_takes_many_kinds_and_follows_the_seed():
    whole, half = planned(400)
    chosen = spread(whole, half, 12, seed=0)
    assert chosen == spread(whole, half, 12, seed=0)
    assert chosen != spread(whole, half, 12, seed=1)
    assert len(set(chosen)) == 12
    assert sum(plan in half for plan in chosen) == 3
    of_whole = [plan.settings for plan in chosen[:9]]
    assert {one.units for one in of_whole} == {12, 16}
    assert {one.kernel_sparsity for one in of_whole} == {0.0, 0.5, 0.7, 0.85}
    assert 3 <= sum(one.recurrent_rank is None for one in of_whole) <= 6
    assert len(spread(whole[:2], half[:1], 12, seed=0)) == 3


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        (budget(20), "budget_bytes, expected at least the "),
        (budget(400, 100), "budget_cycles, expected at least the "),
        (budget(400, 9000, lambda model: None), "cycles, expected a function that returns a"),
        (budget(400, 9000, lambda model: -1.0), "positive number, got -1.0"),
    ],
)
def test_budget_that_nothing_fits_is_told(limit, message):
    with pytest.raises(ValueError, match=message):
        plans(model_fn, WIDTHS, limit)


def test_smallest_budget_of_the_message_is_enough():
    with pytest.raises(ValueError) as error:
        plans(model_fn, WIDTHS, budget(20))
    least = int(str(error.value).split("at least the ")[1].split()[0])
    whole, _ = plans(model_fn, WIDTHS, budget(least))
    assert {plan.bytes for plan in whole} == {least}


@pytest.mark.parametrize("units", [(), [0], [2.5], "8", 8, [True]])
def test_widths_that_are_not_numbers_are_refused(units):
    with pytest.raises(ValueError, match="argument units, expected a"):
        checked_widths(units)


def test_widths_are_sorted():
    assert checked_widths([16, 8, np.int64(8)]) == (8, 16)


@pytest.mark.parametrize(
    ("returned", "error", "message"),
    [
        (None, TypeError, r"expected a .* model, got NoneType. It is what model_fn\(8, None, 2\)"),
        (LAYERS.GRU, ValueError, "expected a model with FastGRNN or FastRNN"),
    ],
)
def test_function_that_returns_no_such_model_is_told(returned, error, message):
    def wrong(units, kernel_rank, recurrent_rank):
        return returned and sequential(returned(units), LAYERS.Dense(2))

    with pytest.raises(error, match=message):
        build(wrong, (8, None, 2))
