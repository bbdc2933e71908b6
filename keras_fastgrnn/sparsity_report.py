"""How many weights of a model are kept, and what they take in flash."""

from __future__ import annotations

import dataclasses
import numbers
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from keras_fastgrnn import storage
from keras_fastgrnn.cells import FastCell
from keras_fastgrnn.keras_api import IS_TF_KERAS, checked_integer, invalid_argument, keras
from keras_fastgrnn.models import check_built, layers_inside, layers_of, weight_name

_WEIGHT_BITS = (4, 8)
_STORAGES = tuple(one.name for one in storage.STORAGES)
_TITLES = (*_STORAGES, "paper")


@dataclass(frozen=True)
class MatrixReport:
    """One matrix, or one factor of a matrix of low rank.

    Attributes:
        name: String.
        shape: Tuple of integers.
        kept: Integer, weights that are not zero.
        storage_bytes: Dictionary from the name of every storage of `keras_fastgrnn.storage` to the
            bytes that the matrix takes in it.
        paper_bytes: Integer, bytes as the paper counts them.
    """

    name: str
    shape: tuple[int, ...]
    kept: int
    storage_bytes: dict[str, int]
    paper_bytes: int

    @property
    def weights(self) -> int:
        """How many weights there are, zeros too."""
        return int(np.prod(self.shape))

    @property
    def kept_fraction(self) -> float:
        """Fraction of the weights that are kept, in [0, 1]."""
        return self.kept / self.weights

    @property
    def best_storage(self) -> str:
        """The name of the storage that takes the fewest bytes."""
        return min(self.storage_bytes, key=self.storage_bytes.__getitem__)


@dataclass(frozen=True)
class SparsityReport:
    """What a model takes in flash. `print` it, or take `to_dict()` for JSON.

    Attributes:
        matrices: List of `MatrixReport`.
        other_values: Integer, biases, scalars and other numbers outside matrices.
        weight_bits: Integer, bits of a weight of a matrix.
        bias_bytes: Integer, bytes of each other number.
    """

    matrices: list[MatrixReport]
    other_values: int
    weight_bits: int
    bias_bytes: int

    @property
    def other_bytes(self) -> dict[str, int]:
        """Bytes of the other numbers: in each storage, and in the paper's count.

        The paper makes them as wide as a weight.
        """
        stored = dict.fromkeys(_STORAGES, self.other_values * self.bias_bytes)
        return {**stored, "paper": storage.packed_bytes(self.other_values, self.weight_bits)}

    @property
    def total_bytes(self) -> dict[str, int]:
        """Bytes of the whole model: in each storage, and in the paper's count.

        "best" is with the storage of each matrix that takes the fewest bytes.
        """
        sizes = [{**m.storage_bytes, "paper": m.paper_bytes} for m in self.matrices]
        totals = {
            title: self.other_bytes[title] + sum(size[title] for size in sizes) for title in _TITLES
        }
        best = sum(min(matrix.storage_bytes.values()) for matrix in self.matrices)
        return {**totals, "best": best + self.other_values * self.bias_bytes}

    def to_dict(self) -> dict:
        """Returns the report as plain dictionaries, lists and numbers."""
        report = {**dataclasses.asdict(self), "total_bytes": self.total_bytes}
        for entry, matrix in zip(report["matrices"], self.matrices, strict=True):
            entry["shape"] = list(matrix.shape)
            entry["kept_fraction"] = matrix.kept_fraction
            entry["best_storage"] = matrix.best_storage
        return report

    def __str__(self) -> str:
        totals = self.total_bytes
        rows: list[tuple[str | int, ...]] = [("matrix", "shape", "kept", "%", *_TITLES, "best")]
        for matrix in self.matrices:
            shape = "x".join(map(str, matrix.shape))
            sizes = (*matrix.storage_bytes.values(), matrix.paper_bytes)
            percent = f"{100 * matrix.kept_fraction:.1f}"
            rows.append((matrix.name, shape, matrix.kept, percent, *sizes, matrix.best_storage))
        others = self.other_bytes
        rows.append(("other numbers", "", self.other_values, "", *others.values(), ""))
        rows.append(("bytes", "", "", "", *(totals[title] for title in (*_TITLES, "best"))))
        return _table(rows)


