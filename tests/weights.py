"""Weights of a layer by name, the same in both flavors."""

import numpy as np


def variables(layer) -> dict:
    """Returns the weights of a layer with one cell, by the names of `paper.states`."""
    return {weight.name.split("/")[-1].split(":")[0]: weight for weight in layer.trainable_weights}


def arrays(layer) -> dict[str, np.ndarray]:
    """Returns copies of the weights, by name."""
    return {name: np.asarray(variable).copy() for name, variable in variables(layer).items()}


def assign(layer, values):
    """Gives each weight of the layer the array of its name; both have the same names."""
    named = variables(layer)
    assert named.keys() == values.keys()
    for name, variable in named.items():
        variable.assign(np.reshape(values[name], variable.shape))


def randomize(layer, seed=0, scale=0.5):
    """Draws every weight, also biases and scalars, so that no term of the equations vanishes."""
    rng = np.random.default_rng(seed)
    for weight in layer.trainable_weights:
        weight.assign(rng.normal(0.0, scale, tuple(weight.shape)))
