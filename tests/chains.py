"""Every chain of layers that can be exported, as functions that return new layers, by name."""

from small_models import sequences

from keras_fastgrnn import FastGRNN, FastGRNNCell, FastRNN, FastRNNCell, activations, keras

LAYERS = keras.layers
NONLINEARITIES = ["tanh", "sigmoid", "relu", "quant_tanh", "quant_sigmoid", "quant_sigmoid4"]
NEXT = dict(zip(NONLINEARITIES, NONLINEARITIES[1:] + NONLINEARITIES[:1], strict=True))


def adapted(**arguments):
    layer = LAYERS.Normalization(**arguments)
    layer.adapt(sequences(64) * [1e-3, 1.0, 1e3] + [0.0, -5.0, 2e3])
    return layer


CHAINS = {
    "FastGRNN": lambda: [FastGRNN(5)],
    "FastRNN": lambda: [FastRNN(5)],
    "kernel of low rank": lambda: [FastGRNN(5, kernel_rank=2)],
    "recurrent kernel of low rank": lambda: [FastRNN(5, recurrent_rank=2)],
    "both of low rank": lambda: [FastGRNN(5, kernel_rank=1, recurrent_rank=5)],
    "without bias": lambda: [FastGRNN(5, use_bias=False)],
    "FastRNN without bias": lambda: [FastRNN(5, use_bias=False)],
    "linear and softmax in a cell": lambda: [FastGRNN(5, "linear", "softmax")],
    "every step": lambda: [FastGRNN(5, return_sequences=True)],
    "unrolled": lambda: [FastGRNN(5, unroll=True)],
    "RNN of a cell": lambda: [LAYERS.RNN(FastRNNCell(5))],
    "RNN of cells": lambda: [LAYERS.RNN([FastGRNNCell(5), FastRNNCell(2), FastGRNNCell(3)])],
    "stacked": lambda: [FastGRNN(5, return_sequences=True), FastRNN(3)],
    "Dense before": lambda: [LAYERS.Dense(4, activation="relu"), FastGRNN(5)],
    "Dropout": lambda: [LAYERS.Dropout(0.9), FastGRNN(5, dropout=0.5, recurrent_dropout=0.5)],
    "Rescaling": lambda: [LAYERS.Rescaling(1 / 3, offset=-0.5), FastGRNN(5)],
    "Rescaling by channel": lambda: [
        LAYERS.Rescaling([0.5, -2.0, 0.0], [0.0, 1.0, 3.0]),
        FastRNN(5),
    ],
    "Normalization given": lambda: [
        LAYERS.Normalization(mean=[0.1, -2.0, 3.0], variance=[4.0, 0.25, 1e-4]),
        FastGRNN(5),
    ],
    "Normalization by one number": lambda: [
        LAYERS.Normalization(axis=None, mean=0.5, variance=4.0),
        FastGRNN(5),
    ],
    "Normalization inverted": lambda: [
        LAYERS.Normalization(mean=[0.1, -2.0, 3.0], variance=[4.0, 0.25, 0.0], invert=True),
        FastGRNN(5),
    ],
    "Normalization after": lambda: [
        FastGRNN(3),
        LAYERS.Normalization(mean=[0.1, -0.2, 0.3], variance=[0.1, 0.2, 0.3]),
    ],
}
for _name in NONLINEARITIES:
    CHAINS[f"FastGRNN of {_name}, {NEXT[_name]}"] = lambda n=_name: [FastGRNN(5, n, NEXT[n])]
    CHAINS[f"FastRNN of {_name}"] = lambda n=_name: [FastRNN(5, n)]
for _name in ["linear", "relu", "sigmoid", "softmax", "tanh", activations.quant_tanh]:
    CHAINS[f"head {getattr(_name, '__name__', _name)}"] = lambda n=_name: [
        FastGRNN(5),
        LAYERS.Dense(4, activation="relu"),
        LAYERS.Dense(6, activation=n, use_bias=n != "relu"),
    ]
