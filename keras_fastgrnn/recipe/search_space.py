"""Widths, ranks and sparsities that fit a budget of bytes and of cycles, before any training."""

import collections
import dataclasses
import functools
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from keras_fastgrnn import masks, sparsity, storage
from keras_fastgrnn.keras_api import checked_integer, invalid_argument, is_number, keras
from keras_fastgrnn.models import FACTORS, fast_cells, fast_layers

WIDTHS = (4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)

# Weights of two factors, as fractions of those of the matrix that they replace.
_LOW_RANK_FRACTIONS = (2 / 3, 1 / 3)

_KERNEL_SPARSITIES = (0.0, 0.5, 0.7, 0.85)
_RECURRENT_SPARSITIES = tuple(step / 50 for step in range(46))

# A setting fills its budget if it takes this part of what the largest one takes.
_FILLED = 0.8

# One setting in so many is sought for half the budget: what do the other bytes buy?
_HALF_BUDGET = 4


@dataclass(frozen=True)
class Settings:
    """What a search chooses.

    Attributes:
        units: Integer, width of the state.
        kernel_rank: Integer, rank of W, or `None` where it is one matrix.
        recurrent_rank: Integer, rank of U, or `None`.
        kernel_sparsity: Float in [0, 1), the fraction of the weights of W that are zero.
        recurrent_sparsity: Float in [0, 1), likewise of U.
    """

    units: int
    kernel_rank: int | None = None
    recurrent_rank: int | None = None
    kernel_sparsity: float = 0.0
    recurrent_sparsity: float = 0.0

    @property
    def structure(self) -> tuple[int, int | None, int | None]:
        """The arguments of `model_fn`."""
        return self.units, self.kernel_rank, self.recurrent_rank

    @property
    def sparsities(self) -> dict[str, float]:
        """The arguments of `fit_lsq`."""
        return {
            "kernel_sparsity": self.kernel_sparsity,
            "recurrent_sparsity": self.recurrent_sparsity,
        }


@dataclass(frozen=True)
class Plan:
    """Settings, and what they cost.

    Attributes:
        settings: `Settings`.
        bytes: Integer, what the model takes at most, however its zeros lie.
        cycles: Float, of a step of a model with random weights, or `None` if not counted.
    """

    settings: Settings
    bytes: int
    cycles: float | None = None

    @property
    def known_cycles(self) -> float:
        """The cycles of a plan for which they are counted."""
        if self.cycles is None:
            raise ValueError(f"The cycles of {self.settings} are not counted")
        return self.cycles


@dataclass(frozen=True)
class Budget:
    """What a model may take, and how it is counted.

    Attributes:
        bytes: Integer, bytes stored.
        cycles: Number, of a step, or `None` for any.
        count_cycles: Function from a Keras model to the cycles of a step.
        weight_bits: Integer, bits of a weight.
        bias_bytes: Integer, bytes of every other number.
    """

    bytes: int
    cycles: float | None
    count_cycles: Callable
    weight_bits: int
    bias_bytes: int

    def cycles_of(self, model) -> float:
        """Returns the cycles of a step, checked.

        Args:
            model: Keras model.
        """
        cycles = self.count_cycles(model)
        if not (is_number(cycles) and 0 < cycles < math.inf):
            raise invalid_argument("cycles", "a function that returns a positive number", cycles)
        return float(cycles)

    def share(self, plan: Plan) -> float:
        """Returns which part of the budget a plan takes, of the one that it takes more of.

        Args:
            plan: `Plan`, with its cycles if they have a budget.
        """
        shares = [plan.bytes / self.bytes]
        if self.cycles is not None:
            shares.append(plan.known_cycles / self.cycles)
        return max(shares)


