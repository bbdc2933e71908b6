"""All benchmarks of accuracy against bytes and cycles, in one command.

    python -m benchmarks [--tasks ...] [--models ...] [--sizes ...] [--seeds N] [--quick]

Trains every model of the grid on every task, deploys it, measures it, and leaves a JSON file a run
in `benchmarks/results/`; a run whose file is there is not repeated, and one that was interrupted
goes on from its last epoch. `benchmarks/RESULTS.md`, the findings, `benchmarks/TABLES.md`, all the
numbers, and the pictures are written from these files alone. benchmarks/README.md says where the
data comes from.
"""

import argparse
import sys
from pathlib import Path

from benchmarks import (
    ablation,
    compressed_peers,
    document,
    measured_results,
    pool,
    runs,
    stock,
    tasks,
)
from benchmarks.command_line import positive_integer
from benchmarks.compared_models import LAYERS, SIZES
from benchmarks.deployment import DEVICES
from benchmarks.grid import QUICK, required_runs
from benchmarks.runs import ResultsError, Run
from examples.firmware import firmware

QUICK_RESULTS = Path("build/benchmarks")
_DEFAULT = "default: those of the required grid; where models or sizes are named"


def chosen_runs(given) -> list[Run]:
    """Returns the runs that the command line names; the required grid where it names none."""
    if given.quick:
        return [QUICK]
    if not (given.models or given.sizes):
        return [run for run in required_runs(given.seeds) if run.task in given.tasks]
    return [
        Run(task, model, size, seed)
        for task in given.tasks
        for seed in range(given.seeds or 1)
        for model in given.models or LAYERS
        for size in given.sizes or SIZES
    ]


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("benchmarks", description=__doc__, formatter_class=formatter)
    add, count = parser.add_argument, positive_integer
    add("--tasks", nargs="+", choices=list(tasks.TASKS), default=list(tasks.TASKS))
    add("--models", nargs="+", choices=list(LAYERS), help=f"{_DEFAULT}, all")
    add("--sizes", nargs="+", choices=list(SIZES), help=f"{_DEFAULT}, all")
    add("--seeds", type=count, help=f"seeds of each; {_DEFAULT}, 1")
    add("--data", type=Path, default=tasks.DEFAULT_DATA, help="folder with the archives")
    add("--results", type=Path, help=f"default: {runs.RESULTS}; quick: {QUICK_RESULTS}")
    add("--workers", type=count, default=2, help="runs beside each other; default: 2")
    add("--quick", action="store_true", help="one small run in two minutes; no document")
    add("--document", action="store_true", help="write the documents alone, run nothing")
    given = parser.parse_args(arguments)
    if given.quick:
        for name in ("tasks", "models", "sizes", "seeds", "document"):
            if getattr(given, name) != parser.get_default(name):
                parser.error(f"argument --quick: not allowed with argument --{name}")
    if given.results is None:
        given.results = QUICK_RESULTS if given.quick else runs.RESULTS
    elif given.quick and given.results.resolve() == runs.RESULTS:
        parser.error("argument --results: expected another folder than that of whole runs")
    return given


def check(given: argparse.Namespace, chosen: list[Run]) -> None:
    """Raises an error in one line unless all that the chosen runs need is there."""
    if given.results.exists() and not given.results.is_dir():
        raise ResultsError(f"{given.results} is no folder")
    for read in (measured_results.read_files, ablation.read, compressed_peers.read, stock.read):
        read(given.results)
    for device in DEVICES:
        firmware.check_tools(firmware.TARGETS[device])
    for name in dict.fromkeys(run.task for run in chosen):
        tasks.check(name, given.data)


def main(arguments: list[str] | None = None) -> None:
    given = parse(arguments)
    if not given.document:
        chosen = chosen_runs(given)
        try:
            check(given, chosen)
        except (ResultsError, firmware.MissingToolError, tasks.DataError) as error:
            sys.exit(f"benchmarks: {error}")
        waiting = [run for run in chosen if not run.path(given.results).exists()]
        print(f"{len(chosen)} runs, {len(chosen) - len(waiting)} of them done before", flush=True)
        arguments = given.data, given.results, given.quick
        failures = pool.perform_all(runs.perform, waiting, arguments, given.workers)
        if failures:
            sys.exit("\n".join(["benchmarks: these runs failed", *failures]))
    if not given.quick:
        try:
            written = document.write(given.results)
        except ResultsError as error:
            sys.exit(f"benchmarks: {error}")
        for path in written:
            print(f"Written: {path}")


if __name__ == "__main__":
    main()
