"""Checkpoints of the authors' own code (microsoft/EdgeML) -> Keras models."""

import argparse
import numbers
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from keras_fastgrnn import activations
from keras_fastgrnn.keras_api import checked_boolean, checked_path, invalid_argument, keras
from keras_fastgrnn.layers import FastGRNN, FastRNN

_AUTHORS_NAMES = {
    "quantTanh": "quant_tanh",
    "quantSigm": "quant_sigmoid",
    "quantSigm4": "quant_sigmoid4",
}

# The authors' trainers write Bg, Bh and B; their variables are called B_g and B_h in both cells.
_BIAS_FILES = {
    "gate_bias": ("Bg", "B_g"),
    "candidate_bias": ("Bh", "B_h"),
    "bias": ("B", "Bh", "B_h"),
}

# The authors' examples divide by 1 where a feature hardly varies.
_SMALLEST_DEVIATION = 1e-6


def load(
    folder: str | bytes | os.PathLike,
    activation: str | Callable | None = None,
    recurrent_activation: str | Callable | None = None,
    *,
    steps: int | None = None,
    normalization: bool = True,
    transposed: bool | None = None,
):
    """Loads a checkpoint of the authors' own code (microsoft/EdgeML) as a Keras model.

    Such a checkpoint is a folder of `.npy` files, written by `FastTrainer` of their TensorFlow or
    PyTorch code: `W` or `W1` and `W2`; `U` or `U1` and `U2`; `Bg`, `Bh`, `zeta`, `nu` (FastGRNN) or
    `B`, `alpha`, `beta` (FastRNN); `FC` and `FCbias`; `mean` and `std`. The four scalars are
    logits. Other files are not read, and none is unpickled.

    The model is the one that was trained: the input less `mean` over `std`, the recurrent layer,
    and the classifier on its last state, which gives logits. Without `FC` and `FCbias` it ends
    with the recurrent layer, and without `mean` and `std` it begins with it. Two factors of a rank
    above full rank, which a layer does not take, become one matrix.

    The authors' example computes `mean` and `std` for each step separately. Such a model has a
    fixed number of steps and cannot be exported: a streaming model does not know which step it is
    at. For that, load it with `normalization=False` and normalize in the firmware.

    Args:
        folder: Path of the folder; not that of its quantized copy, `QuantizedFastModel`.
        activation: Nonlinearity of the candidate ("update"), by the authors' name (`"quantTanh"`,
            `"quantSigm"`, `"quantSigm4"`) or as `FastGRNNCell` takes it. Defaults to `None`: what
            the checkpoint's `command.txt` says, where the authors' example wrote one, otherwise
            its default `"tanh"`.
        recurrent_activation: Nonlinearity of the gate, likewise. Defaults to `None`: what
            `command.txt` says, otherwise `"sigmoid"`.
        steps: Positive integer, number of steps of the model's input. Defaults to `None`, any
            number, or that of `mean` and `std`.
        normalization: Boolean, whether the model begins with the checkpoint's `mean` and `std`.
            Defaults to `True`.
        transposed: Boolean, whether the shape of `W` is `(units, input_dim)`, and all matrices of
            the cell are transposed likewise, as in some versions of the PyTorch code, instead of
            `(input_dim, units)`. Defaults to `None`: what the shapes say, which is an error where
            every matrix is square.

    Returns:
        Sequential model of Input, Normalization, FastGRNN or FastRNN, and Dense layers, with
        inputs of shape `(batch, steps, input_dim)`: rows of the authors' `test.npy` without the
        label, reshaped.

    Raises:
        ValueError: If an argument is invalid, or the folder is not such a checkpoint. Names the
            file.

    Example:

    >>> import tempfile
    >>> import numpy as np
    >>> from keras_fastgrnn import edgeml
    >>> shapes = dict(W=(9, 16), U=(16, 16), Bg=(1, 16), Bh=(1, 16), zeta=(1, 1), nu=(1, 1))
    >>> shapes.update(FC=(16, 2), FCbias=(2,))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name, shape in shapes.items():
    ...         np.save(f"{folder}/{name}.npy", np.full(shape, 0.1, "float32"))
    ...     model = edgeml.load(folder, "quantTanh", "quantSigm")
    >>> tuple(model(np.zeros((1, 128, 9), "float32")).shape)
    (1, 2)

    Reference:
        https://github.com/microsoft/EdgeML
    """
    folder = checked_path("folder", folder, "the path of a folder")
    if not folder.is_dir():
        raise invalid_argument("folder", "the path of a folder", str(folder))
    normalization = checked_boolean("normalization", normalization)
    if transposed is not None:
        transposed = checked_boolean("transposed", transposed)
    if steps is not None and not (isinstance(steps, numbers.Integral) and steps >= 1):
        raise invalid_argument("steps", "a positive integer or None", steps)
    layer_class = _layer_class(folder)
    functions = _functions(folder, layer_class, activation, recurrent_activation)
    biases = _biases(folder, layer_class.cell_class.bias_names)
    units = biases[0].size
    logits = [
        _read(folder, name, (1, 1), (1,), ()).reshape(())
        for name in layer_class.cell_class.scalar_names
    ]
    kernel, recurrent_kernel = _matrices(folder, units, transposed)
    input_dim = kernel[0].shape[0]
    head = _head(folder, units)
    statistics, steps = _statistics(folder, input_dim, steps) if normalization else ({}, steps)

    model = keras.Sequential([keras.layers.Input((steps, input_dim))])
    if statistics:
        model.add(keras.layers.Normalization(**statistics))
    ranks = {"kernel_rank": _rank(kernel), "recurrent_rank": _rank(recurrent_kernel)}
    layer = layer_class(units, **{**functions, **ranks})
    model.add(layer)
    layer.set_weights([*kernel, *recurrent_kernel, *biases, *logits])
    if head:
        classifier = keras.layers.Dense(head[1].size)
        model.add(classifier)
        classifier.set_weights(head)
    return model


