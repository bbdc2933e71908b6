"""Runs of the benchmarks: a task, a model, a size and a seed each, with one JSON file each."""

import dataclasses
import datetime
import json
import os
import platform
import shutil
import subprocess
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from benchmarks import deployment, tasks
from benchmarks.compared_models import SIZES, structure_for, training_for
from benchmarks.training import calibration_data, train
from keras_fastgrnn import keras

RESULTS = Path(__file__).resolve().parent / "results"
PACKAGES = ("tensorflow", "keras", "tflite-micro", "numpy")


@dataclass(frozen=True)
class Run:
    """One training with everything measured of it.

    Attributes:
        task: String, a key of `tasks.TASKS`.
        model: String, a key of `compared_models.LAYERS`.
        size: String, a key of `compared_models.SIZES`.
        seed: Integer.
    """

    task: str
    model: str
    size: str
    seed: int

    def path(self, folder: Path) -> Path:
        """Returns where its result lies."""
        model = self.model.replace(" ", "_")
        return folder / self.task / f"{model}-{self.size}-{self.seed}.json"

    def __str__(self) -> str:
        return f"{self.task}, {self.model}, {self.size}, seed {self.seed}"


def perform(run: Run, data: Path, results: Path, is_quick: bool = False) -> str:
    """Trains, deploys and measures; writes the result, whole or not at all.

    Args:
        run: `Run`.
        data: Path of the folder with the archives.
        results: Path of the folder for the results.
        is_quick: Boolean, whether to train and test on few sequences, for few epochs.

    Returns:
        String, a line about the result.
    """
    keras.backend.clear_session()
    wall, cpu = time.perf_counter(), time.process_time()
    task = tasks.load(run.task, data)
    structure = structure_for(run.model, run.size, task)
    training = training_for(run.task, run.model)
    if is_quick:
        training = dataclasses.replace(training, epochs=3, fine_epochs=1)
        task = dataclasses.replace(
            task,
            training=task.training.part(slice(None, None, 3)),
            test=task.test.part(slice(None, None, 10)),
        )
    if twin := _same_model(run, structure, training, results):
        result = {**twin, "run": dataclasses.asdict(run), "cpu_seconds": 0.0, "wall_seconds": 0.0}
        write(run.path(results), result)
        return _summary(result)
    checkpoint = results / "checkpoints" / run.path(Path()).with_suffix("")
    trained = train(run.model, task, structure, training, run.seed, checkpoint)
    measured = {one.name: _measure(one, task, structure) for one in trained}
    result = {
        "run": dataclasses.asdict(run),
        "structure": dataclasses.asdict(structure),
        "training": dataclasses.asdict(training),
        "models": measured,
        "cpu_seconds": time.process_time() - cpu,
        "wall_seconds": time.perf_counter() - wall,
        "environment": environment(),
    }
    write(run.path(results), result)
    shutil.rmtree(checkpoint)
    return _summary(result)


def _same_model(run: Run, structure, training, results: Path) -> dict | None:
    """Returns the result of another size that has the same structure, training and seed."""
    parts = {"structure": structure, "training": training}
    for size in SIZES:
        path = dataclasses.replace(run, size=size).path(results)
        result = read(path) if path.exists() else {}
        if all(result.get(name) == dataclasses.asdict(part) for name, part in parts.items()):
            return result
    return None


class ResultsError(Exception):
    """Results that are missing or damaged."""


def read(path: Path) -> dict:
    """Reads what `write` wrote.

    Raises:
        ResultsError: If the file is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="ascii"))
    except ValueError as error:
        raise ResultsError(f"{path} is not JSON: {error}") from None


def write(path: Path, result: dict) -> None:
    """Writes a result as JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(result, indent=1) + "\n")
    partial.replace(path)


def _measure(trained, task, structure) -> dict:
    ranges = {"calibration_data": calibration_data(task.training)}
    measured = {
        "validation": trained.validation,
        "keras": deployment.in_keras(trained.model, task.test),
        "epochs": trained.epochs,
        "training_cpu_seconds": trained.cpu_seconds,
    }
    for format_ in deployment.FORMATS:
        if trained.aware:
            measured[format_] = deployment.on_tflm(trained.aware[format_], task.test)
        else:
            given = {**ranges, "quantization": format_}
            measured[format_] = deployment.on_tflm(trained.model, task.test, **given)
    if trained.aware:
        deployed = trained.aware["int16x8"]
        measured["c"] = deployment.in_c(deployed, task.test)
    else:
        deployed = trained.model
        measured["c"] = deployment.in_c(deployed, task.test, power_of_two_weights=True, **ranges)
    measured["stored_bytes"] = deployment.stored_bytes(
        deployed, structure.weight_bits, structure.bias_bytes
    )
    return measured


def environment() -> dict:
    """Returns what a result depends on besides its settings."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
    )
    return {
        "date": datetime.date.today().isoformat(),
        "commit": commit.stdout.strip() or "unknown",
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
        **{name: version(name) for name in PACKAGES},
    }


def _summary(result: dict) -> str:
    models = [
        f"{name} {100 * one['int16x8']['accuracy']:.2f} % at {one['stored_bytes']['best']:,} bytes"
        for name, one in result["models"].items()
    ]
    return f"{'; '.join(models)}; {result['wall_seconds']:.0f} s"
