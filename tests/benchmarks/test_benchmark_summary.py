"""The results in short: what is bold, and what stands below the table, from made up numbers."""

import re

import benchmark_results
import pytest
from benchmark_results import write_seeds

from benchmarks import measured_results, summary
from benchmarks.compressed_peers import CompressedPeer
from benchmarks.measured_results import Mean

RECIPE = "FastGRNN LSQ"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "results"


def in_short(folder, peers=None):
    """The table's lines, and the notes without the ends of their lines."""
    table, notes = summary.in_short(measured_results.read(folder), peers or {}).split("\n\n")
    return table.splitlines(), re.sub(r"\s+", " ", notes)


@pytest.mark.parametrize(
    ("gru", "recipe", "lstm", "expected"),
    [
        pytest.param((0.90, 0.92), (0.93, 0.97), (0.5, 0.5), "95.00 %", id="more than the spread"),
        pytest.param((0.90, 0.92), (0.91, 0.95), (0.5, 0.5), None, id="within the spread"),
        pytest.param((0.99, 0.99), (0.91, 0.95), (0.5, 0.5), "99.00 %", id="a peer"),
        pytest.param((0.90, 0.92), (0.93, 0.97), (0.95, 0.95), None, id="equal"),
        pytest.param((0.90,), (0.99,), (0.5,), None, id="a single seed"),
    ],
)
def test_bold_is_what_is_ahead_by_more_than_the_spread(folder, gru, recipe, lstm, expected):
    for model, accuracies in (("GRU", gru), (RECIPE, recipe), ("LSTM", lstm)):
        write_seeds(folder, accuracies, model=model)
    (_, _, line), _ = in_short(folder)
    assert re.findall(r"\*\*(.*?)\*\*", line) == ([expected] if expected else [])


def test_a_model_alone_is_not_bold(folder):
    write_seeds(folder, (0.9, 0.91), model=RECIPE)
    (_, _, line), notes = in_short(folder)
    assert line == "| HAR-2 | 3 KB | 90.50 %, 3,000 B | not run | not run | 95.59 %, 3 KB |"
    assert "means of 2 seeds" in notes
    assert "Over the GRU" not in notes and "dense and stored" not in notes


def test_costs_over_the_gru_are_the_least_and_the_most(folder):
    for task, stored, step in (("har2", 2000, 15000.0), ("speech", 3000, 120000.0)):
        benchmark_results.write(folder, task, RECIPE, stored=stored, step=step)
        benchmark_results.write(folder, task, "GRU", stored=3000, step=10000.0)
    _, notes = in_short(folder)  # a .tflite has 2,000 bytes more
    assert f"{RECIPE} takes 0.80 to 1.00 times the bytes as a `.tflite`" in notes
    assert (
        "A step in plain C takes 1.50 to 12.00 times its instructions on a Cortex-M4 and 1.50 "
        "to 12.00 times its cycles on an ATmega328P;"
    ) in notes


def test_a_device_on_which_nothing_runs_is_left_out(folder):
    benchmark_results.write(folder, model=RECIPE, on_atmega=False)
    benchmark_results.write(folder)
    _, notes = in_short(folder)
    assert "A step in plain C takes 1.00 times its instructions on a Cortex-M4;" in notes


def test_fastgrnn_without_compression_is_held_against_the_gru(folder):
    for task, accuracies in (("har2", (0.90, 0.92)), ("speech", (0.96, 0.96))):
        write_seeds(folder, accuracies, task=task, model="FastGRNN")
        write_seeds(folder, (0.93, 0.93), task=task, model="GRU")
    _, notes = in_short(folder)
    assert (
        "on HAR-2 at 3 KB behind by 2.00 points (more than the spread, 1.41) and on Speech (yes, "
        "no, unknown) at 3 KB ahead by 3.00 points (more than the spread, 0.00), in the same bytes"
    ) in notes


def test_the_papers_count_is_given_for_its_tasks_alone(folder):
    for task in ("har2", "usps"):  # 400 bytes more by that count
        benchmark_results.write(folder, task, RECIPE, stored=3000)
    _, notes = in_short(folder)
    assert notes.endswith(f"by its own count, by which {RECIPE} takes: HAR-2 3,400 B.")


def test_peers_compressed_alike_are_named_whichever_wins(folder):
    write_seeds(folder, (0.93, 0.95), model=RECIPE, size="1KB")
    _, notes = in_short(folder)
    assert "compressed and trained alike" not in notes
    peers = {
        model: CompressedPeer([16, 16], [930, 940], Mean.of([0.0, 0.0]), Mean.of(accuracies))
        for model, accuracies in (("GRU", [95.0, 95.0]), ("LSTM", [91.0, 93.0]))
    }
    _, notes = in_short(folder, peers)  # the recipe deviates by the root of 2
    assert (
        "Peers compressed and trained alike, on HAR-2 at 1 KB: the GRU has 95.00 % in 940 B, so "
        f"{RECIPE} is behind by 1.00 points (within the spread, 1.41); the LSTM has 92.00 % in "
        f"940 B, so {RECIPE} is ahead by 2.00 points (within the spread, 2.00)."
    ) in notes
