"""What the stages of the recipe go on from, what they give, and what is told of it."""

import warnings

import numpy as np
import pytest
from test_lsq import VALIDATION, fit, kept, small_model

from keras_fastgrnn import recipe
from keras_fastgrnn.recipe.lsq_result import LSQResult
from keras_fastgrnn.recipe.staged_training import Stage

DENSE = {"kernel_sparsity": 0.0, "recurrent_sparsity": 0.0}


def fit_scored(*scores, **arguments):
    """Trains with a metric that has these values, one after the other, whatever the model answers.

    The first is asked for before training. Returns the result and the weights that each epoch in
    float began with.
    """
    model, starts, values = small_model(), [], iter(scores)

    def augmentation(x, rng):
        starts.append(model.get_weights())
        return x

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", recipe.TrainingWarning)
        result = fit(
            model,
            augmentation=augmentation,
            metric=lambda y, outputs: next(values),
            epochs=9,
            **arguments,
        )
    assert next(values, None) is None
    return result, starts


def assert_same_weights(weights, expected):
    for weight, other in zip(weights, expected, strict=True):
        np.testing.assert_array_equal(weight, other)


def test_without_zeros_every_stage_goes_on_from_the_best_epoch_that_there_was():
    scores = [0.1, 0.5, 0.7, 0.6, 0.6, 0.68, 0.6, 0.65, 0.695, 0.6, 0.68, 0.6]
    result, starts = fit_scored(*scores, **DENSE, quantization_epochs=1)
    dense, pruned, frozen, quantized = result.stages
    assert [stage.best_epoch for stage in result.stages] == [2, 0, 2, 0]
    assert [stage.score for stage in result.stages] == [0.7, 0.7, 0.695, 0.68]
    assert_same_weights(starts[3], starts[6])
    assert_same_weights(starts[3], dense.model.get_weights())
    assert_same_weights(pruned.model.get_weights(), dense.model.get_weights())
    # After the last stage in float the model has the weights of its second epoch.
    assert_same_weights(frozen.model.get_weights(), starts[8])
    # What was rounded without training is better than after the only epoch.
    inputs = VALIDATION[0]
    assert quantized.start["val_accuracy"] == pytest.approx(accuracy_of(result.model))
    np.testing.assert_allclose(result.model(inputs), frozen.model(inputs), atol=0.1)


def test_with_zeros_only_models_that_have_them_count_from_the_second_stage_on():
    zeros = {"kernel_sparsity": 0.5, "recurrent_sparsity": 0.5, "quantization": None}
    scores = [0.1, 0.5, 0.9, 0.6, 0.6, 0.5, 0.4, 0.3, 0.4, 0.2]
    result, starts = fit_scored(*scores, **zeros)
    dense, pruned, frozen = result.stages
    assert [stage.best_epoch for stage in result.stages] == [2, 1, 0]
    assert pruned.start == {}
    assert_same_weights(starts[3], dense.model.get_weights())
    assert_same_weights(starts[6], pruned.model.get_weights())
    assert kept(result.model) == kept(pruned.model) == [12, 32]


def accuracy_of(model):
    x, y = VALIDATION
    return np.mean(np.asarray(model(x)).argmax(axis=1) == y)


def test_model_below_an_earlier_stage_is_told_with_both_numbers():
    """The second stage, which makes zeros, hardly trains."""

    def rate(epoch):
        return 0.05 if epoch < 6 else 1e-6

    few = {"kernel_sparsity": 0.95, "recurrent_sparsity": 0.95, "quantization": None}
    with pytest.warns(recipe.TrainingWarning) as caught:
        result = fit(learning_rate=rate, epochs=18, **few)
    (told,) = caught
    message = str(told.message)
    dense, *_, last = result.stages
    assert dense.score - last.score >= 0.01
    assert f"has the accuracy {100 * last.score:.2f} %, and the dense stage had " in message
    assert f" {100 * dense.score:.2f} %. Ask for fewer zeros, by kernel_sparsity and" in message
    assert told.filename.endswith("test_lsq.py")  # the line that called fit_lsq


def result_of(metric="accuracy", **scores):
    stages = [
        Stage(name, 1, metric=metric, start={f"val_{metric}": score, "val_loss": 0.5})
        for name, score in scores.items()
    ]
    return LSQResult(stages, 8, 4)


@pytest.mark.parametrize(
    ("scores", "parts"),
    [
        ({"dense": 0.90, "pruned": 0.90, "frozen": 0.90, "quantized": 0.891}, None),
        ({"dense": 0.90, "pruned": 0.85, "frozen": 0.95, "quantized": 0.96}, None),
        ({"dense": 0.75, "frozen": 0.74}, ["accuracy 74.00 %, and the dense", "75.00 %", "zeros"]),
        (
            {"dense": 0.7, "pruned": 0.7, "frozen": 0.7, "quantized": 0.6},
            ["60.00 %", "dense stage had 70.00 %", "Ask for more quantization_epochs"],
        ),
        (
            {"dense": 0.9, "pruned": 0.8, "frozen": 0.8, "quantized": 0.7},
            ["fewer zeros", "or for more quantization_epochs"],
        ),
        (
            {"metric": "macro_f1", "dense": 0.9, "frozen": 0.8},
            ["macro_f1 0.8000, and the dense stage had 0.9000"],
        ),
    ],
)
def test_loss_of_a_point_is_told_with_what_to_do(scores, parts):
    warning = result_of(**scores).warning
    if parts is None:
        assert warning is None
    else:
        assert all(part in warning for part in parts)
        assert "\n" not in warning
    if parts and "zeros" not in parts[-1] and "quantization" in parts[-1] and len(parts) == 3:
        assert "zeros" not in warning
