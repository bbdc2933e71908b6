"""Which tensors of a step share a unit in training, and what is known of each unit beforehand.

The ties are those of the exporter, read off the same graph. One thing training has more freely: the
parts of a sum that a nonlinearity reads. The sum is of no use beyond a limit, but its parts may
each be larger, since they may cancel; so each part has a unit of its own.
"""

import math
from dataclasses import dataclass, field

from keras_fastgrnn.graph.graph import Graph, Op, Tensor
from keras_fastgrnn.quantization import int8_scales, int16_scales
from keras_fastgrnn.quantization.fixed_scales import (
    INT8_LIMITS,
    INT16_LIMIT,
    INT16_RESULT_EXPONENT,
    INT16_TABLE_EXPONENT,
    Scale,
)
from keras_fastgrnn.quantization.int8_scales import dictated_int8_scale
from keras_fastgrnn.quantization.limits import has_fixed_range
from keras_fastgrnn.quantization.units import groups_of

_LIMITS = {
    16: {"LOGISTIC": INT16_LIMIT, "TANH": INT16_LIMIT},
    8: {"LOGISTIC": INT8_LIMITS["sigmoid"], "TANH": INT8_LIMITS["tanh"]},
}

# The finest scale of what a nonlinearity reads.
_FINEST = 2.0**INT16_TABLE_EXPONENT


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


def units_of(graph: Graph, bits: int) -> list[Unit]:
    """Finds the units of all computed tensors of a step but its inputs.

    Args:
        graph: Simplified float graph of one cell's step, all of whose tensors have names.
        bits: Integer, 16 or 8, of the activations.

    Returns:
        List of `Unit`. A part of a sum is in no unit but in the `parts` of its sum's.
    """
    dictated = {op.output: scale for op in graph.ops if (scale := dictated_scale(op, bits))}
    sums = {op: parts for op in graph.ops if (parts := _parts(graph, op, bits, dictated))}
    parts = {part for found in sums.values() for part in found}
    groups = groups_of(graph, _ties(graph, bits, dictated, parts))
    members: dict[Tensor, list[Tensor]] = {}
    for tensor, group in groups.items():
        if tensor not in parts and tensor not in graph.inputs:
            members.setdefault(group, []).append(tensor)
    return [_unit(graph, tensors, bits, dictated, sums) for tensors in members.values()]


def dictated_scale(op: Op, bits: int) -> Scale | None:
    """Returns the scale of an operator's result where the operator dictates it, else `None`.

    Args:
        op: Operator of a float graph.
        bits: Integer, 16 or 8, of the activations.
    """
    if bits == 8:
        return dictated_int8_scale(op)
    return Scale(2.0**INT16_RESULT_EXPONENT) if has_fixed_range(op) else None


def _ties(graph, bits, dictated, parts) -> list[list[Tensor]]:
    fixed = set(dictated) | {state.before for state in graph.states if state.after in dictated}
    tie = int16_scales.ties(graph, fixed) if bits == 16 else int8_scales.ties(graph, dictated, True)
    return [[tensor for tensor in tied if tensor not in parts] for tied in tie]


def _unit(graph, tensors, bits, dictated, sums) -> Unit:
    states = [t for t in tensors if any(t is state.after for state in graph.states)]
    unit = Unit((states or tensors[-1:])[0].name, tensors)
    afters = {state.before: state.after for state in graph.states}
    scales = {dictated[t] for tensor in tensors if (t := afters.get(tensor, tensor)) in dictated}
    readers = {reader.kind for tensor in tensors for reader in graph.consumers(tensor)}
    unit.dictated = scales.pop() if scales else None
    unit.limit = max(_limit(graph, tensor, bits) for tensor in tensors)
    unit.finest = _FINEST if readers & _LIMITS[bits].keys() else 0.0
    for op in graph.ops:
        if op.output in tensors:
            unit.parts += sums.get(op, [])
        adds = op.kind == "ADD" and op.inputs[1].is_constant
        if adds and op.inputs[0] in tensors and op.output in tensors:
            unit.added.append(op.inputs[1])
    if bits == 16 and unit.dictated is None and unit.limit == INT16_LIMIT:
        unit.dictated = Scale(_FINEST)
    return unit


def _parts(graph, op: Op, bits: int, dictated) -> list[Tensor]:
    """The computed tensors that an ADD before a nonlinearity alone reads."""
    if op.kind != "ADD" or op.inputs[1].is_constant or op.is_clipped:
        return []
    if not math.isfinite(_limit(graph, op.output, bits)):
        return []
    return [
        tensor
        for tensor in op.inputs
        if tensor not in dictated
        and graph.producer(tensor) is not None
        and len(graph.consumers(tensor)) == 1
        and not graph.is_kept(tensor)
    ]


def _limit(graph: Graph, tensor: Tensor, bits: int) -> float:
    """The largest limit of the nonlinearities that read a tensor, or one and added constants."""
    if graph.is_kept(tensor):
        return math.inf
    limits = _LIMITS[bits]
    found = 0.0
    for op in graph.consumers(tensor):
        if op.kind in limits:
            found = max(found, limits[op.kind])
        elif op.kind == "ADD" and op.inputs[1].is_constant and not op.is_clipped:
            found = max(found, _limit(graph, op.output, bits))
        else:
            return math.inf
    return found or math.inf
