"""Chooses among equal ways to compute a float graph the one that suits the integers.

Folding a normalization into a matrix, or joining two products into one, saves operators and is
exact in real numbers, but one scale must then do for values of different size. Each way is tried
on the calibration data, and the one with fewer operators is taken where it costs little.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from keras_fastgrnn.export import reference
from keras_fastgrnn.export.calibrate import Range, spread
from keras_fastgrnn.export.graph import Graph, Tensor
from keras_fastgrnn.export.int8_scales import assign_int8_scales
from keras_fastgrnn.export.quantize import INT8_WEIGHTS, quantize_int8, quantize_int16
from keras_fastgrnn.export.rewrite import fold_input_affine, fuse_products, fusible_products
from keras_fastgrnn.export.scales import assign_exponents, may_have_any_scale, scale_of
from keras_fastgrnn.export.sequences import Sequences, as_sequences
from keras_fastgrnn.fake_quantization import WeightFormat

# What fewer operators may cost, as a factor of the root mean square error of the outputs. Who asks
# for int8 asks for less; there a joined product saves a twentieth of a small file.
TOLERATED_LOSS = 1.1
TOLERATED_LOSS_OF_JOINING_INT8 = 1.35

# What a scale for each unit of a matrix, 12 bytes a unit, must bring as such a factor.
WORTHWHILE_GAIN = 2.0

# The scales that int8 states may have, those that save most bytes first, and what a later one must
# bring. Which is better is a matter of how roundings meet the feedback.
SCALES_OF_INT8_STATES = tuple(
    {"widening_of_states": widening, "sums_share": sums_share}
    for sums_share in (True, False)
    for widening in (1.15, 1.0)
)
WORTHWHILE_GAIN_OF_INT8_SCALES = 1.5

# Sequences of the calibration data on which the ways are tried.
TRIAL_SEQUENCES = 256


@dataclass(frozen=True)
class Candidate:
    """One way to compute the model.

    Attributes:
        graph: Float graph.
        scaling: What the chooser decided about scales.
        integers: Integer graph, or the `ValueError` that tells why there is none.
        error: Float, root mean square difference of its outputs from the float graph's; infinite
            where there is no integer graph.
    """

    graph: Graph
    scaling: dict[Tensor, float] | frozenset[Tensor]
    integers: Graph | ValueError
    error: float


class _Chooser:
    """Tries candidates on calibration data.

    Args:
        graph: Simplified float graph.
        ranges: Dictionary from tensor to `Range`.
        x: Calibration data, array of shape `(batch, steps, input_dim)`, or `Sequences`.
        portable: Boolean, whether full TFLite is to compute the same integers. Defaults to
            `False`.
        weight_format: `WeightFormat` of the matrices. Defaults to 8 bits with any scale.
    """

    def __init__(
        self,
        graph: Graph,
        ranges: dict[Tensor, Range],
        x: np.ndarray | Sequences,
        portable: bool = False,
        weight_format: WeightFormat = INT8_WEIGHTS,
    ):
        self.ranges = ranges
        self.portable = portable
        self.weight_format = weight_format
        self.x = spread(as_sequences(x), TRIAL_SEQUENCES)
        self.expected = reference.run(graph, self.x)
        self.best = self._candidate(graph, self.first_scaling)

    def choose(self) -> Candidate:
        """Returns the chosen way.

        Raises:
            ValueError: If values are too large for the arithmetic in every way.
        """
        for op in self.best.graph.ops:
            if op.kind == "FULLY_CONNECTED":
                while self._try_folding(op.output):
                    pass
        self._try_joining_all([op.output for op in fusible_products(self.best.graph)])
        if isinstance(self.best.integers, ValueError):
            raise self.best.integers
        return self.best

    def _candidate(self, graph, scaling) -> Candidate:
        return self._judged(graph, scaling, lambda: self._quantize(graph, scaling))

    def _judged(self, graph, scaling, quantize: Callable[[], Graph]) -> Candidate:
        try:
            integers = quantize()
        except ValueError as problem:
            return Candidate(graph, scaling, problem, math.inf)
        (source,) = integers.inputs
        x = self.x.map(lambda values: reference.quantize_input(values, source))
        outputs = reference.dequantize_values(reference.run(integers, x), integers.outputs[0])
        error = math.sqrt(np.mean(np.square(outputs - self.expected)))
        return Candidate(graph, scaling, integers, error)

    def _take(self, candidate: Candidate, tolerated_loss: float = TOLERATED_LOSS) -> bool:
        costs_little = candidate.error <= tolerated_loss * self.best.error
        if costs_little:
            self.best = candidate
        return costs_little

    def _try_folding(self, product: Tensor) -> bool:
        graph = self.best.graph.copy()
        folded = fold_input_affine(graph, graph.producer(product))
        return folded and self._take(self._candidate(graph, self.best.scaling))


class Int16Chooser(_Chooser):
    """Chooses for int16 activations; a scaling is the smallest exponents allowed."""

    first_scaling: dict[Tensor, float] = {}

    def _quantize(self, graph, scaling) -> Graph:
        exponents = assign_exponents(graph, self.ranges, scaling)
        return quantize_int16(graph, exponents, self.weight_format)

    def _try_joining_all(self, totals: list[Tensor]) -> None:
        settled: set[Tensor] = set()
        for total in totals:
            self._try_joining(total, settled)

    def _try_joining(self, total: Tensor, settled: set[Tensor]) -> None:
        graph = self.best.graph
        products = [graph.producer(value) for value in graph.producer(total).inputs]
        values = [product.inputs[0] for product in products]
        matrices = [product.inputs[1].data for product in products]
        exponents = assign_exponents(graph, self.ranges, self.best.scaling)
        movable = [value not in exponents.fixed | settled for value in values]
        has_powers = self.weight_format.power_of_two
        free = [not has_powers and may_have_any_scale(graph, value) for value in values]
        chosen = _balanced_exponents([exponents[v] for v in values], matrices, movable, free)
        units = [scale_of(exponent) / scale_of(chosen[-1]) for exponent in chosen]
        scaled = [matrix * unit for matrix, unit in zip(matrices, units, strict=True)]
        joined = graph.copy()
        fuse_products(joined, joined.producer(total), scaled)
        lowest = {**self.best.scaling, **dict(zip(values, chosen, strict=True))}
        if self._take(self._candidate(joined, lowest)):
            groups = exponents.groups
            settled.update(t for t in groups if groups[t] in {groups[value] for value in values})


class Int8Chooser(_Chooser):
    """Chooses for int8 activations; a scaling is the products with a weight scale for each unit."""

    first_scaling: frozenset[Tensor] = frozenset()

    def choose(self) -> Candidate:
        """As `Int16Chooser.choose`; then gives matrices a scale for each unit where that pays."""
        super().choose()
        for op in self.best.graph.ops if not self.portable else ():
            if op.kind == "FULLY_CONNECTED" and op.output.shape[-1] > 1:
                scaling = self.best.scaling | {op.output}
                self._take(self._candidate(self.best.graph, scaling), 1.0 / WORTHWHILE_GAIN)
        return self.best

    def _candidate(self, graph, scaling) -> Candidate:
        best = None
        for options in SCALES_OF_INT8_STATES:
            candidate = self._judged(
                graph,
                scaling,
                lambda options=options: quantize_int8(
                    graph,
                    assign_int8_scales(graph, self.ranges, **options),
                    scaling,
                    self.portable,
                    self.weight_format,
                ),
            )
            gain = 1.0 if best is None else WORTHWHILE_GAIN_OF_INT8_SCALES
            if best is None or candidate.error * gain < best.error:
                best = candidate
        return best

    def _try_joining_all(self, totals: list[Tensor]) -> None:
        for total in totals:
            joined = self.best.graph.copy()
            add = joined.producer(total)
            products = [joined.producer(value) for value in add.inputs]
            fuse_products(joined, add, [product.inputs[1].data for product in products])
            candidate = self._candidate(joined, self.best.scaling)
            self._take(candidate, TOLERATED_LOSS_OF_JOINING_INT8)


def _balanced_exponents(exponents, matrices, movable, free) -> tuple[float, float]:
    """Exponents for two joined inputs at which both matrices fill int8 as well as may be."""
    first, second = exponents
    largest = [np.abs(matrix).max() for matrix in matrices]
    if 0.0 in largest:
        return first, second
    wanted = math.log2(largest[0] / largest[1])
    if movable[1]:
        second = max(second, math.ceil(first + wanted - (0.0 if free[0] else 0.5)))
    if movable[0]:
        balanced = second - wanted
        first = max(first, balanced if free[0] else round(balanced))
    return first, second
