"""The one Keras of this process: Keras 3, or tf_keras where `TF_USE_LEGACY_KERAS=1`.

TensorFlow chooses between the two when `tf.keras` is first touched. Every other module takes
`keras` from here, so that one process never holds cells of both.
"""

import math
import numbers
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import tensorflow as tf

from keras_fastgrnn import tf_keras_ops

keras = tf.keras

IS_TF_KERAS = keras.layers.RNN.__module__.startswith("tf_keras")
FLAVOR = "tf_keras" if IS_TF_KERAS else "Keras 3"
ops = tf_keras_ops if IS_TF_KERAS else keras.ops

# Keeps TensorFlow from rewriting a function, for which it has to be without branches on tensors.
as_written = tf.autograph.experimental.do_not_convert

# What Keras makes an activation, initializer, regularizer or constraint of.
Identifier = str | dict | Callable | None

# Sequences, or batches of them: what becomes an array, a list of such, a dataset.
Data = Any

# Saved models name a class or function of ours by this and ">" before its name.
PACKAGE = "keras_fastgrnn"

_OTHER_PACKAGE = "keras" if IS_TF_KERAS else "tf_keras"
_OTHER_FLAVOR = "Keras 3" if IS_TF_KERAS else "tf_keras"
_LONGEST_VALUE = 100

_SWITCH = "unset TF_USE_LEGACY_KERAS" if IS_TF_KERAS else "set TF_USE_LEGACY_KERAS=1"


def mixed_flavors_message(what: str) -> str:
    """Returns the error text for an object of the other Keras.

    Args:
        what: String, the object that belongs to the other Keras.

    Returns:
        String.
    """
    return (
        f"{what} belongs to {_OTHER_FLAVOR}, but keras_fastgrnn runs on {FLAVOR} in this process. "
        f"Build everything with `tf.keras` ({FLAVOR}), or {_SWITCH} before TensorFlow is imported."
    )


def refuse_caller_of_other_flavor(what: str):
    """Raises an error if the function that calls this one was called by code of the other Keras.

    Args:
        what: String, the object that belongs to the other Keras.

    Raises:
        ValueError: If the two are mixed.
    """
    module = sys._getframe(2).f_globals.get("__name__", "")
    if module.partition(".")[0] == _OTHER_PACKAGE:
        raise ValueError(mixed_flavors_message(what))


def invalid_argument(argument: str, expected: str, value) -> ValueError:
    """Returns the error for an argument that is out of its range.

    Args:
        argument: String, its name.
        expected: String, what it may be.
        value: What was passed.
    """
    return ValueError(
        f"Received an invalid value for argument {argument}, expected {expected}, "
        f"got {_in_one_line(value)}."
    )


def _in_one_line(value) -> str:
    shape = getattr(value, "shape", ())
    if isinstance(shape, (tuple, tf.TensorShape)) and len(shape):
        return f"an array of shape {tuple(shape)}"
    text = " ".join(repr(value).split())
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."


def is_number(value) -> TypeGuard[float]:
    """Returns whether a value is a real number, NumPy's too, and no boolean."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def is_integer(value) -> TypeGuard[int]:
    """Returns whether a value is an integer, NumPy's too, and no boolean."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def checked_integer(argument: str, value, high: float = math.inf) -> int:
    """Returns a positive integer that a user passed, or raises the error for any other value.

    Args:
        argument: String, its name.
        value: What was passed.
        high: Integer, the largest allowed. Defaults to any.

    Returns:
        Integer.
    """
    if not (is_integer(value) and 1 <= value <= high):
        expected = "a positive integer" if high == math.inf else f"an integer in [1, {high}]"
        raise invalid_argument(argument, expected, value)
    return int(value)


def checked_boolean(argument: str, value) -> bool:
    """Returns a boolean that a user passed, NumPy's too, or raises the error for any other value.

    Args:
        argument: String, its name.
        value: What was passed.

    Returns:
        Boolean of Python.
    """
    if not isinstance(value, bool | np.bool_):
        raise invalid_argument(argument, "True or False", value)
    return bool(value)


def checked_verbose(value) -> int:
    """Returns whether to show progress, 0 or 1, or raises the error for any other value.

    Args:
        value: What was passed for the argument `verbose`.

    Returns:
        Integer.
    """
    if not isinstance(value, numbers.Integral | np.bool_) or value not in (0, 1):
        raise invalid_argument("verbose", "0 or 1", value)
    return int(value)


def checked_path(argument: str, value, expected: str = "a path") -> Path:
    """Returns a path that a user passed, or raises the error for any other value.

    Args:
        argument: String, its name.
        value: What was passed: a string, bytes or a `pathlib.Path`.
        expected: String, what the error calls it. Defaults to "a path".

    Returns:
        `pathlib.Path`.
    """
    is_path = isinstance(value, str | bytes | os.PathLike)
    if not is_path or "\0" in os.fsdecode(value):
        raise invalid_argument(argument, expected, value)
    return Path(os.fsdecode(value))


def register(function_or_class):
    """Registers a class or function with Keras, so that saved models load without help.

    Args:
        function_or_class: What a saved model may name.

    Returns:
        The same function or class.
    """
    if IS_TF_KERAS:  # its `.h5` files name the cell inside a layer without the package
        keras.utils.get_custom_objects().setdefault(function_or_class.__name__, function_or_class)
    return keras.utils.register_keras_serializable(package=PACKAGE)(function_or_class)
