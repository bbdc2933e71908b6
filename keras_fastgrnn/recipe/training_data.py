"""What is trained on and validated with: arrays, lists of sequences, or batches as Keras's `fit`.

They are checked as a whole before any work, and become `Arrays` or `Batches`, which the stages of a
training use alike.
"""

import dataclasses
import math
import numbers
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from keras_fastgrnn.classification import are_vectors, check_labeled, classes_of, first_wrong
from keras_fastgrnn.keras_api import (
    IS_TF_KERAS,
    checked_integer,
    invalid_argument,
    is_number,
    keras,
)
from keras_fastgrnn.recipe.training_state import digest

# Sequences from which quantization-aware training takes its first ranges.
CALIBRATION_SEQUENCES = 256

_BATCH_SIZE = 64
_INDEXED = keras.utils.Sequence if IS_TF_KERAS else keras.utils.PyDataset


@dataclass
class Arrays:
    """Labeled sequences in memory.

    Attributes:
        x: Array of inputs.
        y: Array of labels.
        sample_weight: Array of a number for each label, or one for each sequence, or `None`.
        batch_size: Integer. Defaults to 64.
        augmentation: Function from inputs and a generator to inputs, or `None`.
    """

    x: np.ndarray
    y: np.ndarray
    sample_weight: np.ndarray | None = None
    batch_size: int = _BATCH_SIZE
    augmentation: Callable | None = None

    @property
    def batches(self) -> int:
        """Batches of an epoch."""
        return math.ceil(len(self.x) / self.batch_size)

    @property
    def has_weights(self) -> bool:
        """Whether labels have weights."""
        return self.sample_weight is not None

    @property
    def given(self) -> tuple:
        """The data as `fit` takes it for validation."""
        return (self.x, self.y, self.sample_weight) if self.has_weights else (self.x, self.y)

    @property
    def evaluated(self) -> dict:
        """The data as arguments of `evaluate`."""
        return {"x": self.x, "y": self.y, "sample_weight": self.sample_weight}

    @property
    def identity(self):
        """What tells the data from other data."""
        return digest(*self.given)

    def epoch(self, rng: np.random.Generator) -> dict:
        """Returns an epoch's arguments of `fit`: all sequences, in another order, augmented."""
        order = rng.permutation(len(self.x))
        x = self.x[order]
        if self.augmentation is not None:
            x = _checked_inputs(self.augmentation(x, rng), x.shape)
        arguments = {"x": x, "y": self.y[order], "batch_size": self.batch_size}
        if self.sample_weight is not None:
            arguments["sample_weight"] = self.sample_weight[order]
        return arguments

    def calibration_data(self, seed: int) -> np.ndarray:
        """Returns some sequences, drawn from all."""
        order = np.random.default_rng(seed).permutation(len(self.x))
        return self.x[order[:CALIBRATION_SEQUENCES]]

    def answers(self, model) -> tuple:
        """Returns the labels, the outputs of a model, and the weights or `None`."""
        return self.y, np.asarray(model.predict(self.x, verbose=0)), self.sample_weight


@dataclass
class Batches:
    """Labeled sequences that come in batches, as `fit` takes them.

    Attributes:
        given: `tf.data.Dataset`, or `keras.utils.PyDataset` (in tf_keras `Sequence`).
        y: Array, the labels of the first batch.
        has_weights: Boolean, whether batches have weights of labels.
        batches: Integer, how many there are.
        sequences: Integer, how many they hold.
        sample: Array, some inputs, drawn from all.
        class_weight: Dictionary from each class to its weight, or `None`.
    """

    given: object
    y: np.ndarray
    has_weights: bool
    batches: int
    sequences: int
    sample: np.ndarray
    class_weight: dict | None = None

    @property
    def evaluated(self) -> dict:
        """The data as arguments of `evaluate`."""
        return {"x": self.given}

    @property
    def identity(self):
        """What tells the data from other data: its contents may come in any order."""
        return [self.batches, self.sequences]

    def epoch(self, rng: np.random.Generator) -> dict:
        """Returns an epoch's arguments of `fit`; the order is the data's own."""
        return {"x": self.given, "class_weight": self.class_weight}

    def calibration_data(self, seed: int) -> np.ndarray:
        """Returns some sequences, drawn from all."""
        return self.sample

    def answers(self, model) -> tuple:
        """Returns the labels, the outputs of a model, and the weights or `None`."""
        labels, outputs, weights = [], [], []
        for x, y, *weight in _read(self.given):
            labels.append(np.asarray(y))
            outputs.append(np.asarray(model.predict_on_batch(np.asarray(x))))
            weights += map(np.asarray, weight)
        return (
            np.concatenate(labels),
            np.concatenate(outputs),
            np.concatenate(weights) if weights else None,
        )


