"""The integers of the NumPy reference against TFLite Micro's, tensor by tensor."""

import collections

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import TRUNCATING
from random_models import build, descriptions, randomize

from keras_fastgrnn import FastGRNN, FastRNN, keras
from keras_fastgrnn.export.lowering.integers import quantize_int16
from keras_fastgrnn.export.lowering.lower import CHOOSERS
from keras_fastgrnn.export.tflite import write
from keras_fastgrnn.graph import fixed_point, real_values, reference
from keras_fastgrnn.graph.graph import Constant, Graph, Op, Tensor
from keras_fastgrnn.graph.ranges import calibrate
from keras_fastgrnn.graph.rewrite import simplify
from keras_fastgrnn.graph.trace import trace
from keras_fastgrnn.quantization.int16_scales import assign_exponents

RANDOM_MODELS = 50  # of each number of cells
STEPS = 50
NOTHING = {"installed": {}, "oldest": {}}


def float_graph(model):
    graph = trace(model)
    simplify(graph)
    return graph


def integer_graph(graph, x, quantization):
    return CHOOSERS[quantization](graph, calibrate(graph, x), x).choose().integers


def computed(graph):
    return [op.output for op in graph.ops]


def expected_values(graph, integers):
    """The reference's values of every computed tensor, one row a step."""
    rows = collections.defaultdict(list)
    for values in reference.steps(graph, integers[np.newaxis]):
        for tensor in computed(graph):
            rows[tensor].append(values[tensor][0])
    return [np.array(rows[tensor]) for tensor in computed(graph)]


def differing_integers(wheels, graph, integers):
    """How many integers differ, by wheel and tensor; and in the output of the plain file."""
    tensors = computed(graph)
    expected = expected_values(graph, integers)
    names = [tensor.name or str(index) for index, tensor in enumerate(tensors)]
    output = expected[tensors.index(graph.outputs[0])]
    opened, plain = write.write(graph, outputs=tensors), write.write(graph)
    found = {}
    for wheel_name, wheel in wheels.items():
        inside = wheel.run(opened, integers, len(tensors))
        pairs = [*zip(names, expected, inside, strict=True)]
        pairs.append(("file", output, wheel.run(plain, integers, 1)[0]))
        counts = {name: np.count_nonzero(one != other) for name, one, other in pairs}
        found[wheel_name] = {name: count for name, count in counts.items() if count}
    return found


def streaming_model(layer):
    model = keras.Sequential([keras.layers.Input((STEPS, 9)), layer, keras.layers.Dense(2)])
    randomize(model, np.random.default_rng(3))
    return model


@pytest.fixture(scope="module")
def streaming_data():
    """10,000 steps: half of ordinary size, half far beyond the calibrated range."""
    rng = np.random.default_rng(7)
    size = np.repeat(rng.choice([0.3, 1.0, 30.0, 3000.0], 500, p=[0.2, 0.3, 0.25, 0.25]), 20)
    return rng.normal(size=(10_000, 9)) * size[:, np.newaxis]


@pytest.mark.parametrize("quantization", CHOOSERS)
@pytest.mark.parametrize(
    "layer",
    [
        pytest.param(lambda: FastGRNN(16), id="FastGRNN"),
        pytest.param(lambda: FastGRNN(16, "quant_tanh", "quant_sigmoid"), id="piecewise-linear"),
        pytest.param(lambda: FastGRNN(16, kernel_rank=3, recurrent_rank=4), id="low-rank"),
        pytest.param(lambda: FastRNN(16), id="FastRNN"),
        pytest.param(lambda: keras.layers.SimpleRNN(16), id="SimpleRNN"),
        pytest.param(lambda: keras.layers.GRU(16), id="GRU"),
        pytest.param(lambda: keras.layers.GRU(16, reset_after=False), id="GRU-resets-before"),
        pytest.param(lambda: keras.layers.LSTM(16), id="LSTM"),
    ],
)
def test_no_integer_differs_in_10000_steps_without_reset(
    wheels, quantization, layer, streaming_data
):
    calibration = streaming_data[:4000].reshape(-1, STEPS, 9)
    ordinary = np.abs(calibration).max(axis=(1, 2)) < 6.0
    calibration = calibration[ordinary].astype("float32")
    graph = integer_graph(float_graph(streaming_model(layer())), calibration, quantization)
    integers = real_values.quantize_values(streaming_data, graph.inputs[0])
    assert np.mean(integers == np.iinfo(integers.dtype).max) > 0.1
    assert differing_integers(wheels, graph, integers) == NOTHING


