"""Trains models in stages of epochs, each epoch of which can be the last before a stop."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf

from keras_fastgrnn.keras_api import invalid_argument
from keras_fastgrnn.training_state import TrainingState


@dataclass
class Stage:
    """One stage of a training.

    Attributes:
        name: String, "dense", "pruned", "frozen" or "quantized".
        epochs: Integer, passes over the training data.
        history: Dictionary from "loss", "accuracy", "val_loss" and "val_accuracy" to a list of
            one number an epoch, as in Keras's `History`.
        model: Keras model with the weights of the best epoch.
        best_weights: List of arrays, those weights.
    """

    name: str
    epochs: int
    history: dict[str, list[float]] = field(default_factory=dict)
    model: object = None
    best_weights: list[np.ndarray] = field(default_factory=list, repr=False)

    @property
    def trained_epochs(self) -> int:
        """How many epochs are done."""
        return len(self.history.get("val_loss", []))

    @property
    def best_epoch(self) -> int:
        """The epoch, counted from 1, of the highest validation accuracy, then the lowest loss."""
        accuracies, losses = self.history["val_accuracy"], self.history["val_loss"]
        quality = [(a, -loss) for a, loss in zip(accuracies, losses, strict=True)]
        return 1 + quality.index(max(quality))

    @property
    def validation_accuracy(self) -> float:
        """Accuracy of the best epoch on the validation data, in [0, 1]."""
        return self.history["val_accuracy"][self.best_epoch - 1]

    def add(self, logs: dict, weights: list):
        """Records an epoch, and its weights if they are the best so far.

        Args:
            logs: Dictionary from name to number.
            weights: List of arrays.
        """
        for name, value in logs.items():
            self.history.setdefault(name, []).append(float(value))
        if self.best_epoch == self.trained_epochs:
            self.best_weights = weights


@dataclass
class StagedTraining:
    """Data, stages, and where the training is.

    Each epoch begins from what `state` can hold: the variables of model and optimizer, and the
    order of the batches, which follows from the seed and the number of the epoch. So one that was
    stopped goes on as if it had not been.

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
            stage.best_weights = self._saved(stage.name)

    def begin(self, model, stages: list[Stage]):
        """Takes a compiled model, and gives it the variables it was stopped with.

        Args:
            model: Keras model, whose optimizer takes gradients that are not finite for 0 from now
                on: a gradient through a hundred steps can overflow.
            stages: List of the stages that train it.
        """
        model.optimizer.build(model.trainable_variables)
        _ignore_overflow(model.optimizer)
        if self._stopped_in in [stage.name for stage in stages]:
            for variable, value in zip(_variables(model), self._saved("variables"), strict=True):
                variable.assign(value)

    def train(self, model, stage: Stage, callbacks=()):
        """Trains the epochs of a stage that are not done yet.

        Args:
            model: Keras model that `begin` took.
            stage: `Stage`.
            callbacks: Keras callbacks.

        Raises:
            ValueError: If the training diverges.
        """
        while stage.trained_epochs < stage.epochs:
            number = sum(one.trained_epochs for one in self.stages)
            model.optimizer.learning_rate = self.rate(stage, number)
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
            logs = {name: values[0] for name, values in history.history.items()}
            if not np.isfinite(logs["val_loss"]):
                raise ValueError(
                    f"The training diverged: the validation loss is {logs['val_loss']} after epoch "
                    f"{stage.trained_epochs + 1} of the {stage.name} stage. Give a lower "
                    "learning_rate."
                )
            stage.add(logs, model.get_weights())
            self._save(model, stage)
            if not self.is_silent:
                print(_line(stage), flush=True)

    def _shuffled(self, number: int):
        x, y = self.data
        rng = np.random.default_rng([self.seed, number])
        order = rng.permutation(len(x))
        if self.augmentation is None:
            return x[order], y[order]
        augmented = np.asarray(self.augmentation(x[order], rng))
        if augmented.shape != x.shape:
            expected = f"a function that returns inputs of shape {x.shape}"
            raise invalid_argument("augmentation", expected, augmented.shape)
        return augmented, y[order]

    def _save(self, model, stage: Stage):
        text = {
            "stage": stage.name,
            "seed": self.seed,
            "histories": {one.name: one.history for one in self.stages},
        }
        groups = {one.name: one.best_weights for one in self.stages}
        groups["variables"] = map(np.asarray, _variables(model))
        arrays = {
            f"{group}/{index}": array
            for group, members in groups.items()
            for index, array in enumerate(members)
        }
        self.state.write(text, arrays)

    def _saved(self, group: str) -> list[np.ndarray]:
        return [array for name, array in self._arrays.items() if name.startswith(f"{group}/")]


def _variables(model) -> list:
    return [*model.variables, *model.optimizer.variables]


def _line(stage: Stage) -> str:
    loss, accuracy, validation = (
        stage.history[name][-1] for name in ("loss", "accuracy", "val_accuracy")
    )
    return (
        f"{stage.name} {stage.trained_epochs}/{stage.epochs}: loss {loss:.4f}, "
        f"accuracy {100 * accuracy:.2f} %, validation {100 * validation:.2f} % "
        f"(best {100 * stage.validation_accuracy:.2f} % in epoch {stage.best_epoch})"
    )


def _ignore_overflow(optimizer):
    apply_gradients = optimizer.apply_gradients

    @functools.wraps(apply_gradients)
    def apply_finite_gradients(gradients_and_variables, *args, **kwargs):
        gradients, variables = zip(*gradients_and_variables, strict=True)
        is_finite = tf.math.is_finite(tf.linalg.global_norm(gradients))
        finite = [tf.where(is_finite, gradient, 0.0) for gradient in gradients]
        return apply_gradients(list(zip(finite, variables, strict=True)), *args, **kwargs)

    optimizer.apply_gradients = apply_finite_gradients
