"""When iterative hard thresholding prunes, as a schedule of TF-MOT."""

import math

import tensorflow as tf

from keras_fastgrnn.keras_api import invalid_argument, is_integer, is_number, register
from keras_fastgrnn.tfmot_api import tfmot


@register
class IterativeHardThresholding(tfmot.sparsity.keras.PruningSchedule):
    """Pruning in the paper's three stages: dense, thresholded, with a frozen support.

    Up to `begin_step` all weights train. From there on, and before `end_step`, every `frequency`
    steps the smallest weights become zero: each time those that are the smallest then, so that
    the support, which is the set of weights kept, still changes. From `end_step` on the support
    stays.

    The paper "maintains support between two consecutive projection steps" (section 3.2), and so
    does the authors' code: between two thresholds a pruned weight is zero in every step, and
    returns at the next threshold if the gradient of that one step moved it far enough. This is
    `regrow=False`. With `regrow=True` all weights train between two thresholds.

    The authors' code (microsoft/EdgeML, `FastTrainer`) trains each stage for a third of all
    batches and thresholds after every 15th of the whole training. That is `in_thirds(1 - s,
    batches)` for its fraction `s` of weights kept, with `PruneLowMagnitude(count="percentile")`.
    The paper names 100 epochs for each stage and "every few batches": with `n` batches an epoch
    that is `begin_step=100 * n + 1`, `end_step=200 * n + 1`, and any `frequency`.

    Steps are those of TF-MOT: the first one is 1, and its weights are pruned before they are used.
    It serves in `PruneLowMagnitude` and, in tf_keras, in TF-MOT's `prune_low_magnitude`.

    Args:
        sparsity: Number in [0, 1), the fraction of weights that become zero. The paper's `s` is
            the fraction that does not.
        begin_step: Positive integer, step of the first threshold.
        end_step: Integer above `begin_step`, the first step of the frozen support.
        frequency: Positive integer, steps from one threshold to the next. Defaults to 15.
        regrow: Boolean, whether pruned weights train between two thresholds. Defaults to `False`.

    Raises:
        ValueError: If an argument is out of its range.

    Example:

    >>> from keras_fastgrnn import sparsity
    >>> schedule = sparsity.IterativeHardThresholding(0.7, begin_step=100, end_step=200)
    >>> [step for step in range(1, 300) if schedule(step)[0]]
    [100, 115, 130, 145, 160, 175, 190]

    Reference:
        Kusupati et al., NeurIPS 2018, section 3.2 (https://arxiv.org/abs/1901.02358)
    """

    def __init__(
        self,
        sparsity: float,
        begin_step: int,
        end_step: int,
        frequency: int = 15,
        regrow: bool = False,
    ):
        if not (is_number(sparsity) and 0.0 <= sparsity < 1.0):
            raise invalid_argument("sparsity", "a number in [0, 1)", sparsity)
        self.sparsity = float(sparsity)
        self.begin_step = _checked_step("begin_step", begin_step, 1)
        self.end_step = _checked_step("end_step", end_step, self.begin_step + 1)
        self.frequency = _checked_step("frequency", frequency, 1)
        self.regrow = bool(regrow)

    @classmethod
    def in_thirds(
        cls, sparsity: float, steps: float, frequency: int = 15, regrow: bool = False
    ) -> "IterativeHardThresholding":
        """Makes the schedule of the authors' code: each stage takes a third of the training.

        Their thresholds follow the batches 0, `frequency`, `2 * frequency`, ... of the whole
        training, so the first one may come `frequency - 1` steps after the first third.

        Args:
            sparsity: Number in [0, 1), the fraction of weights that become zero.
            steps: Positive number, batches of the whole training.
            frequency: Positive integer, steps from one threshold to the next. Defaults to 15.
            regrow: Boolean, whether pruned weights train between two thresholds. Defaults to
                `False`.

        Returns:
            `IterativeHardThresholding`.

        Raises:
            ValueError: If an argument is out of its range, or no threshold falls into the second
                third.

        Example:

        >>> from keras_fastgrnn import sparsity
        >>> schedule = sparsity.IterativeHardThresholding.in_thirds(0.7, steps=300)
        >>> schedule.begin_step, schedule.end_step
        (107, 202)
        """
        if not (is_number(steps) and 0 < steps < math.inf):
            raise invalid_argument("steps", "a positive number", steps)
        frequency = _checked_step("frequency", frequency, 1)
        first, end = int(steps / 3.0), int(2 * steps / 3.0)
        first += -first % frequency
        if first >= end:
            expected = f"so many that a multiple of {frequency} is in their second third"
            raise invalid_argument("steps", expected, steps)
        # What follows batch n, counted from 0, precedes the step n + 2, counted from 1.
        return cls(sparsity, first + 2, end + 2, frequency, regrow)

    def __call__(self, step):
        last_step = self.end_step - 1
        thresholds = self._should_prune_in_step(step, self.begin_step, last_step, self.frequency)
        if not self.regrow or self.frequency == 1:
            return thresholds, tf.constant(self.sparsity, tf.float32)
        # No threshold follows the last one, so nothing may regrow after it.
        last_release = max(self.end_step - self.frequency, 0)
        releases = self._should_prune_in_step(
            step, self.begin_step + 1, last_release, self.frequency
        )
        return thresholds | releases, tf.where(releases, 0.0, tf.constant(self.sparsity))

    def get_config(self):
        config = {
            "sparsity": self.sparsity,
            "begin_step": self.begin_step,
            "end_step": self.end_step,
            "frequency": self.frequency,
            "regrow": self.regrow,
        }
        return {"class_name": f"keras_fastgrnn>{type(self).__name__}", "config": config}


def _checked_step(argument: str, value, low: int) -> int:
    if not (is_integer(value) and value >= low):
        raise invalid_argument(argument, f"an integer of at least {low}", value)
    return int(value)
