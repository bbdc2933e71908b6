"""TF-MOT's own quantization of our layers; it takes tf_keras models only."""

import numpy as np
import pytest
from small_models import CHANNELS, STEPS, answers_of, compile_to_fit, needs_tflm, sequences

from keras_fastgrnn import FastGRNN, FastGRNNCell, FastRNN, FastRNNCell, export, keras
from keras_fastgrnn.quantization.tfmot_training import (
    FastGRNNQuantizeConfig,
    FastGRNNQuantizeScheme,
)
from keras_fastgrnn.sparsity import PruneLowMagnitude
from keras_fastgrnn.tfmot_api import tfmot

LAYERS = keras.layers
quantization, pruning = tfmot.quantization.keras, tfmot.sparsity.keras

# Parts of the range of the outputs.
P99 = {"int16x8": 1e-3, "int8": 1e-6}

CHAINS = {
    "RNN of a cell": lambda: [LAYERS.RNN(FastGRNNCell(8)), LAYERS.Dropout(0.1), LAYERS.Dense(2)],
    "RNN of a stack": lambda: [
        LAYERS.RNN([FastRNNCell(6, kernel_rank=2), FastGRNNCell(5, recurrent_rank=3)]),
        LAYERS.Dense(2),
    ],
    "piecewise-linear": lambda: [FastGRNN(8, "quant_tanh", "quant_sigmoid"), LAYERS.Dense(2)],
    "deep": lambda: [
        FastRNN(6, return_sequences=True),
        FastGRNN(8),
        LAYERS.Dense(4, "relu"),
        LAYERS.Dense(2),
    ],
}
ROUTES = [("deep", "int16x8"), *((chain, "int8") for chain in CHAINS)]


def data(count=192):
    """Sequences, and targets that a small model learns."""
    x = sequences(count)
    return x, np.stack([3.0 * x[:, :, 0].mean(axis=1), x[:, -1, 1]], axis=1)


def sequential(layers):
    keras.utils.set_random_seed(1)
    return keras.Sequential([LAYERS.Input((STEPS, CHANNELS)), *layers])


def annotated(model, config=None, skipped=()):
    """The model with its layers annotated, recurrent ones with this configuration."""

    def annotate(layer):
        if layer.name in skipped or isinstance(layer, LAYERS.Dropout | LAYERS.Normalization):
            return layer
        own = config if isinstance(layer, LAYERS.RNN) else None
        return quantization.quantize_annotate_layer(layer, own)

    return keras.models.clone_model(model, clone_function=annotate)


def quantized(model, bits):
    """The model as TF-MOT's own scheme makes it for "int8", else as ours does."""
    if bits == "int8":
        return quantization.quantize_apply(annotated(model, FastGRNNQuantizeConfig()))
    config = FastGRNNQuantizeConfig(bits)
    return quantization.quantize_apply(annotated(model, config), FastGRNNQuantizeScheme())


def fit(model, *callbacks, epochs=5):
    compile_to_fit(model, keras.optimizers.Adam(0.02), "mse")
    settings = {"epochs": epochs, "batch_size": 16, "verbose": 0, "callbacks": list(callbacks)}
    return model.fit(*data(), **settings).history["loss"]


@needs_tflm
@pytest.mark.filterwarnings("ignore::keras_fastgrnn.export.SaturationWarning")
@pytest.mark.parametrize(("chain", "bits"), ROUTES)
def test_the_device_computes_what_was_trained(chain, bits):
    model = quantized(sequential(CHAINS[chain]()), bits)
    losses = fit(model)
    assert losses[-1] < 0.95 * losses[0]
    x, _ = data()
    expected = answers_of(model, x)
    deployed = export.convert(model)
    assert deployed.report.quantization == bits
    error = np.abs(deployed.predict(x) - expected)
    assert np.percentile(error, 99) <= P99[bits] * np.ptp(expected)


@pytest.mark.parametrize("chain", ["deep", "RNN of a stack"])
def test_the_weights_are_those_of_the_float_model(chain):
    model = sequential(CHAINS[chain]())
    aware = quantized(model, "int8")
    for one, other in zip(model.trainable_weights, aware.trainable_weights, strict=True):
        assert one.name.split("/")[-1] == other.name.split("/")[-1]
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_weights_and_ranges_are_loaded_exactly(tmp_path):
    model, other = (quantized(sequential(CHAINS["RNN of a stack"]()), "int8") for _ in range(2))
    fit(model, epochs=1)
    x, _ = data(8)
    expected = answers_of(model, x)
    assert np.any(answers_of(other, x) != expected)
    model.save_weights(tmp_path / "model.weights.h5")
    other.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(answers_of(other, x), expected)


def test_what_our_scheme_makes_is_saved_whole(tmp_path):
    model = quantized(sequential([FastGRNN(4), LAYERS.Dense(2)]), "int16x8")
    fit(model, epochs=1)
    x, _ = data(8)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(answers_of(loaded, x), answers_of(model, x))


def matrices(model):
    """The matrices of the cells."""
    return [w.numpy() for w in model.trainable_weights if "cell" in w.name and "kernel" in w.name]


def zeros(model):
    return [float(np.mean(weights == 0.0)) for weights in matrices(model)]


def pruned_layer(layer):
    return pruning.prune_low_magnitude(layer, pruning.ConstantSparsity(0.75, 4, frequency=2))


@pytest.mark.parametrize("bits", P99)
def test_zeros_of_pruning_stay_zeros(bits):
    model = sequential([pruned_layer(FastGRNN(8)), LAYERS.Dense(2)])
    fit(model, pruning.UpdatePruningStep(), epochs=1)
    model = pruning.strip_pruning(model)
    assert zeros(model) == [0.75, 0.75]
    aware = quantized(model, bits)
    fit(aware, epochs=2)
    for one, other in zip(matrices(model), matrices(aware), strict=True):
        np.testing.assert_array_equal(one == 0.0, other == 0.0)
        assert np.any(one != other)


