"""Quantization-aware training at an ordinary learning rate does not harm models of raw values."""

import importlib

import pytest

CASES = [
    ("FastGRNN", 1e4, "int16x8"),
    ("FastGRNN", 1e-2, "int8"),
]


@pytest.fixture
def benchmark(benchmarks_on_path):
    return importlib.import_module("benchmarks.raw_sensors")


@pytest.mark.parametrize(("name", "scale", "quantization"), CASES)
def test_two_epochs_leave_it_within_two_points_of_float(benchmark, name, scale, quantization):
    found = benchmark.measured(name, scale, epochs=5, quantizations=[quantization])
    assert found.float_model >= 0.6  # of four classes: there is something to lose
    assert found.after[quantization] >= found.float_model - benchmark.LIMIT
    assert "LOST" not in benchmark.row(name, scale, found)


def test_a_loss_is_told(benchmark):
    found = benchmark.Accuracies(0.95, {"int8": 0.95}, {"int8": 0.3})
    assert benchmark.row("FastGRNN", 1.0, found).split() == [
        *("FastGRNN", "1.0", "95.0", "95.0", "30.0", "LOST")
    ]
