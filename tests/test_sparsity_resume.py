"""Sparse models: saved, loaded, cloned, and trained on from where they were."""

import numpy as np
import pytest
from small_models import answers_of
from sparse_training import BATCH, batches, model_of, train, weights_by_name

from keras_fastgrnn import FastGRNN, keras
from keras_fastgrnn.sparsity import IterativeHardThresholding, PruneLowMagnitude
from keras_fastgrnn.tfmot_api import tfmot

COUNT = 20
MATRICES = ["kernel", "recurrent_kernel_left", "recurrent_kernel_right"]
# Thresholds precede the steps 5, 9 and 13, and the support is frozen from step 15 on.
STAGES = {"dense": 2, "at a threshold": 8, "after a threshold": 9, "frozen": 17}
SCHEDULES = {
    "support kept": IterativeHardThresholding(0.7, 5, 15, frequency=4),
    "regrown": IterativeHardThresholding(0.7, 5, 15, frequency=4, regrow=True),
    "decay": tfmot.sparsity.keras.PolynomialDecay(0.3, 0.8, 5, 13, frequency=4),
}


def pruning(name):
    return PruneLowMagnitude(SCHEDULES[name], SCHEDULES[name])


def new_model():
    keras.utils.set_random_seed(7)
    return model_of(FastGRNN(10, recurrent_rank=4))


@pytest.fixture(scope="module")
def uninterrupted():
    """The weights after every step, by the name of the schedule, of a training without a break."""
    return {name: train(new_model(), batches(COUNT), pruning(name)) for name in SCHEDULES}


@pytest.mark.parametrize(
    ("schedule", "stage"),
    [
        *[("support kept", stage) for stage in STAGES],
        ("regrown", "after a threshold"),
        ("decay", "at a threshold"),
    ],
)
def test_training_goes_on_from_a_saved_model(schedule, stage, uninterrupted, tmp_path):
    steps = STAGES[stage]
    x, y = batches(COUNT)
    model = new_model()
    train(model, (x[: steps * BATCH], y[: steps * BATCH]), pruning(schedule))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    rest = train(loaded, (x[steps * BATCH :], y[steps * BATCH :]), pruning(schedule))
    for found, expected in zip(rest, uninterrupted[schedule][steps:], strict=True):
        for name in MATRICES:
            np.testing.assert_array_equal(found[name] == 0, expected[name] == 0, name)
        for name, value in expected.items():
            # Threads add gradients in any order.
            np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-5, err_msg=name)


def test_the_stages_of_these_tests_differ(uninterrupted):
    zeros = [np.count_nonzero(w["kernel"] == 0) for w in uninterrupted["regrown"]]
    assert zeros == [0] * 3 + [21] + [0] * 3 + [21] + [0] * 3 + [21] * 9
    zeros = [np.count_nonzero(w["kernel"] == 0) for w in uninterrupted["support kept"]]
    assert zeros == [0] * 3 + [21] * 17


def test_training_goes_on_from_a_callback_that_loads_weights(tmp_path, uninterrupted):
    """The masks are those of the weights after every callback's `on_train_begin`."""
    x, y = batches(COUNT)
    model = new_model()
    train(model, (x[: 17 * BATCH], y[: 17 * BATCH]), pruning("support kept"))
    weights = model.get_weights()
    other = new_model()
    load = keras.callbacks.LambdaCallback(on_train_begin=lambda logs: other.set_weights(weights))
    train(other, (x[:BATCH], y[:BATCH]), PruneLowMagnitude("frozen", "frozen"), load)
    for name in MATRICES:
        expected = uninterrupted["support kept"][-1][name] == 0
        np.testing.assert_array_equal(weights_by_name(other)[name] == 0, expected)


@pytest.fixture(scope="module")
def pruned():
    model = new_model()
    train(model, batches(COUNT), pruning("support kept"))
    return model


def test_a_pruned_model_is_an_ordinary_model_in_a_file(pruned, tmp_path):
    pruned.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    x = batches(4, seed=2)[0]
    np.testing.assert_array_equal(answers_of(loaded, x), answers_of(pruned, x))
    for found, expected in zip(loaded.get_weights(), pruned.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_clone_with_its_weights_trains_on_with_its_zeros(pruned):
    clone = keras.models.clone_model(pruned)
    clone.set_weights(pruned.get_weights())
    x = batches(4, seed=2)[0]
    np.testing.assert_array_equal(answers_of(clone, x), answers_of(pruned, x))
    clone.compile("adam", "mse")
    train(clone, batches(3), PruneLowMagnitude("frozen", "frozen"))
    before, after = weights_by_name(pruned), weights_by_name(clone)
    for name in MATRICES:
        np.testing.assert_array_equal(after[name] == 0, before[name] == 0)
        assert not np.array_equal(after[name], before[name])
