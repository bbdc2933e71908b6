"""Who follows the advice of an error or a warning gets an export that computes what Keras does."""

import json
import re
import warnings

import h5py
import numpy as np
import pytest
from small_models import CHANNELS, STEPS, answers_of, drawn, sequences, sequential

from keras_fastgrnn import FastGRNN, FastRNN, export, keras
from keras_fastgrnn.export.foreign.load_keras import load_model
from keras_fastgrnn.keras_api import IS_TF_KERAS

LAYERS = keras.layers
TOLERANCE = 0.06  # of the outputs' deviation; int8 weights alone leave 0.003 to 0.06


def refusal(model, x=None) -> str:
    with pytest.raises(ValueError) as error:
        export.convert(model, sequences() if x is None else x)
    return str(error.value)


def check_export(model, x=None):
    """The device's integers agree with Keras."""
    x = sequences() if x is None else x
    expected = answers_of(model, x)
    found = export.convert(model, x).predict(x, on="reference")
    assert np.sqrt(np.mean((found - expected) ** 2)) < TOLERANCE * expected.std()


# Files


def saved_weights(model, folder):
    path = folder / "trained.weights.h5"
    model.save_weights(path)
    return path


def saved_weights_of_keras_2(model, folder):
    """As Keras 2 writes them: the layers' weights as data sets, and no configuration."""
    path = folder / "trained.h5"
    model.save(path)
    with h5py.File(path, "r+") as file:
        del file.attrs["model_config"]
        for name in file["model_weights"]:
            file.move(f"model_weights/{name}", name)
        for name, value in file["model_weights"].attrs.items():
            file.attrs[name] = value
        del file["model_weights"]
    return path


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize("save", [saved_weights, saved_weights_of_keras_2])
def test_weights_alone_are_loaded_into_the_model_they_are_of(save, tmp_path):
    build = lambda seed: sequential(FastGRNN(3), LAYERS.Dense(2), seed=seed)  # noqa: E731
    trained, rebuilt = build(1), build(2)
    path = save(trained, tmp_path)
    with pytest.raises(
        ValueError, match="holds weights without a model. Build the model in Python"
    ):
        load_model(path)
    rebuilt.load_weights(path)
    rebuilt.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(sequences()), trained.predict(sequences()))


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_gru_of_a_keras_without_reset_after_is_rebuilt_without_it(tmp_path):
    build = lambda seed: sequential(  # noqa: E731
        LAYERS.GRU(3, reset_after=False), LAYERS.Dense(2), seed=seed
    )
    trained, rebuilt = build(1), build(2)
    path = tmp_path / "old.h5"
    trained.save(path)
    with h5py.File(path, "r+") as file:  # as Keras 2.1.6 wrote it
        config = json.loads(file.attrs["model_config"])
        for layer in config["config"]["layers"]:
            layer["config"].pop("reset_after", None)
        file.attrs["model_config"] = json.dumps(config)
        file.attrs["keras_version"] = "2.1.6"
    with pytest.raises(ValueError, match=r"had no argument reset_after\. Build the model with GRU"):
        load_model(path)
    rebuilt.load_weights(path)
    np.testing.assert_array_equal(rebuilt.predict(sequences()), trained.predict(sequences()))
    check_export(rebuilt)


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_gru_with_either_reset_after_is_loaded(tmp_path):
    for reset_after in (True, False):
        model = sequential(LAYERS.GRU(3, reset_after=reset_after), LAYERS.Dense(2))
        model.save(tmp_path / "model.h5", overwrite=True)
        loaded = load_model(tmp_path / "model.h5")
        np.testing.assert_array_equal(loaded.predict(sequences()), model.predict(sequences()))


def test_saved_model_is_saved_again_as_one_file(tmp_path):
    model = sequential(FastGRNN(3), LAYERS.Dense(2))
    folder = tmp_path / "saved"
    if IS_TF_KERAS:
        model.save(folder, save_format="tf")
    else:
        model.export(folder, verbose=False)
    with pytest.raises(ValueError, match="is a SavedModel") as error:
        load_model(folder)
    if IS_TF_KERAS:
        (advice,) = re.findall(
            r"(keras\.models\.load_model\('.*'\)\.save\('model\.keras'\))", str(error.value)
        )
        assert advice == f"keras.models.load_model({str(folder)!r}).save('model.keras')"
        model = keras.models.load_model(str(folder))
    else:
        assert "where it was made: model.save('model.keras')" in str(error.value)
    model.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(sequences()), model.predict(sequences()))


# Layers

RECURRENT = lambda: [FastGRNN(4), LAYERS.Dense(2)]  # noqa: E731


@pytest.mark.parametrize(
    "make",
    [
        lambda: LAYERS.Rescaling(0.5, 1.0),
        lambda: LAYERS.BatchNormalization(),
    ],
    ids=["Rescaling", "BatchNormalization"],
)
def test_wrapped_layer_acts_step_by_step_without_its_wrapper(make):
    wrapped = sequential(LAYERS.TimeDistributed(make(), name="culprit"), *RECURRENT())
    kind = type(wrapped.layers[0].layer).__name__
    line = f"- culprit (TimeDistributed): {kind} acts step by step by itself; use it without the "
    assert line in refusal(wrapped)
    plain = sequential(make(), *RECURRENT())
    plain.set_weights(wrapped.get_weights())
    expected = answers_of(wrapped, sequences())
    np.testing.assert_allclose(answers_of(plain, sequences()), expected, atol=1e-6)
    check_export(plain)


@pytest.mark.parametrize("is_wrapped", [False, True])
def test_layer_normalization_is_refused_with_what_can_be_trained_instead(is_wrapped):
    layer = LAYERS.LayerNormalization()
    message = refusal(
        sequential(LAYERS.TimeDistributed(layer) if is_wrapped else layer, *RECURRENT())
    )
    assert ("of the LayerNormalization in it, " in message) == is_wrapped
    assert "train with BatchNormalization, which is folded into the next layer." in message