def test_a_quantized_model_is_pruned_by_our_callback():
    model = quantized(sequential([FastGRNN(8), LAYERS.Dense(2)]), "int8")
    schedule = pruning.ConstantSparsity(0.75, 4, frequency=2)
    fit(model, PruneLowMagnitude(schedule, schedule), epochs=1)
    assert zeros(model) == [0.75, 0.75]


def test_a_quantized_model_is_pruned_by_tfmot():
    model = quantized(sequential([FastGRNN(8), LAYERS.Dense(2)]), "int16x8")
    model = keras.models.clone_model(
        model, clone_function=lambda layer: pruned_layer(layer) if "rnn" in layer.name else layer
    )
    fit(model, pruning.UpdatePruningStep(), epochs=1)
    with pytest.raises(export.UnsupportedLayerError, match="call TF-MOT's strip_pruning"):
        export.convert(model)
    stripped = pruning.strip_pruning(model)
    assert zeros(stripped) == [0.75, 0.75]
    x, _ = data(8)
    expected = answers_of(model, x)
    np.testing.assert_array_equal(answers_of(stripped, x), expected)
    assert export.convert(stripped).report.quantization == "int16x8"


GRNN, HEAD = "fast_grnn", "dense"


def apply(layers, config=None, scheme=None, skipped=()):
    config = config or FastGRNNQuantizeConfig()
    settings = {} if scheme is None else {"scheme": scheme}
    return quantization.quantize_apply(annotated(sequential(layers), config, skipped), **settings)


def grnn(units=4):
    return FastGRNN(units, name=GRNN)


def head(activation=None):
    return LAYERS.Dense(2, activation, name=HEAD)


NO_CONFIG = "expected 'fast_grnn (FastGRNN) annotated with a FastGRNNQuantizeConfig'"
REFUSED_WHEN_APPLIED = {
    "16 bits in TF-MOT's scheme": (
        lambda: apply([grnn(), head()], FastGRNNQuantizeConfig("int16x8")),
        "expected a FastGRNNQuantizeScheme for fast_grnn, as it is quantized otherwise",
    ),
    "weights of 4 bits in TF-MOT's scheme": (
        lambda: apply([grnn(), head()], FastGRNNQuantizeConfig(weight_bits=4)),
        "expected a FastGRNNQuantizeScheme for fast_grnn, as it is quantized otherwise",
    ),
    "a cell of Keras": (
        lambda: apply([LAYERS.GRU(4, name="gru"), head()]),
        "expected a FastGRNN or FastRNN layer, or RNN around their cells, for FastGRNNQuantize",
    ),
    "a head that is not annotated": (
        lambda: apply([grnn(), head()], scheme=FastGRNNQuantizeScheme(), skipped=[HEAD]),
        r"expected dense \(Dense\) annotated by quantize_annotate_layer, got 'a float layer'",
    ),
    "two configurations": (
        lambda: quantization.quantize_apply(
            sequential(
                [
                    quantization.quantize_annotate_layer(
                        FastGRNN(4, return_sequences=True), FastGRNNQuantizeConfig("int8")
                    ),
                    quantization.quantize_annotate_layer(grnn(), FastGRNNQuantizeConfig("int16x8")),
                    quantization.quantize_annotate_layer(head()),
                ]
            ),
            FastGRNNQuantizeScheme(),
        ),
        "expected recurrent layers annotated with one and the same FastGRNNQuantizeConfig",
    ),
    "an unknown quantization": (
        lambda: FastGRNNQuantizeConfig("int4"),
        "argument quantization, expected 'int16x8' or 'int8', got 'int4'",
    ),
}


@pytest.mark.parametrize(
    ("make", "message"), REFUSED_WHEN_APPLIED.values(), ids=REFUSED_WHEN_APPLIED
)
def test_what_cannot_be_quantized_is_refused_before_training(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def normalization():
    return LAYERS.Normalization(mean=[0.0] * CHANNELS, variance=[1.0] * CHANNELS, name="norm")


REFUSED_BY_CONVERT = {
    "a head that is not annotated": (
        lambda: apply([grnn(), head()], skipped=[HEAD]),
        r"dense \(Dense\): it is not quantized; annotate it with quantize_annotate_layer",
    ),
    "a layer that is folded": (
        lambda: apply([normalization(), grnn(), head()]),
        r"norm \(Normalization\): TF-MOT does not fold it into the layer after it; make the model",
    ),
    "an input that is not rounded": (
        lambda: apply([LAYERS.Dropout(0.1), grnn(), head()]),
        r"\(InputLayer\): TF-MOT does not round what comes from it; make the model with",
    ),
    "a layer without operators": (
        lambda: apply([grnn(), head(), LAYERS.Reshape((2, 1), name="shape")]),
        "quant_shape .*: it cannot be quantized here; use RNN, FastGRNN, FastRNN, Dense",
    ),
    "a model that is annotated only": (
        lambda: annotated(sequential([grnn(), head()]), FastGRNNQuantizeConfig()),
        "call TF-MOT's quantize_apply on the model, and train it first",
    ),
    "ranges never seen": (
        lambda: apply([grnn(), head()]),
        "expected ranges that training has shown, got none yet for input",
    ),
}


@pytest.mark.parametrize(("make", "message"), REFUSED_BY_CONVERT.values(), ids=REFUSED_BY_CONVERT)
def test_what_was_not_trained_as_the_device_computes_is_not_exported(make, message):
    with pytest.raises(ValueError, match=message):
        export.convert(make())
