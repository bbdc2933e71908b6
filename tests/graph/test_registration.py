"""A layer and a cell from outside, as ARCHITECTURE.md adds them: by registration alone."""

import importlib.util

import numpy as np
import pytest
from small_models import check_everywhere, needs_tflm, sequences, sequential

from keras_fastgrnn import export, keras
from keras_fastgrnn.graph.cell_tracing import CELLS
from keras_fastgrnn.graph.layer_handlers import HANDLERS, LayerHandler
from keras_fastgrnn.quantization import aware_layers, quantize_aware


class Negation(keras.layers.Layer):
    """What a user may have between two layers: the values with the other sign."""

    def call(self, inputs):
        return -inputs


@pytest.fixture(scope="module")
def own_cell(root):
    """The example's cell, known to the exporter until these tests are over."""
    place = root / "examples" / "minimal_gated.py"
    spec = importlib.util.spec_from_file_location("minimal_gated", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module.MinimalGatedCell
    del CELLS[module.MinimalGatedCell]
    del CELLS[aware_layers.AWARE_CELLS.pop(module.MinimalGatedCell)]


@pytest.fixture
def negation(monkeypatch):
    """The layer is known to the exporter until the test is over."""
    monkeypatch.setitem(HANDLERS, Negation, LayerHandler(lambda layer, value: value * -1.0))
    return Negation()


@pytest.fixture
def model(negation, own_cell):
    return sequential(negation, keras.layers.RNN(own_cell(6)), keras.layers.Dense(2))


def test_layer_that_is_not_registered_is_refused_with_the_list_of_those_that_are():
    with pytest.raises(
        export.UnsupportedLayerError,
        match=r"\(Negation\).*Dropout, FastGRNN, FastRNN",
    ):
        export.convert(sequential(Negation(), keras.layers.GRU(2)), sequences())


@needs_tflm
@pytest.mark.parametrize("quantization", [None, "int16x8", "int8"])
def test_layer_and_cell_run_on_tflite_micro_and_in_c(model, quantization):
    check_everywhere(model, quantization)


def test_layer_without_a_maker_is_not_trained_quantization_aware(model):
    with pytest.raises(ValueError, match=r"rounded in training \(.*Dense, .*\), got negation"):
        quantize_aware(model)


@pytest.mark.parametrize("quantization", ["int16x8", "int8"])
def test_cell_is_trained_as_the_device_computes_it(own_cell, quantization):
    x = sequences()
    made = sequential(keras.layers.RNN(own_cell(6)), keras.layers.Dense(2))
    aware = quantize_aware(made, quantization, calibration_data=x)
    aware.compile(keras.optimizers.Adam(1e-3), "mse", jit_compile=False)
    aware.fit(x, np.stack([x.mean(axis=(1, 2)), x[:, -1, 0]], axis=1), epochs=2, verbose=0)
    deployed = export.convert(aware)
    unit = deployed.graph.outputs[0].scale
    answers = deployed.predict(x, on="reference")
    difference = np.abs(answers - aware.predict(x, verbose=0)) / unit
    # As for every other cell: a unit of a function's table, or a step that rounds the other way.
    assert difference.max() <= {"int16x8": 20.0, "int8": 6.0}[quantization]
