"""Callbacks around the epochs of a stage, each of which is a call of Keras's `fit`."""

from typing import Any

from keras_fastgrnn.classification import Metric
from keras_fastgrnn.keras_api import FLAVOR, invalid_argument, keras
from keras_fastgrnn.recipe.training_data import Arrays, Batches

# What Keras tells a callback in an epoch.
_HOOKS = (
    "on_epoch_begin",
    "on_epoch_end",
    "on_train_batch_begin",
    "on_train_batch_end",
    "on_test_begin",
    "on_test_end",
    "on_test_batch_begin",
    "on_test_batch_end",
)

# What a user's callback of these would do is undone by the stages, and what to use in its place.
_REFUSED = {
    "ReduceLROnPlateau": "a function as learning_rate",
    "BackupAndRestore": "checkpoint",
}


def check_callbacks(callbacks) -> list:
    """Returns the callbacks that a user passed.

    Args:
        callbacks: Keras callback, list of them, or `None`.

    Returns:
        List of Keras callbacks.

    Raises:
        ValueError: If one is no callback of this Keras, or of a kind that stages undo.
    """
    if callbacks is None:
        return []
    listed = list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks]
    for callback in listed:
        if not isinstance(callback, keras.callbacks.Callback):
            expected = f"a {FLAVOR} callback, a list of them, or None"
            raise invalid_argument("callbacks", expected, callback)
        for name, use in _REFUSED.items():
            if isinstance(callback, getattr(keras.callbacks, name)):
                expected = f"none of {name}, in place of which use {use}"
                raise invalid_argument("callbacks", expected, callback)
    return listed


class EpochRecorder(keras.callbacks.Callback):
    """Adds a metric to what each epoch logs, and keeps the weights that the epoch gave.

    It comes first: other callbacks see the metric, and may change the weights.

    Args:
        metric: `Metric`.
        validation_data: `Arrays` or `Batches`.
    """

    def __init__(self, metric: Metric, validation_data: Arrays | Batches):
        super().__init__()
        self.metric = metric
        self.validation_data = validation_data
        self.weights = []

    def on_epoch_end(self, epoch, logs: Any = None):
        logs.update(self.metric.logs(self.model, self.validation_data))
        self.weights = self.model.get_weights()


class StageCallbacks(keras.callbacks.Callback):
    """Tells callbacks of the epochs of a stage as if these were one `fit`.

    Args:
        callbacks: List of Keras callbacks.
    """

    def __init__(self, callbacks: list):
        super().__init__()
        self.callbacks = callbacks

    def begin_stage(self, model, epochs: int, steps: int):
        """Tells that training begins.

        Args:
            model: Keras model.
            epochs: Integer, the number of the stage's last epoch, counted from 1 on.
            steps: Integer, batches of an epoch.
        """
        model.stop_training = False
        for callback in self.callbacks:
            callback.set_params({"epochs": epochs, "steps": steps, "verbose": 0})
            callback.set_model(model)
            callback.on_train_begin()

    def end_stage(self):
        """Tells that training ends."""
        for callback in self.callbacks:
            callback.on_train_end()


def _handed_on(hook: str):
    def tell(self, *arguments, **named):
        for callback in self.callbacks:
            getattr(callback, hook)(*arguments, **named)

    tell.__name__ = hook
    return tell


for _hook in _HOOKS:
    setattr(StageCallbacks, _hook, _handed_on(_hook))
