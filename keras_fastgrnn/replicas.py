"""What the replicas of a `tf.distribute` strategy, on devices or machines, have in common."""

import tensorflow as tf

from keras_fastgrnn.keras_api import IS_TF_KERAS, invalid_argument

# Those whose replicas step together, each with a copy of every variable.
_SYNCHRONOUS = ("OneDeviceStrategy", "MirroredStrategy", "MultiWorkerMirroredStrategy")


def check_strategy() -> None:
    """Raises an error where replicas of the current strategy cannot have ranges in common.

    Raises:
        ValueError: If the current strategy is not one of those known to step together.
    """
    strategy = tf.distribute.get_strategy()
    known = tuple(getattr(tf.distribute, name) for name in _SYNCHRONOUS)
    if tf.distribute.has_strategy() and not isinstance(strategy, known):
        expected = f"one of {', '.join(_SYNCHRONOUS)} for quantization-aware training"
        raise invalid_argument("strategy", expected, type(strategy).__name__)


def check_scope(model) -> None:
    """Raises an error unless a model was made in the scope that the caller is in.

    Args:
        model: Built Keras model.

    Raises:
        ValueError: If it was made in another scope, or in none.
    """
    is_of_scope = tf.distribute.get_strategy().extended.variable_created_in_scope
    variables = (one if IS_TF_KERAS else one.value for one in model.weights)
    if not all(map(is_of_scope, variables)):
        expected = "one that was made in the strategy.scope() in which this is called, if any"
        raise invalid_argument("model", expected, "one of another scope")


def scope_for(model):
    """Returns the scope in which to make what replaces a model.

    Args:
        model: Keras model.

    Returns:
        The scope that the caller is in, or else that of the strategy which the model was made in.
    """
    if tf.distribute.has_strategy():
        return tf.distribute.get_strategy().scope()
    return model.distribute_strategy.scope()


def widest_range(ranges):
    """Returns the range that holds those of all replicas: the lowest low, the highest high.

    Replicas cannot wait for each other in a loop, so this is for what comes after it.

    Args:
        ranges: Tensor of shape `(2, ...)`, the lows and highs of this replica.

    Returns:
        Tensor of that shape, the same one in every replica; `ranges` where there is only one.
    """
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return ranges
    # Sums are what all strategies can compute: each replica adds to a place of its own.
    is_own = tf.range(context.num_replicas_in_sync) == context.replica_id_in_sync_group
    is_own = tf.reshape(is_own, [-1] + [1] * len(ranges.shape))
    placed = tf.where(is_own, tf.stop_gradient(ranges), tf.zeros_like(ranges))
    placed = context.all_reduce(tf.distribute.ReduceOp.SUM, placed)
    return tf.stack([tf.reduce_min(placed[:, 0], axis=0), tf.reduce_max(placed[:, 1], axis=0)])
