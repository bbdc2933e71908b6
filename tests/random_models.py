"""Random models of what the exporter takes: hypothesis draws a description, Keras builds it."""

import numpy as np
from hypothesis import strategies as st

from keras_fastgrnn import FastGRNN, FastGRNNCell, FastRNN, FastRNNCell, activations, keras

OURS = {"FastGRNN": (FastGRNN, FastGRNNCell), "FastRNN": (FastRNN, FastRNNCell)}
KERAS = {
    "SimpleRNN": (keras.layers.SimpleRNN, keras.layers.SimpleRNNCell),
    "GRU": (keras.layers.GRU, keras.layers.GRUCell),
    "LSTM": (keras.layers.LSTM, keras.layers.LSTMCell),
}
KINDS = {**OURS, **KERAS}
ACTIVATIONS = ["tanh", "sigmoid", "relu", "quant_tanh", "quant_sigmoid", "quant_sigmoid4"]
ACTIVATIONS.append("hard_sigmoid")
HEADS = [None, "linear", "relu", "sigmoid", "softmax"]


@st.composite
def cell_arguments(draw, input_dim):
    """The kind of a cell, most of them ours, and its arguments on that many channels."""
    kind = draw(st.sampled_from([*OURS, *OURS, *KERAS]))
    units = draw(st.integers(1, 12))
    arguments = {
        "units": units,
        "activation": draw(st.sampled_from(ACTIVATIONS)),
        "use_bias": draw(st.booleans()),
    }
    if kind in OURS:
        arguments["kernel_rank"] = draw(st.none() | st.integers(1, min(units, input_dim)))
        arguments["recurrent_rank"] = draw(st.none() | st.integers(1, units))
    if kind not in ("FastRNN", "SimpleRNN"):
        # A gate above 1 lets the state explode, surely so with the larger kernels of Keras.
        gates = [name for name in ACTIVATIONS if kind in OURS or name != "relu"]
        arguments["recurrent_activation"] = draw(st.sampled_from(gates))
        if arguments["recurrent_activation"] == "relu":
            arguments["bias_initializer"] = "zeros"
    if kind == "GRU":
        arguments["reset_after"] = draw(st.booleans())
    return kind, arguments


@st.composite
def descriptions(draw, cell_count):
    """Description of a model with that many cells: a dictionary for `build`."""
    input_dim = draw(st.integers(1, 9))
    cells = [draw(cell_arguments(input_dim))]
    while len(cells) < cell_count:
        cells.append(draw(cell_arguments(cells[-1][1]["units"])))
    may_explode = any(
        arguments.get("recurrent_activation") == "relu"
        or (kind in KERAS and arguments["activation"] == "relu")
        for kind, arguments in cells
    )
    return {
        "seed": draw(st.integers(0, 2**16)),
        "input_dim": input_dim,
        "rescaling": draw(st.none() | st.sampled_from([0.5, 1.0])),
        "normalization": draw(st.booleans()),
        "cells": cells,
        "one_layer": draw(st.booleans()),
        "head": draw(st.sampled_from(HEADS)),
        "classes": draw(st.integers(1, 6)),
        "spread": draw(st.sampled_from([0.05, 0.1] if may_explode else [0.1, 0.3, 0.6])),
    }


def build(description, steps):
    """Builds the described Keras model, and data of its input's shape to calibrate it with."""
    rng = np.random.default_rng(description["seed"])
    keras.utils.set_random_seed(description["seed"])
    input_dim = description["input_dim"]
    layers = [keras.layers.Input((steps, input_dim))]
    if description["rescaling"] is not None:
        layers.append(keras.layers.Rescaling(description["rescaling"], offset=0.25))
    if description["normalization"]:
        mean, deviation = rng.normal(size=input_dim), rng.uniform(0.5, 2.0, input_dim)
        layers.append(keras.layers.Normalization(mean=mean, variance=deviation**2))
    layers += _recurrent_layers(description["cells"], description["one_layer"])
    if description["head"] is not None:
        layers.append(keras.layers.Dense(description["classes"], activation=description["head"]))
    model = keras.Sequential(layers)
    randomize(model, rng, description["spread"])
    return model, rng.normal(size=(4, steps, input_dim)).astype("float32")


def _recurrent_layers(cells, one_layer):
    if one_layer:
        built = [KINDS[kind][1](**_with_functions(arguments)) for kind, arguments in cells]
        return [keras.layers.RNN(built if len(built) > 1 else built[0])]
    return [
        KINDS[kind][0](**_with_functions(arguments), return_sequences=index < len(cells) - 1)
        for index, (kind, arguments) in enumerate(cells)
    ]


def _with_functions(arguments):
    """Keras's own cells do not know our activations by their bare names."""
    functions = {k: activations.get(v) for k, v in arguments.items() if k.endswith("activation")}
    return {**arguments, **functions}


def randomize(model, rng, spread=0.3):
    """Adds normal noise to every trainable weight, as training would move it."""
    for variable in model.trainable_weights:
        variable.assign_add(rng.normal(0.0, spread, variable.shape).astype("float32"))
