"""Keras 3 and tf_keras: one a process, and a clear error where they are mixed."""

import numpy as np
import pytest
import tensorflow as tf

from keras_fastgrnn import FastGRNNCell, FastRNNCell, keras
from keras_fastgrnn.keras_api import FLAVOR, IS_TF_KERAS

if IS_TF_KERAS:
    import keras as other
else:
    import tf_keras as other

OTHER = "Keras 3" if IS_TF_KERAS else "tf_keras"
SWITCH = "unset TF_USE_LEGACY_KERAS" if IS_TF_KERAS else "set TF_USE_LEGACY_KERAS=1"
X = np.random.default_rng(0).normal(size=(2, 5, 3)).astype("float32")
B, T, D, H = *X.shape, 4


def test_flavor_is_the_one_that_tensorflow_chose():
    assert keras.layers.RNN is tf.keras.layers.RNN
    assert keras.layers.RNN is not other.layers.RNN
    assert FLAVOR != OTHER


def call(layer):
    return layer(tf.constant(X))


def call_with_initial_state(layer):
    return layer(tf.constant(X), initial_state=[tf.zeros((B, H))])


def call_in_a_function(layer):
    return tf.function(lambda x: layer(x, initial_state=[tf.zeros((B, H))]))(tf.constant(X))


def build_a_model(layer):
    inputs = other.layers.Input((T, D))
    return other.Model(inputs, layer(inputs))


def build_a_model_with_initial_state(layer):
    inputs, state = other.layers.Input((T, D)), other.layers.Input((H,))
    return other.Model([inputs, state], layer(inputs, initial_state=[state]))


def build_a_sequential_model(layer):
    return other.Sequential([other.layers.Input((T, D)), layer])


WAYS = [
    call,
    call_with_initial_state,
    call_in_a_function,
    build_a_model,
    build_a_model_with_initial_state,
    build_a_sequential_model,
]
WRAPPERS = {
    "RNN": lambda cell: other.layers.RNN(cell),
    "stateful RNN": lambda cell: other.layers.RNN(cell, stateful=True),
    "RNN of a list": lambda cell: other.layers.RNN([cell]),
    "StackedRNNCells": lambda cell: other.layers.RNN(other.layers.StackedRNNCells([cell])),
}


@pytest.mark.parametrize("use", WAYS)
@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
@pytest.mark.parametrize("cell", [FastGRNNCell, FastRNNCell])
def test_recurrent_layer_of_the_other_keras_is_refused(cell, wrap, use):
    with pytest.raises(ValueError) as error:
        use(wrap(cell(H)))
    assert (
        f"The recurrent layer around this cell belongs to {OTHER}, but keras_fastgrnn runs on "
        f"{FLAVOR} in this process. Build everything with `tf.keras` ({FLAVOR}), or {SWITCH} "
        "before TensorFlow is imported."
    ) in str(error.value)


@pytest.mark.parametrize("use", [call, call_with_initial_state])
def test_recurrent_layer_of_this_keras_is_not_refused(use):
    layer = keras.layers.RNN(FastGRNNCell(H))
    assert tuple(use(layer).shape) == (B, H)
    assert len(layer.trainable_weights) == 6


@pytest.mark.parametrize(
    ("environment", "flavor"), [({}, "Keras 3"), ({"TF_USE_LEGACY_KERAS": "1"}, "tf_keras")]
)
def test_import_takes_the_flavor_of_the_process_and_changes_nothing(
    environment, flavor, run_python
):
    code = """
import os, sys
import tensorflow
before = dict(os.environ)
tensorflow.keras.layers
modules = set(sys.modules)
import keras_fastgrnn
from keras_fastgrnn.keras_api import FLAVOR
assert os.environ == before
others = [name for name in set(sys.modules) - modules if not name.startswith("keras_fastgrnn")]
assert not others, others  # each would take its time
assert "tensorflow_model_optimization" not in sys.modules
assert ("tf_keras" in sys.modules) == (FLAVOR == "tf_keras")
print(FLAVOR)
"""
    assert run_python("-c", code, **environment).strip() == flavor
