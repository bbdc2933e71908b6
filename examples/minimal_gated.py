"""A recurrent cell that Keras does not have: a GRU of one gate.

The minimal gated unit (Zhou et al. 2016, https://arxiv.org/abs/1603.09420) in the form of Heck and
Salem 2017 (https://arxiv.org/abs/1701.03452): `f = s(W_f x + U_f h)`, `c = a(W x + U h + b)`,
`h' = h + f (c - h)`. Its equations are written once; Keras, the exporter and quantization-aware
training run them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from keras_fastgrnn import keras
from keras_fastgrnn.graph.cell_tracing import CELLS
from keras_fastgrnn.graph.keras_cells import Gate, KerasWeights
from keras_fastgrnn.quantization.aware_layers import register_aware_cell
from keras_fastgrnn.steps import no_tap


@dataclass(frozen=True)
class MinimalGatedWeights(KerasWeights):
    """What a step reads."""

    recurrent_activation: Callable
    gate_kernel: Any
    gate_recurrent_kernel: Any
    candidate: Gate


def minimal_gated_step(x, h, w: MinimalGatedWeights, tap=no_tap):
    """Returns the state after one step; `tap` is told of every value that the device keeps."""
    gate_sum = tap("gate_pre", x @ w.gate_kernel + h @ w.gate_recurrent_kernel)
    gate = tap("gate", w.recurrent_activation(gate_sum))
    candidate = tap("candidate", w.activation(tap("candidate_pre", w.candidate.sum(x, h))))
    return tap("state", h + tap("moved", gate * tap("difference", candidate - h)))


def minimal_gated(cell, weight):
    """Returns the step of a cell and the weights that it reads, each by `weight`."""
    names = ("kernel", "recurrent_kernel", "bias")
    candidate = Gate(*(weight(lambda cell, name=name: getattr(cell, name)) for name in names))
    weights = MinimalGatedWeights(
        cell.activation,
        cell.recurrent_activation,
        weight(lambda cell: cell.gate_kernel),
        weight(lambda cell: cell.gate_recurrent_kernel),
        candidate,
    )
    return minimal_gated_step, weights


@keras.utils.register_keras_serializable(package="minimal_gated")
class MinimalGatedCell(keras.layers.SimpleRNNCell):
    """A cell of one gate, which is a sigmoid; all arguments as for `SimpleRNNCell`."""

    recurrent_activation = staticmethod(keras.activations.sigmoid)

    def build(self, input_shape):
        super().build(input_shape)
        self.gate_kernel = self._gate_weight("gate_kernel", input_shape[-1])
        self.gate_recurrent_kernel = self._gate_weight("gate_recurrent_kernel", self.units)

    def _gate_weight(self, name, rows):
        return self.add_weight(name=name, shape=(rows, self.units), initializer="orthogonal")

    def call(self, inputs, states, training=None):
        is_list = isinstance(states, list | tuple)
        step, weights = minimal_gated(self, lambda read: read(self))
        after = step(inputs, states[0] if is_list else states, weights)
        return after, [after] if is_list else after


CELLS[MinimalGatedCell] = minimal_gated
register_aware_cell(MinimalGatedCell)
