"""Keras and the device agree on random trained models, as the page of the arithmetic says."""

import importlib

import numpy as np
import pytest


@pytest.fixture
def benchmark(benchmarks_on_path):
    return importlib.import_module("benchmarks.aware_exactness")


@pytest.mark.parametrize("seed", range(2))
def test_outputs_of_a_trained_model_are_those_of_the_device(benchmark, seed):
    quantization, found = benchmark.difference(seed)
    assert quantization == benchmark.QUANTIZATIONS[seed % 2]
    assert np.mean(found.units < 0.5) >= 0.7
    assert found.part <= {"int16x8": 0.002, "int8": 0.1}[quantization]


def test_line_tells_what_was_found(benchmark):
    found = [benchmark.Difference(np.array([0.0, 2.0]), 0.01)] * 2
    assert benchmark.line("int8", found) == (
        "int8        2 models: 50.00% of the outputs equal, 99 of 100 within 2.0 units, all within "
        "2.0; 0% of the models equal in all outputs; at most 1.000% of the outputs' deviation, "
        "1.000% in the median model"
    )
