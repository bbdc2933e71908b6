"""What each part of the training is worth: one setting changed, on validation sequences alone.

    python -m benchmarks.ablation [--seeds N] [--workers N]

Trains the recipe's model of 1 KB as the results were trained, and with one setting changed; the
width stays, so a change of the structure changes the bytes. Trains the other models of 3 KB at
other learning rates. Leaves one JSON file a training in `benchmarks/results/ablation/`;
`python -m benchmarks --document` makes a table of them. The test sequences are not touched.
"""

import argparse
import dataclasses
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks import pool, runs, tasks
from benchmarks.command_line import positive_integer
from benchmarks.compared_models import RECIPE, structure_for, training_for
from benchmarks.distillation import taught
from benchmarks.measured_results import Mean
from benchmarks.runs import RESULTS
from benchmarks.sentences import SIZE_NAMES
from benchmarks.training import train

FOLDER = "ablation"
WHOLE = "as in the results"


@dataclass(frozen=True, eq=False)
class Case:
    """A model of which settings are changed.

    Attributes:
        task, model, size: Strings, keys of `tasks.TASKS`, `compared_models.LAYERS` and
            `compared_models.SIZES`.
        seeds: Integer, how many.
        changes: Dictionary from a name to what is changed of `compared_models.Training` and
            `compared_models.Structure`; "teacher" is the model and size that are distilled.
    """

    task: str
    model: str
    size: str
    seeds: int
    changes: dict[str, dict]


def _rates(task: str, model: str, *rates: float) -> Case:
    changes = {f"a learning rate of {rate:g}": {"learning_rate": rate} for rate in rates}
    return Case(task, model, "3KB", 2, {WHOLE: {}, **changes})


_OF_THE_RECIPE = {
    WHOLE: {},
    "matrices of normal noise of 0.1, as the authors start": {"initializer": None},
    "no rise of the learning rate at first": {"warm_up": 0.0},
    "no augmentation": {"augments": False},
}
_ON_SPEECH = {
    "half the learning rate": {"learning_rate": 1e-2, "fine_learning_rate": 1e-3},
    "gradients cut to a norm of 0.2, not 1": {"largest_gradient": 0.2},
    "half the epochs": {"epochs": 60, "fine_epochs": 6},
    "tanh as the gate": {"recurrent_activation": "tanh"},
    "full rank, more zeros": {"recurrent_rank": None, "recurrent_sparsity": 0.7},
    "4-bit weights, no zeros": {
        "weight_bits": 4,
        "kernel_sparsity": 0.0,
        "recurrent_sparsity": 0.0,
    },
}
_ON_HAR_2 = {
    "gradients cut to a norm of 1, not 0.2": {"largest_gradient": 1.0},
    "U of two factors, more zeros in W": {"recurrent_rank": 10, "kernel_sparsity": 0.5},
}
_DISTILLATION = {"distillation, of a FastGRNN L of 6 KB": {"teacher": ("FastGRNN L", "6KB")}}
CASES = (
    Case("speech", RECIPE, "1KB", 3, _OF_THE_RECIPE | _ON_SPEECH | _DISTILLATION),
    Case("har2", RECIPE, "1KB", 3, _OF_THE_RECIPE | _ON_HAR_2 | _DISTILLATION),
    _rates("speech", "FastGRNN", 1e-2, 5e-3),
    _rates("speech", "FastGRNN L", 1e-2, 5e-3),
    _rates("speech", "FastRNN", 2e-2, 1e-2, 2e-3),
    _rates("speech", "GRU", 2e-2, 1e-2, 2e-3),
    _rates("speech", "LSTM", 2e-2, 1e-2, 2e-3),
    _rates("speech", "SimpleRNN", 2e-2, 5e-3, 1e-3),
    _rates("har2", "FastGRNN", 5e-3),
    _rates("har2", "FastRNN", 2e-2),
    _rates("har2", "GRU", 2e-2, 1e-2),
    _rates("har2", "LSTM", 2e-2, 1e-2),
    _rates("har2", "SimpleRNN", 2e-2),
)


@dataclass(frozen=True)
class Trial:
    """One training with one setting changed.

    Attributes:
        task, model, size: Strings, as `Case` has them.
        change: String, one of the case's.
        seed: Integer.
    """

    task: str
    model: str
    size: str
    change: str
    seed: int

    @property
    def case(self) -> Case:
        """The case that it is one of."""
        own = self.task, self.model, self.size
        for case in CASES:
            if (case.task, case.model, case.size) == own:
                return case
        raise ValueError(f"no case has {', '.join(own)}")

    def path(self, folder: Path) -> Path:
        """Returns where its result lies."""
        model = self.model.replace(" ", "_")
        number = list(self.case.changes).index(self.change)
        return folder / FOLDER / f"{self.task}-{model}-{number}-{self.seed}.json"

    def __str__(self) -> str:
        return f"{self.task}, {self.model}, {self.change}, seed {self.seed}"


