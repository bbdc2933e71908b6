"""What each part of the training is worth: one part less at a time, on validation sequences alone.

    python -m benchmarks.ablation [--seeds N] [--workers N]

Trains the recipe's model of 1 KB on speech commands and on HAR-2 as the results were trained, and
with one setting changed; the width stays, so a change of the structure changes the bytes. Leaves
one JSON file a training in `benchmarks/results/ablation/`; `python -m benchmarks --document` makes
a table of them. The test sequences are not touched.
"""

import argparse
import dataclasses
import json
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks import pool, runs, tasks
from benchmarks.models import RECIPE, structure_for, training_for
from benchmarks.runs import RESULTS
from benchmarks.training import train

FOLDER = "ablation"
SIZE = "1KB"
SEEDS = 3
WHOLE = "as in the results"
# What is changed of `models.Training` and of `models.Structure`, by task.
_OF_BOTH = {
    WHOLE: {},
    "matrices of normal noise of 0.1, as the authors start": {"initializer": None},
    "no rise of the learning rate at first": {"warm_up": 0.0},
    "no augmentation": {"augments": False},
}
CHANGES = {
    "speech": {
        **_OF_BOTH,
        "half the learning rate": {"learning_rate": 1e-2, "fine_learning_rate": 1e-3},
        "gradients cut to a norm of 0.2, not 1": {"largest_gradient": 0.2},
        "half the epochs": {"epochs": 0.5},
        "tanh as the gate": {"recurrent_activation": "tanh"},
        "full rank, more zeros": {"recurrent_rank": None, "recurrent_sparsity": 0.7},
        "4-bit weights, no zeros": {
            "weight_bits": 4,
            "kernel_sparsity": 0.0,
            "recurrent_sparsity": 0.0,
        },
    },
    "har2": {
        **_OF_BOTH,
        "gradients cut to a norm of 1, not 0.2": {"largest_gradient": 1.0},
        "U of two factors, more zeros in W": {"recurrent_rank": 10, "kernel_sparsity": 0.5},
    },
}


@dataclass(frozen=True)
class Trial:
    """One training with one setting changed.

    Attributes:
        task: String, a key of `CHANGES`.
        change: String, one of the task's.
        seed: Integer.
    """

    task: str
    change: str
    seed: int

    def path(self, folder: Path) -> Path:
        """Returns where its result lies."""
        number = list(CHANGES[self.task]).index(self.change)
        return folder / FOLDER / f"{self.task}-{number}-{self.seed}.json"

    def __str__(self) -> str:
        return f"{self.task}, {self.change}, seed {self.seed}"


def perform(trial: Trial, data: Path, results: Path) -> str:
    """Trains, and writes the accuracies on the validation sequences; returns them as a line."""
    task = tasks.load(trial.task, data)
    structure, training = structure_for(RECIPE, SIZE, task), training_for(trial.task)
    change = dict(CHANGES[trial.task][trial.change])
    if "epochs" in change:
        change["epochs"] = int(change["epochs"] * training.epochs) // 3 * 3
    own = {field.name for field in dataclasses.fields(training)}
    training = dataclasses.replace(training, **{k: v for k, v in change.items() if k in own})
    structure = dataclasses.replace(structure, **{k: v for k, v in change.items() if k not in own})
    checkpoint = results / "checkpoints" / trial.path(Path()).stem
    formats = ("int16x8",)
    trained = train(RECIPE, task, structure, training, trial.seed, checkpoint, formats)
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
    return ", ".join(f"{name} {100 * value:.2f} %" for name, value in validation.items())


def table(results: Path) -> str:
    """Returns a Markdown table of the mean accuracies and of what each change costs.

    Args:
        results: Path of the folder of all results.
    """
    found = {}
    for path in sorted((results / FOLDER).glob("*.json")):
        one = json.loads(path.read_text())
        key = one["trial"]["task"], one["trial"]["change"]
        found.setdefault(key, []).append(100 * one["validation"][RECIPE])
    lines = [
        "| task | change | validation accuracy | difference | seeds |",
        "|---|---|---|---|---|",
    ]
    for task, changes in CHANGES.items():
        for change in changes:
            values = found.get((task, change))
            if values:
                mean = statistics.mean(values)
                difference = mean - statistics.mean(found.get((task, WHOLE), values))
                spread = f" &plusmn; {statistics.stdev(values):.2f}" if len(values) > 1 else ""
                cells = task, change, f"{mean:.2f}{spread}", f"{difference:+.2f}", str(len(values))
                lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser("ablation", description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--data", type=Path, default=tasks.DEFAULT_DATA)
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args(arguments)
    trials = [
        Trial(task, change, seed)
        for seed in range(given.seeds)
        for task, changes in CHANGES.items()
        for change in changes
    ]
    waiting = [trial for trial in trials if not trial.path(given.results).exists()]
    failures = pool.perform_all(perform, waiting, (given.data, given.results), given.workers)
    if failures:
        sys.exit("\n".join(["ablation: these trainings failed", *failures]))
    print(table(given.results))


if __name__ == "__main__":
    main()
