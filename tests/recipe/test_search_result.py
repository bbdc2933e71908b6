"""The table, the front and the picture of a search."""

import json

import numpy as np
import pytest
from matplotlib.image import imread

from keras_fastgrnn.recipe.search_result import SearchResult, Trial
from keras_fastgrnn.recipe.search_space import Settings

BEST = Trial(Settings(16, None, 4, 0.5, 0.72), 1020, 9000.0, 30, 0.92, 0.3, training="LSQ")
SECOND = Trial(Settings(24, 3), 1015, 8000.0, 30, 0.91, 0.4)
SMALL = Trial(Settings(8), 500, 3000.0, 6, 0.80, 0.6)
WORSE = Trial(Settings(12), 600, 3000.0, 6, 0.80, 0.7)
DIVERGED = Trial(Settings(48, 2, 3, 0.85, 0.9), 990, 12000.0, 6)


def result(budget_cycles=None):
    return SearchResult([BEST, SECOND, SMALL, WORSE, DIVERGED], 1024, budget_cycles)


def test_longer_then_more_accurate_then_lower_loss_is_better():
    luck = Trial(Settings(12), 600, 3000.0, 6, 0.99, 0.1)
    trials = [SMALL, DIVERGED, luck, WORSE, SECOND, BEST]
    ordered = sorted(trials, key=lambda trial: trial.merit, reverse=True)
    assert ordered == [BEST, SECOND, luck, SMALL, WORSE, DIVERGED]


def test_front_holds_what_nothing_beats():
    assert result().pareto == [SMALL, SECOND, BEST]
    twins = SearchResult([SMALL, SMALL], 1024)
    assert twins.pareto == [SMALL, SMALL]


def test_best_trial_has_the_training():
    assert result().best is BEST
    assert result().training == "LSQ"


def test_table_has_a_line_a_trial():
    title, *lines = str(result()).splitlines()
    assert title.split()[0] == "units"
    assert len({len(line.rstrip(" *")) for line in lines}) == 1
    assert lines[0].split() == (
        ["16", "full", "4", "50%", "72%", "1,020", "9,000", "30", "92.00", "%", "*"]
    )
    assert lines[4].split() == (["48", "2", "3", "85%", "90%", "990", "12,000", "6", "0.00", "%"])


def test_trial_prints_a_line():
    assert str(BEST) == (
        "16 units, ranks full and 4, zeros 50% and 72%, 1,020 bytes, 9,000 cycles, 30 epochs: "
        "validation 92.00 %"
    )


def test_dictionary_is_json():
    found = json.loads(json.dumps(result(9999).to_dict()))
    assert (found["budget_bytes"], found["budget_cycles"]) == (1024, 9999)
    assert [trial["is_pareto"] for trial in found["trials"]] == [True, True, True, False, False]
    assert found["trials"][0] == {
        "settings": {
            "units": 16,
            "kernel_rank": None,
            "recurrent_rank": 4,
            "kernel_sparsity": 0.5,
            "recurrent_sparsity": 0.72,
        },
        "bytes": 1020,
        "cycles": 9000.0,
        "epochs": 30,
        "accuracy": 0.92,
        "loss": 0.3,
        "is_pareto": True,
    }
    assert found["trials"][4]["loss"] is None


@pytest.mark.parametrize("budget_cycles", [None, 10000])
def test_picture_is_drawn(tmp_path, budget_cycles):
    result(budget_cycles).plot(tmp_path / "search.png")
    pixels = imread(tmp_path / "search.png")[..., :3]
    assert pixels.shape[1] == 1200
    assert np.mean(pixels < 0.99) > 0.01
    result(budget_cycles).plot(str(tmp_path / "search.svg"))
    assert "accuracy on the validation data" in (tmp_path / "search.svg").read_text()
