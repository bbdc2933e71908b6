"""Rewrites of the float graph, each an exact identity in real numbers.

`simplify` folds constants into the matrices and limits into the operators before them.
`fold_input_affine` and `fuse_products` change what the integers can hold, so their caller decides
where to apply them.
"""

import dataclasses

import numpy as np

from keras_fastgrnn.graph.graph import Constant, Graph, Op, Tensor, constant
from keras_fastgrnn.graph.operators import operator_of
from keras_fastgrnn.graph.weight_expressions import is_always

# `W (x - mean)` as `W x - W mean` cancels. Up to this sum of |W| |mean| that costs less than 1e-6
# in float32; beyond, as for a channel that hardly varies around a large mean, it is not folded.
_LARGEST_FOLDED_SUM = 16.0


def simplify(graph: Graph) -> None:
    """Folds what can always be folded, in place, until nothing changes.

    Args:
        graph: Float graph as `trace` returns it.
    """
    passes = (
        _split_joined,
        _merge_constants,
        _scale_weights,
        _fold_bias,
        _scale_products,
        _drop_identities,
    )
    while any(rewrite(graph) for rewrite in passes):
        pass
    _fuse_clips(graph)


def constant_operand(op: Op, kind: str) -> Constant | None:
    """Returns the constant of an ADD or MUL with one constant operand, else `None`."""
    second = op.inputs[1] if op.kind == kind else None
    return second if isinstance(second, Constant) else None


def linear_sources(graph: Graph, tensor: Tensor) -> list[Op]:
    """Returns the FULLY_CONNECTED operators whose plain sum `tensor` is, or an empty list."""
    op = graph.producer(tensor)
    if op is None or op.is_clipped:
        return []
    if op.kind == "FULLY_CONNECTED":
        return [op]
    if op.kind != "ADD" or constant_operand(op, "ADD"):
        return []
    parts = [linear_sources(graph, value) for value in op.inputs]
    private = all(_is_private(graph, value) for value in op.inputs)
    return sum(parts, []) if private and all(parts) else []


def _is_private(graph, tensor) -> bool:
    return len(graph.consumers(tensor)) == 1 and not graph.is_kept(tensor)


def _remove(graph, op) -> None:
    graph.ops.remove(op)
    graph.replace(op.output, op.inputs[0])


def _split_joined(graph) -> bool:
    """[A, B] [x, g] + b -> A x + (B g + b): each has a matrix of its own scale."""
    for op in [op for op in graph.ops if op.kind == "FULLY_CONNECTED"]:
        join = graph.producer(op.inputs[0])
        if join is None or join.kind != "CONCATENATION" or _is_of_frames(graph, join):
            continue
        ends = np.cumsum([tensor.shape[-1] for tensor in join.inputs])
        parts = np.split(op.weights.data, ends[:-1], axis=1)
        place = graph.ops.index(op)
        products = [
            Op("FULLY_CONNECTED", [tensor, constant(part)], Tensor("", op.output.shape))
            for tensor, part in zip(join.inputs, parts, strict=True)
        ]
        products[-1].inputs += op.inputs[2:]
        sums: list[Op] = []
        total = products[0].output
        for product in products[1:]:
            sums.append(Op("ADD", [total, product.output], Tensor("", op.output.shape)))
            total = sums[-1].output
        sums[-1] = dataclasses.replace(sums[-1], output=op.output, low=op.low, high=op.high)
        graph.ops[place : place + 1] = [*products, *sums]
        if not graph.consumers(join.output) and not graph.is_kept(join.output):
            graph.ops.remove(join)
        return True
    return False


def _is_of_frames(graph, join) -> bool:
    """Whether it holds the same channels at several steps, which one scale suits."""
    return any(reader.kind == "SLICE" for reader in graph.consumers(join.output))


