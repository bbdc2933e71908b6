"""Rewrites of small graphs made by hand: the same function, with the operators expected."""

import math

import numpy as np
import pytest
from graphs import assert_same, chain, constant, evaluate, fastrnn_step, kinds, value

from keras_fastgrnn.export.tflite.write import with_float_clips
from keras_fastgrnn.graph.graph import Graph, Op
from keras_fastgrnn.graph.rewrite import (
    fold_all,
    fold_input_affine,
    fuse_products,
    fusible_products,
    linear_sources,
    simplify,
)

FULL = "FULLY_CONNECTED"
RNG = np.random.default_rng(0)
W, V, B = RNG.normal(size=(4, 3)), RNG.normal(size=(2, 4)), RNG.normal(size=4)
ROW3, ROW4 = RNG.normal(size=(1, 3)), RNG.normal(size=(1, 4))
X = RNG.normal(size=(6, 3))


# simplify: what goes in, and the operators that are left
SIMPLIFIED = {
    "additions in a row": (
        [("ADD", [ROW3], {}), ("ADD", [[2.0]], {}), ("TANH", [], {})],
        "ADD TANH",
    ),
    "multiplications in a row": (
        [("MUL", [ROW3], {}), ("MUL", [[0.5]], {}), ("MUL", [ROW3], {}), ("TANH", [], {})],
        "MUL TANH",
    ),
    "a number before a matrix": ([("MUL", [[3.0]], {}), (FULL, [W], {})], FULL),
    "a number after a matrix": ([(FULL, [W, B], {}), ("MUL", [[3.0]], {})], FULL),
    "a bias that there was": ([(FULL, [W, B], {}), ("ADD", [ROW4], {})], FULL),
    "a bias that there was not": ([(FULL, [W], {}), ("ADD", [ROW4], {})], FULL),
    "a bias of one number": ([(FULL, [W], {}), ("ADD", [[0.5]], {})], FULL),
    "bias, then number, then bias": (
        [(FULL, [W], {}), ("ADD", [ROW4], {}), ("MUL", [[3.0]], {}), ("ADD", [[1.0]], {})],
        FULL,
    ),
    "zeros and ones": (
        [("ADD", [[0.0]], {}), ("MUL", [[1.0]], {}), ("ADD", [0 * ROW3], {}), ("TANH", [], {})],
        "TANH",
    ),
    "a number between two matrices": (
        [(FULL, [W, B], {}), ("MUL", [[-2.0]], {}), (FULL, [V], {})],
        f"{FULL} {FULL}",
    ),
    "a vector before a matrix, which is not always good": (
        [("MUL", [ROW3], {}), (FULL, [W], {})],
        f"MUL {FULL}",
    ),
    "a vector after a matrix": ([(FULL, [W], {}), ("MUL", [ROW4], {})], f"{FULL} MUL"),
    "an addition before a matrix": ([("ADD", [ROW3], {}), (FULL, [W], {})], f"ADD {FULL}"),
    "a nonlinearity between": (
        [(FULL, [W], {}), ("TANH", [], {}), ("ADD", [ROW4], {})],
        f"{FULL} TANH ADD",
    ),
    "a limit between": (
        [(FULL, [W], {"low": 0.0}), ("ADD", [ROW4], {}), ("MUL", [[2.0]], {})],
        f"{FULL} ADD MUL",
    ),
    "an addition with a limit": ([(FULL, [W], {}), ("ADD", [ROW4], {"low": 0.0})], f"{FULL} ADD"),
    "a limit on a number before a matrix": (
        [("MUL", [[3.0]], {"low": 0.0}), (FULL, [W], {})],
        f"MUL {FULL}",
    ),
    "a clip after a matrix": ([(FULL, [W, B], {}), ("CLIP", [], {"low": 0.0})], FULL),
    "a clip after an addition": (
        [("TANH", [], {}), ("ADD", [ROW3], {}), ("CLIP", [], {"low": -1.0, "high": 1.0})],
        "TANH ADD",
    ),
    "a clip after what cannot clip": (
        [("TANH", [], {}), ("CLIP", [], {"low": 0.0})],
        "TANH MUL",
    ),
    "a clip of the input": ([("CLIP", [], {"low": 0.0})], "MUL"),
    "a clip of a clip": (
        [(FULL, [W], {}), ("CLIP", [], {"low": 0.0}), ("CLIP", [], {"low": -1.0, "high": 1.0})],
        f"{FULL} MUL",
    ),
}


