"""What the results say in words: which model is best where, and by more than the seeds or not."""

import math
from dataclasses import dataclass

from benchmarks.compared_models import EQUAL_UNITS, RECIPE, SIZES
from benchmarks.measured_results import OURS, Cell, Mean, Results

PEERS = ("GRU", "LSTM", "SimpleRNN")
SIZE_NAMES = {
    size: f"{EQUAL_UNITS} units" if limit is None else f"{limit / 1024:g} KB"
    for size, limit in SIZES.items()
}
# Each of these stands beside the GRU of every size, in these words.
_AGAINST_GRU = {
    RECIPE: RECIPE,
    "FastGRNN": "FastGRNN, dense and stored as the GRU is,",
    "FastGRNN L": "FastGRNN L, stored as the GRU is,",
}
COST_NAMES = {"bytes": "stored bytes", "instructions": "Cortex-M4 instructions a step"}


@dataclass(frozen=True)
class Difference:
    """How far one mean is ahead of another.

    Attributes:
        points: Float, below 0 where it is behind.
        spread: Float, the standard deviation of a difference of two trainings, a seed of the one
            and a seed of the other; `None` where either has a single seed.
    """

    points: float
    spread: float | None

    @classmethod
    def between(cls, first: Mean, second: Mean) -> "Difference":
        """Returns how far the first is ahead of the second."""
        deviations = first.deviation, second.deviation
        spread = None if None in deviations else math.hypot(*deviations)
        return cls(first.mean - second.mean, spread)

    def __str__(self) -> str:
        """How many points, and whether that exceeds the spread of the seeds."""
        points = f"{abs(self.points):.2f} points"
        if self.spread is None:
            return f"{points} (a single seed)"
        where = "more than" if self.exceeds_spread else "within"
        return f"{points} ({where} the spread, {self.spread:.2f})"

    @property
    def exceeds_spread(self) -> bool:
        """Whether it is more than the seeds differ; a single seed does not tell."""
        return self.spread is not None and abs(self.points) > self.spread

    @property
    def place(self) -> str:
        """Where the first is."""
        return "ahead" if self.points > 0 else "behind"


def difference(first: Cell, second: Cell) -> Difference:
    """Returns how far a cell's deployed accuracy is ahead of another's."""
    return Difference.between(first.accuracy(), second.accuracy())


def about(results: Results, task: str) -> list[str]:
    """Returns what the results of a task say, a sentence or several a line.

    Args:
        results: `Results`.
        task: String, a key of `tasks.TASKS`.
    """
    cells = results.of(task)
    lines = [_at(results.of(task, size)) for size in SIZES if results.of(task, size)]
    lines += [_against_gru(results, task, model) for model in _AGAINST_GRU]
    lines.append(_across_sizes(results, task))
    if len(cells) > 1:
        lines += [_edge(cells, cost) for cost in COST_NAMES]
    return [line for line in lines if line]


def best(cells: list[Cell]) -> Cell | None:
    """Returns the cell with the highest deployed accuracy, of equal ones the smallest."""
    return max(cells, key=lambda cell: (cell.accuracy().mean, -cell.stored_bytes), default=None)


def cost_of(cell: Cell, cost: str) -> float | None:
    """Returns what an axis of costs has of a cell: "bytes", or "instructions" where it runs."""
    if cost == "bytes":
        return cell.stored_bytes
    step = cell.step("cortex-m4")
    return None if step is None else step.mean


def edge(cells: list[Cell], cost: str) -> list[Cell]:
    """Returns the cells that no other is both cheaper than and as accurate as, cheapest first."""
    priced = [cell for cell in cells if cost_of(cell, cost) is not None]
    priced.sort(key=lambda cell: (cost_of(cell, cost), -cell.accuracy().mean))
    found, highest = [], -math.inf
    for cell in priced:
        if cell.accuracy().mean > highest:
            found.append(cell)
            highest = cell.accuracy().mean
    return found


