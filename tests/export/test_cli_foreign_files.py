"""The command line on other people's files: what it asks for, and what it tells."""

import re

import numpy as np
import pytest
from small_models import CHANNELS, needs_tflm, sequences
from table_files import Op, T, file_of

from keras_fastgrnn.export import cli

pytestmark = needs_tflm
ONE_ERROR = re.compile(r"fastgrnn-export: error: [^\n]+\n")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", sequences())
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(capfd):
    """Runs a command: its exit code, and what it wrote to standard output and error."""
    return lambda *arguments: (cli.main(list(arguments)), *capfd.readouterr())


def nan_file() -> bytes:
    return file_of([T([1, CHANNELS]), T([1, CHANNELS])], [Op("LOG", [0], [1])], [0], [1])


def test_answers_that_are_no_numbers_are_told_and_fail(run, folder):
    (folder / "log.tflite").write_bytes(nan_file())
    code, out, error = run("run", "log.tflite", "x.npy")
    note, failure = error.splitlines()
    assert code == 1 and "outputs are not a number (NaN)" in note
    assert ONE_ERROR.fullmatch(failure + "\n") and "answers NaN" in failure
    assert "16 sequences" in out


def test_state_is_named_on_request(run, folder):
    none = {"fused_activation_function": 0}
    tensors = [T([1, CHANNELS], name=name) for name in ("x", "a", "b", "c")]
    operators = [Op("ADD", [0, 1], [2], "Add", none), Op("SUB", [0, 2], [3], "Sub", none)]
    (folder / "two.tflite").write_bytes(file_of(tensors, operators, [0, 1], [2, 3]))
    code, _, error = run("run", "two.tflite", "x.npy")
    assert code == 1 and ONE_ERROR.fullmatch(error) and "--state" in error
    assert run("run", "two.tflite", "x.npy", "--state", "a=b")[0] == 0
    assert run("run", "two.tflite", "x.npy", "--state", "1=1")[0] == 0


def test_operator_without_a_rule_is_named_and_run_on_request(run, folder):
    tensors = [T([2, CHANNELS]), T(data=np.array([0], np.int32)), T([2, CHANNELS])]
    operators = [Op("REVERSE_V2", [0, 1], [2])]
    (folder / "reversed.tflite").write_bytes(file_of(tensors, operators, [0], [2]))
    np.save(folder / "two.npy", sequences(steps=2))
    for command in (["run", "reversed.tflite", "two.npy"], ["inspect", "reversed.tflite"]):
        code, out, error = run(*command)
        assert "no rule to verify REVERSE_V2 by" in out + error
        assert code == (command[0] == "run")
        code, out, error = run(*command, "--allow-unverified")
        assert (code, error) == (0, "") and "no rule" not in out
