"""Files of TensorFlow's own converter: sound ones run as in TensorFlow, broken ones are refused.

Every change below keeps the file readable, and leads a kernel of TFLite Micro out of its tensors,
to an abort, or to another meaning.
"""

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import foreign_files
import numpy as np
import pytest
import tensorflow as tf
from damage import damage_tables
from small_models import needs_tflm
from test_verify_operators import SOUND, svdf
from tflite_files import changed

from keras_fastgrnn.export.errors import MalformedModelError
from keras_fastgrnn.export.inspection import inspect
from keras_fastgrnn.export.run_file import SequenceRunner
from keras_fastgrnn.export.schema import (
    OPERATORS,
    TENSOR_TYPES,
    TYPE_NAMES,
    operator_name,
    shape_of,
    tensor_bytes,
)
from keras_fastgrnn.export.tflm_process import ProcessEndedError, TFLMProcess
from keras_fastgrnn.export.verify import verify

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


@pytest.fixture(scope="session")
def files(tmp_path_factory) -> dict[str, bytes]:
    """Made once, in a process for each Keras; other workers of pytest-xdist wait for them."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "foreign_files"
    try:
        folder.mkdir()
    except FileExistsError:
        until = time.monotonic() + 600.0
        while not (folder / "done").exists() and time.monotonic() < until:
            time.sleep(0.5)
    else:
        program = Path(foreign_files.__file__)
        for flavor in ("0", "1"):
            subprocess.run(
                [sys.executable, program, folder],
                env={**os.environ, "TF_USE_LEGACY_KERAS": flavor},
                check=True,
                capture_output=True,
            )
        (folder / "done").touch()
    return {name: (folder / f"{name}.tflite").read_bytes() for name in NAMES}


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
def test_sound_file_answers_as_in_tensorflow(name, files, process):
    data = files[name]
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
def test_sound_file_is_inspected_without_a_complaint(name, files, process):
    found = inspect(files[name], process)
    assert (found.not_in_tflm, found.unverified, found.refusal) == ([], [], None)
    assert found.arena_bytes is not None


def test_fused_lstm_of_int8_takes_sequences(files, process):
    x = np.random.default_rng(0).normal(size=(2, 7, 5))
    runner = SequenceRunner(files["lstm int8"], process)
    exact = SequenceRunner(files["lstm float32"], process).run(x)
    quantized = SequenceRunner(files["lstm int8"], process).run(x)
    assert runner.steps == 7 and exact.shape == (2, 1, 3)
    # The range that it was calibrated for is met, but not always.
    assert np.abs(exact - quantized).max() < 0.2 * np.abs(exact).max()


@pytest.mark.parametrize("kind", ["float32", "int8", "uint8"])
def test_stream_of_three_frames_a_call_keeps_its_variables_and_starts_anew(kind, files, process):
    """Its variable begins at 0.5, in every sequence."""
    data = files[f"variables {kind}"]
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


def test_lstm_with_float_activations_and_int8_weights_is_refused(files, process):
    found = inspect(files[HYBRID], process)
    assert found.not_in_tflm == ["UNIDIRECTIONAL_SEQUENCE_LSTM of float32, int8 to float32"]
    assert "does not compute float32, int8 to float32" in found.refusal
    with pytest.raises(MalformedModelError, match="does not compute float32, int8 to float32"):
        SequenceRunner(files[HYBRID], process)


def find(model, kind, graph=0):
    """The first operator of a kind."""
    return next(
        operator
        for operator in model["subgraphs"][graph]["operators"]
        if operator_name(model["operator_codes"][operator["opcode_index"]]) == kind
    )


def tensor_of(model, kind, place, side="inputs", graph=0):
    return model["subgraphs"][graph]["tensors"][find(model, kind, graph)[side][place]]


def shaped(kind, place, shape, side="inputs", graph=0):
    """A change of a tensor's shape; a constant is cut or repeated to what that takes."""

    def change(model):
        tensor = tensor_of(model, kind, place, side, graph)
        tensor["shape"] = shape
        data = model["buffers"][tensor["buffer"]]["data"]
        if data is not None and data.size:
            tensor["buffer"] = len(model["buffers"])
            made = np.resize(data.view(np.uint8), tensor_bytes(tensor))
            model["buffers"].append({"data": made})

    return change


