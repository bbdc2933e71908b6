"""The piecewise-linear functions, and the names that activations go by."""

import math

import numpy as np
import paper
import pytest
import tensorflow as tf

from keras_fastgrnn import activations, keras, quant_sigmoid, quant_sigmoid4, quant_tanh

OURS = {
    "quant_tanh": quant_tanh,
    "quant_sigmoid": quant_sigmoid,
    "quant_sigmoid4": quant_sigmoid4,
}
KERAS_NAMES = ["linear", "relu", "sigmoid", "softmax", "tanh"]


@pytest.mark.parametrize(
    ("name", "points"),
    [
        ("quant_tanh", [(-9, -1), (-1, -1), (-0.25, -0.25), (0, 0), (0.5, 0.5), (1, 1), (9, 1)]),
        ("quant_sigmoid", [(-9, 0), (-1, 0), (-0.5, 0.25), (0, 0.5), (0.5, 0.75), (1, 1), (9, 1)]),
        ("quant_sigmoid4", [(-9, 0), (-2, 0), (-1, 0.25), (0, 0.5), (1, 0.75), (2, 1), (9, 1)]),
    ],
)
def test_literal_values(name, points):
    x, y = np.array(points, "float32").T
    np.testing.assert_array_equal(OURS[name](tf.constant(x)), y)


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_values_are_the_papers_and_keep_their_type(name, dtype):
    x = np.linspace(-4.0, 4.0, 1025).astype(dtype)
    y = OURS[name](tf.constant(x))
    assert y.dtype == dtype
    # The points are multiples of 2^-7, so that every operation on them is exact in any type.
    np.testing.assert_array_equal(y, paper.ACTIVATIONS[name](x))


@pytest.mark.parametrize(("name", "low"), [("quant_tanh", -1), *[(n, 0) for n in list(OURS)[1:]]])
def test_infinities_saturate_and_nan_stays(name, low):
    y = OURS[name](tf.constant([-math.inf, math.inf, math.nan]))
    np.testing.assert_array_equal(y, [low, 1.0, math.nan])


@pytest.mark.parametrize(
    ("name", "slope", "end"),
    [("quant_tanh", 1, 1), ("quant_sigmoid", 0.5, 1), ("quant_sigmoid4", 0.25, 2)],
)
def test_gradient_is_the_slope_inside_and_zero_outside(name, slope, end):
    x = tf.constant([-1.5, -0.75, -0.25, 0.25, 0.75, 1.5]) * end
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = OURS[name](x)
    np.testing.assert_array_equal(tape.gradient(y, x), [0.0, *[slope] * 4, 0.0])


@pytest.mark.parametrize("name", activations.PIECEWISE_LINEAR)
def test_table_of_lines_describes_the_functions(name):
    line = activations.PIECEWISE_LINEAR[name]
    x = np.linspace(-10.0, 10.0, 2561)
    expected = paper.ACTIVATIONS[name](x)
    found = np.clip(line.slope * (x + line.shift), line.low, line.high)
    np.testing.assert_allclose(found, expected, atol=1e-15)  # a sixth is no float


@pytest.mark.parametrize("name", OURS)
def test_our_functions_are_found_by_their_bare_names(name):
    assert activations.get(name) is OURS[name]


@pytest.mark.parametrize("name", KERAS_NAMES)
def test_names_of_keras_mean_what_they_mean_in_keras(name):
    assert activations.get(name) is keras.activations.get(name)


def test_functions_pass_and_none_is_linear():
    assert activations.get(tf.math.softsign) is tf.math.softsign
    np.testing.assert_array_equal(activations.get(None)(tf.constant([-2.0, 3.0])), [-2.0, 3.0])


@pytest.mark.parametrize("identifier", ["quant_tan", "", 5, 0.5, True, ["tanh"], {"a": 1}])
def test_what_names_no_activation_gets_one_clear_error(identifier):
    with pytest.raises(ValueError) as error:
        activations.get(identifier, "recurrent_activation")
    assert str(error.value) == (
        "Received an invalid value for argument recurrent_activation, expected the name of an "
        "activation (for example 'tanh', 'sigmoid', 'relu', 'quant_tanh', 'quant_sigmoid', "
        f"'quant_sigmoid4') or a function, got {identifier!r}."
    )


@pytest.mark.parametrize("name", OURS)
def test_our_functions_survive_serialization(name):
    serialized = keras.activations.serialize(OURS[name])
    assert keras.activations.deserialize(serialized) is OURS[name]
    assert activations.get(serialized) is OURS[name]


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize(
    "make_layer",
    [keras.layers.Activation, lambda f: keras.layers.Dense(3, f)],
    ids=["Activation", "Dense"],
)
def test_our_functions_work_in_layers_of_keras_which_save_and_load(name, make_layer, tmp_path):
    model = keras.Sequential([keras.layers.Input((4,)), make_layer(OURS[name])])
    x = np.random.default_rng(0).normal(0.0, 2.0, (6, 4)).astype("float32")
    y = np.array(model(x))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.layers[-1].activation is OURS[name]
    np.testing.assert_array_equal(loaded(x), y)


@pytest.mark.parametrize("name", [*KERAS_NAMES, *OURS])
def test_known_functions_have_a_name(name):
    assert activations.name_of(activations.get(name)) == name


def test_no_function_is_linear_and_other_functions_have_no_name():
    assert activations.name_of(None) == "linear"
    assert activations.name_of(keras.activations.softsign) is None
    assert activations.name_of(np.tanh) is None
