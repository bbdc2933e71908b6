"""`convert`: what an exported model answers, against Keras, on TFLite Micro and in NumPy."""

import warnings

import numpy as np
import pytest
from chains import DIFFERENT_STEPS
from small_models import (
    CHANNELS,
    STEPS,
    answers_of,
    drawn,
    needs_tflm,
    sequences,
    sequential,
    with_int8_weights,
)

from keras_fastgrnn import FastGRNN, FastGRNNCell, FastRNN, export, keras

LAYERS = keras.layers

# float32 sums of ten numbers in another order, over 12 steps.
FLOAT32 = 1e-5

# int8 rounds a weight by up to 1/254 of the largest one, and each sum has about eight of them.
# Relative to the standard deviation of the outputs.
INT8_WEIGHTS = 0.02

# With weights that int8 holds, what is left are activations of 12 to 15 bits after the point,
# fed back for as long as a state lives. Relative, as above.
INT16_ACTIVATIONS = 1e-3

each_chain = pytest.mark.parametrize("layers", DIFFERENT_STEPS.values(), ids=DIFFERENT_STEPS)
each_type = pytest.mark.parametrize("quantization", ["int16x8", None])


def relative_error(outputs, expected):
    return np.sqrt(np.mean(np.square(outputs - expected))) / expected.std()


@needs_tflm
@each_chain
def test_float_model_on_tflite_micro_answers_as_keras(layers):
    model = sequential(*layers(), spread=0.15)
    x = sequences()
    outputs = export.convert(model, quantization=None).predict(x)
    expected = answers_of(model, x)
    assert (outputs.shape, outputs.dtype) == (expected.shape, np.float32)
    np.testing.assert_allclose(outputs, expected, atol=FLOAT32)


@needs_tflm
@each_chain
def test_integer_model_on_tflite_micro_is_the_reference_and_near_keras(layers):
    model = sequential(*layers(), spread=0.15)
    x = sequences(32)
    with warnings.catch_warnings():
        warnings.simplefilter("error", export.SaturationWarning)
        deployed = export.convert(model, x)
        outputs = deployed.predict(x)
    np.testing.assert_array_equal(outputs, deployed.predict(x, on="reference"))
    assert outputs.dtype == np.float32
    expected = answers_of(model, x)
    assert outputs.shape == expected.shape
    assert relative_error(outputs, expected) < INT8_WEIGHTS


EXACT = {
    "FastGRNN": lambda: [FastGRNN(5), LAYERS.Dense(2)],
    "FastRNN": lambda: [FastRNN(5), LAYERS.Dense(2)],
    "low rank": lambda: [FastGRNN(5, kernel_rank=2, recurrent_rank=3), LAYERS.Dense(2)],
    "hard": lambda: [FastGRNN(5, "quant_tanh", "quant_sigmoid"), LAYERS.Dense(2, "softmax")],
    "hard 4": lambda: [FastRNN(5, "quant_sigmoid4"), LAYERS.Dense(2, "sigmoid")],
    "relu": lambda: [FastRNN(5, "relu"), LAYERS.Dense(4, "relu"), LAYERS.Dense(2)],
    "cells": lambda: [LAYERS.RNN([FastGRNNCell(5), FastGRNNCell(4)], return_sequences=True)],
}


@pytest.mark.parametrize("layers", EXACT.values(), ids=EXACT)
def test_weights_that_int8_holds_leave_only_the_rounding_of_activations(layers):
    model = with_int8_weights(sequential(*layers()))
    x = sequences(32)
    outputs = export.convert(model, x).predict(x, on="reference")
    assert relative_error(outputs, answers_of(model, x)) < INT16_ACTIVATIONS


KERAS_LAYERS = {
    "SimpleRNN": lambda: LAYERS.SimpleRNN(5),
    "GRU": lambda: LAYERS.GRU(5),
    "GRU that resets before": lambda: LAYERS.GRU(5, reset_after=False),
    "LSTM": lambda: LAYERS.LSTM(5),
    "LSTM of relu": lambda: LAYERS.LSTM(5, "relu"),
}


@pytest.mark.parametrize("layer", KERAS_LAYERS.values(), ids=KERAS_LAYERS)
def test_gates_that_int8_holds_leave_only_the_rounding_of_activations(layer):
    model = with_int8_weights(sequential(layer(), LAYERS.Dense(2)))
    for kernel in model.layers[-2].trainable_weights[:2]:
        values = np.copy(kernel.numpy())
        values[0] = 127 / 256  # the largest weight of every gate
        kernel.assign(values)
    x = sequences(32)
    outputs = export.convert(model, x).predict(x, on="reference")
    assert relative_error(outputs, answers_of(model, x)) < INT16_ACTIVATIONS


