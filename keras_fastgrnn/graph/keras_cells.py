"""Keras's own recurrent cells: the equations, each written once, and where their weights lie.

A step is plain arithmetic with Python's operators and a tap for every tensor of the device, as in
`keras_fastgrnn.steps`. Each gate has matrices of its own, so that each fills its own int8 scale.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from keras_fastgrnn.keras_api import keras
from keras_fastgrnn.steps import Tap, no_tap


@dataclass(frozen=True)
class Gate:
    """The sum in front of a nonlinearity: `x @ kernel + h @ recurrent_kernel + bias`."""

    kernel: Any
    recurrent_kernel: Any
    bias: Any

    def sum(self, x, h):
        return x @ self.kernel + h @ self.recurrent_kernel + self.bias


@dataclass(frozen=True)
class KerasWeights:
    """What every step reads. The state is Keras's own, so its unit is 1."""

    unit = 1.0

    activation: Callable


@dataclass(frozen=True)
class SimpleRNNWeights(KerasWeights):
    """What a SimpleRNN step reads."""

    candidate: Gate


@dataclass(frozen=True)
class GRUWeights(KerasWeights):
    """What a GRU step reads.

    With `reset_after` the reset gate multiplies the state's part of the candidate, which then has
    a bias of its own, `recurrent_bias`; without it the gate multiplies the state.
    """

    recurrent_activation: Callable
    update: Gate
    reset: Gate
    candidate: Gate
    recurrent_bias: Any
    reset_after: bool


@dataclass(frozen=True)
class LSTMWeights(KerasWeights):
    """What an LSTM step reads."""

    recurrent_activation: Callable
    input: Gate
    forget: Gate
    candidate: Gate
    output: Gate


def simple_rnn_step(x, h, w: SimpleRNNWeights, tap: Tap = no_tap):
    """One step of Keras's SimpleRNN.

    `h' = f(W x + U h + b)`.

    Args:
        x: Array or symbol of shape `(batch, input_dim)`, the input of this step.
        h: Array or symbol of shape `(batch, units)`, the state before this step.
        w: `SimpleRNNWeights`.
        tap: Callable from the name and value of a tensor of the device to the value to go on
            with. Defaults to returning the value as it is.

    Returns:
        State after this step, of the type and shape of `h`.
    """
    return tap("state", w.activation(tap("state_pre", w.candidate.sum(x, h))))


def gru_step(x, h, w: GRUWeights, tap: Tap = no_tap):
    """One step of Keras's GRU.

    `z = s(W_z x + U_z h + b_z)`, `r = s(W_r x + U_r h + b_r)`,
    `c = f(W_c x + b_c + r * (U_c h + b_u))` with `reset_after` and
    `c = f(W_c x + U_c (r * h) + b_c)` without, `h' = z * h + (1 - z) * c`, which is
    `c + z * (h - c)`.

    Args:
        x: Array or symbol of shape `(batch, input_dim)`, the input of this step.
        h: Array or symbol of shape `(batch, units)`, the state before this step.
        w: `GRUWeights`.
        tap: Callable from the name and value of a tensor of the device to the value to go on
            with. Defaults to returning the value as it is.

    Returns:
        State after this step, of the type and shape of `h`.
    """
    update = tap("update", w.recurrent_activation(tap("update_pre", w.update.sum(x, h))))
    reset = tap("reset", w.recurrent_activation(tap("reset_pre", w.reset.sum(x, h))))
    if w.reset_after:
        c = w.candidate
        from_input = tap("candidate_input", x @ c.kernel + c.bias)
        from_state = tap("candidate_state", h @ c.recurrent_kernel + w.recurrent_bias)
        candidate_sum = from_input + tap("reset_candidate_state", reset * from_state)
    else:
        candidate_sum = w.candidate.sum(x, tap("reset_state", reset * h))
    candidate = tap("candidate", w.activation(tap("candidate_pre", candidate_sum)))
    return tap("state", candidate + tap("kept", update * tap("difference", h - candidate)))


def lstm_step(x, h, c, w: LSTMWeights, tap: Tap = no_tap):
    """One step of Keras's LSTM.

    With gates `i`, `f` and `o`, each `s(W x + U h + b)` with matrices of its own,
    `c' = f * c + i * a(W_c x + U_c h + b_c)` and `h' = o * a(c')`.

    Args:
        x: Array or symbol of shape `(batch, input_dim)`, the input of this step.
        h: Array or symbol of shape `(batch, units)`, the state before this step.
        c: Array or symbol of shape `(batch, units)`, the cell state before this step.
        w: `LSTMWeights`.
        tap: Callable from the name and value of a tensor of the device to the value to go on
            with. Defaults to returning the value as it is.

    Returns:
        State and cell state after this step, each of the type and shape of `h`.
    """

    def gate(name, weights: Gate, activation):
        return tap(name, activation(tap(f"{name}_pre", weights.sum(x, h))))

    kept = tap("kept", gate("forget", w.forget, w.recurrent_activation) * c)
    candidate = gate("candidate", w.candidate, w.activation)
    added = tap("added", gate("input", w.input, w.recurrent_activation) * candidate)
    c = tap("cell_state", kept + added)
    output = gate("output", w.output, w.recurrent_activation)
    return tap("state", output * tap("activated_cell_state", w.activation(c))), c


def _gates(cell, weight: Callable, count: int) -> list[Gate]:
    """Splits a cell's weights, in which the gates lie side by side."""
    kernel = weight(lambda cell: cell.kernel)
    recurrent_kernel = weight(lambda cell: cell.recurrent_kernel)
    bias = weight(lambda cell: cell.bias) if cell.use_bias else np.zeros(count * cell.units)
    parts = [slice(index * cell.units, (index + 1) * cell.units) for index in range(count)]
    return [Gate(kernel[:, part], recurrent_kernel[:, part], bias[..., part]) for part in parts]


def _simple_rnn(cell, weight: Callable):
    return simple_rnn_step, SimpleRNNWeights(cell.activation, *_gates(cell, weight, 1))


def _gru(cell, weight: Callable):
    update, reset, candidate = _gates(cell, weight, 3)
    recurrent_bias = 0.0
    if cell.use_bias and cell.reset_after:  # two rows: added to the input's part, to the state's
        update, reset = (replace(gate, bias=gate.bias.sum(axis=0)) for gate in (update, reset))
        bias, recurrent_bias = candidate.bias
        candidate = replace(candidate, bias=bias)
    functions = cell.activation, cell.recurrent_activation
    weights = GRUWeights(*functions, update, reset, candidate, recurrent_bias, cell.reset_after)
    return gru_step, weights


def _lstm(cell, weight: Callable):
    functions = cell.activation, cell.recurrent_activation
    return lstm_step, LSTMWeights(*functions, *_gates(cell, weight, 4))


# From the class of a cell to a function that returns the cell's step and the weights it reads: of
# the cell, and of a function that turns a function from the cell to one of its weights into an
# array.
KERAS_CELLS = {
    keras.layers.SimpleRNNCell: _simple_rnn,
    keras.layers.GRUCell: _gru,
    keras.layers.LSTMCell: _lstm,
}
