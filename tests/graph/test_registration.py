"""A layer and a cell from outside, as ARCHITECTURE.md adds them: by registration alone."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from small_models import needs_tflm, sequences, sequential

from keras_fastgrnn import export, keras
from keras_fastgrnn.graph.cell_tracing import CELLS
from keras_fastgrnn.graph.keras_cells import KerasWeights
from keras_fastgrnn.graph.layer_handlers import HANDLERS, LayerHandler
from keras_fastgrnn.quantization import aware_layers, quantize_aware


class Negation(keras.layers.Layer):
    """What a user may have between two layers: the values with the other sign."""

    def call(self, inputs):
        return -inputs


@dataclass(frozen=True)
class MinimalGatedWeights(KerasWeights):
    gate: Any
    candidate: Any
    recurrent_activation: Callable


class MinimalGatedCell(keras.layers.SimpleRNNCell):
    """`f = s(W_f x + U_f h)`, `h' = (1 - f) h + f a(W x + U h)`: a GRU of one gate."""

    recurrent_activation = staticmethod(keras.activations.sigmoid)

    def build(self, input_shape):
        super().build(input_shape)
        shapes = {"gate_kernel": input_shape[-1], "gate_recurrent_kernel": self.units}
        for name, rows in shapes.items():
            weight = self.add_weight(name=name, shape=(rows, self.units), initializer="orthogonal")
            setattr(self, name, weight)

    def call(self, inputs, states, training=None):
        h = states[0] if isinstance(states, list | tuple) else states
        _, weights = minimal_gated(self, lambda read: read(self))
        after = minimal_gated_step(inputs, h, weights, lambda name, value: value)
        return after, [after] if isinstance(states, list | tuple) else after


def minimal_gated_step(x, h, w: MinimalGatedWeights, tap):
    (gate_kernel, gate_recurrent), (kernel, recurrent, bias) = w.gate, w.candidate
    gate = tap("gate", w.recurrent_activation(tap("pre", x @ gate_kernel + h @ gate_recurrent)))
    candidate = tap("candidate", w.activation(tap("sum", x @ kernel + h @ recurrent + bias)))
    return tap("state", h + tap("moved", gate * tap("difference", candidate - h)))


def minimal_gated(cell, weight):
    gate = weight(lambda c: c.gate_kernel), weight(lambda c: c.gate_recurrent_kernel)
    names = ("kernel", "recurrent_kernel", "bias")
    candidate = tuple(weight(lambda c, name=name: getattr(c, name)) for name in names)
    weights = MinimalGatedWeights(cell.activation, gate, candidate, cell.recurrent_activation)
    return minimal_gated_step, weights


@pytest.fixture
def registered(monkeypatch):
    """The layer and the cell are known to the exporter, until the test is over."""
    handler = LayerHandler(lambda layer, value: value * -1.0)
    monkeypatch.setitem(HANDLERS, Negation, handler)
    monkeypatch.setitem(CELLS, MinimalGatedCell, minimal_gated)
    aware_layers.register_aware_cell(MinimalGatedCell)
    yield
    aware = aware_layers.AWARE_CELLS.pop(MinimalGatedCell)
    del CELLS[aware]


def model():
    layers = Negation(), keras.layers.RNN(MinimalGatedCell(6)), keras.layers.Dense(2)
    return sequential(*layers)


def test_layer_that_is_not_registered_is_refused_with_the_list_of_those_that_are():
    with pytest.raises(
        export.UnsupportedLayerError, match=r"\(Negation\).*Dense, Dropout, FastGRNN"
    ):
        export.convert(model(), sequences())


@needs_tflm
@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("quantization", [None, "int16x8", "int8"])
def test_layer_and_cell_run_on_tflite_micro(quantization):
    x = sequences()
    made = model()
    deployed = export.convert(made, x, quantization=quantization)
    answers = deployed.predict(x)
    of_float32 = 0.0 if quantization else 1e-6
    np.testing.assert_allclose(answers, deployed.predict(x, on="reference"), atol=of_float32)
    # Values of the order of 1, in float32, with weights of 8 bits, and with all of 8 bits.
    allowed = {None: 1e-5, "int16x8": 0.03, "int8": 0.2}[quantization]
    np.testing.assert_allclose(answers, made.predict(x, verbose=0), atol=allowed)


@pytest.mark.usefixtures("registered")
def test_layer_and_cell_run_in_c():
    x = sequences()
    compiled = export.convert_c(model(), x)
    np.testing.assert_array_equal(compiled.predict(x), compiled.predict(x, on="reference"))


@pytest.mark.usefixtures("registered")
def test_layer_without_a_maker_is_not_trained_quantization_aware():
    with pytest.raises(ValueError, match=r"rounded in training \(.*Dense, .*\), got negation"):
        quantize_aware(model())


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("quantization", ["int16x8", "int8"])
def test_cell_is_trained_as_the_device_computes_it(quantization):
    x = sequences()
    made = sequential(keras.layers.RNN(MinimalGatedCell(6)), keras.layers.Dense(2))
    aware = quantize_aware(made, quantization, calibration_data=x)
    aware.compile(keras.optimizers.Adam(1e-3), "mse", jit_compile=False)
    aware.fit(x, np.stack([x.mean(axis=(1, 2)), x[:, -1, 0]], axis=1), epochs=2, verbose=0)
    deployed = export.convert(aware)
    unit = deployed.graph.outputs[0].scale
    answers = deployed.predict(x, on="reference")
    difference = np.abs(answers - aware.predict(x, verbose=0)) / unit
    # As for every other cell: a unit of a function's table, or a step that rounds the other way.
    assert difference.max() <= {"int16x8": 20.0, "int8": 6.0}[quantization]
