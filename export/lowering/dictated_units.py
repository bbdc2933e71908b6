"""What operators without rescaling read is freed of units that other operators dictate."""

from keras_fastgrnn.graph.graph import Graph, Op, Tensor, constant
from keras_fastgrnn.graph.operators import is_for_matrices, operator_of
from keras_fastgrnn.graph.rewrite import constant_operand
from keras_fastgrnn.quantization.limits import has_fixed_range


def free_dictated_units(graph: Graph) -> None:
    """Multiplies by 1 what would count something larger in the unit of a tanh or sigmoid.

    MAXIMUM and CONCATENATION take integers as they are, so that all that they read has one unit;
    that of a tanh would clip another input at 1. A MUL gives its result any unit.

    Args:
        graph: Simplified float graph, changed in place.
    """
    for op in list(graph.ops):
        if not _has_one_unit(graph, op):
            continue
        dictated = [tensor for tensor in op.inputs if _is_dictated(graph, tensor)]
        if not dictated or all(_is_like(graph, tensor, dictated[0]) for tensor in op.inputs):
            continue
        for tensor in dictated:
            free = Op("MUL", [tensor, constant(1.0)], Tensor("", tensor.shape))
            graph.ops.insert(graph.ops.index(op), free)
            op.inputs = [free.output if one is tensor else one for one in op.inputs]


def _has_one_unit(graph: Graph, op: Op) -> bool:
    operator = operator_of(op.kind)
    return operator.one_unit or (operator.copies and not is_for_matrices(graph, op.output))


def _is_dictated(graph: Graph, tensor: Tensor) -> bool:
    op = graph.producer(tensor)
    return op is not None and has_fixed_range(op)


def _is_like(graph: Graph, tensor: Tensor, dictated: Tensor) -> bool:
    """Whether it is of the same operator, or a part of the dictated, as behind a slope."""
    op, other = graph.producer(tensor), graph.computing(dictated)
    if op is None:
        return False
    is_part = op.inputs[0] is dictated and constant_operand(op, "MUL") is not None
    of_one_kind = operator_of(op.kind) is operator_of(other.kind)
    is_same = of_one_kind and (op.low, op.high) == (other.low, other.high)
    return is_part or (is_same and has_fixed_range(op))
