"""Which tensors of a step share a unit in training, and what is known of each unit beforehand.

The ties are those of the exporter, read off the same graph. One thing training has more freely: the
parts of a sum that a nonlinearity reads. The sum is of no use beyond a limit, but its parts may
each be larger, since they may cancel; so each part has a unit of its own.
"""

import math
from dataclasses import dataclass, field

from keras_fastgrnn.graph.fixed_scales import INT16_RESULT_EXPONENT, Scale
from keras_fastgrnn.graph.graph import Graph, Op, Tensor
from keras_fastgrnn.graph.operators import operator_of
from keras_fastgrnn.graph.rewrite import constant_operand
from keras_fastgrnn.quantization.int8_scales import dictated_int8_scale
from keras_fastgrnn.quantization.int16_scales import exponent_for
from keras_fastgrnn.quantization.limits import has_fixed_range
from keras_fastgrnn.quantization.units import groups_of


@dataclass(eq=False)
class Unit:
    """Tensors that are counted in one unit.

    Attributes:
        name: String, the name of the tensor that it is called after.
        tensors: List of tensors.
        dictated: `Scale` where that is known before training, else `None`.
        limit: Float, the magnitude beyond which no reader of the tensors answers otherwise, but
            for what is added to them first.
        finest: Float, the smallest scale that is of use.
        parts: List of the tensors that are added up to one of these, and have units of their own.
        added: List of the constants that are added to one of these before it reaches the limit.
    """

    name: str
    tensors: list[Tensor]
    dictated: Scale | None = None
    limit: float = math.inf
    finest: float = 0.0
    parts: list[Tensor] = field(default_factory=list)
    added: list[Tensor] = field(default_factory=list)


def units_of(graph: Graph, dtype: str) -> list[Unit]:
    """Finds the units of all computed tensors of a step but its inputs.

    Args:
        graph: Simplified float graph of one cell's step, all of whose tensors have names.
        dtype: String, "int16" or "int8", the type of the activations.

    Returns:
        List of `Unit`. A part of a sum is in no unit but in the `parts` of its sum's.
    """
    dictated = {op.output: scale for op in graph.ops if (scale := dictated_scale(op, dtype))}
    for state in graph.states:
        if state.after in dictated:
            dictated[state.before] = dictated[state.after]
    sums = {op.output: _parts(graph, op, dtype, dictated) for op in graph.ops}
    parts = {part for found in sums.values() for part in found}
    tied = [[state.before, state.after] for state in graph.states]
    for op in graph.ops:
        tied += operator_of(op.kind).in_type(dtype).ties(graph, op, dictated, True)
    groups = groups_of(graph, [[t for t in tensors if t not in parts] for tensors in tied])
    members: dict[Tensor, list[Tensor]] = {}
    for tensor, group in groups.items():
        if tensor not in parts and tensor not in graph.inputs:
            members.setdefault(group, []).append(tensor)
    return [_unit(graph, tensors, dtype, dictated, sums) for tensors in members.values()]


def dictated_scale(op: Op, dtype: str) -> Scale | None:
    """Returns the scale of an operator's result where the operator dictates it, else `None`.

    Args:
        op: Operator of a float graph.
        dtype: String, "int16" or "int8", the type of the activations.
    """
    if dtype == "int8":
        return dictated_int8_scale(op)
    return Scale(2.0**INT16_RESULT_EXPONENT) if has_fixed_range(op) else None


def _unit(graph: Graph, tensors: list[Tensor], dtype: str, dictated, sums) -> Unit:
    after = [t for t in tensors if any(t is state.after for state in graph.states)]
    unit = Unit((after or tensors[-1:])[0].name, tensors)
    unit.dictated = next((dictated[tensor] for tensor in tensors if tensor in dictated), None)
    unit.limit = max(_limit(graph, tensor, dtype) for tensor in tensors)
    readers = [reader for tensor in tensors for reader in graph.consumers(tensor)]
    unit.finest = max((operator_of(r.kind).in_type(dtype).finest for r in readers), default=0.0)
    unit.parts = [part for tensor in tensors for part in sums.get(tensor, [])]
    unit.added = [
        op.inputs[1]
        for op in readers
        if constant_operand(op, "ADD") is not None and op.output in tensors
    ]
    if unit.dictated is None and dtype == "int16" and math.isfinite(unit.limit):
        coarsest = 2.0 ** exponent_for(unit.limit)
        unit.dictated = Scale(coarsest) if coarsest <= unit.finest else None
    return unit


def _parts(graph: Graph, op: Op, dtype: str, dictated) -> list[Tensor]:
    """The computed tensors that alone are added up to what a nonlinearity reads, or none."""
    is_sum = operator_of(op.kind).adds and not any(tensor.is_constant for tensor in op.inputs)
    if not is_sum or op.is_clipped or not math.isfinite(_limit(graph, op.output, dtype)):
        return []
    return [
        tensor
        for tensor in op.inputs
        if tensor not in dictated
        and graph.producer(tensor) is not None
        and len(graph.consumers(tensor)) == 1
        and not graph.is_kept(tensor)
    ]


def _limit(graph: Graph, tensor: Tensor, dtype: str) -> float:
    """The largest limit of the nonlinearities that read a tensor, or it and added constants."""
    if graph.is_kept(tensor) or not graph.consumers(tensor):
        return math.inf
    return max(_limit_of_reader(graph, op, dtype) for op in graph.consumers(tensor))


def _limit_of_reader(graph: Graph, op: Op, dtype: str) -> float:
    if constant_operand(op, "ADD") is not None and not op.is_clipped:
        return _limit(graph, op.output, dtype)
    return operator_of(op.kind).in_type(dtype).limit
