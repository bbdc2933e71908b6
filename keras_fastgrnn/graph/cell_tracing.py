"""Recurrent cells -> operators and states: their own step functions run on symbols."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from keras_fastgrnn.cells import FastGRNNCell, FastRNNCell
from keras_fastgrnn.graph.graph import State, Tensor
from keras_fastgrnn.graph.keras_cells import KERAS_CELLS
from keras_fastgrnn.graph.symbol import Symbol, activated
from keras_fastgrnn.graph.weight_expressions import WeightExpression
from keras_fastgrnn.models import cells_of

# From the class of a cell to a function that returns the cell's step and the weights it reads: of
# the cell, and of a function that turns a function from the cell to one of its weights into an
# array.
CELLS: dict[type, Callable] = {**KERAS_CELLS}


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
        return activated(weights) if callable(weights) else weights
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