def valued(kind, place, values):
    """A change of a constant vector of int32, in its own shape."""

    def change(model):
        tensor = tensor_of(model, kind, place)
        tensor["buffer"] = len(model["buffers"])
        model["buffers"].append({"data": np.array(values, "<i4").view(np.uint8)})

    return change


def with_options(kind, **options):
    def change(model):
        operator = find(model, kind)
        operator["builtin_options"] = {**operator["builtin_options"], **options}

    return change


def typed(kind, place, type_name, side="inputs"):
    return lambda model: tensor_of(model, kind, place, side).update(type=TENSOR_TYPES[type_name])


def scaled(kind, place, count, dimension=0, side="inputs"):
    def change(model):
        tensor = tensor_of(model, kind, place, side)
        tensor["quantization"] = {
            "scale": np.full(count, 0.1, np.float32),
            "zero_point": np.zeros(count, np.int64),
            "quantized_dimension": dimension,
        }

    return change


def computed(kind, place):
    """A constant becomes one that only the model's caller knows."""

    def change(model):
        graph = model["subgraphs"][0]
        index = find(model, kind)["inputs"][place]
        graph["tensors"][index] = {**graph["tensors"][index], "buffer": 0}
        graph["inputs"] = [*graph["inputs"], index]

    return change


def left_out(kind, place):
    def change(model):
        operator = find(model, kind)
        operator["inputs"] = [*operator["inputs"]]
        operator["inputs"][place] = -1

    return change


def renamed_variable(model):
    options = find(model, "VAR_HANDLE", 1)["builtin_options"]
    find(model, "VAR_HANDLE", 1)["builtin_options"] = {**options, "shared_name": "another"}
    assign = find(model, "ASSIGN_VARIABLE")
    model["subgraphs"][0]["operators"].remove(assign)


