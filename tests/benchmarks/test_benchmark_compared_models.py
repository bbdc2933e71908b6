"""The benchmarks' models take the bytes they are named after, and train as their settings say."""

import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("benchmarks_on_path")


@pytest.fixture
def models(benchmarks_on_path):
    from benchmarks import compared_models

    return compared_models


@pytest.fixture
def task(benchmarks_on_path):
    """A task of noise, of as many channels and classes as no real one has."""
    from benchmarks.tasks import Part, Task

    part = Part(np.zeros((4, 12, 7), np.float32), np.arange(4))
    return Task("har2", 5, part, part, part)


def stored(name, units, channels=7, classes=5, rank=None):
    """Bytes by hand: a byte a weight, four a bias or scalar."""
    gates = {"GRU": 3, "LSTM": 4}.get(name, 1)
    weights = gates * units * (channels + units)
    if rank is not None:
        weights = units * (channels + 2 * rank)
    biases = {"FastRNN": units + 2, "SimpleRNN": units}.get(name, gates * units)
    if name.startswith("FastGRNN"):
        biases = 2 * units + 2
    return weights + classes * units + 4 * (biases + classes)


@pytest.mark.parametrize("name", ["FastRNN", "FastGRNN", "SimpleRNN", "GRU", "LSTM"])
@pytest.mark.parametrize("size", ["1KB", "3KB", "6KB"])
def test_the_widest_model_that_fits_is_taken(models, task, name, size):
    structure = models.structure_for(name, size, task)
    limit = 1024 * int(size[0])
    assert stored(name, structure.units) <= limit < stored(name, structure.units + 1)


def test_low_rank_takes_the_rank_into_account(models, task):
    structure = models.structure_for("FastGRNN L", "3KB", task)
    assert structure.recurrent_rank < structure.units
    assert stored("FastGRNN", structure.units, rank=structure.recurrent_rank) <= 3072


@pytest.mark.parametrize("size", ["1KB", "3KB", "6KB"])
def test_the_recipes_model_fits_wherever_its_zeros_lie(models, task, size):
    structure = models.structure_for(models.RECIPE, size, task)
    built = models.build(models.RECIPE, structure, task.shape, task.classes)
    rng = np.random.default_rng(0)
    cell = built.layers[0].cell
    for factors, fraction in (
        (cell.kernel_factors, structure.kernel_sparsity),
        (cell.recurrent_factors, structure.recurrent_sparsity),
    ):
        for weight in factors:
            values = np.ones(weight.shape, np.float32).ravel()
            values[rng.permutation(values.size)[: int(fraction * values.size)]] = 0.0
            weight.assign(values.reshape(weight.shape))
    from keras_fastgrnn import sparsity

    report = sparsity.report(built, structure.weight_bits, structure.bias_bytes)
    assert 0.9 * 1024 * int(size[0]) < report.total_bytes["best"] <= 1024 * int(size[0])


def test_models_of_equal_size_have_equal_units(models, task):
    units = {models.structure_for(name, "equal", task).units for name in models.LAYERS}
    assert units == {32}


def test_the_learning_rate_rises_and_falls(models):
    training = models.Training(epochs=30, learning_rate=0.5)
    rates = [training.rate(epoch) for epoch in range(30)]
    highest = int(np.argmax(rates))
    assert rates[highest] == pytest.approx(0.5)
    assert (np.diff(rates[: highest + 1]) > 0).all()
    assert (np.diff(rates[highest:]) < 0).all()
    assert 0.0 < rates[-1] < 0.02 * 0.5 + 1e-2
