"""What a time step costs in plain C on a Cortex-M4, estimated without a compiler."""

import numpy as np

from keras_fastgrnn import storage
from keras_fastgrnn.cells import FastCell, FastGRNNCell
from keras_fastgrnn.keras_api import invalid_argument, keras
from keras_fastgrnn.models import cells_of, fast_cells, layers_of

# Instructions besides those of the storages, fitted by `python -m benchmarks.step_cost_fit`.
_ROW = 8
_FASTGRNN_UNIT = 38
_FASTRNN_UNIT = 14
_SMOOTH = 20

_SMOOTH_FUNCTIONS = (keras.activations.tanh, keras.activations.sigmoid)


def plain_c_instructions(model: keras.Model) -> float:
    """Estimates the instructions of a time step in plain C on a Cortex-M4.

    It is a sum over rows and stored weights of the matrices, in the storage that `export.convert_c`
    chooses, and over units and their nonlinearities. For 120 random FastRNN and FastGRNN layers of
    3 to 32 channels and 6 to 48 units, of full and low rank, dense and sparse, it is within 16 % of
    what QEMU counts, for half of them within 4 % (gcc 12.2, -O2, weights of 8 bits that are scaled
    by powers of two; `python -m benchmarks.step_cost_fit`). A Cortex-M4 takes more cycles than
    instructions. Not counted are Normalization, some 10 instructions a channel, and the Dense
    layers after the last step.

    Args:
        model: Built Keras model whose recurrent layers are FastRNN or FastGRNN.

    Returns:
        Float.

    Raises:
        TypeError: If `model` is not a model of this process's Keras.
        ValueError: If it has no such layer, or another recurrent layer too.

    Example:

    >>> from keras_fastgrnn import FastGRNN, keras
    >>> from keras_fastgrnn.recipe.step_cost import plain_c_instructions
    >>> model = keras.Sequential([keras.layers.Input((128, 9)), FastGRNN(16)])
    >>> plain_c_instructions(model)  # 2,765 in benchmarks/PLAIN_C.md
    2720.0
    """
    cells = fast_cells(model)
    for layer in layers_of(model):
        if isinstance(layer, keras.layers.RNN):
            for cell in cells_of(layer):
                if not isinstance(cell, FastCell):
                    expected = "recurrent layers that are FastRNN or FastGRNN"
                    raise invalid_argument("model", expected, type(cell).__name__)
    return float(sum(_cell_instructions(cell) for cell in cells))


def _cell_instructions(cell) -> float:
    functions, unit = [cell.activation], _FASTRNN_UNIT
    if isinstance(cell, FastGRNNCell):
        functions, unit = [cell.activation, cell.recurrent_activation], _FASTGRNN_UNIT
    smooth = sum(function in _SMOOTH_FUNCTIONS for function in functions)
    factors = [np.asarray(factor) for factor in cell.get_prunable_weights()]
    return cell.units * (unit + smooth * _SMOOTH) + sum(map(_matrix_instructions, factors))


def _matrix_instructions(factor: np.ndarray) -> float:
    stored = storage.smallest(storage.pattern(factor))
    return _ROW * stored.rows + stored.instructions