@pytest.mark.parametrize("case", SIMPLIFIED)
def test_simplified_graph_computes_the_same_with_these_operators(case):
    steps, left = SIMPLIFIED[case]
    graph = chain(3, *steps)
    before = evaluate(graph, X)
    simplify(graph)
    assert kinds(graph) == left.split()
    assert_same(before, graph, X)
    simplify(graph)
    assert kinds(graph) == left.split()


def two_readers(*readers):
    """`h = W x`, read by each of `(kind, constants, options)`; the results are multiplied."""
    x, h = value(3, "input"), value(4, "h")
    ops, results = [Op(FULL, [x, constant(W)], h)], []
    for kind, constants, options in readers:
        results.append(value(4, f"{kind}_{len(results)}"))
        ops.append(Op(kind, [h, *map(constant, constants)], results[-1], **options))
    output = value(4, "output")
    return Graph([x], [output], [*ops, Op("MUL", results, output)])


READERS = {
    "two biases: one is folded, the other is their difference": (
        [("ADD", [ROW4], {}), ("ADD", [2 * ROW4], {})],
        f"{FULL} ADD MUL",
    ),
    "a bias beside an addition of 0": (
        [("ADD", [ROW4], {}), ("ADD", [0 * ROW4], {})],
        f"{FULL} ADD MUL",
    ),
    "an addition of 0 before a bias": (
        [("ADD", [0 * ROW4], {}), ("ADD", [ROW4], {})],
        f"{FULL} ADD MUL",
    ),
    "two equal biases": ([("ADD", [ROW4], {}), ("ADD", [ROW4], {})], f"{FULL} MUL"),
    "a bias and another reader": ([("ADD", [ROW4], {}), ("TANH", [], {})], f"{FULL} ADD TANH MUL"),
    "a number and another reader": (
        [("MUL", [[2.0]], {}), ("TANH", [], {})],
        f"{FULL} MUL TANH MUL",
    ),
    "a clip and another reader": (
        [("CLIP", [], {"low": 0.0}), ("TANH", [], {})],
        f"{FULL} MUL TANH MUL",
    ),
}


@pytest.mark.parametrize("case", READERS)
def test_value_with_other_readers_stays_what_they_read(case):
    readers, left = READERS[case]
    graph = two_readers(*readers)
    before = evaluate(graph, X)
    simplify(graph)
    assert kinds(graph) == left.split()
    assert_same(before, graph, X)


def test_number_is_folded_into_every_matrix_that_reads_it():
    x, scaled, output = value(3, "input"), value(3, "scaled"), value(4, "output")
    a, b = value(4, "a"), value(4, "b")
    ops = [
        Op("MUL", [x, constant([2.0])], scaled),
        Op(FULL, [scaled, constant(W)], a),
        Op(FULL, [scaled, constant(W + 1.0)], b),
        Op("MUL", [a, b], output),
    ]
    graph = Graph([x], [output], ops)
    before = evaluate(graph, X)
    simplify(graph)
    assert kinds(graph) == [FULL, FULL, "MUL"]
    assert_same(before, graph, X)


@pytest.mark.parametrize("kind", ["ADD", "MUL"])
def test_what_is_kept_as_the_state_is_not_changed(kind):
    """The next step reads the state: its unit may not move into the matrix that makes it."""
    graph = fastrnn_step()
    state = graph.states[0]
    scaled = value(2, "scaled")
    graph.ops.insert(-1, Op(kind, [state.after, constant([3.0])], scaled))
    graph.ops[-1].inputs[0] = scaled
    before = evaluate(graph, X)
    simplify(graph)
    assert_same(before, graph, X)
    assert state.after.name == "after"


def test_step_with_a_state_is_simplified_over_time():
    graph = fastrnn_step()
    before = evaluate(graph, X)
    simplify(graph)
    assert kinds(graph) == [FULL, FULL, "ADD", "TANH", "MUL", "ADD", FULL]
    assert_same(before, graph, X)


