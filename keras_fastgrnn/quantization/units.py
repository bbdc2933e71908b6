"""Which tensors must be counted in one unit."""

from keras_fastgrnn.graph.graph import Graph, Tensor


def groups_of(graph: Graph, ties: list[list[Tensor]]) -> dict[Tensor, Tensor]:
    """Joins tied tensors into groups.

    Args:
        graph: Float graph.
        ties: List of lists of tensors that share their unit; constants in them are left out.

    Returns:
        Dictionary from each computed tensor to the one that stands for its group.
    """
    leader = {tensor: tensor for tensor in graph.tensors() if not tensor.is_constant}

    def find(tensor):
        while leader[tensor] is not tensor:
            tensor = leader[tensor]
        return tensor

    for tied in ties:
        leaders = [find(t) for t in tied if not t.is_constant]
        for tensor in leaders[1:]:
            leader[find(tensor)] = leaders[0]
    return {tensor: find(tensor) for tensor in leader}
