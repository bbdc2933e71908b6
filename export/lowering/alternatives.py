"""Chooses among equal ways to compute a float graph the one that suits the integers.

Folding a normalization into a matrix, or joining two products into one, saves operators and is
exact in real numbers, but one scale must then do for values of different size. Each way is tried
on the calibration data, on no more of it than tells which is better, and the one with fewer
operators is taken where it costs little.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

import numpy as np

from keras_fastgrnn.export.lowering.integers import INT8_WEIGHTS, quantize_int8, quantize_int16
from keras_fastgrnn.graph import real_values, reference
from keras_fastgrnn.graph.graph import Graph, Tensor
from keras_fastgrnn.graph.operators import operator_of
from keras_fastgrnn.graph.ranges import Range, spread
from keras_fastgrnn.graph.rewrite import fold_input_affine, fuse_products, fusible_products
from keras_fastgrnn.graph.sequences import Sequences, as_sequences
from keras_fastgrnn.quantization.fake_quantization import WeightFormat
from keras_fastgrnn.quantization.int8_scales import assign_int8_scales
from keras_fastgrnn.quantization.int16_scales import (
    assign_exponents,
    is_scale_exponent,
    may_have_any_scale,
    scale_of,
)

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

# Sequences of the calibration data on which the ways are tried: on the larger number only where the
# mean of what decides is not so many of its standard errors from 0. Where that does not tell
# either, the two are as good as each other.
TRIAL_SEQUENCES = (16, 64)
SURE = 4.0


@dataclass(frozen=True)
class Int8Scaling:
    """What is decided about the scales of an int8 graph.

    Attributes:
        of_states: Integer, which of `SCALES_OF_INT8_STATES`.
        per_channel: Set of the products whose weights have a scale for each unit.
    """

    of_states: int = 0
    per_channel: frozenset[Tensor] = frozenset()


Scaling = TypeVar("Scaling", dict[Tensor, float], Int8Scaling)


@dataclass(frozen=True)
class Candidate(Generic[Scaling]):
    """One way to compute the model.

    Attributes:
        graph: Float graph.
        scaling: What the chooser decided about scales.
        integers: Integer graph, or the `ValueError` that tells why there is none.
        errors: List of arrays, one for each part of the trial data that was computed: the sum of
            the squared differences of its outputs from the float graph's, by sequence.
    """

    graph: Graph
    scaling: Scaling
    integers: Graph | ValueError
    errors: list[np.ndarray] = field(default_factory=list)


class _Chooser(ABC, Generic[Scaling]):
    """Tries candidates on calibration data.

    Args:
        graph: Simplified float graph.
        ranges: Dictionary from tensor to `Range`.
        x: Calibration data, array of shape `(batch, steps, input_dim)`, or `Sequences`.
        portable: Boolean, whether full TFLite is to compute the same integers. Defaults to
            `False`.
        weight_format: `WeightFormat` of the matrices. Defaults to 8 bits with any scale.
    """

    first_scaling: Scaling

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
        x = spread(as_sequences(x), TRIAL_SEQUENCES[-1])
        # In any order, so that the first sequences are of all parts of the data.
        rows = np.split(np.random.default_rng(0).permutation(len(x)), TRIAL_SEQUENCES[:-1])
        self.parts = [x[np.sort(part)] for part in rows if len(part)]
        self.floats = graph
        self.expected: list[list[np.ndarray]] = []
        self.best = self._candidate(graph, self.first_scaling)

    def choose(self) -> Candidate[Scaling]:
        """Returns the chosen way.

        Raises:
            ValueError: If values are too large for the arithmetic in every way.
        """
        for op in self.best.graph.ops:
            if operator_of(op.kind).has_matrix:
                while self._try_folding(op.output):
                    pass
        self._try_joining_all([op.output for op in fusible_products(self.best.graph)])
        if isinstance(self.best.integers, ValueError):
            raise self.best.integers
        return self.best

    @abstractmethod
    def _quantize(self, graph: Graph, scaling: Scaling) -> Graph:
        """Returns the integer graph, or raises a ValueError where there is none."""

    @abstractmethod
    def _try_joining_all(self, totals: list[Tensor]) -> None:
        """Joins the two products of each sum where that costs little."""

    def _candidate(self, graph: Graph, scaling: Scaling) -> Candidate[Scaling]:
        try:
            integers = self._quantize(graph, scaling)
        except ValueError as problem:
            integers = problem
        return Candidate(graph, scaling, integers)

    def _take(self, candidate: Candidate[Scaling], tolerated_loss: float = TOLERATED_LOSS) -> bool:
        costs_little = self._is_at_most(candidate, tolerated_loss, self.best)
        if costs_little:
            self.best = candidate
        return costs_little

    def _is_at_most(self, candidate: Candidate, factor: float, other: Candidate) -> bool:
        """Whether the root mean square error is at most `factor` times another's.

        Where there is no integer graph it is infinite.
        """
        if isinstance(other.integers, ValueError):
            return True
        if isinstance(candidate.integers, ValueError):
            return False
        excess = np.empty(0)
        for part in range(len(self.parts)):
            errors, others = (self._errors(one, part) for one in (candidate, other))
            excess = np.append(excess, errors - factor**2 * others)
            standard_error = excess.std() / math.sqrt(len(excess))
            if abs(excess.mean()) > SURE * standard_error:
                break
        return bool(excess.mean() <= 0.0)

    def _errors(self, candidate: Candidate, part: int) -> np.ndarray:
        if part == len(candidate.errors):
            x = self.parts[part]
            if part == len(self.expected):
                self.expected.append(_outputs(self.floats, x))
            if isinstance(candidate.integers, ValueError):
                raise candidate.integers
            (source,), (output,) = candidate.integers.inputs, candidate.integers.outputs
            errors = np.zeros(len(x))
            integers = x.map(lambda values: real_values.quantize_input(values, source))
            results = _outputs(candidate.integers, integers)
            for result, expected in zip(results, self.expected[part], strict=True):
                difference = real_values.dequantize_values(result, output) - expected
                errors[: len(difference)] += np.square(difference).sum(axis=1)
            candidate.errors.append(errors)
        return candidate.errors[part]

    def _try_folding(self, product: Tensor) -> bool:
        graph = self.best.graph.copy()
        folded = fold_input_affine(graph, graph.computing(product))
        return folded and self._try(graph)

    def _try(self, graph: Graph, tolerated_loss: float = TOLERATED_LOSS) -> bool:
        return any(self._take(way, tolerated_loss) for way in self._ways(graph))

    def _ways(self, graph: Graph) -> Iterator[Candidate[Scaling]]:
        """The ways to give a graph scales, the present one first."""
        yield self._candidate(graph, self.best.scaling)


class Int16Chooser(_Chooser[dict[Tensor, float]]):
    """Chooses for int16 activations; a scaling is the smallest exponents allowed."""

    first_scaling: dict[Tensor, float] = {}

    def _quantize(self, graph: Graph, scaling: dict[Tensor, float]) -> Graph:
        exponents = assign_exponents(graph, self.ranges, scaling)
        return quantize_int16(graph, exponents, self.weight_format)

    def _try_joining_all(self, totals: list[Tensor]) -> None:
        settled: set[Tensor] = set()
        for total in totals:
            self._try_joining(total, settled)

    def _try_joining(self, total: Tensor, settled: set[Tensor]) -> None:
        graph = self.best.graph
        products = [graph.computing(value) for value in graph.computing(total).inputs]
        values = [product.inputs[0] for product in products]
        matrices = [product.weights.data for product in products]
        exponents = assign_exponents(graph, self.ranges, self.best.scaling)
        movable = [value not in exponents.fixed | settled for value in values]
        has_powers = self.weight_format.power_of_two
        free = [not has_powers and may_have_any_scale(graph, value) for value in values]
        chosen = _balanced_exponents([exponents[v] for v in values], matrices, movable, free)
        if not all(map(is_scale_exponent, chosen)):
            return
        units = [scale_of(exponent) / scale_of(chosen[-1]) for exponent in chosen]
        scaled = [matrix * unit for matrix, unit in zip(matrices, units, strict=True)]
        joined = graph.copy()
        fuse_products(joined, joined.computing(total), scaled)
        lowest = {**self.best.scaling, **dict(zip(values, chosen, strict=True))}
        if self._take(self._candidate(joined, lowest)):
            groups = exponents.groups
            settled.update(t for t in groups if groups[t] in {groups[value] for value in values})


class Int8Chooser(_Chooser[Int8Scaling]):
    """Chooses for int8 activations; a scaling is an `Int8Scaling`."""

    first_scaling = Int8Scaling()

    def choose(self) -> Candidate[Int8Scaling]:
        """As `Int16Chooser.choose`; also chooses the scales of states, before and after it.

        Then gives matrices a scale for each unit where that pays.
        """
        self._choose_scales_of_states()
        before = self.best
        if super().choose() is not before:
            self._choose_scales_of_states()
        for op in self.best.graph.ops if not self.portable else ():
            if operator_of(op.kind).has_matrix and op.output.shape[-1] > 1:
                per_channel = self.best.scaling.per_channel | {op.output}
                scaling = replace(self.best.scaling, per_channel=per_channel)
                self._take(self._candidate(self.best.graph, scaling), 1.0 / WORTHWHILE_GAIN)
        return self.best

    def _quantize(self, graph: Graph, scaling: Int8Scaling) -> Graph:
        options = SCALES_OF_INT8_STATES[scaling.of_states]
        scales = assign_int8_scales(graph, self.ranges, **options)
        return quantize_int8(graph, scales, scaling.per_channel, self.portable, self.weight_format)

    def _choose_scales_of_states(self) -> None:
        ways = sorted(self._ways(self.best.graph), key=lambda way: way.scaling.of_states)
        self.best = ways[0]
        for way in ways[1:]:
            if not self._is_at_most(self.best, WORTHWHILE_GAIN_OF_INT8_SCALES, way):
                self.best = way

    def _try_joining_all(self, totals: list[Tensor]) -> None:
        for total in totals:
            joined = self.best.graph.copy()
            add = joined.computing(total)
            products = [joined.computing(value) for value in add.inputs]
            fuse_products(joined, add, [product.weights.data for product in products])
            self._try(joined, TOLERATED_LOSS_OF_JOINING_INT8)

    def _ways(self, graph: Graph) -> Iterator[Candidate[Int8Scaling]]:
        present = self.best.scaling
        for of_states in sorted(range(len(SCALES_OF_INT8_STATES)), key=present.of_states.__ne__):
            yield self._candidate(graph, replace(present, of_states=of_states))


def _outputs(graph: Graph, x: Sequences) -> list[np.ndarray]:
    """The outputs of each step, of shape `(sequences that go on, outputs)`."""
    return [values[graph.outputs[0]] for values in reference.steps(graph, x)]


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
