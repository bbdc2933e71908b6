"""What a recurrent step computes, rounded as on the device: its tensors and its weights.

A cell is traced once, by the exporter's own tracer, and its graph simplified by the exporter's own
rewrites. Training runs the operators of that graph: each is computed, clipped and rounded as the
device does with the operator of the file. Constants are expressions of the cell's weights.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from keras_fastgrnn.errors import UnsupportedOperatorError
from keras_fastgrnn.graph.cell_tracing import expressed, trace_cell
from keras_fastgrnn.graph.fixed_scales import Scale
from keras_fastgrnn.graph.graph import Constant, Graph, Op, State, Tensor, name_tensors
from keras_fastgrnn.graph.operators import operator_of
from keras_fastgrnn.graph.rewrite import fold_input_affine, fusible_products, simplify
from keras_fastgrnn.graph.symbol import Symbol
from keras_fastgrnn.graph.weight_expressions import WeightExpression, value_of
from keras_fastgrnn.keras_api import as_written, ops
from keras_fastgrnn.models import matrices_of
from keras_fastgrnn.quantization.fake_quantization import (
    BYTE_BIASES,
    WeightFormat,
    half_of_first_unit,
    power_of_two_at_least,
    round_matrix,
    round_to_integers,
    round_to_multiples,
)
from keras_fastgrnn.quantization.int16_scales import may_have_any_scale
from keras_fastgrnn.quantization.masked_steps import MaskedSteps
from keras_fastgrnn.quantization.ranged_groups import (
    Group,
    PartsOfSum,
    RangedGroup,
    reached_by,
    scale_of_group,
)
from keras_fastgrnn.quantization.trained_units import Unit, units_of
from keras_fastgrnn.replicas import widest_range

# What is halfway between two integers is rounded away from zero where it is larger by some units of
# float32.
_LARGER = 1.0 + 2.0**-22

# How many bits of 16 an input may give up so that one matrix can do for it and the state.
BITS_OF_JOINED_INPUT = 3


class StepQuantizer:
    """Rounds the tensors and weights of one cell's step.

    Attributes:
        graph: Float `Graph` of the step, with expressions of the cell's weights for constants.
        input_group: `RangedGroup` of the cell's input where the cell is its only reader, else
            `None`.
        is_joined: Boolean tensor, whether the device computes both products of a sum with one
            matrix, which then have no tensors of their own.

    Args:
        cell: Built cell of a class in `keras_fastgrnn.graph.cell_tracing.CELLS`.
        layer: Keras layer that owns the ranges, as non-trainable weights.
        options: `Options`, as in `keras_fastgrnn.quantization.aware_layers`.
        input_factor: Weight of shape `(input_dim,)`, by which the device multiplies the rows of
            the kernel. Defaults to `None`.
        input_constant: Weight of shape `(input_dim,)`, which is added after that. Defaults to
            `None`.
    """

    def __init__(self, cell, layer, options, input_factor=None, input_constant=None):
        self.options = options
        self.format = options.activation_format
        self.graph = _traced(cell, input_factor, input_constant)
        self._input, self._state = self.graph.inputs[0], self.graph.states[0]
        self._groups: dict[Tensor, Group | Scale] = {}
        self._ranged: list[RangedGroup] = []
        self._observers: dict[Tensor, list[RangedGroup]] = {}
        self._sums: list[tuple[Unit, PartsOfSum]] = []
        for unit in units_of(self.graph, self.format.dtype):
            self._declare(unit, layer)
        self._functions = {op: _function_of(op, cell) for op in self.graph.ops}
        self._joinable = _joinable_products(self.graph) if self.format.bits == 16 else []
        self.input_group: RangedGroup | Scale | None = None
        self._source: RangedGroup | Scale | None = None
        self.is_joined: Any = False
        self._constants: dict[Tensor, Any] = {}
        self._operands: dict[Tensor, Any] = {}
        self._nudges: dict[Tensor, Any] = {}
        self._training = False
        self._seen_in_step: dict[Tensor, Any] = {}
        self.masked_steps = MaskedSteps()

    def _declare(self, unit: Unit, layer) -> None:
        """Makes the group of a unit's tensors, and that of the parts of a sum in it."""
        group = unit.dictated
        if group is None:
            width = _common_width(unit.tensors)
            group = RangedGroup(
                f"{unit.name}_range", layer, self.format, width, unit.limit, unit.finest
            )
            self._ranged.append(group)
            self._observers |= {tensor: [group] for tensor in unit.tensors}
        self._groups |= dict.fromkeys(unit.tensors, group)
        if unit.parts:
            parts = PartsOfSum(
                f"{unit.name}_parts_range",
                layer,
                group,
                unit.limit,
                self.format,
                unit.parts[0].shape[-1],
                len(unit.parts),
            )
            self._sums.append((unit, parts))
            self._ranged.append(parts)
            self._groups |= dict(zip(unit.parts, parts.parts, strict=True))
            if isinstance(group, RangedGroup):
                self._observers |= {tensor: [group] for tensor in unit.parts}

    @property
    def ranges(self) -> list:
        """The weights that hold ranges, in the order they were made."""
        return [group.seen for group in self._ranged]

    def state_scale(self) -> Scale:
        """Returns the scale of the state, as tensors, of the range seen until now."""
        group = self._groups[self._state.after]
        if isinstance(group, RangedGroup):
            return group.current()
        return Scale(group.scale, group.zero_point)

    @as_written
    def begin(self, training: bool, source: RangedGroup | Scale | None = None) -> None:
        """Takes scales and rounded weights for the steps of one call of a layer.

        Args:
            training: Boolean, whether to widen ranges to what these steps show.
            source: What the cell's input is counted in. Defaults to `None`, what `input_group` is.
        """
        self._training = training
        self._source = source or self.input_group
        self._seen_in_step = {}
        self.masked_steps = MaskedSteps()
        known: dict = {}
        self._constants = {
            tensor: value_of(tensor.data, known) for op in self.graph.ops for tensor in op.constants
        }
        parts = [one for _, one in self._sums]
        for group in self._ranged:
            if group not in parts:
                group.begin()
        for unit, sum_parts in self._sums:
            added = [ops.max(ops.absolute(self._constants[tensor])) for tensor in unit.added]
            sum_parts.begin(sum(added, 0.0))
        for op in self.graph.ops:
            if operator_of(op.kind).has_matrix:
                matrix = op.inputs[1]
                self._constants[matrix] = round_matrix(self._constants[matrix], self.options)
        self._join()
        for op in self.graph.ops:
            self._round_constant(op)
        self._nudges = self._found_nudges() if self.format.bits == 8 else {}
        self._operands = dict(self._constants)
        for op in self.graph.ops:
            if operator_of(op.kind).has_matrix:  # once for all steps
                self._operands[op.inputs[1]] = ops.transpose(self._constants[op.inputs[1]])

    @as_written
    def end(self) -> None:
        """Gives all replicas the ranges of what any of them saw in the steps since `begin`."""
        for group in self._ranged if self._training else ():
            group.seen.assign(widest_range(ops.convert_to_tensor(group.seen)))

    def _group_of(self, tensor: Tensor) -> Group | Scale | None:
        return self._source if tensor is self._input else self._groups[tensor]

    def _weight_scale(self, matrix: Tensor):
        return self.options.weight_format.scale_of_rounded(self._constants[matrix])

    def _join(self) -> None:
        """Decides whether one matrix does for input and state, which saves two operators.

        It does where the input can have the scale at which both parts of the matrix fill their
        bits, a little coarser than its own.
        """
        self.is_joined = False
        if not self._joinable:
            return
        of_input, of_state = self._joinable
        source = self._group_of(of_input.inputs[0])
        if of_input.inputs[0] is self._input:
            source = self.input_group
        state = self._group_of(of_state.inputs[0])
        if not isinstance(source, RangedGroup) or state is None:
            return
        kernel, recurrent_kernel = (self._weight_scale(op.inputs[1]) for op in self._joinable)
        balanced = state.scale * recurrent_kernel / kernel
        ratio = balanced / source.scale
        self.is_joined = ops.logical_and(ratio >= 1.0, ratio <= 2.0**BITS_OF_JOINED_INPUT)
        scale = ops.where(self.is_joined, balanced, source.scale)
        source.set_scale(scale, source.zero_point)

    def _round_constant(self, op: Op) -> None:
        """Rounds a bias, or what is added to or multiplied with a tensor, as the file has it."""
        if operator_of(op.kind).has_matrix:
            for bias in op.inputs[2:]:
                self._constants[bias] = self._rounded_bias(op, self._constants[bias])
            return
        for tensor in filter(lambda tensor: tensor.is_constant, op.inputs):
            value = self._constants[tensor]
            if not operator_of(op.kind).adds:
                self._constants[tensor] = self._rounded_factor(value)
            elif self.options.byte_biases or self.format.bits == 8:
                self._constants[tensor] = self.options.constant_format.round(value)
            elif isinstance(self._groups[op.output], Scale):  # coarser: the sum is exact
                unit = self._groups[op.output].scale
                self._constants[tensor] = round_to_integers(value, unit, 0, self.format.bits)

    def _rounded_bias(self, op: Op, bias):
        """A bias is counted in the unit of the products of the matrix and what it multiplies."""
        if self.options.byte_biases:
            bias = BYTE_BIASES.round(bias)
        source = self._group_of(op.inputs[0])
        if source is None:
            return bias
        return round_to_multiples(bias, source.scale * self._weight_scale(op.inputs[1]))

    def _rounded_factor(self, value):
        """What multiplies a tensor: an int8, or 15 bits, in a unit that may have one more."""
        if self.format.bits == 8:
            return WeightFormat().round(value)
        largest = ops.max(ops.absolute(ops.stop_gradient(value)))
        return round_to_multiples(value, power_of_two_at_least(largest) * 2.0**-14)

    def _found_nudges(self) -> dict:
        """How far int8 results are from where rounding once would change.

        TFLite Micro rounds what it multiplies by a factor twice, first to a power of two of the
        result's unit: all that is within half of that from the middle of two integers goes away
        from zero.
        """
        nudges = {}
        for op in self.graph.ops:
            if not operator_of(op.kind).in_type("int8").rounds_twice:
                continue
            first, second = (self._scale_of_operand(op, tensor) for tensor in op.inputs[:2])
            if first is not None and second is not None:
                product = first * second
                nudges[op.output] = half_of_first_unit(product, self._groups[op.output].scale)
        return nudges

    def _scale_of_operand(self, op: Op, tensor: Tensor) -> Any:
        if not tensor.is_constant:
            group = self._group_of(tensor)
            return None if group is None else group.scale
        if operator_of(op.kind).has_matrix:
            return self._weight_scale(tensor)
        return ops.max(ops.absolute(self._constants[tensor])) / WeightFormat().largest

    @as_written
    def step(self, x, states: list, recurrent_mask=None) -> list:
        """Computes one step.

        Args:
            x: Tensor of shape `(batch, input_dim)`, rounded already.
            states: List of tensors of shape `(batch, units)`, the states before the step.
            recurrent_mask: Tensor of the shape of the first state that multiplies it where it
                enters a matrix, or `None`. Defaults to `None`.

        Returns:
            List of the states after the step.
        """
        values = {self._input: x}
        for state, value in zip(self.graph.states, states, strict=True):
            values[state.before] = value
        for op in self.graph.ops:
            operands = [
                self._operands[tensor] if tensor.is_constant else values[tensor]
                for tensor in op.inputs
            ]
            if recurrent_mask is not None and self._enters_matrix(op):
                operands[0] = operands[0] * recurrent_mask
            value = self._functions[op](*operands)
            values[op.output] = self._rounded(op, value, operands)
        self._end_step()
        return [values[state.after] for state in self.graph.states]

    def _enters_matrix(self, op: Op) -> bool:
        return operator_of(op.kind).has_matrix and op.inputs[0] is self._state.before

    def _rounded(self, op: Op, value, operands: list):
        """Rounds the result of an operator to the integers of its tensor."""
        tensor = op.output
        arithmetic = operator_of(op.kind).in_type(self.format.dtype)
        if arithmetic.table is not None:  # with the function's gradient
            value = value + ops.stop_gradient(arithmetic.table(operands[0]) - value)
        if arithmetic.rounds_halves_away:
            value = value * _LARGER
        if tensor in self._nudges:
            value = value + ops.stop_gradient(self._nudges[tensor] * ops.sign(value))
        if op.is_clipped:
            value = ops.minimum(ops.maximum(value, op.low), op.high)
        group = self._groups[tensor]
        if isinstance(group, Scale):
            return round_to_integers(value, group.scale, group.zero_point, self.format.bits)
        if self._training:
            self._seen_in_step[tensor] = self.masked_steps.hidden(value)
        rounded = group.round(value)
        if op in self._joinable and self.is_joined is not False:
            return ops.where(self.is_joined, value, rounded)
        return rounded

    def _end_step(self) -> None:
        if not self._training:
            return
        seen: dict[RangedGroup, list] = {}
        for tensor, value in self._seen_in_step.items():
            for observer in self._observers.get(tensor, ()):
                seen.setdefault(observer, []).append(value)
        for unit, parts in self._sums:
            seen[parts] = [self._seen_in_step[tensor] for tensor in unit.parts]
        for group, values in seen.items():
            group.observe(values)
        self._seen_in_step = {}

    def rounded_graph(self) -> Graph:
        """Returns the graph of the step with the rounded constants of the last `begin`."""
        copies: dict[Tensor, Tensor] = {}

        def copied(tensor: Tensor) -> Tensor:
            if tensor not in copies:
                copy = Tensor(tensor.name, tensor.shape)
                if tensor.is_constant:
                    data = np.asarray(self._constants[tensor], np.float64).reshape(tensor.shape)
                    copy = Constant(tensor.name, tensor.shape, data=data)
                copies[tensor] = copy
            return copies[tensor]

        return Graph(
            inputs=[copied(self._input)],
            outputs=[copied(self._state.after)],
            ops=[
                Op(op.kind, [copied(t) for t in op.inputs], copied(op.output), op.low, op.high)
                for op in self.graph.ops
            ],
            states=[State(copied(s.before), copied(s.after)) for s in self.graph.states],
        )

    def reached(self) -> dict[str, tuple[float, float]]:
        """Returns the smallest and largest value of every tensor of the step, as `reached_by`."""
        return {tensor.name: reached_by(group) for tensor, group in self._groups.items()}

    def scales(self) -> dict[str, Scale | None]:
        """Returns the scale of every tensor of the step by name, after `begin`.

        `None` stands for ranges not seen yet.
        """
        return {tensor.name: scale_of_group(group) for tensor, group in self._groups.items()}

    def joined_products(self) -> list[str]:
        """Returns the names of the products that are one matrix with the one beside them."""
        return [op.output.name for op in self._joinable[:1] if bool(self.is_joined)]


