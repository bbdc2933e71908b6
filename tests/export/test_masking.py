"""Masking: the device is fed the real steps alone, and answers what Keras answers."""

import numpy as np
import pytest
from small_models import (
    CHANNELS,
    STEPS,
    answers_of,
    compile_to_fit,
    needs_tflm,
    sequences,
    sequential,
)

from keras_fastgrnn import FastGRNN, FastGRNNCell, FastRNN, FastRNNCell, export, keras
from keras_fastgrnn.keras_api import IS_TF_KERAS
from keras_fastgrnn.quantization import quantize_aware

LAYERS = keras.layers

ignore_clipping = pytest.mark.filterwarnings("ignore::keras_fastgrnn.export.SaturationWarning")
MASKED = {
    "behind the end": [5, 6, 7, 8, 9, 10, 11],
    "before the start": [0, 1, 2],
    "inside": [3, 4, 8],
    "everywhere": [0, 1, 4, 5, 9, 11],
    "nowhere": [],
}


def padded(value=0.0, count=10, seed=1):
    """Sequences whose masked steps lie in every place."""
    x = sequences(count, seed=seed)
    for one, places in zip(x, list(MASKED.values()) * (count // len(MASKED)), strict=True):
        one[places] = value
    return x


def real_steps(x, value=0.0):
    return [one[np.any(one != np.float32(value), axis=-1)] for one in x]


RECURRENT = {
    "FastGRNN": lambda **kw: FastGRNN(4, **kw),
    "FastRNN": lambda **kw: FastRNN(4, **kw),
    "RNN": lambda **kw: LAYERS.RNN(FastGRNNCell(4), **kw),
    "stack": lambda **kw: LAYERS.RNN([FastGRNNCell(4), LAYERS.LSTMCell(3)], **kw),
    "SimpleRNN": lambda **kw: LAYERS.SimpleRNN(4, **kw),
    "GRU": lambda **kw: LAYERS.GRU(4, **kw),
    "GRU before": lambda **kw: LAYERS.GRU(4, reset_after=False, **kw),
    "LSTM": lambda **kw: LAYERS.LSTM(4, **kw),
}


@pytest.mark.parametrize("every_step", [False, True], ids=["last step", "every step"])
@pytest.mark.parametrize("kind", RECURRENT)
def test_a_float_device_answers_as_keras_at_real_and_masked_steps(kind, every_step):
    layer = RECURRENT[kind](return_sequences=every_step)
    model = sequential(LAYERS.Masking(), layer, LAYERS.Dropout(0.2), LAYERS.Dense(2))
    deployed = export.convert(model, padded(), quantization=None)
    found = deployed.predict(padded(), on="reference")
    np.testing.assert_allclose(found, answers_of(model, padded()), atol=1e-5)
    assert deployed.report.agreement.relative_error < 1e-5


@ignore_clipping
@pytest.mark.parametrize("quantization", ["int16x8", "int8"])
@pytest.mark.parametrize("every_step", [False, True], ids=["last step", "every step"])
def test_integers_are_those_of_the_model_without_masking_on_the_real_steps(
    quantization, every_step
):
    layers = lambda: [  # noqa: E731
        LAYERS.Dense(3, "tanh"),
        FastGRNN(4, return_sequences=True),
        LAYERS.GRU(3, return_sequences=every_step),
        LAYERS.Dense(2),
    ]
    model = sequential(LAYERS.Masking(-1.5), *layers())
    plain = sequential(*layers(), steps=None)
    plain.set_weights(model.get_weights())
    x = padded(-1.5)
    clips = real_steps(x, -1.5)
    masked = export.convert(model, x, quantization=quantization)
    unmasked = export.convert(plain, clips, quantization=quantization)
    assert masked.tflite == unmasked.tflite
    found, expected = (
        one.predict(data, on="reference", return_sequences=True)
        for one, data in ((masked, x), (unmasked, clips))
    )
    for one, answers, held in zip(x, expected, found, strict=True):
        np.testing.assert_array_equal(held[np.any(one != np.float32(-1.5), axis=-1)], answers)
    # Keras's own answers differ in the last bits.
    errors = [one.report.agreement.relative_error for one in (masked, unmasked)]
    assert errors[0] == pytest.approx(errors[1], rel=1e-3)
    unequal = masked.predict(clips, on="reference")
    for one, other in zip(unequal, unmasked.predict(clips, on="reference"), strict=True):
        np.testing.assert_array_equal(one, other)


@needs_tflm
@pytest.mark.parametrize("quantization", ["int16x8", "int8"])
def test_tflite_micro_is_not_fed_masked_steps(quantization):
    model = sequential(LAYERS.Masking(), FastGRNN(4, return_sequences=True), LAYERS.Dense(2))
    deployed = export.convert(model, padded(), quantization=quantization)
    for every_step in (False, True):
        found, expected = (
            deployed.predict(padded(), on=on, return_sequences=every_step)
            for on in ("tflm", "reference")
        )
        np.testing.assert_array_equal(found, expected)


def test_plain_c_is_not_fed_masked_steps():
    model = sequential(LAYERS.Masking(), FastGRNN(4), LAYERS.Dense(2, "softmax"))
    plain = export.convert_c(model, padded())
    found, expected = (plain.predict(padded(), on=on) for on in ("host", "reference"))
    np.testing.assert_array_equal(found, expected)
    error = plain.report.agreement.relative_error
    keras_answers = answers_of(model, padded())
    assert error == pytest.approx(np.std(found - keras_answers) / np.std(keras_answers), rel=0.2)


@pytest.mark.parametrize("convert", [export.convert, export.convert_c])
def test_the_report_says_that_masked_steps_are_not_to_be_fed(convert):
    model = sequential(LAYERS.Masking(-1.5, name="padding"), FastGRNN(4), LAYERS.Dense(2))
    report = convert(model, padded(-1.5)).report
    note = (
        "The layer padding (Masking) is left out: do not feed a step whose channels are all -1.5; "
        "the state stays what it is there, as in Keras."
    )
    assert report.notes == [note] and note in str(report) and report.to_dict()["notes"] == [note]


def test_the_written_report_has_the_note(tmp_path):
    model = sequential(LAYERS.Masking(), FastGRNN(4), LAYERS.Dense(2))
    export.convert(model, padded()).save(tmp_path)
    assert (
        "do not feed a step whose channels are all 0;" in (tmp_path / "model_report.md").read_text()
    )


def test_clips_shorter_than_the_model_are_padded_for_keras():
    model = sequential(LAYERS.Masking(-1.5), FastGRNN(4), LAYERS.Dense(2))
    clips = [sequences(1, n)[0] for n in (3, 12, 7)]
    x = np.full((3, STEPS, CHANNELS), -1.5, "float32")
    for one, clip in zip(x, clips, strict=True):
        one[: len(clip)] = clip
    from_clips, from_padded = (export.convert(model, data) for data in (clips, x))
    assert from_clips.tflite == from_padded.tflite
    assert from_clips.report.agreement == from_padded.report.agreement
    with pytest.raises(
        ValueError, match="of at most 12 steps, as the model takes, got 13 in calib"
    ):
        export.convert(model, [*clips, sequences(1, 13)[0]])


def test_a_sequence_without_a_real_step_is_refused():
    model = sequential(LAYERS.Masking(), FastGRNN(4), LAYERS.Dense(2))
    x = padded()
    x[3] = 0.0
    with pytest.raises(
        ValueError, match=r"got calibration_data\[3\] without any, to which a device"
    ):
        export.convert(model, x)
    deployed = export.convert(model, padded())
    with pytest.raises(
        ValueError, match=r"got x\[3\] without any, to which a device never answers"
    ):
        deployed.predict(x, on="reference")


def test_a_file_of_whole_sequences_has_no_masked_steps():
    model = sequential(LAYERS.Masking(name="padding"), FastGRNN(4), LAYERS.Dense(2))
    with pytest.raises(ValueError) as error:
        export.convert(model, padded(), mode="sequence")
    assert str(error.value) == (
        "Received an invalid value for argument mode, expected 'streaming', where masked steps are "
        "not fed, for padding (Masking), got 'sequence'."
    )


REFUSED = {
    "not first": (
        lambda: [LAYERS.Dense(3), LAYERS.Masking(name="culprit"), FastGRNN(4)],
        "put it behind the Input, with the mask_value that padded steps have there",
    ),
    "twice": (
        lambda: [LAYERS.Masking(), LAYERS.Masking(-1.0, name="culprit"), FastGRNN(4)],
        "put it behind the Input, with the mask_value that padded steps have there",
    ),
    "zeros at masked steps": (
        lambda: [LAYERS.Masking(), FastGRNN(4, zero_output_for_mask=True, name="culprit")],
        "zero_output_for_mask=True answers 0 at masked steps, where a device keeps its answer",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_answer_otherwise_is_refused(case):
    layers, why = REFUSED[case]
    with pytest.raises(export.UnsupportedLayerError, match=why) as error:
        export.convert(sequential(*layers(), LAYERS.Dense(2)), padded())
    assert "- culprit (" in str(error.value)


def test_masking_without_a_recurrent_layer_is_refused_for_that():
    with pytest.raises(export.UnsupportedLayerError, match="it has no recurrent layer"):
        export.convert(sequential(LAYERS.Masking(), LAYERS.Dense(2)), padded())


@pytest.mark.parametrize("make", [lambda: LAYERS.Rescaling(0.5, 1.0), LAYERS.BatchNormalization])
def test_a_layer_behind_masking_is_exported_where_it_passes_the_mask_on(make):
    layer = make()
    model = sequential(LAYERS.Masking(), layer, FastGRNN(4), LAYERS.Dense(2))
    if not layer.supports_masking:
        assert IS_TF_KERAS
        with pytest.raises(
            export.UnsupportedLayerError, match="in tf_keras it loses the mask of m"
        ):
            export.convert(model, padded())
        return
    deployed = export.convert(model, padded(), quantization=None)
    expected = answers_of(model, padded())
    np.testing.assert_allclose(deployed.predict(padded(), on="reference"), expected, atol=1e-5)


# Training


def aware_models(quantization, make):
    """Of a model with Masking, and of the same without, which sees the real steps alone."""
    model = sequential(LAYERS.Masking(), *make())
    plain = sequential(*make(), steps=None)
    plain.set_weights(model.get_weights())
    x = padded()
    return (
        quantize_aware(model, quantization, calibration_data=x),
        quantize_aware(plain, quantization, calibration_data=real_steps(x)),
    )


STACKS = {
    "FastGRNN": lambda: [FastGRNN(4), LAYERS.Dense(2)],
    "two layers": lambda: [
        LAYERS.RNN([FastGRNNCell(4), FastRNNCell(3)], return_sequences=True),
        LAYERS.Dropout(0.1),
        FastRNN(3, return_sequences=True),
        LAYERS.Dense(2),
    ],
}


@pytest.mark.parametrize("quantization", ["int16x8", "int8"])
@pytest.mark.parametrize("stack", STACKS)
def test_ranges_in_training_do_not_see_what_masked_steps_compute(quantization, stack):
    masked, plain = aware_models(quantization, STACKS[stack])
    for one, other in zip(masked.weights, plain.weights, strict=True):
        # The order of float32 sums depends on the shape of the batch.
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), rtol=1e-5, atol=1e-6)


@ignore_clipping
@pytest.mark.parametrize("quantization", ["int16x8", "int8"])
def test_a_model_trained_with_masking_is_what_the_device_computes(quantization):
    masked, _ = aware_models(quantization, STACKS["two layers"])
    compile_to_fit(masked, keras.optimizers.Adam(0.01), "mse")
    x = padded(count=40)
    before = masked.get_weights()
    masked.fit(x, np.tanh(np.cumsum(x[..., :2], axis=1)), epochs=2, verbose=0)
    assert any(np.any(a != b) for a, b in zip(before, masked.get_weights(), strict=True))
    deployed = export.convert(masked, x)
    assert deployed.report.notes
    expected = answers_of(masked, x)
    found = deployed.predict(x, on="reference")
    # Keras computes in float32, which takes the other of two integers where it is about halfway.
    # A state keeps that for some steps: of 100 models all were within 10 units (docs/numerics.md).
    tolerance = max(0.002 * expected.std(), 4.01 * deployed.outputs[0].scale)
    error = np.abs(found - expected)
    assert error.max() < tolerance and error.mean() < 0.1 * tolerance
