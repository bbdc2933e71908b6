"""Where the integers of a tensor may end without a loss, and which scales they may have."""

import math

import numpy as np

from keras_fastgrnn.errors import too_different_in_size
from keras_fastgrnn.graph.fixed_scales import LARGEST_SCALE, SMALLEST_SCALE
from keras_fastgrnn.graph.graph import Graph, Op, Tensor
from keras_fastgrnn.graph.operators import operator_of
from keras_fastgrnn.graph.real_values import real_ends


def check_scale(scale: float | np.ndarray, name: str, dtype: str) -> None:
    """Refuses scales whose products and ratios a kernel, or float32, could not hold.

    Args:
        scale: Float, or array of one for each unit.
        name: String, the tensor it is of, or belongs to.
        dtype: String, "int16" or "int8", the type of the activations.

    Raises:
        ValueError: If it is not in [`SMALLEST_SCALE`, `LARGEST_SCALE`].
    """
    if not np.all((scale >= SMALLEST_SCALE) & (scale <= LARGEST_SCALE)):
        raise too_different_in_size(name, 8 * np.dtype(dtype).itemsize)


def has_fixed_range(op: Op) -> bool:
    """Returns whether an operator's results cannot pass a limit, whatever its inputs.

    Args:
        op: Operator of a float or integer graph.
    """
    return operator_of(op.kind).has_fixed_range or math.isfinite(op.high)


def useful_limit(graph: Graph, tensor: Tensor, dtype: str) -> float:
    """Returns the magnitude beyond which all readers of a tensor answer the same.

    Args:
        graph: Float or integer graph.
        tensor: Tensor of it.
        dtype: String, "int16" or "int8", the type the tensor has or is to have.

    Returns:
        Float, infinite where larger values still make a difference.
    """
    if graph.is_kept(tensor):
        return math.inf
    readers = graph.consumers(tensor)
    return max((_reader_limit(graph, op, tensor, dtype) for op in readers), default=math.inf)


def _reader_limit(graph, op: Op, tensor: Tensor, dtype) -> float:
    operator = operator_of(op.kind)
    if operator.limit_before is not None:
        return operator.limit_before(op, tensor, _limit_of_result(graph, op, dtype))
    arithmetic = operator.arithmetic.get(dtype)  # a conversion's result has another type
    return arithmetic.limit if arithmetic else math.inf


def _limit_of_result(graph, op: Op, dtype) -> float:
    return (
        max(abs(op.low), abs(op.high)) if op.is_clipped else useful_limit(graph, op.output, dtype)
    )


def ends_by_design(graph: Graph, tensor: Tensor) -> tuple[bool, bool]:
    """Returns whether the two ends of a tensor's integers stand for values it may well take.

    True where the operator's own limit ends there, as for a hard sigmoid, where what lies beyond
    makes no difference, as before a sigmoid, and where such values are only copied or converted.

    Args:
        graph: Integer graph.
        tensor: Tensor of it.
    """
    op = graph.producer(tensor)
    source = op
    if op is not None and operator_of(op.kind).mixes_types:
        source = graph.producer(op.inputs[0])
    if source is not None and (operator_of(source.kind).copies or has_fixed_range(source)):
        return True, True
    limit = useful_limit(graph, tensor, tensor.dtype)
    low, high = real_ends(tensor)
    # In int16 the positive end is one unit of 2^-15 short of the power of two.
    return bool(low <= -limit), bool(limit <= high + tensor.unit)