def are_batches(data) -> bool:
    """Returns whether data comes in batches."""
    return isinstance(data, (tf.data.Dataset, _INDEXED))


def checked_training_data(
    model, x, y, *, batch_size=None, class_weight=None, sample_weight=None, augmentation=None
) -> Arrays | Batches:
    """Checks what is to be trained on, before any work.

    Args:
        model: Built Keras model with one input and one output.
        x: Inputs as `check_labeled` takes them, or batches of inputs, labels and, if so wished,
            weights of the labels.
        y: Labels as `check_labeled` takes them; `None` with batches.
        batch_size: Positive integer, or `None` for 64; `None` with batches.
        class_weight: Dictionary from classes to numbers that are not negative, or `None`. A class
            that it does not have has the weight 1.
        sample_weight: Array of such numbers, one for each label, or one for each sequence;
            `None` with batches.
        augmentation: Function from inputs and a generator to inputs, or `None`; `None` with
            batches.

    Returns:
        `Arrays` or `Batches`.

    Raises:
        ValueError: If something does not fit the model or the rest.
    """
    classes = max(model.output_shape[-1], 2)
    class_weight = _checked_class_weight(class_weight, classes)
    if not (augmentation is None or callable(augmentation)):
        raise invalid_argument("augmentation", "a function or None", augmentation)
    if are_batches(x):
        never = {"y": y, "batch_size": batch_size, "sample_weight": sample_weight}
        for argument, value in {**never, "augmentation": augmentation}.items():
            if value is not None:
                raise invalid_argument(argument, "None, since x comes in batches", value)
        batches = _checked_batches("x", x, model)
        if class_weight and (batches.has_weights or len(model.output_shape) > 2):
            expected = (
                "None where batches have weights, or labels at every step: put the classes' "
                "weights into the batches' third part"
            )
            raise invalid_argument("class_weight", expected, class_weight)
        return dataclasses.replace(batches, class_weight=class_weight)
    size = _BATCH_SIZE if batch_size is None else checked_integer("batch_size", batch_size)
    x, y = check_labeled("x and y", (_padded("x", x, model), y), model)
    weights = _checked_weights("sample_weight", sample_weight, y, model)
    if class_weight:
        labels = classes_of(y, model.output_shape)
        by_class = np.array([class_weight[one] for one in range(classes)], np.float32)[labels]
        if weights is not None:
            by_class *= weights.reshape(*weights.shape, *[1] * (labels.ndim - weights.ndim))
        weights = by_class
    return Arrays(x, y, weights, size, augmentation)


def checked_validation_data(model, data, training: Arrays | Batches) -> Arrays | Batches:
    """Checks what is to be validated with, before any work.

    Args:
        model: Built Keras model with one input and one output.
        data: Tuple of inputs, labels and, if so wished, weights, or batches of them, as
            `checked_training_data` takes them.
        training: `Arrays` or `Batches`, what is trained on, whose form the labels are to have.

    Returns:
        `Arrays` or `Batches`.

    Raises:
        ValueError: If something does not fit the model or the rest.
    """
    if are_batches(data):
        checked = _checked_batches("validation_data", data, model)
    else:
        weights = None
        if isinstance(data, (tuple, list)) and len(data) == 3:
            *data, weights = data
        if isinstance(data, (tuple, list)) and len(data) == 2:
            data = _padded("validation_data", data[0], model), data[1]
        x, labels = check_labeled("validation_data", data, model)
        weights = _checked_weights("validation_data", weights, labels, model)
        checked = Arrays(x, labels, weights)
    is_vector = are_vectors(training.y, model.output_shape)
    if is_vector != are_vectors(checked.y, model.output_shape):
        form = "vectors, a number for each class," if is_vector else "integers"
        raise invalid_argument("validation_data", f"labels that are {form} as y is", checked.y)
    return checked


def _padded(argument: str, x, model):
    """Returns a list of sequences of unequal length as one array, which Masking masks the ends of.

    What is no such list is returned as it is.
    """
    if not isinstance(x, (list, tuple)) or not x:
        return x
    try:
        sequences = [np.asarray(one, np.float32) for one in x]
    except (TypeError, ValueError):
        return x
    lengths = {len(one) for one in sequences if one.ndim == 2}
    steps, channels = model.input_shape[1:]
    if any(one.ndim != 2 or one.shape[1] != channels for one in sequences) or lengths <= {steps}:
        return x
    first = [one for one in model.layers if not isinstance(one, keras.layers.InputLayer)][0]
    is_masked = isinstance(first, keras.layers.Masking)
    if not is_masked and len(lengths) == 1:
        return x
    if not is_masked:
        expected = (
            "sequences of one length, or a model that begins with Masking, whose value they are "
            "padded with"
        )
        raise invalid_argument(argument, expected, f"{min(lengths)} to {max(lengths)} steps")
    if steps is not None and max(lengths) > steps:
        raise invalid_argument(argument, f"sequences of at most {steps} steps", max(lengths))
    value = first.mask_value
    if any((one == value).all(axis=1).any() for one in sequences):
        expected = f"steps that are not {value} in all channels, which Masking would skip"
        raise invalid_argument(argument, expected, "one that is")
    array = np.full((len(sequences), steps or max(lengths), channels), value, np.float32)
    for row, one in zip(array, sequences, strict=True):
        row[: len(one)] = one
    return array


