"""The recipe takes what Keras's `fit` takes: weights, batches, callbacks, labels at every step."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from small_models import sequential
from test_lsq import CHANNELS, STEPS, VALIDATION, X, Y, fit, small_model

from keras_fastgrnn import FastGRNN, keras
from keras_fastgrnn.keras_api import IS_TF_KERAS

# Of so few validation sequences one alone is more than a point.
pytestmark = pytest.mark.filterwarnings("ignore::keras_fastgrnn.recipe.TrainingWarning")

LAYERS = keras.layers
BATCH = 40
FLOAT = {"epochs": 3, "quantization": None, "kernel_sparsity": 0.0, "recurrent_sparsity": 0.0}
WEIGHTS = np.where(Y == 1, 3.0, 1.0)


class Indexed(keras.utils.Sequence if IS_TF_KERAS else keras.utils.PyDataset):
    """Batches of arrays, in their order."""

    def __init__(self, *arrays):
        super().__init__()
        self.arrays = arrays

    def __len__(self):
        return -(-len(self.arrays[0]) // BATCH)

    def __getitem__(self, index):
        return tuple(array[index * BATCH :][:BATCH] for array in self.arrays)


def dataset(*arrays):
    return tf.data.Dataset.from_tensor_slices(arrays).batch(BATCH)


def fit_batches(x, **arguments):
    return fit(data=(x, None), batch_size=None, **{**FLOAT, **arguments})


def always_better():
    """A metric by which each epoch is better than all before it."""
    numbers = itertools.count()
    return lambda y, outputs: next(numbers)


def assert_same(result, expected):
    for weight, other in zip(result.model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, other)


# Batches


@pytest.mark.parametrize("make", [dataset, Indexed])
def test_batches_train_as_keras_fit_does(make):
    """With plain gradient descent, and stages that go on from their last epoch."""
    options = {"optimizer": keras.optimizers.SGD, "learning_rate": lambda epoch: 0.1}
    result = fit_batches(
        make(X, Y, WEIGHTS),
        validation_data=make(*VALIDATION),
        metric=always_better(),
        **options,
    )
    expected = small_model()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    expected.compile(keras.optimizers.SGD(0.1), loss)
    expected.fit(make(X, Y, WEIGHTS), epochs=3, shuffle=False, verbose=0)
    assert_same(result, expected)


def test_batches_have_classes_weighed_and_calibrate_the_quantized_stage():
    given = {"quantization": "int16x8", "quantization_epochs": 1, "metric": "macro_f1"}
    by_class = fit_batches(dataset(X, Y), class_weight={1: 3.0}, **given)
    by_label = fit_batches(Indexed(X, Y, WEIGHTS), **given)
    for stage, other in zip(by_class.stages, by_label.stages, strict=True):
        np.testing.assert_allclose(
            stage.history["val_macro_f1"], other.history["val_macro_f1"], atol=0.05
        )
    assert by_class.stages[-1].name == "quantized"
    assert by_class.stages[-1].score > 0.6


def test_calibration_sequences_are_drawn_from_all_batches():
    from keras_fastgrnn.recipe.training_data import checked_training_data

    x = np.repeat(np.arange(1000.0), STEPS * CHANNELS).reshape(1000, STEPS, CHANNELS)
    data = checked_training_data(small_model(), dataset(x, np.zeros(1000, int)), None)
    drawn = data.calibration_data(0)[:, 0, 0]
    assert drawn.shape == (256,) and len(set(drawn)) == 256
    assert 400 < drawn.mean() < 600 and drawn.max() > 950
    assert (data.batches, data.sequences) == (25, 1000)


# Weights


def test_weights_of_classes_are_weights_of_their_sequences():
    by_class = fit(class_weight={0: 0.5, 1: 1.5}, **FLOAT)
    by_label = fit(sample_weight=np.where(Y == 1, 1.5, 0.5), **FLOAT)
    assert_same(by_class, by_label.model)
    assert by_class.stages[0].history != fit(**FLOAT).stages[0].history
    both = fit(class_weight={1: 3.0}, sample_weight=WEIGHTS / WEIGHTS**2 * 0.5, **FLOAT)
    assert_same(both, fit(sample_weight=np.full(len(Y), 0.5), **FLOAT).model)


def test_sequences_of_weight_0_teach_nothing():
    wrong = np.arange(len(Y)) % 2 == 0
    result = fit(
        data=(X, np.where(wrong, 1 - Y, Y)),
        sample_weight=np.where(wrong, 0.0, 1.0),
        **{**FLOAT, "epochs": 15},
    )
    assert result.stages[-1].validation_accuracy > 0.75


# Labels at every step


def labels_of_steps(x):
    return (np.cumsum(x[:, :, 0], axis=1) > 0).astype(int)


@pytest.mark.parametrize("weighs_steps", [True, False])
def test_labels_and_weights_may_be_one_a_step(weighs_steps):
    """The last steps, which are padding, have labels that are wrong and the weight 0."""
    y, validation = labels_of_steps(X), labels_of_steps(VALIDATION[0])
    weights = np.ones(y.shape)
    if weighs_steps:
        weights[:, -3:] = 0.0
        y, validation = (
            np.where(np.arange(STEPS) >= STEPS - 3, 1 - one, one) for one in (y, validation)
        )
    model = small_model(FastGRNN(8, return_sequences=True), LAYERS.Dense(2))
    result = fit(
        model,
        (X, y),
        validation_data=(VALIDATION[0], validation, weights[: len(validation)]),
        sample_weight=weights,
        metric="macro_f1",
        epochs=12,
        learning_rate=0.1,
        kernel_sparsity=0.0,
        recurrent_sparsity=0.25,
        quantization_epochs=1,
    )
    answers = np.asarray(result.model(VALIDATION[0])).argmax(axis=2)
    kept = weights[: len(validation)] == 1.0
    right = np.mean((answers == validation)[kept])
    assert right == pytest.approx(result.stages[-1].validation_accuracy)
    assert right > 0.8


def test_sequences_of_unequal_length_are_padded_with_what_masking_masks():
    lengths = np.random.default_rng(2).integers(3, STEPS + 1, len(X))
    sequences = [x[:length] for x, length in zip(X, lengths, strict=True)]
    padded = np.full_like(X, -5.0)
    for row, one in zip(padded, sequences, strict=True):
        row[: len(one)] = one

    def masked():
        return sequential(
            LAYERS.Masking(-5.0), FastGRNN(4), LAYERS.Dense(2), steps=STEPS, channels=CHANNELS
        )

    validation = [x[2:] for x in VALIDATION[0]], VALIDATION[1]
    result = fit(masked(), (sequences, Y), validation_data=validation, **FLOAT)
    validation = np.pad(VALIDATION[0][:, 2:], ((0, 0), (0, 2), (0, 0)), constant_values=-5.0)
    given = {"validation_data": (validation, VALIDATION[1])}
    assert_same(result, fit(masked(), (padded, Y), **given, **FLOAT).model)


# Metrics and callbacks


def test_metric_chooses_the_epochs():
    result = fit(metric="macro_f1", **{**FLOAT, "epochs": 9})
    for stage in result.stages:
        assert max(stage.history["val_macro_f1"]) <= stage.score
    assert "macro_f1" in str(result)
    worst = fit(metric=lambda y, outputs: -np.mean(outputs.argmax(axis=1) == y), **FLOAT)
    first = worst.stages[0]
    assert first.score == pytest.approx(-first.validation_accuracy)


class Heard(keras.callbacks.Callback):
    """Keeps what it is told of."""

    def __init__(self):
        super().__init__()
        self.events = []
        self.logs = []

    def on_train_begin(self, logs=None):
        self.events.append(type(self.model).__name__ != "" and "begin")

    def on_epoch_begin(self, epoch, logs=None):
        self.events.append(epoch)

    def on_epoch_end(self, epoch, logs=None):
        self.logs.append(dict(logs))

    def on_train_batch_end(self, batch, logs=None):
        self.events.append("batch")

    def on_train_end(self, logs=None):
        self.events.append("end")


def test_callbacks_see_all_stages_as_one_fit_each():
    heard = Heard()
    fit(callbacks=heard, metric="macro_f1", **{**FLOAT, "epochs": 6}, batch_size=120)
    expected = []
    for first in (0, 2, 4):
        expected += ["begin", first, "batch", "batch", first + 1, "batch", "batch", "end"]
    assert heard.events == expected
    assert {"loss", "val_loss", "val_accuracy", "val_macro_f1"} <= set(heard.logs[-1])


def test_callback_that_stops_training_ends_its_stage_also_after_a_stop(tmp_path):
    def stopping():
        return keras.callbacks.EarlyStopping("loss", min_delta=1e9, patience=1)

    arguments = {**FLOAT, "epochs": 9, "checkpoint": tmp_path}
    result = fit(callbacks=[stopping()], **arguments)
    assert [stage.trained_epochs for stage in result.stages] == [2, 2, 2]
    again = fit(callbacks=[stopping()], **arguments)
    assert [stage.history for stage in again.stages] == [one.history for one in result.stages]
    assert_same(again, result.model)


# Mistakes

STEPS_MODEL = small_model(FastGRNN(4, return_sequences=True), LAYERS.Dense(2))
STEP_LABELS = labels_of_steps(X)
RAGGED = [x[:3] if index else x for index, x in enumerate(X)]
MISTAKES = {
    "y with batches": ({"data": (dataset(X, Y), Y)}, "y, expected None, since x comes in batches"),
    "batch_size with batches": (
        {"data": (dataset(X, Y), None), "batch_size": 3},
        "batch_size, expected None, since x comes in batches, got 3",
    ),
    "weights with batches": (
        {"data": (Indexed(X, Y), None), "batch_size": None, "sample_weight": WEIGHTS},
        "sample_weight, expected None, since x comes in batches",
    ),
    "augmentation with batches": (
        {"data": (dataset(X, Y), None), "batch_size": None, "augmentation": lambda x, rng: x},
        "augmentation, expected None, since x comes in batches",
    ),
    "classes and batches with weights": (
        {
            "data": (dataset(X, Y, WEIGHTS), None),
            "batch_size": None,
            "class_weight": {0: 2.0},
        },
        "class_weight, expected None where batches have weights",
    ),
    "endless": (
        {"data": (dataset(X, Y).repeat(), None), "batch_size": None},
        "x, expected batches that end, an epoch's: no repeat(), got",
    ),
    "no batch": (
        {"data": (dataset(X, Y).take(0), None), "batch_size": None},
        "x, expected at least one batch, got 'none'",
    ),
    "batches of x alone": (
        {"data": (dataset(X), None), "batch_size": None},
        "x, expected batches that are tuples of inputs, labels and",
    ),
    "batches of wrong labels": (
        {"data": (Indexed(X, Y + 1), None), "batch_size": None},
        "x, expected labels in [0, 1], got 2",
    ),
    "batches of weights below 0": (
        {"data": (Indexed(X, Y, -WEIGHTS), None), "batch_size": None},
        "x, expected weights that are finite and not negative, got -",
    ),
    "validation batches of another form": (
        {"validation_data": Indexed(X, np.eye(2)[Y])},
        "validation_data, expected labels that are integers as y is",
    ),
    "a class that is none": (
        {"class_weight": {2: 1.0}},
        "class_weight, expected a dictionary from classes in [0, 1] to numbers, or None, got {2:",
    ),
    "weights of classes in a list": ({"class_weight": [1, 2]}, "class_weight, expected a dict"),
    "a class of weight -1": ({"class_weight": {0: -1}}, "class_weight, expected weights that are"),
    "few weights": (
        {"sample_weight": WEIGHTS[1:]},
        "sample_weight, expected weights of shape (240,), got (239,)",
    ),
    "weights of NaN": (
        {"sample_weight": WEIGHTS * np.nan},
        "sample_weight, expected weights that are finite and not negative, got nan",
    ),
    "weights of steps": (
        {
            "model": STEPS_MODEL,
            "data": (X, STEP_LABELS),
            "validation_data": (X, STEP_LABELS),
            "sample_weight": STEP_LABELS[:, 1:],
        },
        "sample_weight, expected weights of shape (240,) or (240, 8), got (240, 7)",
    ),
    "few weights of validation": (
        {"validation_data": (*VALIDATION, WEIGHTS)},
        "validation_data, expected weights of shape (60,), got (240,)",
    ),
    "no metric": ({"metric": "f1"}, "metric, expected 'accuracy', 'macro_f1', or a function of"),
    "metric without a number": (
        {"metric": lambda y, outputs: None},
        "metric, expected a function that returns a number, got None",
    ),
    "no callback": ({"callbacks": [print]}, "callbacks, expected a "),
    "callback that sets rates": (
        {"callbacks": keras.callbacks.ReduceLROnPlateau()},
        "callbacks, expected none of ReduceLROnPlateau, in place of which use a function as",
    ),
    "unequal lengths": (
        {"data": (RAGGED, Y)},
        "x, expected sequences of one length, or a model that begins with Masking, whose value they"
        " are padded with, got '3 to 8 steps'",
    ),
    "a step that is masked": (
        {
            "model": small_model(LAYERS.Masking(0.0), FastGRNN(3), LAYERS.Dense(2)),
            "data": ([*RAGGED[:-1], np.zeros((2, CHANNELS))], Y),
            "quantization": None,
        },
        "x, expected steps that are not 0.0 in all channels, which Masking would skip, got",
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistake_is_told_before_any_work(case, monkeypatch):
    monkeypatch.setattr(keras.Model, "fit", lambda *arguments, **options: pytest.fail("trained"))
    arguments, message = MISTAKES[case]
    with pytest.raises(ValueError) as error:
        fit(**arguments)
    assert str(error.value).startswith(f"Received an invalid value for argument {message}")
    assert "\n" not in str(error.value)
