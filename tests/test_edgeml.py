"""Checkpoints of the authors' code: what they compute, and what is wrong with a folder."""

import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import paper
import pytest
import tensorflow as tf
from small_models import needs_tflm

from keras_fastgrnn import FastGRNN, FastRNN, edgeml, export, keras

D, H, T, B, CLASSES = 3, 5, 7, 4, 2

# What the authors' trainers call the files, and their examples the nonlinearities.
FILES = {
    "kernel": "W",
    "kernel_left": "W1",
    "kernel_right": "W2",
    "recurrent_kernel": "U",
    "recurrent_kernel_left": "U1",
    "recurrent_kernel_right": "U2",
    "gate_bias": "Bg",
    "candidate_bias": "Bh",
    "bias": "B",
    "zeta_logit": "zeta",
    "nu_logit": "nu",
    "alpha_logit": "alpha",
    "beta_logit": "beta",
}
AUTHORS_NAMES = {
    "quant_tanh": "quantTanh",
    "quant_sigmoid": "quantSigm",
    "quant_sigmoid4": "quantSigm4",
}


def write(folder, arrays):
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)


def draw(*shape, seed=0, scale=0.5):
    return np.random.default_rng(seed).normal(0.0, scale, shape).astype("float32")


def fastgrnn_arrays(input_dim=D, units=H) -> dict:
    """The files of a FastGRNN run of the authors' example, without mean and std."""
    shapes = {
        "W": (input_dim, units),
        "U": (units, units),
        "Bg": (1, units),
        "Bh": (1, units),
        "zeta": (1, 1),
        "nu": (1, 1),
        "FC": (units, CLASSES),
        "FCbias": (CLASSES,),
    }
    return {name: draw(*shape, seed=i) for i, (name, shape) in enumerate(shapes.items())}


def expected_logits(arrays, x, **arguments):
    """What the paper says, in NumPy: the classifier on the last state."""
    weights = {ours: arrays[file] for ours, file in FILES.items() if file in arrays}
    last = paper.states(weights, x, **arguments)[:, -1]
    return last @ arrays["FC"].astype("float64") + arrays["FCbias"]


@pytest.fixture
def folder(tmp_path):
    """A FastGRNN checkpoint."""
    write(tmp_path, fastgrnn_arrays())
    return tmp_path


# What the model computes


def states_of(layer, x, h0):
    """The state after every step, of a layer that returns the last one."""
    config = {**layer.get_config(), "return_sequences": True}
    sequence_layer = type(layer).from_config(config)
    sequence_layer.build(x.shape)
    sequence_layer.set_weights(layer.get_weights())
    return sequence_layer(tf.constant(x), initial_state=[tf.constant(h0)])


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("case", paper.authors_cases(), ids=str)
def test_states_are_those_of_the_authors_cells(case, transposed, tmp_path):
    arrays = {FILES[name]: value for name, value in case.weights.items()}
    if transposed:
        arrays |= {name: value.T for name, value in arrays.items() if name[0] in "WU"}
    write(tmp_path, arrays)
    functions = {
        name: AUTHORS_NAMES.get(value, value)
        for name, value in case.arguments.items()
        if name.endswith("activation")
    }
    model = edgeml.load(tmp_path, **functions)
    (layer,) = model.layers
    assert type(layer) is {"FastGRNN": FastGRNN, "FastRNN": FastRNN}[case.cell]
    assert layer.kernel_rank == case.arguments.get("kernel_rank")
    assert layer.recurrent_rank == case.arguments.get("recurrent_rank")
    # float32; 24 steps, each rounded differently from theirs.
    np.testing.assert_allclose(states_of(layer, case.x, case.h0), case.h, rtol=0, atol=1e-5)


def test_classifier_acts_on_the_last_state(folder):
    x = draw(B, T, D, seed=9)
    model = edgeml.load(folder)
    expected = expected_logits(fastgrnn_arrays(), x)
    # float32; 7 steps and a matrix.
    np.testing.assert_allclose(model(x), expected, rtol=0, atol=1e-5)


def test_checkpoint_without_a_classifier_ends_with_the_state(tmp_path):
    arrays = fastgrnn_arrays()
    del arrays["FC"], arrays["FCbias"]
    write(tmp_path, arrays)
    assert edgeml.load(tmp_path).output_shape == (None, H)


