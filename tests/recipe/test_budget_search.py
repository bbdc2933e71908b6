"""A search within a budget: what it trains, for how long, and what it answers."""

import warnings

import numpy as np
import pytest
import tensorflow as tf
from small_models import sequential

from keras_fastgrnn import FastGRNN, FastRNN, export, keras, recipe, sparsity
from keras_fastgrnn.recipe import budget_search
from keras_fastgrnn.recipe.staged_training import DivergedError, Stage

# Of so few validation sequences one alone is more than a point.
pytestmark = pytest.mark.filterwarnings("ignore::keras_fastgrnn.recipe.TrainingWarning")

LAYERS = keras.layers
STEPS, CHANNELS = 6, 4
BUDGET = 120


def labeled(count, seed):
    x = np.random.default_rng(seed).normal(size=(count, STEPS, CHANNELS)).astype("float32")
    return x, (x[:, -2:, 0].sum(axis=1) > 0).astype(int)


X, Y = labeled(120, 0)
VALIDATION = labeled(60, 1)


def model_fn(units, kernel_rank, recurrent_rank):
    layer = FastGRNN(units, kernel_rank=kernel_rank, recurrent_rank=recurrent_rank)
    return keras.Sequential([LAYERS.Input((STEPS, CHANNELS)), layer, LAYERS.Dense(2)])


ARGUMENTS = {
    "validation_data": VALIDATION,
    "budget_bytes": BUDGET,
    "units": (4, 6, 8),
    "candidates": 3,
    "epochs": 6,
    "learning_rate": 0.03,
    "batch_size": 20,
    "quantization_epochs": 1,
    "quantization_options": {"byte_biases": True},
    "verbose": 0,
}


def search(function=model_fn, data=(X, Y), **arguments):
    return recipe.search(function, *data, **{**ARGUMENTS, **arguments})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("search")


@pytest.fixture(scope="module")
def result(folder):
    return search(checkpoint=folder)


def test_better_half_is_trained_for_longer(result):
    assert [trial.epochs for trial in result.trials] == [6, 6, 3]
    last = result.trials[:2]
    assert [stage.name for stage in last[0].training.stages][-1] == "quantized"
    assert last[0].accuracy >= last[1].accuracy
    assert result.best.accuracy > 0.7


def test_best_model_is_within_the_budget(result):
    trained = sparsity.report(result.model, 8, 1).total_bytes["best"]
    assert trained == result.best.bytes <= BUDGET
    assert all(trial.bytes <= BUDGET for trial in result.trials)
    outputs = np.asarray(result.model(VALIDATION[0]))
    accuracy = np.mean(outputs.argmax(axis=1) == VALIDATION[1])
    assert accuracy == pytest.approx(result.best.accuracy)
    assert export.convert(result.model).predict(X[:2], on="reference").shape == (2, 2)


def test_settings_are_those_of_the_model(result):
    settings = result.best.settings
    cell = result.training.stages[0].model.layers[0].cell
    assert settings.structure == (cell.units, cell.kernel_rank, cell.recurrent_rank)
    report = sparsity.report(result.model)
    for matrix in report.matrices[:-1]:
        is_recurrent = "recurrent" in matrix.name
        zeros = settings.recurrent_sparsity if is_recurrent else settings.kernel_sparsity
        assert matrix.kept == round(matrix.weights * (1.0 - zeros))


