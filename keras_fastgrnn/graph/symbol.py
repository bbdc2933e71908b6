"""A tensor of a graph in the making: what a step's arithmetic does to it becomes operators."""

from collections.abc import Callable

import numpy as np

from keras_fastgrnn import activations
from keras_fastgrnn.activations import LEAKY_SLOPE, PIECEWISE_LINEAR
from keras_fastgrnn.graph.feeding import EVERY_FRAME, Pace
from keras_fastgrnn.graph.graph import Graph, Op, Tensor, constant
from keras_fastgrnn.graph.weight_expressions import is_always


class UnfitInputsError(ValueError):
    """Inputs that an operator cannot take; the message says why, and what to do."""


class Symbol:
    """A tensor of the graph in the making, with the operators a step uses.

    Attributes:
        graph: `Graph`.
        tensor: `Tensor` of it.
        pace: `Pace` of the frames that it holds.
    """

    __array_ufunc__ = None

    def __init__(self, graph: Graph, tensor: Tensor, pace: Pace = EVERY_FRAME):
        self.graph = graph
        self.tensor = tensor
        self.pace = pace

    def _emit(self, kind, *operands, shape=None, **options):
        widths = {one.tensor.shape[-1] for one in operands if isinstance(one, Symbol)}
        if len(widths) > 1 and shape is None:
            few, many = min(widths), max(widths)
            raise UnfitInputsError(f"its inputs have {few} and {many} channels; give them as many")
        inputs = [_operand(kind, operand, self) for operand in operands]
        output = Tensor("", shape or self.tensor.shape)
        self.graph.ops.append(Op(kind, inputs, output, **options))
        paces = [one.pace for one in (self, *operands) if isinstance(one, Symbol)]
        return Symbol(self.graph, output, max(paces, key=_how_far))

    def __add__(self, other):
        return self if _is_all(other, 0) else self._emit("ADD", self, other)

    def __radd__(self, other):
        return self + other

    def __sub__(self, other):
        return self._emit("SUB", self, other) if isinstance(other, Symbol) else self + -other

    def __rsub__(self, other):
        return self * -1.0 + other

    def __mul__(self, other):
        return self if _is_all(other, 1) else self._emit("MUL", self, other)

    def __rmul__(self, other):
        return self * other

    def __matmul__(self, matrix):
        if self.pace.frames > 1:
            matrix = np.kron(np.eye(self.pace.frames), matrix)
        return self.in_a_product(matrix)

    def in_a_product(self, matrix) -> "Symbol":
        """Multiplies all that it holds by a matrix with a row for each entry."""
        weights = matrix.T
        return self._emit("FULLY_CONNECTED", self, weights, shape=(1, len(weights)))

    def larger(self, other: "Symbol") -> "Symbol":
        """Takes the larger of two, entry by entry."""
        return self._emit("MAXIMUM", self, other)

    def followed_by(self, *others: "Symbol") -> "Symbol":
        """Puts vectors one after another."""
        if self.pace.frames > 1:
            raise UnfitInputsError(
                f"it joins channels of {self.pace.frames} frames at once; let it do so after the "
                "strides"
            )
        return self.before_frames(*others)

    def before_frames(self, *others: "Symbol") -> "Symbol":
        """Puts vectors one after another, whatever frames they hold."""
        width = sum(one.tensor.shape[-1] for one in (self, *others))
        return self._emit("CONCATENATION", self, *others, shape=(1, width))

    def part(self, start: int, width: int) -> "Symbol":
        """Takes entries that lie one after another.

        Args:
            start: Integer, the place of the first.
            width: Integer, how many.
        """
        return self._emit("SLICE", self, shape=(1, width), start=start)

    def channels(self, taken: slice) -> "Symbol":
        """Takes some channels that lie one after another."""
        if self.pace.frames > 1:
            raise UnfitInputsError(
                f"it takes channels of {self.pace.frames} frames at once; let it do so after the "
                "strides"
            )
        places = range(self.tensor.shape[-1])[taken]
        return self.part(places.start, len(places))

    def one_frame(self) -> "Symbol":
        """Returns itself, for layers of which a step computes one frame alone."""
        if self.pace.frames > 1:
            raise UnfitInputsError(
                f"a step has {self.pace.frames} frames of it; put the layers that stride before it"
            )
        return self

    def times_number(self, number: "Symbol") -> "Symbol":
        """Multiplies all entries by a vector of one."""
        return self._emit("MUL", self, number, shape=self.tensor.shape)

    def leaky(self, slope) -> "Symbol":
        """Multiplies what is negative by a slope.

        Args:
            slope: Number or array of one for each channel, between -1 and 1.
        """
        if _is_all(slope, 0):
            return self.activate("relu")
        return self._emit("MAXIMUM", self, self * slope)

    def up_to(self, largest: float) -> "Symbol":
        """Clips to [0, largest], as a ramp to 1 that is multiplied."""
        ramp = self * (1.0 / largest)
        return ramp._emit("CLIP", ramp, low=0.0, high=1.0) * largest

    def appended(self, step: Graph, prefix: str) -> "Symbol":
        """Adds the operators and states of another graph, which read this tensor for its input.

        Args:
            step: Float `Graph` of one input and one output, of tensors of its own.
            prefix: String, what comes before the names of its tensors.

        Returns:
            `Symbol` of its output.
        """
        for tensor in step.tensors():
            tensor.name = f"{prefix}{tensor.name}" if tensor.name else ""
        step.replace(step.inputs[0], self.tensor)
        self.graph.ops += step.ops
        self.graph.states += step.states
        return Symbol(self.graph, step.outputs[0], self.pace)

    def activate(self, name: str):
        """Applies the activation of that name."""
        if name == "linear":
            return self
        if name == "leaky_relu":
            return self.leaky(LEAKY_SLOPE)
        if name == "relu6":
            return self.up_to(6.0)
        if name in ("silu", "swish"):
            return self * self.activate("sigmoid")
        line = PIECEWISE_LINEAR.get(name)
        if line is None:
            if name == "softmax" and self.pace.frames > 1:
                raise UnfitInputsError("a softmax before strides; leave it out")
            kind = {"sigmoid": "LOGISTIC", "tanh": "TANH", "softmax": "SOFTMAX"}[name]
            return self._emit(kind, self)
        ramp = (self + line.shift) * line.slope
        return ramp._emit("CLIP", ramp, low=line.low, high=line.high)


def _how_far(pace: Pace) -> tuple[int, int, bool]:
    """Of a state and a value the pace is that of the value, which knows more."""
    return len(pace.windows), pace.frames, pace.length is not None


def _operand(kind, value, beside: Symbol) -> Tensor:
    if isinstance(value, Symbol):
        return value.tensor
    if kind == "FULLY_CONNECTED":
        return constant(value)
    if np.size(value) == 1:
        return constant(np.ravel(value))
    each = np.reshape(value, (1, -1))
    return constant(np.tile(each, beside.pace.frames) if beside.pace.frames > 1 else each)


def _is_all(value, number) -> bool:
    return not isinstance(value, Symbol) and is_always(value, number)


def activated(function) -> Callable[[Symbol], Symbol]:
    """Returns what an activation does to symbols.

    Args:
        function: Activation, one of `keras_fastgrnn.activations.known`.
    """
    name = activations.known_name(function)
    return lambda symbol: symbol.activate(name)
