"""Sequences of unequal length, and the answers at every step, against one sequence at a time."""

import numpy as np
import pytest
from small_models import CHANNELS, needs_tflm, sequences, sequential

from keras_fastgrnn import FastGRNN, FastRNN, export, keras
from keras_fastgrnn.export.report.report import observe
from keras_fastgrnn.export.tflm.interpreter import Interpreter
from keras_fastgrnn.graph.given_sequences import GivenSequences
from keras_fastgrnn.graph.ranges import calibrate
from keras_fastgrnn.graph.rewrite import simplify
from keras_fastgrnn.graph.trace import trace
from keras_fastgrnn.quantization import quantize_aware

LAYERS = keras.layers
ignore_clipping = pytest.mark.filterwarnings("ignore::keras_fastgrnn.export.SaturationWarning")
LENGTHS = [5, 9, 3, 9, 12, 1]
CLIPS = [sequences(1, n, seed=n)[0] for n in LENGTHS]


def model_of_any_length(*layers, seed=0):
    return sequential(*layers, steps=None, seed=seed)


def stacked(every_step):
    return model_of_any_length(
        FastGRNN(4, return_sequences=True),
        LAYERS.LSTM(3, return_sequences=every_step),
        LAYERS.Dense(2),
    )


@pytest.mark.parametrize("quantization", ["int16x8", "int8", None])
@pytest.mark.parametrize("every_step", [False, True], ids=["last step", "every step"])
def test_a_list_is_converted_and_run_as_its_sequences_one_by_one(quantization, every_step):
    model = stacked(every_step)
    deployed = export.convert(model, CLIPS, quantization=quantization)
    found = deployed.predict(CLIPS, on="reference")
    one_by_one = [deployed.predict(clip[np.newaxis], on="reference")[0] for clip in CLIPS]
    keras_answers = [model.predict(clip[np.newaxis], verbose=0)[0] for clip in CLIPS]
    assert isinstance(found, list) == every_step and len(found) == len(CLIPS)
    for answers, expected in zip(found, one_by_one, strict=True):
        np.testing.assert_array_equal(answers, expected)

    agreement = deployed.report.agreement
    found, expected = (
        np.concatenate([np.atleast_2d(one) for one in answers])
        for answers in (found, keras_answers)
    )
    error = np.sqrt(np.mean((found - expected) ** 2)) / expected.std()
    assert agreement.sequences == len(CLIPS)
    # float32 outputs of a batch differ from those of one sequence in the last bits.
    assert agreement.relative_error == pytest.approx(error, rel=1e-3, abs=1e-6)


def test_ranges_are_those_of_the_real_steps_alone():
    graph = trace(stacked(True))
    simplify(graph)
    together = calibrate(graph, GivenSequences(CLIPS, CHANNELS, "x").fed)
    apart = [calibrate(graph, clip[np.newaxis]) for clip in CLIPS]
    for tensor, seen in together.items():
        # The last bits of a float64 product depend on the rows beside it.
        assert seen.low == pytest.approx(min(one[tensor].low for one in apart), rel=1e-12)
        assert seen.high == pytest.approx(max(one[tensor].high for one in apart), rel=1e-12)


def test_values_are_counted_once_a_real_step():
    graph = trace(model_of_any_length(FastRNN(2), LAYERS.Dense(1)))
    _, tensors = observe(graph, GivenSequences(CLIPS, CHANNELS, "x").fed)
    counts = {tensor.name: tensor.values for tensor in tensors}
    assert counts["input"] == CHANNELS * sum(LENGTHS)


@needs_tflm
@pytest.mark.parametrize("quantization", ["int16x8", "int8", None])
def test_the_device_is_fed_each_sequence_to_its_own_end(quantization):
    deployed = export.convert(stacked(False), CLIPS, quantization=quantization)
    found, expected = (deployed.predict(CLIPS, on=on) for on in ("tflm", "reference"))
    np.testing.assert_allclose(found, expected, atol=0.0 if quantization else 1e-6)


def test_plain_c_runs_a_list_too():
    plain = export.convert_c(stacked(True), CLIPS)
    found, expected = (plain.predict(CLIPS, on=on) for on in ("host", "reference"))
    for answers, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(answers, other)
    assert plain.report.agreement.sequences == len(CLIPS)


