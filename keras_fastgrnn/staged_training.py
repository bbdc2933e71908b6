"""Trains models in stages of epochs, each epoch of which can be the last before a stop."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf

from keras_fastgrnn.classification import first_wrong
from keras_fastgrnn.keras_api import invalid_argument
from keras_fastgrnn.models import set_weights
from keras_fastgrnn.training_state import TrainingState

# An epoch has diverged if its loss is above this many times the largest of a stage's first epoch.
_DIVERGED = 1.25


class DivergedError(ValueError):
    """A stage of a training gave no model."""


@dataclass
class Stage:
    """One stage of a training.

    Attributes:
        name: String, "dense", "pruned", "frozen" or "quantized".
        epochs: Integer, passes over the training data.
        history: Dictionary from "loss", "accuracy", "val_loss" and "val_accuracy" to a list of
            one number an epoch, as in Keras's `History`.
        diverged: List of the epochs, counted from 1, that diverged.
        model: Keras model with the weights of the best epoch.
        best_weights: List of arrays, those weights.
    """

    name: str
    epochs: int
    history: dict[str, list[float]] = field(default_factory=dict)
    diverged: list[int] = field(default_factory=list)
    model: object = None
    best_weights: list[np.ndarray] = field(default_factory=list, repr=False)

    @property
    def trained_epochs(self) -> int:
        """How many epochs are done."""
        return len(self.history.get("val_loss", []))

    @property
    def best_epoch(self) -> int:
        """The epoch, counted from 1, of the highest validation accuracy, then the lowest loss.

        It is 0 where all epochs diverged.
        """
        accuracies, losses = self.history["val_accuracy"], self.history["val_loss"]
        quality = {
            epoch: (accuracy, -loss)
            for epoch, (accuracy, loss) in enumerate(zip(accuracies, losses, strict=True), 1)
            if epoch not in self.diverged
        }
        return max(quality, key=quality.get, default=0)

    @property
    def validation_accuracy(self) -> float:
        """Accuracy of the best epoch on the validation data, in [0, 1]."""
        return self.history["val_accuracy"][self.best_epoch - 1]

    def add(self, logs: dict, weights: list, has_diverged: bool = False):
        """Records an epoch, and its weights if they are the best so far.

        Args:
            logs: Dictionary from name to number.
            weights: List of arrays.
            has_diverged: Boolean, whether the epoch diverged. Defaults to `False`.
        """
        for name, value in logs.items():
            self.history.setdefault(name, []).append(float(value))
        if has_diverged:
            self.diverged.append(self.trained_epochs)
        if self.best_epoch == self.trained_epochs:
            self.best_weights = weights


@dataclass
class StagedTraining:
    """Data, stages, and where the training is.

    Each epoch begins from what `state` can hold: the variables of model and optimizer, and the
    order of the batches, which follows from the seed and the number of the epoch. So one that was
    stopped goes on as if it had not been.

    A stage begins with a new optimizer, and with the weights that the model has. After an epoch
    that diverged it goes on from its best one so far, with a new optimizer and half the learning
    rate.

    Attributes:
        stages: List of `Stage`.
        data: Tuple of inputs and labels.
        validation_data: Tuple of inputs and labels.
        batch_size: Integer.
        rate: Function from a stage and the number of the epoch, counted from 0 through all stages,
            to the learning rate.
        augmentation: Function from inputs and a generator to inputs, or `None`.
        seed: Integer, or `None` for any.
        state: `TrainingState`.
        is_silent: Boolean, whether to print nothing.
    """

    stages: list[Stage]
    data: tuple[np.ndarray, np.ndarray]
    validation_data: tuple[np.ndarray, np.ndarray]
    batch_size: int
    rate: Callable[[Stage, int], float]
    augmentation: Callable | None
    seed: int | None
    state: TrainingState
    is_silent: bool

    def __post_init__(self):
        text, self._arrays = self.state.read()
        self._stopped_in = text.get("stage")
        if self.seed is None:
            self.seed = text.get("seed", np.random.SeedSequence().entropy)
        for stage in self.stages:
            stage.history = text.get("histories", {}).get(stage.name, {})
            stage.diverged = text.get("diverged", {}).get(stage.name, [])
            stage.best_weights = self._saved(stage.name)

    def begin(self, model):
        """Prepares a compiled model.

        Its optimizer takes gradients that are not finite for 0 from now on: a gradient through a
        hundred steps can overflow.

        Args:
            model: Keras model.
        """
        model.optimizer.build(model.trainable_variables)
        self._new_optimizer = _arrays(model.optimizer.variables)
        _ignore_overflow(model.optimizer)

    def train(self, model, stage: Stage, callbacks=()):
        """Trains the epochs of a stage that are not done yet.

        Args:
            model: Keras model that `begin` took.
            stage: `Stage`.
            callbacks: Keras callbacks.

        Raises:
            DivergedError: If every epoch diverges or has a loss that is not finite.
        """
        start = model.get_weights()
        if stage.trained_epochs == 0:
            _assign(model.optimizer.variables, self._new_optimizer)
        elif self._stopped_in == stage.name:
            start = self._saved("start")
            _assign(_variables(model), self._saved("variables"))
        while stage.trained_epochs < stage.epochs:
            logs = self._train_epoch(model, stage, callbacks)
            has_diverged = self._has_diverged(logs)
            stage.add(logs, model.get_weights(), has_diverged)
            if has_diverged:
                set_weights(model, stage.best_weights or start)
                _assign(model.optimizer.variables, self._new_optimizer)
            self._save(model, stage, start)
            if not self.is_silent:
                print(_line(stage), flush=True)
        if not stage.best_epoch:
            raise DivergedError(
                f"The training diverged in every epoch of the {stage.name} stage. Give a lower "
                "learning_rate."
            )
        if not np.isfinite(stage.history["loss"]).any():
            raise DivergedError(
                f"No epoch of the {stage.name} stage had a finite loss. Check the data and the "
                "loss, or give a lower learning_rate."
            )

    def _train_epoch(self, model, stage: Stage, callbacks) -> dict:
        number = sum(one.trained_epochs for one in self.stages)
        halvings = sum(len(one.diverged) for one in self.stages)
        model.optimizer.learning_rate = self.rate(stage, number) * 0.5**halvings
        x, y = self._shuffled(number)
        history = model.fit(
            x,
            y,
            batch_size=self.batch_size,
            shuffle=False,
            validation_data=self.validation_data,
            callbacks=list(callbacks),
            verbose=0,
        )
        return {name: values[0] for name, values in history.history.items()}

    def _has_diverged(self, logs) -> bool:
        # A batch that overflowed makes the epoch's loss NaN, but changes no weights.
        first_losses = [one.history["loss"][0] for one in self.stages if one.history]
        largest = max(filter(np.isfinite, first_losses), default=np.inf)
        limit = largest + (_DIVERGED - 1.0) * abs(largest)  # a loss may be negative
        return bool(logs["loss"] > limit or not np.isfinite(logs["val_loss"]))

    def _shuffled(self, number: int):
        x, y = self.data
        rng = np.random.default_rng([self.seed, number])
        order = rng.permutation(len(x))
        if self.augmentation is None:
            return x[order], y[order]
        return _checked_inputs(self.augmentation(x[order], rng), x.shape), y[order]

    def _save(self, model, stage: Stage, start):
        text = {
            "stage": stage.name,
            "seed": self.seed,
            "histories": {one.name: one.history for one in self.stages},
            "diverged": {one.name: one.diverged for one in self.stages},
        }
        groups = {one.name: one.best_weights for one in self.stages}
        groups |= {"start": start, "variables": _arrays(_variables(model))}
        arrays = {
            f"{group}/{index}": array
            for group, members in groups.items()
            for index, array in enumerate(members)
        }
        self.state.write(text, arrays)

    def _saved(self, group: str) -> list[np.ndarray]:
        return [array for name, array in self._arrays.items() if name.startswith(f"{group}/")]


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


def _variables(model) -> list:
    return [*model.variables, *model.optimizer.variables]


def _arrays(variables) -> list[np.ndarray]:
    return [np.asarray(variable) for variable in variables]


def _assign(variables, values):
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _line(stage: Stage) -> str:
    loss, accuracy, validation = (
        stage.history[name][-1] for name in ("loss", "accuracy", "val_accuracy")
    )
    line = (
        f"{stage.name} {stage.trained_epochs}/{stage.epochs}: loss {loss:.4f}, "
        f"accuracy {100 * accuracy:.2f} %, validation {100 * validation:.2f} %"
    )
    if stage.trained_epochs in stage.diverged:
        return f"{line}: diverged, so it goes on from epoch {stage.best_epoch} with half the rate"
    return f"{line} (best {100 * stage.validation_accuracy:.2f} % in epoch {stage.best_epoch})"


def _ignore_overflow(optimizer):
    apply_gradients = optimizer.apply_gradients

    @functools.wraps(apply_gradients)
    def apply_finite_gradients(gradients_and_variables, *args, **kwargs):
        gradients, variables = zip(*gradients_and_variables, strict=True)
        is_finite = tf.math.is_finite(tf.linalg.global_norm(gradients))
        finite = [tf.where(is_finite, gradient, 0.0) for gradient in gradients]
        return apply_gradients(list(zip(finite, variables, strict=True)), *args, **kwargs)

    optimizer.apply_gradients = apply_finite_gradients
