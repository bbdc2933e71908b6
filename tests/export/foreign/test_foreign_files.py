"""Files of TensorFlow's own converter run as in TensorFlow, and damaged they end no process."""

import os
import time
from collections import Counter

import foreign_files
import numpy as np
import pytest
import tensorflow as tf
from damage import damage_tables
from small_models import needs_tflm
from table_changes import find, tensor_of
from test_verify_operators import SOUND, svdf
from tflite_files import changed

from keras_fastgrnn.errors import MalformedModelError
from keras_fastgrnn.export.foreign.inspection import inspect
from keras_fastgrnn.export.foreign.run_file import SequenceRunner
from keras_fastgrnn.export.foreign.verify import verify
from keras_fastgrnn.export.tflite.schema import (
    OPERATORS,
    TENSOR_TYPES,
    TYPE_NAMES,
    shape_of,
)
from keras_fastgrnn.export.tflm.process import ProcessEndedError, TFLMProcess

pytestmark = [
    needs_tflm,
    pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated"),
]
NAMES = [
    f"{name} {quantization}"
    for table in (foreign_files.FILES, foreign_files.FILES_OF_TF_KERAS)
    for name, quantizations in table.items()
    for quantization in quantizations
]
HYBRID = "wide lstm dynamic"
DAMAGED_FILES = int(os.environ.get("KERAS_FASTGRNN_DAMAGED_FILES", 150))


@pytest.fixture(scope="module")
def process():
    with TFLMProcess(timeout=20) as process:
        yield process


def inputs_of(data, rng, calls=3):
    """Random values for some Invokes, in the type and about the range of the input."""
    model = verify(data)
    graph = model["subgraphs"][0]
    (tensor,) = (graph["tensors"][index] for index in graph["inputs"])
    real = rng.normal(size=(calls, *shape_of(tensor)))
    kind = TYPE_NAMES[tensor["type"]]
    if kind == "float32":
        return real.astype(kind), 1.0
    scale, zero_point = (tensor["quantization"][field][0] for field in ("scale", "zero_point"))
    ends = np.iinfo(kind)
    return np.clip(np.rint(real / scale) + zero_point, ends.min, ends.max).astype(kind), None


@pytest.mark.parametrize("name", [name for name in NAMES if name != HYBRID])
def test_sound_file_answers_as_in_tensorflow(name, files_of_converter, process):
    data = files_of_converter[name]
    values, is_real = inputs_of(data, np.random.default_rng(1))
    process.load(data)
    (answers,) = process.run([values])
    interpreter = tf.lite.Interpreter(model_content=data)
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    for value, answer in zip(values, answers, strict=True):
        if "lstm" in name:
            interpreter.reset_all_variables()
            process.load(data)
            answer = process.run([value[np.newaxis]])[0][0]
        interpreter.set_tensor(source["index"], value)
        interpreter.invoke()
        expected = interpreter.get_tensor(target["index"]).astype(np.float64)
        # Two runtimes add floats in another order. They round integers in another way, by a unit
        # an operator, of which a tanh of a wide range makes five.
        limit = 1e-5 * max(1.0, np.abs(expected).max()) if is_real else 6.0
        np.testing.assert_allclose(answer.astype(np.float64), expected, atol=limit, rtol=0)


@pytest.mark.parametrize("name", [name for name in NAMES if name != HYBRID])
def test_sound_file_is_inspected_without_a_complaint(name, files_of_converter, process):
    found = inspect(files_of_converter[name], process)
    assert (found.not_in_tflm, found.unverified, found.refusal) == ([], [], None)
    assert found.arena_bytes is not None


def test_fused_lstm_of_int8_takes_sequences(files_of_converter, process):
    x = np.random.default_rng(0).normal(size=(2, 7, 5))
    runner = SequenceRunner(files_of_converter["lstm int8"], process)
    exact = SequenceRunner(files_of_converter["lstm float32"], process).run(x)
    quantized = SequenceRunner(files_of_converter["lstm int8"], process).run(x)
    assert runner.steps == 7 and exact.shape == (2, 1, 3)
    # The range that it was calibrated for is met, but not always.
    assert np.abs(exact - quantized).max() < 0.2 * np.abs(exact).max()


@pytest.mark.parametrize("kind", ["float32", "int8", "uint8"])
def test_stream_of_three_frames_a_call_keeps_its_variables_and_starts_anew(
    kind, files_of_converter, process
):
    """Its variable begins at 0.5, in every sequence."""
    data = files_of_converter[f"variables {kind}"]
    x = np.random.default_rng(0).normal(size=(2, 9, 4)).astype("float32")
    runner = SequenceRunner(data, process)
    answers = runner.run(x)
    assert (runner.steps, runner.keeps_state, answers.shape) == (3, True, (2, 3, 2))
    assert "the file takes 3 steps an Invoke, and its state goes on over 3 of them" in runner.notes
    module = foreign_files.Variables()
    for sequence, answer in zip(x, answers, strict=True):
        module.kept.assign(tf.fill((1, 2, 4), 0.5))
        expected = [module(frames[None]).numpy()[0] for frames in sequence.reshape(3, 3, 4)]
        # Integers of 8 bits, and a sigmoid of them.
        np.testing.assert_allclose(answer, expected, atol=1e-5 if kind == "float32" else 0.1)
    with pytest.raises(ValueError, match="expected a multiple of 3 steps"):
        runner.run(x[:, :8])


