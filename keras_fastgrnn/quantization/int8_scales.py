"""Which scale and zero point each tensor of an int8 graph has."""

from collections.abc import Collection

import numpy as np

from keras_fastgrnn.errors import too_different_in_size
from keras_fastgrnn.graph.fixed_scales import (
    CLIPPED_INT8_SCALES,
    HIGHEST_CALIBRATED_INT8,
    LOWEST_CALIBRATED_INT8,
    SMALLEST_SCALE,
    Scale,
)
from keras_fastgrnn.graph.graph import Graph, Op, Tensor
from keras_fastgrnn.graph.operators import operator_of
from keras_fastgrnn.graph.operators.sums import adds_products
from keras_fastgrnn.graph.ranges import Range
from keras_fastgrnn.quantization.limits import check_scale, useful_limit
from keras_fastgrnn.quantization.units import groups_of

# A range that grows by no more than this when it is made symmetric has the zero point 0, which is
# stored once. For the values of a state, whose rounding costs most, the caller decides.
_TOLERATED_WIDENING = 1.25

_STEPS = HIGHEST_CALIBRATED_INT8 - LOWEST_CALIBRATED_INT8

# One in 128 scales will do, but what one SUB changes another sees. Settling enlarges scales by some
# parts in a million, beside a dictated one in a thousand.
_ATTEMPTS = 4096
_LARGEST_GROWTH = 1.01


def assign_int8_scales(
    graph: Graph,
    ranges: dict[Tensor, Range],
    widening_of_states: float = 1.0,
    sums_share: bool = False,
) -> dict[Tensor, Scale]:
    """Chooses scale and zero point of every computed tensor.

    Tensors share a scale where that costs nothing: what is added up to be read by a nonlinearity,
    which then adds without rounding, and a difference and the part of it that a gate keeps.

    Args:
        graph: Float graph.
        ranges: Dictionary from tensor to `Range`.
        widening_of_states: Float, the factor by which the range of a state, or of what it is added
            up from, may grow to have the zero point 0. Defaults to 1.
        sums_share: Boolean, whether what is added up to a state shares its scale, which saves
            bytes, and the sum is then exact. Defaults to `False`.

    Returns:
        Dictionary from tensor to `Scale`.

    Raises:
        ValueError: If operators dictate different scales for one tensor, or values are so large
            that no scale will do.
    """
    dictated = {op.output: scale for op in graph.ops if (scale := dictated_int8_scale(op))}
    groups = groups_of(graph, ties(graph, dictated, sums_share))
    members: dict[Tensor, list[Tensor]] = {}
    for tensor, group in groups.items():
        members.setdefault(group, []).append(tensor)
    chosen = {}
    widenings = dict.fromkeys(groups, _TOLERATED_WIDENING)
    widenings.update(dict.fromkeys(_state_parts(graph), widening_of_states))
    for group, tensors in members.items():
        wanted = {dictated[tensor] for tensor in tensors if tensor in dictated}
        if len(wanted) > 1:
            raise too_different_in_size(tensors[0].name, 8)
        calibrated = _calibrated_scale(graph, tensors, ranges, min(widenings[t] for t in tensors))
        chosen[group] = wanted.pop() if wanted else calibrated
    return _settled(graph, groups, chosen, set(dictated))


def settle_subtractions(graph: Graph, scales: dict[Tensor, Scale]) -> dict[Tensor, Scale]:
    """Enlarges scales by some parts in a million, so that all versions of SUB agree.

    Beside a hard function, whose scale is fixed, it may be some parts in a thousand.

    Args:
        graph: Float graph.
        scales: Dictionary from computed tensor to `Scale`; tensors of the same one keep that.

    Returns:
        Dictionary from tensor to `Scale`.

    Raises:
        ValueError: If there are no such scales.
    """
    dictated = {op.output for op in graph.ops if dictated_int8_scale(op)}
    first: dict[tuple, Tensor] = {}
    groups = {t: first.setdefault((scale, t in dictated), t) for t, scale in scales.items()}
    chosen = {group: scales[group] for group in groups.values()}
    return _settled(graph, groups, chosen, dictated)


