"""Which weights of a matrix pruning keeps."""

import functools

import numpy as np
import tensorflow as tf

COUNTS = ("rounded", "percentile")

# Digits of a schedule's float32 that are those of the number it was made from.
_DIGITS = 6


def largest(values: np.ndarray, sparsity: float, count: str) -> np.ndarray:
    """Returns where the weights of the largest magnitude are.

    Of equal magnitudes at the limit, all are kept.

    Args:
        values: Array of finite weights.
        sparsity: Float in [0, 1), fraction of the weights that are not kept.
        count: String, how many that is. "rounded": `size * (1 - sparsity)`, rounded, as in TF-MOT.
            "percentile": those that are not below the percentile, taken from the next higher
            weight, as in the authors' code.

    Returns:
        Boolean array of the shape of `values`; of none where the schedule keeps no weight.
    """
    magnitudes = np.abs(values)
    if count == "percentile":
        kept_fraction = round(1.0 - float(sparsity), _DIGITS)
        percentile = (1.0 - kept_fraction) * 100.0
        return magnitudes >= np.percentile(magnitudes, percentile, method="higher")
    kept = int(np.round(np.float32(values.size) * (np.float32(1.0) - np.float32(sparsity))))
    if kept == 0:
        return np.zeros(values.shape, bool)
    return magnitudes >= np.sort(magnitudes, axis=None)[-kept]


def is_pruned(schedule, steps: int) -> bool:
    """Returns whether the last update of a mask in these steps of training left zeros.

    Args:
        schedule: `PruningSchedule`.
        steps: Integer, steps trained.
    """
    if steps < 1:
        return False
    updates, sparsities = _of_steps(schedule)(tf.range(1, steps + 1, dtype=tf.int64))
    return bool(np.any(sparsities[updates][-1:] > 0.0))


@functools.lru_cache(maxsize=16)
def _of_steps(schedule):
    """Returns the schedule as a function of many steps, which is traced once, not in each `fit`."""
    steps = tf.TensorSpec([None], tf.int64)
    return tf.function(lambda steps: tf.vectorized_map(schedule, steps), input_signature=[steps])
