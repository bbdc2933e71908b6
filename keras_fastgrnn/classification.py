"""Labeled sequences: which labels a model takes, its loss, and the metrics of its answers."""

import math
import numbers
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from keras_fastgrnn.keras_api import invalid_argument, keras

ACCURACY, MACRO_F1 = "accuracy", "macro_f1"

# What the metric of a user's function is called.
_OF_A_FUNCTION = "metric"


@dataclass(frozen=True)
class Metric:
    """What epochs and candidates are chosen by; the higher, the better.

    Attributes:
        name: String, its name in histories, after "val_".
        function: Function from labels and outputs to a number, or `None` where `name` says all.
    """

    name: str = ACCURACY
    function: Callable | None = None

    def logs(self, model, data) -> dict[str, float]:
        """Returns the metric by its name, or nothing where Keras itself computes it.

        Args:
            model: Built Keras model.
            data: `Arrays` or `Batches`.
        """
        if self.name == ACCURACY:
            return {}
        y, outputs, weights = data.answers(model)
        if self.name == MACRO_F1:
            return {f"val_{MACRO_F1}": macro_f1(model, y, outputs, weights)}
        if self.function is None:
            raise ValueError(f"The metric {self.name} has no function")
        value = self.function(y, outputs)
        is_number = isinstance(value, numbers.Real) or getattr(value, "shape", None) == ()
        if not is_number:
            raise invalid_argument("metric", "a function that returns a number", value)
        return {f"val_{self.name}": float(value)}


def checked_metric(metric) -> Metric:
    """Returns the metric that a user named.

    Args:
        metric: "accuracy", "macro_f1" or a function.

    Returns:
        `Metric`.

    Raises:
        ValueError: If it is something else.
    """
    if isinstance(metric, str) and metric in (ACCURACY, MACRO_F1):
        return Metric(metric)
    if not callable(metric):
        expected = f"{ACCURACY!r}, {MACRO_F1!r}, or a function of labels and outputs"
        raise invalid_argument("metric", expected, metric)
    return Metric(_OF_A_FUNCTION, metric)


def shown(metric: str, score: float) -> str:
    """Returns a metric as text: an accuracy in percent, any other as a number."""
    return f"{100 * score:.2f} %" if metric == ACCURACY else f"{score:.4f}"


def check_labeled(argument: str, data, model) -> tuple[np.ndarray, np.ndarray]:
    """Checks sequences and labels against a model, before any work.

    Args:
        argument: String, its name in the error.
        data: Tuple of inputs of shape `(samples, steps, input_dim)` and labels: integers of shape
            `(samples,)`, or of the output's shape without its last dimension, or vectors of the
            output's shape, one-hot or of probabilities that add up to 1.
        model: Built Keras model with one input and one output.

    Returns:
        Tuple of inputs and labels as arrays.

    Raises:
        ValueError: If the data is empty, not finite, or does not fit the model.
    """
    if not (isinstance(data, (tuple, list)) and len(data) == 2):
        raise invalid_argument(argument, "a tuple of inputs and labels", type(data).__name__)
    if any(map(np.ma.is_masked, data)):
        raise invalid_argument(argument, "arrays without masked values", "a masked array")
    try:
        x, y = map(np.asarray, data)
    except ValueError as error:
        raise invalid_argument(argument, "inputs and labels that are arrays", "lists") from error
    expected = model.input_shape
    if x.ndim != len(expected) or not _fits(x.shape, expected) or x.size == 0:
        raise invalid_argument(argument, f"inputs of shape {expected}, not empty", x.shape)
    if x.dtype.kind not in "fiu" or not np.isfinite(x).all():
        raise invalid_argument(argument, "inputs that are finite numbers", first_wrong(x))
    if y.ndim == 0 or len(x) != len(y):
        got = len(y) if y.ndim else data[1]
        raise invalid_argument(argument, f"a label for each of the {len(x)} inputs", got)
    _check_labels(argument, y, model.output_shape)
    return x, y


def loss_for(model, y):
    """Returns the cross-entropy of a model's outputs and labels.

    Args:
        model: Built Keras model; outputs that softmax or sigmoid do not end are logits.
        y: Labels as `check_labeled` returns them.

    Returns:
        Keras loss.
    """
    from_logits = not _ends_in_probabilities(model)
    if model.output_shape[-1] == 1:
        return keras.losses.BinaryCrossentropy(from_logits=from_logits)
    if are_vectors(y, model.output_shape):
        return keras.losses.CategoricalCrossentropy(from_logits=from_logits)
    return keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits)


