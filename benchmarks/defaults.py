"""What `recipe.fit_lsq` gives by its own defaults, beside the results, which choose settings.

    python -m benchmarks.defaults [--seeds N] [--tasks TASK ...]

Trains the recipe's model of 1 KB with the layers' own initial weights and `fit_lsq`'s own learning
rate, optimizer, batches and quantized stage; what is left to choose are the model's structure, the
number of epochs and the augmentation, which are those of the results. Leaves one JSON file a
training in `benchmarks/results/defaults/`, goes on where it was stopped, and prints a table of the
accuracies on TFLite Micro, in int16x8.
"""

import argparse
import dataclasses
import shutil
import sys
from pathlib import Path

from benchmarks import deployment, runs, tasks
from benchmarks.command_line import positive_integer
from benchmarks.compared_models import RECIPE, build, structure_for, training_for
from benchmarks.measured_results import Mean
from benchmarks.runs import RESULTS, Run
from keras_fastgrnn import keras, recipe

FOLDER = "defaults"
TASKS = ("har2", "speech")
SIZE = "1KB"
SEEDS = 3


def path_of(run: Run, folder: Path) -> Path:
    """Returns where the result of a training lies."""
    return folder / FOLDER / f"{run.task}-{run.size}-{run.seed}.json"


def perform(run: Run, data: Path, results: Path) -> str:
    """Trains, deploys and measures; writes the result; returns a line about it.

    Args:
        run: `Run` of the recipe's model.
        data: Path of the folder with the archives.
        results: Path of the folder for the results.
    """
    task = tasks.load(run.task, data)
    structure = structure_for(RECIPE, run.size, task)
    keras.utils.set_random_seed(run.seed)
    checkpoint = results / "checkpoints" / path_of(run, results).stem
    result = recipe.fit_lsq(
        build(RECIPE, structure, task.shape, task.classes),
        task.training.x,
        task.training.y,
        validation_data=(task.validation.x, task.validation.y),
        kernel_sparsity=structure.kernel_sparsity,
        recurrent_sparsity=structure.recurrent_sparsity,
        epochs=training_for(run.task, RECIPE).epochs,
        augmentation=task.augment,
        weight_bits=structure.weight_bits,
        quantization_options={
            "byte_biases": structure.bias_bytes == 1,
            "power_of_two_weights": True,
        },
        checkpoint=checkpoint,
        seed=run.seed,
        jit_compile=True,
        verbose=0,
    )
    measured = {
        "run": dataclasses.asdict(run),
        "structure": dataclasses.asdict(structure),
        "stages": {
            stage.name: {"validation": stage.validation_accuracy, "best_epoch": stage.best_epoch}
            for stage in result.stages
        },
        "test": deployment.on_tflm(result.model, task.test)["accuracy"],
        "stored_bytes": deployment.stored_bytes(
            result.model, structure.weight_bits, structure.bias_bytes
        )["best"],
        "environment": runs.environment(),
    }
    runs.write(path_of(run, results), measured)
    shutil.rmtree(checkpoint)
    return f"{100 * measured['test']:.2f} %"


def table(results: Path) -> str:
    """Returns a Markdown table of the accuracies by the defaults and of the results'.

    Args:
        results: Path of the folder of all results.

    Raises:
        ResultsError: If a file is damaged.
    """
    lines = [
        "| task | bytes | by the defaults | as in the results | seeds |",
        "|---|---|---|---|---|",
    ]
    found = {}
    for path in sorted((results / FOLDER).glob("*.json")):
        one = runs.read(path)
        try:
            run = Run(**one["run"])
            if path_of(run, results) != path:
                raise ValueError(f"it holds {run}")
            accuracy, stored = float(one["test"]), int(one["stored_bytes"])
        except (KeyError, TypeError, ValueError) as error:
            raise runs.ResultsError(f"{path} is not the result of a training: {error!r}") from None
        found.setdefault((run.task, run.size, stored), []).append((run, accuracy))
    for (name, _, stored), trained in found.items():
        own = [
            runs.read(path)["models"][RECIPE]["int16x8"]["accuracy"]
            for path in (run.path(results) for run, _ in trained)
            if path.exists()
        ]
        given = [accuracy for _, accuracy in trained]
        means = [str(Mean.of([100 * one for one in some])) if some else "" for some in (given, own)]
        columns = [name, f"{stored:,}", *means, str(len(given))]
        lines.append(f"| {' | '.join(columns)} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser("defaults", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--seeds", type=positive_integer, default=SEEDS, help=f"of each task; default: {SEEDS}")
    add("--tasks", nargs="+", choices=TASKS, default=TASKS, help="default: both")
    add("--data", type=Path, default=tasks.DEFAULT_DATA, help="folder with the archives")
    add("--results", type=Path, default=RESULTS, help=f"default: {RESULTS}")
    given = parser.parse_args(arguments)
    runs_asked_for = [
        Run(task, RECIPE, SIZE, seed) for task in given.tasks for seed in range(given.seeds)
    ]
    try:
        table(given.results)
        for task in given.tasks:
            tasks.check(task, given.data)
        for run in runs_asked_for:
            if not path_of(run, given.results).exists():
                print(f"{run}: {perform(run, given.data, given.results)}", flush=True)
        print(table(given.results))
    except (runs.ResultsError, tasks.DataError) as error:
        sys.exit(f"defaults: {error}")


if __name__ == "__main__":
    main()
