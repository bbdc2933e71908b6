"""A training that was stopped goes on and gives what it would have given."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from test_lsq import STAGES, VALIDATION, fit, small_model

from keras_fastgrnn import FastGRNN, keras

# Of so few validation sequences one alone is more than a point.
pytestmark = pytest.mark.filterwarnings("ignore::keras_fastgrnn.recipe.TrainingWarning")

EPOCHS = {"dense": 1, "pruned": 4, "frozen": 7, "quantized": 10}


class StoppedError(Exception):
    """What stops the training here."""


def stop_before(epoch):
    """An augmentation that stops the training before this epoch, counted from 0."""
    epochs = iter(range(100))

    def augmentation(x, rng):
        if next(epochs) == epoch:
            raise StoppedError
        return noisy(x, rng)

    return augmentation


def noisy(x, rng):
    return x + 0.1 * rng.normal(size=x.shape).astype("float32")


@pytest.fixture(scope="module")
def expected():
    return fit(augmentation=noisy)


def assert_same(result, expected):
    """The result has the same stages, as far as it goes."""
    x = VALIDATION[0]
    for stage, other in zip(result.stages, expected.stages, strict=False):
        assert stage.history == other.history
        assert stage.best_epoch == other.best_epoch
        np.testing.assert_array_equal(stage.model(x), other.model(x))


@pytest.mark.parametrize("stage", STAGES)
def test_training_stopped_in_a_stage_gives_the_same_models(stage, expected, tmp_path):
    arguments = {"checkpoint": tmp_path}
    if stage != "quantized":
        arguments["quantization"] = None
    with pytest.raises(StoppedError):
        fit(augmentation=stop_before(EPOCHS[stage]), **arguments)
    # The weights to start from are no longer those that count.
    result = fit(small_model(seed=5), augmentation=noisy, **arguments)
    assert [stage.name for stage in result.stages] == STAGES[: len(result.stages)]
    assert_same(result, expected)


def test_training_stopped_twice_gives_the_same_models_and_is_not_done_again(expected, tmp_path):
    for epoch in (3, 6):
        with pytest.raises(StoppedError):
            fit(augmentation=stop_before(epoch), checkpoint=tmp_path)
    assert_same(fit(augmentation=noisy, checkpoint=tmp_path), expected)
    assert_same(fit(augmentation=stop_before(0), checkpoint=tmp_path), expected)


def test_training_stopped_after_an_epoch_that_diverged_gives_the_same_models(tmp_path):
    def rate(epoch):
        return 1e4 if epoch == 3 else 0.03

    arguments = {"learning_rate": rate, "optimizer": "nesterov", "quantization": None}
    with pytest.raises(StoppedError):
        fit(augmentation=stop_before(4), checkpoint=tmp_path, **arguments)
    result = fit(small_model(seed=5), augmentation=noisy, checkpoint=tmp_path, **arguments)
    assert [stage.diverged for stage in result.stages] == [[], [1], []]
    assert_same(result, fit(augmentation=noisy, **arguments))


def test_process_that_is_killed_leaves_a_checkpoint_to_go_on_from(expected, root, tmp_path):
    code = f"""
import os, signal
from test_lsq import fit
from test_resume import noisy
epochs = iter(range(100))
def augmentation(x, rng):
    if next(epochs) == {EPOCHS["pruned"]}:
        os.kill(os.getpid(), signal.SIGKILL)
    return noisy(x, rng)
fit(augmentation=augmentation, checkpoint={str(tmp_path)!r})
"""
    killed = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": f"{root}/tests:{root}/tests/recipe"},
        capture_output=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert_same(fit(augmentation=noisy, checkpoint=tmp_path), expected)


def test_seed_that_was_drawn_is_kept_in_the_checkpoint(tmp_path):
    arguments = {"seed": None, "epochs": 3, "quantization": None, "checkpoint": tmp_path}
    with pytest.raises(StoppedError):
        fit(augmentation=stop_before(2), **arguments)
    first = fit(augmentation=noisy, **arguments)
    assert_same(fit(augmentation=noisy, **arguments), first)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"epochs": 6}, "epochs"),
        ({"kernel_sparsity": 0.5}, "kernel"),
        ({"weight_bits": 4}, "quantization"),
        ({"seed": 4}, "seed"),
        ({"data": (VALIDATION[0], VALIDATION[1])}, "data"),
        ({"batch_size": 21}, "batch_size"),
        ({"model": small_model(FastGRNN(3), keras.layers.Dense(2))}, "weights"),
    ],
)
def test_checkpoint_of_another_training_is_refused(arguments, name, tmp_path):
    fit(epochs=3, quantization=None, checkpoint=tmp_path)
    arguments = {"epochs": 3, "quantization": None, "checkpoint": tmp_path, **arguments}
    with pytest.raises(ValueError, match=f"expected one of a training with {name} "):
        fit(**arguments)