class Structure:
    """The models of one width and ranks, which differ in their zeros.

    Args:
        model: Keras model with FastRNN or FastGRNN layers.
        budget: `Budget`.
    """

    def __init__(self, model, budget: Budget):
        self.model = model
        self.budget = budget
        self.factors = {
            name: [factor for cell in fast_cells(model) for factor in getattr(cell, attribute)]
            for name, attribute in FACTORS.items()
        }
        self._rng = np.random.default_rng(0)

    @functools.cached_property
    def shapes(self) -> tuple:
        """Tuple of the shapes of the factors of W and of those of U."""
        return tuple(
            tuple(tuple(factor.shape) for factor in factors) for factors in self.factors.values()
        )

    @functools.cached_property
    def _other_bytes(self) -> int:
        """All but the factors, with no zeros."""
        report = sparsity.report(self.model, self.budget.weight_bits, self.budget.bias_bytes)
        factors = sum(
            storage.packed_bytes(math.prod(shape), self.budget.weight_bits)
            for shape in itertools.chain(*self.shapes)
        )
        return report.total_bytes["dense"] - factors

    def bytes(self, sparsities) -> float:
        """Returns the bytes at most of a model with such zeros, infinite if a factor has no weight.

        Args:
            sparsities: Tuple of the sparsities of W and of U.
        """
        return self._other_bytes + sum(
            _most_bytes(shape, sparsity_, self.budget.weight_bits)
            for shapes, sparsity_ in zip(self.shapes, sparsities, strict=True)
            for shape in shapes
        )

    def cycles(self, sparsities) -> float:
        """Returns the cycles of a step of a model of random weights with such zeros.

        Args:
            sparsities: Tuple of the sparsities of W and of U.
        """
        for factors, fraction in zip(self.factors.values(), sparsities, strict=True):
            for factor in factors:
                values = self._rng.normal(0.0, 0.1, tuple(factor.shape))
                factor.assign(values * masks.largest(values, fraction, "rounded"))
        return self.budget.cycles_of(self.model)


@functools.cache
def _most_bytes(shape, fraction: float, weight_bits: int) -> float:
    """The most bytes of a pruned matrix, wherever its weights lie."""
    kept = int(np.count_nonzero(masks.largest(np.arange(math.prod(shape)), fraction, "rounded")))
    return storage.most_bytes(shape[1], shape[0], kept, weight_bits) if kept else math.inf


def plans(model_fn, widths, budget: Budget) -> tuple[list[Plan], list[Plan]]:
    """Returns the settings that fill the budget, and those that fill half of its bytes.

    For each width, rank and sparsity of W, U has as few zeros as let the model fit.

    Args:
        model_fn: Function from units and two ranks to a built model.
        widths: Increasing sequence of integers.
        budget: `Budget`.

    Returns:
        Two lists of `Plan`; the first is not empty.

    Raises:
        ValueError: If no setting fits.
    """
    whole, half, slow = [], [], []
    least = math.inf
    for units in widths:
        sizes = []
        for settings, structure in _structures(model_fn, units, budget):
            for kernel_sparsity in _KERNEL_SPARSITIES:
                sizes.append(structure.bytes((kernel_sparsity, _RECURRENT_SPARSITIES[-1])))
                for found, limit in ((whole, budget.bytes), (half, budget.bytes / 2)):
                    plan = _fullest(structure, settings, kernel_sparsity, limit)
                    if plan is not None:
                        is_slow = budget.cycles is not None and plan.known_cycles > budget.cycles
                        (slow if is_slow else found).append(plan)
        least = min(least, *sizes)
        if min(sizes) > budget.bytes:
            break
    if not whole and slow:
        fewest = math.ceil(min(plan.known_cycles for plan in slow))
        expected = f"at least the {fewest:,} cycles of the fastest model that fits"
        raise invalid_argument("budget_cycles", expected, budget.cycles)
    if not whole:
        expected = f"at least the {least:,} bytes of the smallest model"
        raise invalid_argument("budget_bytes", expected, budget.bytes)
    largest = max(map(budget.share, whole))
    filled = [plan for plan in whole if budget.share(plan) >= _FILLED * largest]
    limit = _FILLED * budget.bytes / 2
    return filled, [plan for plan in half if plan.bytes >= limit and plan not in filled]


