"""Rewrites of whole models: the same function, with the operators of docs/numerics.md."""

import pytest
from graphs import assert_same, evaluate, kinds
from small_models import sequences, sequential

from keras_fastgrnn import FastGRNN, FastRNN, activations, keras
from keras_fastgrnn.graph.rewrite import fold_all, simplify
from keras_fastgrnn.graph.trace import trace

FULL = "FULLY_CONNECTED"
GRU = ["LOGISTIC", "ADD", "TANH", "SUB", "MUL", "MUL", "ADD"]
GATE = [FULL, FULL, "ADD", "LOGISTIC"]
STEPS = {
    "FastGRNN": (lambda: [FastGRNN(4)], [FULL, FULL, "ADD", *GRU, "MUL"]),
    "FastGRNN, no bias": (
        lambda: [FastGRNN(4, use_bias=False)],
        [FULL, FULL, "ADD", *GRU[:1], *GRU[2:], "MUL"],
    ),
    "FastGRNN and head": (
        lambda: [FastGRNN(4), keras.layers.Dense(2)],
        [FULL, FULL, "ADD", *GRU, FULL],
    ),
    "FastRNN and head": (
        lambda: [FastRNN(4), keras.layers.Dense(2, "softmax")],
        [FULL, FULL, "ADD", "TANH", "MUL", "ADD", FULL, "SOFTMAX"],
    ),
    "low rank": (
        lambda: [FastRNN(4, kernel_rank=2, recurrent_rank=2), keras.layers.Dense(2, "relu")],
        [FULL, FULL, FULL, FULL, "ADD", "TANH", "MUL", "ADD", FULL],
    ),
    "SimpleRNN": (
        lambda: [keras.layers.SimpleRNN(4)],
        [FULL, FULL, "ADD", "TANH"],
    ),
    "GRU": (
        lambda: [keras.layers.GRU(4)],
        [*GATE, *GATE, FULL, FULL, "MUL", "ADD", "TANH", "SUB", "MUL", "ADD"],
    ),
    "GRU that resets before": (
        lambda: [keras.layers.GRU(4, reset_after=False)],
        [*GATE, *GATE, "MUL", FULL, FULL, "ADD", "TANH", "SUB", "MUL", "ADD"],
    ),
    "LSTM": (
        lambda: [keras.layers.LSTM(4)],
        [*GATE, "MUL", *GATE[:3], "TANH", *GATE, "MUL", "ADD", *GATE, "TANH", "MUL"],
    ),
    "piecewise linear": (
        lambda: [FastGRNN(4, "quant_tanh", "quant_sigmoid"), keras.layers.Dense(2)],
        [FULL, FULL, "ADD", "MUL", "ADD", "SUB", "MUL", "MUL", "ADD", FULL],
    ),
    "hard gate of a second cell without biases": (
        lambda: [
            FastGRNN(4, return_sequences=True),
            FastGRNN(4, "tanh", "quant_sigmoid4", use_bias=False),
        ],
        [
            *(FULL, FULL, "ADD", *GRU),
            *(FULL, FULL, "ADD", "MUL", "ADD", "TANH", "SUB", "MUL", "MUL", "ADD", "MUL"),
        ],
    ),
    "hard head": (
        lambda: [FastRNN(4), keras.layers.Dense(2, activations.quant_sigmoid4)],
        [FULL, FULL, "ADD", "TANH", "MUL", "ADD", FULL],
    ),
    "Normalization": (
        lambda: [keras.layers.Normalization(mean=[1.0, 2, 3], variance=[1.0, 2, 3]), FastRNN(4)],
        ["ADD", "MUL", FULL, FULL, "ADD", "TANH", "MUL", "ADD", "MUL"],
    ),
    "Rescaling by one number": (
        lambda: [keras.layers.Rescaling(1 / 255), FastRNN(4)],
        [FULL, FULL, "ADD", "TANH", "MUL", "ADD", "MUL"],
    ),
}


@pytest.mark.parametrize("case", STEPS)
def test_simplified_model_has_the_operators_documented(case):
    layers, operators = STEPS[case]
    graph = trace(sequential(*layers()))
    x = sequences(1)[0]
    before = evaluate(graph, x)
    simplify(graph)
    assert kinds(graph) == operators
    assert_same(before, graph, x)
    fold_all(graph)
    assert_same(before, graph, x)
