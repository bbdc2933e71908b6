"""The settings whose model answers best within a budget of bytes and cycles, by trial."""

import dataclasses
import math
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from keras_fastgrnn import sparsity
from keras_fastgrnn.classification import ACCURACY, Metric, checked_metric
from keras_fastgrnn.keras_api import (
    Data,
    checked_integer,
    checked_path,
    checked_verbose,
    invalid_argument,
    is_integer,
    is_number,
    keras,
)
from keras_fastgrnn.quantization import quantize_aware
from keras_fastgrnn.recipe import search_space
from keras_fastgrnn.recipe.lsq import fit_lsq
from keras_fastgrnn.recipe.lsq_result import LSQResult, TrainingWarning
from keras_fastgrnn.recipe.search_result import SearchResult, Trial
from keras_fastgrnn.recipe.search_space import Budget, Plan
from keras_fastgrnn.recipe.stage_callbacks import check_callbacks
from keras_fastgrnn.recipe.staged_training import DivergedError
from keras_fastgrnn.recipe.step_cost import plain_c_instructions
from keras_fastgrnn.recipe.training_data import checked_training_data, checked_validation_data

# So many settings get the whole recipe.
_FINALISTS = 2

_FLOAT_STAGES = 3

# Of the further arguments, what the training data is checked with.
_OF_DATA = ("batch_size", "class_weight", "sample_weight", "augmentation")


