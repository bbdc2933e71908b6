"""Ranges in training, what is saved of a quantization-aware model, and its configuration."""

import numpy as np
import pytest
import tensorflow as tf
from aware_models import FORMATS, aware, data, fitted
from small_models import compile_to_fit

from keras_fastgrnn import FastGRNN, FastGRNNCell, FastRNN, FastRNNCell, export, keras
from keras_fastgrnn.keras_api import IS_TF_KERAS
from keras_fastgrnn.models import copied
from keras_fastgrnn.quantization.aware_layers import Options, options_of
from keras_fastgrnn.quantization.layer_scales import scales_of

LAYERS = keras.layers

MODELS = {
    "int16x8": lambda: aware(FastGRNN(4)),
    "int8": lambda: aware(FastGRNN(4), quantization="int8"),
    "folded": lambda: aware(
        LAYERS.Normalization(mean=[0.1, -0.2, 0.3], variance=[4.0, 0.25, 1.0]),
        LAYERS.Dropout(0.1),
        FastGRNN(4, use_bias=False, return_sequences=True),
        FastRNN(3),
    ),
    "stack, low rank, every option": lambda: aware(
        LAYERS.RNN([FastGRNNCell(5, "quant_tanh", kernel_rank=2), FastRNNCell(4)]),
        LAYERS.Dropout(0.2),
        LAYERS.Dense(3, "tanh"),
        quantization="int8",
        weight_bits=4,
        power_of_two_weights=True,
        byte_biases=True,
        preserve_zeros=False,
    ),
}


def ranges(model):
    """The ranges of a model's layers by name."""
    found = [w for w in model.non_trainable_weights if "_range" in w.name]
    return {getattr(w, "path", w.name): w.numpy() for w in found}


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    keras.utils.set_random_seed(0)
    return fitted(MODELS[request.param]())


def assert_same_model(found, model):
    x, _ = data()
    for weight, expected in zip(found.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)
    np.testing.assert_array_equal(np.asarray(found(x)), np.asarray(model(x)))
    assert export.convert(found).tflite == export.convert(model).tflite


# Saving


def test_archive_is_the_model(model, tmp_path):
    model.save(tmp_path / "model.keras")
    assert_same_model(keras.models.load_model(tmp_path / "model.keras"), model)


def test_weights_load_into_a_new_model_of_the_same_layers(model, tmp_path):
    model.save_weights(tmp_path / "model.weights.h5")
    clone = keras.models.clone_model(model)
    assert not any(np.any(values) for values in ranges(clone).values())
    clone.load_weights(tmp_path / "model.weights.h5")
    assert_same_model(clone, model)


def test_copy_is_the_model(model):
    assert_same_model(copied(model), model)


def test_configuration_of_the_model_makes_the_same_model(model):
    copy = keras.models.model_from_json(model.to_json())
    copy.set_weights(model.get_weights())
    assert_same_model(copy, model)


def test_saved_model_answers_the_same(model, tmp_path):
    x, _ = data()
    if IS_TF_KERAS:
        model.save(tmp_path / "saved", save_format="tf")
        served = tf.saved_model.load(str(tmp_path / "saved"))
        answers = served(x)
    else:
        model.export(tmp_path / "saved", verbose=False)
        served = tf.saved_model.load(str(tmp_path / "saved"))
        answers = served.serve(x)
    # The same operations, split otherwise; a rounding may go the other way.
    unit = scales_of(model.layers[-1])[model.layers[-1].name].scale
    np.testing.assert_allclose(answers, model(x), atol=2.1 * unit)


@pytest.mark.parametrize("quantization", FORMATS)
def test_training_goes_on_after_loading_as_if_it_had_not_stopped(quantization, tmp_path):
    first = fitted(aware(FastGRNN(4), quantization=quantization), epochs=2)
    first.save(tmp_path / "model.keras")
    second = keras.models.load_model(tmp_path / "model.keras")
    before = [w.copy() for w in first.get_weights()]
    for model in (first, second):
        fitted(model, epochs=2)
    assert any(np.any(old != new) for old, new in zip(before, first.get_weights(), strict=True))
    for found, expected in zip(second.get_weights(), first.get_weights(), strict=True):
        # Threads add gradients in any order; without its moments Adam would be 1e-3 off.
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    x, _ = data()
    np.testing.assert_array_equal(np.asarray(second(x)), np.asarray(first(x)))


# Ranges


def loop_ranges(model):
    return {name: values for name, values in ranges(model).items() if "cell" in name}


@pytest.mark.parametrize("quantization", FORMATS)
def test_ranges_of_the_loop_grow_with_training_and_never_shrink(quantization):
    model = aware(FastGRNN(4), quantization=quantization)
    x, _ = data()
    before = loop_ranges(model)
    assert before
    model(0.1 * x, training=True)
    for name, values in loop_ranges(model).items():
        np.testing.assert_array_equal(values, before[name])
    model(10.0 * x, training=True)
    after = loop_ranges(model)
    for name, (low, high) in after.items():
        assert np.all(low <= before[name][0]) and np.all(high >= before[name][1])
    assert any(np.any(after[name] != before[name]) for name in after)


@pytest.mark.parametrize("quantization", FORMATS)
def test_ranges_stay_in_prediction(quantization):
    model = aware(FastGRNN(4), quantization=quantization)
    x, _ = data()
    before = ranges(model)
    model(100.0 * x)
    model.predict(100.0 * x, verbose=0)
    for name, values in ranges(model).items():
        np.testing.assert_array_equal(values, before[name])


def test_int8_range_of_the_input_follows_the_batches_and_the_int16_one_holds_all():
    x, _ = data()
    for quantization in FORMATS:
        model = aware(FastGRNN(4), quantization=quantization)
        (name,) = (n for n in ranges(model) if "input_range" in n and "extremes" not in n)
        first = ranges(model)[name]
        np.testing.assert_allclose(first, [min(x.min(), 0.0), x.max()], rtol=1e-6)
        model(2.0 * x, training=True)
        expected = 1.01 * first if quantization == "int8" else 2.0 * first
        np.testing.assert_allclose(ranges(model)[name], expected, rtol=1e-5)


def test_ranges_learned_in_fit_are_those_of_the_same_calls():
    x, y = data()
    called, trained = (aware(FastGRNN(4), calibrated=False) for _ in range(2))
    called(x, training=True)
    compile_to_fit(trained, keras.optimizers.SGD(0.0), "mse", jit_compile=False)
    trained.fit(x, y, batch_size=len(x), epochs=1, verbose=0)
    for found, expected in zip(ranges(trained).values(), ranges(called).values(), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4)


# Configurations


def test_layers_tell_their_options():
    model = MODELS["stack, low rank, every option"]()
    expected = Options("int8", 4, True, True, False)
    recurrent, _, *heads = model.layers[1:]
    assert [options_of(layer) for layer in (recurrent, *heads)] == [expected] * 3


@pytest.mark.parametrize(
    "options",
    [{"quantization": "int4"}, {"weight_bits": 2}, {"weight_bits": True}, {"quantization": None}],
    ids=str,
)
def test_options_are_checked(options):
    ((name, value),) = options.items()
    with pytest.raises(ValueError, match=f"^Received an invalid value for argument {name}, expec"):
        Options(**options)
