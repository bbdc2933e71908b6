"""The ablation changes settings that exist, and its table has the means by hand."""

import dataclasses
import json

import pytest


@pytest.fixture
def ablation(benchmarks_on_path):
    from benchmarks import ablation

    return ablation


def write(folder, ablation, task, model, change, accuracies):
    for seed, accuracy in enumerate(accuracies):
        trial = ablation.Trial(task, model, "1KB", change, seed)
        path = trial.path(folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        validation = {"FastGRNN LS": 0.1, model: accuracy}
        path.write_text(json.dumps({"trial": dataclasses.asdict(trial), "validation": validation}))


def test_every_change_is_of_a_setting_that_the_results_have_otherwise(ablation, benchmarks_on_path):
    from benchmarks.models import Structure, training_for

    for case in ablation.CASES:
        training = dataclasses.asdict(training_for(case.task, case.model))
        # The recipe's structure depends on the task's channels, the names of its settings do not.
        structure = dataclasses.asdict(Structure(0))
        for name, change in case.changes.items():
            assert set(change) <= set(training) | set(structure)
            changed = any(training.get(key) != value for key, value in change.items())
            assert changed == (name != ablation.WHOLE)


def test_each_trial_has_a_file_of_its_own(ablation, tmp_path):
    trials = [
        ablation.Trial(case.task, case.model, case.size, change, seed)
        for case in ablation.CASES
        for change in case.changes
        for seed in range(case.seeds)
    ]
    assert len({trial.path(tmp_path) for trial in trials}) == len(trials)


def test_the_table_has_means_deviations_and_differences(ablation, tmp_path):
    recipe = "FastGRNN LSQ"
    write(tmp_path, ablation, "speech", recipe, ablation.WHOLE, [0.94, 0.96])
    write(tmp_path, ablation, "speech", recipe, "no augmentation", [0.90, 0.93])
    write(tmp_path, ablation, "har2", recipe, ablation.WHOLE, [0.99])
    write(tmp_path, ablation, "speech", "GRU", "a learning rate of 0.02", [0.97])
    whole = "as in the results: a learning rate of 0.02"
    assert ablation.table(tmp_path).splitlines()[2:] == [
        f"| speech | FastGRNN LSQ, 1 KB | {whole} | 95.00 &plusmn; 1.41 | +0.00 | 2 |",
        "| speech | FastGRNN LSQ, 1 KB | no augmentation | 91.50 &plusmn; 2.12 | -3.50 | 2 |",
        f"| har2 | FastGRNN LSQ, 1 KB | {whole} | 99.00 | +0.00 | 1 |",
        "| speech | GRU, 3 KB | a learning rate of 0.02 | 97.00 |  | 1 |",
    ]


def test_nothing_run_is_an_empty_table(ablation, tmp_path):
    assert len(ablation.table(tmp_path).splitlines()) == 2
