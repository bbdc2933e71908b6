"""The paper's training in one call: low rank, sparse and quantized ("LSQ")."""

import functools
import math
import os
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from keras_fastgrnn import masks, sparsity
from keras_fastgrnn.classification import accuracy_metric, checked_metric, loss_for
from keras_fastgrnn.keras_api import (
    FLAVOR,
    Data,
    checked_boolean,
    checked_integer,
    checked_verbose,
    invalid_argument,
    is_integer,
    is_number,
    keras,
)
from keras_fastgrnn.models import (
    check_built,
    check_finite,
    copied,
    matrices_of,
    recurrent_cells,
    set_weights,
    weight_name,
)
from keras_fastgrnn.quantization import quantize_aware
from keras_fastgrnn.recipe import learning_rates
from keras_fastgrnn.recipe.lsq_result import LSQResult, TrainingWarning
from keras_fastgrnn.recipe.stage_callbacks import check_callbacks
from keras_fastgrnn.recipe.staged_training import QUANTIZED, Stage, StagedTraining
from keras_fastgrnn.recipe.training_data import checked_training_data, checked_validation_data
from keras_fastgrnn.recipe.training_state import TrainingState
from keras_fastgrnn.replicas import check_scope

_FLOAT_STAGES = ("dense", "pruned", "frozen")

# The quantized stage begins with this part of the highest learning rate.
_QUANTIZED_RATE = 0.1

_SPARSITIES = {"kernel": "kernel_sparsity", "recurrent_kernel": "recurrent_sparsity"}

_LARGEST_GRADIENT = 1.0
_OPTIMIZERS = {
    "adam": functools.partial(keras.optimizers.Adam, global_clipnorm=_LARGEST_GRADIENT),
    "nesterov": functools.partial(
        keras.optimizers.SGD, momentum=0.9, nesterov=True, global_clipnorm=_LARGEST_GRADIENT
    ),
}


