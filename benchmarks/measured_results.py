"""What was measured of a model at a size, over its seeds, as the JSON files of the runs have it."""

import math
import statistics
from dataclasses import dataclass
from pathlib import Path

from benchmarks import runs
from benchmarks.compared_models import LAYERS, RECIPE, SIZES, SPARSE, Structure
from benchmarks.deployment import DEVICES, FORMATS
from benchmarks.runs import ResultsError, Run
from benchmarks.tasks import TASKS

# The order of all tables and pictures. What is not here is a peer.
OURS = ("FastRNN", "FastGRNN", "FastGRNN L", SPARSE, RECIPE)
MODELS = (*OURS, *(name for name in LAYERS if name not in OURS))
PLACES = ("keras", *FORMATS, "c")

_FRACTIONS = [(place, name) for place in PLACES for name in ("accuracy", "f1")]
_AMOUNTS = [
    *((format_, name) for format_ in FORMATS for name in ("file_bytes", "arena_bytes", "invoke")),
    ("c", "constant_bytes"),
    ("stored_bytes", "best"),
    ("stored_bytes", "paper"),
    ("training_cpu_seconds",),
    ("epochs",),
]


@dataclass(frozen=True)
class Mean:
    """A mean over seeds.

    Attributes:
        mean: Float.
        deviation: Float, the standard deviation of the sample; `None` of a single seed.
        count: Integer, how many seeds.
    """

    mean: float
    deviation: float | None
    count: int

    @classmethod
    def of(cls, values: list[float]) -> "Mean":
        deviation = statistics.stdev(values) if len(values) > 1 else None
        return cls(statistics.fmean(values), deviation, len(values))

    def __str__(self) -> str:
        spread = "" if self.deviation is None else f" &plusmn; {self.deviation:.2f}"
        return f"{self.mean:.2f}{spread}"


@dataclass(frozen=True)
class Cell:
    """A model at a size on a task.

    Attributes:
        task, size, model: Strings, keys of `tasks.TASKS` and `compared_models.SIZES`, and one of
            `MODELS`.
        files: List of dictionaries, the JSON of its runs.
    """

    task: str
    size: str
    model: str
    files: list[dict]

    def values(self, *keys: str) -> list:
        """Returns what lies under a path of keys, of every seed."""
        return [_under(file["models"][self.model], keys) for file in self.files]

    def accuracy(self, place: str = "int16x8", name: str = "accuracy") -> Mean:
        """Returns the accuracy, or "f1", in percent, in one of `PLACES`."""
        return Mean.of([100 * value for value in self.values(place, name)])

    def largest(self, *keys: str) -> int:
        """Returns the most bytes of any seed."""
        return max(self.values(*keys))

    @property
    def stored_bytes(self) -> int:
        """Bytes of all parameters in our storage, the most of any seed."""
        return self.largest("stored_bytes", "best")

    def step(self, device: str) -> Mean | None:
        """Returns instructions or cycles a step, of the seeds that run on a device, if any."""
        costs = [cost for cost in self.values("c", device) if not isinstance(cost, str)]
        return Mean.of([cost["step"] for cost in costs]) if costs else None

    def failures(self, device: str) -> list[str]:
        """Returns why seeds do not run on a device."""
        return [cost for cost in self.values("c", device) if isinstance(cost, str)]

    def invoke(self, format_: str = "int16x8") -> float:
        """Returns the median time of an Invoke, over that of the yardstick."""
        return statistics.median(self.values(format_, "invoke"))

    def epoch_seconds(self) -> float:
        """Returns the median CPU seconds of a training epoch in float."""
        pairs = zip(self.values("training_cpu_seconds"), self.values("epochs"), strict=True)
        return statistics.median(seconds / epochs for seconds, epochs in pairs)


