"""Tensor, Op, Graph: the computation of one time step, nothing but data."""

import dataclasses
import math
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import numpy.typing as npt

from keras_fastgrnn.graph.feeding import STEP_BY_STEP, Feeding
from keras_fastgrnn.graph.weight_expressions import WeightExpression


@dataclass(eq=False)
class Tensor:
    """A value of the graph. Two tensors are the same only if they are one object.

    Attributes:
        name: String, for reports and errors; empty where nothing named the value.
        shape: Tuple of integers, the shape in one time step with a batch of 1.
        dtype: String, "float32", "int8", "int16", "int32", "int64" or "bool".
        scale: Float, the real value of integer 1, or `None` for a float. Weights may have an
            array of scales, one for each row, that their values can be divided by.
        zero_point: Integer that stands for 0.
        seen: The smallest and the largest value that calibration, or quantization-aware training,
            saw of it, or `None` where that is not known. They are infinite where training went
            beyond what the tensor holds, and was clipped, in an unknown measure.
        rarely: Float, the part of its values that may leave that range on the same data.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    scale: float | np.ndarray | None = None
    zero_point: int = 0
    seen: tuple[float, float] | None = None
    rarely: float = 0.0

    @property
    def is_constant(self) -> bool:
        return isinstance(self, Constant)

    @property
    def unit(self) -> float:
        """The scale of integers that have one."""
        if not isinstance(self.scale, float):
            raise ValueError(f"{self.name or 'A tensor'} has the scale {self.scale}, not one unit")
        return self.scale

    @property
    def scales(self) -> np.ndarray:
        """The scale of integers, or that of each row, as their values can be divided by."""
        if self.scale is None:
            raise ValueError(f"{self.name or 'A tensor'} is of floats, which have no scale")
        return np.asarray(self.scale)


@dataclass(eq=False)
class Constant(Tensor):
    """A value that is the same in every time step.

    Attributes:
        data: Array of its values, or a `WeightExpression`, which NumPy takes for one, while it is
            trained. A float constant is kept in float64 until it is written.
    """

    data: np.ndarray = field(kw_only=True)


def constant(data: npt.ArrayLike | WeightExpression) -> Constant:
    """Returns a float constant; a single number has the shape `(1,)`.

    Args:
        data: Array, `WeightExpression` or number.
    """
    if isinstance(data, WeightExpression):
        values = cast(np.ndarray, data)
    else:
        values = np.ascontiguousarray(data, np.float64)
    values = values.reshape(1) if values.ndim == 0 else values
    return Constant("", values.shape, data=values)


@dataclass(eq=False)
class Op:
    """One operator, named as in TFLite's schema; `CLIP` alone is ours, until it is fused.

    Attributes:
        kind: String, such as "FULLY_CONNECTED".
        inputs: List of tensors. FULLY_CONNECTED has the input, the weights, and the bias where
            there is one.
        output: Tensor.
        low, high: Floats, the limits to which the result is clipped; infinite for none.
        start: Integer, the place of the first entry of the input that SLICE takes.
    """

    kind: str
    inputs: list[Tensor]
    output: Tensor
    low: float = -math.inf
    high: float = math.inf
    start: int = 0

    @property
    def outputs(self) -> list[Tensor]:
        return [self.output]

    @property
    def constants(self) -> list[Constant]:
        return [tensor for tensor in self.inputs if isinstance(tensor, Constant)]

    @property
    def weights(self) -> Constant:
        """The matrix of a FULLY_CONNECTED, of shape `(units, inputs)`."""
        return self.constants[0]

    @property
    def bias(self) -> Constant | None:
        """The bias of a FULLY_CONNECTED, or `None`."""
        return self.constants[1] if len(self.constants) == 2 else None

    @property
    def is_clipped(self) -> bool:
        return (self.low, self.high) != (-math.inf, math.inf)


@dataclass(eq=False)
class State:
    """A value kept from one time step to the next.

    Attributes:
        before: Tensor that the step reads; zero at the start of a sequence.
        after: Tensor that the step computes.
    """

    before: Tensor
    after: Tensor


@dataclass(eq=False)
class Graph:
    """One time step.

    Attributes:
        inputs: List of tensors given from outside.
        outputs: List of tensors returned.
        ops: List of `Op` in the order they run.
        states: List of `State`.
        feeding: `Feeding`.
    """

    inputs: list[Tensor]
    outputs: list[Tensor]
    ops: list[Op] = field(default_factory=list)
    states: list[State] = field(default_factory=list)
    feeding: Feeding = STEP_BY_STEP

    @property
    def input_dim(self) -> int:
        """How many channels a frame of the input has."""
        return self.inputs[0].shape[-1] // self.feeding.frames

    def copy(self) -> "Graph":
        """Returns a graph of its own operators and lists on the same tensors."""
        return dataclasses.replace(
            self,
            inputs=list(self.inputs),
            outputs=list(self.outputs),
            ops=[dataclasses.replace(op, inputs=list(op.inputs)) for op in self.ops],
            states=[dataclasses.replace(state) for state in self.states],
        )

    def producer(self, tensor: Tensor) -> Op | None:
        """Returns the operator that computes a tensor, or `None` for inputs and states."""
        return next((op for op in self.ops if op.output is tensor), None)

    def computing(self, tensor: Tensor) -> Op:
        """Returns the operator that computes a tensor which an operator does compute."""
        op = self.producer(tensor)
        if op is None:
            raise ValueError(f"No operator computes {tensor.name}")
        return op

    def consumers(self, tensor: Tensor) -> list[Op]:
        """Returns the operators that read a tensor, in the order they run."""
        return [op for op in self.ops if any(value is tensor for value in op.inputs)]

    def sources_of_states(self) -> set[Tensor]:
        """Returns the states after a step, and all tensors that they are computed from."""
        sources = {state.after for state in self.states}
        for op in reversed(self.ops):
            if op.output in sources:
                sources.update(op.inputs)
        return sources

    def is_kept(self, tensor: Tensor) -> bool:
        """Returns whether `tensor` is read from outside the step: an output or a state."""
        kept = [*self.outputs, *(state.after for state in self.states)]
        return any(tensor is value for value in kept)

    def replace(self, old: Tensor, new: Tensor) -> None:
        """Lets everything that reads `old` read `new`."""
        for op in self.ops:
            op.inputs = [new if value is old else value for value in op.inputs]
        self.outputs = [new if value is old else value for value in self.outputs]
        for state in self.states:
            if state.after is old:
                state.after = new

    def tensors(self) -> list[Tensor]:
        """Returns every tensor once: inputs, states, then in the order of the operators."""
        found = {id(t): t for t in [*self.inputs, *(state.before for state in self.states)]}
        for op in self.ops:
            for tensor in (*op.inputs, op.output):
                found.setdefault(id(tensor), tensor)
        return list(found.values())


def name_tensors(graph: Graph) -> None:
    """Gives every tensor that nothing named a name from its operator."""
    for index, op in enumerate(graph.ops):
        op.output.name = op.output.name or f"{op.kind.lower()}_{index}"
        for tensor in op.inputs:
            if tensor.is_constant:
                tensor.name = f"{op.output.name}/constant"
