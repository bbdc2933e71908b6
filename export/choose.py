"""Chooses among equal ways to compute a float graph the one that suits the integers.

Folding a normalization into a matrix, or joining two products into one, saves operators and is
exact in real numbers, but one scale must then do for values of different size. Each way is tried
on the calibration data, and the one with fewer operators is taken where it costs little.
"""

import math
from dataclasses import dataclass

import numpy as np

from keras_fastgrnn.export import reference
from keras_fastgrnn.export.calibrate import Range
from keras_fastgrnn.export.graph import Graph, Tensor
from keras_fastgrnn.export.quantize import quantize
from keras_fastgrnn.export.rewrite import fold_input_affine, fuse_products, fusible_products
from keras_fastgrnn.export.scales import assign_exponents

# What fewer operators may cost, as a factor of the root mean square error of the outputs.
TOLERATED_LOSS = 1.1

# Sequences of the calibration data on which the ways are tried.
TRIAL_SEQUENCES = 64


@dataclass(frozen=True)
class Candidate:
    """One way to compute the model.

    Attributes:
        graph: Float graph.
        lowest: Dictionary from tensor to the smallest exponent allowed for it.
        integers: Integer graph.
        error: Float, root mean square difference of its outputs from the float graph's.
    """

    graph: Graph
    lowest: dict[Tensor, int]
    integers: Graph
    error: float


class Chooser:
    """Tries candidates on calibration data.

    Args:
        graph: Simplified float graph.
        ranges: Dictionary from tensor to `Range`.
        x: Calibration data, array of shape `(batch, steps, input_dim)`.
    """

    def __init__(self, graph: Graph, ranges: dict[Tensor, Range], x: np.ndarray):
        self.ranges = ranges
        self.x = x[np.unique(np.linspace(0, len(x) - 1, TRIAL_SEQUENCES).astype(int))]
        self.expected = reference.run(graph, self.x)
        self.best = self._candidate(graph, {})

    def choose(self) -> Graph:
        """Returns the integer graph of the chosen way."""
        for op in self.best.graph.ops:
            if op.kind == "FULLY_CONNECTED":
                while self._try_folding(op.output):
                    pass
        settled: set[Tensor] = set()
        for total in [op.output for op in fusible_products(self.best.graph)]:
            self._try_joining(total, settled)
        return self.best.integers

    def _candidate(self, graph, lowest) -> Candidate:
        integers = quantize(graph, assign_exponents(graph, self.ranges, lowest))
        x = reference.quantize_values(self.x, integers.inputs[0])
        outputs = reference.dequantize_values(reference.run(integers, x), integers.outputs[0])
        error = math.sqrt(np.mean(np.square(outputs - self.expected)))
        return Candidate(graph, lowest, integers, error)

    def _take(self, candidate: Candidate) -> bool:
        costs_little = candidate.error <= TOLERATED_LOSS * self.best.error
        if costs_little:
            self.best = candidate
        return costs_little

    def _try_folding(self, product: Tensor) -> bool:
        graph = self.best.graph.copy()
        folded = fold_input_affine(graph, graph.producer(product))
        return folded and self._take(self._candidate(graph, self.best.lowest))

    def _try_joining(self, total: Tensor, settled: set[Tensor]) -> None:
        graph = self.best.graph
        products = [graph.producer(value) for value in graph.producer(total).inputs]
        values = [product.inputs[0] for product in products]
        matrices = [product.inputs[1].data for product in products]
        exponents = assign_exponents(graph, self.ranges, self.best.lowest)
        movable = [value not in exponents.fixed | settled for value in values]
        candidates = []
        for raised in _raised_exponents([exponents[v] for v in values], matrices, movable):
            joined = graph.copy()
            units = [2.0 ** (exponent - raised[-1]) for exponent in raised]
            scaled = [matrix * unit for matrix, unit in zip(matrices, units, strict=True)]
            fuse_products(joined, joined.producer(total), scaled)
            lowest = {**self.best.lowest, **dict(zip(values, raised, strict=True))}
            candidates.append(self._candidate(joined, lowest))
        self._take(min(candidates, key=lambda candidate: candidate.error))
        groups = exponents.groups
        settled.update(t for t in groups if groups[t] in {groups[value] for value in values})


def _raised_exponents(exponents, matrices, movable) -> list[tuple[int, int]]:
    """Exponents at which both matrices nearly fill int8, counted in one unit."""
    first, second = (np.abs(matrix).max() for matrix in matrices)
    raise_by = 0
    if first > 0 and second > 0:
        raise_by = round(math.log2(first / second)) - (exponents[1] - exponents[0])
    choices = {(0, 0)}
    for amount in (raise_by - 1, raise_by, raise_by + 1):
        if amount > 0 and movable[1]:
            choices.add((0, amount))
        if amount < 0 and movable[0]:
            choices.add((-amount, 0))
    return [(exponents[0] + x, exponents[1] + g) for x, g in sorted(choices)]