def _merge_constants(graph) -> bool:
    """ADD(ADD(x, a), b) -> ADD(x, a + b), and the same for MUL."""
    for op in graph.ops:
        for kind, merge in (("ADD", np.add), ("MUL", np.multiply)):
            second = constant_operand(op, kind)
            before = graph.producer(op.inputs[0])
            if second is None or before is None or not _is_private(graph, before.output):
                continue
            first = constant_operand(before, kind)
            if first is not None and not before.is_clipped:
                op.inputs[1] = constant(merge(first.data, second.data))
                op.output.name = op.output.name or before.output.name
                _remove(graph, before)
                return True
    return False


def _scale_weights(graph) -> bool:
    """FULLY_CONNECTED(c * x, W) -> FULLY_CONNECTED(x, c * W) for a number c."""
    for op in graph.ops:
        factor = constant_operand(op, "MUL")
        readers = graph.consumers(op.output)
        if factor is None or factor.data.size != 1 or graph.is_kept(op.output) or not readers:
            continue
        if not op.is_clipped and all(r.kind == "FULLY_CONNECTED" for r in readers):
            for reader in readers:
                reader.inputs[1] = constant(reader.weights.data * factor.data.item())
            _remove(graph, op)
            return True
    return False


def _fold_bias(graph) -> bool:
    """Moves the first constant into the bias of the matrix product that all additions follow."""
    for op in graph.ops:
        shift = constant_operand(op, "ADD")
        sources = linear_sources(graph, op.inputs[0])
        if shift is None or is_always(shift.data, 0.0) or not sources:
            continue
        if graph.is_kept(op.inputs[0]):
            continue
        readers = graph.consumers(op.inputs[0])
        added = [constant_operand(reader, "ADD") for reader in readers]
        if op is not readers[0] or None in added:
            continue
        _add_bias(sources[-1], shift.data)
        for reader, other in zip(readers[1:], filter(None, added[1:]), strict=True):
            reader.inputs[1] = constant(other.data - shift.data)
            _drop_identity(graph, reader)
        if op.is_clipped:
            op.inputs[1] = constant(np.zeros(shift.shape))
        else:
            _drop(graph, op)
        return True
    return False


def _add_bias(op, shift) -> None:
    units = op.output.shape[-1]
    bias = np.zeros(units) if op.bias is None else op.bias.data
    op.inputs[2:] = [constant(bias + np.broadcast_to(shift.ravel(), (units,)))]


def _scale_products(graph) -> bool:
    """c * (W x + b) -> (c * W) x + c * b for a number c."""
    for op in graph.ops:
        factor = constant_operand(op, "MUL")
        if factor is None or factor.data.size != 1 or not _is_private(graph, op.inputs[0]):
            continue
        sources = linear_sources(graph, op.inputs[0])
        if not sources or op.is_clipped:
            continue
        for source in sources:
            source.inputs[1:] = [constant(t.data * factor.data.item()) for t in source.constants]
        _remove(graph, op)
        return True
    return False


def _drop_identities(graph) -> bool:
    return any(_drop_identity(graph, op) for op in graph.ops)


def _drop_identity(graph, op) -> bool:
    """Removes an addition of 0 or a multiplication by 1."""
    for kind, neutral in (("ADD", 0.0), ("MUL", 1.0)):
        operand = constant_operand(op, kind)
        if operand is None or op.is_clipped:
            continue
        if is_always(operand.data, neutral):
            _drop(graph, op)
            return True
    return False


def _drop(graph, op) -> None:
    """Removes an operator whose result is its first input, which takes its name if it has none."""
    _remove(graph, op)
    op.inputs[0].name = op.inputs[0].name or op.output.name


def _fuse_clips(graph) -> None:
    """Every CLIP becomes the fused activation of the operator before it, or of a MUL by 1."""
    for clip in [op for op in graph.ops if op.kind == "CLIP"]:
        source = clip.inputs[0]
        before = graph.producer(source)
        if before is not None and _can_clip(before) and _is_private(graph, source):
            before.output = clip.output
        else:
            before = Op("MUL", [source, constant(1.0)], clip.output)
            graph.ops.insert(graph.ops.index(clip), before)
        before.low, before.high = clip.low, clip.high
        graph.ops.remove(clip)


def _can_clip(op: Op) -> bool:
    return operator_of(op.kind).can_clip and not op.is_clipped