def _layer_class(folder: Path):
    if _present(folder, "paramScaleFactor"):
        raise _invalid(folder, "a checkpoint in floating point", "its quantized copy")
    found = [c for c in (FastGRNN, FastRNN) if _present(folder, *c.cell_class.scalar_names)]
    if len(found) != 1:
        expected = "zeta.npy and nu.npy (FastGRNN), or alpha.npy and beta.npy (FastRNN)"
        raise _invalid(folder, expected, "all of them" if found else "none of them")
    return found[0]


def _functions(folder: Path, layer_class, activation, recurrent_activation) -> dict:
    """Returns the layer's arguments that name nonlinearities."""
    trained_with = _command_line(folder)
    functions = {"activation": _activation("activation", activation, trained_with.update_nl)}
    if layer_class is FastGRNN:
        functions["recurrent_activation"] = _activation(
            "recurrent_activation", recurrent_activation, trained_with.gate_nl
        )
    elif recurrent_activation is not None:
        expected = "None, as FastRNN has no gate"
        raise invalid_argument("recurrent_activation", expected, recurrent_activation)
    return functions


def _command_line(folder: Path) -> argparse.Namespace:
    """Reads the nonlinearities from the command line that the authors' example wrote down."""
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    parser.add_argument("-unl", "--update-nl", default="tanh")
    parser.add_argument("-gnl", "--gate-nl", default="sigmoid")
    file = folder / "command.txt"
    words = file.read_text(errors="replace").split() if file.is_file() else []
    try:
        return parser.parse_known_args(words)[0]
    except argparse.ArgumentError as error:
        raise _invalid(file, "the command line of a run", error) from error


def _activation(argument: str, given, trained_with: str):
    identifier = trained_with if given is None else given
    if isinstance(identifier, str):
        identifier = _AUTHORS_NAMES.get(identifier, identifier)
    return activations.get(identifier, argument)


def _biases(folder: Path, names) -> list[np.ndarray]:
    files = []
    for spellings in (_BIAS_FILES[name] for name in names):
        found = _present(folder, *spellings) or spellings[:1]
        if len(found) > 1:
            raise _invalid(_path(folder, found[0]), "one file of this bias", " and ".join(found))
        files.append(found[0])
    units = _read(folder, files[0]).size
    return [_read(folder, file, (1, units), (units,)).ravel() for file in files]


def _matrices(folder: Path, units: int, transposed) -> tuple[list, list]:
    """Returns the factors of W and of U, which multiply a row from the right as in Keras."""
    kernel, recurrent_kernel = _factors(folder, "W"), _factors(folder, "U")
    choices = [False, True] if transposed is None else [bool(transposed)]
    errors = {
        choice: _misfit(kernel, None, units, choice)
        or _misfit(recurrent_kernel, units, units, choice)
        for choice in choices
    }
    fitting = [choice for choice, error in errors.items() if error is None]
    misfit = errors[choices[0]]
    if not fitting and misfit is not None:
        raise misfit
    if len(fitting) == 2:
        expected = "False, or True for some PyTorch versions, as every matrix is square"
        raise invalid_argument("transposed", expected, transposed)
    return _keras_factors(kernel, fitting[0]), _keras_factors(recurrent_kernel, fitting[0])


