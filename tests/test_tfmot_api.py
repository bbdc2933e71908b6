"""TF-MOT, imported without changing the process."""

import pytest

CODE = """
import os
import tensorflow as tf
before = os.environ.get("TF_USE_LEGACY_KERAS")
import keras_fastgrnn.sparsity
assert os.environ.get("TF_USE_LEGACY_KERAS") == before, os.environ["TF_USE_LEGACY_KERAS"]
from keras_fastgrnn.keras_api import FLAVOR, IS_TF_KERAS, keras
assert tf.keras.layers.RNN is keras.layers.RNN
assert tf.keras.layers.RNN.__module__.startswith("tf_keras") == IS_TF_KERAS
print(FLAVOR)
"""


@pytest.mark.parametrize(
    ("environment", "flavor"),
    [
        ({}, "Keras 3"),
        ({"TF_USE_LEGACY_KERAS": "0"}, "Keras 3"),
        ({"TF_USE_LEGACY_KERAS": "1"}, "tf_keras"),
    ],
)
def test_importing_it_leaves_the_environment_and_the_keras_as_they_were(
    environment, flavor, run_python
):
    assert run_python("-c", CODE, **environment).strip() == flavor


REFUSAL = """
from keras_fastgrnn.quantization import tfmot_training

FastGRNNQuantizeConfig = tfmot_training.FastGRNNQuantizeConfig
FastGRNNQuantizeScheme = tfmot_training.FastGRNNQuantizeScheme
for kind in FastGRNNQuantizeConfig, FastGRNNQuantizeScheme:
    try:
        kind()
    except ValueError as error:
        print(error)
"""


def test_its_quantization_is_refused_in_keras_3(run_python):
    first, second = run_python("-c", REFUSAL).splitlines()
    assert first == second
    assert first.startswith("TF-MOT quantizes models of tf_keras only, but keras_fastgrnn runs on")
    assert "Use keras_fastgrnn.quantization.quantize_aware, or set TF_USE_LEGACY_KERAS=1" in first