def _settled(graph, groups, chosen, dictated) -> dict[Tensor, Scale]:
    for group, scale in chosen.items():
        check_scale(scale.scale, group.name, "int8")
    fixed = {group for tensor, group in groups.items() if tensor in dictated}
    settled = [op for op in graph.ops if operator_of(op.kind).in_type("int8").factors]
    largest = {group: _LARGEST_GROWTH * scale.scale for group, scale in chosen.items()}
    while any(_settle(op, groups, chosen, chosen.keys() - fixed) for op in settled):
        for group, scale in chosen.items():
            if scale.scale > largest[group]:
                raise too_different_in_size(group.name, 8)
    return {tensor: chosen[group] for tensor, group in groups.items()}


def dictated_int8_scale(op: Op) -> Scale | None:
    """Returns the scale of an operator's result where the operator dictates it, else `None`.

    Args:
        op: Operator of a float or integer graph.
    """
    return operator_of(op.kind).in_type("int8").result or CLIPPED_INT8_SCALES.get((op.low, op.high))


def int8_scale_for(low: float, high: float, tolerated_widening: float = 1.0) -> Scale:
    """Returns the scale and zero point at which int8 holds a range, and 0 exactly.

    Args:
        low: Float, the smallest value.
        high: Float, the largest value.
        tolerated_widening: Float, the factor by which the range may grow to have the zero point 0.
            Defaults to 1.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    width = (high - low) or 1.0
    largest = max(-low, high)
    if 0.0 < 2.0 * largest <= tolerated_widening * width:
        return Scale(float(np.float32(max(largest / HIGHEST_CALIBRATED_INT8, SMALLEST_SCALE))), 0)
    scale = float(np.float32(max(width / _STEPS, SMALLEST_SCALE)))
    return Scale(scale, int(np.clip(round(LOWEST_CALIBRATED_INT8 - low / scale), -128, 127)))


def ties(graph: Graph, dictated: Collection[Tensor], sums_share: bool) -> list[list[Tensor]]:
    """Returns which tensors share a scale: what an operator ties, and a state's two.

    Args:
        graph: Float graph.
        dictated: The tensors whose scale an operator dictates.
        sums_share: Boolean, as for `assign_int8_scales`.
    """
    tied = [[state.before, state.after] for state in graph.states]
    for op in graph.ops:
        tied += operator_of(op.kind).in_type("int8").ties(graph, op, dictated, sums_share)
    return tied


def _state_parts(graph: Graph) -> set[Tensor]:
    """The states, and what they are added up from, whose rounding adds up over the steps."""
    parts = {tensor for state in graph.states for tensor in (state.before, state.after)}
    for op in graph.ops:
        computed = [tensor for tensor in op.inputs if not tensor.is_constant]
        is_of_two = operator_of(op.kind).elementwise and len(computed) == 2
        if is_of_two and not adds_products(graph, op):
            parts.update([*op.inputs, op.output])
    return parts


def _calibrated_scale(graph, tensors, ranges, widening) -> Scale:
    lows, highs = [0.0], [0.0]
    for tensor in tensors:
        if tensor in ranges:
            limit = useful_limit(graph, tensor, "int8")
            lows.append(max(ranges[tensor].low, -limit))
            highs.append(min(ranges[tensor].high, limit))
            readers = [operator_of(op.kind).in_type("int8") for op in graph.consumers(tensor)]
            highs += [reader.finest * _STEPS for reader in readers]
    return int8_scale_for(min(lows), max(highs), widening)


def _settle(op: Op, groups, chosen, free) -> bool:
    """Enlarges scales by some parts in a million until all versions of a kernel agree on factors.

    Returns:
        Whether a scale was enlarged.
    """
    members = [groups[tensor] for tensor in (*op.inputs, op.output)]
    factors = operator_of(op.kind).in_type("int8").factors
    if factors is None:
        return False
    before = dict(chosen)

    def agrees(place):
        scales = [chosen[group].scale for group in members]
        return factors(scales, np.float32)[place] == factors(scales, np.float64)[place]

    for place, group in enumerate(members):
        for _ in range(_ATTEMPTS if group in free else 0):
            if agrees(place):
                break
            larger = float(np.nextafter(np.float32(chosen[group].scale), np.float32(np.inf)))
            chosen[group] = Scale(larger, chosen[group].zero_point)
    return chosen != before