@needs_tflm
@pytest.mark.parametrize("sizes", [[1e-3, 1.0, 1e3], [1e-6, 1e3, 1e6], [1.0, 1.0, 1.0]])
@pytest.mark.parametrize("offset", [0.0, 50.0])
def test_float_model_normalizes_channels_of_any_size(sizes, offset):
    x = (sequences(40) * sizes + offset * np.array(sizes)).astype("float32")
    layer = LAYERS.Normalization()
    layer.adapt(x)
    model = sequential(layer, FastGRNN(4), LAYERS.Dense(2))
    outputs = export.convert(model, quantization=None).predict(x)
    np.testing.assert_allclose(outputs, answers_of(model, x), atol=FLOAT32)


def test_integer_model_normalizes_channels_of_different_size():
    """The smallest of three channels, 30 times smaller than the largest, has 2,000 integers."""
    x = (sequences(40) * [1.0, 5.0, 30.0] + [3.0, 0.0, -40.0]).astype("float32")
    layer = LAYERS.Normalization()
    layer.adapt(x)
    model = sequential(layer, FastGRNN(4), LAYERS.Dense(2))
    outputs = export.convert(model, x).predict(x, on="reference")
    assert relative_error(outputs, answers_of(model, x)) < INT8_WEIGHTS


@needs_tflm
@pytest.mark.parametrize("constant", [0.0, 5.0, 0.1, -1000.0])
def test_float_model_has_a_channel_that_never_changes(constant):
    """Keras divides by 1e-7 there: any rounding of the difference would show."""
    x = sequences(20)
    x[..., 1] = constant
    layer = LAYERS.Normalization()
    layer.adapt(x)
    model = sequential(layer, FastGRNN(4), LAYERS.Dense(2))
    outputs = export.convert(model, x, quantization=None).predict(x)
    np.testing.assert_allclose(outputs, answers_of(model, x), atol=FLOAT32)
    with pytest.raises(ValueError, match="leave out input channels that never change"):
        export.convert(model, x)


# Data and weights of size 0, or nearly


def setting(index, number):
    """A change of one weight: all its entries become the number."""

    def change(model):
        weight = model.trainable_weights[index]
        weight.assign(np.full(tuple(weight.shape), number))

    return change


def everything_zero(model):
    for weight in model.trainable_weights:
        weight.assign(np.zeros(tuple(weight.shape)))


def no_bias(model):
    for index in (2, 3):
        setting(index, -50.0)(model)


GRNN = [lambda: FastGRNN(4), lambda: LAYERS.Dense(2)]
ZEROS = {
    "input kernel 0": (GRNN, setting(0, 0.0)),
    "recurrent kernel 0": (GRNN, setting(1, 0.0)),
    "head 0": (GRNN, setting(-2, 0.0)),
    "head 1e-9": (GRNN, setting(-2, 1e-9)),
    "head 1e-30": (GRNN, setting(-2, 1e-30)),
    "input kernel 1e-12": (GRNN, setting(0, 1e-12)),
    "all 0": (GRNN, everything_zero),
    "zeta of 2e-9": (GRNN, setting(4, -20.0)),
    "nu of 0": (GRNN, setting(5, -200.0)),
    "a dead relu candidate": ([lambda: FastGRNN(4, "relu"), GRNN[1]], no_bias),
    "a dead relu gate": ([lambda: FastGRNN(4, "tanh", "relu"), GRNN[1]], setting(2, -50.0)),
    "a dead relu in FastRNN": ([lambda: FastRNN(4, "relu"), GRNN[1]], setting(2, -50.0)),
    "a dead Dense before": ([lambda: LAYERS.Dense(4, "relu"), *GRNN], setting(1, -50.0)),
    "Rescaling by 0": ([lambda: LAYERS.Rescaling(0.0, 1.0), *GRNN], lambda model: None),
    "Rescaling by 1e-9": ([lambda: LAYERS.Rescaling(1e-9), *GRNN], lambda model: None),
}


