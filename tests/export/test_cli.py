"""The command line: what it prints and writes, and its errors."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import tflite_files
from small_models import CHANNELS, STEPS, needs_tflm, sequences, sequential
from tflite_files import deployed, small_model

from keras_fastgrnn import FastGRNN, export, keras
from keras_fastgrnn.export import cli
from keras_fastgrnn.keras_api import IS_TF_KERAS

pytestmark = [
    needs_tflm,
    pytest.mark.filterwarnings("ignore::keras_fastgrnn.export.SaturationWarning"),
]

LABELS = np.arange(16) % 2

ONE_ERROR = re.compile(r"fastgrnn-export: error: [^\n]+\n")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A saved model, data, and what was exported from them."""
    folder = tmp_path_factory.mktemp("cli")
    small_model().save(folder / "model.keras")
    np.savez(folder / "data.npz", x=sequences(), y=LABELS, each=LABELS[:, None].repeat(STEPS, 1))
    np.save(folder / "x.npy", sequences())
    (folder / "model.tflite").write_bytes(deployed("int16x8").tflite)
    return folder


@pytest.fixture
def run(folder, capfd, monkeypatch):
    """Runs the command line in this process; the exit code, standard output and error."""
    monkeypatch.chdir(folder)

    def run(*arguments) -> tuple[int, str, str]:
        try:
            code = cli.main([str(argument) for argument in arguments])
        except SystemExit as error:
            code = error.code
        return code, *capfd.readouterr()

    return run


# convert


@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        ([], {}),
        (["--quantization", "none"], {"quantization": None}),
        (
            ["--quantization", "int8", "--mode", "sequence"],
            {"quantization": "int8", "mode": "sequence"},
        ),
        (
            ["--state", "explicit", "--input-type", "float32", "--output-type", "int8"],
            {"state": "explicit", "input_type": "float32", "output_type": "int8"},
        ),
    ],
)
def test_convert_writes_what_the_function_makes(options, arguments, run, tmp_path):
    code, out, error = run(
        "convert", "model.keras", "--calibration", "data.npz", "--array", "x", "--out", tmp_path,
        "--name", "gesture", *options,
    )  # fmt: skip
    assert (code, error) == (0, "")
    expected = export.convert(
        keras.models.load_model("model.keras"), sequences(), name="gesture", **arguments
    )
    assert (tmp_path / "gesture.tflite").read_bytes() == expected.tflite
    assert "gesture" in out and "arena" in out
    written = {line.strip() for line in out.partition("written:\n")[2].splitlines()}
    assert written == {str(path) for path in tmp_path.iterdir()}


def test_convert_writes_plain_c(run, tmp_path):
    arguments = ["convert", "model.keras", "--calibration", "x.npy", "--out", tmp_path]
    code, out, error = run(*arguments, "--target", "c", "--power-of-two-weights")
    assert (code, error) == (0, "")
    expected = export.convert_c(
        keras.models.load_model("model.keras"), sequences(), power_of_two_weights=True
    )
    assert (tmp_path / "model.c").read_text() == expected.source
    assert (tmp_path / "model.h").read_text() == expected.header
    assert "plain C" in out and "model_report.json" in out


def test_convert_takes_the_first_sequences_alone(run, tmp_path):
    run("convert", "model.keras", "--calibration", "x.npy", "--count", 3, "--out", tmp_path)
    expected = export.convert(keras.models.load_model("model.keras"), sequences()[:3])
    assert (tmp_path / "model.tflite").read_bytes() == expected.tflite


def test_convert_reads_h5(run, tmp_path):
    model = small_model()
    model.save(tmp_path / "model.h5")
    arguments = ["convert", tmp_path / "model.h5", "--calibration", "x.npy", "--out", tmp_path]
    code, _, error = run(*arguments)
    assert (code, error) == (0, "")
    expected = export.convert(model, sequences())
    assert (tmp_path / "model.tflite").read_bytes() == expected.tflite


def test_files_that_are_there_are_replaced_on_request_alone(run, tmp_path):
    arguments = ["convert", "model.keras", "--calibration", "x.npy", "--out", tmp_path]
    (tmp_path / "model.tflite").write_text("mine")
    code, _, error = run(*arguments)
    assert code == 1 and "model.tflite" in error and ONE_ERROR.fullmatch(error)
    assert (tmp_path / "model.tflite").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["model.tflite"]
    assert run(*arguments, "--overwrite")[0] == 0


