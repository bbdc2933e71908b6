"""The steps against the paper's equations, on NumPy arrays and on tensors."""

import dataclasses

import numpy as np
import paper
import pytest
import tensorflow as tf

from keras_fastgrnn import steps

D, H, T, B = 3, 5, 7, 2
RANKS = [(None, None), (2, None), (None, 4), (2, 4)]


def make_weights(cell, ranks=(None, None), seed=0) -> dict:
    """Weights by name, drawn so that no term of the equations vanishes."""
    rng = np.random.default_rng(seed)
    shapes = {}
    for name, rows, rank in (("kernel", D, ranks[0]), ("recurrent_kernel", H, ranks[1])):
        if rank is None:
            shapes[name] = (rows, H)
        else:
            shapes |= {f"{name}_left": (rows, rank), f"{name}_right": (rank, H)}
    if cell == "FastRNN":
        shapes |= {"bias": (H,), "alpha_logit": (), "beta_logit": ()}
    else:
        shapes |= {"gate_bias": (H,), "candidate_bias": (H,), "zeta_logit": (), "nu_logit": ()}
    return {name: rng.normal(0.0, 0.6, shape) for name, shape in shapes.items()}


def make_step(weights, sigmoid, f, g=None, recurrent_mask=None):
    """The step and what it reads; the scalars go through `sigmoid` as in the cells."""

    def factors(name):
        return tuple(weights[n] for n in (name, f"{name}_left", f"{name}_right") if n in weights)

    shared = {
        "kernel": factors("kernel"),
        "recurrent_kernel": factors("recurrent_kernel"),
        "activation": f,
        "recurrent_mask": recurrent_mask,
        **{name: value for name, value in weights.items() if name.endswith("bias")},
        **{n[:-6]: sigmoid(value) for n, value in weights.items() if n.endswith("_logit")},
    }
    if "alpha" in shared:
        return steps.fastrnn_step, steps.FastRNNWeights(**shared)
    return steps.fastgrnn_step, steps.FastGRNNWeights(**shared, recurrent_activation=g)


def make_numpy_step(weights, activation="tanh", recurrent_activation="sigmoid", **arguments):
    functions = (paper.ACTIVATIONS[n] for n in ("sigmoid", activation, recurrent_activation))
    return make_step(weights, *functions, **arguments)


def draw(*shape, seed=1):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("case", paper.authors_cases(), ids=str)
def test_expected_values_of_these_tests_match_the_authors_cells(case):
    arguments = {name: v for name, v in case.arguments.items() if not name.endswith("rank")}
    h = paper.states(case.weights, case.x, case.h0, **arguments)
    # float64 against the authors' float32, rounded 24 times.
    np.testing.assert_allclose(h, case.h, rtol=0, atol=1e-5)


@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("activation", paper.ACTIVATIONS)
@pytest.mark.parametrize(
    ("cell", "recurrent_activation"),
    [
        ("FastRNN", "sigmoid"),
        *[("FastGRNN", name) for name in ("sigmoid", "tanh", "quant_sigmoid")],
    ],
)
def test_steps_on_numpy_arrays_follow_the_paper(cell, activation, recurrent_activation, ranks):
    weights, x, h = make_weights(cell, ranks), draw(B, T, D), draw(B, H, seed=2)
    expected = paper.states(weights, x, h, activation, recurrent_activation)
    step, w = make_numpy_step(weights, activation, recurrent_activation)
    g = h / w.unit
    for t in range(T):
        g = step(x[:, t], g, w)
        assert isinstance(g, np.ndarray)
        # Both are float64; the state is scaled and scaled back, which rounds.
        np.testing.assert_allclose(w.unit * g, expected[:, t], rtol=1e-12, atol=1e-12)


def test_unit_is_zeta_or_alpha():
    sigmoid = paper.ACTIVATIONS["sigmoid"]
    for cell, name in (("FastGRNN", "zeta_logit"), ("FastRNN", "alpha_logit")):
        weights = make_weights(cell)
        assert make_numpy_step(weights)[1].unit == sigmoid(weights[name])


@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("cell", ["FastGRNN", "FastRNN"])
def test_gradients_are_those_of_the_papers_equations(cell, ranks):
    arrays = {**make_weights(cell, ranks), "x": draw(B, T, D), "h": draw(B, H, seed=2)}
    direction = draw(B, T, H, seed=3)

    def loss_of_the_paper(values):
        weights = {name: v for name, v in values.items() if name not in ("x", "h")}
        return np.sum(direction * paper.states(weights, values["x"], values["h"]))

    tensors = {name: tf.constant(value) for name, value in arrays.items()}
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        weights = {name: v for name, v in tensors.items() if name not in ("x", "h")}
        step, w = make_step(weights, tf.sigmoid, tf.tanh, tf.sigmoid)
        g, history = tensors["h"] / w.unit, []
        for t in range(T):
            g = step(tensors["x"][:, t], g, w)
            history.append(w.unit * g)
        loss = tf.reduce_sum(direction * tf.stack(history, axis=1))
    np.testing.assert_allclose(loss, loss_of_the_paper(arrays), rtol=1e-12)

    gradients = tape.gradient(loss, tensors)
    for name, array in arrays.items():
        numeric = central_differences(
            lambda value, name=name: loss_of_the_paper({**arrays, name: value}), array
        )
        # Central differences of step 1e-5 err by about 1e-10 in float64.
        np.testing.assert_allclose(gradients[name], numeric, rtol=1e-6, atol=1e-8, err_msg=name)


