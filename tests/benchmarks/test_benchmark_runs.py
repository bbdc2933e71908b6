"""Runs of the benchmarks: the quick one for real, and what the grid holds."""

import json
import os
import subprocess
import sys

import pytest
from small_models import needs_tflm

SETTINGS = {"TF_CPP_MIN_LOG_LEVEL": "3"}


def benchmarks(root, *arguments, **environment):
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *map(str, arguments)],
        cwd=root,
        env={**kept, **SETTINGS, **environment},
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.fixture
def grid(benchmarks_on_path):
    from benchmarks import grid

    return grid


@pytest.fixture
def told(root, benchmarks_on_path, monkeypatch, capsys):
    """The last line that the command tells before it ends itself."""
    from benchmarks import __main__ as command

    def run(*arguments) -> str:
        monkeypatch.chdir(root)
        with pytest.raises(SystemExit) as stopped:
            command.main(list(map(str, arguments)))
        line = capsys.readouterr().err if stopped.value.code == 2 else stopped.value.code
        return line.strip().splitlines()[-1]

    return run


@needs_tflm
@pytest.mark.usefixtures("shared")
def test_the_quick_run_is_measured_everywhere_and_not_repeated(root, tmp_path):
    first = benchmarks(root, "--quick", "--results", tmp_path)
    assert first.returncode == 0, first.stderr
    (path,) = tmp_path.glob("har2/*.json")
    result = json.loads(path.read_text())
    assert set(result["models"]) == {"FastGRNN LS", "FastGRNN LSQ"}
    for model in result["models"].values():
        assert model["stored_bytes"]["best"] <= 1024
        assert model["c"]["accuracy"] == model["int16x8"]["accuracy"]  # the same integers
        assert model["c"]["f1"] == model["int16x8"]["f1"]
        for place in ("keras", "int16x8", "int8", "c"):
            assert 0.3 < model[place]["f1"] <= 1.0
        for device in ("cortex-m4", "atmega328p"):
            assert model["c"][device]["step"] > 1000
    written = path.stat().st_mtime_ns
    again = benchmarks(root, "--quick", "--results", tmp_path)
    assert "1 runs, 1 of them done before" in again.stdout
    assert path.stat().st_mtime_ns == written


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tasks", "cats"], "invalid choice: 'cats'"),
        (["--data", "nowhere"], "no uci_har.npz in nowhere"),
        (["--quick", "--tasks", "har"], "argument --quick: not allowed with argument --tasks"),
        (["--quick", "--document"], "argument --quick: not allowed with argument --document"),
        (["--quick", "--results", "benchmarks/results"], "expected another folder than that of"),
        (["--results", "README.md"], "README.md is no folder"),
    ],
)
def test_a_mistake_is_told_in_one_line_before_any_work(told, tmp_path, arguments, message):
    assert message in told("--results", tmp_path, *arguments)
    assert not list(tmp_path.iterdir())


def test_missing_emulators_are_told_in_one_line_before_any_work(told, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    line = told("--quick", "--results", tmp_path)
    assert line.startswith("benchmarks: Cortex-M4") and "apt-get install" in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["usps/GRU-3KB-0", "ablation/har2-GRU-0-0", "stock/har2-GRU"])
def test_a_damaged_result_is_told_before_any_work(told, tmp_path, name):
    path = tmp_path / f"{name}.json"
    path.parent.mkdir()
    path.write_text("{")
    assert f"benchmarks: {path} is not JSON" in told("--quick", "--results", tmp_path)


def test_the_required_grid_has_every_model_size_and_seed(grid):
    runs = grid.required_runs()
    assert len(runs) == len(set(runs))
    har2 = [run for run in runs if run.task == "har2"]
    assert len(har2) == 7 * 4 * 5 + 5
    assert {run.seed for run in har2} == set(range(5))
    for task in ("har", "dsa", "usps", "mnist"):
        chosen = {(r.model, r.seed) for r in runs if r.task == task and r.size == "3KB"}
        assert len(chosen) == 3 * 3
    assert len([run for run in runs if run.task == "speech"]) == 7 * 4 * 3
    assert [run.seed for run in runs] == sorted(run.seed for run in runs)


def test_a_model_that_another_size_has_too_is_not_trained_again(
    root, shared, tmp_path, benchmarks_on_path
):
    from benchmarks.runs import Run, perform

    small, equal = (Run("har2", "FastGRNN LSQ", size, 0) for size in ("1KB", "equal"))
    measured = small.path(root / "benchmarks" / "results").read_text()
    small.path(tmp_path).parent.mkdir()
    small.path(tmp_path).write_text(measured)
    perform(equal, shared / "data", tmp_path)
    expected = json.loads(measured)
    written = json.loads(equal.path(tmp_path).read_text())
    assert written["run"] == {"task": "har2", "model": equal.model, "size": "equal", "seed": 0}
    assert written["structure"]["units"] == 32
    for part in ("structure", "training", "models", "environment"):
        assert written[part] == expected[part]
    assert written["cpu_seconds"] == written["wall_seconds"] == 0
