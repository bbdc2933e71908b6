"""Which epoch of a stage is the best."""

import math

import pytest

from keras_fastgrnn.recipe.staged_training import Stage


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


def test_what_a_stage_begins_with_is_epoch_0_and_given_where_two_points_are_lost():
    stage = Stage("frozen", 4)
    stage.begin(["start"], {"val_accuracy": 0.7, "val_loss": 0.5})
    assert (stage.best_epoch, stage.best_weights, stage.score) == (0, ["start"], 0.7)
    for epoch, (accuracy, best) in enumerate([(0.65, 0), (0.68, 0), (0.681, 3), (0.67, 3)], 1):
        stage.add({"val_accuracy": accuracy, "val_loss": 0.4}, [epoch])
        assert (stage.best_epoch, stage.best_weights) == (best, [best or "start"])
    assert stage.best_logs == {"val_accuracy": 0.681, "val_loss": 0.4}
    assert stage.has_model and stage.highest == 0.7


def test_loss_is_counted_from_what_any_stage_before_might_have_given():
    stage = Stage("frozen", 3)
    stage.begin(["start"], {"val_accuracy": 0.695, "val_loss": 0.5}, reference=0.7)
    stage.add({"val_accuracy": 0.679, "val_loss": 0.4}, ["first"])
    assert (stage.best_epoch, stage.highest) == (0, 0.7)
    # What is no worse than the start is given, however high others were.
    low = Stage("quantized", 1)
    low.begin(["start"], {"val_accuracy": 0.5, "val_loss": 0.5}, reference=0.7)
    low.add({"val_accuracy": 0.5, "val_loss": 0.4}, ["first"])
    assert (low.best_epoch, low.best_weights) == (1, ["first"])


def test_what_a_stage_begins_with_may_not_count():
    stage = Stage("pruned", 2)
    stage.begin(["start"], {})
    assert not stage.has_model and stage.best_weights == []
    stage.add({"val_accuracy": 0.1, "val_loss": 9.0}, ["first"])
    assert (stage.best_epoch, stage.best_weights) == (1, ["first"])


def test_best_epoch_is_that_of_the_metric():
    stage = Stage("dense", 2, metric="macro_f1")
    for accuracy, f1 in ((0.9, 0.4), (0.8, 0.7)):
        stage.add({"val_accuracy": accuracy, "val_loss": 0.5, "val_macro_f1": f1}, [f1])
    assert (stage.best_epoch, stage.score, stage.validation_accuracy) == (2, 0.7, 0.8)
