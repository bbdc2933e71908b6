"""Checkpoints as the authors' code writes them, with drawn weights, and what they compute."""

import numpy as np
import paper

D, H, T, B, CLASSES = 3, 5, 7, 4, 2

# What the authors' trainers call the files.
FILES = {
    "kernel": "W",
    "kernel_left": "W1",
    "kernel_right": "W2",
    "recurrent_kernel": "U",
    "recurrent_kernel_left": "U1",
    "recurrent_kernel_right": "U2",
    "gate_bias": "Bg",
    "candidate_bias": "Bh",
    "bias": "B",
    "zeta_logit": "zeta",
    "nu_logit": "nu",
    "alpha_logit": "alpha",
    "beta_logit": "beta",
}


def write(folder, arrays):
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)


def draw(*shape, seed=0, scale=0.5):
    return np.random.default_rng(seed).normal(0.0, scale, shape).astype("float32")


def fastgrnn_arrays(input_dim=D, units=H) -> dict:
    """The files of a FastGRNN run of the authors' example, without mean and std."""
    shapes = {
        "W": (input_dim, units),
        "U": (units, units),
        "Bg": (1, units),
        "Bh": (1, units),
        "zeta": (1, 1),
        "nu": (1, 1),
        "FC": (units, CLASSES),
        "FCbias": (CLASSES,),
    }
    return {name: draw(*shape, seed=i) for i, (name, shape) in enumerate(shapes.items())}


def expected_logits(arrays, x, **arguments):
    """What the paper says, in NumPy: the classifier on the last state."""
    weights = {ours: arrays[file] for ours, file in FILES.items() if file in arrays}
    last = paper.states(weights, x, **arguments)[:, -1]
    return last @ arrays["FC"].astype("float64") + arrays["FCbias"]