def test_recipe_with_the_best_settings_gives_the_same_model(result):
    keras.utils.set_random_seed(0)
    again = recipe.fit_lsq(
        model_fn(*result.best.settings.structure),
        X,
        Y,
        **result.best.settings.sparsities,
        validation_data=VALIDATION,
        epochs=6,
        seed=0,
        **{name: ARGUMENTS[name] for name in ("learning_rate", "batch_size")},
        quantization_epochs=1,
        quantization_options={"byte_biases": True},
        verbose=0,
    )
    for weight, expected in zip(again.model.get_weights(), result.model.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_search_that_was_stopped_goes_on_where_it_was(result, folder, monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("an epoch was trained again")

    assert len(list(folder.iterdir())) == 5
    monkeypatch.setattr(keras.Model, "fit", refuse)
    again = search(checkpoint=folder)
    assert again.trials == result.trials
    for weight, expected in zip(again.model.get_weights(), result.model.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_rounds_of_as_many_epochs_have_checkpoints_of_their_own(tmp_path):
    found = search(epochs=3, candidates=3, units=[6, 8], checkpoint=tmp_path)
    assert [trial.epochs for trial in found.trials] == [3, 3, 3]
    assert len(list(tmp_path.iterdir())) == 5


class Trainer:
    """In place of `fit_lsq`: accuracies of its own, and no training."""

    def __init__(self, monkeypatch, accuracy):
        self.accuracy = accuracy
        self.calls = []
        monkeypatch.setattr(budget_search, "fit_lsq", self)

    def __call__(self, model, x, y, **options):
        self.calls.append(options)
        history = {"val_accuracy": [self.accuracy(len(self.calls))], "val_loss": [0.5]}
        stage = Stage("frozen", options["epochs"], history, model=model)
        return recipe.LSQResult([stage], 8, 1)


def test_rounds_double_the_epochs_and_halve_the_settings(monkeypatch):
    trainer = Trainer(monkeypatch, lambda number: number / 100)
    found = search(candidates=11, epochs=90)
    epochs = [options["epochs"] for options in trainer.calls]
    assert epochs == [9] * 11 + [21] * 6 + [45] * 3 + [90] * 2
    whole = [options["quantization"] for options in trainer.calls]
    assert whole == [None] * 20 + ["int16x8"] * 2
    assert [trial.epochs for trial in found.trials] == [90, 90, 45, 21, 21, 21, *[9] * 5]
    assert found.best.accuracy == 0.22
    # The later the better: the last of the first round are those that go on.
    settings = [options["recurrent_sparsity"] for options in trainer.calls]
    assert settings[11:17] == settings[5:11][::-1]
    assert all(options["seed"] == 0 for options in trainer.calls)
    assert len({trial.settings for trial in found.trials}) == 11


def test_progress_is_a_line_a_training_and_cycles_keep_their_budget(monkeypatch, capsys):
    Trainer(monkeypatch, lambda number: 0.5)
    found = search(budget_cycles=1100.0, candidates=3, verbose=1)
    assert all(trial.cycles <= 1100.0 for trial in found.trials)
    lines = capsys.readouterr().out.splitlines()
    places = ["1/2, 1/3", "1/2, 2/3", "1/2, 3/3", "2/2, 1/2", "2/2, 2/2"]
    assert [line.split(":")[0] for line in lines] == [f"round {place}" for place in places]
    assert all(line.endswith("validation 50.00 %") for line in lines)


def test_cycles_of_the_user_s_own_are_asked_for(monkeypatch):
    Trainer(monkeypatch, lambda number: 0.5)
    (trial,) = search(
        cycles=lambda model: model.count_params(), candidates=1, seed=np.int64(0)
    ).trials
    assert trial.cycles == model_fn(*trial.settings.structure).count_params()


def test_search_goes_on_after_a_training_that_diverges(monkeypatch):
    def accuracy(number):
        if number in (2, 5):
            raise DivergedError("diverged")
        return 0.5

    Trainer(monkeypatch, accuracy)
    trials = search(candidates=4).trials
    assert [(trial.epochs, trial.accuracy) for trial in trials] == (
        [(6, 0.5), (6, 0.0), (3, 0.5), (3, 0.0)]
    )
    assert [trial.loss for trial in trials] == [0.5, np.inf, 0.5, np.inf]
    assert [trial.training is None for trial in trials] == [False, True, True, True]


def test_search_in_which_all_diverges_is_told():
    rate = {"optimizer": keras.optimizers.SGD, "learning_rate": 1e30}

    def linear(units, kernel_rank, recurrent_rank):
        return sequential(FastRNN(units, "linear"), LAYERS.Dense(2), steps=STEPS, channels=CHANNELS)

    with pytest.raises(ValueError, match="diverged in every epoch of the dense stage"):
        search(linear, candidates=1, epochs=3, quantization=None, **rate)


def test_trials_are_ordered_by_the_metric(monkeypatch, capsys):
    """The later a training, the better its macro F1 and the worse its accuracy."""

    def train(model, x, y, **options):
        calls.append(options["metric"])
        number = len(calls)
        if number == 1:
            raise DivergedError("diverged")
        history = {
            "val_accuracy": [1.0 - number / 100],
            "val_macro_f1": [number / 100],
            "val_loss": [0.5],
        }
        stage = Stage("frozen", options["epochs"], history, model=model, metric="macro_f1")
        return recipe.LSQResult([stage], 8, 1)

    calls = []
    monkeypatch.setattr(budget_search, "fit_lsq", train)
    found = search(candidates=4, metric="macro_f1", verbose=1)
    assert set(calls) == {"macro_f1"}
    assert [trial.score for trial in found.trials] == [0.06, 0.05, 0.02, -np.inf]
    assert found.best.accuracy == pytest.approx(0.94)
    assert capsys.readouterr().out.splitlines()[-1].endswith("validation 0.0600")
    title, first, *_ = str(found).splitlines()
    assert "macro_f1" in title and "0.0600" in first
    last = found.to_dict()["trials"][-1]
    assert (last["macro_f1"], last["accuracy"]) == (None, 0.0)
    assert found.trials[-1] not in found.pareto


def test_batches_and_weights_reach_the_trainings():
    batches = tf.data.Dataset.from_tensor_slices((X, Y)).batch(20)
    found = search(
        data=(batches, None),
        batch_size=None,
        class_weight={0: 1.0, 1: 2.0},
        validation_data=batches,
        candidates=1,
        epochs=3,
        quantization=None,
    )
    outputs = np.asarray(found.model(X))
    assert np.mean(outputs.argmax(axis=1) == Y) == pytest.approx(found.best.accuracy)


def test_loss_of_the_best_trial_alone_is_told(monkeypatch):
    def train(model, x, y, **options):
        warnings.warn("of a trial", recipe.TrainingWarning, stacklevel=2)
        scores = {"dense": 0.9, "frozen": 0.8}
        stages = [
            Stage(name, 1, {"val_accuracy": [score], "val_loss": [0.5]}, model=model)
            for name, score in scores.items()
        ]
        return recipe.LSQResult(stages, 8, 1)

    monkeypatch.setattr(budget_search, "fit_lsq", train)
    with pytest.warns(recipe.TrainingWarning) as caught:
        search(candidates=2)
    (told,) = caught
    assert "the dense stage had 90.00 %" in str(told.message)
    assert told.filename == __file__.replace(".pyc", ".py")


NAN = np.where(np.arange(CHANNELS) == 1, np.nan, X)
MISTAKES = {
    "function": [
        (5, "model_fn, expected a function that returns a model, got 5"),
        (
            lambda *arguments: LAYERS.Dense(2),
            "model, got Dense. It is what model_fn(4, None, None)",
        ),
    ],
    "data": [((NAN, Y), "x and y, expected inputs that are finite numbers, got nan")],
    "validation_data": [
        (X, "validation_data, expected a tuple of inputs and labels"),
        ((X[:0], Y[:0]), "validation_data, expected inputs of shape"),
    ],
    "budget_bytes": [
        (10, "budget_bytes, expected at least the "),
        (1.5, "budget_bytes, expected a positive integer, got 1.5"),
        (None, "budget_bytes, expected a positive integer, got None"),
    ],
    "budget_cycles": [
        (0, "budget_cycles, expected a positive number or None, got 0"),
        ("many", "budget_cycles, expected a positive number or None, got 'many'"),
        (float("nan"), "budget_cycles, expected a positive number or None, got nan"),
        (10, "budget_cycles, expected at least the "),
    ],
    "cycles": [
        (168, "cycles, expected a function or None, got 168"),
        (
            lambda model: "many",
            "cycles, expected a function that returns a positive number, got 'm",
        ),
    ],
    "units": [([0], "units, expected a positive integer, got 0")],
    "candidates": [(0, "candidates, expected a positive integer, got 0")],
    "epochs": [(4, "epochs, expected a multiple of 3, got 4")],
    "quantization": [("int4", "quantization, expected 'int16x8' or 'int8', got 'int4'")],
    "quantization_epochs": [(0, "quantization_epochs, expected a positive integer, got 0")],
    "quantization_options": [("int8", "quantization_options, expected a dictionary or None")],
    "weight_bits": [(5, "weight_bits, expected 4 or 8, got 5")],
    "checkpoint": [(5, "checkpoint, expected the path of a folder, or None, got 5")],
    "seed": [
        (None, "seed, expected an integer that is not negative, got None"),
        (-1, "seed, expected an integer that is not negative, got -1"),
    ],
    "verbose": [(2, "verbose, expected 0 or 1, got 2")],
    "batch_size": [(0, "batch_size, expected a positive integer, got 0")],
    "metric": [("f1", "metric, expected 'accuracy', 'macro_f1', or a function of labels and")],
    "callbacks": [(print, "callbacks, expected a ")],
    "class_weight": [({2: 1.0}, "class_weight, expected a dictionary from classes in [0, 1]")],
    "sample_weight": [([1.0], "sample_weight, expected weights of shape (120,), got (1,)")],
}


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [(name, *case) for name, cases in MISTAKES.items() for case in cases],
)
def test_mistake_is_told_before_any_training(argument, value, message, monkeypatch):
    monkeypatch.setattr(keras.Model, "fit", lambda *arguments, **options: pytest.fail("trained"))
    with pytest.raises((ValueError, TypeError)) as error:
        search(**{"units": (4,), argument: value})
    assert str(error.value).startswith("Received an invalid value for argument ")
    assert message in str(error.value)


def test_arguments_that_the_search_chooses_are_refused():
    with pytest.raises(TypeError, match="kernel_sparsity"):
        search(kernel_sparsity=0.5)
