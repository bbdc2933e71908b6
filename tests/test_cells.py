"""Weights and equations of the cells."""

import dataclasses

import numpy as np
import paper
import pytest
import tensorflow as tf
from weights import arrays, randomize, variables

from keras_fastgrnn import FastGRNNCell, FastRNNCell, keras
from keras_fastgrnn.cells import FastCell
from keras_fastgrnn.keras_api import IS_TF_KERAS

CELLS = [FastGRNNCell, FastRNNCell]
SCALARS = {FastGRNNCell: ("zeta", "nu"), FastRNNCell: ("alpha", "beta")}
D, H, B = 4, 6, 3


def draw(*shape, seed=1):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def built(cell, input_dim=D):
    cell.build((None, input_dim))
    return cell


# Weights


@pytest.mark.parametrize("cell", CELLS)
def test_weights_start_as_in_the_paper(cell):
    keras.utils.set_random_seed(0)
    values = arrays(built(cell(200), input_dim=150))
    expected = {"zeta_logit": 1.0, "nu_logit": -4.0}
    if cell is FastRNNCell:
        expected = {"alpha_logit": -3.0, "beta_logit": 3.0}
    assert {name: values.pop(name) for name in expected} == expected

    for name, shape in (("kernel", (150, 200)), ("recurrent_kernel", (200, 200))):
        matrix = values.pop(name)
        assert matrix.shape == shape
        # 30,000 draws of N(0, 0.1): mean and deviation stray by 0.0006 and 0.0004; 5 times that.
        assert abs(matrix.mean()) < 0.003
        assert abs(matrix.std() - 0.1) < 0.002
        # A normal distribution has 31.7 % beyond one deviation, a uniform one 42.3 %.
        assert abs(np.mean(np.abs(matrix) > 0.1) - 0.317) < 0.015
    biases = {"bias"} if cell is FastRNNCell else {"gate_bias", "candidate_bias"}
    assert values.keys() == biases
    for bias in values.values():
        np.testing.assert_array_equal(bias, np.ones(200))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize(
    ("ranks", "matrices"),
    [
        ((None, None), {"kernel": (D, H), "recurrent_kernel": (H, H)}),
        ((2, None), {"kernel_left": (D, 2), "kernel_right": (2, H), "recurrent_kernel": (H, H)}),
        (
            (None, 5),
            {
                "kernel": (D, H),
                "recurrent_kernel_left": (H, 5),
                "recurrent_kernel_right": (5, H),
            },
        ),
    ],
)
def test_cell_has_these_weights_and_no_others(cell, use_bias, ranks, matrices):
    made = built(cell(H, use_bias=use_bias, kernel_rank=ranks[0], recurrent_rank=ranks[1]))
    biases = ("bias",) if cell is FastRNNCell else ("gate_bias", "candidate_bias")
    expected = {
        **matrices,
        **(dict.fromkeys(biases, (H,)) if use_bias else {}),
        **{f"{name}_logit": () for name in SCALARS[cell]},
    }
    assert {name: tuple(v.shape) for name, v in variables(made).items()} == expected
    assert len(made.trainable_weights) == len(made.weights) == len(expected)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("rank", [1, H])
def test_largest_and_smallest_rank_are_allowed(cell, rank):
    made = built(cell(H, kernel_rank=rank, recurrent_rank=rank), input_dim=H)
    assert made.count_params() == 4 * H * rank + (H if cell is FastRNNCell else 2 * H) + 2


@pytest.mark.parametrize("cell", CELLS)
def test_scalars_accept_any_initializer(cell):
    first, second = (f"{name}_initializer" for name in SCALARS[cell])
    made = built(cell(H, **{first: "zeros", second: keras.initializers.Constant(2.0)}))
    assert [float(w) for w in made.trainable_weights[-2:]] == [0.0, 2.0]


NORMAL = keras.initializers.RandomNormal


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("seed", [None, 7])
def test_two_weights_from_one_initializer_differ(cell, seed):
    keras.utils.set_random_seed(0)
    initializers = ("kernel_initializer", "recurrent_initializer", "bias_initializer")
    arguments = {name: NORMAL(seed=seed) for name in initializers}
    values = arrays(built(cell(H, kernel_rank=3, recurrent_rank=4, **arguments)))
    pairs = [("kernel_left", "kernel_right"), ("recurrent_kernel_left", "recurrent_kernel_right")]
    if cell is FastGRNNCell:
        pairs.append(("gate_bias", "candidate_bias"))
    for first, second in pairs:
        size = min(values[first].size, values[second].size)
        assert not np.any(values[first].ravel()[:size] == values[second].ravel()[:size])


def test_two_factors_from_one_stateful_seed_differ():
    seed = 7 if IS_TF_KERAS else keras.random.SeedGenerator(7)
    values = arrays(built(FastGRNNCell(D, kernel_rank=D, kernel_initializer=NORMAL(seed=seed))))
    assert not np.any(values["kernel_left"] == values["kernel_right"])


@pytest.mark.parametrize("cell", CELLS)
def test_seeded_initializer_gives_reproducible_weights(cell):
    def draw_weights(seed):
        names = ("kernel_initializer", "recurrent_initializer", "bias_initializer")
        return arrays(built(cell(H, kernel_rank=3, **{n: NORMAL(seed=seed) for n in names})))

    first, second, other = draw_weights(7), draw_weights(7), draw_weights(8)
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])
        assert name.endswith("_logit") or not np.any(first[name] == other[name])