def _keras_factors(factors, transposed: bool) -> list[np.ndarray]:
    matrices = [matrix.T if transposed else matrix for matrix in factors.values()]
    full_rank = min(len(matrices[0]), matrices[-1].shape[1])
    if len(matrices) == 2 and matrices[0].shape[1] > full_rank:
        return [matrices[0] @ matrices[1]]
    return matrices


def _factors(folder: Path, name: str) -> dict[Path, np.ndarray]:
    pair = [f"{name}1", f"{name}2"]
    found = _present(folder, name, *pair)
    if found not in ([name], pair):
        got = " and ".join(found) or "none of them"
        raise _invalid(_path(folder, name), f"it, or {pair[0]} and {pair[1]}", got)
    factors = {_path(folder, file): _read(folder, file) for file in found}
    for file, matrix in factors.items():
        if matrix.ndim != 2:
            raise _invalid(file, "a matrix", f"the shape {matrix.shape}")
    return factors


def _misfit(factors, rows: int | None, units: int, transposed: bool) -> ValueError | None:
    """Returns the error for the first factor that does not lead from `rows` to `units`."""
    for file, matrix in factors.items():
        shape = matrix.shape[::-1] if transposed else matrix.shape
        columns = units if file == list(factors)[-1] else shape[1]
        expected = (rows or shape[0], columns)
        if shape != expected:
            expected = expected[::-1] if transposed else expected
            return _invalid(file, f"the shape {expected}", matrix.shape)
        rows = columns
    return None


def _rank(factors) -> int | None:
    return factors[0].shape[1] if len(factors) == 2 else None


def _head(folder: Path, units: int) -> list[np.ndarray]:
    if not _present(folder, "FC", "FCbias"):
        return []
    bias = _read(folder, "FCbias").ravel()
    return [_read(folder, "FC", (units, bias.size)), bias]


def _statistics(folder: Path, input_dim: int, steps: int | None) -> tuple[dict, int | None]:
    """Returns the arguments of the Normalization layer, none without files, and the steps."""
    if not _present(folder, "mean", "std"):
        return {}, steps
    mean = _read(folder, "mean")
    deviation = _read(folder, "std", mean.shape)
    rows = mean.size // input_dim
    if mean.size != rows * input_dim or (rows > 1 and steps not in (None, rows)):
        expected = f"{input_dim} numbers, or {input_dim} for each of the {steps or ''} steps"
        raise _invalid(_path(folder, "mean"), expected, mean.size)
    if deviation.min() < 0.0:
        raise _invalid(_path(folder, "std"), "no negative number", deviation.min())
    deviation = np.where(deviation < _SMALLEST_DEVIATION, 1.0, deviation)
    shape, axis = ((input_dim,), -1) if rows == 1 else ((rows, input_dim), (1, 2))
    variance = np.square(deviation).reshape(shape)
    arguments = {"axis": axis, "mean": mean.reshape(shape), "variance": variance}
    return arguments, steps if rows == 1 else rows


def _path(folder: Path, name: str) -> Path:
    return folder / f"{name}.npy"


def _present(folder: Path, *names: str) -> list[str]:
    return [name for name in names if _path(folder, name).exists()]


def _read(folder: Path, name: str, *shapes: tuple) -> np.ndarray:
    """Reads an array of finite numbers, and of one of the shapes if there are any."""
    file = _path(folder, name)
    if not file.exists():
        raise _invalid(file, "an array", "no such file")
    try:
        # It never unpickles, and takes no memory for a size that only the header claims.
        array = np.array(np.lib.format.open_memmap(file, mode="r"))
    except Exception as error:  # NumPy's parser of headers raises errors of many classes.
        reason = str(error).partition("\n")[0].rstrip(".")
        raise _invalid(file, "an array as numpy.save writes it", reason) from error
    if array.dtype.kind != "f":
        raise _invalid(file, "floating-point numbers", array.dtype)
    with np.errstate(over="ignore"):
        finite = np.isfinite(array.astype(np.float32))
    if not (finite.size and finite.all()):
        got = array[~finite][0] if finite.size else "none"
        raise _invalid(file, "numbers that are finite in float32", got)
    if shapes and array.shape not in shapes:
        expected = " or ".join(map(str, shapes))
        raise _invalid(file, f"the shape {expected}", array.shape)
    return array.astype(np.float64)


def _invalid(path: Path, expected: str, got) -> ValueError:
    return ValueError(f"Received an invalid checkpoint {path}, expected {expected}, got {got}.")