@pytest.mark.filterwarnings("ignore::keras_fastgrnn.export.PrecisionWarning")
@each_type
@pytest.mark.parametrize("case", ZEROS)
def test_weights_that_vanish_give_what_keras_gives(case, quantization):
    layers, change = ZEROS[case]
    model = sequential(*(layer() for layer in layers), spread=0.3)
    change(model)
    x = sequences()
    outputs = export.convert(model, x, quantization=quantization).predict(x, on="reference")
    expected = answers_of(model, x)
    size = max(np.abs(expected).max(), 1e-30)
    tolerance = FLOAT32 if quantization is None else INT8_WEIGHTS * size
    np.testing.assert_allclose(outputs, expected, atol=tolerance)


@pytest.mark.parametrize("size", [1e-2, 1.0, 100.0])
def test_input_of_another_size_is_counted_in_a_scale_of_its_own(size):
    model = with_int8_weights(sequential(FastGRNN(4), LAYERS.Dense(2)))
    x = (sequences() * size).astype("float32")
    deployed = export.convert(model, x)
    assert 1.25 * np.abs(x).max() <= 32768 * deployed.graph.inputs[0].scale
    outputs = deployed.predict(x, on="reference")
    assert relative_error(outputs, answers_of(model, x)) < INT8_WEIGHTS


@pytest.mark.filterwarnings("ignore::keras_fastgrnn.export.PrecisionWarning")
@pytest.mark.parametrize("size", [1e-30, 1e-6])
def test_input_too_small_to_matter_leaves_the_answer_of_the_biases(size):
    model = with_int8_weights(sequential(FastGRNN(4), LAYERS.Dense(2)))
    x = (sequences() * size).astype("float32")
    outputs = export.convert(model, x).predict(x, on="reference")
    np.testing.assert_allclose(outputs, answers_of(model, x), atol=1e-3)


@pytest.mark.parametrize("size", [1e8, 1e30])
def test_input_too_large_for_the_arithmetic_is_refused(size):
    with pytest.raises(ValueError, match="differ too much in size for 16-bit integers"):
        export.convert(sequential(FastGRNN(4)), (sequences() * size).astype("float32"))


def test_channel_that_is_always_0_is_read_as_0():
    x = sequences()
    x[..., 1] = 0.0
    model = sequential(FastGRNN(4), LAYERS.Dense(2))
    outputs = export.convert(model, x).predict(x, on="reference")
    assert relative_error(outputs, answers_of(model, x)) < INT8_WEIGHTS


# predict


@pytest.fixture(scope="module")
def model():
    return sequential(FastGRNN(5), LAYERS.Dense(2), spread=0.2)


@pytest.fixture(scope="module")
def deployed(model):
    return {q: export.convert(model, sequences(), quantization=q) for q in ("int16x8", None)}


both = pytest.mark.parametrize("on", [pytest.param("tflm", marks=needs_tflm), "reference"])


@both
@each_type
def test_every_sequence_starts_from_zero_whatever_came_before(deployed, quantization, on):
    x = sequences(6, seed=5)
    together = deployed[quantization].predict(x, on=on)
    alone = [deployed[quantization].predict(one[np.newaxis], on=on)[0] for one in x[::-1]]
    # A batch of another size sums in another order.
    np.testing.assert_allclose(together, alone[::-1], atol=0.0 if quantization else 1e-6)


@both
@each_type
@pytest.mark.parametrize("steps", [1, 5, 40])
def test_another_number_of_steps_than_in_training_works(deployed, model, quantization, on, steps):
    longer = drawn(keras.Sequential([LAYERS.Input((None, CHANNELS)), FastGRNN(5), LAYERS.Dense(2)]))
    longer.set_weights(model.get_weights())
    x = sequences(4, steps=steps, seed=6)
    outputs = deployed[quantization].predict(x, on=on)
    error = relative_error(outputs, answers_of(longer, x))
    assert error < (INT8_WEIGHTS if quantization else FLOAT32)


@both
@each_type
def test_numbers_of_every_kind_are_taken(deployed, quantization, on):
    x = np.round(sequences(3, seed=7))
    expected = deployed[quantization].predict(x.astype("float32"), on=on)
    for same in (x.astype("float64"), x.astype("int32"), x.astype("int8"), x.tolist()):
        np.testing.assert_array_equal(deployed[quantization].predict(same, on=on), expected)


@both
@each_type
def test_every_step_is_answered_where_keras_does(quantization, on):
    model = sequential(FastRNN(4, return_sequences=True), LAYERS.Dense(3))
    x = sequences(5)
    outputs = export.convert(model, x, quantization=quantization).predict(x, on=on)
    expected = answers_of(model, x)
    assert outputs.shape == (5, STEPS, 3)
    assert relative_error(outputs, expected) < (INT8_WEIGHTS if quantization else FLOAT32)