def test_global_seed_gives_reproducible_weights():
    def draw_weights():
        keras.utils.set_random_seed(5)
        return arrays(built(FastGRNNCell(H, kernel_rank=3)))

    first, second = draw_weights(), draw_weights()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


class Filled(keras.initializers.Initializer):
    """An initializer without a configuration, as a user may write it."""

    def __init__(self, value):
        self.value = value

    def __call__(self, shape, dtype=None, **kwargs):
        return tf.fill(shape, tf.cast(self.value, dtype))


def filled_with_quarters(shape, dtype=None, **kwargs):
    return tf.fill(shape, tf.cast(0.25, dtype))


@pytest.mark.parametrize("initializer", [Filled(0.25), filled_with_quarters])
def test_initializer_may_be_any_callable(initializer):
    names = ("kernel_initializer", "recurrent_initializer", "bias_initializer", "nu_initializer")
    made = built(FastGRNNCell(H, recurrent_rank=2, **dict.fromkeys(names, initializer)))
    for name, value in arrays(made).items():
        assert np.all(value == (1.0 if name == "zeta_logit" else 0.25)), name


@pytest.mark.parametrize("cell", CELLS)
def test_losses_count_every_factor_and_bias(cell):
    made = built(
        cell(
            H,
            kernel_rank=2,
            recurrent_rank=5,
            kernel_regularizer=keras.regularizers.L2(0.5),
            recurrent_regularizer=keras.regularizers.L1(0.25),
            bias_regularizer=keras.regularizers.L2(2.0),
        )
    )
    randomize(made)
    values = arrays(made)
    expected = [0.5 * np.sum(values[f"kernel_{side}"] ** 2) for side in ("left", "right")]
    for side in ("left", "right"):
        expected.append(0.25 * np.sum(np.abs(values[f"recurrent_kernel_{side}"])))
    expected += [2.0 * np.sum(v**2) for name, v in values.items() if name.endswith("bias")]
    # Sums of at most 30 float32 terms.
    np.testing.assert_allclose(sorted(map(float, made.losses)), sorted(expected), rtol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_every_factor_and_bias_carries_its_constraint(cell):
    constraints = {
        "kernel": keras.constraints.MaxNorm(1.0),
        "recurrent": keras.constraints.UnitNorm(),
        "bias": keras.constraints.NonNeg(),
    }
    arguments = {f"{name}_constraint": value for name, value in constraints.items()}
    for name, variable in variables(built(cell(H, kernel_rank=2, **arguments))).items():
        kind = "bias" if name.endswith("bias") else name.split("_")[0]
        assert variable.constraint is constraints.get(kind), name


# Equations


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("use_bias", [True, False])
def test_one_call_is_one_step_of_the_paper(cell, use_bias):
    made = built(cell(H, use_bias=use_bias, kernel_rank=2))
    randomize(made)
    x, h = draw(B, D), draw(B, H, seed=2)
    expected = paper.states(arrays(made), x[:, None], h)[:, 0]
    output, (state,) = made(tf.constant(x), [tf.constant(h)])
    # float32; one step.
    np.testing.assert_allclose(output, expected, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(output, state)
    output, state = made(tf.constant(x), tf.constant(h))
    np.testing.assert_allclose(state, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("ranks", [(None, None), (2, 5)])
def test_step_on_numpy_arrays_equals_the_cell(cell, ranks):
    made = built(cell(H, kernel_rank=ranks[0], recurrent_rank=ranks[1]))
    randomize(made)
    w = made.step_weights()
    functions = {"activation": np.tanh}
    if cell is FastGRNNCell:
        functions["recurrent_activation"] = paper.ACTIVATIONS["sigmoid"]
    in_numpy = {
        field.name: tuple(map(np.asarray, value)) if isinstance(value, tuple) else np.asarray(value)
        for field in dataclasses.fields(w)
        if (value := getattr(w, field.name)) is not None and field.name not in functions
    }
    w = type(w)(**in_numpy, **functions, recurrent_mask=None)
    x, h = draw(B, D), draw(B, H, seed=2)
    output, _ = made(tf.constant(x), [tf.constant(h)])
    g = made.step(x, h / w.unit, w)
    assert isinstance(g, np.ndarray)
    # float32; one step.
    np.testing.assert_allclose(w.unit * g, output, rtol=0, atol=1e-6)


def test_sizes_say_what_keras_asks_of_a_cell():
    cell = FastGRNNCell(H)
    assert cell.state_size == cell.output_size == cell.units == H


def test_initial_state_is_zero():
    arguments = {"batch_size": B, **({"dtype": "float32"} if IS_TF_KERAS else {})}
    (state,) = tf.nest.flatten(FastGRNNCell(H).get_initial_state(**arguments))
    np.testing.assert_array_equal(state, np.zeros((B, H)))


def test_the_base_class_has_no_equations():
    cell = built(FastCell(H))
    with pytest.raises(TypeError, match="FastCell has no equations"):
        cell(tf.zeros((B, D)), [tf.zeros((B, H))])