def fit_lsq(
    model: keras.Model,
    x: Data,
    y: Data = None,
    *,
    validation_data: Data,
    kernel_sparsity: float = 0.0,
    recurrent_sparsity: float = 0.0,
    frequency: int = 15,
    epochs: int = 300,
    batch_size: int | None = None,
    learning_rate: float | Callable[[int], float] = 2e-2,
    optimizer: str | Callable = "adam",
    loss: Any = None,
    class_weight: dict | None = None,
    sample_weight: Data = None,
    metric: str | Callable = "accuracy",
    callbacks: Any = None,
    augmentation: Callable | None = None,
    quantization: str | None = "int16x8",
    weight_bits: int = 8,
    quantization_epochs: int | None = None,
    quantization_options: dict | None = None,
    checkpoint: str | bytes | os.PathLike | None = None,
    seed: int | None = None,
    jit_compile: bool = False,
    verbose: int = 1,
) -> LSQResult:
    """Trains a model by the paper's recipe: dense, pruned, with a frozen support, quantized.

    1. "dense": all weights train.
    2. "pruned": every `frequency` batches the smallest weights of each matrix of a cell, or of
       each of its factors, become zero, and stay so until the next time.
    3. "frozen": the weights that are zero stay zero.
    4. "quantized": quantization-aware training of the model that 3 gave, with zeros that stay
       zero.

    The first three take a third of `epochs` each. Over them the learning rate rises for a fifth of
    the epochs and then falls by a cosine to a hundredth; the fourth begins with a tenth of the
    highest rate, and falls likewise. Low rank is a matter of the model: give its cells
    `kernel_rank` and `recurrent_rank`, or use `low_rank.factorize`.

    Each stage gives its best epoch, by `metric` on the validation data, then by loss, and the next
    one goes on from there. Where that is two points (0.02 of the metric) or more below what the
    stages before could have given, it gives what it began with: of many epochs at high rates the
    best one is good by chance, so less than that does not count against a later one. Where zeros
    are asked for, models without them are not given from the second stage on; in the fourth, what
    was rounded without any training may be. A `TrainingWarning` tells where the model that is
    returned is a point or more below an earlier stage's.

    Gradients through a hundred steps can overflow: a batch with one that is not finite changes
    nothing. After an epoch that diverged, which is one whose loss is far above that of the first
    epoch or whose validation loss is not finite, the stage goes on from its best epoch, with half
    the learning rate.

    Args:
        model: Built Keras model, as `quantization.quantize_aware` takes it: a chain of
            Normalization, FastRNN, FastGRNN, GRU, LSTM, SimpleRNN, Dense and the like that ends
            with a Dense layer. The
            first three stages train it itself; it need not be compiled.
        x: Array of shape `(samples, steps, input_dim)`, the training inputs; or, for a model that
            begins with a Masking layer, a list of arrays of shape `(steps, input_dim)`, of unequal
            lengths, which are padded with what that layer masks; or a `tf.data.Dataset` or
            `keras.utils.PyDataset` (in tf_keras `Sequence`) of batches that are tuples of inputs,
            labels and, if so wished, weights, as Keras's `fit` takes it. Batches come in their own
            order, are read once before training, and need an end.
        y: Labels: integers of shape `(samples,)`, or vectors of the output's shape, one-hot or of
            probabilities that add up to 1, as a larger model gives them for distillation; of shape
            `(samples, steps)` and so on where the model answers at every step. Defaults to `None`,
            where `x` comes in batches.
        validation_data: Tuple of inputs, labels and, if so wished, weights, or batches of them, of
            the same form, to choose epochs by: of training, not of the test data, and of other
            people or machines than `x` is of. With weights, the accuracy and macro F1 count by
            them: those of padded steps are to be 0.
        kernel_sparsity: Number in [0, 1), the fraction of the weights of W that become zero; the
            paper's `s_w` is the fraction that does not. Defaults to 0.
        recurrent_sparsity: Number in [0, 1), likewise of U. Defaults to 0.
        frequency: Positive integer, batches from one threshold to the next. Defaults to 15.
        epochs: Positive integer, a multiple of 3, passes over the training data in the first
            three stages. Defaults to 300.
        batch_size: Positive integer. Defaults to `None`, 64, or what comes in batches.
        learning_rate: Positive number, the highest, or a function from the number of the epoch,
            counted from 0 on through all stages, to the learning rate of that epoch. Defaults to
            0.02.
        optimizer: "adam", "nesterov" (momentum 0.9), both with gradients of a norm up to 1, or a
            function from a learning rate to a Keras optimizer. Defaults to "adam".
        loss: Keras loss. Defaults to `None`, the cross-entropy of the outputs and labels; outputs
            that softmax or sigmoid do not end are logits.
        class_weight: Dictionary from classes to numbers that are not negative, which the loss of
            their sequences, or steps, is multiplied by; 1 for a class that it lacks. Defaults to
            `None`.
        sample_weight: Array of such numbers, of shape `(samples,)`, or `(samples, steps)` where
            the model answers at every step. Defaults to `None`.
        metric: What epochs are chosen by: "accuracy"; "macro_f1", the mean F1 of the classes,
            for classes of which some are rare; or a function from the validation labels and the
            model's outputs, as two arrays, to a number, the higher the better. Defaults to
            "accuracy".
        callbacks: Keras callback, or list of them. Each stage is a `fit` of its own for them,
            whose epochs are counted through all stages; one that stops training, as EarlyStopping
            does, ends its stage. What they keep is not in the checkpoint. Defaults to `None`.
        augmentation: Function from inputs and a `numpy.random.Generator` to inputs of the same
            shape, called on all of `x`, in another order, before each epoch. Defaults to `None`.
        quantization: "int16x8", "int8", or `None` for no fourth stage. Defaults to "int16x8".
        weight_bits: Integer, 8 or 4, bits of a quantized weight. Defaults to 8.
        quantization_epochs: Positive integer, epochs of the fourth stage. Defaults to `None`, a
            tenth of `epochs`.
        quantization_options: Dictionary of further arguments of `quantize_aware`. Defaults to
            `None`.
        checkpoint: Path of a folder in which each epoch leaves what it takes to go on. The same
            call, after the process was stopped, goes on from there, and gives the model that it
            would have given, provided that batches come in the same order. Defaults to `None`.
        seed: Integer, not negative, of the order of the batches and of the augmentation. The
            weights to start from are those of `model`; dropout has seeds of its own, and tf_keras
            draws it anew after a stop. Defaults to `None`, another one each time.
        jit_compile: Boolean, whether XLA compiles the training step. Defaults to `False`.
        verbose: 0 for silence, 1 for one line an epoch. Defaults to 1.

    Returns:
        `LSQResult`: its `model` and its `stages`.

    Raises:
        TypeError: If `model` is not a model of this process's Keras.
        ValueError: If an argument is out of its range, the data does not fit the model, the
            model cannot be quantized or was made in another `strategy.scope()` than that of the
            call, `checkpoint` holds another training, or every epoch of a stage that has nothing
            better diverges or has a loss that is not finite.

    Example:

    >>> import numpy as np
    >>> from keras_fastgrnn import FastGRNN, export, keras, recipe
    >>> keras.utils.set_random_seed(0)
    >>> x = np.random.default_rng(0).normal(size=(80, 10, 3)).astype("float32")
    >>> y = (x[:, :, 0].sum(axis=1) > 0).astype(int)
    >>> model = keras.Sequential([keras.layers.Input((10, 3)), FastGRNN(8), keras.layers.Dense(2)])
    >>> result = recipe.fit_lsq(
    ...     model, x[:60], y[:60], validation_data=(x[60:], y[60:]), recurrent_sparsity=0.5,
    ...     epochs=30, class_weight={0: 1.0, 1: 2.0}, metric="macro_f1", seed=0, verbose=0,
    ... )
    >>> [stage.name for stage in result.stages]
    ['dense', 'pruned', 'frozen', 'quantized']
    >>> deployed = export.convert(result.model)

    Batches, here with weights, may come from a `tf.data.Dataset`:

    >>> import tensorflow as tf
    >>> weights = np.where(y == 1, 2.0, 1.0)
    >>> batches = tf.data.Dataset.from_tensor_slices((x, y, weights)).shuffle(80, seed=0).batch(20)
    >>> model = keras.Sequential([keras.layers.Input((10, 3)), FastGRNN(8), keras.layers.Dense(2)])
    >>> result = recipe.fit_lsq(
    ...     model, batches, validation_data=(x, y), epochs=3, seed=0, verbose=0,
    ... )

    Reference:
        Kusupati et al., NeurIPS 2018, sections 3.2 and 4 (https://arxiv.org/abs/1901.02358)
    """
    check_built(model)
    recurrent_cells(model)
    check_scope(model)
    check_finite(model)
    data = checked_training_data(
        model,
        x,
        y,
        batch_size=batch_size,
        class_weight=class_weight,
        sample_weight=sample_weight,
        augmentation=augmentation,
    )
    validation = checked_validation_data(model, validation_data, data)
    chosen_by = checked_metric(metric)
    listed = check_callbacks(callbacks)
    _check_choices(quantization_options, jit_compile, verbose)
    if checked_integer("epochs", epochs) % len(_FLOAT_STAGES):
        raise invalid_argument("epochs", "a multiple of 3", epochs)
    stages = [Stage(name, epochs // len(_FLOAT_STAGES)) for name in _FLOAT_STAGES]
    sparsities = {"kernel": kernel_sparsity, "recurrent_kernel": recurrent_sparsity}
    steps = stages[0].epochs * data.batches
    pruning = _pruning(model, sparsities, checked_integer("frequency", frequency), steps)
    options = {"weight_bits": weight_bits, **(quantization_options or {})}
    if options["weight_bits"] not in (8, 4):
        raise invalid_argument("weight_bits", "4 or 8", options["weight_bits"])
    if quantization is not None:
        quantize_aware(model, quantization, **options)  # its errors come before any work
        last_epochs = math.ceil(epochs / 10) if quantization_epochs is None else quantization_epochs
        stages.append(Stage(QUANTIZED, checked_integer("quantization_epochs", last_epochs)))
    rate = _checked_rate(learning_rate, epochs)
    for number in range(sum(stage.epochs for stage in stages)):
        rate(stages[0], number)
    make_optimizer = _checked_optimizer(optimizer)
    settings = {
        **sparsities,
        "frequency": frequency,
        "epochs": [stage.epochs for stage in stages],
        "batch_size": batch_size,
        "learning_rate": None if callable(learning_rate) else learning_rate,
        "optimizer": None if callable(optimizer) else optimizer,
        "class_weight": repr(class_weight),
        "metric": chosen_by.name,
        "quantization": [quantization, repr(options)],
        "weights": [weight.shape for weight in model.get_weights()],
        "data": [data.identity, validation.identity],
        **({} if seed is None else {"seed": _checked_seed(seed)}),
    }
    training = StagedTraining(
        stages=stages,
        data=data,
        validation_data=validation,
        rate=rate,
        seed=seed,
        state=TrainingState(checkpoint, settings),
        is_silent=not verbose,
        metric=chosen_by,
        callbacks=listed,
    )
    chosen_by.logs(model, validation)  # a function's errors, too, come before any work

    def begin(trained_model, stage):
        counted = "weighted_metrics" if validation.has_weights else "metrics"
        trained_model.compile(
            make_optimizer(training.rate(stage, 0)),
            loss_for(model, data.y) if loss is None else loss,
            **{counted: [accuracy_metric(model, data.y)]},
            jit_compile=bool(jit_compile),
        )
        training.begin(trained_model)

    begin(model, stages[0])
    start, reference = None, -math.inf
    for stage in stages[:3]:
        training.train(model, stage, pruning[stage.name], start, reference)
        set_weights(model, stage.best_weights)
        stage.model = copied(model)
        # Weights without zeros are not what a stage with zeros is to give.
        if stage.name != "dense" or not any(sparsities.values()):
            start, reference = stage.best_logs, stage.highest
    stages[2].model = model
    if quantization is not None:
        stage = stages[3]
        given = options.get("calibration_data")
        drawn = data.calibration_data(training.drawn_seed) if given is None else given
        stage.model = quantize_aware(model, quantization, **{**options, "calibration_data": drawn})
        begin(stage.model, stage)
        rounded = training.validated(stage.model)
        training.train(stage.model, stage, pruning["frozen"], rounded, reference)
        set_weights(stage.model, stage.best_weights)
    result = LSQResult(
        stages, options["weight_bits"], bias_bytes=1 if options.get("byte_biases") else 4
    )
    if result.warning:
        warnings.warn(result.warning, TrainingWarning, stacklevel=2)
    return result


def _pruning(model, sparsities, frequency, steps) -> dict[str, list]:
    """Returns the callbacks of each float stage, each of so many steps."""
    schedules = {}
    for name, fraction in sparsities.items():
        argument = _SPARSITIES[name]
        if not (is_number(fraction) and 0.0 <= fraction < 1.0):
            raise invalid_argument(argument, "a number in [0, 1)", fraction)
        for cell in recurrent_cells(model):
            for weight in matrices_of(cell, name):
                if not masks.largest(np.ones(weight.shape), fraction, "rounded").any():
                    expected = f"one that keeps a weight of {weight_name(weight)}"
                    raise invalid_argument(argument, expected, fraction)
        if fraction > 0.0:
            schedules[name] = sparsity.IterativeHardThresholding(fraction, 1, steps + 1, frequency)
    if not schedules:
        return dict.fromkeys(_FLOAT_STAGES, [])
    return {
        "dense": [],
        "pruned": [sparsity.PruneLowMagnitude(**schedules)],
        "frozen": [sparsity.PruneLowMagnitude(**dict.fromkeys(schedules, "frozen"))],
    }


def _checked_rate(learning_rate, epochs: int) -> Callable[[Stage, int], float]:
    """Returns the function from a stage and the number of the epoch to the learning rate."""
    if callable(learning_rate):
        return lambda stage, epoch: _rate_of_epoch(learning_rate, epoch)
    if not (is_number(learning_rate) and 0.0 < learning_rate < math.inf):
        raise invalid_argument("learning_rate", "a positive number or a function", learning_rate)
    return functools.partial(_default_rate, learning_rate, epochs)


def _default_rate(highest: float, epochs: int, stage: Stage, epoch: int) -> float:
    if stage.name == QUANTIZED:
        return learning_rates.fallen(_QUANTIZED_RATE * highest, epoch - epochs, stage.epochs)
    return learning_rates.risen_and_fallen(highest, epoch, epochs)


def _rate_of_epoch(function, epoch: int) -> float:
    value = function(epoch)
    try:
        rate = float(value)
    except (TypeError, ValueError):
        rate = math.nan
    if not 0.0 < rate < math.inf:
        expected = f"a function that returns a positive number for epoch {epoch}"
        raise invalid_argument("learning_rate", expected, value)
    return rate


def _checked_optimizer(optimizer) -> Callable:
    """Returns the function from a learning rate to a new optimizer."""
    if isinstance(optimizer, str) and optimizer in _OPTIMIZERS:
        return _OPTIMIZERS[optimizer]
    if not callable(optimizer):
        expected = f"{' or '.join(map(repr, _OPTIMIZERS))}, or a function"
        raise invalid_argument("optimizer", expected, optimizer)

    def make(rate):
        made = optimizer(rate)
        if not isinstance(made, keras.optimizers.Optimizer):
            raise invalid_argument("optimizer", f"a function to a {FLAVOR} optimizer", made)
        return made

    return make


def _check_choices(quantization_options, jit_compile, verbose):
    if not (quantization_options is None or isinstance(quantization_options, dict)):
        expected = "a dictionary or None"
        raise invalid_argument("quantization_options", expected, quantization_options)
    checked_boolean("jit_compile", jit_compile)
    checked_verbose(verbose)


def _checked_seed(seed) -> int:
    if not (is_integer(seed) and seed >= 0):
        raise invalid_argument("seed", "an integer that is not negative, or None", seed)
    return int(seed)
