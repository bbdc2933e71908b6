"""Pictures of the results: accuracy against bytes and against instructions, a file a task."""

from pathlib import Path

import matplotlib.style
from matplotlib.figure import Figure  # not pyplot, which would choose the user's backend
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from benchmarks.compared_models import RECIPE, SIZES, SPARSE
from benchmarks.measured_results import MODELS, Cell, Results
from benchmarks.sentences import COST_NAMES, cost_of

# Okabe and Ito's colors, told apart by color-blind people, but for their yellow, too pale for
# white. Ours are filled and drawn through, their peers hollow and dashed.
STYLES = {
    "FastRNN": ("#56B4E9", "^", True),
    "FastGRNN": ("#0072B2", "o", True),
    "FastGRNN L": ("#009E73", "v", True),
    SPARSE: ("#CC79A7", "s", True),
    RECIPE: ("#000000", "D", True),
    "SimpleRNN": ("#7F7F7F", "P", False),
    "GRU": ("#D55E00", "o", False),
    "LSTM": ("#E69F00", "s", False),
}
# A model that hardly learns would press all others together.
_LARGEST_SPAN = 15
# Models of one budget have the same bytes: they stand beside each other, not on each other.
_APART = 1.035
_BYTES = [1024 * kilobytes for kilobytes in (0.5, 1, 2, 3, 6, 12, 24)]
_INSTRUCTIONS = [1000 * thousands for thousands in (1, 2, 3, 5, 10, 15, 20, 30, 50, 100, 200)]
_TICKS = {"bytes": _BYTES, "instructions": _INSTRUCTIONS}
_PIXELS_AN_INCH = 200


def place_of(task: str) -> str:
    """Returns where a task's picture lies, beside the documents."""
    return f"pictures/{task}.png"


def draw(results: Results, task: str, title: str, path: Path) -> None:
    """Draws the accuracy of a task's models against what they cost, as a PNG file.

    Args:
        results: `Results`.
        task: String, a key of `tasks.TASKS`, with results.
        title: String.
        path: Path of the file.
    """
    cells = results.of(task)
    with matplotlib.style.context(["default", {"font.size": 9}]):
        figure = Figure(figsize=(8, 4.6), dpi=_PIXELS_AN_INCH, layout="constrained")
        panels = figure.subplots(1, 2, sharey=True)
        figure.suptitle(f"{title}: test accuracy on TFLite Micro in int16x8", fontsize=11)
        for axes, (cost, name) in zip(panels, COST_NAMES.items(), strict=True):
            _draw_panel(axes, cells, cost)
            aside = "; models of one budget side by side" if cost == "bytes" else ""
            axes.set_xlabel(f"{name}, log scale{aside}")
        panels[0].set_ylabel("accuracy, %")
        _limit(panels[0], cells)
        drawn = [model for model in MODELS if any(cell.model == model for cell in cells)]
        handles = [
            panels[0].plot([], [], label=label(model, cells), **_style(model))[0] for model in drawn
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)
        figure.savefig(path, metadata={"Software": None})


def lowest_shown(cells: list[Cell]) -> float:
    """Returns where the axis of accuracy begins: not so low that the best models lie together."""
    means = [cell.accuracy().mean for cell in cells]
    return max(min(means), max(means) - _LARGEST_SPAN)


def _draw_panel(axes, cells: list[Cell], cost: str) -> None:
    lowest = lowest_shown(cells)
    for model in MODELS:
        shown = [
            cell
            for cell in cells
            if cell.model == model
            and cost_of(cell, cost) is not None
            and cell.accuracy().mean >= lowest
        ]
        budgets = [cell for cell in shown if SIZES[cell.size] is not None]
        for joined in (budgets, [cell for cell in shown if cell not in budgets]):
            accuracies = [cell.accuracy() for cell in joined]
            axes.errorbar(
                [_place(cell, cost) for cell in joined],
                [accuracy.mean for accuracy in accuracies],
                [accuracy.deviation or 0 for accuracy in accuracies],
                elinewidth=0.9,
                capsize=2,
                **_style(model),
            )
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.set_xlim(low / 1.1, high * 1.1)
    axes.xaxis.set_major_locator(FixedLocator(_TICKS[cost]))
    is_bytes = cost == "bytes"
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value:,.0f}" if is_bytes else f"{value / 1000:g}k")
    )
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def label(model: str, cells: list[Cell]) -> str:
    """Returns a model's name, with its accuracies that are too low for the axis."""
    means = [cell.accuracy().mean for cell in cells if cell.model == model]
    below = [mean for mean in means if mean < lowest_shown(cells)]
    if not below:
        return model
    ends = sorted({f"{min(below):.0f}", f"{max(below):.0f}"})
    return f"{model} (below: {' to '.join(ends)} %)"


def _place(cell: Cell, cost: str) -> float:
    exact = cost_of(cell, cost)
    if cost != "bytes" or SIZES[cell.size] is None:
        return exact
    return exact * _APART ** (MODELS.index(cell.model) - (len(MODELS) - 1) / 2)


def _limit(axes, cells: list[Cell]) -> None:
    lowest = lowest_shown(cells)
    shown = [cell.accuracy() for cell in cells if cell.accuracy().mean >= lowest]
    low = min(accuracy.mean - (accuracy.deviation or 0) for accuracy in shown)
    high = max(accuracy.mean + (accuracy.deviation or 0) for accuracy in shown)
    margin = 0.05 * (high - low) or 1
    axes.set_ylim(low - margin, high + margin)


def _style(model: str) -> dict:
    color, marker, is_filled = STYLES[model]
    return {
        "color": color,
        "marker": marker,
        "markersize": 8 if model == SPARSE else 6,  # it lies under another
        "markerfacecolor": color if is_filled else "white",
        "linestyle": "-" if is_filled else "--",
        "linewidth": 1,
    }
