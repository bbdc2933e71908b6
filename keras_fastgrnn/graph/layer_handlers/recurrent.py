"""Recurrent layers: their cells, one after the other."""

from keras_fastgrnn.graph.cell_tracing import CELLS, named_cells, trace_cell
from keras_fastgrnn.graph.frames import zero_while_late
from keras_fastgrnn.graph.graph import State
from keras_fastgrnn.graph.layer_handlers.handler import (
    LayerHandler,
    activation_problems,
    names_of,
    register,
)
from keras_fastgrnn.graph.symbol import Symbol
from keras_fastgrnn.keras_api import keras
from keras_fastgrnn.layers import FastGRNN, FastRNN
from keras_fastgrnn.models import cells_of


def _problems(layer):
    for cell in cells_of(layer):
        if type(cell) in CELLS:
            yield from activation_problems(cell, "activation", "recurrent_activation")
        else:
            yield f"its cell is a {type(cell).__name__}; use {names_of(CELLS)}"
    if layer.go_backwards:
        yield "go_backwards reads the sequence from its end; train with go_backwards=False"
    if getattr(layer, "time_major", False):
        yield "time_major=True takes the steps first; use time_major=False"


def _trace(layer, value: Symbol) -> Symbol:
    value = value.one_frame()
    for prefix, cell in named_cells(layer):
        before = len(value.graph.states)
        value, unit = trace_cell(cell, value, prefix)
        value = unit * _with_states_at_zero(value, value.graph.states[before:])
    return value


def _with_states_at_zero(value: Symbol, states: list[State]) -> Symbol:
    """Keeps the states zero while the input has no value, and returns the first of them."""
    if value.pace.late:
        for state in states:
            state.after = zero_while_late(Symbol(value.graph, state.after, value.pace)).tensor
        value = Symbol(value.graph, states[0].after, value.pace)
    return value


register(
    LayerHandler(_trace, _problems),
    keras.layers.RNN,
    keras.layers.SimpleRNN,
    keras.layers.GRU,
    keras.layers.LSTM,
    FastRNN,
    FastGRNN,
)