def _read(batches) -> Iterator:
    if isinstance(batches, tf.data.Dataset):
        return iter(batches)
    return (batches[index] for index in range(len(batches)))


def _checked_batches(argument: str, given, model) -> Batches:
    """Reads all batches once."""
    if isinstance(given, tf.data.Dataset):
        is_endless = int(given.cardinality()) == tf.data.INFINITE_CARDINALITY
    else:
        is_endless = getattr(given, "num_batches", 0) is None
    if is_endless:
        raise invalid_argument(argument, "batches that end, an epoch's: no repeat()", given)
    rng, sample, sequences, batches, first = np.random.default_rng(0), [], 0, 0, None
    for batch in _read(given):
        if not (isinstance(batch, (tuple, list)) and len(batch) in (2, 3)):
            expected = "batches that are tuples of inputs, labels and, if so wished, weights"
            raise invalid_argument(argument, expected, type(batch).__name__)
        x, y = check_labeled(argument, tuple(map(np.asarray, batch[:2])), model)
        has_weights = len(batch) == 3
        if has_weights:
            _checked_weights(argument, np.asarray(batch[2]), y, model)
        form = are_vectors(y, model.output_shape), has_weights
        if first is None:
            first = form, y
        elif form != first[0]:
            raise invalid_argument(argument, "batches that have one form", "two")
        batches += 1
        for one in x:  # each of all is kept with the same probability
            place = sequences if sequences < CALIBRATION_SEQUENCES else rng.integers(sequences + 1)
            if place < CALIBRATION_SEQUENCES:
                sample[place : place + 1] = [one]
            sequences += 1
    if first is None:
        raise invalid_argument(argument, "at least one batch", "none")
    return Batches(given, first[1], first[0][1], batches, sequences, np.stack(sample))


def _checked_class_weight(class_weight, classes: int) -> dict | None:
    if class_weight is None:
        return None
    keys = np.arange(classes)
    if not isinstance(class_weight, dict) or not all(
        isinstance(key, numbers.Integral) and key in keys for key in class_weight
    ):
        expected = f"a dictionary from classes in [0, {classes - 1}] to numbers, or None"
        raise invalid_argument("class_weight", expected, class_weight)
    for value in class_weight.values():
        _check_weight("class_weight", value)
    return {int(key): float(class_weight.get(key, 1.0)) for key in keys}


def _check_weight(argument: str, value):
    if not (is_number(value) and 0.0 <= value < math.inf):
        raise invalid_argument(argument, "weights that are finite and not negative", value)


def _checked_weights(argument: str, weights, y, model) -> np.ndarray | None:
    if weights is None:
        return None
    shape = y.shape[: len(model.output_shape) - 1]
    shapes = [shape[:1], shape] if len(shape) > 1 else [shape]
    try:
        weights = np.asarray(weights)
    except ValueError as error:
        raise invalid_argument(argument, "weights that are an array", "lists") from error
    if weights.shape not in shapes:
        expected = f"weights of shape {' or '.join(map(str, shapes))}"
        raise invalid_argument(argument, expected, weights.shape)
    if weights.dtype.kind not in "fiu" or not np.isfinite(weights).all() or (weights < 0).any():
        wrong = (
            first_wrong(weights)
            if weights.dtype.kind not in "fiu"
            else (float(weights[~((weights >= 0) & (weights < math.inf))][0]))
        )
        raise invalid_argument(argument, "weights that are finite and not negative", wrong)
    return weights.astype(np.float32)


def _checked_inputs(augmented, shape) -> np.ndarray:
    expected = f"a function that returns finite numbers of shape {shape}"
    try:
        inputs = np.asarray(augmented)
    except ValueError as error:
        raise invalid_argument("augmentation", expected, augmented) from error
    if inputs.shape != shape:
        raise invalid_argument("augmentation", expected, augmented)
    if inputs.dtype.kind not in "fiu" or not np.isfinite(inputs).all():
        raise invalid_argument("augmentation", expected, first_wrong(inputs))
    return inputs