def test_linear_sources_are_the_matrices_of_a_plain_sum():
    graph = fastrnn_step()
    by_name = {tensor.name: tensor for tensor in graph.tensors()}
    assert linear_sources(graph, by_name["sum"]) == graph.ops[:2]
    assert linear_sources(graph, by_name["wx"]) == graph.ops[:1]
    for name in ("pre", "candidate", "after", "input"):
        assert linear_sources(graph, by_name[name]) == []
    graph.ops[0].low = 0.0
    assert linear_sources(graph, by_name["sum"]) == []


# fold_input_affine, fuse_products, fold_all


@pytest.mark.parametrize("data", [ROW3, [2.0]], ids=["vector", "number"])
@pytest.mark.parametrize("kind", ["ADD", "MUL"])
@pytest.mark.parametrize("bias", [[], [B]], ids=["no bias", "bias"])
def test_constant_before_a_matrix_is_folded_on_request(kind, data, bias):
    graph = chain(3, (kind, [data], {}), (FULL, [W, *bias], {}))
    before = evaluate(graph, X)
    assert fold_input_affine(graph, graph.ops[-1])
    assert kinds(graph) == [FULL]
    assert_same(before, graph, X)
    assert not fold_input_affine(graph, graph.ops[-1])


@pytest.mark.parametrize(
    "steps",
    [
        [("TANH", [], {}), (FULL, [W], {})],
        [("ADD", [ROW3], {"low": 0.0}), (FULL, [W], {})],
    ],
    ids=["not affine", "limited"],
)
def test_what_is_not_affine_is_not_folded(steps):
    graph = chain(3, *steps)
    before = evaluate(graph, X)
    assert not fold_input_affine(graph, graph.ops[-1])
    assert kinds(graph) == [kind for kind, *_ in steps]
    assert_same(before, graph, X)


@pytest.mark.parametrize("kind", ["ADD", "MUL"])
def test_constant_before_several_matrices_is_folded_into_each(kind):
    graph = chain(3, (kind, [ROW3], {}), (FULL, [W], {}), ("TANH", [], {}))
    first, second, output = value(4), value(4), value(4, "output")
    scaled = graph.ops[0].output
    graph.ops += [
        Op(FULL, [scaled, constant(W - 1.0), constant(B)], first),
        Op("MUL", [graph.ops[-1].output, first], second),
        Op("ADD", [second, first], output),
    ]
    graph.outputs = [output]
    before = evaluate(graph, X)
    assert fold_input_affine(graph, graph.ops[1])
    assert kinds(graph) == [FULL, "TANH", FULL, "MUL", "ADD"]
    assert_same(before, graph, X)


@pytest.mark.parametrize("large", [0, 1])
def test_mean_is_not_folded_where_float32_would_cancel_in_one_of_the_matrices(large):
    graph = chain(3, ("ADD", [[-100.0]], {}), (FULL, [0.001 * W], {}), ("TANH", [], {}))
    first, output = value(4), value(4, "output")
    graph.ops += [
        Op(FULL, [graph.ops[0].output, constant(0.001 * W)], first),
        Op("MUL", [graph.ops[-1].output, first], output),
    ]
    graph.outputs = [output]
    folded = graph.copy()
    fold_all(folded)
    assert kinds(folded) == [FULL, "TANH", FULL, "MUL"]
    graph.ops[1 + 2 * large].inputs[1] = constant(W)
    fold_all(graph)
    assert kinds(graph) == ["ADD", FULL, "TANH", FULL, "MUL"]


def test_constant_that_something_else_reads_too_is_not_folded():
    graph = chain(3, ("MUL", [ROW3], {}), (FULL, [W[:3]], {}), ("TANH", [], {}))
    graph.ops.append(Op("ADD", [graph.ops[0].output, graph.ops[-1].output], value(3, "output")))
    graph.outputs = [graph.ops[-1].output]
    assert not fold_input_affine(graph, graph.ops[1])


