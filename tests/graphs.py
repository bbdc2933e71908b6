"""Float graphs made by hand, and an evaluation of them that shares no code with the exporter."""

import math

import numpy as np

from keras_fastgrnn.graph.graph import Constant, Graph, Op, State, Tensor


def value(width, name=""):
    return Tensor(name, (1, width))


def constant(values):
    data = np.asarray(values, np.float64)
    return Constant("", data.shape, data=data)


def chain(width, *steps):
    """A graph that applies operators in a row: each step is `(kind, constants, options)`.

    The result of FULLY_CONNECTED has the width of its matrix.
    """
    graph = Graph(inputs=[value(width, "input")], outputs=[])
    current = graph.inputs[0]
    for number, (kind, constants, options) in enumerate(steps):
        constants = [constant(data) for data in constants]
        if kind == "FULLY_CONNECTED":
            width = constants[0].shape[0]
        output = value(width, f"{kind.lower()}_{number}")
        graph.ops.append(Op(kind, [current, *constants], output, **options))
        current = output
    graph.outputs = [current]
    return graph


def kinds(graph):
    return [op.kind for op in graph.ops]


def evaluate(graph, x):
    """Runs one sequence of shape `(steps, inputs)`; returns `(steps, outputs)`. Plain loops."""
    states = {state.before: [0.0] * state.before.shape[-1] for state in graph.states}
    results = []
    for row in x:
        values = {graph.inputs[0]: [float(v) for v in row], **states}
        for op in graph.ops:
            operands = [t.data if t.is_constant else values[t] for t in op.inputs]
            result = _OPERATORS[op.kind](*operands)
            values[op.output] = [min(max(v, op.low), op.high) for v in result]
        states = {state.before: values[state.after] for state in graph.states}
        results.append(values[graph.outputs[0]])
    return np.array(results)


def assert_same(before, after, x):
    """Both are float64 and differ by the order of their sums alone."""
    np.testing.assert_allclose(evaluate(after, x), before, rtol=1e-12, atol=1e-12)


def _fully_connected(x, weights, bias=None):
    sums = [sum(w * v for w, v in zip(row, x, strict=True)) for row in weights]
    return sums if bias is None else [s + b for s, b in zip(sums, np.ravel(bias), strict=True)]


def _pairs(operation):
    def apply(first, second):
        first, second = list(np.ravel(first)), list(np.ravel(second))
        width = max(len(first), len(second))
        first, second = (v * width if len(v) == 1 else v for v in (first, second))
        return [operation(a, b) for a, b in zip(first, second, strict=True)]

    return apply


def _softmax(x):
    exponentials = [math.exp(v - max(x)) for v in x]
    return [e / sum(exponentials) for e in exponentials]


_OPERATORS = {
    "FULLY_CONNECTED": _fully_connected,
    "CONCATENATION": lambda first, second: [*first, *second],
    "ADD": _pairs(lambda a, b: a + b),
    "SUB": _pairs(lambda a, b: a - b),
    "MUL": _pairs(lambda a, b: a * b),
    "MAXIMUM": _pairs(max),
    "MINIMUM": _pairs(min),
    "CLIP": list,
    "LOGISTIC": lambda x: [1.0 / (1.0 + math.exp(-v)) for v in x],
    "TANH": lambda x: [math.tanh(v) for v in x],
    "SOFTMAX": _softmax,
}


def fastrnn_step(units=2, inputs=3, seed=0):
    """A graph with a state: `g' = tanh(W x + U g + b) + beta g`, and a head."""
    rng = np.random.default_rng(seed)
    x, g = value(inputs, "input"), value(units, "before")
    w, u, b, v = (rng.normal(size=s) for s in ((units, inputs), (units, units), units, (2, units)))
    wx, ug, total, pre = (value(units, name) for name in ("wx", "ug", "sum", "pre"))
    candidate, kept = value(units, "candidate"), value(units, "kept")
    after, output = value(units, "after"), value(2, "output")
    ops = [
        Op("FULLY_CONNECTED", [x, constant(w)], wx),
        Op("FULLY_CONNECTED", [g, constant(u)], ug),
        Op("ADD", [wx, ug], total),
        Op("ADD", [total, constant(b[np.newaxis])], pre),
        Op("TANH", [pre], candidate),
        Op("MUL", [g, constant([0.7])], kept),
        Op("ADD", [candidate, kept], after),
        Op("FULLY_CONNECTED", [after, constant(v)], output),
    ]
    return Graph([x], [output], ops, [State(g, after)])


def fastgrnn_step(gate="LOGISTIC", **clip):
    """The step as docs/numerics.md states it, with two products."""
    names = [
        "x",
        "before",
        "wx",
        "ug",
        "sum",
        "gate",
        "cpre",
        "c",
        "diff",
        "kept",
        "added",
        "after",
        "out",
    ]
    t = {name: value(2, name) for name in names}
    ops = [
        Op("FULLY_CONNECTED", [t["x"], constant(np.eye(2))], t["wx"]),
        Op("FULLY_CONNECTED", [t["before"], constant(np.eye(2)), constant(np.ones(2))], t["ug"]),
        Op("ADD", [t["wx"], t["ug"]], t["sum"]),
        Op(gate, [t["sum"], *([constant([0.5])] if gate == "MUL" else [])], t["gate"], **clip),
        Op("ADD", [t["sum"], constant([[0.25, -3.0]])], t["cpre"]),
        Op("TANH", [t["cpre"]], t["c"]),
        Op("SUB", [t["before"], t["c"]], t["diff"]),
        Op("MUL", [t["gate"], t["diff"]], t["kept"]),
        Op("MUL", [t["c"], constant([1.2])], t["added"]),
        Op("ADD", [t["kept"], t["added"]], t["after"]),
        Op("FULLY_CONNECTED", [t["after"], constant(np.eye(2))], t["out"]),
    ]
    return Graph([t["x"]], [t["out"]], ops, [State(t["before"], t["after"])])
