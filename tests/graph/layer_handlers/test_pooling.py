"""Pooling over some frames and over all of them."""

import pytest
from small_models import check_everywhere, every_step, needs_tflm, sequential

from keras_fastgrnn import FastGRNN, export, keras

LAYERS = keras.layers
FORMATS = [None, "int16x8", "int8"]


CHAINS = {
    "max": lambda: [LAYERS.MaxPooling1D(2), FastGRNN(4), LAYERS.Dense(2)],
    "max, overlapping": lambda: [LAYERS.MaxPooling1D(3, 2), FastGRNN(4), LAYERS.Dense(2)],
    "max, every step": lambda: [every_step(), LAYERS.MaxPooling1D(3, 1), LAYERS.GRU(3)],
    "mean": lambda: [LAYERS.AveragePooling1D(3), FastGRNN(4), LAYERS.Dense(2)],
    "mean, overlapping": lambda: [LAYERS.AveragePooling1D(3, 2), FastGRNN(4), LAYERS.Dense(2)],
    "convolutions and pools": lambda: [
        LAYERS.Rescaling(0.5),
        LAYERS.Conv1D(4, 3, activation="relu", padding="causal"),
        LAYERS.MaxPooling1D(2),
        LAYERS.Dense(5, "relu"),
        LAYERS.Conv1D(4, 2),
        LAYERS.MaxPooling1D(2),
        every_step(),
        LAYERS.Dense(2),
    ],
    "largest of all": lambda: [every_step(), LAYERS.GlobalMaxPooling1D(), LAYERS.Dense(2)],
    "mean of all": lambda: [every_step(), LAYERS.GlobalAveragePooling1D(), LAYERS.Dense(2)],
    "largest of all but those without a value": lambda: [
        LAYERS.Conv1D(4, 3),
        LAYERS.GRU(4, return_sequences=True),
        LAYERS.Dense(3),
        LAYERS.GlobalMaxPooling1D(),
    ],
    "mean of all but those without a value": lambda: [
        LAYERS.Conv1D(4, 3, strides=2),
        LAYERS.GRU(4, return_sequences=True),
        LAYERS.Dense(3),
        LAYERS.GlobalAveragePooling1D(),
    ],
    "all steps in a row": lambda: [every_step(), LAYERS.Flatten(), LAYERS.Dense(2)],
    "all steps but those without a value": lambda: [
        LAYERS.Conv1D(4, 4, strides=2),
        every_step(),
        LAYERS.Flatten(),
        LAYERS.Dense(3, "relu"),
        LAYERS.Dense(2),
    ],
}


@needs_tflm
@pytest.mark.parametrize("quantization", FORMATS)
@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
def test_pooling_is_computed_everywhere_as_in_keras(chain, quantization):
    check_everywhere(sequential(*chain(), spread=0.25), quantization)


@needs_tflm
@pytest.mark.parametrize("quantization", FORMATS)
def test_the_largest_of_values_below_zero_is_below_zero(quantization):
    """A state begins with 0, which none of the values is."""
    layers = every_step(), LAYERS.Dense(3, "sigmoid"), LAYERS.Rescaling(-1.0)
    model = sequential(*layers, LAYERS.GlobalMaxPooling1D())
    check_everywhere(model, quantization)


REFUSED = {
    "same": (
        lambda: [LAYERS.MaxPooling1D(2, padding="same"), FastGRNN(2)],
        "padding='same' pools fewer frames at the ends",
    ),
    "channels first": (
        lambda: [LAYERS.MaxPooling1D(2, data_format="channels_first"), FastGRNN(2)],
        "it takes the channels first; use data_format='channels_last'",
    ),
    "mean of any number": (
        lambda: [every_step(), LAYERS.GlobalAveragePooling1D()],
        r"it divides by the number of steps",
    ),
    "keepdims": (
        lambda: [every_step(), LAYERS.GlobalMaxPooling1D(keepdims=True)],
        "keepdims=True makes a sequence of one step",
    ),
    "all of any number in a row": (
        lambda: [every_step(), LAYERS.Flatten()],
        "it joins all steps, of which the model takes any number",
    ),
    "all before strides": (
        lambda: [every_step(), LAYERS.MaxPooling1D(2), LAYERS.GlobalMaxPooling1D()],
        "put the layers that stride before it",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_step_can_compute_is_refused(name):
    chain, reason = REFUSED[name]
    steps = None if "any number" in name else 12
    with pytest.raises(export.UnsupportedLayerError) as told:
        export.convert(sequential(*chain(), steps=steps), quantization=None)
    assert reason in str(told.value)
