"""Sequences through files of every kind, held against what the exporter's own object answers."""

import numpy as np
import pytest
from small_models import CHANNELS, STEPS, needs_tflm, sequences
from tflite_files import FORMATS, changed, deployed, of_converter

from keras_fastgrnn.export.errors import MalformedModelError
from keras_fastgrnn.export.run_file import SequenceRunner
from keras_fastgrnn.export.tflm_process import TFLMProcess

pytestmark = [
    needs_tflm,
    pytest.mark.filterwarnings("ignore::keras_fastgrnn.export.SaturationWarning"),
    pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated"),
]


@pytest.fixture(scope="module")
def process():
    with TFLMProcess() as process:
        yield process


@pytest.mark.parametrize("name", FORMATS)
def test_answers_are_those_of_the_deployed_model(name, process):
    found = deployed(name)
    x = sequences(5)
    runner = SequenceRunner(found.tflite, process)
    answers = runner.run(x)
    assert runner.steps == (STEPS if "sequence" in name else None)
    assert answers.shape == (5, 1 if runner.steps else STEPS, 2)
    np.testing.assert_array_equal(answers[:, -1], found.predict(x))


def test_file_of_the_converter_takes_whole_sequences(process):
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(model_content=of_converter())
    interpreter.allocate_tensors()
    x = sequences(3)
    answers = SequenceRunner(of_converter(), process).run(x)
    for sequence, answer in zip(x, answers, strict=True):
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], sequence[np.newaxis])
        interpreter.invoke()
        expected = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        # Two runtimes add up float32 sums of ten numbers in another order, over 12 steps.
        np.testing.assert_allclose(answer, expected, atol=1e-5)


def test_integers_of_the_inputs_own_type_are_taken_as_they_are(process):
    found = deployed("int16x8")
    runner = SequenceRunner(found.tflite, process)
    integers = np.random.default_rng(0).integers(-3000, 3000, (2, STEPS, CHANNELS))
    real = integers * np.float64(found.inputs[0].scale)
    np.testing.assert_array_equal(runner.run(integers.astype(np.int16)), runner.run(real))
    assert (runner.run(integers) != runner.run(real)).any()  # int64 are real values


def test_every_sequence_is_reported(process):
    done = []
    SequenceRunner(deployed("int8").tflite, process).run(sequences(4), lambda: done.append(1))
    assert len(done) == 4


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("int16x8", (2, STEPS, CHANNELS + 1), "(batch, steps, 3)"),
        ("int16x8", (STEPS, CHANNELS), "(batch, steps, 3)"),
        ("int16x8", (0, STEPS, CHANNELS), "(batch, steps, 3)"),
        ("sequence", (2, STEPS + 1, CHANNELS), "(batch, 12, 3)"),
    ],
)
def test_data_of_another_shape_is_refused(name, shape, expected, process):
    runner = SequenceRunner(deployed(name).tflite, process)
    with pytest.raises(ValueError) as caught:
        runner.run(np.zeros(shape, np.float32))
    assert f"expected numbers of shape {expected}" in str(caught.value)


def test_data_with_nan_is_refused(process):
    runner = SequenceRunner(deployed("int16x8").tflite, process)
    x = sequences(2)
    x[1, 3, 2] = np.nan
    with pytest.raises(ValueError, match="1 of 72 are NaN or infinite"):
        runner.run(x)


def state_of_another_scale(model):
    graph = model["subgraphs"][0]
    index = graph["outputs"][1]
    tensor = graph["tensors"][index]
    quantization = {**tensor["quantization"], "scale": tensor["quantization"]["scale"] * 2}
    graph["tensors"][index] = {**tensor, "quantization": quantization}


def no_output_for_the_state(model):
    graph = model["subgraphs"][0]
    graph["outputs"] = graph["outputs"][:1]


def no_outputs(model):
    model["subgraphs"][0]["outputs"] = np.zeros(0, int)


def three_dimensions(model):
    for tensor in model["subgraphs"][0]["tensors"]:
        if np.size(tensor["shape"]) == 2:
            tensor["shape"] = [1, 1, *tensor["shape"]]
    model["subgraphs"][0]["operators"] = []
    model["subgraphs"][0]["outputs"] = model["subgraphs"][0]["inputs"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (state_of_another_scale, "expected the same type, shape, scale and zero point"),
        (no_output_for_the_state, "has 2 inputs and 1 outputs"),
        (no_outputs, "has no input or no output"),
        (three_dimensions, r"got \[1, 1, 1, 3\]"),
    ],
)
def test_file_that_does_not_take_sequences_is_refused(change, message, process):
    data = changed(deployed("explicit").tflite, change)
    with pytest.raises(ValueError, match=message):
        SequenceRunner(data, process)


def test_file_that_is_not_safe_is_refused(process):
    def change(model):
        model["subgraphs"][0]["operators"][0]["inputs"] = np.array([99, 99])

    with pytest.raises(MalformedModelError):
        SequenceRunner(changed(deployed("int16x8").tflite, change), process)


def test_values_beyond_the_inputs_range_are_told_and_integers_too():
    found = deployed("int16x8")
    limit = 2.0**15 * found.inputs[0].scale
    x = sequences(2)
    x[0, 0, 0], x[1, 2, 1] = 2.0 * limit, -2.0 * limit
    with TFLMProcess() as process:
        runner = SequenceRunner(found.tflite, process)
        runner.run(sequences(2))
        assert runner.notes == []
        runner.run(x)
        (note,) = runner.notes
        assert note.startswith(f"2 of {x.size:,} values") and "were clipped" in note
        runner.run(np.ones(x.shape, np.int16))
        assert runner.notes == ["the data is int16 as the input is, and taken as its integers"]