def _structures(model_fn, units: int, budget: Budget):
    """Yields settings without zeros and their structure; the first has full ranks."""
    full = Structure(build(model_fn, (units, None, None)), budget)
    yield Settings(units), full
    ranks = [[None, *_low_ranks(shapes)] for shapes in full.shapes]
    seen = {full.shapes}
    for kernel_rank, recurrent_rank in list(itertools.product(*ranks))[1:]:
        settings = Settings(units, kernel_rank, recurrent_rank)
        structure = Structure(build(model_fn, settings.structure), budget)
        if structure.shapes not in seen:
            seen.add(structure.shapes)
            yield settings, structure


def _low_ranks(shapes) -> list[int]:
    """The ranks that save weights in each of these matrices, of a stack of cells the smallest."""
    even = min(rows * columns / (rows + columns) for rows, columns in shapes)
    ranks = {round(fraction * even) for fraction in _LOW_RANK_FRACTIONS}
    return sorted(rank for rank in ranks if 1 <= rank < even)


def _fullest(structure: Structure, settings: Settings, kernel_sparsity, limit) -> Plan | None:
    for recurrent_sparsity in _RECURRENT_SPARSITIES:
        sparsities = kernel_sparsity, recurrent_sparsity
        size = structure.bytes(sparsities)
        if size <= limit:
            has_budget = structure.budget.cycles is not None
            cycles = structure.cycles(sparsities) if has_budget else None
            return Plan(Settings(*settings.structure, *sparsities), int(size), cycles)
    return None


def build(model_fn: Callable, structure: tuple[int, int | None, int | None]) -> keras.Model:
    """Returns the model of a width and two ranks.

    Args:
        model_fn: Function from units and two ranks to a built model.
        structure: Tuple of its arguments.

    Raises:
        TypeError, ValueError: If it is no such model.
    """
    model = model_fn(*structure)
    try:
        fast_layers(model)
    except (TypeError, ValueError) as error:
        text = ", ".join(map(str, structure))
        raise type(error)(f"{error} It is what model_fn({text}) returned.") from error
    return model


def counted(model_fn, plan: Plan, budget: Budget) -> Plan:
    """Returns a plan with the cycles of a step.

    Args:
        model_fn: Function from units and two ranks to a built model.
        plan: `Plan`.
        budget: `Budget`.
    """
    if plan.cycles is not None:
        return plan
    structure = Structure(build(model_fn, plan.settings.structure), budget)
    sparsities = plan.settings.sparsities.values()
    return dataclasses.replace(plan, cycles=structure.cycles(sparsities))


def spread(whole: list[Plan], half: list[Plan], count: int, seed: int) -> list[Plan]:
    """Returns so many plans whose settings differ much, most of them with the whole budget.

    One after the other, that one is taken whose width, sparsities and kinds of matrices are
    rarest among those taken before.

    Args:
        whole: List of `Plan`.
        half: List of `Plan`.
        count: Integer.
        seed: Integer.
    """
    rng = np.random.default_rng(seed)
    few = min(count // _HALF_BUDGET, len(half))
    return _rarest(whole, count - few, rng) + _rarest(half, few, rng)


def _rarest(found: list[Plan], count: int, rng) -> list[Plan]:
    left = [found[index] for index in rng.permutation(len(found))]
    taken, seen = [], collections.Counter()
    while left and len(taken) < count:
        plan = min(left, key=lambda plan: sum(seen[kind] for kind in _kinds(plan.settings)))
        left.remove(plan)
        taken.append(plan)
        seen.update(_kinds(plan.settings))
    return taken


def _kinds(settings: Settings):
    return enumerate(
        (
            settings.units,
            settings.kernel_rank is None,
            settings.recurrent_rank is None,
            settings.kernel_sparsity,
            round(settings.recurrent_sparsity, 1),
        )
    )


def checked_widths(units) -> tuple[int, ...]:
    """Returns the widths to try, in increasing order.

    Args:
        units: `None`, or a sequence of positive integers.

    Raises:
        ValueError: If it is something else.
    """
    if units is None:
        return WIDTHS
    if not isinstance(units, (list, tuple, range, np.ndarray)) or len(units) == 0:
        raise invalid_argument("units", "a list of positive integers, or None", units)
    return tuple(sorted({checked_integer("units", width) for width in units}))
