"""Checkpoints of the authors' code: what is wrong with a folder, and the error that says so."""

import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import paper
import pytest
from checkpoints import CLASSES, FILES, D, H, T, draw, fastgrnn_arrays, write

from keras_fastgrnn import edgeml


def assert_refused(folder, message, **arguments):
    with pytest.raises(ValueError, match=message) as caught:
        edgeml.load(folder, **arguments)
    assert "\n" not in str(caught.value)
    assert not str(caught.value).endswith("..")
    assert str(folder) in str(caught.value) or arguments


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"W": None}, r"W\.npy, expected it, or W1 and W2, got none of them"),
        ({"U": None}, r"U\.npy, expected it, or U1 and U2, got none of them"),
        ({"W1": (D, 2)}, r"W\.npy, expected it, or W1 and W2, got W and W1"),
        ({"W": None, "W1": (D, 2)}, r"W\.npy, expected it, or W1 and W2, got W1"),
        ({"W": None, "W2": (2, H)}, r"W\.npy, expected it, or W1 and W2, got W2"),
        ({"Bg": None}, r"Bg\.npy, expected an array, got no such file"),
        ({"Bh": None}, r"Bh\.npy, expected an array, got no such file"),
        ({"B_g": (1, H)}, r"Bg\.npy, expected one file of this bias, got Bg and B_g"),
        ({"nu": None}, r"nu\.npy, expected an array, got no such file"),
        ({"zeta": None, "nu": None}, r"zeta\.npy and nu\.npy \(FastGRNN\), or .* got none of them"),
        ({"alpha": (1, 1)}, r"expected zeta\.npy .* got all of them"),
        ({"paramScaleFactor": (1,)}, "expected a checkpoint in floating point, got its quantized"),
        ({"FC": None}, r"FC\.npy, expected an array, got no such file"),
        ({"FCbias": None}, r"FCbias\.npy, expected an array, got no such file"),
        ({"mean": (D,)}, r"std\.npy, expected an array, got no such file"),
        ({"std": (D,)}, r"mean\.npy, expected an array, got no such file"),
        ({"W": (D, 4)}, r"W\.npy, expected the shape \(3, 5\), got \(3, 4\)"),
        ({"W": (D,)}, r"W\.npy, expected a matrix, got the shape \(3,\)"),
        ({"U": (H, 4)}, r"U\.npy, expected the shape \(5, 5\), got \(5, 4\)"),
        (
            {"W": None, "W1": (D, 2), "W2": (3, H)},
            r"W2\.npy, expected the shape \(2, 5\), got \(3, 5\)",
        ),
        (
            {"U": None, "U1": (4, 2), "U2": (2, H)},
            r"U1\.npy, expected the shape \(5, 2\), got \(4, 2\)",
        ),
        ({"U": None, "U1": (2, H), "U2": (H, 2)}, r"U1\.npy, expected the shape \(5, 5\)"),
        ({"Bh": (1, 4)}, r"Bh\.npy, expected the shape \(1, 5\) or \(5,\), got \(1, 4\)"),
        ({"Bg": (H, 1)}, r"Bg\.npy, expected the shape \(1, 5\) or \(5,\), got \(5, 1\)"),
        ({"zeta": (2,)}, r"zeta\.npy, expected the shape .* got \(2,\)"),
        ({"FC": (CLASSES, H)}, r"FC\.npy, expected the shape \(5, 2\), got \(2, 5\)"),
        ({"mean": (D,), "std": (1, D)}, r"std\.npy, expected the shape \(3,\), got \(1, 3\)"),
        ({"mean": (4,), "std": (4,)}, r"mean\.npy, expected 3 numbers, or 3 for each .* got 4"),
        ({"mean": (2,), "std": (2,)}, r"mean\.npy, expected 3 numbers, or 3 for each .* got 2"),
        ({"W": (0, H)}, r"W\.npy, expected numbers that are finite in float32, got none"),
        ({"U": np.nan}, r"U\.npy, expected numbers that are finite in float32, got nan"),
        ({"FC": np.inf}, r"FC\.npy, expected numbers that are finite in float32, got inf"),
        ({"U": 1e39}, r"U\.npy, expected numbers that are finite in float32, got 1e\+39"),
        ({"W": np.ones((D, H), "int8")}, r"W\.npy, expected floating-point numbers, got int8"),
        ({"W": np.full((D, H), "0.5")}, r"W\.npy, expected floating-point numbers, got <U3"),
        ({"mean": np.zeros(D), "std": -np.ones(D)}, r"std\.npy, expected no negative .* got -1"),
    ],
)
def test_folder_that_is_no_checkpoint_is_refused(changes, message, tmp_path):
    arrays = fastgrnn_arrays()
    for name, change in changes.items():
        if change is None:
            del arrays[name]
        elif isinstance(change, tuple):
            arrays[name] = np.full(change, 0.5, "float32")
        elif isinstance(change, float):
            arrays[name] = arrays[name].astype("float64")
            arrays[name].flat[-1] = change
        else:
            arrays[name] = change
    write(tmp_path, arrays)
    assert_refused(tmp_path, message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"transposed": True}, r"W\.npy, expected the shape \(5, 5\), got \(3, 5\)"),
        ({"steps": 0}, "steps, expected a positive integer or None, got 0"),
        ({"steps": 7.0}, "steps, expected a positive integer or None, got 7.0"),
        ({"activation": "quantTan"}, "activation, expected the name .* 'quantTan'"),
        (
            {"recurrent_activation": "sigm"},
            "recurrent_activation, expected the name .* 'sigm'",
        ),
    ],
)
def test_invalid_arguments_are_named(arguments, message, checkpoint):
    assert_refused(checkpoint, message, **arguments)