def search(
    model_fn: Callable[..., keras.Model],
    x: Data,
    y: Data = None,
    *,
    validation_data: Data,
    budget_bytes: int,
    budget_cycles: float | None = None,
    cycles: Callable | None = None,
    units: Sequence[int] | None = None,
    candidates: int = 12,
    epochs: int = 300,
    metric: str | Callable = "accuracy",
    quantization: str | None = "int16x8",
    weight_bits: int = 8,
    quantization_options: dict | None = None,
    checkpoint: str | bytes | os.PathLike | None = None,
    seed: int = 0,
    verbose: int = 1,
    **options,
) -> SearchResult:
    """Finds the width, ranks and sparsities that answer best within a budget, and trains the model.

    Settings that fill the budget are known before any training, since bytes follow from shapes and
    from how many weights are zero. `candidates` of them, spread over widths, ranks and sparsities,
    are trained by `fit_lsq` for a few epochs, without its quantized stage; the better half by
    `metric` on the validation data is trained anew for twice as many; and so on, until two are
    left, which get the whole recipe. 12 candidates take the time of about six and a half trainings.
    A quarter of the candidates takes half of the bytes, to show what the other half buys.

    The same call gives the same model, and so does `fit_lsq` with `result.best.settings`, after
    `keras.utils.set_random_seed(seed)`, which this function calls before each model.

    Args:
        model_fn: Function from `units`, `kernel_rank` and `recurrent_rank` to a new, built Keras
            model, as `fit_lsq` takes it, with cells of that width and those ranks; a rank is
            `None` where a matrix is not to be factorized.
        x: The training inputs, or batches of them and labels, as `fit_lsq` takes them.
        y: Labels, as `fit_lsq` takes them. Defaults to `None`, where `x` comes in batches.
        validation_data: As `fit_lsq` takes it, to choose settings and epochs by: not the test
            data, and of other people or machines than `x` is of.
        budget_bytes: Positive integer, bytes that the model may take, as
            `sparsity.report(model, weight_bits, bias_bytes).total_bytes["best"]` counts them, with
            a byte for each bias where `quantization_options` has `byte_biases`, else four.
        budget_cycles: Positive number, what a step may cost. Defaults to `None`, any.
        cycles: Function from a Keras model in float to the cycles of a step. With a budget of
            cycles it is called for each setting that fits, with random weights. Defaults to
            `None`, `step_cost.plain_c_instructions`, an estimate for plain C on a Cortex-M4.
        units: List of integers, the widths to try. Defaults to `None`, about half as many again
            each time from 4 to 256.
        candidates: Positive integer, how many settings are tried at first. Defaults to 12.
        epochs: Positive integer, a multiple of 3, epochs of the longest trainings. Defaults to 300.
        metric: What settings and epochs are chosen by, as `fit_lsq` has it. Defaults to "accuracy".
        quantization: As `fit_lsq` has it. Defaults to "int16x8".
        weight_bits: As `fit_lsq` has it. Defaults to 8.
        quantization_options: As `fit_lsq` has it. Defaults to `None`.
        checkpoint: Path of a folder in which each training leaves what it takes to go on. The same
            call, after the process was stopped, goes on from there. Defaults to `None`.
        seed: Integer, not negative, of settings, weights and trainings. Defaults to 0.
        verbose: 0 for silence, 1 for one line a training. Defaults to 1.
        **options: Further arguments of `fit_lsq`: `batch_size`, `learning_rate`, `class_weight`,
            `sample_weight`, `callbacks`, `augmentation`...

    Returns:
        `SearchResult`: its `best` trial, `model`, `trials`, `pareto` front and `plot`.

    Raises:
        TypeError: If `model_fn` returns no model of this process's Keras, or `options` has what
            `fit_lsq` does not take.
        ValueError: If an argument is out of its range, no setting fits the budget, `fit_lsq`
            refuses the data or an option, or every training of the last two diverges.

    Example:

    >>> import numpy as np
    >>> from keras_fastgrnn import FastGRNN, keras, recipe
    >>> x = np.random.default_rng(0).normal(size=(80, 10, 3)).astype("float32")
    >>> y = (x[:, :, 0].sum(axis=1) > 0).astype(int)
    >>> def model_fn(units, kernel_rank, recurrent_rank):
    ...     layer = FastGRNN(units, kernel_rank=kernel_rank, recurrent_rank=recurrent_rank)
    ...     return keras.Sequential([keras.layers.Input((10, 3)), layer, keras.layers.Dense(2)])
    >>> result = recipe.search(
    ...     model_fn, x[:60], y[:60], validation_data=(x[60:], y[60:]), budget_bytes=200,
    ...     candidates=2, units=[6, 8], epochs=3, quantization_epochs=1, verbose=0,
    ... )
    >>> result.best.bytes <= 200
    True

    Reference:
        Jamieson and Talwalkar, AISTATS 2016, successive halving (https://arxiv.org/abs/1502.07943)
    """
    _check_choices(model_fn, budget_cycles, cycles, quantization_options, checkpoint, verbose)
    if not (is_integer(seed) and seed >= 0):
        raise invalid_argument("seed", "an integer that is not negative", seed)
    if checked_integer("epochs", epochs) % _FLOAT_STAGES:
        raise invalid_argument("epochs", "a multiple of 3", epochs)
    checked_integer("candidates", candidates)
    seed = int(seed)
    widths = search_space.checked_widths(units)
    keras.utils.set_random_seed(seed)
    model = search_space.build(model_fn, (widths[0], None, None))
    given = {name: options[name] for name in _OF_DATA if name in options}
    data = checked_training_data(model, x, y, **given)
    checked_validation_data(model, validation_data, data)
    check_callbacks(options.get("callbacks"))
    chosen_by = checked_metric(metric)
    rounding = {"weight_bits": weight_bits, **(quantization_options or {})}
    if quantization is not None:
        quantize_aware(model, quantization, **rounding)
        if options.get("quantization_epochs") is not None:
            checked_integer("quantization_epochs", options["quantization_epochs"])
    budget = Budget(
        bytes=checked_integer("budget_bytes", budget_bytes),
        cycles=None if budget_cycles is None else float(budget_cycles),
        count_cycles=plain_c_instructions if cycles is None else cycles,
        weight_bits=rounding["weight_bits"],
        bias_bytes=1 if rounding.get("byte_biases") else 4,
    )
    found = search_space.plans(model_fn, widths, budget)
    plans = search_space.spread(*found, candidates, seed)
    in_float: dict[str, Any] = {"quantization": None}
    whole = {"quantization": quantization, "quantization_options": quantization_options}

    def train(plan: Plan, some_epochs: int, is_whole: bool) -> LSQResult:
        name = _folder_name(plan, some_epochs, is_whole)
        folder = None if checkpoint is None else Path(os.fsdecode(checkpoint)) / name
        keras.utils.set_random_seed(seed)
        return fit_lsq(
            search_space.build(model_fn, plan.settings.structure),
            x,
            y,
            **plan.settings.sparsities,
            **options,
            **(whole if is_whole else in_float),
            validation_data=validation_data,
            epochs=some_epochs,
            metric=metric,
            weight_bits=weight_bits,
            checkpoint=folder,
            seed=seed,
            verbose=0,
        )

    plans = [search_space.counted(model_fn, plan, budget) for plan in plans]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TrainingWarning)  # of those that are given up
        trials = _halved(plans, epochs, train, budget, chosen_by, verbose)
    found = SearchResult(trials, budget.bytes, budget.cycles)
    if found.training.warning:
        warnings.warn(found.training.warning, TrainingWarning, stacklevel=2)
    return found


