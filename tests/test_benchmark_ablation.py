"""The ablation changes settings that exist, and its table has the means by hand."""

import dataclasses
import json

import pytest


@pytest.fixture
def ablation(benchmarks_on_path):
    from benchmarks import ablation

    return ablation


def write(folder, ablation, task, change, accuracies):
    for seed, accuracy in enumerate(accuracies):
        trial = ablation.Trial(task, change, seed)
        path = trial.path(folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        validation = {"FastGRNN LS": 0.1, "FastGRNN LSQ": accuracy}
        path.write_text(json.dumps({"trial": dataclasses.asdict(trial), "validation": validation}))


def test_every_change_is_of_a_setting_and_each_trial_has_a_file_of_its_own(ablation, tmp_path):
    from benchmarks.models import Structure, Training

    settings = {field.name for part in (Structure, Training) for field in dataclasses.fields(part)}
    for changes in ablation.CHANGES.values():
        for change in changes.values():
            assert set(change) <= settings
    trials = [
        ablation.Trial(task, change, seed)
        for task, changes in ablation.CHANGES.items()
        for change in changes
        for seed in range(3)
    ]
    assert len({trial.path(tmp_path) for trial in trials}) == len(trials)


def test_the_table_has_means_deviations_and_differences(ablation, tmp_path):
    write(tmp_path, ablation, "speech", ablation.WHOLE, [0.94, 0.96])
    write(tmp_path, ablation, "speech", "no augmentation", [0.90, 0.93])
    write(tmp_path, ablation, "har2", ablation.WHOLE, [0.99])
    assert ablation.table(tmp_path).splitlines()[2:] == [
        "| speech | as in the results | 95.00 &plusmn; 1.41 | +0.00 | 2 |",
        "| speech | no augmentation | 91.50 &plusmn; 2.12 | -3.50 | 2 |",
        "| har2 | as in the results | 99.00 | +0.00 | 1 |",
    ]


def test_nothing_run_is_an_empty_table(ablation, tmp_path):
    assert len(ablation.table(tmp_path).splitlines()) == 2
