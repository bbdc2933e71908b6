"""The tensors of a step that training rounds, and the ranges it finds for them."""

import itertools
import math
import warnings

import numpy as np
import pytest
import tensorflow as tf
from aware_models import FORMATS, STEPS, aware, data
from small_models import answers_of, sequential

from keras_fastgrnn import (
    FastGRNN,
    FastRNN,
    export,
    keras,
    quant_sigmoid,
    quant_sigmoid4,
    quant_tanh,
)
from keras_fastgrnn.graph import reference
from keras_fastgrnn.keras_api import IS_TF_KERAS
from keras_fastgrnn.models import cells_of
from keras_fastgrnn.quantization import quantize_aware
from keras_fastgrnn.quantization.fake_quantization import FORMATS as ACTIVATION_FORMATS
from keras_fastgrnn.quantization.layer_scales import scales_of
from keras_fastgrnn.quantization.limits import real_ends
from keras_fastgrnn.quantization.ranged_groups import RangedGroup

FUNCTIONS = ["tanh", "sigmoid", "relu", "quant_tanh", "quant_sigmoid", "quant_sigmoid4"]
RANKS = [(None, None), (2, None), (None, 3), (2, 3)]

LAYERS = keras.layers

pytestmark = pytest.mark.filterwarnings("ignore::keras_fastgrnn.export.SaturationWarning")


def arguments(activation, use_bias, ranks, **others):
    names = ("kernel_rank", "recurrent_rank")
    return {
        "activation": activation,
        "use_bias": use_bias,
        **dict(zip(names, ranks, strict=True)),
        **others,
    }


# Every function beside itself, the next one and the one after that, with biases and ranks in turn;
# every bias and rank with one of two pairs.
CELLS = [
    *(
        (FastGRNN, arguments(f, (i + j) % 2 == 0, RANKS[(i + j) % 4], recurrent_activation=g))
        for (i, f), j in itertools.product(enumerate(FUNCTIONS), range(3))
        for g in (FUNCTIONS[(i + j) % len(FUNCTIONS)],)
    ),
    *(
        (FastGRNN, arguments(f, use_bias, ranks, recurrent_activation=g))
        for f, g, use_bias in (("tanh", "sigmoid", True), ("quant_tanh", "quant_sigmoid", False))
        for ranks in RANKS
    ),
    *(
        (FastRNN, arguments(f, use_bias, RANKS[(i + use_bias) % 4]))
        for (i, f), use_bias in itertools.product(enumerate(FUNCTIONS), (True, False))
    ),
    *(
        (FastGRNN, arguments("linear", use_bias, (None, None), recurrent_activation=g))
        for g, use_bias in itertools.product(("sigmoid", "quant_sigmoid4"), (True, False))
    ),
    (FastGRNN, arguments("tanh", True, (None, None), recurrent_activation="linear")),
    *((FastRNN, arguments(None, use_bias, (None, None))) for use_bias in (True, False)),
    *(
        (layer, {"activation": f, "use_bias": use_bias})
        for layer in (LAYERS.SimpleRNN, LAYERS.GRU, LAYERS.LSTM)
        for f, use_bias in (("tanh", True), ("relu", False), (quant_tanh, True))
    ),
    *(
        (LAYERS.GRU, {"recurrent_activation": g, "reset_after": after})
        for g, after in (("sigmoid", False), (quant_sigmoid, True), (quant_sigmoid4, False))
    ),
]


def name_of(case):
    layer, values = case
    return f"{layer.__name__}-" + "-".join(
        getattr(value, "__name__", str(value)) for value in values.values()
    )


def rounded_tensors(model, x):
    """What a model's only cell makes of its tensors, by name: an array of all steps of each."""
    (cell,) = cells_of(model.layers[1])
    rounded, seen = cell.quantizer._rounded, {}

    def watched(op, value, operands):
        value = rounded(op, value, operands)
        seen.setdefault(op.output.name, []).append(np.asarray(value))
        return value

    cell.quantizer._rounded = watched
    outputs = np.asarray(model(x))
    cell.quantizer._rounded = rounded
    return {name: np.concatenate(values) for name, values in seen.items()}, outputs


def assert_counted_in(values, unit, name):
    """They are multiples of the unit, up to the one constant that a function's line is shifted."""
    integers = np.float64(values) / unit
    distances = integers - integers.ravel()[0]
    np.testing.assert_allclose(distances, np.round(distances), atol=0.02, err_msg=name)


SETTLED = {"int16x8": 1e-6, "int8": 5e-3}