def _at(cells: list[Cell]) -> str:
    """Says who wins at a size."""
    size, first = cells[0].size, best(cells)
    equal = SIZES[size] is None
    place = f"At equal hidden size ({EQUAL_UNITS} units)" if equal else f"At {SIZE_NAMES[size]}"
    text = f"{place} **{first.model}**"
    if len(cells) == 1:
        return f"{text} alone was run: {_score(first)}."
    text += f" is best of {len(cells)} models: {_score(first)}."
    ours = best([cell for cell in cells if cell.model in OURS])
    others = {cell.model: cell for cell in cells}
    peers = [others[name] for name in PEERS if name in others]
    if ours is None:
        return text
    ahead = [peer for peer in peers if difference(peer, ours).points > 0]
    behind = [peer for peer in peers if peer not in ahead]
    if ahead:
        wins = [f"{peer.model} wins by {difference(peer, ours)}" for peer in ahead]
        text += f" Against the best of ours, {ours.model}, {_score(ours)}, {listed(wins)}."
    if behind:
        losses = [f"{peer.model} by {difference(peer, ours)}" for peer in behind]
        text += f" Behind {ours.model} are {listed(losses)}."
    return text + _steps(ours, others.get("GRU"))


def _steps(ours: Cell, gru: Cell | None) -> str:
    """Says what a step costs beside the GRU's."""
    costs = [cost_of(cell, "instructions") for cell in (ours, gru) if cell is not None]
    if len(costs) < 2 or None in costs:
        return ""
    text = (
        f" A step of {ours.model} takes {costs[0]:,.0f} instructions on a Cortex-M4, "
        f"{costs[0] / costs[1]:.2f} of the GRU's {costs[1]:,.0f}"
    )
    cycles = [cell.step("atmega328p") for cell in (ours, gru)]
    if None in cycles:
        return f"{text}."
    return f"{text}, and {cycles[0].mean / cycles[1].mean:.2f} of its cycles on an ATmega328P."


def _against_gru(results: Results, task: str, model: str) -> str:
    pairs = {
        size: (results.get(task, size, model), results.get(task, size, "GRU")) for size in SIZES
    }
    texts = [
        f"{difference(*pair).place} at {SIZE_NAMES[size]} by {difference(*pair)}"
        for size, pair in pairs.items()
        if all(pair)
    ]
    return f"{_AGAINST_GRU[model]} against GRU: {', '.join(texts)}." if texts else ""


def _across_sizes(results: Results, task: str) -> str:
    """Compares the smallest of the recipe with the best GRU of any size."""
    sized = [size for size, limit in SIZES.items() if limit is not None]
    sized.sort(key=lambda size: SIZES[size])
    recipes = [cell for size in sized if (cell := results.get(task, size, RECIPE))]
    gru = best([cell for cell in results.of(task) if cell.model == "GRU"])
    if not recipes or gru is None or gru.size == recipes[0].size:
        return ""
    behind = difference(recipes[0], gru)
    return (
        f"The best GRU of any size run is the {label(gru)}: {_score(gru)}. {label(recipes[0])} is "
        f"{behind.place} by {behind}."
    )


def _edge(cells: list[Cell], cost: str) -> str:
    found = edge(cells, cost)
    if not found:
        return ""
    names = listed([f"{label(cell)} with {cell.accuracy().mean:.2f} %" for cell in found])
    return f"Best for their {COST_NAMES[cost]}, no other being both cheaper and as good: {names}."


def label(cell: Cell) -> str:
    """Returns the names of a model and its size."""
    place = "of" if SIZES[cell.size] is None else "at"
    return f"{cell.model} {place} {SIZE_NAMES[cell.size]}"


def _score(cell: Cell) -> str:
    return f"{cell.accuracy().mean:.2f} % in {cell.stored_bytes:,} bytes"


def listed(names: list[str]) -> str:
    """Returns names with commas and one "and"."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
