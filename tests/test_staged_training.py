"""Which epoch of a stage is the best."""

import math

import pytest

from keras_fastgrnn.staged_training import Stage


def stage_of(*epochs):
    """A stage of epochs of a validation accuracy, a loss, and whether it diverged."""
    stage = Stage("dense", len(epochs))
    for number, (accuracy, loss, *has_diverged) in enumerate(epochs, 1):
        stage.add({"val_accuracy": accuracy, "val_loss": loss}, [number], *has_diverged)
    return stage


@pytest.mark.parametrize(
    ("epochs", "best"),
    [
        ([(0.5, 0.1), (0.75, 0.6), (0.6, 0.2)], 2),
        ([(0.5, 0.1), (0.75, 0.6), (0.75, 0.5), (0.75, 0.5)], 3),
        ([(0.5, 0.6), (0.9, 0.1, True), (0.4, 0.5)], 1),
        ([(0.9, math.nan, True), (0.2, 9.0), (0.2, math.nan, True)], 2),
    ],
)
def test_best_epoch_has_the_highest_accuracy_then_the_lowest_loss(epochs, best):
    stage = stage_of(*epochs)
    assert (stage.best_epoch, stage.best_weights) == (best, [best])
    assert stage.validation_accuracy == epochs[best - 1][0]
    assert stage.trained_epochs == len(epochs)


def test_no_epoch_is_the_best_where_all_diverged():
    stage = stage_of((0.5, 0.1, True), (0.5, 0.1, True))
    assert (stage.best_epoch, stage.best_weights, stage.diverged) == (0, [], [1, 2])
