"""Sparse matrices: when to prune them, a callback that does, and what they take in flash.

Pruning makes the smallest weights of W and U, or of their low-rank factors, zero while training
goes on with the others. Biases, scalars and the classifier stay dense, as in the paper.

    schedule = sparsity.IterativeHardThresholding.in_thirds(0.7, steps=epochs * batches)
    model.fit(x, y, callbacks=[sparsity.PruneLowMagnitude(schedule, schedule)])
    print(sparsity.report(model))

The callback runs on Keras 3 and on tf_keras. On tf_keras TF-MOT's own `prune_low_magnitude` takes
`FastGRNN` and `FastRNN` layers, and `RNN` around their cells, once this module is imported. It
gives one sparsity to all matrices of a layer.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from keras_fastgrnn import masks
from keras_fastgrnn.keras_api import IS_TF_KERAS, invalid_argument, keras
from keras_fastgrnn.models import check_flavor, matrices_of, recurrent_cells, weight_name
from keras_fastgrnn.pruning_schedules import IterativeHardThresholding
from keras_fastgrnn.sparsity_report import MatrixReport, SparsityReport, report
from keras_fastgrnn.tfmot_api import tfmot

__all__ = [
    "IterativeHardThresholding",
    "MatrixReport",
    "PruneLowMagnitude",
    "SparsityReport",
    "report",
]

_FROZEN = "frozen"


@dataclass
class _Matrix:
    """A weight that is pruned, its mask, and what errors call it."""

    name: str
    weight: Any  # a variable of either Keras
    mask: np.ndarray

    def values(self) -> np.ndarray:
        values = self.weight.numpy()
        finite = np.isfinite(values)
        if not finite.all():
            raise ValueError(
                f"The training diverged: PruneLowMagnitude found {values[~finite][0]} in "
                f"{self.name}. Check that the data is finite, or give a lower learning rate."
            )
        if not values.any():
            expected = f"weights that are not all zero in {self.name}"
            raise invalid_argument("model", expected, "only zeros")
        return values

    def apply_mask(self):
        self.weight.assign(self.weight * self.mask.astype(self.weight.numpy().dtype))


class PruneLowMagnitude(keras.callbacks.Callback):
    """Prunes the matrices of every recurrent cell of a model while it trains.

    After each step every matrix, or low-rank factor, is multiplied by its mask of zeros and ones.
    Where the schedule says so, the mask becomes that of the weights which are largest at that
    moment. Gradients stay dense: a pruned weight moves by one step of the optimizer, and returns
    if that makes it one of the largest when the mask changes.

    Masks change at the steps at which TF-MOT's `prune_low_magnitude` changes them: the first step
    is 1, and its weights are pruned before they are used. (TF-MOT prunes in the middle of a step,
    and once more at the end of an epoch, which a mask of the next step then does not see. This
    callback leaves the weights of the next step after each step, at the end of an epoch too.)

    Steps are counted by the optimizer, and a mask is where the weights are not zero. So training
    goes on from a saved model as if it had not stopped, provided that the optimizer was saved too.
    With a new optimizer the schedule starts again at step 1, and `"frozen"` keeps the zeros. A
    warning tells of a matrix that has no zeros though its schedule was to leave some by now, as
    where training goes on with the optimizer of a dense one.

    Cells are found wherever they are: in `FastGRNN`, `FastRNN` and Keras's own layers, in `RNN`
    alone and stacked, in wrappers and in nested models.

    Args:
        kernel: TF-MOT `PruningSchedule` of W, or of each of its factors, such as
            `IterativeHardThresholding`, `ConstantSparsity` or `PolynomialDecay`; `"frozen"` to
            keep the zeros that there are when training begins; or `None`, not to prune W.
            Defaults to `None`.
        recurrent_kernel: Likewise of U. Defaults to `None`.
        count: String, how many weights a sparsity keeps: `"rounded"` for TF-MOT's `size * (1 -
            sparsity)`, rounded, or `"percentile"` for that of the authors' code, the weights that
            are not below NumPy's percentile (method "higher"). The two differ by at most one.
            Defaults to `"rounded"`.

    Raises:
        TypeError: Before the first step: If it is given to a model of the other Keras.
        ValueError: If an argument is invalid. Before the first step: If the model is not built or
            has no such cell, a matrix is all zero or not finite, a schedule would keep no weight
            of it, `steps_per_execution` is above 1, or the optimizer averages weights
            (`use_ema`).

    Example:

    >>> import numpy as np
    >>> from keras_fastgrnn import FastGRNN, keras, sparsity
    >>> layers = keras.layers
    >>> model = keras.Sequential([layers.Input((8, 3)), FastGRNN(10), layers.Dense(2)])
    >>> model.compile("adam", "mse")
    >>> callback = sparsity.PruneLowMagnitude(
    ...     kernel=sparsity.IterativeHardThresholding(0.8, 2, 4, frequency=1),
    ...     recurrent_kernel=sparsity.IterativeHardThresholding(0.7, 2, 4, frequency=1),
    ... )
    >>> x, y = np.ones((32, 8, 3)), np.ones((32, 2))
    >>> history = model.fit(x, y, batch_size=8, epochs=2, verbose=0, callbacks=[callback])
    >>> [int(np.count_nonzero(weights)) for weights in model.get_weights()[:2]]
    [6, 30]

    Reference:
        Kusupati et al., NeurIPS 2018, section 3.2 (https://arxiv.org/abs/1901.02358)
    """

    def __init__(self, kernel=None, recurrent_kernel=None, count: str = "rounded"):
        super().__init__()
        schedules = {"kernel": kernel, "recurrent_kernel": recurrent_kernel}
        for argument, schedule in schedules.items():
            _check_schedule(argument, schedule)
        self.schedules = {name: one for name, one in schedules.items() if one is not None}
        if not self.schedules:
            raise invalid_argument("kernel", "a schedule, as recurrent_kernel has none", None)
        if not (isinstance(count, str) and count in masks.COUNTS):
            raise invalid_argument("count", " or ".join(map(repr, masks.COUNTS)), count)
        self.count = count
        self._matrices: dict[str, list[_Matrix]] | None = None
        self._step = 0

    def set_model(self, model):
        check_flavor(model)
        super().set_model(model)

    def on_train_begin(self, logs=None):
        _check_training(self.model)
        # The masks are made at the first batch: another callback may load weights before it.
        self._matrices = None

    def on_train_batch_begin(self, batch, logs=None):
        if self._matrices is None:
            self._step = self._trained_steps()
            self._matrices = {argument: self._masked(argument) for argument in self.schedules}
            self._prune(self._matrices, self._step + 1)

    def on_train_batch_end(self, batch, logs=None):
        step = self._trained_steps()
        if step > self._step + 1:
            raise _several_steps(step - self._step)
        self._step = step
        if self._matrices is not None:
            self._prune(self._matrices, step + 1)

    def on_train_end(self, logs=None):
        dense = [
            matrix.name
            for argument, matrices in (self._matrices or {}).items()
            for matrix in matrices
            if matrix.mask.all() and self._should_be_sparse(argument, matrix)
        ]
        if dense:
            warnings.warn(
                f"PruneLowMagnitude left no zeros in {', '.join(dense)}: training ended after step "
                f"{self._step} of the optimizer, and no threshold of the schedule came while the "
                "callback was there. A schedule counts the optimizer's steps: compile the model "
                "again, to count from 1, or give the schedule a later begin_step.",
                stacklevel=1,
            )

    def _should_be_sparse(self, argument, matrix: _Matrix) -> bool:
        schedule = self.schedules[argument]
        if schedule == _FROZEN or not masks.is_pruned(schedule, self._step + 1):
            return False
        return matrix.mask.size * _sparsity_in_the_end(schedule) >= 1.0

    def _trained_steps(self) -> int:
        model: Any = self.model  # compiled, as it trains
        return int(model.optimizer.iterations.numpy())

    def _masked(self, argument) -> list[_Matrix]:
        """Returns the matrices of an argument with the masks that they were trained with so far."""
        schedule = self.schedules[argument]
        is_pruned = schedule == _FROZEN or masks.is_pruned(schedule, self._step)
        matrices = []
        for cell in recurrent_cells(self.model):
            for weight in matrices_of(cell, argument):
                matrix = _Matrix(weight_name(weight), weight, np.ones(tuple(weight.shape), bool))
                values = matrix.values()
                if is_pruned:
                    matrix.mask = values != 0.0
                if schedule != _FROZEN:  # refuses now what a later step would refuse
                    self._mask_of_largest(argument, matrix, _sparsity_in_the_end(schedule))
                matrices.append(matrix)
        return matrices

    def _prune(self, matrices: dict[str, list[_Matrix]], step: int):
        for argument, listed in matrices.items():
            update, sparsity = _at(self.schedules[argument], step)
            for matrix in listed:
                if update:
                    matrix.mask = self._mask_of_largest(argument, matrix, sparsity)
                matrix.apply_mask()

    def _mask_of_largest(self, argument, matrix: _Matrix, sparsity: float) -> np.ndarray:
        mask = masks.largest(matrix.values(), sparsity, self.count)
        if not mask.any():
            expected = f"a schedule that keeps one of the {mask.size} weights of {matrix.name}"
            raise invalid_argument(argument, expected, f"a sparsity of {sparsity:g}")
        return mask


def _check_schedule(argument, schedule):
    kind = tfmot.sparsity.keras.PruningSchedule
    is_frozen = isinstance(schedule, str) and schedule == _FROZEN
    if not (schedule is None or is_frozen or isinstance(schedule, kind)):
        raise invalid_argument(argument, f"a TF-MOT PruningSchedule, {_FROZEN!r} or None", schedule)


def _check_training(model):
    recurrent_cells(model)
    steps = model.steps_per_execution
    if IS_TF_KERAS:
        steps = int(model._steps_per_execution.numpy())
    if steps > 1:
        raise _several_steps(steps)
    if getattr(model.optimizer, "use_ema", False):
        raise ValueError(
            "PruneLowMagnitude cannot run with an optimizer that has use_ema=True: averages of "
            "weights would replace the pruned ones."
        )


def _several_steps(steps: int) -> ValueError:
    return ValueError(
        "PruneLowMagnitude prunes after every step, and cannot run where a model is compiled with "
        f"steps_per_execution above 1, got {steps}."
    )


def _at(schedule, step: int) -> tuple[bool, float]:
    """Returns whether the mask changes before this step, and the sparsity it then has."""
    if schedule == _FROZEN:
        return False, 0.0
    update, sparsity = schedule(tf.constant(step, tf.int64))
    return bool(update), float(sparsity)


def _sparsity_in_the_end(schedule) -> float:
    return _at(schedule, tf.int32.max)[1]
