"""The cost of rounding each tensor, against a NumPy loop over the paper's equations."""

import numpy as np
import pytest
from small_models import sequences, sequential

from keras_fastgrnn import FastGRNN, keras
from keras_fastgrnn.export import convert
from keras_fastgrnn.export.lowering.alternatives import Int8Chooser, Int16Chooser
from keras_fastgrnn.export.lowering.costs import (
    in_real_values,
    relative_error,
    rounding_costs,
    twins_of,
)
from keras_fastgrnn.graph.ranges import calibrate
from keras_fastgrnn.graph.rewrite import simplify
from keras_fastgrnn.graph.trace import trace

CHOOSERS = {"int8": Int8Chooser, "int16x8": Int16Chooser}


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def fastgrnn(model, x, rounding):
    """Every step's outputs, with a function that rounds what it is given by name."""
    cell, dense = model.layers[0].cell, model.layers[1]
    kernel, recurrent, gate_bias, candidate_bias = (
        np.asarray(w, np.float64)
        for w in (
            *cell.kernel_factors,
            *cell.recurrent_factors,
            cell.gate_bias,
            cell.candidate_bias,
        )
    )
    zeta = sigmoid(float(np.asarray(cell.zeta_logit)))
    nu = sigmoid(float(np.asarray(cell.nu_logit)))
    g = np.zeros((len(x), cell.units))
    outputs = []
    for step in np.moveaxis(x.astype(np.float64), 1, 0):
        total = rounding("input", step) @ kernel + zeta * g @ recurrent
        gate = sigmoid(total + gate_bias)
        candidate = np.tanh(total + candidate_bias)
        difference = rounding("difference", g - candidate)
        g = rounding("state", gate * difference + (1.0 + nu / zeta) * candidate)
        outputs.append(zeta * g @ np.asarray(dense.kernel) + np.asarray(dense.bias))
    return np.stack(outputs)


def rounded(values, tensor):
    limits = np.iinfo(tensor.dtype)
    integers = np.round(values / tensor.scale) + tensor.zero_point
    return tensor.scale * (np.clip(integers, limits.min, limits.max) - tensor.zero_point)


@pytest.mark.parametrize("quantization", CHOOSERS)
@pytest.mark.parametrize("every_step", [True, False])
@pytest.mark.parametrize("name", ["state", "difference", "input"])
def test_cost_is_what_rounding_one_tensor_changes(quantization, every_step, name):
    model = sequential(FastGRNN(5, use_bias=True), keras.layers.Dense(2))
    x = sequences()
    graph = trace(model)
    simplify(graph)
    chosen = CHOOSERS[quantization](graph, calibrate(graph, x), x).choose()
    real = in_real_values(chosen.graph, chosen.integers)
    costs = rounding_costs(real, twins_of(chosen.graph, chosen.integers), x, every_step)
    tensor = next(t for t in chosen.integers.tensors() if t.name.split("/")[-1] == name)

    exact = fastgrnn(model, x, lambda _, values: values)
    changed = fastgrnn(model, x, lambda which, v: rounded(v, tensor) if which == name else v)
    part = slice(None) if every_step else slice(-1, None)
    difference = np.sqrt(np.mean((changed - exact)[part] ** 2)) / exact[part].std()
    # float32 keeps 24 bits of the weights that both start from.
    assert costs[tensor.name] == pytest.approx(difference, rel=0.02)


def test_largest_cost_comes_first_and_the_report_names_it():
    model = sequential(FastGRNN(5), keras.layers.Dense(2))
    report = convert(model, sequences(), quantization="int8").report
    costs = list(report.rounding_costs.values())
    assert costs == sorted(costs, reverse=True) and costs[-1] >= 0.0
    first = next(iter(report.rounding_costs))
    assert f"alone costs most at {first} " in str(report)
    assert report.to_dict()["rounding_costs"] == report.rounding_costs


def test_float_model_rounds_nothing():
    model = sequential(FastGRNN(5), keras.layers.Dense(2))
    report = convert(model, sequences(), quantization=None).report
    assert report.rounding_costs == {} and "rounding" not in str(report)


def test_answers_that_hardly_differ_are_compared_with_their_size():
    expected = 5.0 + 1e-9 * np.arange(4.0)
    assert relative_error(1.01 * expected, expected) == pytest.approx(0.01)
