"""The runs that the project's own results are made of."""

from benchmarks.compared_models import LAYERS, RECIPE
from benchmarks.runs import Run

QUICK = Run("har2", RECIPE, "1KB", 0)

_IN_SHORT = (RECIPE, "GRU", "LSTM")
# Of each task: models, sizes and how many seeds.
_GRID = (
    ("har2", LAYERS, ("1KB", "3KB", "6KB", "equal"), 5),
    ("har2", (RECIPE,), ("1.5KB",), 5),
    ("speech", LAYERS, ("1KB", "3KB", "6KB", "equal"), 3),
    ("har", _IN_SHORT, ("1KB", "3KB"), 3),
    ("dsa", _IN_SHORT, ("3KB",), 3),
    ("usps", _IN_SHORT, ("3KB",), 3),
    ("mnist", _IN_SHORT, ("3KB",), 3),
)


def required_runs(seeds: int | None = None) -> list[Run]:
    """Returns the runs of the required grid, the first seed of all before the second.

    Equal units come last of a seed: a size may have had the same model before.

    Args:
        seeds: Integer, how many seeds of each. Defaults to `None`, five on HAR-2, three elsewhere.
    """
    found = [
        Run(task, model, size, seed)
        for task, models, sizes, count in _GRID
        for model in models
        for size in sizes
        for seed in range(seeds or count)
    ]
    return sorted(found, key=lambda run: (run.seed, run.size == "equal"))
