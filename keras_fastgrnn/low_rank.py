"""Trained matrices -> two factors each, by truncated singular value decomposition."""

import dataclasses
from dataclasses import dataclass

import numpy as np

from keras_fastgrnn import classification
from keras_fastgrnn.cells import FastCell
from keras_fastgrnn.keras_api import (
    Data,
    checked_integer,
    invalid_argument,
    is_number,
    keras,
)
from keras_fastgrnn.models import FACTORS, cells_of, check_finite, fast_layers, rebuilt, set_weights

_RANKS = {"kernel": "kernel_rank", "recurrent_kernel": "recurrent_rank"}


def factorize(
    model: keras.Model,
    kernel_rank: int | None = None,
    recurrent_rank: int | None = None,
    *,
    energy: float | None = None,
):
    """Turns the matrices of a trained model into two factors each, ready to fine-tune.

    The factors are those of the truncated singular value decomposition, the nearest matrix of
    that rank; each gets the square roots of the singular values. All other weights and the layers'
    configuration are those of `model`, which is not changed; regularizers and constraints act on
    both factors from now on. A matrix that is two factors already gets smaller ones. To regain
    what the rank cost, compile the new model and train it for some epochs; `report` says how much
    that is.

    Args:
        model: Built Keras model, Sequential or Functional, with FastGRNN or FastRNN layers, or
            RNN around their cells, stacked ones too.
        kernel_rank: Integer in [1, rank of `W` now], for `W` of every cell. Defaults to `None`,
            `W` stays as it is.
        recurrent_rank: Integer in [1, rank of `U` now], for `U` of every cell. Defaults to `None`,
            `U` stays as it is.
        energy: Number in (0, 1], the fraction of the sum of the squared singular values to keep:
            every `W` and `U` gets the smallest rank that keeps it. Takes the place of both ranks.
            Defaults to `None`.

    Returns:
        Keras model, not compiled.

    Raises:
        TypeError: If `model` is not a model of this process's Keras.
        ValueError: If a rank or `energy` is out of its range, none or both are given, or the
            model is not built, has no cell of ours, is quantization-aware, or has weights that are
            not finite.

    Example:

    >>> from keras_fastgrnn import FastGRNN, keras, low_rank
    >>> layers = [keras.layers.Input((128, 9)), FastGRNN(16), keras.layers.Dense(2)]
    >>> factorized = low_rank.factorize(keras.Sequential(layers), recurrent_rank=4)
    >>> [tuple(factor.shape) for factor in factorized.layers[0].cell.recurrent_factors]
    [(16, 4), (4, 16)]

    Reference:
        Kusupati et al., NeurIPS 2018, section 3.2 (https://arxiv.org/abs/1901.02358), which
        trains both factors from the start.
    """
    layers = fast_layers(model)
    for layer in layers:
        if any(getattr(cell, "quantizer", None) is not None for cell in cells_of(layer)):
            expected = "a float model, to be quantized after its matrices are factorized"
            raise invalid_argument("model", expected, layer.name)
    ranks = {"kernel": kernel_rank, "recurrent_kernel": recurrent_rank}
    _check_request(layers, ranks, energy)
    check_finite(model)
    changes = {
        layer.name: [_new_factors(cell, ranks, energy) for cell in cells_of(layer)]
        for layer in layers
    }

    def set_ranks(config):
        if config.get("name") in changes:
            cells = zip(_cell_configs(config), changes[config["name"]], strict=True)
            for cell_config, change in cells:
                cell_config.update({_RANKS[name]: len(pair[1]) for name, pair in change.items()})

    factorized = rebuilt(model, set_ranks)
    for layer, new_layer in zip(model.layers, factorized.layers, strict=True):
        if layer.name not in changes:
            set_weights(new_layer, layer.get_weights())
            continue
        cells = zip(cells_of(layer), cells_of(new_layer), changes[layer.name], strict=True)
        for cell, new_cell, change in cells:
            new_cell.set_weights(_new_weights(cell, change))
    return factorized