@dataclass(frozen=True)
class Results:
    """All results of a folder.

    Attributes:
        files: List of dictionaries, the JSON of each run.
        cells: Dictionary from task, size and model to a `Cell`, in the order of the tables.
    """

    files: list[dict]
    cells: dict[tuple[str, str, str], Cell]

    def get(self, task: str, size: str, model: str) -> Cell | None:
        """Returns a cell, or `None` where it was not run."""
        return self.cells.get((task, size, model))

    def of(self, task: str, size: str | None = None) -> list[Cell]:
        """Returns the cells of a task, of one size or of all."""
        found = (cell for cell in self.cells.values() if cell.task == task)
        return [cell for cell in found if size in (None, cell.size)]

    def runs(self) -> set[Run]:
        """Returns the runs that were made."""
        return {Run(**file["run"]) for file in self.files}


def read(folder: Path) -> Results:
    """Reads the results of a folder.

    Args:
        folder: Path, with a folder of JSON files for each task.

    Returns:
        `Results`.

    Raises:
        ResultsError: If there are none, or one is not what `runs.perform` writes.
    """
    files = read_files(folder)
    if not files:
        raise ResultsError(f"no results in {folder}; `python -m benchmarks` makes them")
    files.sort(key=lambda file: file["run"]["seed"])
    gathered = {}
    for file in files:
        for model in file["models"]:
            key = file["run"]["task"], file["run"]["size"], model
            gathered.setdefault(key, []).append(file)
    order = [(task, size, model) for task in TASKS for size in SIZES for model in MODELS]
    cells = {key: Cell(*key, gathered[key]) for key in order if key in gathered}
    return Results(files, cells)


def read_files(folder: Path) -> list[dict]:
    """Returns the JSON of all results of a folder; raises a `ResultsError` if one is damaged."""
    paths = [path for task in TASKS for path in sorted((folder / task).glob("*.json"))]
    return [_checked(path, folder) for path in paths]


def models_of(run: Run) -> tuple[str, ...]:
    """Returns the models that a run gives: of the recipe's two."""
    return (SPARSE, RECIPE) if run.model == RECIPE else (run.model,)


def _checked(path: Path, folder: Path) -> dict:
    file = runs.read(path)
    try:
        _check(file, path, folder)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise ResultsError(f"{path} is not the result of a run: {reason}") from None
    return file


def _check(file: dict, path: Path, folder: Path) -> None:
    run = Run(**file["run"])
    if run.path(folder) != path:
        raise ValueError(f"it holds {run}")
    if set(file["models"]) != set(models_of(run)):
        raise ValueError(f"it holds the models {', '.join(file['models'])}")
    for name in ("structure", "training", "environment"):
        if not isinstance(file[name], dict):
            raise ValueError(f"{name} is {file[name]!r}")
    for name in ("cpu_seconds", "wall_seconds"):
        _check_number(file, (name,))
    file["environment"]["date"], file["environment"]["commit"]
    _check_structure(file["structure"])
    for measured in file["models"].values():
        for keys in _FRACTIONS:
            _check_number(measured, keys, highest=1)
        for keys in _AMOUNTS:
            _check_number(measured, keys, is_zero_allowed=False)
        for device in DEVICES:
            if not isinstance(measured["c"][device], str):
                _check_number(measured, ("c", device, "step"))


def _check_structure(structure: dict) -> None:
    given = vars(Structure(**structure))
    for name, default in vars(Structure(0)).items():
        is_text = isinstance(default, str)
        if is_text != isinstance(given[name], str):
            raise ValueError(f"{name} is {given[name]!r}")
        if not is_text and not (default is None and given[name] is None):
            _check_number(given, (name,))


def _check_number(measured, keys, highest: float = math.inf, is_zero_allowed=True) -> None:
    value = _under(measured, keys)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    is_within = is_number and math.isfinite(value) and 0 <= value <= highest
    if not is_within or (value == 0 and not is_zero_allowed):
        raise ValueError(f"{' '.join(keys)} is {value!r}")


def _under(values, keys: tuple[str, ...]):
    for key in keys:
        values = values[key]
    return values
