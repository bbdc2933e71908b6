"""Random models of what the exporter takes: hypothesis draws a description, Keras builds it."""

import numpy as np
from hypothesis import strategies as st

from keras_fastgrnn import FastGRNN, FastGRNNCell, FastRNN, FastRNNCell, keras

ACTIVATIONS = ["tanh", "sigmoid", "relu", "quant_tanh", "quant_sigmoid", "quant_sigmoid4"]
HEADS = [None, "linear", "relu", "sigmoid", "softmax"]


@st.composite
def cell_arguments(draw, input_dim):
    """Arguments of a cell on inputs of that many channels; one without a gate is a FastRNN."""
    units = draw(st.integers(1, 12))
    arguments = {
        "units": units,
        "activation": draw(st.sampled_from(ACTIVATIONS)),
        "use_bias": draw(st.booleans()),
        "kernel_rank": draw(st.none() | st.integers(1, min(units, input_dim))),
        "recurrent_rank": draw(st.none() | st.integers(1, units)),
    }
    if draw(st.booleans()):
        arguments["recurrent_activation"] = draw(st.sampled_from(ACTIVATIONS))
        if arguments["recurrent_activation"] == "relu":  # a gate above 1 lets the state explode
            arguments["bias_initializer"] = "zeros"
    return arguments


@st.composite
def descriptions(draw, cell_count):
    """Description of a model with that many cells: a dictionary for `build`."""
    input_dim = draw(st.integers(1, 9))
    cells = [draw(cell_arguments(input_dim))]
    while len(cells) < cell_count:
        cells.append(draw(cell_arguments(cells[-1]["units"])))
    unbounded_gate = any(cell.get("recurrent_activation") == "relu" for cell in cells)
    return {
        "seed": draw(st.integers(0, 2**16)),
        "input_dim": input_dim,
        "rescaling": draw(st.none() | st.sampled_from([0.5, 1.0])),
        "normalization": draw(st.booleans()),
        "cells": cells,
        "one_layer": draw(st.booleans()),
        "head": draw(st.sampled_from(HEADS)),
        "classes": draw(st.integers(1, 6)),
        "spread": draw(st.sampled_from([0.05, 0.1] if unbounded_gate else [0.1, 0.3, 0.6])),
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
    gated = ["recurrent_activation" in arguments for arguments in cells]
    if one_layer:
        kinds = [FastGRNNCell if gate else FastRNNCell for gate in gated]
        built = [kind(**arguments) for kind, arguments in zip(kinds, cells, strict=True)]
        return [keras.layers.RNN(built if len(built) > 1 else built[0])]
    kinds = [FastGRNN if gate else FastRNN for gate in gated]
    return [
        kind(**arguments, return_sequences=index < len(cells) - 1)
        for index, (kind, arguments) in enumerate(zip(kinds, cells, strict=True))
    ]


def randomize(model, rng, spread=0.3):
    """Adds normal noise to every trainable weight, as training would move it."""
    for variable in model.trainable_weights:
        variable.assign_add(rng.normal(0.0, spread, variable.shape).astype("float32"))