def _halved(
    plans: list[Plan], epochs: int, train, budget: Budget, metric: Metric, verbose: int
) -> list[Trial]:
    """Trains all plans a little, the better half for longer, and so on; returns the best first."""
    counts = [len(plans)]
    while counts[-1] > _FINALISTS:
        counts.append(math.ceil(counts[-1] / 2))
    trials = {}
    for round_, count in enumerate(counts, 1):
        part = 2 ** (len(counts) - round_)
        some_epochs = max(epochs // part // _FLOAT_STAGES, 1) * _FLOAT_STAGES
        plans = plans[:count]
        errors = []
        for number, plan in enumerate(plans, 1):
            try:
                training = train(plan, some_epochs, part == 1)
                trial = _trial(plan, some_epochs, training, budget)
                # The models of those that are given up are not kept.
                trials[plan] = dataclasses.replace(trial, training=training) if part == 1 else trial
            except DivergedError as error:
                errors.append(error)
                trials[plan] = Trial(
                    plan.settings,
                    plan.bytes,
                    plan.known_cycles,
                    some_epochs,
                    metric=metric.name,
                    metric_value=None if metric.name == ACCURACY else -math.inf,
                )
            if verbose:
                place = f"round {round_}/{len(counts)}, {number}/{count}"
                print(f"{place}: {trials[plan]}", flush=True)
        if len(errors) == count:
            raise errors[-1]
        plans.sort(key=lambda plan: trials[plan].merit, reverse=True)
    return sorted(trials.values(), key=lambda trial: trial.merit, reverse=True)


def _trial(plan: Plan, epochs: int, training, budget: Budget) -> Trial:
    last = training.stages[-1]
    report = sparsity.report(training.model, budget.weight_bits, budget.bias_bytes)
    return Trial(
        plan.settings,
        report.total_bytes["best"],
        plan.known_cycles,
        epochs,
        last.validation_accuracy,
        last.validation_loss,
        metric=last.metric,
        metric_value=None if last.metric == ACCURACY else last.score,
    )


def _folder_name(plan: Plan, epochs: int, is_whole: bool) -> str:
    part = "whole" if is_whole else "float"
    return "_".join(str(value) for value in (*dataclasses.astuple(plan.settings), epochs, part))


def _check_choices(
    model_fn, budget_cycles, cycles, quantization_options, checkpoint, verbose
) -> None:
    if not callable(model_fn):
        raise invalid_argument("model_fn", "a function that returns a model", model_fn)
    is_any = budget_cycles is None
    if not (is_any or (is_number(budget_cycles) and 0 < budget_cycles < math.inf)):
        raise invalid_argument("budget_cycles", "a positive number or None", budget_cycles)
    if not (cycles is None or callable(cycles)):
        raise invalid_argument("cycles", "a function or None", cycles)
    if not (quantization_options is None or isinstance(quantization_options, dict)):
        expected = "a dictionary or None"
        raise invalid_argument("quantization_options", expected, quantization_options)
    if checkpoint is not None:
        checked_path("checkpoint", checkpoint, "the path of a folder, or None")
    checked_verbose(verbose)