def fold_input_affine(graph: Graph, op: Op) -> bool:
    """Moves an ADD or MUL by constants into the matrix products that alone read it.

    Args:
        graph: Float graph, changed in place.
        op: One of the FULLY_CONNECTED operators.

    Returns:
        Whether there was one to move.
    """
    before = graph.producer(op.inputs[0])
    if before is None or before.is_clipped or graph.is_kept(before.output):
        return False
    readers = graph.consumers(before.output)
    shift, factor = constant_operand(before, "ADD"), constant_operand(before, "MUL")
    if any(reader.kind != "FULLY_CONNECTED" for reader in readers):
        return False
    if shift is None and factor is None:
        return False
    for reader in readers:
        weights = reader.weights.data
        if shift is not None:
            _add_bias(reader, np.broadcast_to(shift.data, before.output.shape) @ weights.T)
        elif factor is not None:
            reader.inputs[1] = constant(weights * factor.data)
    _remove(graph, before)
    return True


def fold_all(graph: Graph) -> None:
    """Folds and joins all that can be, as suits float arithmetic.

    Args:
        graph: Simplified float graph, changed in place.
    """
    for op in [op for op in graph.ops if op.kind == "FULLY_CONNECTED"]:
        while not _folding_cancels(graph, op) and fold_input_affine(graph, op):
            pass
    for add in fusible_products(graph):
        products = [graph.computing(value) for value in add.inputs]
        fuse_products(graph, add, [product.weights.data for product in products])


def _folding_cancels(graph, op) -> bool:
    before = graph.producer(op.inputs[0])
    if before is None:
        return False
    shift = constant_operand(before, "ADD")
    if shift is None:
        return False
    shifts = np.broadcast_to(np.abs(shift.data), before.output.shape)
    readers = [r for r in graph.consumers(before.output) if r.kind == "FULLY_CONNECTED"]
    largest = max((shifts @ np.abs(reader.weights.data).T).max() for reader in readers)
    return largest > _LARGEST_FOLDED_SUM


def fusible_products(graph: Graph) -> list[Op]:
    """Returns every ADD of two matrix products that nothing else reads."""
    return [op for op in graph.ops if _adds_two_products(graph, op)]


def _adds_two_products(graph, op) -> bool:
    if op.kind != "ADD" or constant_operand(op, "ADD"):
        return False
    products = [graph.producer(value) for value in op.inputs]
    return all(
        p is not None and p.kind == "FULLY_CONNECTED" and not p.is_clipped for p in products
    ) and all(_is_private(graph, value) for value in op.inputs)


def fuse_products(graph: Graph, add: Op, weights: list[np.ndarray]) -> None:
    """A x + B g + b -> [A, B] [x, g] + b: one CONCATENATION and one FULLY_CONNECTED.

    A CONCATENATION of the same two values that runs before serves here too.

    Args:
        graph: Float graph, changed in place.
        add: An operator of `fusible_products`.
        weights: The two matrices to join, in the units of the joined tensor.
    """
    products = [graph.computing(value) for value in add.inputs]
    values = [product.inputs[0] for product in products]
    biases = [product.bias.data for product in products if product.bias is not None]
    matrix = constant(np.concatenate(weights, axis=1))
    index = graph.ops.index(add)
    join = _concatenation_of(graph.ops[:index], values)
    if join is None:
        width = sum(value.shape[-1] for value in values)
        join = Op("CONCATENATION", values, Tensor(f"{add.output.name}/inputs", (1, width)))
        graph.ops.insert(index, join)
    inputs = [join.output, matrix, *_sum_of(biases)]
    product = Op("FULLY_CONNECTED", inputs, add.output, add.low, add.high)
    graph.ops[graph.ops.index(add)] = product
    graph.ops = [op for op in graph.ops if op not in products]


def _concatenation_of(ops, values) -> Op | None:
    return next((op for op in ops if op.kind == "CONCATENATION" and op.inputs == values), None)


def _sum_of(biases) -> list[Tensor]:
    return [constant(np.sum(biases, axis=0))] if biases else []