@dataclass(frozen=True)
class MatrixReport:
    """One matrix of a cell, before and after.

    Attributes:
        layer: String, name of the layer.
        cell: Integer, which of the layer's cells, counted from 0 at its input.
        matrix: String, "kernel" or "recurrent_kernel".
        shape: Tuple of two integers, of the whole matrix.
        rank_before: Integer; that of a whole matrix is the smaller of its sides.
        rank: Integer, likewise, after.
        kept_energy: Float, the part of the sum of its squared numbers that is kept.
        parameters_before: Integer, numbers stored for it.
        parameters: Integer, likewise, after.
    """

    layer: str
    cell: int
    matrix: str
    shape: tuple[int, int]
    rank_before: int
    rank: int
    kept_energy: float
    parameters_before: int
    parameters: int

    @property
    def grows(self) -> bool:
        """Whether the factors store more than what they take the place of."""
        return self.parameters > self.parameters_before


@dataclass(frozen=True)
class Report:
    """What low rank saves and costs. `print` it, or take `to_dict()` for JSON.

    Attributes:
        matrices: List of `MatrixReport`.
        parameters_before: Integer, numbers stored for the whole model.
        parameters: Integer, likewise, after.
        accuracy_before: Float in [0, 1], on the validation data; `None` without it.
        accuracy: Float, likewise, after.
    """

    matrices: list[MatrixReport]
    parameters_before: int
    parameters: int
    accuracy_before: float | None
    accuracy: float | None

    def to_dict(self) -> dict:
        """Returns the report as plain dictionaries, lists and numbers."""
        report = dataclasses.asdict(self)
        for one, matrix in zip(report["matrices"], self.matrices, strict=True):
            one.update(shape=list(matrix.shape), grows=matrix.grows)
        return report

    def __str__(self) -> str:
        lines = [f"parameters  {self.parameters_before:,} -> {self.parameters:,}"]
        if self.accuracy_before is not None and self.accuracy is not None:
            before, after = 100 * self.accuracy_before, 100 * self.accuracy
            lines.append(f"accuracy    {before:.2f} % -> {after:.2f} %")
        titles = [f"{m.layer}, cell {m.cell}, {m.matrix}" for m in self.matrices]
        width = max(map(len, titles))
        lines.append(f"  {'matrix':{width}}      rank  kept energy       parameters")
        for title, matrix in zip(titles, self.matrices, strict=True):
            rank = f"{matrix.rank_before} -> {matrix.rank}"
            numbers_stored = f"{matrix.parameters_before:,} -> {matrix.parameters:,}"
            note = "  more than before" if matrix.grows else ""
            line = f"{rank:>9} {100 * matrix.kept_energy:10.2f} % {numbers_stored:>16}{note}"
            lines.append(f"  {title:{width}} {line}")
        return "\n".join(lines)


def report(model: keras.Model, factorized: keras.Model, validation_data: Data = None) -> Report:
    """Compares a model with the one that `factorize` made of it, also after fine-tuning.

    Args:
        model: The model that was given to `factorize`.
        factorized: The model that it returned.
        validation_data: Tuple of inputs and labels, to compare the accuracies on: integers, or
            one-hot vectors or probabilities. Defaults to `None`, no accuracies.

    Returns:
        `Report`.

    Raises:
        TypeError: If one is not a model of this process's Keras.
        ValueError: If the two do not have the same matrices, or the data is empty, not finite, or
            does not fit the model.

    Example:

    >>> import numpy as np
    >>> from keras_fastgrnn import FastGRNN, keras, low_rank
    >>> layers = [keras.layers.Input((10, 3)), FastGRNN(16), keras.layers.Dense(2)]
    >>> model = keras.Sequential(layers)
    >>> factorized = low_rank.factorize(model, recurrent_rank=4)
    >>> data = np.ones((5, 10, 3)), np.array([0, 1, 1, 0, 1])
    >>> report = low_rank.report(model, factorized, data)
    >>> report.parameters_before, report.parameters
    (372, 244)
    """
    pairs = _paired_cells(model, factorized)
    accuracies = None, None
    if validation_data is not None:
        x, y = classification.check_labeled("validation_data", validation_data, model)
        accuracies = tuple(classification.accuracy(one, x, y) for one in (model, factorized))
    return Report(
        [
            _matrix_report(layer, index, name, *(_arrays(cell, name) for cell in cells))
            for layer, index, *cells in pairs
            for name in FACTORS
        ],
        model.count_params(),
        factorized.count_params(),
        *accuracies,
    )


