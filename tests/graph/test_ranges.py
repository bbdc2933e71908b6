"""Sequences given by a user, and the ranges that a graph takes on them."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from graphs import chain, fastrnn_step, value
from small_models import CHANNELS, STEPS, sequences, sequential

from keras_fastgrnn import FastGRNN, FastRNN, export, keras
from keras_fastgrnn.graph.graph import Graph, Op, State
from keras_fastgrnn.graph.ranges import calibrate, check_sequences

GOOD = sequences(4)


def poisoned(*places):
    x = GOOD.astype("float64")
    for place, number in places:
        x.flat[place] = number
    return x


NOT_FINITE = "an array in which {} of 144 are NaN or infinite."
NO_ARRAY = "that cannot become such an array."
WRONG = {
    "None": (None, "None."),
    "a number": (3.0, "an array of shape ()."),
    "one sequence": (GOOD[0], "an array of shape (12, 3)."),
    "batches": (GOOD[np.newaxis], "an array of shape (1, 4, 12, 3)."),
    "a tuple of x and y": ((GOOD, GOOD), "an array of shape (2, 4, 12, 3)."),
    "too few channels": (GOOD[..., :2], "an array of shape (4, 12, 2)."),
    "too many channels": (np.concatenate([GOOD, GOOD], -1), "an array of shape (4, 12, 6)."),
    "no sequence": (GOOD[:0], "an array of shape (0, 12, 3)."),
    "no step": (GOOD[:, :0], "an array of shape (4, 0, 3)."),
    "an empty list": ([], "an array of shape (0,)."),
    "NaN": (poisoned((5, np.nan)), NOT_FINITE.format(1)),
    "infinities": (poisoned((0, np.inf), (143, -np.inf)), NOT_FINITE.format(2)),
    "more than float32 holds": (poisoned((7, -1e300)), NOT_FINITE.format(1)),
    "sequences of different lengths": ([[[1.0] * 3] * 2, [[1.0] * 3] * 3], f"list {NO_ARRAY}"),
    "a ragged tensor": (
        tf.ragged.constant([[[1.0] * 3] * 2, [[1.0] * 3]]),
        f"RaggedTensor {NO_ARRAY}",
    ),
    "a string": ("x_train.npy", f"str {NO_ARRAY}"),
    "digits in strings": ([[["1", "2", "3"]] * STEPS], f"list {NO_ARRAY}"),
    "complex numbers": (GOOD * 1j, f"ndarray {NO_ARRAY}"),
    "objects": (GOOD.astype(object), f"ndarray {NO_ARRAY}"),
    "dates": (np.zeros((1, STEPS, CHANNELS), "datetime64[s]"), f"ndarray {NO_ARRAY}"),
    "a dictionary": ({"x": GOOD}, f"dict {NO_ARRAY}"),
    "a generator": (itertools.repeat(GOOD), f"repeat {NO_ARRAY}"),
    "a dataset": (tf.data.Dataset.from_tensors(1.0), f"_TensorDataset {NO_ARRAY}"),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("steps", [None, STEPS], ids=["any steps", "12 steps"])
def test_what_are_no_sequences_gets_one_clear_error(case, steps):
    x, got = WRONG[case]
    with pytest.raises(ValueError) as error:
        check_sequences(x, CHANNELS, "x", steps)
    assert str(error.value) == (
        "Received an invalid value for argument x, expected numbers of shape (batch, "
        f"{steps or 'steps'}, 3), got {got}"
    )


def test_missing_calibration_data_is_asked_for():
    with pytest.raises(ValueError, match=r"^Received .* got None\. Give some hundred sequences of"):
        check_sequences(None, CHANNELS, "calibration_data")


def test_another_number_of_steps_is_refused_where_the_model_fixes_them():
    assert check_sequences(GOOD, CHANNELS, "x").shape == (4, 12, 3)
    with pytest.raises(ValueError, match=r"\(batch, 10, 3\), got an array of shape \(4, 12, 3\)"):
        check_sequences(GOOD, CHANNELS, "x", 10)


@pytest.mark.parametrize(
    "x",
    [GOOD, GOOD.astype("float64"), GOOD.tolist(), list(GOOD), tf.constant(GOOD), GOOD[::2, ::-1]],
    ids=["float32", "float64", "lists", "a list of arrays", "a tensor", "a view"],
)
def test_sequences_of_every_kind_become_float32(x):
    checked = check_sequences(x, CHANNELS, "x")
    assert checked.dtype == np.float32
    np.testing.assert_array_equal(checked, np.array(x, "float32"))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "bool", "float16"])
def test_other_numbers_become_float32(dtype):
    x = np.arange(72).reshape(2, 12, 3).astype(dtype)
    checked = check_sequences(x, CHANNELS, "x")
    assert checked.dtype == np.float32
    np.testing.assert_array_equal(checked, x.astype("float64"))


@pytest.mark.parametrize("quantization", ["int16x8", None])
@pytest.mark.parametrize("case", ["a ragged tensor", "NaN", "no step", "a string"])
def test_convert_and_predict_name_their_argument(case, quantization):
    model = sequential(FastRNN(2))
    x = WRONG[case][0]
    with pytest.raises(ValueError, match=r"^Received .* for argument calibration_data, expected"):
        export.convert(model, x, quantization=quantization)
    deployed = export.convert(model, GOOD, quantization=quantization)
    with pytest.raises(ValueError, match=r"^Received an invalid value for argument x, expected"):
        deployed.predict(x, on="reference")


def test_zeros_do_not_calibrate():
    with pytest.raises(ValueError) as error:
        export.convert(sequential(FastRNN(2)), -0.0 * GOOD)
    assert str(error.value) == (
        "Received an invalid value for argument calibration_data, expected data of the range the "
        "device will see, got zeros only."
    )


# Ranges


def test_ranges_are_the_extremes_of_all_sequences_and_steps():
    graph = fastrnn_step()
    w, u, b = (graph.ops[i].inputs[1].data for i in (0, 1, 3))
    x = sequences(5, steps=7)
    state = np.zeros((5, 2))
    seen = {name: [] for name in ("input", "before", "pre", "candidate", "kept", "after")}
    for t in range(7):
        pre = x[:, t] @ w.T + state @ u.T + b
        after = np.tanh(pre) + 0.7 * state
        row = (x[:, t], state, pre, np.tanh(pre), 0.7 * state, after)
        for name, values in zip(seen, row, strict=True):
            seen[name].append(values)
        state = after
    ranges = {tensor.name: found for tensor, found in calibrate(graph, x).items()}
    for name, values in seen.items():
        found = [ranges[name].low, ranges[name].high]
        np.testing.assert_allclose(found, [np.min(values), np.max(values)], rtol=1e-12)
        assert ranges[name].magnitude == max(-found[0], found[1])


def test_range_of_a_growing_state_is_that_of_its_last_step():
    graph = chain(1, ("MUL", [[1.0]], {}))
    x, before, after = graph.inputs[0], value(1, "before"), value(1, "after")
    graph.ops = [Op("ADD", [x, before], after)]
    graph = Graph([x], [after], graph.ops, [State(before, after)])
    ranges = calibrate(graph, np.ones((1, 100, 1), "float32"))
    assert (ranges[after].low, ranges[after].high) == (1.0, 100.0)
    assert (ranges[before].low, ranges[before].high) == (0.0, 99.0)


@pytest.mark.parametrize("step", [0, 3, 6])
@pytest.mark.parametrize("number", [0.0, 1.0])
def test_values_that_are_not_finite_are_refused_at_whichever_step(step, number):
    """1e30 to the 11th power is infinite in float64 too, and infinity times 0 is NaN."""
    steps = [("MUL", [[1e30]], {})] * 11 + [("MUL", [[number]], {})]
    x = np.zeros((2, 7, 1), "float32")
    x[1, step] = 1.0
    message = (
        r"^The model computes NaN or infinite values on the calibration data, first in 'mul_1'\. "
        r"Check its weights\.$"
    )
    with pytest.raises(ValueError, match=message):
        calibrate(chain(1, *steps), x)


def test_values_beyond_float32_are_refused():
    graph = chain(1, ("MUL", [[1e39]], {}), ("TANH", [], {}))
    with pytest.raises(ValueError, match="first in 'mul_0'"):
        calibrate(graph, np.ones((1, 2, 1), "float32"))


def test_nan_alone_is_refused_at_a_late_step():
    x = np.ones((2, 5, 1), "float32")
    x[1, 3] = np.nan
    with pytest.raises(ValueError, match="first in 'input'"):
        calibrate(chain(1, ("TANH", [], {})), x)


@pytest.mark.parametrize("quantization", ["int16x8", None])
@pytest.mark.parametrize("steps", [400, 1000], ids=["float32", "float64"])
def test_model_that_explodes_on_the_calibration_data_is_refused(quantization, steps):
    """A relu gate of 3 triples the state at every step: 3^400 is beyond float32, 3^1000 float64."""
    model = sequential(FastGRNN(2, "tanh", "relu"), keras.layers.Dense(1), steps=steps)
    kernel, recurrent_kernel, gate_bias = model.layers[0].trainable_weights[:3]
    for weight, number in ((kernel, 0.0), (recurrent_kernel, 0.0), (gate_bias, 3.0)):
        weight.assign(np.full(tuple(weight.shape), number))
    with pytest.raises(ValueError, match="computes NaN or infinite values on the calibration data"):
        export.convert(model, np.ones((2, steps, CHANNELS), "float32"), quantization=quantization)
