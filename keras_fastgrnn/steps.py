"""The equations of the two cells, each written once.

A step is plain arithmetic with Python's operators. Keras tensors run through it in training,
NumPy arrays in a check, and the exporter's symbols when it is traced into a graph. The tap
`tap(name, value)` sees every value that is a tensor on the device and returns the value to go on
with: itself in float training, and a named tensor in a trace.

The state inside a step is `g = h / unit`, where `unit` is zeta (FastGRNN) or alpha (FastRNN). This
is an exact identity that saves the device one multiplication; the cell's boundary says `h = unit
* g`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Tap = Callable[[str, Any], Any]


def no_tap(name: str, value: Any) -> Any:
    """The tap of float training: returns `value` as it is."""
    return value


@dataclass(frozen=True)
class StepWeights:
    """What both steps read.

    A kernel is a tuple of one matrix, or of two low-rank factors, applied from the left:
    `x @ kernel[0] @ kernel[1]`. `recurrent_mask` is the dropout mask of the state, or `None`.
    """

    kernel: tuple
    recurrent_kernel: tuple
    activation: Callable
    recurrent_mask: Any


@dataclass(frozen=True)
class FastRNNWeights(StepWeights):
    """What a FastRNN step reads."""

    bias: Any
    alpha: Any
    beta: Any

    @property
    def unit(self):
        return self.alpha


@dataclass(frozen=True)
class FastGRNNWeights(StepWeights):
    """What a FastGRNN step reads."""

    recurrent_activation: Callable
    gate_bias: Any
    candidate_bias: Any
    zeta: Any
    nu: Any

    @property
    def unit(self):
        return self.zeta


def _product(value, kernel, name: str, tap: Tap):
    *first, last = kernel
    for factor in first:
        value = tap(name, value @ factor)
    return value @ last


def _sum_of_products(x, g, bias, w, tap: Tap):
    h = w.unit * g
    if w.recurrent_mask is not None:
        h = h * w.recurrent_mask
    from_input = _product(x, w.kernel, "kernel_projection", tap)
    from_state = _product(h, w.recurrent_kernel, "recurrent_projection", tap)
    return tap("kernel_product", from_input) + tap("recurrent_product", from_state + bias)


def fastrnn_step(x, g, w: FastRNNWeights, tap: Tap = no_tap):
    """One step of FastRNN (Kusupati et al. 2018, section 3.1), on `g = h / alpha`.

    `c = f(W x + U h + b)`, `h' = alpha * c + beta * h`.

    Args:
        x: Input of this step, shape `(batch, input_dim)`.
        g: State before this step over alpha, shape `(batch, units)`.
        w: The weights.
        tap: Called with the name and value of every tensor of the device.

    Returns:
        State after this step over alpha, shape `(batch, units)`.
    """
    candidate_pre = tap("candidate_pre", _sum_of_products(x, g, w.bias, w, tap))
    candidate = tap("candidate", w.activation(candidate_pre))
    return tap("state", candidate + tap("kept", w.beta * g))


def fastgrnn_step(x, g, w: FastGRNNWeights, tap: Tap = no_tap):
    """One step of FastGRNN (Kusupati et al. 2018, section 3.2), on `g = h / zeta`.

    `z = s(W x + U h + b_z)`, `c = f(W x + U h + b_h)`,
    `h' = (zeta * (1 - z) + nu) * c + z * h`, which over zeta is
    `g' = z * (g - c) + (1 + nu / zeta) * c`.

    Args:
        x: Input of this step, shape `(batch, input_dim)`.
        g: State before this step over zeta, shape `(batch, units)`.
        w: The weights.
        tap: Called with the name and value of every tensor of the device.

    Returns:
        State after this step over zeta, shape `(batch, units)`.
    """
    gate_pre = tap("gate_pre", _sum_of_products(x, g, w.gate_bias, w, tap))
    gate = tap("gate", w.recurrent_activation(gate_pre))
    candidate_pre = tap("candidate_pre", gate_pre + (w.candidate_bias - w.gate_bias))
    candidate = tap("candidate", w.activation(candidate_pre))
    kept = tap("kept", gate * tap("difference", g - candidate))
    added = tap("added", (1.0 + w.nu / w.zeta) * candidate)
    return tap("state", kept + added)
