"""Trains models on two replicas and, for comparison, on one device; run by `test_replicas.py`.

`python replica_training.py devices` makes two devices of this processor. `... workers` is one of
the two processes that the environment's `TF_CONFIG` names. Prints one line of JSON.
"""

import base64
import contextlib
import json
import sys

import numpy as np
import tensorflow as tf

from keras_fastgrnn import FastGRNN, export, keras
from keras_fastgrnn.keras_api import IS_TF_KERAS
from keras_fastgrnn.quantization import quantize_aware

BATCH, STEPS, CHANNELS, REPLICAS = 8, 4, 3, 2
LEARNING_RATE = 0.02


def data():
    """Sequences that grow, so that each replica sees another range."""
    x = np.random.default_rng(0).normal(size=(3 * BATCH, STEPS, CHANNELS))
    x *= np.linspace(0.5, 5.0, len(x))[:, np.newaxis, np.newaxis]
    return x.astype("float32"), x[:, -1, :2].astype("float32")


def float_model():
    keras.utils.set_random_seed(1)
    layer = FastGRNN(4, kernel_rank=2)
    return keras.Sequential([keras.layers.Input((STEPS, CHANNELS)), layer, keras.layers.Dense(2)])


def ranges_of(model):
    """The weights that hold ranges."""
    return [one for layer in model.layers for one in layer.weights if "_range" in one.name]


def copies(weight):
    """The values of a weight on every replica of this process."""
    variable = weight if IS_TF_KERAS else weight.value
    return [one.numpy() for one in getattr(variable, "values", [variable])]


def trained(quantization, learning_rate, strategy, scope_of_quantize_aware):
    """A quantization-aware model after two passes over the data."""
    with strategy.scope():
        model = float_model()
    with scope_of_quantize_aware:
        model = quantize_aware(model, quantization, calibration_data=data()[0][:2])
    with strategy.scope():
        model.compile(keras.optimizers.SGD(learning_rate), "mse", jit_compile=False)
    sharding = tf.data.Options()
    sharding.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    batches = tf.data.Dataset.from_tensor_slices(data()).batch(BATCH).with_options(sharding)
    is_worker = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
    if is_worker and not IS_TF_KERAS:  # fit of Keras 3 trains on one worker only
        run = tf.function(lambda x, y: strategy.run(model, args=(x,), kwargs={"training": True}))
        for _ in range(2):
            for x, y in strategy.experimental_distribute_dataset(batches):
                run(x, y)
    else:
        model.fit(batches, epochs=2, verbose=0)
    return model


def aggregated_by_numpy(quantization):
    """The model whose ranges are those of both halves of every batch, without any strategy.

    One device runs each half from the same ranges; NumPy takes the lowest low and highest high.
    """
    x, _ = data()
    model = quantize_aware(float_model(), quantization, calibration_data=x[:2])
    run = tf.function(lambda half: model(half, training=True))
    for batch in 2 * np.split(x, len(x) // BATCH):
        before, seen = [one.numpy() for one in ranges_of(model)], []
        for half in np.split(batch, REPLICAS):
            for one, value in zip(ranges_of(model), before, strict=True):
                one.assign(value)
            run(half)
            seen.append([one.numpy() for one in ranges_of(model)])
        for one, *halves in zip(ranges_of(model), *seen, strict=True):
            lows, highs = np.stack(halves, axis=1)
            one.assign(np.stack([lows.min(axis=0), highs.max(axis=0)]))
    return model


def described(model):
    deployed = export.convert(model)
    return {
        "tflite": base64.b64encode(deployed.tflite).decode(),
        "ranges": [one.numpy().tolist() for one in ranges_of(model)],
        "weights": [one.numpy().tolist() for one in model.trainable_weights],
        "copies": len(copies(model.weights[0])),
        "copies_agree": all(np.ptp(copies(one), axis=0).max() == 0.0 for one in model.weights),
    }


def refusal_of_tfmot(strategy):
    """What TF-MOT's own scheme, which keeps other ranges on every replica, is answered."""
    from keras_fastgrnn.quantization.tfmot_training import FastGRNNQuantizeConfig, tfmot

    quantization = tfmot.quantization.keras
    with strategy.scope():
        try:
            layers = [
                keras.layers.Input((STEPS, CHANNELS)),
                quantization.quantize_annotate_layer(FastGRNN(3), FastGRNNQuantizeConfig()),
                quantization.quantize_annotate_layer(keras.layers.Dense(2)),
            ]
            quantization.quantize_apply(keras.Sequential(layers))
        except ValueError as error:
            return str(error)
    return "nothing"


def two_replicas(is_worker):
    """The strategy, which TensorFlow wants before it computes anything."""
    if is_worker:
        return tf.distribute.MultiWorkerMirroredStrategy()
    (processor,) = tf.config.list_physical_devices("CPU")
    halves = [tf.config.LogicalDeviceConfiguration()] * REPLICAS
    tf.config.set_logical_device_configuration(processor, halves)
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


if __name__ == "__main__":
    is_worker = sys.argv[1:] == ["workers"]
    strategy = two_replicas(is_worker)
    # Weights that stay make the ranges those that NumPy can tell; then they may change.
    result = {
        "replicas": described(trained("int8", 0.0, strategy, strategy.scope())),
        "numpy": described(aggregated_by_numpy("int8")),
    }
    if not is_worker:
        outside, one = contextlib.nullcontext(), tf.distribute.OneDeviceStrategy("CPU:0")
        result["two"] = described(trained("int16x8", LEARNING_RATE, strategy, outside))
        result["one"] = described(trained("int16x8", LEARNING_RATE, one, one.scope()))
        result["refusal"] = refusal_of_tfmot(strategy)
    print(json.dumps(result))