def accuracy_metric(model, y):
    """Returns the metric that counts right classes, named "accuracy".

    Args:
        model: Built Keras model.
        y: Labels as `check_labeled` returns them.

    Returns:
        Keras metric.
    """
    if model.output_shape[-1] == 1:
        threshold = 0.5 if _ends_in_probabilities(model) else 0.0
        return keras.metrics.BinaryAccuracy("accuracy", threshold=threshold)
    if are_vectors(y, model.output_shape):
        return keras.metrics.CategoricalAccuracy("accuracy")
    return keras.metrics.SparseCategoricalAccuracy("accuracy")


def accuracy(model, x, y) -> float:
    """Returns the fraction of labels that a model gets right.

    Args:
        model: Built Keras model.
        x: Inputs as `check_labeled` returns them.
        y: Labels as `check_labeled` returns them.

    Returns:
        Float in [0, 1].
    """
    metric = accuracy_metric(model, y)
    metric.update_state(y, model.predict(x, verbose=0))
    return float(metric.result())


def macro_f1(model, y, outputs, weights=None) -> float:
    """Returns the mean F1 of the classes that occur in labels or answers.

    Args:
        model: Built Keras model.
        y: Labels as `check_labeled` returns them.
        outputs: Array, what the model answers.
        weights: Array of a number for each label, or one for each sequence. Defaults to `None`,
            equal ones.

    Returns:
        Float in [0, 1].
    """
    is_single = model.output_shape[-1] == 1
    threshold = 0.5 if _ends_in_probabilities(model) else 0.0
    answers = outputs[..., 0] > threshold if is_single else outputs.argmax(axis=-1)
    answers = answers.astype(int)
    labels = classes_of(y, model.output_shape).reshape(answers.shape)
    counted = np.ones(answers.shape)
    if weights is not None:
        counted *= weights.reshape(*weights.shape, *[1] * (answers.ndim - weights.ndim))
    scores = []
    for one in range(max(model.output_shape[-1], 2)):
        right = counted[(labels == one) & (answers == one)].sum()
        either = counted[labels == one].sum() + counted[answers == one].sum()
        if either > 0.0:
            scores.append(2.0 * right / either)
    return float(np.mean(scores)) if scores else math.nan


def classes_of(y: np.ndarray, output_shape) -> np.ndarray:
    """Returns the class of each label.

    Args:
        y: Labels as `check_labeled` returns them.
        output_shape: Tuple, the model's.

    Returns:
        Integer array, of the output's shape without its last dimension.
    """
    if are_vectors(y, output_shape):
        return y.argmax(axis=-1)
    return (y[..., 0] if y.ndim == len(output_shape) else y).astype(int)


def _fits(shape, expected) -> bool:
    return len(shape) == len(expected) and all(
        want in (None, size) for size, want in zip(shape, expected, strict=True)
    )


def first_wrong(x: np.ndarray):
    """Returns what is wrong in an array: the name of its type, or its first number not finite."""
    return x.dtype.name if x.dtype.kind not in "fiu" else float(x[~np.isfinite(x)][0])


def are_vectors(y: np.ndarray, output_shape) -> bool:
    """Returns whether labels are vectors of the output's shape, a number for each class."""
    return output_shape[-1] > 1 and _fits(y.shape, output_shape)


def _check_labels(argument, y, output_shape):
    if are_vectors(y, output_shape):
        _check_vectors(argument, y.reshape(-1, y.shape[-1]))
        return
    labels = y[..., 0] if y.ndim == len(output_shape) and y.shape[-1] == 1 else y
    if not _fits(labels.shape, output_shape[:-1]):
        raise invalid_argument(argument, f"labels of shape {output_shape[:-1]}", y.shape)
    classes = max(output_shape[-1], 2)
    wrong = labels[~np.isin(labels, np.arange(classes))] if labels.dtype.kind in "fiub" else labels
    if wrong.size:
        raise invalid_argument(argument, f"labels in [0, {classes - 1}]", wrong.flat[0].item())


def _check_vectors(argument, y):
    if y.dtype.kind not in "fiub":
        raise invalid_argument(argument, "labels that are numbers", y.dtype.name)
    # float16 rounds a probability by at most 2**-12.
    add_up = np.isclose(y.sum(axis=1, dtype=float), 1.0, atol=y.shape[1] * 2.0**-12)
    wrong = y[~((y >= 0).all(axis=1) & add_up)]
    if len(wrong):
        expected = "labels that are integers, one-hot, or probabilities that add up to 1"
        raise invalid_argument(argument, expected, wrong[0].tolist())


def _ends_in_probabilities(model) -> bool:
    last = model.layers[-1]
    activation = getattr(last, "activation", None)
    is_layer = isinstance(last, keras.layers.Softmax)
    return is_layer or activation in (keras.activations.softmax, keras.activations.sigmoid)
