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
    "RNN of Keras's cells": lambda: [
        LAYERS.RNN([LAYERS.LSTMCell(4), LAYERS.GRUCell(3), LAYERS.SimpleRNNCell(5)])
    ],
    "RNN of cells of both": lambda: [
        LAYERS.RNN([FastGRNNCell(4), LAYERS.LSTMCell(3), FastRNNCell(2), LAYERS.GRUCell(4)])
    ],
    "layers of both, every step": lambda: [
        LAYERS.LSTM(4, return_sequences=True),
        FastGRNN(3, return_sequences=True),
        LAYERS.SimpleRNN(4, return_sequences=True),
    ],
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
KERAS_LAYERS = {
    "SimpleRNN": LAYERS.SimpleRNN,
    "GRU": LAYERS.GRU,
    "GRU that resets before": lambda *args, **kw: LAYERS.GRU(*args, reset_after=False, **kw),
    "LSTM": LAYERS.LSTM,
}
# What a layer's step shares with those of the others is drawn with one or two of them.
ACTIVATIONS_OF_KERAS_LAYERS = {
    "SimpleRNN": ["linear", "relu", "sigmoid", "softmax", activations.quant_tanh],
    "GRU": ["relu", activations.quant_tanh],
    "GRU that resets before": ["linear", "sigmoid"],
    "LSTM": ["relu", "softmax", activations.quant_tanh],
}
for _name, _layer in KERAS_LAYERS.items():
    CHAINS[_name] = lambda k=_layer: [k(5)]
    CHAINS[f"{_name} without bias"] = lambda k=_layer: [k(5, use_bias=False)]
    for _activation in ACTIVATIONS_OF_KERAS_LAYERS[_name]:
        _title = getattr(_activation, "__name__", _activation)
        CHAINS[f"{_name} of {_title}"] = lambda k=_layer, f=_activation: [k(5, f)]
CHAINS["FastRNN of leaky_relu"] = lambda: [FastRNN(5, "leaky_relu")]
CHAINS["GRU of leaky_relu"] = lambda: [LAYERS.GRU(5, "leaky_relu")]
CHAINS["leaky layers"] = lambda: [
    LAYERS.Dense(4),
    LAYERS.LeakyReLU(),
    FastGRNN(5, return_sequences=True),
    LAYERS.PReLU(shared_axes=[1]),
    LAYERS.Dense(3),
]
CHAINS["LSTM and head"] = lambda: [LAYERS.LSTM(5), LAYERS.Dense(2)]
for _name in ("GRU", "LSTM"):
    CHAINS[f"{_name} unrolled"] = lambda k=KERAS_LAYERS[_name]: [k(5, unroll=True)]
    CHAINS[f"{_name} stacked"] = lambda k=KERAS_LAYERS[_name]: [k(4, return_sequences=True), k(3)]
    CHAINS[f"{_name} after Normalization"] = lambda k=KERAS_LAYERS[_name]: [
        LAYERS.Normalization(mean=[0.1, -2.0, 3.0], variance=[4.0, 0.25, 1.0]),
        k(5),
    ]
    CHAINS[f"{_name} with dropout"] = lambda k=KERAS_LAYERS[_name]: [
        k(5, dropout=0.5, recurrent_dropout=0.5)
    ]
for _gate in ["tanh", "linear", "hard_sigmoid", activations.quant_sigmoid4]:
    _title = getattr(_gate, "__name__", _gate)
    CHAINS[f"GRU with gates of {_title}"] = lambda f=_gate: [LAYERS.GRU(5, "tanh", f)]
    CHAINS[f"LSTM with gates of {_title}"] = lambda f=_gate: [LAYERS.LSTM(5, "tanh", f)]
for _name in NONLINEARITIES:
    CHAINS[f"FastGRNN of {_name}, {NEXT[_name]}"] = lambda n=_name: [FastGRNN(5, n, NEXT[n])]
    CHAINS[f"FastRNN of {_name}"] = lambda n=_name: [FastRNN(5, n)]
for _name in ["leaky_relu", "linear", "relu", "sigmoid", "softmax", "tanh", activations.quant_tanh]:
    CHAINS[f"head {getattr(_name, '__name__', _name)}"] = lambda n=_name: [
        FastGRNN(5),
        LAYERS.Dense(4, activation="relu"),
        LAYERS.Dense(6, activation=n, use_bias=n != "relu"),
    ]

# Those of which no other one has the same step, but for its weights.
DIFFERENT_STEPS = {
    name: layers
    for name, layers in CHAINS.items()
    if not name.endswith(("unrolled", "ropout", "RNN of a cell", " and head"))
}