def test_own_warnings_are_lines_of_their_own(run, tmp_path):
    """One channel is 10,000 times another, which alone matters."""
    model = sequential(FastGRNN(4), keras.layers.Dense(2), spread=0.3)
    values = np.copy(model.trainable_weights[0].numpy())
    values[0] = 0.0
    model.trainable_weights[0].assign(values)
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "x.npy", sequences() * [1e4, 1.0, 1.0])
    arguments = ["convert", tmp_path / "model.keras", "--calibration", tmp_path / "x.npy"]
    code, _, error = run(*arguments, "--out", tmp_path)
    assert code == 0
    assert re.fullmatch(r"fastgrnn-export: warning: The integer outputs differ [^\n]+\n", error)


# run


@pytest.mark.parametrize("name", tflite_files.FORMATS)
def test_run_saves_what_the_deployed_model_answers(name, run, tmp_path):
    (tmp_path / "model.tflite").write_bytes(deployed(name).tflite)
    arguments = ["run", tmp_path / "model.tflite", "data.npz", "--labels", "y"]
    code, out, error = run(*arguments, "--output", tmp_path / "out.npz")
    assert (code, error) == (0, "")
    saved = np.load(tmp_path / "out.npz")
    expected = deployed(name).predict(sequences())
    np.testing.assert_array_equal(saved["outputs"][:, -1], expected)
    np.testing.assert_array_equal(saved["classes"][:, -1], expected.argmax(axis=1))
    accuracy = 100 * np.mean(expected.argmax(axis=1) == np.arange(16) % 2)
    assert f"accuracy: {accuracy:.2f} %" in out
    assert f"mean {expected[:, 0].mean():.6g}" in out


def test_labels_may_be_one_for_every_answer(run, tmp_path):
    run("run", "model.tflite", "data.npz", "--output", tmp_path / "out.npz")
    classes = np.load(tmp_path / "out.npz")["classes"]
    accuracy = 100 * np.mean(classes == (np.arange(16) % 2)[:, None])
    assert (
        f"accuracy: {accuracy:.2f} %"
        in run("run", "model.tflite", "data.npz", "--labels", "each")[1]
    )


# inspect


def test_inspect_prints_text_or_json(run):
    code, text, error = run("inspect", "model.tflite")
    assert (code, error) == (0, "")
    code, printed, error = run("inspect", "model.tflite", "--json")
    assert (code, error) == (0, "")
    values = json.loads(printed)
    assert values["file_bytes"] == os.path.getsize("model.tflite")
    assert values["arena_bytes"] == deployed("int16x8").report.arena_bytes
    assert f"{values['arena_bytes']:,} bytes" in text


# Mistakes


def not_finite():
    x = sequences()
    x[0, 0, 0] = np.inf
    return x


