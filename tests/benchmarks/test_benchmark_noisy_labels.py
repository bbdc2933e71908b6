"""The recipe beside Keras's `fit` on noisy labels: noise, a small run, and the table by hand."""

import numpy as np
import pytest


@pytest.fixture
def noisy_labels(benchmarks_on_path):
    from benchmarks import noisy_labels

    return noisy_labels


def part(count, seed):
    from benchmarks.tasks import Part

    x = np.random.default_rng(seed).normal(size=(count, 6, 3)).astype(np.float32)
    return Part(x, (x[:, -2:, 0].sum(axis=1) > 0).astype(int))


def test_three_labels_in_ten_are_drawn_anew(noisy_labels):
    from benchmarks.tasks import Part

    whole = Part(np.arange(5000.0)[:, np.newaxis], np.zeros(5000, int))
    drawn = noisy_labels.noisy(whole, 10, np.random.default_rng(0))
    assert drawn.x.shape == (400, 1) and len(set(drawn.x[:, 0])) == 400
    # One in ten of those that are drawn is right.
    assert np.mean(drawn.y != 0) == pytest.approx(0.3 * 0.9, abs=0.07)


def test_a_small_run_has_all_columns(noisy_labels):
    from benchmarks.tasks import Task

    task = Task("usps", 2, part(500, 0), part(450, 1), part(200, 2))
    row = noisy_labels.measured(task, 0, 3)
    assert [*row] == [*noisy_labels.COLUMNS, "warned"]
    assert all(0.0 <= row[name] <= 100.0 for name in noisy_labels.COLUMNS)
    assert row["Keras, best"] >= row["Keras, last"]


def test_the_table_has_means_and_what_was_lost(noisy_labels):
    first = dict.fromkeys(noisy_labels.COLUMNS, 70.0) | {"warned": False}
    second = dict.fromkeys(noisy_labels.COLUMNS, 60.0) | {"warned": True, "quantized": 58.0}
    *_, one, two, mean = noisy_labels.table([first, second]).splitlines()
    assert one.split("|")[-2].strip() == "0.0"
    assert two.split("|")[-2].strip() == "2.0, warned"
    assert [cell.strip() for cell in mean.split("|")[1:6]] == [
        "mean",
        "65.0",
        "65.0",
        "65.0",
        "64.0",
    ]


def test_epochs_that_are_no_multiple_of_3_are_told(noisy_labels, capsys):
    with pytest.raises(SystemExit):
        noisy_labels.main(["--epochs", "4"])
    assert "argument --epochs: expected a multiple of 3, got 4" in capsys.readouterr().err