def central_differences(function, array, step=1e-5):
    gradient = np.empty(array.shape)
    for index in np.ndindex(array.shape):
        shift = np.zeros(array.shape)
        shift[index] = step
        gradient[index] = (function(array + shift) - function(array - shift)) / (2 * step)
    return gradient


@pytest.mark.parametrize("cell", ["FastGRNN", "FastRNN"])
def test_recurrent_mask_acts_where_the_state_enters_the_matrix_only(cell):
    weights, x, h = make_weights(cell), draw(B, D), draw(B, H, seed=2)
    mask = np.array([0.0, 2.0, 0.0, 1.0, 2.0])
    step, w = make_numpy_step(weights, recurrent_mask=mask)
    # A masked column of h is a scaled row of U, as far as the matrix is concerned.
    masked = {**weights, "recurrent_kernel": mask[:, None] * weights["recurrent_kernel"]}
    expected = paper.states(masked, x[:, None], h)[:, 0]
    np.testing.assert_allclose(w.unit * step(x, h / w.unit, w), expected, rtol=1e-12, atol=1e-12)


PRODUCTS = ["kernel_product", "recurrent_product"]
FASTGRNN_NAMES = [
    *PRODUCTS,
    "gate_pre",
    "gate",
    "candidate_pre",
    "candidate",
    "difference",
    "kept",
    "added",
    "state",
]
FASTRNN_NAMES = [*PRODUCTS, "candidate_pre", "candidate", "kept", "state"]
PROJECTIONS = ["kernel_projection", "recurrent_projection"]


@pytest.mark.parametrize(
    ("cell", "ranks", "names"),
    [
        ("FastGRNN", (None, None), FASTGRNN_NAMES),
        ("FastGRNN", (2, None), [PROJECTIONS[0], *FASTGRNN_NAMES]),
        ("FastGRNN", (2, 4), [*PROJECTIONS, *FASTGRNN_NAMES]),
        ("FastRNN", (None, None), FASTRNN_NAMES),
        ("FastRNN", (None, 4), [PROJECTIONS[1], *FASTRNN_NAMES]),
        ("FastRNN", (2, 4), [*PROJECTIONS, *FASTRNN_NAMES]),
    ],
)
def test_tap_sees_every_tensor_once_and_says_how_to_go_on(cell, ranks, names):
    step, w = make_numpy_step(make_weights(cell, ranks))
    x, g = draw(B, D), draw(B, H, seed=2)
    seen = {}

    def watch(name, value):
        assert name not in seen
        seen[name] = value
        return value

    state = step(x, g, w, watch)
    assert sorted(seen) == sorted(names)
    assert seen["state"] is state
    np.testing.assert_array_equal(state, step(x, g, w))

    for changed in names:
        other = step(x, g, w, lambda name, value, c=changed: value + (name == c))
        assert not np.allclose(other, state), changed


def test_tapped_values_are_the_terms_of_the_equations():
    weights, x, g = make_weights("FastGRNN"), draw(B, D), draw(B, H, seed=2)
    step, w = make_numpy_step(weights)
    seen = {}
    step(x, g, w, lambda name, value: seen.setdefault(name, value))

    zeta, nu = w.zeta, w.nu
    from_input, from_state = x @ weights["kernel"], zeta * g @ weights["recurrent_kernel"]
    pre = from_input + from_state
    z = paper.ACTIVATIONS["sigmoid"](pre + weights["gate_bias"])
    candidate = np.tanh(pre + weights["candidate_bias"])
    expected = {
        "kernel_product": from_input,
        "recurrent_product": from_state + weights["gate_bias"],
        "gate_pre": pre + weights["gate_bias"],
        "gate": z,
        "candidate_pre": pre + weights["candidate_bias"],
        "candidate": candidate,
        "difference": g - candidate,
        "kept": z * (g - candidate),
        "added": (1 + nu / zeta) * candidate,
    }
    for name, value in expected.items():
        np.testing.assert_allclose(seen[name], value, rtol=1e-12, atol=1e-12, err_msg=name)


def test_weights_are_immutable():
    _, w = make_numpy_step(make_weights("FastGRNN"))
    with pytest.raises(dataclasses.FrozenInstanceError):
        w.zeta = 1.0