def made(folder):
    """Files with something wrong."""
    np.save(folder / "channels.npy", sequences(channels=CHANNELS + 1))
    np.save(folder / "flat.npy", np.zeros(3))
    np.save(folder / "infinite.npy", not_finite())
    np.save(folder / "objects.npy", np.array([{}], object), allow_pickle=True)
    labels = {"text": np.array(["a"] * 16), "from_1": 1 + LABELS, "below_0": LABELS - 1}
    np.savez(folder / "labels.npz", x=sequences(), y=np.zeros(3, int), **labels)
    (folder / "data").mkdir(exist_ok=True)
    (folder / "empty.npz").touch()
    whole = (folder / "model.keras").read_bytes()
    (folder / "half.keras").write_bytes(whole[: len(whole) // 2])
    (folder / "text.h5").write_text("no model")
    (folder / "half.tflite").write_bytes(deployed("int16x8").tflite[:500])


CONVERT = ["convert", "model.keras", "--out", "out", "--calibration"]
MISTAKES = {
    "no model": (["convert", "nothing.keras", "--calibration", "x.npy"], "No such file"),
    "model is a folder": (["convert", "data.keras", "--calibration", "x.npy"], "No such file"),
    "mode of plain C": ([*CONVERT, "x.npy", "--target", "c", "--mode", "sequence"], "--mode"),
    "int8 in plain C": ([*CONVERT, "x.npy", "--target", "c", "--quantization", "int8"], "--quant"),
    "ending": (["convert", "model.tflite", "--calibration", "x.npy"], "saved as .keras or .h5"),
    "half a model": (["convert", "half.keras", "--calibration", "x.npy"], "is no Keras archive"),
    "text as model": (["convert", "text.h5", "--calibration", "x.npy"], "cannot be loaded"),
    "no calibration": (["convert", "model.keras", "--out", "out"], "argument calibration_data"),
    "no data": ([*CONVERT, "nothing.npz"], "No such file or directory: nothing.npz"),
    "data is a folder": ([*CONVERT, "data"], "data is a folder"),
    "empty data": ([*CONVERT, "empty.npz"], "empty.npz cannot be read"),
    "objects": ([*CONVERT, "objects.npy"], "it holds Python objects"),
    "no such array": ([*CONVERT, "data.npz", "--array", "z"], "has no array 'z'; it has x"),
    "rank": ([*CONVERT, "flat.npy"], "has no array of 3 dimensions"),
    "channels": ([*CONVERT, "channels.npy"], "shape (16, 12, 4), expected (batch, steps, 3)"),
    "not finite": ([*CONVERT, "infinite.npy"], "1 of 576 are NaN or infinite"),
    "name": ([*CONVERT, "x.npy", "--name", "my model"], "expected a C identifier"),
    "folder": ([*CONVERT[:2], "--calibration", "x.npy", "--out", "x.npy"], "x.npy"),
    "no file": (["run", "nothing.tflite", "x.npy"], "No such file or directory: nothing.tflite"),
    "half a file": (["run", "half.tflite", "x.npy"], "cut off or damaged"),
    "other file": (["run", "x.npy", "x.npy"], "without its identifier TFL3"),
    "run, channels": (["run", "model.tflite", "channels.npy"], "(batch, steps, 3), got an array"),
    "run, not finite": (["run", "model.tflite", "infinite.npy"], "are NaN or infinite"),
    "labels": (["run", "model.tflite", "labels.npz", "--labels", "y"], "expected integers of sha"),
    "text": (["run", "model.tflite", "labels.npz", "--labels", "text"], "The labels are <U1"),
    "classes": (["run", "model.tflite", "labels.npz", "--labels", "from_1"], "hold 2, expected cl"),
    "negative": (["run", "model.tflite", "labels.npz", "--labels", "below_0"], "hold -1, expected"),
    "no labels": (["run", "model.tflite", "data.npz", "--labels", "q"], "has no array 'q'"),
    "output": (["run", "model.tflite", "x.npy", "--output", "x.npy"], "x.npy"),
    "inspect nothing": (["inspect", "nothing"], "No such file or directory: nothing"),
    "inspect a folder": (["inspect", "data"], "Is a directory: data"),
    "inspect half": (["inspect", "half.tflite"], "cut off or damaged"),
}  # fmt: skip


@pytest.mark.parametrize("what", MISTAKES)
def test_mistake_is_one_line_that_says_what_is_wrong(what, run, folder):
    made(folder)
    before = sorted(os.listdir(folder))
    arguments, message = MISTAKES[what]
    code, out, error = run(*arguments)
    assert code == 1
    assert message in error
    assert ONE_ERROR.fullmatch(error)
    assert out == "" or arguments[0] == "run"
    assert sorted(os.listdir(folder)) == before


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["train"],
        ["convert"],
        [*CONVERT, "x.npy", "--quantization", "int4"],
        [*CONVERT, "x.npy", "--count", "0"],
        ["run", "model.tflite"],
        ["run", "model.tflite", "x.npy", "--state", "h"],
    ],
)
def test_wrong_usage_ends_with_2_and_says_how(arguments, run):
    code, out, error = run(*arguments)
    assert (code, out) == (2, "")
    assert error.startswith("usage: fastgrnn-export")


@pytest.mark.parametrize("command", ["convert", "run", "inspect"])
def test_help_has_examples(command, run):
    code, out, error = run(command, "--help")
    assert (code, error) == (0, "")
    assert f"examples:\n  fastgrnn-export {command} " in out