# How far outputs are, in units of theirs. Functions of int16 are tables, off by a unit here and
# there, and 8 units finer than what they read. In int8 most outputs are the same integers, but one
# step that rounds the other way is some units of an output.
LARGEST_DIFFERENCE = {"int16x8": 20.0, "int8": 6.0}


@pytest.mark.parametrize("quantization", FORMATS)
@pytest.mark.parametrize("case", CELLS, ids=name_of)
def test_training_rounds_every_tensor_of_the_file_to_its_integers(case, quantization):
    layer, values = case
    model = aware(layer(4, name="rnn", **values), quantization=quantization)
    deployed = export.convert(model)
    x, _ = data()
    seen, outputs = rounded_tensors(model, x)
    trained = scales_of(model.layers[1])
    computed = [op.output for op in deployed.graph.ops if op.kind != "CONCATENATION"]
    in_cell = [tensor for tensor in computed if tensor.name.startswith("rnn/")]
    assert {tensor.name for tensor in in_cell} <= trained.keys()
    for tensor in in_cell:
        scale = trained[tensor.name]
        assert tensor.zero_point == scale.zero_point
        # The exporter settles int8 scales, beside a hard function by some parts in a thousand.
        assert tensor.scale == pytest.approx(scale.scale, rel=SETTLED[quantization])
        assert_counted_in(seen[tensor.name.removeprefix("rnn/")], scale.scale, tensor.name)
    unit = deployed.graph.outputs[0].scale
    difference = np.abs(deployed.predict(x, on="reference") - outputs) / unit
    assert difference.max() <= LARGEST_DIFFERENCE[quantization] + 0.1
    if quantization == "int8":
        assert np.mean(difference > 0.5) <= 0.5


@pytest.mark.parametrize("quantization", FORMATS)
@pytest.mark.parametrize("layer", [FastGRNN, FastRNN])
def test_sums_of_a_state_are_exact(layer, quantization):
    model = aware(layer(4, name="rnn"), quantization=quantization)
    scales = scales_of(model.layers[1])
    added = ["kept", "state"] + (["difference", "added"] if layer is FastGRNN else [])
    assert len({scales[f"rnn/{name}"] for name in added}) == 1
    seen, _ = rounded_tensors(model, data()[0])
    if layer is FastGRNN:
        np.testing.assert_allclose(seen["state"], seen["kept"] + seen["added"], atol=1e-6)


def test_gradients_go_straight_through_the_rounding():
    x, y = data()
    layers = FastGRNN(5, name="rnn"), keras.layers.Dense(2)
    model = keras.Sequential([keras.layers.Input(x.shape[1:]), *layers])
    rounded = aware(FastGRNN(5, name="rnn"))
    model.set_weights([w.numpy() for w in rounded.trainable_weights])

    def gradients(of):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((of(x) - y) ** 2)
        return tape.gradient(loss, [v if IS_TF_KERAS else v.value for v in of.trainable_weights])

    for expected, found in zip(gradients(model)[:4], gradients(rounded)[:4], strict=True):
        largest = np.abs(expected).max()
        # Weights of 8 bits move a value by a few thousandths of the largest.
        np.testing.assert_allclose(found, expected, atol=0.03 * largest)


# Parts of a sum


def model_of_cancelling_parts(layer, quantization):
    """Both products are far beyond the limit of the gate, and their sum is not.

    The first channel is the same number in every step, and the bias takes it away again.
    """
    size = 40.0
    model = sequential(layer, keras.layers.Dense(2), steps=STEPS, spread=0.3)
    cell = layer.cell
    kernel = cell.kernel_factors[0].numpy()
    kernel[0] = size / 2.0
    cell.kernel_factors[0].assign(kernel)
    for name in cell.bias_names:
        getattr(cell, name).assign(getattr(cell, name).numpy() - size)
    x = data()[0].copy()
    x[..., 0] = 2.0
    return quantize_aware(model, quantization, calibration_data=x), model, x


@pytest.mark.parametrize("quantization", FORMATS)
@pytest.mark.parametrize("layer", [FastGRNN, FastRNN])
def test_parts_of_a_sum_have_the_ranges_that_they_need(layer, quantization):
    aware_model, model, x = model_of_cancelling_parts(layer(4, name="rnn"), quantization)
    deployed = export.convert(aware_model)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        answers = deployed.predict(x, on="reference")
    assert not [w for w in told if "_product" in str(w.message)]
    computed = {op.output.name: op.output for op in deployed.graph.ops}
    for name in ("rnn/kernel_product", "rnn/recurrent_product"):
        assert max(map(abs, real_ends(computed[name]))) >= 38.0
    unit = deployed.graph.outputs[0].scale
    found = np.asarray(aware_model(x))
    assert np.abs(answers - found).max() <= 6.1 * unit
    # A weight of 20 leaves steps of a sixth to the others, and 40 in 8 bits steps of a third.
    allowed = {"int16x8": 0.15, "int8": 0.5}[quantization]
    assert np.abs(found - answers_of(model, x)).max() <= allowed