def test_lstm_with_float_activations_and_int8_weights_is_refused(files_of_converter, process):
    found = inspect(files_of_converter[HYBRID], process)
    assert found.not_in_tflm == ["UNIDIRECTIONAL_SEQUENCE_LSTM of float32, int8 to float32"]
    assert "does not compute float32, int8 to float32" in found.refusal
    with pytest.raises(MalformedModelError, match="does not compute float32, int8 to float32"):
        SequenceRunner(files_of_converter[HYBRID], process)


CONV, DEPTHWISE = "CONV_2D", "DEPTHWISE_CONV_2D"


def metadata_of_bias(model):
    """Scales for each channel, along a dimension that a bias does not have."""
    for kind in (CONV, DEPTHWISE):
        tensor = tensor_of(model, kind, 2)
        tensor["quantization"] = {**tensor["quantization"], "quantized_dimension": 3}


def nonsense_in_what_nothing_reads(model):
    unread = {"shape": [0], "type": TENSOR_TYPES["int8"], "buffer": 0}
    quantization = {"scale": np.array([np.nan, 0.0]), "zero_point": np.array([7])}
    model["subgraphs"][0]["tensors"].append({**unread, "quantization": quantization})


@pytest.mark.parametrize("change", [metadata_of_bias, nonsense_in_what_nothing_reads])
def test_what_no_kernel_reads_is_not_judged(change, files_of_converter, process):
    data = files_of_converter["image int8"]
    values, _ = inputs_of(data, np.random.default_rng(2))
    answers = []
    for one in (data, changed(data, change)):
        verify(one)
        process.load(one)
        answers.append(process.run([values])[0])
    np.testing.assert_array_equal(*answers)


@pytest.mark.parametrize("kind", ["VAR_HANDLE", "CALL_ONCE"])
def test_empty_vector_of_inputs_may_be_left_out(kind, files_of_converter, process):
    data = changed(
        files_of_converter["variables float32"], lambda m: find(m, kind).update(inputs=None)
    )
    found = inspect(data, process)
    assert (found.refusal, found.subgraphs[0].operators[kind]) == (None, 1)
    x = np.random.default_rng(0).normal(size=(2, 6, 4))
    answers = SequenceRunner(data, process).run(x)
    expected = SequenceRunner(files_of_converter["variables float32"], process).run(x)
    np.testing.assert_array_equal(answers, expected)


def as_gather_nd(model):
    operator = find(model, "GATHER")
    operator.update(builtin_options_type=0, builtin_options=None)
    code = model["operator_codes"][operator["opcode_index"]]
    code.update(builtin_code=OPERATORS["GATHER_ND"], deprecated_builtin_code=0)


def test_operator_without_a_rule_is_run_on_request_alone(files_of_converter, process):
    data = changed(files_of_converter["shapes float32"], as_gather_nd)
    found = inspect(data, process)
    assert found.unverified == ["GATHER_ND"]
    assert "unverified  GATHER_ND" in str(found)
    assert "no rule to verify GATHER_ND by" in found.refusal
    with pytest.raises(MalformedModelError, match="no rule to verify GATHER_ND by"):
        verify(data)
    assert verify(data, allow_unverified=True)["subgraphs"]


def test_damaged_files_do_not_end_tflite_micro(files_of_converter):
    """`KERAS_FASTGRNN_DAMAGED_FILES=2000 pytest -s -k damaged` measures with more."""
    rng, counts = np.random.default_rng(0), Counter()
    sound = [data for name, data in files_of_converter.items() if name != HYBRID]
    sound += [svdf(kind)[0] for kind in ("float32", "int8")]
    sound += [data for data, _ in SOUND.values()]
    start = time.monotonic()
    with TFLMProcess(timeout=30) as process:
        for number in range(DAMAGED_FILES):
            data = damage_tables(sound[number % len(sound)], rng)
            try:
                graph = verify(data)["subgraphs"][0]
            except MalformedModelError as error:
                assert "\n" not in str(error)
                counts["refused by verify"] += 1
                continue
            counts[_outcome(process, data, graph, rng)] += 1
    seconds = time.monotonic() - start
    print(f"{DAMAGED_FILES} damaged files in {seconds:.0f} s: {dict(counts)}")
    assert counts["crashed"] == 0
    assert min(counts["refused by verify"], counts["ran"]) > DAMAGED_FILES / 10


def _outcome(process, data, graph, rng) -> str:
    tensors = [graph["tensors"][index] for index in graph["inputs"]]
    kinds = [TYPE_NAMES[tensor["type"]] for tensor in tensors]
    try:
        process.load(data)
        if "resource" in kinds:
            return "takes no arrays"
        shapes = [(2, *shape_of(tensor)) for tensor in tensors]
        values = [40.0 * rng.normal(size=shape) for shape in shapes]
        process.run(
            [x.astype(k) for x, k in zip(values, kinds, strict=True)], len(graph["outputs"])
        )
    except ProcessEndedError:
        return "crashed"
    except RuntimeError:
        return "refused by TFLite Micro"
    return "ran"