def _traced(cell, input_factor, input_constant) -> Graph:
    graph = Graph(inputs=[], outputs=[])
    width = _input_width(cell)
    x = Symbol(graph, Tensor("input", (1, width)))
    graph.inputs = [x.tensor]
    if input_factor is not None:
        x = x * WeightExpression.of(lambda: input_factor, (width,))
    if input_constant is not None:
        x = x + WeightExpression.of(lambda: input_constant, (width,))
    state, _ = trace_cell(cell, x, weight=expressed)
    graph.outputs = [state.tensor]
    simplify(graph)
    for op in [op for op in graph.ops if operator_of(op.kind).has_matrix]:
        while fold_input_affine(graph, op):
            pass
    name_tensors(graph)
    return graph


def _function_of(op: Op, cell) -> Callable:
    function = operator_of(op.kind).on_tensors
    if function is None:
        raise UnsupportedOperatorError(
            f"The cell {cell.name} ({type(cell).__name__}) computes {op.kind}, which nothing "
            "computes in training. Register the operator with on_tensors."
        )
    return function


def _joinable_products(graph: Graph) -> list[Op]:
    """The products that one matrix may do for: of the input, whose scale is free, and of the state.

    There are none in a step of several sums of products: one scale of the input suits one of them.
    """
    sums = fusible_products(graph)
    products = [graph.computing(tensor) for op in sums for tensor in op.inputs]
    is_free = len(products) == 2 and may_have_any_scale(graph, products[0].inputs[0])
    return products if is_free else []


def _common_width(tensors: list[Tensor]) -> int | None:
    widths = {tensor.shape[-1] for tensor in tensors}
    return widths.pop() if len(widths) == 1 else None


def _input_width(cell) -> int:
    return matrices_of(cell, "kernel")[0].shape[0]