@pytest.mark.parametrize(
    "change",
    [
        lambda name, array: (name, array.astype("float64")),
        lambda name, array: (name, np.asfortranarray(array).astype(">f4")),
        lambda name, array: (name, array.ravel() if len(array) == 1 else array),
        lambda name, array: (name, array.reshape(()) if array.size == 1 else array),
        lambda name, array: ({"Bg": "B_g", "Bh": "B_h"}.get(name, name), array),
    ],
    ids=["float64", "big-endian", "vectors", "scalars", "variable-names"],
)
def test_other_ways_to_write_the_same_numbers_give_the_same_model(change, tmp_path):
    arrays = fastgrnn_arrays()
    write(tmp_path, dict(change(name, array) for name, array in arrays.items()))
    x = draw(B, T, D, seed=9)
    model = edgeml.load(tmp_path)
    np.testing.assert_allclose(model(x), expected_logits(arrays, x), rtol=0, atol=1e-5)
    assert all(weight.dtype == "float32" for weight in model.get_weights())


@pytest.mark.parametrize("name", ["B", "Bh", "B_h"])
def test_bias_of_fastrnn_by_each_of_its_names(name, tmp_path):
    arrays = {"W": draw(D, H), "U": draw(H, H), "alpha": draw(1, 1), "beta": draw(1, 1)}
    write(tmp_path, {**arrays, name: np.full((1, H), 0.75)})
    (layer,) = edgeml.load(tmp_path).layers
    np.testing.assert_array_equal(layer.cell.bias, np.full(H, 0.75))


@pytest.mark.parametrize(("name", "rows", "rank"), [("W", D, D + 1), ("U", H, H + 1)])
def test_rank_above_full_rank_becomes_one_matrix(name, rows, rank, tmp_path):
    arrays = fastgrnn_arrays()
    left, right = draw(rows, rank, seed=20), draw(rank, H, seed=21)
    factors = {n: a for n, a in arrays.items() if n != name}
    write(tmp_path, {**factors, f"{name}1": left, f"{name}2": right})
    model = edgeml.load(tmp_path)
    assert model.layers[0].kernel_rank is model.layers[0].recurrent_rank is None
    x = draw(B, T, D, seed=9)
    expected = expected_logits({**arrays, name: left.astype("float64") @ right}, x)
    np.testing.assert_allclose(model(x), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("name", "rows"), [("W", D), ("U", H)])
def test_two_factors_of_full_rank_stay_two(name, rows, tmp_path):
    factors = {n: a for n, a in fastgrnn_arrays().items() if n != name}
    write(tmp_path, {**factors, f"{name}1": draw(rows, rows), f"{name}2": draw(rows, H)})
    layer = edgeml.load(tmp_path).layers[0]
    assert {layer.kernel_rank, layer.recurrent_rank} == {rows, None}


def test_other_files_in_the_folder_are_not_read(folder):
    for name in ("train.npy", "W3.npy", "FastGRNNResults.txt"):
        (folder / name).write_text("not an array")
    assert edgeml.load(folder).output_shape == (None, CLASSES)


# The mean and deviation of the inputs


@pytest.mark.parametrize("shape", [(D,), (1, D), (T * D,), (T, D)])
def test_inputs_are_normalized_by_mean_and_std(shape, folder):
    mean, std = draw(*shape, seed=30, scale=3.0), np.exp(draw(*shape, seed=31))
    write(folder, {"mean": mean.astype("float64"), "std": std.astype("float64")})
    raw = draw(B, T, D, seed=9, scale=4.0)
    model = edgeml.load(folder)
    per_step = mean.size > D
    assert model.input_shape == (None, T if per_step else None, D)
    normalized = (raw - mean.reshape(-1, D)) / std.reshape(-1, D)
    expected = expected_logits(fastgrnn_arrays(), normalized)
    np.testing.assert_allclose(model(raw), expected, rtol=0, atol=1e-5)

    bare = edgeml.load(folder, normalization=False)
    assert bare.input_shape == (None, None, D)
    np.testing.assert_allclose(bare(normalized), expected, rtol=0, atol=1e-5)


def test_feature_that_does_not_vary_is_divided_by_one(folder):
    mean, std = np.zeros(D), np.array([0.0, 1e-7, 2.0])
    write(folder, {"mean": mean, "std": std})
    raw = draw(B, T, D, seed=9)
    expected = expected_logits(fastgrnn_arrays(), raw / [1.0, 1.0, 2.0])
    np.testing.assert_allclose(edgeml.load(folder)(raw), expected, rtol=0, atol=1e-5)