def _table(rows: list[tuple[str | int, ...]]) -> str:
    texts = [[f"{cell:,}" if isinstance(cell, int) else cell for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    lines = []
    for name, *cells in texts:
        columns = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
        lines.append("  ".join([name.ljust(widths[0]), *columns]).rstrip())
    return "\n".join(lines)


def report(model: keras.Model, weight_bits: int = 8, bias_bytes: int = 4) -> SparsityReport:
    """Counts the weights that a model keeps, and the bytes they take under each storage.

    Each storage packs weights of `weight_bits`; `keras_fastgrnn.storage` has a module for each,
    which says what it stores. These are the arrays that `export.convert_c` writes. The paper's
    count is that of its tables: where fewer than half of a matrix is kept, those weights and a byte
    for each, otherwise all; other numbers as wide as weights.

    All numbers that training changes are counted, of all layers, also frozen ones: the matrices of
    cells and Dense layers, and outside matrices the biases and the scalars of the cells; also what
    Normalization and BatchNormalization hold. Not counted are the program, the activations, and
    what a program holds once for a matrix: its shape, its scale and how many weights it keeps.

    Args:
        model: Built Keras model, of any layers: GRU, LSTM and SimpleRNN count as cells do.
        weight_bits: Integer, 8 or 4, bits of a weight of a matrix. Defaults to 8.
        bias_bytes: Positive integer, bytes of each number outside a matrix. Defaults to 4.

    Returns:
        `SparsityReport`.

    Raises:
        TypeError: If `model` is not a model of this process's Keras.
        ValueError: If an argument is invalid, or the model is not built.

    Example:

    >>> from keras_fastgrnn import FastGRNN, keras, sparsity
    >>> model = keras.Sequential([keras.layers.Input((128, 9)), FastGRNN(16)])
    >>> sparsity.report(model).total_bytes["dense"]  # (9 + 16) * 16 + (2 * 16 + 2) * 4
    536
    """
    if not (isinstance(weight_bits, numbers.Integral) and weight_bits in _WEIGHT_BITS):
        raise invalid_argument("weight_bits", " or ".join(map(str, _WEIGHT_BITS)), weight_bits)
    checked_integer("bias_bytes", bias_bytes)
    weights = _weights(model)
    if not weights:
        check_built(model)
    matrices, others = [], []
    for weight in weights:
        values = tf.convert_to_tensor(weight).numpy()
        if values.ndim < 2:
            others.append(values)
        else:
            matrices.append(_matrix_report(weight_name(weight), values, weight_bits))
    return SparsityReport(matrices, sum(values.size for values in others), weight_bits, bias_bytes)


def _matrix_report(name: str, matrix: np.ndarray, weight_bits: int) -> MatrixReport:
    pattern = storage.pattern(matrix)
    stored = [one.store(pattern, weight_bits) for one in storage.STORAGES]
    return MatrixReport(
        name=name,
        shape=matrix.shape,
        kept=int(np.count_nonzero(matrix)),
        storage_bytes={one.storage.name: one.bytes for one in stored},
        paper_bytes=storage.paper_bytes(matrix, weight_bits),
    )


def _weights(model) -> list:
    """Returns each number that is stored once, a weight or an array, in the order of the layers."""
    built = [layer for layer in layers_of(model) if layer.built]
    weights = [weight for layer in built for weight in _weights_of(layer)]
    return list({id(weight): weight for weight in weights}.values())


def _weights_of(layer) -> list:
    match layer:
        case FastCell():
            biases = [getattr(layer, name) for name in layer.bias_names if layer.use_bias]
            logits = [getattr(layer, f"{name}_logit") for name in layer.scalar_names]
            return [*layer.get_prunable_weights(), *biases, *logits]
        case keras.layers.SimpleRNNCell() | keras.layers.GRUCell() | keras.layers.LSTMCell():
            biases = [np.ravel(layer.bias)] if layer.use_bias else []
            return [layer.kernel, layer.recurrent_kernel, *biases]
        case keras.layers.Dense():
            return [layer.kernel, *([layer.bias] if layer.use_bias else [])]
        case keras.layers.Normalization():
            return [np.ravel(layer.mean), np.ravel(layer.variance)]
        case keras.layers.BatchNormalization():
            return layer.weights
        case keras.layers.RNN():  # its cell is counted; of quantization it holds ranges
            return []
        case _:
            return _own_weights(layer)


def _own_weights(layer) -> list:
    """Returns what a layer trains, or trained before it was frozen, but for the layers inside it.

    Keras 3 does not tell the weights of a frozen layer from those that never train, tf_keras does.
    """
    inside = {id(weight) for one in layers_inside(layer) for weight in one.weights}
    own = [weight for weight in layer.weights if id(weight) not in inside]
    knows_frozen = layer.trainable or IS_TF_KERAS
    return [weight for weight in own if weight.trainable or not knows_frozen]