def test_unsupported_layer_is_named(run, tmp_path):
    model = sequential(keras.layers.ZeroPadding1D(1, name="mine"), FastGRNN(2))
    model.save(tmp_path / "model.keras")
    arguments = ["convert", tmp_path / "model.keras", "--calibration", "x.npy"]
    code, _, error = run(*arguments, "--out", tmp_path)
    assert code == 1 and ONE_ERROR.fullmatch(error)
    assert "mine" in error and "ZeroPadding1D" in error


def test_layer_that_is_not_registered_is_named(run, tmp_path):
    class Mine(keras.layers.Layer):
        def call(self, inputs):
            return inputs

    sequential(Mine(), FastGRNN(2)).save(tmp_path / "model.keras")
    arguments = ["convert", tmp_path / "model.keras", "--calibration", "x.npy"]
    code, _, error = run(*arguments, "--out", tmp_path)
    assert code == 1 and ONE_ERROR.fullmatch(error)
    assert "mine (Mine): there is no exporter for this layer" in error


@pytest.mark.parametrize("ending", ["keras", "h5"])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_code_in_a_model_is_not_run(ending, run, tmp_path):
    ran = Path("ran")
    layer = keras.layers.Lambda(lambda x: (open("ran", "w").close(), x)[1], name="evil")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The object being serialized includes a `lambda`")
        sequential(layer, FastGRNN(2)).save(tmp_path / f"model.{ending}")
    assert ran.exists()  # when the model was made
    ran.unlink()
    arguments = ["convert", tmp_path / f"model.{ending}", "--calibration", "x.npy"]
    code, _, error = run(*arguments, "--out", tmp_path)
    assert code == 1 and ONE_ERROR.fullmatch(error)
    assert "evil (Lambda): there is no exporter for this layer" in error
    assert not ran.exists()


# Processes


def shell(arguments, folder, **more):
    """The command as a user starts it; `legacy` says whether on tf_keras."""
    clean = {k: v for k, v in os.environ.items() if k not in ("TF_USE_LEGACY_KERAS", "PYTHONPATH")}
    if more.pop("legacy", IS_TF_KERAS):
        clean["TF_USE_LEGACY_KERAS"] = "1"
    command = [sys.executable, "-m", "keras_fastgrnn.export", *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=folder, env=clean, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        **more,
    )  # fmt: skip


def test_only_its_own_words_reach_the_user(folder, tmp_path):
    arguments = ["convert", "model.keras", "--calibration", "x.npy", "--out", tmp_path]
    process = shell(arguments, folder)
    out, error = process.communicate(timeout=300)
    assert (process.returncode, error) == (0, "")
    assert out.startswith("model: int16x8")
    process = shell(["inspect", "nothing"], folder)
    out, error = process.communicate(timeout=300)
    assert (process.returncode, out) == (1, "")
    assert error == "fastgrnn-export: error: No such file or directory: nothing\n"


def test_installed_command_is_the_module(folder):
    command = Path(sys.executable).with_name("fastgrnn-export")
    if not command.exists():
        pytest.skip("The project is installed without its command.")
    result = subprocess.run(
        [command, "inspect", "model.tflite", "--json"], cwd=folder, capture_output=True, text=True
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(result.stdout)["file_bytes"] == os.path.getsize(folder / "model.tflite")


def test_model_of_the_other_keras_is_told_how_to_switch(folder):
    arguments = ["convert", "model.keras", "--calibration", "x.npy", "--out", "other"]
    process = shell(arguments, folder, legacy=not IS_TF_KERAS)
    _, error = process.communicate(timeout=300)
    assert process.returncode == 1 and ONE_ERROR.fullmatch(error)
    switch = "set TF_USE_LEGACY_KERAS=1" if IS_TF_KERAS else "unset TF_USE_LEGACY_KERAS"
    assert switch in error


def test_closed_pipe_is_no_error_of_its_own(folder):
    process = shell(["inspect", "model.tflite"], folder)
    process.stdout.close()
    error = process.stderr.read()
    assert (process.wait(timeout=300), error) == (1, "")
    process.stderr.close()


def test_ctrl_c_ends_with_130_and_without_a_word(folder):
    x = np.zeros((5000, STEPS, CHANNELS), np.float32)
    np.save(folder / "long.npy", np.tile(x, (1, 50, 1)))
    process = shell(["run", "model.tflite", "long.npy"], folder, start_new_session=True)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while process.poll() is None and not children.read_text().strip():
        time.sleep(0.1)  # until TFLite Micro's process is there, so that it runs
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (130, "")