def test_steps_fix_the_input(folder):
    assert edgeml.load(folder, steps=T).input_shape == (None, T, D)
    write(folder, {"mean": np.zeros(T * D), "std": np.ones(T * D)})
    assert edgeml.load(folder, steps=T).input_shape == (None, T, D)


# The nonlinearities


def names_of(model) -> tuple[str, str]:
    cell = model.layers[0].cell
    return cell.activation.__name__, cell.recurrent_activation.__name__


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ("", ("tanh", "sigmoid")),
        (" -unl quantTanh -gnl quantSigm", ("quant_tanh", "quant_sigmoid")),
        (" --gate-nl=quantSigm4 -e 300", ("tanh", "quant_sigmoid4")),
        (" --update-nl relu -lr 0.01 -oF log -unl sigmoid", ("sigmoid", "sigmoid")),
    ],
)
def test_nonlinearities_are_those_of_the_run(options, names, folder):
    command = f"python fastcell_example.py -dir usps10/ -id 16 -hd 32{options}"
    (folder / "command.txt").write_text(command)
    assert names_of(edgeml.load(folder)) == names
    given = edgeml.load(folder, "relu", recurrent_activation=keras.activations.tanh)
    assert names_of(given) == ("relu", "tanh")


def test_nonlinearities_are_the_authors_defaults_without_a_command(folder):
    assert names_of(edgeml.load(folder)) == ("tanh", "sigmoid")


# Transposed matrices


def test_one_matrix_that_is_not_square_tells_the_orientation(tmp_path):
    arrays = fastgrnn_arrays(input_dim=H)
    u1, u2 = draw(H, 2, seed=20), draw(2, H, seed=21)
    factors = {n: a for n, a in arrays.items() if n != "U"} | {"U1": u1.T, "U2": u2.T}
    write(tmp_path, {**factors, "W": arrays["W"].T})
    x = draw(B, T, H, seed=9)
    expected = expected_logits({**arrays, "U": u1 @ u2}, x)
    np.testing.assert_allclose(edgeml.load(tmp_path)(x), expected, rtol=0, atol=1e-5)


def test_square_matrices_need_to_be_told(tmp_path):
    arrays = fastgrnn_arrays(input_dim=H)
    write(tmp_path, arrays)
    x = draw(B, T, H, seed=9)
    with pytest.raises(ValueError, match="argument transposed, expected False, or True for some"):
        edgeml.load(tmp_path)
    for transposed in (False, True):
        model = edgeml.load(tmp_path, transposed=transposed)
        matrices = {n: arrays[n].T if transposed else arrays[n] for n in ("W", "U")}
        expected = expected_logits({**arrays, **matrices}, x)
        np.testing.assert_allclose(model(x), expected, rtol=0, atol=1e-5)


# On the way to the device


@needs_tflm
@pytest.mark.parametrize(
    ("quantization", "tolerance"),
    [
        (None, 1e-5),  # float32; 7 steps and a matrix.
        ("int16x8", 0.06),  # A tenth of the logits' deviation, above which convert warns.
    ],
)
def test_loaded_model_exports_and_predicts(quantization, tolerance, folder):
    write(folder, {"mean": np.full(D, 0.5), "std": np.full(D, 2.0)})
    x = draw(32, T, D, seed=9, scale=2.0)
    model = edgeml.load(folder, "quantTanh", "quantSigm4")
    deployed = export.convert(model, x, quantization=quantization)
    functions = {"activation": "quant_tanh", "recurrent_activation": "quant_sigmoid4"}
    expected = expected_logits(fastgrnn_arrays(), (x - 0.5) / 2.0, **functions)
    np.testing.assert_allclose(deployed.predict(x), expected, rtol=0, atol=tolerance)


def test_model_with_statistics_of_each_step_is_not_exported(folder):
    write(folder, {"mean": np.zeros(T * D), "std": np.ones(T * D)})
    x = draw(8, T, D, seed=9)
    with pytest.raises(ValueError, match="normalizes over steps"):
        export.convert(edgeml.load(folder), x)
    deployed = export.convert(edgeml.load(folder, normalization=False), x)
    assert deployed.predict(x, on="reference").shape == (8, CLASSES)


# What is wrong with a folder


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