@ignore_clipping
@pytest.mark.parametrize("quantization", ["int16x8", "int8"])
def test_training_starts_from_the_ranges_of_the_real_steps(quantization):
    """Each sequence alone, in a cell of its own, shows the loop's ranges; they are all seen."""
    model = model_of_any_length(FastGRNN(4), LAYERS.Dense(2))
    aware = quantize_aware(model, quantization, calibration_data=CLIPS)
    ranges = {w.name: np.asarray(w) for w in aware.layers[1].cell.non_trainable_weights}
    apart = [
        quantize_aware(model, quantization, calibration_data=clip[np.newaxis]).layers[1].cell
        for clip in CLIPS
    ]
    for index, seen in enumerate(ranges.values()):
        each = np.stack([np.asarray(cell.non_trainable_weights[index]) for cell in apart])
        # The order of float32 sums depends on the batch.
        np.testing.assert_allclose(seen[0], each[:, 0].min(axis=0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(seen[1], each[:, 1].max(axis=0), rtol=1e-5, atol=1e-6)
    assert export.convert(aware).predict(CLIPS, on="reference").shape == (len(CLIPS), 2)


@pytest.mark.parametrize("as_given", [tuple, lambda clips: np.array(clips, object), list])
def test_sequences_may_come_in_any_kind_of_list(as_given):
    deployed = export.convert(stacked(False), as_given(CLIPS))
    expected = deployed.predict(CLIPS, on="reference")
    lists = [clip.tolist() for clip in CLIPS]
    for x in (as_given(CLIPS), as_given(lists)):
        np.testing.assert_allclose(deployed.predict(x, on="reference"), expected)


PREFIX = "Received an invalid value for argument x"
WRONG = {
    "an empty one": (
        [*CLIPS, CLIPS[0][:0]],
        f"{PREFIX}[6], expected numbers of shape (steps, 3), ",
    ),
    "too few channels": ([CLIPS[0][:, :2], *CLIPS], f"{PREFIX}[0], expected numbers of shape (st"),
    "NaN": (
        [CLIPS[0] * np.nan, *CLIPS],
        f"{PREFIX}[0], expected numbers of shape (steps, 3), got an",
    ),
    "text": ([["a"], *CLIPS], f"{PREFIX}[0], expected numbers of shape (steps, 3), got list that"),
    "batches": ([CLIPS[0][None], CLIPS[1][None].repeat(2, 0)], f"{PREFIX}[0], expected numbers"),
    "x and y": ((sequences(4), np.zeros(5)), f"{PREFIX}[0], expected numbers of shape (steps, 3)"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_list_with_something_else_in_it_names_its_place(case):
    x, message = WRONG[case]
    with pytest.raises(ValueError) as error:
        GivenSequences(x, CHANNELS, "x")
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


def test_a_model_of_fixed_length_says_how_it_takes_any():
    model = sequential(FastGRNN(3), LAYERS.Dense(2))
    with pytest.raises(
        ValueError, match=r"of 12 steps, as the model takes, got 5 in calibration_dat"
    ):
        export.convert(model, CLIPS)
    free = model_of_any_length(FastGRNN(3), LAYERS.Dense(2))
    free.set_weights(model.get_weights())
    assert export.convert(free, CLIPS).report.agreement.sequences == len(CLIPS)
    # In streaming mode the device itself takes any length.
    assert export.convert(model, sequences()).predict(CLIPS, on="reference").shape == (6, 2)


def test_a_real_recording_of_unequal_clips_is_converted_in_one_call(shared, monkeypatch):
    monkeypatch.syspath_prepend(str(shared / "data"))
    import datapack

    with np.load(shared / "data" / "magic_wand_digits.npz") as data:
        x, y = (datapack.unpack_clips(data, name) for name in "xy")
    clips = [np.stack(pair, axis=-1) / 4096 for pair in zip(x[:60], y[:60], strict=True)]
    assert len({len(clip) for clip in clips}) > 20
    model = sequential(FastGRNN(8), LAYERS.Dense(10), steps=None, channels=2)
    deployed = export.convert(model, clips)
    expected = np.stack([model.predict_on_batch(clip[np.newaxis])[0] for clip in clips])
    found = deployed.predict(clips, on="reference")
    same = np.mean(found.argmax(-1) == expected.argmax(-1))
    assert deployed.report.agreement.same_class == pytest.approx(same)
    assert same > 0.95


# Answers at every step


@ignore_clipping
@needs_tflm
@pytest.mark.parametrize("quantization", ["int16x8", "int8", None])
@pytest.mark.parametrize("every_step", [False, True], ids=["last step", "every step"])
def test_every_step_is_what_tflite_micro_answers_one_step_at_a_time(quantization, every_step):
    deployed = export.convert(stacked(every_step), CLIPS, quantization=quantization)
    source, output = deployed.inputs[0], deployed.outputs[0]
    interpreter = Interpreter(deployed.tflite)
    expected = []
    for clip in CLIPS:
        interpreter.reset()
        values = clip
        if source.scale is not None:
            limits = np.iinfo(source.dtype)
            values = np.round(clip / np.float32(source.scale)) + source.zero_point
            values = np.clip(values, limits.min, limits.max).astype(source.dtype)
        answers = np.concatenate([interpreter.invoke(step[np.newaxis])[0] for step in values])
        if output.scale is not None:
            answers = np.float32((answers - float(output.zero_point)) * output.scale)
        expected.append(answers)
    for on in ("tflm", "reference"):
        found = deployed.predict(CLIPS, on=on, return_sequences=True)
        for answers, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(answers, other, atol=0.0 if quantization else 1e-6)
    x = sequences(3)
    assert deployed.predict(x, return_sequences=True).shape == (3, 12, 2)
    last = deployed.predict(x, return_sequences=True)[:, -1]
    default = deployed.predict(x)
    np.testing.assert_array_equal(default[:, -1] if every_step else default, last)


def test_every_step_of_plain_c_is_that_of_tflite_micro():
    model = stacked(False)
    found = export.convert_c(model, CLIPS).predict(CLIPS, return_sequences=True)
    expected = export.convert(model, CLIPS).predict(CLIPS, on="reference", return_sequences=True)
    for answers, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(answers, other)


def test_a_file_of_whole_sequences_that_answers_once_cannot_answer_at_every_step():
    model = sequential(FastGRNN(3), LAYERS.Dense(2))
    deployed = export.convert(model, sequences(), mode="sequence")
    with pytest.raises(ValueError, match="argument return_sequences, expected False for mode='seq"):
        deployed.predict(sequences(), on="reference", return_sequences=True)


@pytest.mark.parametrize("value", [None, 1, "yes"])
def test_return_sequences_is_true_or_false(value):
    deployed = export.convert(sequential(FastRNN(2)), sequences())
    with pytest.raises(ValueError, match="argument return_sequences, expected True or False, got"):
        deployed.predict(sequences(), on="reference", return_sequences=value)