def test_exported_model_keeps_its_weights_when_the_keras_model_is_trained_on(model):
    other = keras.models.clone_model(model)
    other.set_weights(model.get_weights())
    exported = export.convert(other, quantization=None)
    x = sequences()
    before = exported.predict(x, on="reference")
    other.set_weights([0.0 * weight for weight in other.get_weights()])
    np.testing.assert_array_equal(exported.predict(x, on="reference"), before)


@each_type
def test_loaded_model_gives_the_same_bytes(model, deployed, quantization, tmp_path):
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    again = export.convert(loaded, sequences(), quantization=quantization)
    assert again.tflite == deployed[quantization].tflite


@needs_tflm
def test_progress_is_shown_on_request(deployed, capsys):
    x = sequences(3)
    deployed["int16x8"].predict(x)
    assert capsys.readouterr().out == ""
    deployed["int16x8"].predict(x, verbose=True)
    assert "3/3" in capsys.readouterr().out


def test_converting_draws_no_random_numbers(model):
    np.random.seed(3)
    expected = np.random.random()
    np.random.seed(3)
    export.convert(model, sequences())
    assert np.random.random() == expected


def test_progress_bar_is_not_shown_by_convert(model, capsys):
    export.convert(model, sequences())
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("on", ["gpu", "TFLM", None, True])
def test_unknown_place_to_run_is_refused(deployed, on):
    with pytest.raises(ValueError) as error:
        deployed["int16x8"].predict(sequences(), on=on)
    assert str(error.value) == (
        f"Received an invalid value for argument on, expected 'tflm' or 'reference', got {on!r}."
    )


CHOICES = {
    "quantization": "'auto', 'int16x8', 'int8', None",
    "mode": "'streaming', 'sequence'",
    "state": "'variable', 'explicit'",
    "input_type": "'int8', 'int16', 'float32', None",
    "output_type": "'int8', 'int16', 'float32', None",
}


@pytest.mark.parametrize("value", ["uint8", "", "None", 8, True, ("int16x8",), np.zeros(2)])
@pytest.mark.parametrize("argument", CHOICES)
def test_unknown_choice_is_refused(model, argument, value):
    with pytest.raises(ValueError) as error:
        export.convert(model, sequences(), **{argument: value})
    got = "an array of shape (2,)" if isinstance(value, np.ndarray) else repr(value)
    assert str(error.value) == (
        f"Received an invalid value for argument {argument}, expected one of {CHOICES[argument]}, "
        f"got {got}."
    )


@needs_tflm
def test_sequence_that_needs_more_than_a_megabyte_runs():
    model = sequential(FastGRNN(2), keras.layers.Dense(2), steps=10_000, channels=10)
    deployed = export.convert(model, quantization=None, mode="sequence")
    assert deployed.report.arena_bytes > 1 << 20
    x = sequences(1, steps=10_000, channels=10)
    np.testing.assert_allclose(deployed.predict(x), model.predict(x, verbose=0), atol=1e-4)


def test_one_sequence_with_one_output_has_costs_and_error_of_ordinary_size():
    model = sequential(FastGRNN(3), keras.layers.Dense(1))
    report = export.convert(model, sequences(1), quantization="int16x8").report
    assert max(report.rounding_costs.values()) < 1.0 and report.agreement.relative_error < 1.0


@needs_tflm
@pytest.mark.parametrize("name", ["RNN of cells of both", "LSTM after Normalization", *EXACT])
def test_weights_have_powers_of_two_on_request(name):
    layers = EXACT.get(name) or DIFFERENT_STEPS[name]
    model, x = sequential(*layers(), spread=0.15), sequences(32)
    deployed = export.convert(model, x, power_of_two_weights=True)
    matrices = [op.inputs[1] for op in deployed.graph.ops if op.kind == "FULLY_CONNECTED"]
    assert {np.frexp(matrix.scale)[0] for matrix in matrices} == {0.5}
    np.testing.assert_array_equal(deployed.predict(x), deployed.predict(x, on="reference"))
    assert deployed.report.agreement.relative_error < 4 * INT8_WEIGHTS


@pytest.mark.parametrize("quantization", ["int8", None])
def test_powers_of_two_are_for_int16x8_weights(quantization):
    with pytest.raises(ValueError, match="argument power_of_two_weights, expected False but for"):
        export.convert(
            sequential(FastGRNN(4)),
            sequences(),
            quantization=quantization,
            power_of_two_weights=True,
        )