def perform(trial: Trial, data: Path, results: Path) -> str:
    """Trains, and writes the accuracies on the validation sequences; returns them as a line."""
    task = tasks.load(trial.task, data)
    structure = structure_for(trial.model, trial.size, task)
    training = training_for(trial.task, trial.model)
    change = dict(trial.case.changes[trial.change])
    teacher = change.pop("teacher", None)
    own = {field.name for field in dataclasses.fields(training)}
    training = dataclasses.replace(training, **{k: v for k, v in change.items() if k in own})
    structure = dataclasses.replace(structure, **{k: v for k, v in change.items() if k not in own})
    checkpoint = results / "checkpoints" / trial.path(results).stem
    if teacher:
        name, size = teacher
        given = structure_for(name, size, task), training_for(task.name, name)
        task = taught(task, name, *given, trial.seed, checkpoint / "teacher")
    trained = train(trial.model, task, structure, training, trial.seed, checkpoint, ("int16x8",))
    validation = {one.name: one.validation for one in trained}
    runs.write(
        trial.path(results),
        {
            "trial": dataclasses.asdict(trial),
            "structure": dataclasses.asdict(structure),
            "training": dataclasses.asdict(training),
            "validation": validation,
            "environment": runs.environment(),
        },
    )
    shutil.rmtree(checkpoint)
    return ", ".join(f"{name} {100 * value:.2f} %" for name, value in validation.items())


def table(results: Path) -> str:
    """Returns a Markdown table of the mean accuracies and of what each change costs.

    Args:
        results: Path of the folder of all results.
    """
    found = {}
    for trial, accuracy in read(results):
        found.setdefault((trial.case, trial.change), []).append(100 * accuracy)
    lines = [
        "| task | model | change | validation accuracy | difference | seeds |",
        "|---|---|---|---|---|---|",
    ]
    for case in CASES:
        own = {change: found.get((case, change)) for change in case.changes}
        rows = [_row(case, change, own[WHOLE], values) for change, values in own.items() if values]
        lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines)


def read(results: Path) -> list[tuple[Trial, float]]:
    """Returns all trials of a folder of results with their accuracies.

    Raises:
        ResultsError: If one is damaged, or of a case that is none of `CASES`.
    """
    return [_read(path, results) for path in sorted((results / FOLDER).glob("*.json"))]


def _read(path: Path, results: Path) -> tuple[Trial, float]:
    one = runs.read(path)
    try:
        trial = Trial(**one["trial"])
        if trial.path(results) != path:
            raise ValueError(f"it holds {trial}")
        return trial, float(one["validation"][trial.model])
    except (KeyError, TypeError, ValueError) as error:
        raise runs.ResultsError(f"{path} is not the result of a trial: {error!r}") from None


def _row(case: Case, change: str, whole: list[float] | None, values: list[float]) -> list[str]:
    mean = Mean.of(values)
    difference = f"{round(mean.mean, 2) - round(Mean.of(whole).mean, 2):+.2f}" if whole else ""
    if change == WHOLE:
        change += f": a learning rate of {training_for(case.task, case.model).learning_rate:g}"
    name = f"{case.model}, {SIZE_NAMES[case.size]}"
    return [case.task, name, change, str(mean), difference, str(len(values))]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser("ablation", description=__doc__.splitlines()[0])
    add, count = parser.add_argument, positive_integer
    add("--seeds", type=count, help="at most so many of each; default: 2 or 3")
    add("--workers", type=count, default=2, help="trainings beside each other; default: 2")
    add("--data", type=Path, default=tasks.DEFAULT_DATA, help="folder with the archives")
    add("--results", type=Path, default=RESULTS, help=f"default: {RESULTS}")
    given = parser.parse_args(arguments)
    trials = [
        Trial(case.task, case.model, case.size, change, seed)
        for case in CASES
        for seed in range(case.seeds)[: given.seeds]
        for change in case.changes
    ]
    try:
        read(given.results)
        for name in dict.fromkeys(case.task for case in CASES):
            tasks.check(name, given.data)
    except (runs.ResultsError, tasks.DataError) as error:
        sys.exit(f"ablation: {error}")
    waiting = [trial for trial in trials if not trial.path(given.results).exists()]
    failures = pool.perform_all(perform, waiting, (given.data, given.results), given.workers)
    if failures:
        sys.exit("\n".join(["ablation: these trainings failed", *failures]))
    print(table(given.results))


if __name__ == "__main__":
    main()
