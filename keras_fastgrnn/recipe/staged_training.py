"""Trains models in stages of epochs, each epoch of which can be the last before a stop."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from keras_fastgrnn.classification import ACCURACY, Metric, shown
from keras_fastgrnn.models import set_weights
from keras_fastgrnn.recipe.stage_callbacks import EpochRecorder, StageCallbacks
from keras_fastgrnn.recipe.training_data import Arrays, Batches
from keras_fastgrnn.recipe.training_state import TrainingState

# The stage of the names of `Stage` whose model is quantization-aware.
QUANTIZED = "quantized"

# Of the metric. What a stage began with is given only where the stage lost so much: the highest of
# many epochs at high rates is high by chance, and those of a later stage have lower rates.
LARGEST_LOSS = 0.02

# A metric is as exact as float32.
ROUNDING = 1e-7

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
        history: Dictionary from "loss", "accuracy", "val_loss", "val_accuracy" and, with another
            metric, "val_" and its name, to a list of one number an epoch, as in Keras's `History`.
        diverged: List of the epochs, counted from 1, that diverged.
        model: Keras model with the weights of the best epoch.
        best_weights: List of arrays, those weights.
        metric: String, the metric that tells which epoch is the best.
        start: Dictionary from the names that begin with "val_" to what the weights that the stage
            began with give; empty where they are not what the stage is to give, as weights without
            zeros are not where zeros are asked for.
        reference: Float, the highest metric of what might have been given before the stage.
        is_ended: Boolean, whether a callback ended the stage before its last epoch.
    """

    name: str
    epochs: int
    history: dict[str, list[float]] = field(default_factory=dict)
    diverged: list[int] = field(default_factory=list)
    model: Any = None
    best_weights: list[np.ndarray] = field(default_factory=list, repr=False)
    metric: str = ACCURACY
    start: dict[str, float] = field(default_factory=dict)
    reference: float = -np.inf
    is_ended: bool = False

    @property
    def trained_epochs(self) -> int:
        """How many epochs are done."""
        return len(self.history.get("val_loss", []))

    @property
    def is_done(self) -> bool:
        """Whether there is no epoch left to train."""
        return self.is_ended or self.trained_epochs >= self.epochs

    @property
    def best_epoch(self) -> int:
        """The epoch, counted from 1, of the highest metric, then the lowest loss.

        It is 0 where all diverged, or where even the best is worse than what the stage began with
        and two points or more below `reference`.
        """
        quality = {
            epoch: self._quality(epoch)
            for epoch in range(1, self.trained_epochs + 1)
            if epoch not in self.diverged
        }
        best = max(quality, key=quality.__getitem__, default=0)
        if best and self.start and quality[best] <= self._quality(0):
            return best if quality[best][0] > self.reference - LARGEST_LOSS + ROUNDING else 0
        return best

    @property
    def highest(self) -> float:
        """The highest metric that might be given after the stage."""
        return max([self.reference, self.score] if self.start else [self.score])

    @property
    def has_model(self) -> bool:
        """Whether any epoch, or what the stage began with, is what the stage is to give."""
        return bool(self.start) or self.best_epoch > 0

    @property
    def score(self) -> float:
        """The metric of the best epoch on the validation data."""
        return self._logged(f"val_{self.metric}", self.best_epoch)

    @property
    def validation_accuracy(self) -> float:
        """Accuracy of the best epoch on the validation data, in [0, 1]."""
        return self._logged("val_accuracy", self.best_epoch)

    @property
    def validation_loss(self) -> float:
        """Loss of the best epoch on the validation data."""
        return self._logged("val_loss", self.best_epoch)

    @property
    def best_logs(self) -> dict[str, float]:
        """What the best epoch gives on the validation data, by the names of `history`."""
        names = [name for name in self.history or self.start if name.startswith("val_")]
        return {name: self._logged(name, self.best_epoch) for name in names}

    def begin(self, weights: list, logs: dict, reference: float = -np.inf):
        """Records the weights that the stage begins with.

        Args:
            weights: List of arrays.
            logs: Dictionary as `start` has it; empty where the weights are not to be given.
            reference: Float, the highest metric of what might have been given before the stage.
                Defaults to that of `logs`.
        """
        self.start = logs
        self.reference = max(reference, logs[f"val_{self.metric}"]) if logs else -np.inf
        self.best_weights = weights if logs else []

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

    def _quality(self, epoch: int) -> tuple[float, float]:
        return self._logged(f"val_{self.metric}", epoch), -self._logged("val_loss", epoch)

    def _logged(self, name: str, epoch: int) -> float:
        return self.history[name][epoch - 1] if epoch else self.start[name]


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
        data: `Arrays` or `Batches`, to train on.
        validation_data: `Arrays` or `Batches`, to choose epochs by.
        rate: Function from a stage and the number of the epoch, counted from 0 through all stages,
            to the learning rate.
        seed: Integer, or `None` for any.
        drawn_seed: Integer, the seed, or where there is none that of `state`, or one that is drawn.
        state: `TrainingState`.
        is_silent: Boolean, whether to print nothing.
        metric: `Metric`, to choose epochs by.
        callbacks: List of Keras callbacks, for which each stage is a `fit` of its own whose epochs
            are counted through all stages.
    """

    stages: list[Stage]
    data: Arrays | Batches
    validation_data: Arrays | Batches
    rate: Callable[[Stage, int], float]
    seed: int | None
    state: TrainingState
    is_silent: bool
    metric: Metric = field(default_factory=Metric)
    callbacks: list = field(default_factory=list)
    drawn_seed: int = field(init=False)

    def __post_init__(self):
        text, self._arrays = self.state.read()
        self._stopped_in = text.get("stage")
        any_seed = text.get("seed", np.random.SeedSequence().entropy)
        self.drawn_seed = any_seed if self.seed is None else self.seed
        for stage in self.stages:
            stage.history = text.get("histories", {}).get(stage.name, {})
            stage.diverged = text.get("diverged", {}).get(stage.name, [])
            stage.start = text.get("starts", {}).get(stage.name, {})
            stage.reference = text.get("references", {}).get(stage.name, -np.inf)
            stage.is_ended = stage.name in text.get("ended", [])
            stage.metric = self.metric.name
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

    def validated(self, model) -> dict[str, float]:
        """Returns what a compiled model gives on the validation data, as a stage's history has it.

        Args:
            model: Keras model.
        """
        logs = model.evaluate(**self.validation_data.evaluated, return_dict=True, verbose=0)
        found = {f"val_{name}": float(value) for name, value in logs.items()}
        return found | self.metric.logs(model, self.validation_data)

    def train(
        self, model, stage: Stage, callbacks=(), start: dict | None = None, reference=-np.inf
    ):
        """Trains a stage, or what is left of it; prints a line an epoch.

        Args:
            model: Keras model that `begin` took, with the weights to begin with.
            stage: `Stage`.
            callbacks: Keras callbacks of the stage's own.
            start: Dictionary from the names of the stage's history that begin with "val_" to what
                the model gives before the stage, or `None` where that is not what the stage is to
                give. Defaults to `None`.
            reference: Float, the highest metric of what might have been given before the stage.
                Defaults to that of `start`.

        Raises:
            DivergedError: If every epoch diverges or has a loss that is not finite.
        """
        weights = model.get_weights()
        if stage.trained_epochs == 0:
            _assign(model.optimizer.variables, self._new_optimizer)
            stage.begin(weights, start or {}, reference)
        elif self._stopped_in == stage.name:
            weights = self._saved("start")
            _assign(_variables(model), self._saved("variables"))
        if not stage.is_done:
            self._train_epochs(model, stage, callbacks, weights)
        if not stage.has_model:
            raise DivergedError(
                f"The training diverged in every epoch of the {stage.name} stage. Give a lower "
                "learning_rate."
            )
        if not np.isfinite(stage.history["loss"]).any():
            raise DivergedError(
                f"No epoch of the {stage.name} stage had a finite loss. Check the data and the "
                "loss, or give a lower learning_rate."
            )

    def _train_epochs(self, model, stage: Stage, callbacks, start: list):
        before = self._epochs_before(stage)
        recorder = EpochRecorder(self.metric, self.validation_data)
        told = StageCallbacks(self.callbacks)
        told.begin_stage(model, epochs=before + stage.epochs, steps=self.data.batches)
        while not stage.is_done:
            logs = self._train_epoch(model, stage, [recorder, *callbacks, told])
            has_diverged = self._has_diverged(logs)
            stage.add(logs, recorder.weights, has_diverged)
            stage.is_ended = bool(model.stop_training)
            if has_diverged:
                set_weights(model, stage.best_weights or start)
                _assign(model.optimizer.variables, self._new_optimizer)
            self._save(model, stage, start)
            if not self.is_silent:
                print(_line(stage), flush=True)
        told.end_stage()

    def _epochs_before(self, stage: Stage) -> int:
        return sum(one.epochs for one in self.stages[: self.stages.index(stage)])

    def _train_epoch(self, model, stage: Stage, callbacks) -> dict:
        number = self._epochs_before(stage) + stage.trained_epochs
        halvings = sum(len(one.diverged) for one in self.stages)
        model.optimizer.learning_rate = self.rate(stage, number) * 0.5**halvings
        history = model.fit(
            **self.data.epoch(np.random.default_rng([self.drawn_seed, number])),
            validation_data=self.validation_data.given,
            callbacks=callbacks,
            shuffle=False,
            initial_epoch=number,
            epochs=number + 1,
            verbose=0,
        )
        return {name: values[0] for name, values in history.history.items()}

    def _has_diverged(self, logs) -> bool:
        # A batch that overflowed makes the epoch's loss NaN, but changes no weights.
        first_losses = [one.history["loss"][0] for one in self.stages if one.history]
        largest = max(filter(np.isfinite, first_losses), default=np.inf)
        limit = largest + (_DIVERGED - 1.0) * abs(largest)  # a loss may be negative
        validated = logs["val_loss"], logs[f"val_{self.metric.name}"]
        return bool(logs["loss"] > limit or not np.isfinite(validated).all())

    def _save(self, model, stage: Stage, start):
        text = {
            "stage": stage.name,
            "seed": self.drawn_seed,
            "histories": {one.name: one.history for one in self.stages},
            "diverged": {one.name: one.diverged for one in self.stages},
            "starts": {one.name: one.start for one in self.stages},
            "references": {one.name: one.reference for one in self.stages},
            "ended": [one.name for one in self.stages if one.is_ended],
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


def _variables(model) -> list:
    return [*model.variables, *model.optimizer.variables]


def _arrays(variables) -> list[np.ndarray]:
    return [variable.numpy() for variable in variables]


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
    if stage.metric != ACCURACY:
        line += f", {stage.metric} {stage.history[f'val_{stage.metric}'][-1]:.4f}"
    if stage.trained_epochs in stage.diverged:
        return f"{line}: diverged, so it goes on from epoch {stage.best_epoch} with half the rate"
    best = shown(stage.metric, stage.score)
    return f"{line} (best {best} in epoch {stage.best_epoch})"


def _ignore_overflow(optimizer):
    apply_gradients = optimizer.apply_gradients

    @functools.wraps(apply_gradients)
    def apply_finite_gradients(gradients_and_variables, *args, **kwargs):
        gradients, variables = zip(*gradients_and_variables, strict=True)
        is_finite = tf.math.is_finite(tf.linalg.global_norm(gradients))
        finite = [tf.where(is_finite, gradient, 0.0) for gradient in gradients]
        return apply_gradients(list(zip(finite, variables, strict=True)), *args, **kwargs)

    optimizer.apply_gradients = apply_finite_gradients
