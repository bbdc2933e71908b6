"""The paper's training in one call: low rank, sparse and quantized ("LSQ")."""

import functools
import math
import numbers
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from keras_fastgrnn import masks, sparsity
from keras_fastgrnn.classification import accuracy_metric, are_vectors, check_labeled, loss_for
from keras_fastgrnn.keras_api import FLAVOR, checked_integer, invalid_argument, keras
from keras_fastgrnn.models import (
    FACTORS,
    check_finite,
    copied,
    fast_cells,
    fast_layers,
    set_weights,
    weight_name,
)
from keras_fastgrnn.quantization import quantize_aware
from keras_fastgrnn.staged_training import Stage, StagedTraining
from keras_fastgrnn.training_state import TrainingState, digest

_EARLY_STAGES = ("dense", "pruned")
_FLOAT_STAGES = (*_EARLY_STAGES, "frozen")
_QUANTIZED = "quantized"

# The frozen and the quantized stage train with this part of the learning rate.
_LATE_RATE = 0.1

_SPARSITIES = {"kernel": "kernel_sparsity", "recurrent_kernel": "recurrent_sparsity"}

_LARGEST_GRADIENT = 1.0
_OPTIMIZERS = {
    "adam": functools.partial(keras.optimizers.Adam, global_clipnorm=_LARGEST_GRADIENT),
    "nesterov": functools.partial(
        keras.optimizers.SGD, momentum=0.9, nesterov=True, global_clipnorm=_LARGEST_GRADIENT
    ),
}

# Sequences from which quantization-aware training takes its first ranges.
_CALIBRATION_SEQUENCES = 256


@dataclass(frozen=True)
class LSQResult:
    """What a training gave. `print` it for a table of the stages.

    Attributes:
        stages: List of `Stage`, in the order they ran.
        weight_bits: Integer, bits of a weight where the table counts bytes.
        bias_bytes: Integer, bytes of every other number where it does.
    """

    stages: list[Stage]
    weight_bits: int
    bias_bytes: int

    @property
    def model(self):
        """The Keras model of the last stage, ready for `keras_fastgrnn.export.convert`."""
        return self.stages[-1].model

    def __str__(self) -> str:
        lines = ["stage      epochs  best   accuracy  non-zero   bytes"]
        for stage in self.stages:
            report = sparsity.report(stage.model, self.weight_bits, self.bias_bytes)
            kept = sum(matrix.kept for matrix in report.matrices)
            lines.append(
                f"{stage.name:10} {stage.epochs:6} {stage.best_epoch:5} "
                f"{100 * stage.validation_accuracy:8.2f} % {kept:9,} "
                f"{report.total_bytes['best']:7,}"
            )
        return "\n".join(lines)


