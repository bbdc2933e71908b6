"""Trainings by the defaults: their table by hand, and one of a few sequences that is real."""

import json
import warnings

import numpy as np
import pytest
from benchmark_results import check_damage_is_told, write_seeds

from keras_fastgrnn import recipe


@pytest.fixture
def defaults(benchmarks_on_path):
    from benchmarks import defaults

    return defaults


def write(folder, defaults, task, accuracies, stored=1024):
    for seed, accuracy in enumerate(accuracies):
        run = defaults.Run(task, defaults.RECIPE, "1KB", seed)
        path = defaults.path_of(run, folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        file = {"run": vars(run), "test": accuracy, "stored_bytes": stored}
        path.write_text(json.dumps(file))


def test_the_table_has_means_and_deviations_beside_the_results_of_the_same_seeds(
    defaults, tmp_path
):
    write(tmp_path, defaults, "har2", [0.94, 0.96])
    write(tmp_path, defaults, "speech", [0.9], 1012)
    write_seeds(tmp_path, [0.95, 0.97, 0.5], task="har2", model=defaults.RECIPE, size="1KB")
    assert defaults.table(tmp_path).splitlines()[2:] == [
        "| har2 | 1,024 | 95.00 &plusmn; 1.41 | 96.00 &plusmn; 1.41 | 2 |",
        "| speech | 1,012 | 90.00 |  | 1 |",
    ]


def test_nothing_run_is_an_empty_table(defaults, tmp_path):
    assert len(defaults.table(tmp_path).splitlines()) == 2


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda file: file.pop("run"), "'run'"),
        (lambda file: file.update(test="high"), "'high'"),
        (lambda file: file["run"].update(seed=7), "it holds har2, FastGRNN LSQ, 1KB, seed 7"),
    ],
)
def test_a_damaged_file_is_one_line_that_names_it(defaults, change, reason, tmp_path):
    write(tmp_path, defaults, "har2", [0.9])
    check_damage_is_told(defaults.main, tmp_path, change, reason)


def test_a_training_leaves_its_result_and_no_checkpoint(defaults, tmp_path, monkeypatch):
    from benchmarks import tasks
    from benchmarks.compared_models import Training

    rng = np.random.default_rng(0)
    part = tasks.Part(rng.normal(size=(30, 6, 3)).astype(np.float32), np.arange(30) % 3)
    task = tasks.Task("speech", 3, part, part, part, lambda x, rng: x)
    monkeypatch.setattr(tasks, "load", lambda name, folder: task)
    monkeypatch.setattr(defaults, "training_for", lambda *names: Training(3))
    run = defaults.Run("speech", defaults.RECIPE, "1KB", 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", recipe.TrainingWarning)
        line = defaults.perform(run, tmp_path, tmp_path)
    (path,) = tmp_path.rglob("*.json")
    written = json.loads(path.read_text())
    assert line == f"{100 * written['test']:.2f} %"
    assert list(written["stages"]) == ["dense", "pruned", "frozen", "quantized"]
    assert written["stored_bytes"] <= 1024
    assert not list(tmp_path.rglob("*.npz"))