def _check_request(layers, ranks, energy):
    given = {name: rank for name, rank in ranks.items() if rank is not None}
    if energy is None:
        if not given:
            raise invalid_argument("energy", "a number in (0, 1] where no rank is given", energy)
        for name, rank in given.items():
            cells = [cell for layer in layers for cell in _fast_cells(layer)]
            largest = min(_rank(_arrays(cell, name)) for cell in cells)
            checked_integer(_RANKS[name], rank, largest)
        return
    if given:
        raise invalid_argument("energy", "None where a rank is given", energy)
    if not (is_number(energy) and 0.0 < energy <= 1.0):
        raise invalid_argument("energy", "a number in (0, 1]", energy)


def _fast_cells(layer) -> list[FastCell]:
    return [cell for cell in cells_of(layer) if isinstance(cell, FastCell)]


def _arrays(cell, name) -> list[np.ndarray]:
    return [np.asarray(factor, np.float64) for factor in getattr(cell, FACTORS[name])]


def _rank(factors) -> int:
    return min(size for factor in factors for size in factor.shape)


def _new_factors(cell, ranks, energy) -> dict[str, list[np.ndarray]]:
    """Returns the two factors of every matrix of a cell that is to change."""
    if not isinstance(cell, FastCell):
        return {}
    return {
        name: _truncated(_arrays(cell, name), rank, energy)
        for name, rank in ranks.items()
        if rank is not None or energy is not None
    }


def _truncated(factors, rank, energy) -> list[np.ndarray]:
    left, values, right = np.linalg.svd(_product(factors), full_matrices=False)
    if rank is None:
        kept = np.cumsum(values**2)
        rank = min(1 + int(np.searchsorted(kept, energy * kept[-1])), _rank(factors))
    root = np.sqrt(values[:rank])
    return [left[:, :rank] * root, root[:, np.newaxis] * right[:rank]]


def _product(factors) -> np.ndarray:
    return factors[0] if len(factors) == 1 else factors[0] @ factors[1]


def _cell_configs(config) -> list[dict]:
    """Returns the configurations of a layer's cells, inside that of the layer."""
    if "cell" not in config:
        return [config]
    cell = config["cell"]["config"]
    return [one["config"] for one in cell["cells"]] if "cells" in cell else [cell]


def _new_weights(cell, change) -> list[np.ndarray]:
    weights = cell.get_weights()
    if not change:
        return weights
    factors = [change.get(name, _arrays(cell, name)) for name in FACTORS]
    kept = sum(len(_arrays(cell, name)) for name in FACTORS)
    return [factor for pair in factors for factor in pair] + weights[kept:]


def _paired_cells(model, factorized):
    """Returns the layer's name, the cell's number and the cell of both models, for all cells."""
    cells = [
        [
            (layer.name, index, cell)
            for layer in fast_layers(one)
            for index, cell in enumerate(cells_of(layer))
            if isinstance(cell, FastCell)
        ]
        for one in (model, factorized)
    ]
    shapes = [
        [_product(_arrays(cell, name)).shape for *_, cell in found for name in FACTORS]
        for found in cells
    ]
    if shapes[0] != shapes[1]:
        expected = "a model with the matrices of the first one"
        raise invalid_argument("factorized", expected, shapes[1])
    return [(*before, after[2]) for before, after in zip(*cells, strict=True)]


def _matrix_report(layer, cell, name, before, after) -> MatrixReport:
    matrix = _product(before)
    energy, lost = np.sum(matrix**2), np.sum((matrix - _product(after)) ** 2)
    return MatrixReport(
        layer=layer,
        cell=cell,
        matrix=name,
        shape=matrix.shape,
        rank_before=_rank(before),
        rank=_rank(after),
        kept_energy=1.0 - float(lost / energy) if energy > 0.0 else float(lost == 0.0),
        parameters_before=sum(factor.size for factor in before),
        parameters=sum(factor.size for factor in after),
    )