@pytest.mark.parametrize("place", ["first", "before a recurrent layer", "before the head", "last"])
@pytest.mark.parametrize("arguments", [{}, {"scale": False}, {"center": False, "epsilon": 0.1}])
def test_batch_normalization_is_exported_wherever_it_stands(place, arguments):
    layer = LAYERS.BatchNormalization(**arguments)
    layers = {
        "first": [layer, FastGRNN(4), LAYERS.Dense(2)],
        "before a recurrent layer": [FastRNN(4, return_sequences=True), layer, LAYERS.GRU(3)],
        "before the head": [FastGRNN(4), layer, LAYERS.Dense(2)],
        "last": [FastGRNN(4), LAYERS.Dense(2), layer],
    }[place]
    model = sequential(*layers)
    rng = np.random.default_rng(0)
    layer.moving_mean.assign(rng.normal(size=tuple(layer.moving_mean.shape)))
    layer.moving_variance.assign(rng.uniform(0.2, 2.0, tuple(layer.moving_variance.shape)))
    check_export(model)
    x = sequences()
    exact = export.convert(model, quantization=None).predict(x, on="reference")
    np.testing.assert_allclose(exact, answers_of(model, x), atol=1e-5)


def test_batch_normalization_over_steps_is_refused():
    model = sequential(LAYERS.BatchNormalization(axis=1), *RECURRENT())
    assert "it normalizes over steps; use axis=-1." in refusal(model)


# Inputs, outputs, subclasses


def test_two_heads_are_two_models_or_one_layer():
    x = LAYERS.Input((STEPS, CHANNELS))
    state = FastGRNN(4)(x)
    heads = [LAYERS.Dense(n, "softmax", name=f"head_{n}") for n in (2, 3)]
    model = drawn(keras.Model(x, [head(state) for head in heads]))
    assert (
        "Convert a model for each output, keras.Model(model.inputs, model.outputs[0])"
        in refusal(model)
    )
    for output in model.outputs:
        check_export(keras.Model(model.inputs, output))
    joined = LAYERS.Dense(5)
    one = keras.Model(x, joined(state))
    joined.set_weights(
        [np.concatenate(w, -1) for w in zip(*(h.get_weights() for h in heads), strict=True)]
    )
    logits = export.convert(one, sequences()).predict(sequences(), on="reference")
    expected = model.predict(sequences(), verbose=0)
    for head, part in zip(expected, (slice(2), slice(2, None)), strict=True):
        np.testing.assert_array_equal(logits[:, part].argmax(-1), head.argmax(-1))


def test_two_inputs_are_one_of_all_channels():
    parts = [LAYERS.Input((STEPS, n)) for n in (2, 1)]
    layers = RECURRENT()

    def through(value):
        for layer in layers:
            value = layer(value)
        return value

    model = drawn(keras.Model(parts, through(LAYERS.Concatenate()(parts))))
    assert "Put the channels of all inputs beside each other in the data, and build" in refusal(
        model
    )
    whole = LAYERS.Input((STEPS, CHANNELS))
    check_export(keras.Model(whole, through(whole)))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.recurrent, self.head = RECURRENT()

    def call(self, x, training=None):
        return self.head(self.recurrent(x, training=training))


def test_subclassed_model_is_made_functional_by_its_own_call():
    model = Subclassed()
    expected = np.asarray(model(sequences()))
    assert "Give keras.Model(x, model.call(x)) with x = keras.Input((steps, input_dim))" in refusal(
        model
    )
    x = keras.Input((STEPS, CHANNELS))
    functional = keras.Model(x, model.call(x))
    np.testing.assert_allclose(functional.predict(sequences(), verbose=0), expected, atol=1e-6)
    check_export(functional)


# Targets


@pytest.mark.parametrize(("quantization", "deviation"), [("int16x8", 0.05), ("int8", 1.0)])
def test_target_far_from_zero_is_trained_without_its_mean(quantization, deviation):
    """Air pressure: 1013 hPa."""
    model = sequential(FastGRNN(4), LAYERS.Dense(1))
    x = sequences(64)
    answers = answers_of(model, x)
    *_, kernel, bias = model.weights
    kernel.assign(np.asarray(kernel) * deviation / answers.std())
    bias.assign([1013.0])
    with pytest.warns(
        export.PrecisionWarning, match="far from 0.* train on the target minus its"
    ) as w:
        export.convert(model, x, quantization=quantization)
    (mean,) = re.findall(r"its mean, about ([-\d.e+]+), and", str(w[0].message))
    assert abs(float(mean) - 1013.0) < 2.0
    expected = answers_of(model, x)
    bias.assign(np.asarray(bias) - float(mean))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = export.convert(model, x, quantization=quantization).predict(x, on="reference")
    error = found + float(mean) - expected
    assert np.sqrt(np.mean(error**2)) < 0.1 * expected.std()


# Softmax


def test_plain_c_answers_with_the_probabilities_that_tflite_micro_answers_with():
    model = sequential(FastGRNN(4), LAYERS.Dense(3, "softmax"))
    x = sequences()
    plain = export.convert_c(model, x)
    found = plain.predict(x, on="reference")
    np.testing.assert_allclose(found.sum(axis=-1), 1.0, atol=1e-6)
    expected = export.convert(model, x).predict(x, on="reference")
    # The same logits: TFLite Micro's table of exponentials is good to a few of its units.
    np.testing.assert_allclose(found, expected, atol=4 * 2.0**-15)
    assert "the C answers with logits, and predict applies it in Python" in str(plain.report)