# Ranges


class Owner(keras.layers.Layer):
    """Holds the range of a group."""


def make_group(quantization="int16x8", **settings):
    return RangedGroup("range", Owner(), ACTIVATION_FORMATS[quantization], **settings)


def observed(group, *values):
    for value in values:
        group.observe([tf.constant(value, tf.float32)])
    group.begin()
    return group.values().numpy().tolist()


@pytest.mark.parametrize("quantization", FORMATS)
def test_range_of_a_loop_holds_all_values_ever_seen_and_0(quantization):
    group = make_group(quantization)
    assert not group.is_seen
    assert observed(group, [0.5, 1.0]) == [0.0, 1.0]
    assert group.is_seen
    assert observed(group, [-0.5, 0.25], [0.75]) == [-0.5, 1.0]
    assert observed(group, [0.0]) == [-0.5, 1.0]
    assert observed(group, [[-8.0], [2.0]]) == [-8.0, 2.0]


def test_several_tensors_share_one_range():
    group = make_group()
    group.observe([tf.constant([-3.0, 1.0]), tf.constant([[2.0]])])
    assert group.values().numpy().tolist() == [-3.0, 2.0]


def test_range_of_each_unit_is_kept_and_the_widest_counts():
    group = make_group(units=2)
    assert observed(group, [[-1.0, 2.0], [0.5, 3.0]]) == [-1.0, 3.0]
    np.testing.assert_array_equal(group.seen.numpy(), [[-1.0, 0.0], [0.5, 3.0]])
    assert observed(group, [[0.0, -4.0]]) == [-4.0, 3.0]
    assert float(group.scale) == 4.0 / 2**15


@pytest.mark.parametrize("settings", [{}, {"units": 1}], ids=str)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_leaves_the_range_as_it_was(value, settings):
    group = make_group(**settings)
    assert observed(group, [[value], [4.0]]) == [0.0, 0.0]
    assert not group.is_seen
    assert observed(group, [[-1.0], [1.0]]) == [-1.0, 1.0]
    assert observed(group, [[2.0], [value]]) == [-1.0, 1.0]
    assert observed(group, [[-1.0], [3.0]])[1] > 1.0


def test_unit_that_is_not_finite_leaves_the_others_be():
    group = make_group(units=2)
    assert observed(group, [[1.0, -2.0]], [[math.nan, -3.0]]) == [-3.0, 1.0]


@pytest.mark.parametrize("quantization", FORMATS)
def test_nothing_is_rounded_before_any_was_seen(quantization):
    group = make_group(quantization)
    group.begin()
    value = tf.constant([1e-9, -12345.678, 0.1])
    np.testing.assert_array_equal(group.round(value), value)


@pytest.mark.parametrize("quantization", FORMATS)
def test_call_is_rounded_by_what_was_seen_before_it(quantization):
    group = make_group(quantization)
    observed(group, [-1.0, 1.0])
    group.observe([tf.constant([50.0])])
    assert np.max(group.round(tf.constant([50.0]))) < 1.1
    group.begin()
    assert np.max(group.round(tf.constant([50.0]))) == pytest.approx(50.0, rel=0.005)


@pytest.mark.parametrize(("limit", "expected"), [(8.0, 8.0), (math.inf, 64.0)])
def test_limit_of_a_range_is_where_values_make_no_difference(limit, expected):
    group = make_group(limit=limit)
    observed(group, [-40.0, 3.0])
    assert float(group.scale) == expected / 2**15


@pytest.mark.parametrize("quantization", FORMATS)
@pytest.mark.parametrize("layer", [FastGRNN, FastRNN])
def test_ranges_of_a_loop_hold_every_step_of_the_float_computation(layer, quantization):
    x, _ = data()
    model = aware(layer(4, name="rnn"), quantization=quantization)
    (cell,) = cells_of(model.layers[1])
    lows, highs = next(w.numpy() for w in cell.weights if "state_range" in w.name)
    low, high = lows.min(), highs.max()
    deployed = export.convert(model)
    state = deployed.graph.states[0].after
    values = [
        reference.dequantize_values(step[state], state)
        for step in reference.steps(deployed.graph, deployed._to_input(x))
    ]
    assert low <= np.min(values) + 0.02 * (high - low)
    assert high >= np.max(values) - 0.02 * (high - low)
