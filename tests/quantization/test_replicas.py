"""Replicas of a strategy train one quantized model: two devices, and two processes."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from keras_fastgrnn import FastGRNN, export, keras, recipe, sparsity
from keras_fastgrnn.keras_api import IS_TF_KERAS
from keras_fastgrnn.quantization import quantize_aware

SCRIPT = Path(__file__).parents[1] / "replica_training.py"
SECONDS = 1200


def started(*arguments, **environment):
    """The training script in a process of its own, in this process's Keras."""
    return subprocess.Popen(
        [sys.executable, SCRIPT, *arguments],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def answered(processes) -> list[dict]:
    """What each process prints; none of them is left running."""
    try:
        texts = [process.communicate(timeout=SECONDS) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, (_, errors) in zip(processes, texts, strict=True):
        assert process.returncode == 0, errors
    return [json.loads(output.splitlines()[-1]) for output, _ in texts]


@pytest.fixture(scope="module")
def devices():
    """What two devices of this processor trained."""
    (result,) = answered([started("devices")])
    return result


@pytest.fixture(scope="module")
def workers():
    """What each of two processes, which find each other on this machine, trained."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(2)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    cluster = {"cluster": {"worker": addresses}}
    configs = [json.dumps({**cluster, "task": {"type": "worker", "index": i}}) for i in range(2)]
    return answered([started("workers", TF_CONFIG=config) for config in configs])


def largest_difference(first, second):
    return max(
        np.abs(np.subtract(a, b)).max(initial=0.0) for a, b in zip(first, second, strict=True)
    )


def test_two_devices_export_the_model_whose_ranges_numpy_aggregates(devices):
    replicas, expected = devices["replicas"], devices["numpy"]
    assert replicas["copies"] == 2 and expected["copies"] == 1
    assert replicas["ranges"] == expected["ranges"]
    assert replicas["tflite"] == expected["tflite"]


def test_every_device_holds_the_same_weights_and_ranges(devices):
    assert devices["replicas"]["copies_agree"]
    assert devices["two"]["copies"] == 2 and devices["two"]["copies_agree"]


def test_two_devices_train_what_one_trains_of_the_same_batches(devices):
    """But for the order in which gradients are added up: a few parts in 10^7 of the weights."""
    assert largest_difference(devices["two"]["weights"], devices["one"]["weights"]) < 1e-6
    assert largest_difference(devices["two"]["ranges"], devices["one"]["ranges"]) < 1e-5


def test_own_scheme_of_tfmot_is_refused_on_two_devices(devices):
    of_keras_3 = "TF-MOT quantizes models of tf_keras only"
    expected = "expected a FastGRNNQuantizeScheme" if IS_TF_KERAS else of_keras_3
    assert expected in devices["refusal"]
    assert "\n" not in devices["refusal"]


def test_two_workers_export_the_model_whose_ranges_numpy_aggregates(workers):
    for worker in workers:
        assert worker["replicas"]["ranges"] == worker["numpy"]["ranges"]
        assert worker["replicas"]["tflite"] == worker["numpy"]["tflite"]
    assert workers[0] == workers[1]


def model():
    return keras.Sequential([keras.layers.Input((4, 2)), FastGRNN(3), keras.layers.Dense(2)])


@pytest.fixture
def mirrored():
    """A strategy whose variables are mirrored, though on one device."""
    return tf.distribute.MirroredStrategy(["CPU:0"])


def test_pruning_and_its_report_take_mirrored_weights(mirrored):
    with mirrored.scope():
        made = model()
        made.compile("sgd", "mse", jit_compile=False)
    schedule = sparsity.IterativeHardThresholding(0.5, 1, 3, frequency=1)
    pruning = sparsity.PruneLowMagnitude(schedule, schedule)
    made.fit(np.ones((4, 4, 2)), np.ones((4, 2)), epochs=2, verbose=0, callbacks=[pruning])
    with mirrored.scope():
        kept = [matrix.kept for matrix in sparsity.report(made).matrices[:2]]
    assert kept == [np.count_nonzero(weights) for weights in made.get_weights()[:2]] == [3, 4]


def test_recipe_trains_in_the_scope_of_its_model_and_is_exported(mirrored):
    x, y = np.random.default_rng(0).normal(size=(8, 4, 2)), np.array([0, 1] * 4)
    settings = {"validation_data": (x, y), "epochs": 3, "quantization_epochs": 1, "verbose": 0}
    with mirrored.scope():
        result = recipe.fit_lsq(model(), x, y, recurrent_sparsity=0.5, **settings)
    assert result.model.distribute_strategy is mirrored
    assert export.convert(result.model).predict(x, on="reference").shape == (8, 2)


def test_model_made_in_a_scope_is_quantized_for_its_strategy_outside_of_it(mirrored):
    with mirrored.scope():
        made = model()
    assert quantize_aware(made).distribute_strategy is mirrored


def test_strategy_whose_replicas_share_variables_is_refused_before_training():
    strategy = tf.distribute.experimental.CentralStorageStrategy(["CPU:0"])
    with strategy.scope(), pytest.raises(ValueError, match="got 'CentralStorageStrategy'") as error:
        quantize_aware(model())
    assert "\n" not in str(error.value)


def test_recipe_is_refused_outside_of_the_scope_of_its_model(mirrored):
    with mirrored.scope():
        made = model()
    data = np.ones((4, 4, 2)), np.array([0, 1, 0, 1])
    with pytest.raises(ValueError, match="^Received an invalid value for argument model") as error:
        recipe.fit_lsq(made, *data, validation_data=data, epochs=3, verbose=0)
    assert "\n" not in str(error.value)
