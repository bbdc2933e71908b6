"""Keras model -> float graph of one time step.

The cells' own step functions run on symbols, and each operation they do becomes an operator.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from keras_fastgrnn import activations
from keras_fastgrnn.activations import PIECEWISE_LINEAR
from keras_fastgrnn.cells import FastGRNNCell, FastRNNCell
from keras_fastgrnn.graph.graph import Graph, Op, State, Tensor, constant
from keras_fastgrnn.graph.keras_cells import KERAS_CELLS
from keras_fastgrnn.graph.supported_layers import chain_of, refuse_layers, unsupported_layers
from keras_fastgrnn.graph.weight_expressions import WeightExpression, is_always
from keras_fastgrnn.keras_api import keras
from keras_fastgrnn.layers import FastGRNN, FastRNN
from keras_fastgrnn.models import cells_of

# From the class of a layer to a function from the layer and the symbol of its input to that of its
# output.
LAYERS: dict[type, Callable] = {}

# From the class of a cell to a function that returns the cell's step and the weights it reads: of
# the cell, and of a function that turns a function from the cell to one of its weights into an
# array.
CELLS: dict[type, Callable] = {**KERAS_CELLS}


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
    refuse_layers(unsupported_layers(chain, LAYERS, CELLS))
    graph = Graph(inputs=[], outputs=[])
    value = Symbol(graph, Tensor("input", (1, model.inputs[0].shape[-1])))
    graph.inputs = [value.tensor]
    for layer in chain.layers:
        first = len(graph.ops)
        with np.errstate(all="ignore"):
            value = LAYERS[type(layer)](layer, value)
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
        weights = matrix.T
        return self._emit("FULLY_CONNECTED", self, weights, shape=(1, len(weights)))

    def appended(self, step: Graph, prefix: str) -> "Symbol":
        """Adds the operators and states of another graph, which read this tensor for its input.

        Args:
            step: Float `Graph` of one input and one output, of tensors of its own.
            prefix: String, what comes before the names of its tensors.

        Returns:
            `Symbol` of its output.
        """
        for tensor in step.tensors():
            tensor.name = f"{prefix}{tensor.name}" if tensor.name else ""
        step.replace(step.inputs[0], self.tensor)
        self.graph.ops += step.ops
        self.graph.states += step.states
        return Symbol(self.graph, step.outputs[0])

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
    return not isinstance(value, Symbol) and is_always(value, number)


def _activated(function) -> Callable[[Symbol], Symbol]:
    name = activations.known_name(function)
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
    value = value @ np.asarray(layer.kernel, np.float64)
    if layer.use_bias:
        value = value + np.asarray(layer.bias, np.float64)
    return activated(layer, value)


def activated(layer, logits: Symbol) -> Symbol:
    """Returns what a Dense layer makes of its product, and names both.

    Args:
        layer: Dense layer.
        logits: `Symbol`.
    """
    logits.tensor.name = f"{layer.name}/logits"
    value = _activated(layer.activation)(logits)
    value.tensor.name = layer.name
    return value


def _trace_recurrent(layer, value: Symbol) -> Symbol:
    for prefix, cell in named_cells(layer):
        value, unit = trace_cell(cell, value, prefix)
        value = unit * value
    return value


def named_cells(layer) -> list[tuple]:
    """Returns the cells of a recurrent layer, each after the prefix of its tensors' names.

    Args:
        layer: Recurrent layer.
    """
    cells = cells_of(layer)
    prefixes = [f"{layer.name}/"]
    if len(cells) > 1:
        prefixes = [f"{layer.name}/{index}/" for index in range(len(cells))]
    return list(zip(prefixes, cells, strict=True))


def exact(cell, read: Callable) -> np.ndarray:
    """Returns a weight of a cell as it is, in double precision.

    Args:
        cell: Built cell.
        read: Function from the cell to a tensor or variable.
    """
    return np.asarray(read(cell), np.float64)


def expressed(cell, read: Callable) -> WeightExpression:
    """Returns a weight of a cell as an expression, for training.

    Args:
        cell: Built cell.
        read: Function from the cell to a tensor or variable.
    """
    return WeightExpression.of(lambda: read(cell), tuple(read(cell).shape))


def trace_cell(cell, x: Symbol, prefix: str = "", weight: Callable = exact) -> tuple:
    """Traces one step of a cell, from zero states.

    Args:
        cell: Built cell of a class in `CELLS`.
        x: `Symbol` of shape `(1, input_dim)`, whose graph gets the operators and states.
        prefix: String, the first part of the names of the tensors. Defaults to none.
        weight: `exact` or `expressed`. Defaults to `exact`.

    Returns:
        Symbol of the state after the step, of shape `(1, units)`, and the number or expression by
        which it is to be multiplied to be that of Keras.
    """
    graph = x.graph

    def tap(name, symbol):
        if symbol.tensor.name:  # a name stands for one tensor; without biases two are the same
            symbol = symbol._emit("ADD", symbol, 0.0)
        symbol.tensor.name = f"{prefix}{name}"
        return symbol

    step, weights = CELLS[type(cell)](cell, lambda read: weight(cell, read))
    before = [Tensor("", (1, units)) for units in np.ravel(cell.state_size).tolist()]
    weights = _with_operators(weights)
    after = step(x, *(Symbol(graph, state) for state in before), weights, tap)
    after = after if isinstance(after, tuple) else (after,)
    for old, new in zip(before, after, strict=True):
        old.name = new.tensor.name
        graph.states.append(State(old, new.tensor))
    return after[0], weights.unit


def unit_of(cell) -> float:
    """Returns the number by which the state that the device keeps is that of Keras.

    Args:
        cell: Built cell of a class in `CELLS`.
    """
    _, weights = CELLS[type(cell)](cell, lambda read: exact(cell, read))
    return float(weights.unit)


def _with_operators(weights: Any) -> Any:
    """Returns what a step reads with operators for its functions."""
    if not dataclasses.is_dataclass(weights) or isinstance(weights, type):
        return _activated(weights) if callable(weights) else weights
    names = [field.name for field in dataclasses.fields(weights)]
    return dataclasses.replace(
        weights, **{name: _with_operators(getattr(weights, name)) for name in names}
    )


def _step_of_ours(cell, weight: Callable):
    weights = cell.step_weights()
    arrays = {}
    for name, value in vars(weights).items():
        if isinstance(value, tuple):
            arrays[name] = tuple(weight(_reader(name, index)) for index in range(len(value)))
        elif hasattr(value, "shape"):
            arrays[name] = weight(_reader(name))
    return cell.step, dataclasses.replace(weights, **arrays)


def _reader(name: str, index: int | None = None) -> Callable:
    def read(cell):
        value = getattr(cell.step_weights(), name)
        return value if index is None else value[index]

    return read


CELLS |= {FastRNNCell: _step_of_ours, FastGRNNCell: _step_of_ours}

# From the class of a layer to a function of the layer and anything that has operators.
AFFINE_LAYERS: dict[type, Callable[..., Any]] = {
    keras.layers.Normalization: _trace_normalization,
    keras.layers.BatchNormalization: _trace_batch_normalization,
    keras.layers.Rescaling: _trace_rescaling,
}
LAYERS |= {
    **AFFINE_LAYERS,
    keras.layers.InputLayer: _trace_nothing,
    keras.layers.Dropout: _trace_nothing,
    keras.layers.Masking: _trace_nothing,  # masked steps are not fed
    keras.layers.Dense: _trace_dense,
    keras.layers.RNN: _trace_recurrent,
    keras.layers.SimpleRNN: _trace_recurrent,
    keras.layers.GRU: _trace_recurrent,
    keras.layers.LSTM: _trace_recurrent,
    FastRNN: _trace_recurrent,
    FastGRNN: _trace_recurrent,
}
