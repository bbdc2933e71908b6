"""The paper's equations in float64 NumPy, and cases that the authors' own cells computed.

Written from Kusupati et al. 2018, sections 3.1 and 3.2, in the form for h. Nothing here comes from
keras_fastgrnn, so what it returns may be the expected value of a test.
"""

import csv
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

IS_TF_KERAS = os.environ.get("TF_USE_LEGACY_KERAS") == "1"

FIXTURES = Path(__file__).parent / "fixtures"

ACTIVATIONS = {
    "linear": lambda v: v,
    "leaky_relu": lambda v: np.where(v > 0.0, v, 0.2 * v),
    "relu": lambda v: np.maximum(v, 0.0),
    "hard_sigmoid": lambda v: np.clip(0.2 * v + 0.5 if IS_TF_KERAS else v / 6.0 + 0.5, 0.0, 1.0),
    "sigmoid": lambda v: 1.0 / (1.0 + np.exp(-v)),
    "tanh": np.tanh,
    "quant_tanh": lambda v: np.clip(v, -1.0, 1.0),
    "quant_sigmoid": lambda v: np.clip((v + 1.0) / 2.0, 0.0, 1.0),
    "quant_sigmoid4": lambda v: np.clip((v + 2.0) / 4.0, 0.0, 1.0),
}

_OUR_NAMES = {
    "W": "kernel",
    "W1": "kernel_left",
    "W2": "kernel_right",
    "U": "recurrent_kernel",
    "U1": "recurrent_kernel_left",
    "U2": "recurrent_kernel_right",
    "B_g": "gate_bias",
    "B_h": "candidate_bias",
    "zeta": "zeta_logit",
    "nu": "nu_logit",
    "alpha": "alpha_logit",
    "beta": "beta_logit",
}


def states(weights, x, h=None, activation="tanh", recurrent_activation="sigmoid", mask=None):
    """Returns the state after every step, shape `(batch, steps, units)`.

    `weights` are arrays by name; those of FastGRNN have a `zeta_logit`. Where `mask` is false, the
    state stays.
    """
    w = {name: np.asarray(value, "float64") for name, value in weights.items()}
    kernel, recurrent_kernel = _matrix(w, "kernel"), _matrix(w, "recurrent_kernel")
    f, g = ACTIVATIONS[activation], ACTIVATIONS[recurrent_activation]
    x = np.asarray(x, "float64")
    h = np.zeros((len(x), kernel.shape[1])) if h is None else np.asarray(h, "float64")
    history = []
    for t in range(x.shape[1]):
        pre = x[:, t] @ kernel + h @ recurrent_kernel
        if "zeta_logit" in w:
            zeta, nu = _scalar(w["zeta_logit"]), _scalar(w["nu_logit"])
            z = g(pre + w.get("gate_bias", 0.0))
            candidate = f(pre + w.get("candidate_bias", 0.0))
            new = (zeta * (1.0 - z) + nu) * candidate + z * h
        else:
            alpha, beta = _scalar(w["alpha_logit"]), _scalar(w["beta_logit"])
            candidate = f(pre + w.get("bias", 0.0))
            new = alpha * candidate + beta * h
        h = new if mask is None else np.where(mask[:, t, None], new, h)
        history.append(h)
    return np.stack(history, axis=1)


def _matrix(weights, name):
    if name in weights:
        return weights[name]
    return weights[f"{name}_left"] @ weights[f"{name}_right"]


def _scalar(logit):
    return ACTIVATIONS["sigmoid"](logit.reshape(()))


@dataclass(frozen=True)
class AuthorsCase:
    """One case of the authors' cells: what was asked, what went in, and the states they gave."""

    cell: str
    arguments: dict
    weights: dict
    x: np.ndarray
    h0: np.ndarray
    h: np.ndarray

    def __str__(self):
        return "-".join([self.cell, *map(str, self.arguments.values())])


def authors_cases() -> list[AuthorsCase]:
    """Returns the cases in `fixtures/edgeml_cells.txt`, with their numbers."""
    arrays = np.load(FIXTURES / "edgeml_cells.npz")
    with open(FIXTURES / "edgeml_cells.txt", encoding="utf-8") as table:
        rows = list(csv.DictReader(line for line in table if not line.startswith("#")))
    return [_authors_case(arrays, **row) for row in rows]


def _authors_case(arrays, number, cell, **arguments):
    prefix = f"{number}/"
    values = {n.removeprefix(prefix): arrays[n] for n in arrays.files if n.startswith(prefix)}
    x, h0, h = (values.pop(name) for name in ("x", "h0", "h"))
    weights = {_OUR_NAMES[name]: value for name, value in values.items()}
    if cell == "FastRNN":
        weights["bias"] = weights.pop("candidate_bias")
    arguments = {name: int(v) if v.isdigit() else v for name, v in arguments.items() if v}
    return AuthorsCase(cell, arguments, weights, x, h0, h)
