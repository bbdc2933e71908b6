"""TFLite Micro in a process of its own: its results, its state, and its crashes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from blocked_tflm import BLOCKER
from small_models import needs_tflm, sequences
from tflite_files import changed, deployed

from keras_fastgrnn.export.tflm.interpreter import Interpreter, find_arena_size
from keras_fastgrnn.export.tflm.process import ProcessEndedError, TFLMProcess
from keras_fastgrnn.graph import real_values

pytestmark = needs_tflm


@pytest.fixture(scope="module")
def process():
    with TFLMProcess() as process:
        yield process


def crashing() -> bytes:
    """A file whose first operator reads tensor 1,000,000."""

    def change(model):
        first = model["subgraphs"][0]["operators"][0]
        first["inputs"] = np.array([10**6, 10**6])

    return changed(deployed("int16x8").tflite, change)


def integers(name, count=3):
    found = deployed(name)
    return real_values.quantize_input(sequences(count), found.inputs[0])


def test_results_are_those_of_this_process(process):
    data = deployed("int16x8").tflite
    process.load(data)
    here = Interpreter(data)
    for x in integers("int16x8"):
        (found,) = process.run([x[:, np.newaxis]])
        np.testing.assert_array_equal(found[:, 0], here.run(x))


def test_state_goes_on_without_reset_and_starts_again_with_it(process):
    process.load(deployed("int16x8").tflite)
    (x, *_) = integers("int16x8")
    rows = x[:, np.newaxis]
    (whole,) = process.run([rows])
    (first,) = process.run([rows[:5]])
    (second,) = process.run([rows[5:]], reset=False)
    np.testing.assert_array_equal(np.concatenate([first, second]), whole)
    assert (second[-1] != process.run([rows[5:]])[0][-1]).any()


def test_output_is_fed_back_into_an_input(process):
    found = deployed("explicit")
    data, (x, *_) = found.tflite, sequences()
    zero = np.full(found.inputs[1].shape, found.inputs[1].zero_point, found.inputs[1].dtype)
    process.load(data)
    rows = process.run([x[:, np.newaxis], zero[np.newaxis]], 2, feedback=[(1, 1)])[0]
    here = Interpreter(data, output_count=2)
    np.testing.assert_array_equal(rows[:, 0], here.run(x, [zero]))
    constant = [value[np.newaxis].repeat(12, 0) for value in (x[:1], zero)]
    repeated = process.run(constant, 2)
    assert (repeated[0] == repeated[0][0]).all()  # nothing is fed back


def test_sequence_in_one_invoke(process):
    found = deployed("sequence")
    process.load(found.tflite)
    for x in integers("sequence"):
        (answer,) = process.run([x[np.newaxis, np.newaxis]])
        np.testing.assert_array_equal(answer[0], Interpreter(found.tflite).invoke(x[np.newaxis])[0])


@pytest.mark.parametrize("name", ["int16x8", "int8", "float32", "explicit", "sequence"])
def test_arena_is_that_of_this_process(name, process):
    data = deployed(name).tflite
    assert process.find_arena_size(data) == find_arena_size(data)


def test_refusal_is_in_the_words_of_tflite_micro_and_the_process_lives(process):
    data = deployed("int16x8").tflite
    crashes = process.crashes
    with pytest.raises(RuntimeError, match="^TFLite Micro refuses the model: .*(arena|memory|buf)"):
        process.load(data, process.find_arena_size(data) - 64)
    process.load(data)
    with pytest.raises(RuntimeError, match="^TFLite Micro cannot run the model: .* type INT8"):
        process.run([np.zeros((1, 1, 3), np.int8)])
    with pytest.raises(RuntimeError, match="Output index 1 out of range"):
        process.run([np.zeros((1, 1, 3), np.int16)], 2)
    assert process.crashes == crashes


def test_crash_is_an_error_and_the_next_model_runs():
    with TFLMProcess() as process:
        with pytest.raises(ProcessEndedError, match=r"^TFLite Micro crashed on this model \(SIG"):
            process.load(crashing())
            process.run([np.zeros((1, 1, 3), np.int16)])
        assert process.crashes == 1
        process.load(deployed("int16x8").tflite)
        assert process.run([np.zeros((4, 1, 3), np.int16)])[0].shape == (4, 1, 2)


def test_what_takes_too_long_is_stopped():
    with TFLMProcess(timeout=2) as process:
        process.load(deployed("int16x8").tflite)
        with pytest.raises(ProcessEndedError, match=r"^TFLite Micro took longer than 2 seconds\.$"):
            process.run([np.zeros((3_000_000, 1, 3), np.int16)])
        process.load(deployed("int16x8").tflite)


def test_arena_beyond_the_memory_it_may_use_is_an_error(process):
    with pytest.raises(RuntimeError, match="bad_alloc|MemoryError|memory"):
        process.load(deployed("int16x8").tflite, 1 << 33)
    process.load(deployed("int16x8").tflite)


def test_process_ends_with_its_owner():
    with TFLMProcess() as process:
        process.load(deployed("int16x8").tflite)
        number = process._process.pid
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)


def test_process_ends_when_its_owner_is_killed(tmp_path):
    code = f"""
import sys, time
from keras_fastgrnn.export.tflm.process import TFLMProcess
process = TFLMProcess()
process.load(open({str(tmp_path / "model.tflite")!r}, "rb").read())
print(process._process.pid, flush=True)
time.sleep(600)
"""
    (tmp_path / "model.tflite").write_bytes(deployed("int16x8").tflite)
    owner = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    number = int(owner.stdout.readline())
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    for _ in range(100):
        try:
            os.kill(number, 0)
        except ProcessLookupError:
            return
        if ") Z" in Path(f"/proc/{number}/stat").read_text():  # dead, and not collected yet
            return
        time.sleep(0.1)
    raise AssertionError("The process is still there.")


def test_other_wheel_is_imported_where_the_environment_says_so(wheels):
    folder = os.environ["KERAS_FASTGRNN_OLDEST_TFLM"]
    data = deployed("int16x8").tflite
    (x, *_) = integers("int16x8")
    with TFLMProcess({"PYTHONPATH": folder}) as oldest:
        oldest.load(data)
        assert os.path.realpath(oldest.file).startswith(os.path.realpath(folder))
        np.testing.assert_array_equal(
            oldest.run([x[:, np.newaxis]])[0][:, 0], Interpreter(data).run(x)
        )


def test_wheel_that_is_absent_is_named(run_python):
    code = f"""
{BLOCKER}
from keras_fastgrnn.export import MissingRuntimeError
from keras_fastgrnn.export.tflm.process import TFLMProcess
try:
    TFLMProcess()
except MissingRuntimeError as error:
    print(error)
"""
    assert run_python("-c", code).startswith(
        "TFLite Micro is not installed. Install the extra tflm"
    )
