"""The runs that the project's own results are made of."""

from benchmarks.models import LAYERS, RECIPE, SIZES
from benchmarks.runs import Run

QUICK = Run("har2", RECIPE, "1KB", 0)

_FULL = {"har2": 5, "speech": 3}
_AT_3_KB = {"har": 3, "dsa": 3, "usps": 3, "mnist": 3}
_MODELS_AT_3_KB = (RECIPE, "GRU", "LSTM")
# Which cell is best at a kilobyte, too, on the task that most compare themselves on.
_AT_1_KB = {"har": 3}


def required_runs(seeds: int | None = None) -> list[Run]:
    """Returns the runs of the required grid, the first seed of all before the second.

    Args:
        seeds: Integer, how many seeds of each. Defaults to `None`, five on HAR-2, three elsewhere.
    """
    cells = [(task, m, size, n) for task, n in _FULL.items() for m in LAYERS for size in SIZES]
    for counts, size in ((_AT_3_KB, "3KB"), (_AT_1_KB, "1KB")):
        cells += [(task, m, size, n) for task, n in counts.items() for m in _MODELS_AT_3_KB]
    found = [
        Run(task, model, size, seed)
        for task, model, size, count in cells
        for seed in range(seeds or count)
    ]
    return sorted(found, key=lambda run: run.seed)