@pytest.mark.parametrize("cell_count", [1, 2])
@settings(max_examples=RANDOM_MODELS, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_integer_differs_in_random_models(wheels, cell_count, data):
    model, x = build(data.draw(descriptions(cell_count)), STEPS)
    floats = float_graph(model)
    far = np.concatenate([x[0, : STEPS // 2], 20.0 * x[1, STEPS // 2 :]])
    for quantization in CHOOSERS:
        graph = integer_graph(floats, x, quantization)
        integers = real_values.quantize_values(far, graph.inputs[0])
        assert differing_integers(wheels, graph, integers) == NOTHING, quantization


def table_graph(kind, exponent, units=16):
    """One LOGISTIC, TANH or SOFTMAX on an input of the given power of two."""
    x = Tensor("x", (1, units), "int16", scale=2.0**exponent)
    y = Tensor("y", (1, units), "int16", scale=2.0**-15)
    return Graph([x], [y], [Op(kind, [x], y)])


@pytest.mark.parametrize("exponent", [-14, -13, -12, -11, -10, -7, -2])
@pytest.mark.parametrize("kind", ["LOGISTIC", "TANH"])
def test_every_input_of_a_table_gives_the_same_integer(wheels, kind, exponent):
    graph = table_graph(kind, exponent)
    integers = np.arange(-32768, 32768).reshape(-1, 16).astype(np.int16)
    assert differing_integers(wheels, graph, integers) == NOTHING


@pytest.mark.parametrize("exponent", [-15, -13, -11, -9])
@pytest.mark.parametrize("units", [1, 2, 5, 19])
def test_softmax_gives_the_same_integers(wheels, units, exponent):
    rng = np.random.default_rng(units)
    spread = rng.choice([10, 1000, 12000], size=(3000, 1))
    integers = np.clip(rng.normal(size=(3000, units)) * spread, -32768, 32767).astype(np.int16)
    graph = table_graph("SOFTMAX", exponent, units)
    assert differing_integers(wheels, graph, integers) == NOTHING


def sum_graph(kind, first, second, output, values):
    """One ADD or SUB of an input and a constant, each tensor with a scale and a zero point."""
    dtype = values.dtype.name
    x, y = (
        Tensor(name, (1, len(values)), dtype, scale=scale, zero_point=zero_point)
        for name, (scale, zero_point) in {"x": first, "y": output}.items()
    )
    scale, zero_point = second
    other = Constant("", values.shape, dtype, scale=scale, zero_point=zero_point, data=values)
    return Graph([x], [y], [Op(kind, [x, other], y)])


@pytest.mark.parametrize("kind", ["ADD", "SUB"])
@pytest.mark.parametrize("scales", [(0.5, 0.5, 0.5), (0.5, 0.02, 0.7), (0.003, 0.4, 0.35)])
@pytest.mark.parametrize("zero_points", [(0, 0, 0), (5, -17, 40), (-128, 127, -1)])
def test_every_sum_of_two_int8_is_the_same_integer(wheels, kind, scales, zero_points):
    values = np.arange(-128, 128).astype(np.int8)
    graph = sum_graph(kind, *zip(scales, zero_points, strict=True), values)
    assert differing_integers(wheels, graph, np.repeat(values[:, np.newaxis], 256, 1)) == NOTHING


@pytest.mark.parametrize("kind", ["ADD", "SUB"])
@pytest.mark.parametrize("exponents", [(-9, -9, -9), (-9, -12, -8), (-20, -7, -6), (-7, -21, -9)])
def test_sums_of_int16_of_any_scales_are_the_same_integers(wheels, kind, exponents):
    rng = np.random.default_rng(0)
    first, second = rng.integers(-(2**15), 2**15, (2, 256)) >> rng.integers(0, 15, (2, 256))
    places = [(2.0**exponent, 0) for exponent in exponents]
    graph = sum_graph(kind, *places, second.astype(np.int16))
    integers = np.repeat(first.astype(np.int16)[:, np.newaxis], 256, axis=1)
    assert differing_integers(wheels, graph, integers) == NOTHING


@pytest.mark.parametrize("name", TRUNCATING)
def test_another_rounding_is_found(wheels, monkeypatch, streaming_data, name):
    x = streaming_data[:200].reshape(-1, STEPS, 9).astype("float32")
    model = streaming_model(FastGRNN(16))
    monkeypatch.setattr(fixed_point, name, TRUNCATING[name])
    graph = float_graph(model)
    graph = quantize_int16(graph, assign_exponents(graph, calibrate(graph, x), {}))
    integers = real_values.quantize_values(streaming_data, graph.inputs[0])
    assert all(differing_integers(wheels, graph, integers).values())


def test_quantize_values_rounds_half_away_from_zero_and_clips():
    tensor = Tensor("x", (1, 6), "int16", scale=0.5)
    values = np.array([0.25, -0.25, 0.75, 0.2, 1e9, -1e9])
    assert real_values.quantize_values(values, tensor).tolist() == [1, -1, 2, 0, 32767, -32768]
