"""Checkpoints of the authors' code: what the loaded models compute."""

import numpy as np
import paper
import pytest
import tensorflow as tf
from checkpoints import (
    CLASSES,
    FILES,
    B,
    D,
    H,
    T,
    draw,
    expected_logits,
    fastgrnn_arrays,
    write,
)
from small_models import needs_tflm

from keras_fastgrnn import FastGRNN, FastRNN, edgeml, export, keras

# What the authors' examples call the nonlinearities.
AUTHORS_NAMES = {
    "quant_tanh": "quantTanh",
    "quant_sigmoid": "quantSigm",
    "quant_sigmoid4": "quantSigm4",
}


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


def test_classifier_acts_on_the_last_state(checkpoint):
    x = draw(B, T, D, seed=9)
    model = edgeml.load(checkpoint)
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


def test_other_files_in_the_folder_are_not_read(checkpoint):
    for name in ("train.npy", "W3.npy", "FastGRNNResults.txt"):
        (checkpoint / name).write_text("not an array")
    assert edgeml.load(checkpoint).output_shape == (None, CLASSES)


# The mean and deviation of the inputs


@pytest.mark.parametrize("shape", [(D,), (1, D), (T * D,), (T, D)])
def test_inputs_are_normalized_by_mean_and_std(shape, checkpoint):
    mean, std = draw(*shape, seed=30, scale=3.0), np.exp(draw(*shape, seed=31))
    write(checkpoint, {"mean": mean.astype("float64"), "std": std.astype("float64")})
    raw = draw(B, T, D, seed=9, scale=4.0)
    model = edgeml.load(checkpoint)
    per_step = mean.size > D
    assert model.input_shape == (None, T if per_step else None, D)
    normalized = (raw - mean.reshape(-1, D)) / std.reshape(-1, D)
    expected = expected_logits(fastgrnn_arrays(), normalized)
    np.testing.assert_allclose(model(raw), expected, rtol=0, atol=1e-5)

    bare = edgeml.load(checkpoint, normalization=False)
    assert bare.input_shape == (None, None, D)
    np.testing.assert_allclose(bare(normalized), expected, rtol=0, atol=1e-5)


def test_feature_that_does_not_vary_is_divided_by_one(checkpoint):
    mean, std = np.zeros(D), np.array([0.0, 1e-7, 2.0])
    write(checkpoint, {"mean": mean, "std": std})
    raw = draw(B, T, D, seed=9)
    expected = expected_logits(fastgrnn_arrays(), raw / [1.0, 1.0, 2.0])
    np.testing.assert_allclose(edgeml.load(checkpoint)(raw), expected, rtol=0, atol=1e-5)


def test_steps_fix_the_input(checkpoint):
    assert edgeml.load(checkpoint, steps=T).input_shape == (None, T, D)
    write(checkpoint, {"mean": np.zeros(T * D), "std": np.ones(T * D)})
    assert edgeml.load(checkpoint, steps=T).input_shape == (None, T, D)


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
def test_nonlinearities_are_those_of_the_run(options, names, checkpoint):
    command = f"python fastcell_example.py -dir usps10/ -id 16 -hd 32{options}"
    (checkpoint / "command.txt").write_text(command)
    assert names_of(edgeml.load(checkpoint)) == names
    given = edgeml.load(checkpoint, "relu", recurrent_activation=keras.activations.tanh)
    assert names_of(given) == ("relu", "tanh")


def test_nonlinearities_are_the_authors_defaults_without_a_command(checkpoint):
    assert names_of(edgeml.load(checkpoint)) == ("tanh", "sigmoid")


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
def test_loaded_model_exports_and_predicts(quantization, tolerance, checkpoint):
    write(checkpoint, {"mean": np.full(D, 0.5), "std": np.full(D, 2.0)})
    x = draw(32, T, D, seed=9, scale=2.0)
    model = edgeml.load(checkpoint, "quantTanh", "quantSigm4")
    deployed = export.convert(model, x, quantization=quantization)
    functions = {"activation": "quant_tanh", "recurrent_activation": "quant_sigmoid4"}
    expected = expected_logits(fastgrnn_arrays(), (x - 0.5) / 2.0, **functions)
    np.testing.assert_allclose(deployed.predict(x), expected, rtol=0, atol=tolerance)


def test_model_with_statistics_of_each_step_is_not_exported(checkpoint):
    write(checkpoint, {"mean": np.zeros(T * D), "std": np.ones(T * D)})
    x = draw(8, T, D, seed=9)
    with pytest.raises(ValueError, match="normalizes over steps"):
        export.convert(edgeml.load(checkpoint), x)
    deployed = export.convert(edgeml.load(checkpoint, normalization=False), x)
    assert deployed.predict(x, on="reference").shape == (8, CLASSES)
