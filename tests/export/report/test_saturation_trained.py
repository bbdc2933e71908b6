"""What training has clipped itself is no alarm on the device; what it never saw is."""

import warnings

import numpy as np
import pytest
import tensorflow as tf
from aware_models import FORMATS
from small_models import needs_tflm

from keras_fastgrnn import FastGRNN, FastRNN, export, keras
from keras_fastgrnn.quantization import quantize_aware

pytestmark = pytest.mark.filterwarnings("ignore::keras_fastgrnn.export.PrecisionWarning")

LAYERS = keras.layers
FUNCTIONS = ["tanh", "sigmoid", "relu", "quant_tanh", "quant_sigmoid", "quant_sigmoid4"]
STEPS = 6


def warnings_of(deployed, x, on="reference", **arguments):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        deployed.predict(x, on=on, **arguments)
    return [str(w.message) for w in caught if issubclass(w.category, export.SaturationWarning)]


def drawn_model(rng):
    """A float model as a user would have it, and raw sensor data for it with outliers."""
    keras.utils.set_random_seed(0)
    channels, units = rng.integers(1, 5), int(rng.integers(2, 9))
    unit, offset = rng.choice([1.0, 40.0]), rng.choice([0.0, 100.0])
    x = rng.standard_t(4, size=(48, STEPS, channels)) * unit + offset
    settings = {
        "activation": str(rng.choice(FUNCTIONS)),
        "use_bias": bool(rng.integers(2)),
        "kernel_rank": rng.choice([None, 1]),
    }
    kind = FastRNN if rng.random() < 0.3 else FastGRNN
    if kind is FastGRNN:
        settings["recurrent_activation"] = str(rng.choice(["sigmoid", "tanh", "quant_sigmoid"]))
    model = keras.Sequential(
        [
            LAYERS.Input((STEPS, int(channels))),
            LAYERS.Normalization(mean=x.mean(axis=(0, 1)), variance=x.var(axis=(0, 1))),
            kind(units, **settings),
            LAYERS.Dense(3, activation=rng.choice([None, "softmax"])),
        ]
    )
    for weight in model.trainable_weights:
        weight.assign_add(rng.normal(0.0, rng.choice([0.2, 2.0]), tuple(weight.shape)))
    return model, x.astype("float32")


def train(model, x, steps=6, learning_rate=1e-4):
    """Some steps of gradient descent, each on a part of the data."""
    target = np.tanh(x[:, -1, :1] - x[:, 0, :1]).astype("float32")
    optimizer = keras.optimizers.SGD(learning_rate)
    for step in range(steps):
        part = slice(step % 3, None, 3)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(x[part], training=True) - target[part]))
        gradients, _ = tf.clip_by_global_norm(tape.gradient(loss, model.trainable_weights), 1.0)
        optimizer.apply_gradients(zip(gradients, model.trainable_weights, strict=True))


@pytest.mark.parametrize("quantization", FORMATS)
@pytest.mark.parametrize("seed", range(4))
def test_random_model_gives_no_warning_on_its_training_data(seed, quantization):
    rng = np.random.default_rng(seed)
    model, x = drawn_model(rng)
    aware = quantize_aware(model, quantization)
    train(aware, x)
    assert warnings_of(export.convert(aware), x) == []


def accumulator(quantization, x=np.ones((1, 10, 1))):  # noqa: B008
    """Adds its inputs up, `h' = x + h`, and has seen `x`, which adds up to 10."""
    layer = FastRNN(
        1, "linear", use_bias=False, alpha_initializer=30.0, beta_initializer=30.0, name="sum"
    )
    model = keras.Sequential([LAYERS.Input((None, 1)), layer, LAYERS.Dense(1, use_bias=False)])
    for weight, number in zip(model.trainable_weights, (1.0, 0.0, 30.0, 30.0, 0.001), strict=True):
        weight.assign(np.full(tuple(weight.shape), number))
    return quantize_aware(model, quantization, calibration_data=x)


@pytest.mark.parametrize("on", [pytest.param("tflm", marks=needs_tflm), "reference"])
@pytest.mark.parametrize("quantization", FORMATS)
def test_state_driven_beyond_what_training_saw_is_named_first(quantization, on):
    deployed = export.convert(accumulator(quantization))
    assert warnings_of(deployed, np.ones((1, 10, 1)), on) == []
    (message,) = warnings_of(deployed, np.ones((1, 60, 1)), on)
    told = message.partition("as the device clips them: ")[2]
    assert told.startswith("the state 'sum/state' beyond ")
    assert "sequences as long as the device's" in told


def test_average_of_ranges_is_no_alarm_up_to_the_values_that_training_clipped():
    aware = accumulator("int8")
    x = np.zeros((1, 4, 1), "float32")
    for largest in (1.0, 1.0, 5.0):
        x[0, 0] = largest
        aware(x, training=True)
    deployed = export.convert(aware)
    (source,) = (t for t in deployed.graph.tensors() if t.name == "input")
    assert source.seen == (0.0, 5.0)
    x[0, 0] = 4.0
    assert not any("'input'" in message for message in warnings_of(deployed, x))
    (report,) = (t for t in export.convert(aware, x).report.tensors if t.name == "input")
    assert (report.saturated, report.lost, report.seen) == (1, 0, (0.0, 5.0))


@pytest.mark.parametrize("quantization", FORMATS)
def test_input_beyond_what_training_saw_is_told(quantization):
    deployed = export.convert(accumulator(quantization))
    (message,) = warnings_of(deployed, np.array([[[3.0], [-3.0]]]))
    assert "'input' beyond " in message


@pytest.mark.parametrize("seed", range(3))
def test_plain_c_gives_no_warning_on_its_calibration_or_training_data(seed):
    model, x = drawn_model(np.random.default_rng(seed))
    assert warnings_of(export.convert_c(model, x), x) == []
    aware = quantize_aware(model, calibration_data=x)
    assert warnings_of(export.convert_c(aware), x) == []


@pytest.mark.parametrize("seed", range(5))
def test_int8_model_gives_no_warning_on_its_calibration_data(seed):
    model, x = drawn_model(np.random.default_rng(seed))
    assert warnings_of(export.convert(model, x, quantization="int8"), x) == []


def test_head_whose_last_answer_alone_counts_is_told_of_where_all_are_asked_for():
    """Before its last step the sum, and so the head, is twenty times as large."""
    x = np.repeat([[2.0], [-1.9]], 5, axis=0)[np.newaxis]
    deployed = export.convert(accumulator("int16x8", x))
    assert warnings_of(deployed, x) == []
    (message,) = warnings_of(deployed, x, return_sequences=True)
    (head,) = deployed.graph.outputs
    assert message.partition("as the device clips them: ")[2].startswith(f"{head.name!r} beyond")