def fit_lsq(
    model,
    x,
    y,
    *,
    validation_data,
    kernel_sparsity: float = 0.0,
    recurrent_sparsity: float = 0.0,
    frequency: int = 15,
    epochs: int = 300,
    batch_size: int = 100,
    learning_rate=1e-2,
    optimizer="adam",
    loss=None,
    augmentation=None,
    quantization: str | None = "int16x8",
    weight_bits: int = 8,
    quantization_epochs: int | None = None,
    quantization_options: dict | None = None,
    checkpoint=None,
    seed: int | None = None,
    jit_compile: bool = False,
    verbose: int = 1,
) -> LSQResult:
    """Trains a model by the paper's recipe: dense, pruned, with a frozen support, quantized.

    1. "dense": all weights train.
    2. "pruned": every `frequency` batches the smallest weights of each matrix of a cell, or of
       each of its factors, become zero, and stay so until the next time.
    3. "frozen": the weights that are zero stay zero; a tenth of the learning rate.
    4. "quantized": quantization-aware training of the model that 3 gave, with a tenth of the
       learning rate, and zeros that stay zero.

    The first three take a third of `epochs` each, and each goes on from the last epoch of the one
    before. The fourth goes on from the epoch of the third that answers best on the validation data,
    by accuracy, then by loss, and the model that is returned is that of its best epoch. Low rank is
    a matter of the model: give its cells `kernel_rank` and `recurrent_rank`, or use
    `low_rank.factorize`.

    Gradients through a hundred steps can overflow: a batch with one that is not finite changes
    nothing. After an epoch that diverged, which is one whose loss is far above that of the first
    epoch or whose validation loss is not finite, the stage goes on from its best epoch, with half
    the learning rate.

    Args:
        model: Built Keras model, as `quantization.quantize_aware` takes it: a chain of
            Normalization, FastRNN, FastGRNN, Dense and the like that ends with a Dense layer. The
            first three stages train it itself; it need not be compiled.
        x: Array of shape `(samples, steps, input_dim)`, the training inputs.
        y: Labels: integers of shape `(samples,)`, or vectors of the output's shape, one-hot or of
            probabilities that add up to 1, as a larger model gives them for distillation.
        validation_data: Tuple of inputs and labels of the same form, to choose epochs by: of
            training, not of the test data, and of other people or machines than `x` is of.
        kernel_sparsity: Number in [0, 1), the fraction of the weights of W that become zero; the
            paper's `s_w` is the fraction that does not. Defaults to 0.
        recurrent_sparsity: Number in [0, 1), likewise of U. Defaults to 0.
        frequency: Positive integer, batches from one threshold to the next. Defaults to 15.
        epochs: Positive integer, a multiple of 3, passes over the training data in the first
            three stages. Defaults to 300.
        batch_size: Positive integer. Defaults to 100.
        learning_rate: Positive number, or a function from the number of the epoch, counted from 0
            on through all stages, to the learning rate of that epoch. Defaults to 0.01.
        optimizer: "adam", "nesterov" (momentum 0.9), both with gradients of a norm up to 1, or a
            function from a learning rate to a Keras optimizer. Defaults to "adam".
        loss: Keras loss. Defaults to `None`, the cross-entropy of the outputs and labels; outputs
            that softmax or sigmoid do not end are logits.
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
            would have given. Defaults to `None`.
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
            model cannot be quantized, `checkpoint` holds another training, or every epoch of a
            stage diverges or has a loss that is not finite.

    Example:

    >>> import numpy as np
    >>> from keras_fastgrnn import FastGRNN, export, keras, recipe
    >>> x = np.random.default_rng(0).normal(size=(80, 10, 3)).astype("float32")
    >>> y = (x[:, :, 0].sum(axis=1) > 0).astype(int)
    >>> model = keras.Sequential([keras.layers.Input((10, 3)), FastGRNN(8), keras.layers.Dense(2)])
    >>> result = recipe.fit_lsq(
    ...     model, x[:60], y[:60], validation_data=(x[60:], y[60:]), recurrent_sparsity=0.75,
    ...     epochs=3, quantization_epochs=1, verbose=0,
    ... )
    >>> [stage.name for stage in result.stages]
    ['dense', 'pruned', 'frozen', 'quantized']
    >>> deployed = export.convert(result.model)

    Reference:
        Kusupati et al., NeurIPS 2018, sections 3.2 and 4 (https://arxiv.org/abs/1901.02358)
    """
    fast_layers(model)
    check_finite(model)
    x, y = check_labeled("x and y", (x, y), model)
    validation_data = check_labeled("validation_data", validation_data, model)
    _check_same_labels(y, validation_data[1], model.output_shape)
    _check_choices(augmentation, quantization_options, jit_compile, verbose)
    if checked_integer("epochs", epochs) % len(_FLOAT_STAGES):
        raise invalid_argument("epochs", "a multiple of 3", epochs)
    stages = [Stage(name, epochs // len(_FLOAT_STAGES)) for name in _FLOAT_STAGES]
    steps = stages[0].epochs * math.ceil(len(x) / checked_integer("batch_size", batch_size))
    sparsities = {"kernel": kernel_sparsity, "recurrent_kernel": recurrent_sparsity}
    callbacks = _pruning(model, sparsities, checked_integer("frequency", frequency), steps)
    options = {"weight_bits": weight_bits, **(quantization_options or {})}
    if options["weight_bits"] not in (8, 4):
        raise invalid_argument("weight_bits", "4 or 8", options["weight_bits"])
    if quantization is not None:
        quantize_aware(model, quantization, **options)  # its errors come before any work
        last_epochs = math.ceil(epochs / 10) if quantization_epochs is None else quantization_epochs
        stages.append(Stage(_QUANTIZED, checked_integer("quantization_epochs", last_epochs)))
    rate = _checked_rate(learning_rate)
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
        "quantization": [quantization, repr(options)],
        "weights": [weight.shape for weight in model.get_weights()],
        "data": digest(x, y, *validation_data),
        **({} if seed is None else {"seed": _checked_seed(seed)}),
    }
    training = StagedTraining(
        stages=stages,
        data=(x, y),
        validation_data=validation_data,
        batch_size=batch_size,
        rate=rate,
        augmentation=augmentation,
        seed=seed,
        state=TrainingState(checkpoint, settings),
        is_silent=not verbose,
    )

    def begin(trained_model, stage):
        trained_model.compile(
            make_optimizer(training.rate(stage, 0)),
            loss_for(model, y) if loss is None else loss,
            metrics=[accuracy_metric(model, y)],
            jit_compile=jit_compile,
        )
        training.begin(trained_model)

    begin(model, stages[0])
    for stage in stages[:3]:
        training.train(model, stage, callbacks[stage.name])
        stage.model = copied(model)
        set_weights(stage.model, stage.best_weights)
    frozen = stages[2]
    frozen.model = model
    set_weights(model, frozen.best_weights)
    for stage in stages[3:]:
        order = np.random.default_rng(training.seed).permutation(len(x))
        calibration_data = {"calibration_data": x[order[:_CALIBRATION_SEQUENCES]]}
        stage.model = quantize_aware(model, quantization, **{**calibration_data, **options})
        begin(stage.model, stage)
        training.train(stage.model, stage, callbacks["frozen"])
        set_weights(stage.model, stage.best_weights)
    return LSQResult(
        stages, options["weight_bits"], bias_bytes=1 if options.get("byte_biases") else 4
    )


def _pruning(model, sparsities, frequency, steps) -> dict[str, list]:
    """Returns the callbacks of each float stage, each of so many steps."""
    schedules = {}
    for name, fraction in sparsities.items():
        argument = _SPARSITIES[name]
        if not (_is_number(fraction) and 0.0 <= fraction < 1.0):
            raise invalid_argument(argument, "a number in [0, 1)", fraction)
        for cell in fast_cells(model):
            for weight in getattr(cell, FACTORS[name]):
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


def _checked_rate(learning_rate) -> Callable[[Stage, int], float]:
    """Returns the function from a stage and the number of the epoch to the learning rate."""
    if callable(learning_rate):
        return lambda stage, epoch: _rate_of_epoch(learning_rate, epoch)
    if not (_is_number(learning_rate) and 0.0 < learning_rate < math.inf):
        raise invalid_argument("learning_rate", "a positive number or a function", learning_rate)
    return lambda stage, epoch: learning_rate * (1.0 if stage.name in _EARLY_STAGES else _LATE_RATE)


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


def _check_same_labels(y, validation_labels, output_shape):
    if are_vectors(y, output_shape) != are_vectors(validation_labels, output_shape):
        form = "vectors, a number for each class," if are_vectors(y, output_shape) else "integers"
        expected = f"labels that are {form} as y is"
        raise invalid_argument("validation_data", expected, validation_labels)


def _check_choices(augmentation, quantization_options, jit_compile, verbose):
    if not (augmentation is None or callable(augmentation)):
        raise invalid_argument("augmentation", "a function or None", augmentation)
    if not (quantization_options is None or isinstance(quantization_options, dict)):
        expected = "a dictionary or None"
        raise invalid_argument("quantization_options", expected, quantization_options)
    if not isinstance(jit_compile, bool):
        raise invalid_argument("jit_compile", "True or False", jit_compile)
    if not (isinstance(verbose, numbers.Integral) and verbose in (0, 1)):
        raise invalid_argument("verbose", "0 or 1", verbose)


def _checked_seed(seed) -> int:
    if not (_is_number(seed) and isinstance(seed, numbers.Integral) and seed >= 0):
        raise invalid_argument("seed", "an integer that is not negative, or None", seed)
    return int(seed)


def _is_number(value) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)
