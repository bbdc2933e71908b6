"""GRU and LSTM, sparse and trained with the device's rounding, as FastGRNN LSQ is.

    python -m benchmarks.compressed_peers [--seeds N] [--models GRU LSTM]

The peers of the results are dense and rounded after training, for no other project prunes and
rounds them in training. Here they have what FastGRNN LSQ has on HAR-2: the same stages, epochs,
batches, augmentation, fractions of zeros and biases of a byte, at their own learning rate, as wide
as 1,024 bytes allow. Leaves one JSON file a training in `benchmarks/results/compressed_peers/`,
goes on where it was stopped, and prints a table of the accuracies on TFLite Micro, in int16x8.
"""

import argparse
import dataclasses
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import deployment, runs, tasks, training
from benchmarks.command_line import positive_integer
from benchmarks.compared_models import RECIPE, SIZES, Structure, build, structure_for, training_for
from benchmarks.measured_results import Mean
from benchmarks.runs import RESULTS, Run
from keras_fastgrnn.models import cells_of, matrices_of

FOLDER = "compressed_peers"
TASK, SIZE, SEEDS = "har2", "1KB", 3
MODELS = ("GRU", "LSTM")


def path_of(run: Run, folder: Path) -> Path:
    """Returns where the result of a training lies."""
    return folder / FOLDER / f"{run.task}-{run.model}-{run.size}-{run.seed}.json"


def widest(model: str, task: tasks.Task) -> Structure:
    """Returns the widest structure with the zeros of FastGRNN LSQ that fits the bytes.

    Args:
        model: String, one of `MODELS`.
        task: `Task`.
    """
    template = structure_for(RECIPE, SIZE, task)
    fitting = None
    for units in range(1, template.units + 1):
        structure = dataclasses.replace(template, units=units)
        if _bytes_of(model, structure, task) > SIZES[SIZE]:
            break
        fitting = structure
    return fitting


def _bytes_of(model: str, structure: Structure, task: tasks.Task) -> int:
    """The bytes of a model with so many zeros, which lie anywhere."""
    built = build(model, structure, task.shape, task.classes)
    (cell,) = cells_of(built.layers[0])
    fractions = {
        "kernel": structure.kernel_sparsity,
        "recurrent_kernel": structure.recurrent_sparsity,
    }
    rng = np.random.default_rng(0)
    for name, fraction in fractions.items():
        for weight in matrices_of(cell, name):
            values = np.ones(weight.shape)
            values.flat[rng.permutation(values.size)[: int(fraction * values.size)]] = 0.0
            weight.assign(values)
    return deployment.stored_bytes(built, structure.weight_bits, structure.bias_bytes)["best"]


def perform(run: Run, data: Path, results: Path) -> str:
    """Trains, deploys and measures; writes the result; returns a line about it.

    Args:
        run: `Run` of one of `MODELS`.
        data: Path of the folder with the archives.
        results: Path of the folder for the results.
    """
    task = tasks.load(run.task, data)
    structure = widest(run.model, task)
    checkpoint = results / "checkpoints" / path_of(run, results).stem
    rounded, trained = training.train(
        run.model,
        task,
        structure,
        training_for(run.task, run.model),
        run.seed,
        checkpoint,
        formats=("int16x8",),
        compressed=True,
    )
    aware = trained.aware["int16x8"]
    measured = {
        "run": dataclasses.asdict(run),
        "structure": dataclasses.asdict(structure),
        "validation": {"rounded": rounded.validation, "trained": trained.validation},
        "test": deployment.on_tflm(aware, task.test)["accuracy"],
        "test_rounded": deployment.on_tflm(rounded.aware["int16x8"], task.test)["accuracy"],
        "stored_bytes": deployment.stored_bytes(aware, structure.weight_bits, structure.bias_bytes)[
            "best"
        ],
        "environment": runs.environment(),
    }
    runs.write(path_of(run, results), measured)
    shutil.rmtree(checkpoint)
    return f"{100 * measured['test']:.2f} %"


@dataclass(frozen=True)
class CompressedPeer:
    """What was measured of a peer that is compressed as FastGRNN LSQ is, over its seeds.

    Attributes:
        units: List of integers, of each seed.
        stored_bytes: List of integers, of all parameters, of each seed.
        rounded, trained: `Mean` of the accuracies in percent on TFLite Micro, rounded after
            training and trained with rounding.
    """

    units: list[int]
    stored_bytes: list[int]
    rounded: Mean
    trained: Mean


def read(results: Path) -> dict[str, CompressedPeer]:
    """Returns what was measured, by the name of the model.

    Args:
        results: Path of the folder of all results.

    Raises:
        ResultsError: If a file is damaged.
    """
    found: dict[str, list[tuple]] = {}
    for path in sorted((results / FOLDER).glob("*.json")):
        one = runs.read(path)
        try:
            run = Run(**one["run"])
            if path_of(run, results) != path:
                raise ValueError(f"it holds {run}")
            accuracies = [100 * float(one[name]) for name in ("test_rounded", "test")]
            entry = int(one["structure"]["units"]), int(one["stored_bytes"]), *accuracies
        except (KeyError, TypeError, ValueError) as error:
            raise runs.ResultsError(f"{path} is not the result of a training: {error!r}") from None
        found.setdefault(run.model, []).append(entry)
    peers = {}
    for model, entries in found.items():
        units, sizes, rounded, trained = map(list, zip(*entries, strict=True))
        peers[model] = CompressedPeer(units, sizes, Mean.of(rounded), Mean.of(trained))
    return peers


def table(results: Path) -> str:
    """Returns a Markdown table of the accuracies; empty where nothing was run.

    Args:
        results: Path of the folder of all results.

    Raises:
        ResultsError: If a file is damaged.
    """
    peers = read(results)
    if not peers:
        return ""
    lines = [
        "| model | units | bytes | rounded after training | trained with rounding | seeds |",
        "|---|---|---|---|---|---|",
    ]
    for model, peer in peers.items():
        columns = [model, _range(peer.units), _range(peer.stored_bytes)]
        columns += [str(peer.rounded), str(peer.trained), str(peer.trained.count)]
        lines.append(f"| {' | '.join(columns)} |")
    return "\n".join(lines)


def _range(values: list[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser("compressed_peers", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--seeds", type=positive_integer, default=SEEDS, help=f"of each model; default: {SEEDS}")
    add("--models", nargs="+", choices=MODELS, default=MODELS, help="default: both")
    add("--data", type=Path, default=tasks.DEFAULT_DATA, help="folder with the archives")
    add("--results", type=Path, default=RESULTS, help=f"default: {RESULTS}")
    given = parser.parse_args(arguments)
    try:
        table(given.results)
        tasks.check(TASK, given.data)
        for seed in range(given.seeds):
            for model in given.models:
                run = Run(TASK, model, SIZE, seed)
                if not path_of(run, given.results).exists():
                    print(f"{run}: {perform(run, given.data, given.results)}", flush=True)
        print(table(given.results))
    except (runs.ResultsError, tasks.DataError) as error:
        sys.exit(f"compressed_peers: {error}")


if __name__ == "__main__":
    main()