def assert_refused(folder, message, **arguments):
    with pytest.raises(ValueError, match=message) as caught:
        edgeml.load(folder, **arguments)
    assert "\n" not in str(caught.value)
    assert not str(caught.value).endswith("..")
    assert str(folder) in str(caught.value) or arguments


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
def test_invalid_arguments_are_named(arguments, message, folder):
    assert_refused(folder, message, **arguments)


def test_shapes_in_errors_are_those_of_the_files(tmp_path):
    arrays = {name: array for name, array in fastgrnn_arrays().items() if name != "W"}
    write(tmp_path, {**arrays, "W1": draw(2, D), "W2": draw(H, 4)})
    message = r"W2\.npy, expected the shape \(5, 2\), got \(5, 4\)"
    assert_refused(tmp_path, message, transposed=True)


def test_steps_must_be_those_of_the_statistics(folder):
    write(folder, {"mean": np.zeros(T * D), "std": np.ones(T * D)})
    message = r"mean\.npy, expected 3 numbers, or 3 for each of the 8 steps, got 21"
    assert_refused(folder, message, steps=8)


def test_gate_of_a_cell_without_one_is_refused(tmp_path):
    case = next(c for c in paper.authors_cases() if c.cell == "FastRNN")
    write(tmp_path, {FILES[name]: value for name, value in case.weights.items()})
    message = "recurrent_activation, expected None, as FastRNN has no gate, got 'sigmoid'"
    assert_refused(tmp_path, message, recurrent_activation="sigmoid")


def test_folder_that_is_not_there_is_refused(tmp_path):
    assert_refused(tmp_path / "absent", "argument folder, expected the path of a folder")
    (tmp_path / "file").touch()
    assert_refused(tmp_path / "file", "argument folder, expected the path of a folder")


def test_command_that_ends_within_an_option_is_refused(folder):
    (folder / "command.txt").write_text("python fastcell_example.py -unl")
    assert_refused(folder, r"command\.txt, expected the command line of a run")


class Payload:
    """Something that leaves a trace when it is unpickled."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


@pytest.mark.parametrize("as_array", [False, True])
def test_nothing_is_unpickled(as_array, folder, tmp_path_factory):
    trace = tmp_path_factory.mktemp("trace") / "unpickled"
    if as_array:
        np.save(folder / "W.npy", np.array([Payload(trace)], object), allow_pickle=True)
        np.load(folder / "W.npy", allow_pickle=True)
    else:
        (folder / "W.npy").write_bytes(pickle.dumps(Payload(trace)))
        np.load(folder / "W.npy", allow_pickle=True)
    assert trace.exists()
    trace.unlink()
    assert_refused(folder, r"W\.npy, expected an array as numpy\.save writes it")
    assert not trace.exists()


@pytest.mark.parametrize("content", [b"", b"not an array", b"\x93NUMPY", b"PK\x03\x04"])
def test_file_that_is_no_array_is_refused(content, folder):
    (folder / "Bh.npy").write_bytes(content)
    assert_refused(folder, r"Bh\.npy, expected an array as numpy\.save writes it")


def test_folder_in_place_of_a_file_is_refused(folder):
    (folder / "FC.npy").unlink()
    (folder / "FC.npy").mkdir()
    assert_refused(folder, r"FC\.npy, expected an array as numpy\.save writes it")


def test_error_of_numpy_is_told_in_one_line(folder):
    fields = [(f"field_{index}", "f4") for index in range(1000)]
    np.save(folder / "W.npy", np.zeros(1, fields))
    with pytest.raises(ValueError, match="safe to load securely.\n"):
        np.load(folder / "W.npy")
    assert_refused(folder, r"W\.npy, expected an array as numpy\.save writes it")


def test_size_that_only_the_header_claims_takes_no_memory(folder):
    header = {"descr": "<f4", "fortran_order": False, "shape": (10**8,)}
    with open(folder / "W.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
    tracemalloc.start()
    try:
        assert_refused(folder, r"W\.npy, expected an array as numpy\.save writes it")
        assert tracemalloc.get_traced_memory()[1] < 1e7
    finally:
        tracemalloc.stop()


@pytest.mark.filterwarnings("ignore")  # NumPy's, of headers that Python 2 may have written
def test_damaged_headers_give_one_line(folder):
    file = folder / "W.npy"
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
            edgeml.load(folder)
        except ValueError as error:
            assert "\n" not in str(error)
            assert "W.npy" in str(error)
            refused += 1
    assert refused > 400
