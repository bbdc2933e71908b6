"""The ablation changes settings that exist, and its table has the means by hand."""

import dataclasses
import json

import numpy as np
import pytest
from benchmark_results import check_damage_is_told


@pytest.fixture
def ablation(benchmarks_on_path):
    from benchmarks import ablation

    return ablation


def write(folder, ablation, task, model, change, accuracies):
    for seed, accuracy in enumerate(accuracies):
        size = "1KB" if model == "FastGRNN LSQ" else "3KB"
        trial = ablation.Trial(task, model, size, change, seed)
        path = trial.path(folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        validation = {"FastGRNN LS": 0.1, model: accuracy}
        path.write_text(json.dumps({"trial": dataclasses.asdict(trial), "validation": validation}))


def test_every_change_changes_what_the_results_have(ablation):
    from benchmarks.compared_models import structure_for, training_for
    from benchmarks.tasks import Part, Task

    part = Part(np.zeros((4, 12, 9), np.float32), np.arange(4) % 3)
    for case in ablation.CASES:
        task = Task(case.task, 3, part, part, part)
        training = dataclasses.asdict(training_for(case.task, case.model))
        structure = dataclasses.asdict(structure_for(case.model, case.size, task))
        settings = training | structure | {"teacher": None}
        for name, change in case.changes.items():
            assert set(change) <= set(settings)
            changed = [key for key, value in change.items() if settings[key] != value]
            assert changed == ([] if name == ablation.WHOLE else list(change))


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


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda file: file.pop("trial"), "'trial'"),
        (lambda file: file["trial"].update(change="more"), "'more'"),
        (lambda file: file["trial"].update(seed=7), "it holds har2, GRU"),
        (lambda file: file["trial"].update(task="cats"), "no case has cats, GRU, 3KB"),
        (lambda file: file["validation"].update(GRU="high"), "'high'"),
    ],
)
def test_a_damaged_result_is_one_line_that_names_it(ablation, tmp_path, change, reason):
    write(tmp_path, ablation, "har2", "GRU", ablation.WHOLE, [0.97])
    check_damage_is_told(ablation.main, tmp_path, change, reason)


def test_missing_data_is_told_in_one_line_before_any_work(ablation, tmp_path):
    arguments = ["--data", str(tmp_path), "--results", str(tmp_path / "results")]
    with pytest.raises(SystemExit, match=f"ablation: no kws4_logmel_u8.npz in {tmp_path}"):
        ablation.main(arguments)
    assert not list(tmp_path.iterdir())