CONV, DEPTHWISE, LSTM = "CONV_2D", "DEPTHWISE_CONV_2D", "UNIDIRECTIONAL_SEQUENCE_LSTM"
BROKEN = {
    "bias of one": ("image int8", shaped(CONV, 2, [1]), r"its bias is int32 \[1\]"),
    "bias of floats": ("image float32", shaped(DEPTHWISE, 2, [2]), r"its bias is float32 \[2\]"),
    "bias type": ("image int8", typed(CONV, 2, "float32"), "does not compute int8, float32"),
    "bias left out": ("image int8", left_out(DEPTHWISE, 2), "bias is listed and left out"),
    "filters of more channels": ("image int8", shaped(CONV, 1, [4, 3, 2, 3]), "groups of 2 chan"),
    "more filters": ("image int8", shaped(CONV, 1, [64, 3, 2, 2]), "has the shape"),
    "filters of rank 3": ("image int8", shaped(CONV, 1, [12, 2, 2]), "its shapes are"),
    "larger result": ("image int8", shaped(CONV, 0, [1, 4, 60, 4], "outputs"), "has the shape"),
    "stride 0": ("image int8", with_options(CONV, stride_h=0), "the stride 0"),
    "stride": ("image int8", with_options(CONV, stride_w=2), "has the shape"),
    "dilation 0": ("image int8", with_options(CONV, dilation_w_factor=0), "the dilation 0"),
    "dilation": ("image float32", with_options(DEPTHWISE, dilation_h_factor=2), "has the shape"),
    "padding": ("image int8", with_options(CONV, padding=2), "its padding is number 2"),
    "multiplier": ("image int8", with_options(DEPTHWISE, depth_multiplier=3), "are not 3 for each"),
    "multiplier 0": ("image int8", with_options(DEPTHWISE, depth_multiplier=0), "are not 0 for"),
    "scales of filters": ("image int8", scaled(CONV, 1, 3), "has 3 scales for the shape"),
    "scales, dimension": ("image int8", scaled(CONV, 1, 4, 3), "the quantized dimension 3"),
    "pool of 0": ("image int8", with_options("MAX_POOL_2D", filter_width=0), "have the size 0"),
    "pool result": (
        "image float32", shaped("AVERAGE_POOL_2D", 0, [1, 9, 9, 8], "outputs"), "has the shape",
    ),
    "pool channels": ("image int8", shaped("MAX_POOL_2D", 0, [1, 2, 5, 9], "outputs"), "has the"),
    "axis": ("image int8", valued("MEAN", 1, [1, 4]), "its axis is 4, of 4"),
    "axis computed": ("image int8", computed("MEAN", 1), "is computed, expected a constant"),
    "three axes": ("image float32", shaped("MEAN", 1, [3]), "has the shape|room for 2 of 4"),
    "mean result": ("image float32", shaped("MEAN", 0, [1, 99], "outputs"), "has the shape"),
    "keep_dims": ("image float32", with_options("MEAN", keep_dims=True), "has the shape"),
    "paddings": ("image int8", valued("PAD", 1, [0, 0, 9, 0, 2, 1, 0, 0]), "has the shape"),
    "negative": ("image int8", valued("PAD", 1, [0, 0, 2, -1, 2, 1, 0, 0]), "its paddings are"),
    "paddings, shape": ("image int8", shaped("PAD", 1, [2, 2]), r"not a constant of the shape"),
    "leaky": ("1d float32", with_options("LEAKY_RELU", alpha=float("nan")), "its alpha is nan"),
    "order": ("1d float32", valued("TRANSPOSE", 1, [0, 2, 2]), "order of dimensions is"),
    "turned": ("1d float32", valued("TRANSPOSE", 1, [2, 1, 0]), "has the shape"),
    "reshape": ("1d float32", shaped("RESHAPE", 0, [1, 2, 3], "outputs"), "its shapes are"),
    "packed": ("shapes float32", with_options("PACK", values_count=9), "it counts 9 of 3"),
    "pack axis": ("shapes float32", with_options("PACK", axis=3), "its axis is 3"),
    "pack result": ("shapes float32", shaped("PACK", 0, [1, 30, 6], "outputs"), "has the shape"),
    "unpacked": ("shapes float32", with_options("UNPACK", num=5), "it counts 5 of 4"),
    "unpack axis": ("shapes float32", with_options("UNPACK", axis=-4), "its axis is -4"),
    "split axis": ("shapes float32", valued("SPLIT", 0, [3]), "its axis is 3, of 3"),
    "split computed": ("shapes float32", computed("SPLIT", 0), "is computed"),
    "split": ("shapes float32", shaped("SPLIT", 1, [1, 4, 4], "outputs"), "differ in shape|has"),
    "split_v": ("shapes float32", shaped("SPLIT_V", 2, [1, 4, 9], "outputs"), "along axis 2|value"),
    "splits": ("shapes float32", with_options("SPLIT_V", num_splits=2), "it counts 2 of 3"),
    "end": ("shapes float32", valued("STRIDED_SLICE", 2, [1, 3, 6]), "has the shape"),
    "step 0": ("shapes float32", valued("STRIDED_SLICE", 3, [1, 0, 2]), "a stride of 0"),
    "mask": ("shapes float32", with_options("STRIDED_SLICE", end_mask=2), "has the shape"),
    "ellipsis": ("shapes float32", with_options("STRIDED_SLICE", ellipsis_mask=1), "ellipsis_ma"),
    "shrink": ("shapes float32", with_options("STRIDED_SLICE", shrink_axis_mask=1), "has the shap"),
    "pad value": ("shapes float32", shaped("PADV2", 2, [2]), "pads with more than one value"),
    "gather": ("shapes float32", valued("GATHER", 1, [5, 0, 6]), "an index out of range"),
    "gathered": ("shapes float32", computed("GATHER", 1), "which may lie out of range"),
    "largest": ("shapes float32", valued("REDUCE_MAX", 1, [9]), "its axis is 9"),
    "total": ("shapes float32", shaped("SUM", 0, [12], "outputs"), "has the shape"),
    "arg axis": ("elements float32", valued("ARG_MAX", 1, [2]), "its axis is 2"),
    "lstm weights": ("lstm float32", shaped(LSTM, 3, [6, 4]), r"has the shape \[6, 4\]"),
    "lstm recurrent": ("lstm float32", shaped(LSTM, 6, [6, 7]), r"has the shape \[6, 7\]"),
    "lstm bias": ("lstm int8", shaped(LSTM, 13, [1]), r"has the shape \[1\], expected \[6\]"),
    "lstm scales": ("lstm int8", scaled(LSTM, 2, 6), "has 6 scales, expected 1"),
    "lstm state": ("lstm int8", shaped(LSTM, 19, [1, 5]), "has the shape"),
    "lstm result": ("lstm float32", shaped(LSTM, 0, [1, 70, 6], "outputs"), "has the shape|value"),
    "lstm activation": ("lstm int8", with_options(LSTM, fused_activation_function=1), "number 1"),
    "lstm clip": ("lstm int8", with_options(LSTM, cell_clip=-1.0), "its cell_clip is -1"),
    "lstm, left out": ("lstm int8", left_out(LSTM, 5), "input 5 is left out"),
    "lstm, constant state": (
        "lstm float32",
        lambda m: tensor_of(m, LSTM, 18).update(is_variable=False),
        "no value yet|is its state and no variable",
    ),
    "variable of two sizes": (
        "variables float32",
        shaped("ASSIGN_VARIABLE", 1, [1, 3, 4], graph=1),
        "are one variable and differ in type or size",
    ),
    "variable assigned": ("variables float32", renamed_variable, "is never assigned"),
    "variable without a name": (
        "variables float32", with_options("VAR_HANDLE", shared_name=None), "has no name",
    ),
    "handle": (
        "variables float32",
        lambda m: find(m, "READ_VARIABLE").update(inputs=find(m, "FULLY_CONNECTED")["inputs"][1:2]),
        "does not compute",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_broken_file_is_refused_in_one_line_that_says_why(what, files):
    name, change, message = BROKEN[what]
    data = changed(files[name], change)
    with pytest.raises(MalformedModelError, match=message) as caught:
        verify(data)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("what", ["bias of one", "larger result", "axis", "lstm bias"])
def test_what_is_broken_was_sound_before(what, files):
    verify(changed(files[BROKEN[what][0]], lambda model: None))


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
def test_what_no_kernel_reads_is_not_judged(change, files, process):
    data = files["image int8"]
    values, _ = inputs_of(data, np.random.default_rng(2))
    answers = []
    for one in (data, changed(data, change)):
        verify(one)
        process.load(one)
        answers.append(process.run([values])[0])
    np.testing.assert_array_equal(*answers)


@pytest.mark.parametrize("kind", ["VAR_HANDLE", "CALL_ONCE"])
def test_empty_vector_of_inputs_may_be_left_out(kind, files, process):
    data = changed(files["variables float32"], lambda m: find(m, kind).update(inputs=None))
    found = inspect(data, process)
    assert (found.refusal, found.subgraphs[0].operators[kind]) == (None, 1)
    x = np.random.default_rng(0).normal(size=(2, 6, 4))
    answers = SequenceRunner(data, process).run(x)
    expected = SequenceRunner(files["variables float32"], process).run(x)
    np.testing.assert_array_equal(answers, expected)


def as_gather_nd(model):
    operator = find(model, "GATHER")
    operator.update(builtin_options_type=0, builtin_options=None)
    code = model["operator_codes"][operator["opcode_index"]]
    code.update(builtin_code=OPERATORS["GATHER_ND"], deprecated_builtin_code=0)


def test_operator_without_a_rule_is_run_on_request_alone(files, process):
    data = changed(files["shapes float32"], as_gather_nd)
    found = inspect(data, process)
    assert found.unverified == ["GATHER_ND"]
    assert "unverified  GATHER_ND" in str(found)
    assert "no rule to verify GATHER_ND by" in found.refusal
    with pytest.raises(MalformedModelError, match="no rule to verify GATHER_ND by"):
        verify(data)
    assert verify(data, allow_unverified=True)["subgraphs"]


def test_damaged_files_do_not_end_tflite_micro(files):
    """`KERAS_FASTGRNN_DAMAGED_FILES=2000 pytest -s -k damaged` measures with more."""
    rng, counts = np.random.default_rng(0), Counter()
    sound = [data for name, data in files.items() if name != HYBRID]
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
    values = [
        (40.0 * rng.normal(size=(2, *shape_of(t)))).astype(TYPE_NAMES[t["type"]]) for t in tensors
    ]
    try:
        process.load(data)
        process.run(values, len(graph["outputs"]))
    except ProcessEndedError:
        return "crashed"
    except RuntimeError:
        return "refused by TFLite Micro"
    return "ran"
