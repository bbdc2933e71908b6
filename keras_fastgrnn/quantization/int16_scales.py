"""Which power of two each tensor of an int16 graph is counted in."""

import math

import numpy as np

from keras_fastgrnn.graph.fixed_scales import (
    INT16_RESULT_EXPONENT,
    LARGEST_SCALE,
    SMALLEST_SCALE,
)
from keras_fastgrnn.graph.graph import Graph, Tensor
from keras_fastgrnn.graph.operators import is_for_matrices, operator_of
from keras_fastgrnn.graph.ranges import Range
from keras_fastgrnn.quantization.limits import has_fixed_range, useful_limit
from keras_fastgrnn.quantization.units import groups_of

# Room above the largest value seen in calibration.
HEADROOM = 1.25

# Bits of 16 that an output or a constant may give up to share a scale with another tensor, which
# saves 20 bytes.
OUTPUT_SHARING_BITS = 2
CONSTANT_SHARING_BITS = 1


# What is next to nothing is not counted finer.
_SMALLEST_EXPONENT = -30


class Exponents(dict):
    """Dictionary from tensor to the base-2 logarithm of its scale, with how it came about.

    The logarithms are integers, except where `may_have_any_scale` and one matrix over two inputs
    wants another.

    Attributes:
        fixed: Set of the tensors whose exponent an operator dictates: its results, and the state
            before a step whose state after it is such a result.
        groups: Dictionary from tensor to the tensor that stands for its group; the members of a
            group share one exponent.
    """

    def __init__(self, fixed, groups):
        super().__init__()
        self.fixed = fixed
        self.groups = groups


def exponent_for(magnitude: float) -> int:
    """Returns the smallest exponent at which int16 holds `magnitude`; -15 for 0.

    Args:
        magnitude: Float, the largest absolute value.

    Returns:
        Integer `e` with `magnitude <= 2^(e + 15)`.
    """
    if magnitude == 0.0:
        return INT16_RESULT_EXPONENT
    mantissa, exponent = math.frexp(magnitude)
    return exponent - 15 - (mantissa == 0.5)


def scale_of(exponent: float) -> float:
    """Returns the scale of an exponent as the file stores it.

    Args:
        exponent: Float, base-2 logarithm of the scale.

    Returns:
        Float that float32 holds exactly.
    """
    return float(np.float32(2.0**exponent))


def is_scale_exponent(exponent: float) -> bool:
    """Returns whether kernels compute with the scale of an exponent.

    Args:
        exponent: Float, base-2 logarithm of the scale.
    """
    return math.log2(SMALLEST_SCALE) <= exponent <= math.log2(LARGEST_SCALE)


def may_have_any_scale(graph: Graph, tensor: Tensor) -> bool:
    """Returns whether a tensor's scale meets none but the free scales of matrices.

    Args:
        graph: Float graph.
        tensor: Tensor of it.
    """
    before = graph.producer(tensor)
    made_by_matrix = before is None or operator_of(before.kind).has_matrix
    is_state = any(tensor is state.before for state in graph.states)
    return made_by_matrix and not is_state and is_for_matrices(graph, tensor)


def assign_exponents(
    graph: Graph, ranges: dict[Tensor, Range], lowest: dict[Tensor, float]
) -> Exponents:
    """Chooses the exponent of every computed tensor.

    What an ADD or SUB joins shares one exponent, unless the operator that computes it dictates
    another: its rescaling is then exact. So the state, the difference, and both parts of the sum
    that makes the next state are counted in one unit.

    Args:
        graph: Float graph.
        ranges: Dictionary from tensor to `Range`.
        lowest: Dictionary from tensor to the smallest exponent allowed for its group.

    Returns:
        `Exponents`.
    """
    fixed: set[Tensor] = set()
    for op in graph.ops:
        if has_fixed_range(op):
            fixed.add(op.output)
        elif operator_of(op.kind).one_unit and fixed.intersection(op.inputs):
            fixed.update([*op.inputs, op.output])
    fixed |= {state.before for state in graph.states if state.after in fixed}
    groups = groups_of(graph, ties(graph, fixed))
    needed: dict[Tensor, float] = {}
    for tensor, group in groups.items():
        exponent = max(_needed_exponent(graph, tensor, ranges), lowest.get(tensor, -99))
        needed[group] = max(needed.get(group, exponent), exponent)
    exponents = Exponents(fixed, groups)
    for tensor in groups:
        exponents[tensor] = INT16_RESULT_EXPONENT if tensor in fixed else needed[groups[tensor]]
    for tensor in set(graph.outputs) - fixed:
        if list(groups.values()).count(groups[tensor]) == 1:
            others = [exponents[t] for t in groups if t is not tensor]
            exponents[tensor] = shared_exponent(exponents[tensor], others, OUTPUT_SHARING_BITS)
    for op in graph.ops:
        if operator_of(op.kind).copies:
            exponents[op.output] = exponents[op.inputs[-1]]
    return exponents


def shared_exponent(needed: float, others, bits: int) -> float:
    """Returns an exponent in use that is as small as `needed`, or little larger; else `needed`.

    Args:
        needed: Integer, the smallest exponent that will do.
        others: Exponents in use.
        bits: Integer, how much larger it may be.
    """
    close = [e for e in others if e == int(e) and needed <= e <= needed + bits]
    return min(close, default=needed)


def ties(graph: Graph, fixed: set[Tensor]) -> list[list[Tensor]]:
    """Returns which tensors share an exponent: what an operator ties, and a state's two.

    Args:
        graph: Float graph.
        fixed: Set of the tensors whose exponent an operator dictates; these are left out.
    """
    tied = [[state.before, state.after] for state in graph.states]
    for op in graph.ops:
        tied += operator_of(op.kind).in_type("int16").ties(graph, op, fixed, True)
    return [[tensor for tensor in tensors if tensor not in fixed] for tensors in tied]


def _needed_exponent(graph, tensor, ranges) -> int:
    if tensor not in ranges:
        return -99
    magnitude = min(HEADROOM * ranges[tensor].magnitude, useful_limit(graph, tensor, "int16"))
    readers = [operator_of(op.kind).in_type("int16") for op in graph.consumers(tensor)]
    finest = [round(math.log2(reader.finest)) for reader in readers if reader.finest]
    return max(exponent_for(magnitude), _SMALLEST_EXPONENT, *finest)
