"""Models that look like a plain chain and are not, and data that 16 bits cannot hold."""

import numpy as np
import pytest
from random_models import randomize
from small_models import answers_of

from keras_fastgrnn import FastGRNN, export, keras

LAYERS = keras.layers
STEPS, CHANNELS = 12, 3


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(30, STEPS, CHANNELS)).astype("float32")


def small_model(base=keras.Model):
    inputs = LAYERS.Input((STEPS, CHANNELS))
    return base(inputs, LAYERS.Dense(2)(FastGRNN(4)(inputs)))


def assert_close_to_keras(model, x):
    deployed = export.convert(model, x)
    expected = keras.Model(model.inputs[0], model.outputs[0]).predict(x, verbose=0)
    # int8 weights of a model of this size leave less than a twentieth of the outputs' deviation
    difference = deployed.predict(x, on="reference") - expected
    assert np.sqrt(np.mean(np.square(difference))) < 0.05 * expected.std()


def test_layers_that_are_only_attributes_of_the_model_are_not_exported(x):
    model = small_model()
    model.projection = LAYERS.Dense(2)
    model.projection.build((None, 2))
    model.teacher = LAYERS.GRU(3)
    assert_close_to_keras(model, x)


def test_layer_first_called_with_an_initial_state_elsewhere_is_exported(x):
    layer = FastGRNN(4)
    layer(LAYERS.Input((STEPS, CHANNELS)), initial_state=[LAYERS.Input((4,))])
    inputs = LAYERS.Input((STEPS, CHANNELS))
    assert_close_to_keras(keras.Model(inputs, layer(inputs)), x)


def test_model_with_one_output_by_name_is_exported(x):
    inputs = LAYERS.Input((STEPS, CHANNELS))
    outputs = {"logits": LAYERS.Dense(2)(FastGRNN(4)(inputs))}
    assert_close_to_keras(keras.Model(inputs, outputs), x)


def test_model_with_its_own_training_step_is_exported(x):
    class Trained(keras.Model):
        def train_step(self, data):
            return super().train_step(data)

    assert_close_to_keras(small_model(Trained), x)


@pytest.mark.parametrize("base", ["Model", "Sequential"])
def test_model_with_a_call_of_its_own_is_refused(base, x):
    class Scaled(getattr(keras, base)):
        def call(self, *args, **kwargs):
            return 5.0 * super().call(*args, **kwargs)

    layers = [LAYERS.Input((STEPS, CHANNELS)), FastGRNN(4)]
    model = small_model(Scaled) if base == "Model" else Scaled(layers)
    with pytest.raises(ValueError, match="got a Scaled with a call of its own"):
        export.convert(model, x)


def normalized_model(x):
    mean, variance = x.mean(axis=(0, 1)), x.var(axis=(0, 1))
    layers = [
        LAYERS.Input((STEPS, CHANNELS)),
        LAYERS.Normalization(mean=mean, variance=variance),
        FastGRNN(16),
        LAYERS.Dense(2),
    ]
    model = keras.Sequential(layers)
    randomize(model, np.random.default_rng(1))
    return model


def test_channels_too_small_beside_another_are_named_in_a_warning(x):
    x[..., 1] = 30_000.0 + 150.0 * x[..., 1]
    with pytest.warns(export.PrecisionWarning, match=r"channels \[0, 2\] vary by only"):
        deployed = export.convert(normalized_model(x), x)
    assert deployed.report.agreement.relative_error > 0.1


@pytest.mark.filterwarnings("error")
def test_channels_of_similar_size_give_no_warning(x):
    x[..., 1] = 2.0 + 3.0 * x[..., 1]
    deployed = export.convert(normalized_model(x), x)
    deployed.predict(x, on="reference")
    assert deployed.report.agreement.relative_error < 0.05


def test_relative_error_is_the_root_mean_square_over_the_deviation(x):
    model = small_model()
    agreement = export.convert(model, x).report.agreement
    expected = answers_of(model, x).astype(np.float64)
    difference = export.convert(model, x).predict(x) - expected
    rms = np.sqrt(np.mean(np.square(difference)))
    assert agreement.relative_error == pytest.approx(rms / expected.std(), rel=1e-3)
