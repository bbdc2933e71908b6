"""Keras model -> float graph of one time step.

The cells' own step functions run on symbols, and each operation they do becomes an operator.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from keras_fastgrnn import activations
from keras_fastgrnn.activations import PIECEWISE_LINEAR
from keras_fastgrnn.cells import FastGRNNCell, FastRNNCell
from keras_fastgrnn.graph.graph import Graph, Op, State, Tensor, constant
from keras_fastgrnn.graph.keras_cells import KERAS_CELLS
from keras_fastgrnn.graph.supported_layers import chain_of, refuse_layers, unsupported_layers
from keras_fastgrnn.keras_api import keras
from keras_fastgrnn.layers import FastGRNN, FastRNN
from keras_fastgrnn.models import cells_of
from keras_fastgrnn.quantization.aware_layers import (
    QuantizeAwareCell,
    QuantizeAwareDense,
    QuantizeAwareDropout,
    QuantizeAwareFastGRNNCell,
    QuantizeAwareFastRNNCell,
    QuantizeAwareRNN,
)


def trace(model) -> Graph:
    """Traces a Keras model into the float graph of one time step.

    Args:
        model: Keras model whose layers form a chain from one input of shape
            `(batch, steps, input_dim)`.

    Returns:
        `Graph` with one input of shape `(1, input_dim)` and one output of shape `(1, outputs)`.

    Raises:
        UnsupportedLayerError: If a layer cannot be exported; names all of them.
        ValueError: If the model is not built, its input is not a sequence of vectors, or a weight
            is not finite.
    """
    chain = chain_of(model)
    refuse_layers(unsupported_layers(chain, _TRACERS, _CELLS))
    graph = Graph(inputs=[], outputs=[])
    value = Symbol(graph, Tensor("input", (1, model.inputs[0].shape[-1])))
    graph.inputs = [value.tensor]
    for layer in chain.layers:
        first = len(graph.ops)
        with np.errstate(all="ignore"):
            value = _TRACERS[type(layer)](layer, value)
        _check_constants(graph.ops[first:], layer)
    graph.outputs = [value.tensor]
    return graph


def _check_constants(ops, layer):
    constants = [tensor.data for op in ops for tensor in op.inputs if tensor.is_constant]
    if not all(np.isfinite(data).all() for data in constants):
        raise ValueError(
            f"The layer {layer.name} has weights that are NaN or infinite, or so large or small "
            "that numbers computed from them are. Check its weights."
        )


class Symbol:
    """A tensor of the graph in the making, with the operators a step uses."""

    __array_ufunc__ = None

    def __init__(self, graph: Graph, tensor: Tensor):
        self.graph = graph
        self.tensor = tensor

    def _emit(self, kind, *operands, shape=None, **options):
        inputs = [_operand(kind, operand) for operand in operands]
        output = Tensor("", shape or self.tensor.shape)
        self.graph.ops.append(Op(kind, inputs, output, **options))
        return Symbol(self.graph, output)

    def __add__(self, other):
        return self if _is_all(other, 0) else self._emit("ADD", self, other)

    def __radd__(self, other):
        return self + other

    def __sub__(self, other):
        return self._emit("SUB", self, other) if isinstance(other, Symbol) else self + -other

    def __mul__(self, other):
        return self if _is_all(other, 1) else self._emit("MUL", self, other)

    def __rmul__(self, other):
        return self * other

    def __matmul__(self, matrix):
        weights = np.ascontiguousarray(matrix.T)
        return self._emit("FULLY_CONNECTED", self, weights, shape=(1, len(weights)))

    def activate(self, name: str):
        """Applies the activation of that name."""
        if name == "linear":
            return self
        line = PIECEWISE_LINEAR.get(name)
        if line is None:
            kind = {"sigmoid": "LOGISTIC", "tanh": "TANH", "softmax": "SOFTMAX"}[name]
            return self._emit(kind, self)
        ramp = (self + line.shift) * line.slope
        return ramp._emit("CLIP", ramp, low=line.low, high=line.high)


def _operand(kind, value) -> Tensor:
    if isinstance(value, Symbol):
        return value.tensor
    if kind == "FULLY_CONNECTED":
        return constant(value)
    return constant(np.ravel(value) if np.size(value) == 1 else np.reshape(value, (1, -1)))


def _is_all(value, number) -> bool:
    return not isinstance(value, Symbol) and bool(np.all(np.asarray(value) == number))


def _activated(function) -> Callable[[Symbol], Symbol]:
    name = activations.name_of(function)
    return lambda symbol: symbol.activate(name)


def _trace_nothing(layer, value: Symbol) -> Symbol:
    return value


def _trace_normalization(layer, value: Symbol) -> Symbol:
    mean = np.asarray(layer.mean, np.float64).ravel()
    deviation = np.sqrt(np.asarray(layer.variance, np.float64).ravel())
    deviation = np.maximum(deviation, keras.backend.epsilon())
    if layer.invert:
        return value * deviation + mean
    return (value - mean) * (1.0 / deviation)


def _trace_batch_normalization(layer, value: Symbol) -> Symbol:
    variance, mean = (np.asarray(v, np.float64) for v in (layer.moving_variance, layer.moving_mean))
    factor = 1.0 / np.sqrt(variance + layer.epsilon)
    if layer.scale:
        factor = factor * np.asarray(layer.gamma, np.float64)
    shift = -mean * factor
    if layer.center:
        shift = shift + np.asarray(layer.beta, np.float64)
    return value * factor + shift


def _trace_rescaling(layer, value: Symbol) -> Symbol:
    return value * np.ravel(layer.scale) + np.ravel(layer.offset)


def _trace_dense(layer, value: Symbol) -> Symbol:
    kernel, bias = layer.kernel, layer.bias if layer.use_bias else None
    if isinstance(layer, QuantizeAwareDense):
        layer.begin(training=False)
        value = _with_offset(layer, value)
        kernel, bias = layer.rounded_weights()
    value = value @ np.asarray(kernel, np.float64)
    if bias is not None:
        value = value + np.asarray(bias, np.float64)
    value.tensor.name = f"{layer.name}/logits"
    value = _activated(layer.activation)(value)
    value.tensor.name = layer.name
    return value


def _trace_recurrent(layer, value: Symbol) -> Symbol:
    cells = cells_of(layer)
    if isinstance(layer, QuantizeAwareRNN):
        layer.begin(training=False)
        value = _with_offset(layer, value)
    for index, cell in enumerate(cells):
        prefix = layer.name if len(cells) == 1 else f"{layer.name}/{index}"
        value = _trace_cell(cell, prefix, value)
    return value


def _with_offset(layer, value: Symbol) -> Symbol:
    has_offset = layer.input_offset is not None
    return value + np.asarray(layer.rounded_offset(), np.float64) if has_offset else value


def _trace_cell(cell, prefix: str, x: Symbol) -> Symbol:
    graph = x.graph

    def tap(name, symbol):
        if symbol.tensor.name:  # a name stands for one tensor; without biases two are the same
            symbol = symbol._emit("ADD", symbol, 0.0)
        symbol.tensor.name = f"{prefix}/{name}"
        return symbol

    step, weights = _CELLS[type(cell)](cell)
    before = [Tensor("", (1, units)) for units in np.ravel(cell.state_size).tolist()]
    after = step(x, *(Symbol(graph, state) for state in before), _constants(weights), tap)
    after = after if isinstance(after, tuple) else (after,)
    for old, new in zip(before, after, strict=True):
        old.name = new.tensor.name
        graph.states.append(State(old, new.tensor))
    return after[0] if isinstance(cell, QuantizeAwareCell) else weights.unit * after[0]


def _constants(weights):
    """Returns what a step reads with arrays for its tensors and operators for its functions."""
    if dataclasses.is_dataclass(weights):
        names = [field.name for field in dataclasses.fields(weights)]
        values = {name: _constants(getattr(weights, name)) for name in names}
        return dataclasses.replace(weights, **values)
    if isinstance(weights, tuple):
        return tuple(map(_constants, weights))
    if callable(weights):
        return _activated(weights)
    if weights is None or isinstance(weights, bool):
        return weights
    return np.asarray(weights, np.float64)


def _step_of_ours(cell):
    return cell.step, cell.step_weights()


def _rounded_step_of_ours(cell):
    return cell.step, cell.quantizer.step_weights()


# From the class of a cell to a function that returns the cell's step and the weights it reads.
_CELLS = {
    FastRNNCell: _step_of_ours,
    FastGRNNCell: _step_of_ours,
    QuantizeAwareFastRNNCell: _rounded_step_of_ours,
    QuantizeAwareFastGRNNCell: _rounded_step_of_ours,
    **KERAS_CELLS,
}

# From the class of a layer to a function of the layer and anything that has operators.
AFFINE_LAYERS = {
    keras.layers.Normalization: _trace_normalization,
    keras.layers.BatchNormalization: _trace_batch_normalization,
    keras.layers.Rescaling: _trace_rescaling,
}
_TRACERS = {
    **AFFINE_LAYERS,
    keras.layers.InputLayer: _trace_nothing,
    keras.layers.Dropout: _trace_nothing,
    keras.layers.Masking: _trace_nothing,  # masked steps are not fed
    keras.layers.Dense: _trace_dense,
    QuantizeAwareDense: _trace_dense,
    QuantizeAwareDropout: _trace_nothing,
    keras.layers.RNN: _trace_recurrent,
    QuantizeAwareRNN: _trace_recurrent,
    keras.layers.SimpleRNN: _trace_recurrent,
    keras.layers.GRU: _trace_recurrent,
    keras.layers.LSTM: _trace_recurrent,
    FastRNN: _trace_recurrent,
    FastGRNN: _trace_recurrent,
}

EXPORTED_LAYERS, EXPORTED_CELLS = frozenset(_TRACERS), frozenset(_CELLS)
