"""Sequences through files of every kind, held against what the exporter's own object answers."""

import numpy as np
import pytest
from small_models import CHANNELS, STEPS, needs_tflm, sequences
from table_files import Op, T, file_of
from tflite_files import FORMATS, changed, deployed, of_converter

from keras_fastgrnn.errors import MalformedModelError
from keras_fastgrnn.export.foreign.run_file import SequenceRunner
from keras_fastgrnn.export.tflm.process import TFLMProcess

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


def four_dimensions(model):
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
        (four_dimensions, r"got \[1, 1, 1, 3\]"),
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


NONE = {"fused_activation_function": 0}


def sums(
    shape, x="x", h="h", y="y", h_next="h_next", swapped=False, h_first=False, signatures=None
):
    """h_next = x + h, y = x - h_next: two outputs that only their names tell apart."""
    tensors = [T(shape, name=x), T(shape, name=h), T(shape, name=h_next), T(shape, name=y)]
    operators = [Op("ADD", [0, 1], [2], "Add", NONE), Op("SUB", [0, 2], [3], "Sub", NONE)]
    inputs, outputs = [1, 0] if h_first else [0, 1], [2, 3] if swapped else [3, 2]
    return file_of(tensors, operators, inputs, outputs, signatures)


def check_sums(runner):
    x = sequences(3)
    np.testing.assert_allclose(runner.run(x), x - np.cumsum(x, axis=1), atol=1e-5)


SIGNATURES = ({"features": 0, "memory_in": 1}, {"logits": 3, "memory_out": 2})
NAMED = {
    "by place": {},
    "state first": {"swapped": True},
    "state goes in first": {"h_first": True},
    "rank 3": {"shape": [1, 1, CHANNELS], "swapped": True},
    "prefixes": {"h": "prev_state", "h_next": "new_state", "swapped": True},
    "converter": {"h": "serving_default_h:0", "h_next": "h_out", "y": "Partitioned:0"},
    "signatures": {"h": "a", "h_next": "b", "signatures": SIGNATURES, "swapped": True},
}


@pytest.mark.parametrize("what", NAMED)
def test_names_tell_which_output_is_the_state(what, process):
    check_sums(SequenceRunner(sums(**{"shape": [1, CHANNELS], **NAMED[what]}), process))


UNNAMED = {"h": None, "h_next": None, "y": None, "x": None}


@pytest.mark.parametrize("names", [UNNAMED, {"h_next": "output_1", "y": "output_0"}])
@pytest.mark.parametrize("swapped", [False, True])
def test_state_that_could_be_either_output_is_asked_for(names, swapped, process):
    data = sums([1, CHANNELS], **names, swapped=swapped)
    with pytest.raises(ValueError, match="in more than one way") as caught:
        SequenceRunner(data, process)
    assert "--state h=h_next" in str(caught.value) and "\n" not in str(caught.value)
    check_sums(SequenceRunner(data, process, {"1": "0" if swapped else "1"}))


def test_state_may_be_named_by_the_caller(process):
    data = sums([1, CHANNELS], h="a", h_next="b", swapped=True)
    check_sums(SequenceRunner(data, process, {"a": "b"}))


@pytest.mark.parametrize(
    ("states", "message"),
    [
        ({"q": "h_next"}, "the name or place of one input"),
        ({"h": "7"}, "the name or place of one output"),
        ({"h": "h_next", "x": "y"}, "1 states, one for each input but the data"),
    ],
)
def test_wrong_state_is_refused(states, message, process):
    with pytest.raises(ValueError, match=message):
        SequenceRunner(sums([1, CHANNELS]), process, states)


def test_file_of_a_thousand_states_is_refused_at_once(process):
    tensors = [T([1, CHANNELS]) for _ in range(2002)]
    operators = [Op("TANH", [i], [1001 + i]) for i in range(1001)]
    data = file_of(tensors, operators, [*range(1001)], [*range(1001, 2002)])
    with pytest.raises(ValueError, match="has 1,001 inputs and 1,001 outputs"):
        SequenceRunner(data, process)


def test_state_of_another_type_is_refused(process):
    data = deployed("explicit").tflite
    with pytest.raises(ValueError, match="an input and an output of the same type, shape"):
        SequenceRunner(data, process, {"1": "0"})


def test_the_only_output_of_a_states_shape_is_its_next_value(process):
    """The state comes out first, and the data goes in last."""
    width = CHANNELS + 1
    tensors = [T([1, CHANNELS]), T([1, width]), T([1, width]), T([1, CHANNELS])]
    add = Op("ADD", [1, 4], [2], "Add", NONE)
    tensors.append(T(data=np.ones((1, 1), np.float32)))
    mean = Op("MUL", [0, 5], [3], "Mul", NONE)
    tensors.append(T(data=np.full((1, 1), 2.0, np.float32)))
    runner = SequenceRunner(file_of(tensors, [add, mean], [0, 1], [2, 3]), process)
    x = sequences(2)
    np.testing.assert_array_equal(runner.run(x), 2.0 * x)


def test_ends_of_uint8_are_quantized_and_back(process):
    tensors = [T([1, CHANNELS], "uint8", scale=0.05, zero_point=100)]
    tensors.append(T([1, CHANNELS], "int8", scale=0.05, zero_point=-28))
    tensors.append(T([1, CHANNELS], "uint8", scale=0.05, zero_point=100))
    operators = [Op("QUANTIZE", [0], [1]), Op("QUANTIZE", [1], [2])]
    runner = SequenceRunner(file_of(tensors, operators, [0], [2]), process)
    x = np.clip(sequences(2), -4.0, 4.0)
    np.testing.assert_allclose(runner.run(x), x, atol=0.0251)
    integers = np.random.default_rng(0).integers(0, 256, x.shape).astype(np.uint8)
    real = (integers - 100.0) * 0.05
    np.testing.assert_allclose(runner.run(integers), real, atol=1e-5)


def test_answer_that_is_no_number_is_told(process):
    data = file_of([T([1, CHANNELS]), T([1, CHANNELS])], [Op("LOG", [0], [1])], [0], [1])
    runner = SequenceRunner(data, process)
    answers = runner.run(sequences(2))
    count = np.count_nonzero(np.isnan(answers))
    assert count > 0
    assert runner.notes == [f"{count} of {answers.size} outputs are not a number (NaN)"]


def test_first_of_several_answers_is_told(process):
    tensors = [T([1, CHANNELS], name=name) for name in ("x", "small", "large")]
    operators = [Op("TANH", [0], [1]), Op("EXP", [0], [2], "Exp", {})]
    runner = SequenceRunner(file_of(tensors, operators, [0], [1, 2]), process)
    x = sequences(2)
    np.testing.assert_allclose(runner.run(x), np.tanh(x), atol=1e-6)
    assert runner.notes == [
        "of 2 outputs that are no states the first answers, small (float32 [1, 3])"
    ]


@pytest.mark.parametrize("name", ["explicit", "int8 sequence"])
def test_explicit_file_names_its_states(name, process):
    tensors = {t.name for t in SequenceRunner(deployed(name).tflite, process).inputs}
    assert tensors == {"x", "state1"}
