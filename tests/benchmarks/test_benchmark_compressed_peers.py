"""Peers compressed alike: their table by hand, their width, and one training that is real."""

import json

import numpy as np
import pytest
from benchmark_results import check_damage_is_told


@pytest.fixture
def peers(benchmarks_on_path):
    from benchmarks import compressed_peers

    return compressed_peers


@pytest.fixture
def task(peers):
    rng = np.random.default_rng(0)
    part = peers.tasks.Part(rng.normal(size=(30, 6, 3)).astype(np.float32), np.arange(30) % 3)
    return peers.tasks.Task("har2", 3, part, part, part, lambda x, rng: x)


def write(folder, peers, model, accuracies, stored=1000):
    for seed, accuracy in enumerate(accuracies):
        run = peers.Run("har2", model, "1KB", seed)
        path = peers.path_of(run, folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        file = {"run": vars(run), "structure": {"units": 9}, "stored_bytes": stored + seed}
        path.write_text(json.dumps({**file, "test": accuracy, "test_rounded": accuracy - 0.1}))


def test_the_table_has_means_and_deviations_of_both_ways_to_round(peers, tmp_path):
    write(tmp_path, peers, "GRU", [0.94, 0.96])
    write(tmp_path, peers, "LSTM", [0.9])
    assert peers.table(tmp_path).splitlines()[2:] == [
        "| GRU | 9 | 1,000 to 1,001 | 85.00 &plusmn; 1.41 | 95.00 &plusmn; 1.41 | 2 |",
        "| LSTM | 9 | 1,000 | 80.00 | 90.00 | 1 |",
    ]


def test_nothing_run_is_no_table(peers, tmp_path):
    assert peers.table(tmp_path) == ""


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda file: file.pop("run"), "'run'"),
        (lambda file: file.update(test="high"), "'high'"),
        (lambda file: file["run"].update(seed=7), "it holds har2, GRU, 1KB, seed 7"),
    ],
)
def test_a_damaged_file_is_one_line_that_names_it(peers, change, reason, tmp_path):
    write(tmp_path, peers, "GRU", [0.9])
    check_damage_is_told(peers.main, tmp_path, change, reason)


@pytest.mark.parametrize("model", ["GRU", "LSTM"])
def test_the_widest_model_fits_and_one_unit_more_does_not(peers, task, model):
    structure = peers.widest(model, task)
    wider = peers.dataclasses.replace(structure, units=structure.units + 1)
    assert peers._bytes_of(model, structure, task) <= 1024 < peers._bytes_of(model, wider, task)


def test_a_training_leaves_its_result_with_the_zeros_and_no_checkpoint(
    peers, task, tmp_path, monkeypatch
):
    from benchmarks.compared_models import Training

    monkeypatch.setattr(peers.tasks, "load", lambda name, folder: task)
    monkeypatch.setattr(peers, "training_for", lambda *names: Training(3, fine_epochs=1))
    line = peers.perform(peers.Run("har2", "GRU", "1KB", 0), tmp_path, tmp_path)
    (path,) = tmp_path.rglob("*.json")
    written = json.loads(path.read_text())
    assert line == f"{100 * written['test']:.2f} %"
    assert written["stored_bytes"] <= 1024
    assert written["structure"]["recurrent_sparsity"] == 0.5
    assert not list(tmp_path.rglob("*.npz"))