def test_shapes_in_errors_are_those_of_the_files(tmp_path):
    arrays = {name: array for name, array in fastgrnn_arrays().items() if name != "W"}
    write(tmp_path, {**arrays, "W1": draw(2, D), "W2": draw(H, 4)})
    message = r"W2\.npy, expected the shape \(5, 2\), got \(5, 4\)"
    assert_refused(tmp_path, message, transposed=True)


def test_steps_must_be_those_of_the_statistics(checkpoint):
    write(checkpoint, {"mean": np.zeros(T * D), "std": np.ones(T * D)})
    message = r"mean\.npy, expected 3 numbers, or 3 for each of the 8 steps, got 21"
    assert_refused(checkpoint, message, steps=8)


def test_gate_of_a_cell_without_one_is_refused(tmp_path):
    case = next(c for c in paper.authors_cases() if c.cell == "FastRNN")
    write(tmp_path, {FILES[name]: value for name, value in case.weights.items()})
    message = "recurrent_activation, expected None, as FastRNN has no gate, got 'sigmoid'"
    assert_refused(tmp_path, message, recurrent_activation="sigmoid")


def test_folder_that_is_not_there_is_refused(tmp_path):
    assert_refused(tmp_path / "absent", "argument folder, expected the path of a folder")
    (tmp_path / "file").touch()
    assert_refused(tmp_path / "file", "argument folder, expected the path of a folder")


def test_command_that_ends_within_an_option_is_refused(checkpoint):
    (checkpoint / "command.txt").write_text("python fastcell_example.py -unl")
    assert_refused(checkpoint, r"command\.txt, expected the command line of a run")


class Payload:
    """Something that leaves a trace when it is unpickled."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


@pytest.mark.parametrize("as_array", [False, True])
def test_nothing_is_unpickled(as_array, checkpoint, tmp_path_factory):
    trace = tmp_path_factory.mktemp("trace") / "unpickled"
    if as_array:
        np.save(checkpoint / "W.npy", np.array([Payload(trace)], object), allow_pickle=True)
        np.load(checkpoint / "W.npy", allow_pickle=True)
    else:
        (checkpoint / "W.npy").write_bytes(pickle.dumps(Payload(trace)))
        np.load(checkpoint / "W.npy", allow_pickle=True)
    assert trace.exists()
    trace.unlink()
    assert_refused(checkpoint, r"W\.npy, expected an array as numpy\.save writes it")
    assert not trace.exists()


@pytest.mark.parametrize("content", [b"", b"not an array", b"\x93NUMPY", b"PK\x03\x04"])
def test_file_that_is_no_array_is_refused(content, checkpoint):
    (checkpoint / "Bh.npy").write_bytes(content)
    assert_refused(checkpoint, r"Bh\.npy, expected an array as numpy\.save writes it")


def test_folder_in_place_of_a_file_is_refused(checkpoint):
    (checkpoint / "FC.npy").unlink()
    (checkpoint / "FC.npy").mkdir()
    assert_refused(checkpoint, r"FC\.npy, expected an array as numpy\.save writes it")


def test_error_of_numpy_is_told_in_one_line(checkpoint):
    fields = [(f"field_{index}", "f4") for index in range(1000)]
    np.save(checkpoint / "W.npy", np.zeros(1, fields))
    with pytest.raises(ValueError, match="safe to load securely.\n"):
        np.load(checkpoint / "W.npy")
    assert_refused(checkpoint, r"W\.npy, expected an array as numpy\.save writes it")


def test_size_that_only_the_header_claims_takes_no_memory(checkpoint):
    header = {"descr": "<f4", "fortran_order": False, "shape": (10**8,)}
    with open(checkpoint / "W.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
    tracemalloc.start()
    try:
        assert_refused(checkpoint, r"W\.npy, expected an array as numpy\.save writes it")
        assert tracemalloc.get_traced_memory()[1] < 1e7
    finally:
        tracemalloc.stop()


@pytest.mark.filterwarnings("ignore")  # NumPy's, of headers that Python 2 may have written
def test_damaged_headers_give_one_line(checkpoint):
    file = checkpoint / "W.npy"
    whole = file.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(500):
        damaged = bytearray(whole)
        for position in rng.integers(0, 80, rng.integers(1, 5)):
            damaged[position] = rng.choice(list(b"()',:{}09<>|fiOSx\n\\\x00\xff"))
        if rng.random() < 0.2:
            del damaged[rng.integers(len(damaged)) :]
        file.write_bytes(damaged)
        try:
            edgeml.load(checkpoint)
        except ValueError as error:
            assert "\n" not in str(error)
            assert "W.npy" in str(error)
            refused += 1
    assert refused > 400