@pytest.mark.parametrize("first", [[], [ROW4]], ids=["", "bias"])
@pytest.mark.parametrize("second", [[], [2 * ROW4]], ids=["", "bias"])
@pytest.mark.parametrize("options", [{}, {"low": 0.0}], ids=["", "limit"])
def test_two_products_become_one_over_a_concatenation(first, second, options):
    x, hidden, output = value(3, "input"), value(3, "hidden"), value(4, "output")
    a, b = value(4, "a"), value(4, "b")
    ops = [
        Op("TANH", [x], hidden),
        Op(FULL, [x, constant(W), *map(constant, first)], a),
        Op(FULL, [hidden, constant(W - 1.0), *map(constant, second)], b),
        Op("ADD", [a, b], output, **options),
    ]
    graph = Graph([x], [output], ops)
    before = evaluate(graph, X)
    (add,) = fusible_products(graph)
    fuse_products(graph, add, [W, W - 1.0])
    assert kinds(graph) == ["TANH", "CONCATENATION", FULL]
    assert graph.ops[-1].inputs[1].shape == (4, 6)
    assert len(graph.ops[-1].inputs) == 2 + bool(first or second)
    assert_same(before, graph, X)


def test_products_of_the_same_two_values_share_a_concatenation():
    x, hidden, output = value(3, "input"), value(3, "hidden"), value(4, "output")
    sums = [value(4, name) for name in ("first", "second", "other way round")]
    ops = [Op("TANH", [x], hidden)]
    for total in sums:
        values = [hidden, x] if total is sums[2] else [x, hidden]
        products = [value(4), value(4)]
        for one, product in zip(values, products, strict=True):
            ops.append(Op(FULL, [one, constant(RNG.normal(size=(4, 3)))], product))
        ops.append(Op("ADD", products, total))
    half = value(4, "half")
    ops += [Op("MUL", sums[:2], half), Op("ADD", [half, sums[2]], output)]
    graph = Graph([x], [output], ops)
    before = evaluate(graph, X)
    fold_all(graph)
    join = "CONCATENATION"
    assert kinds(graph) == ["TANH", join, FULL, FULL, join, FULL, "MUL", "ADD"]
    assert graph.ops[2].inputs[0] is graph.ops[3].inputs[0] is graph.ops[1].output
    assert_same(before, graph, X)


def test_products_are_not_joined_where_one_is_read_elsewhere_or_limited():
    for change in ("read", "limit", "constant"):
        graph = fastrnn_step()
        if change == "read":
            graph.ops[4].inputs[0] = graph.ops[0].output
        elif change == "limit":
            graph.ops[1].low = 0.0
        else:
            graph.ops[2].inputs[1] = constant([1.0])
        assert fusible_products(graph) == [], change


def test_fold_all_joins_the_products_of_a_state():
    graph = fastrnn_step()
    before = evaluate(graph, X)
    simplify(graph)
    fold_all(graph)
    assert kinds(graph) == ["CONCATENATION", FULL, "TANH", "MUL", "ADD", FULL]
    assert_same(before, graph, X)


@pytest.mark.parametrize(("mean", "left"), [(1.0, [FULL]), (-1e4, ["ADD", FULL])])
def test_mean_is_folded_in_float_unless_float32_would_cancel(mean, left):
    """`(x - mean) / 0.01`, as a Normalization computes it, before a matrix."""
    steps = [("ADD", [[-mean]], {}), ("MUL", [[100.0]], {}), (FULL, [W / 1000.0], {})]
    graph = chain(3, *steps)
    x = (mean + 0.01 * X).astype("float32")
    before = evaluate(graph, x)
    simplify(graph)
    fold_all(graph)
    assert kinds(graph) == left
    in_float32 = x
    for op in graph.ops:
        constants = [t.data.astype("float32") for t in op.inputs[1:]]
        if op.kind == "ADD":
            in_float32 = in_float32 + constants[0]
        else:
            in_float32 = in_float32 @ constants[0].T + (constants[1] if constants[1:] else 0)
    np.testing.assert_allclose(in_float32, before, atol=2e-6)


def test_float_clip_to_0_and_1_is_a_relu_and_a_minimum():
    graph = chain(
        3, (FULL, [W], {"low": 0.0, "high": 1.0}), ("MUL", [[1.0]], {"low": -1.0, "high": 1.0})
    )
    before = evaluate(graph, X)
    split = with_float_clips(graph)
    assert kinds(split) == [FULL, "MINIMUM", "MUL"]
    limits = [(op.low, op.high) for op in split.ops]
    assert limits == [(0.0, math.inf), (-math.inf, math.inf), (-1.0, 1.0)]
    assert_same(before, split, X)
    assert kinds(graph) == [FULL, "MUL"]
