"""Results of benchmarks as their runs write them, with made up numbers."""

import json

import pytest

from benchmarks.measured_results import models_of
from benchmarks.runs import Run

REASON = "ATmega328P, 16 MHz (simavr) did not end within 60 s."


def write(folder, task="har2", model="GRU", size="3KB", seed=0, **numbers):
    """Writes a file, and returns its path.

    Args:
        folder: Path of the folder of all results.
        task, model, size, seed: Those of `runs.Run`.
        **numbers: Those of `content`.
    """
    run = Run(task, model, size, seed)
    path = run.path(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content(run, **numbers)))
    return path


def write_seeds(folder, accuracies, **numbers):
    """Writes a file for each of some accuracies, as seeds 0, 1 and so on of what `numbers` say."""
    for seed, accuracy in enumerate(accuracies):
        write(folder, seed=seed, accuracy=accuracy, **numbers)


def check_damage_is_told(main, folder, change, reason):
    """Damages the only result of a folder, and checks the line that a command ends with.

    Args:
        main: Function, the command's.
        folder: Path of the folder of all results.
        change: Function that damages what the file holds.
        reason: String, which the line has.
    """
    (path,) = folder.rglob("*.json")
    file = json.loads(path.read_text())
    change(file)
    for text, expected in ((json.dumps(file), reason), ("{", "is not JSON")):
        path.write_text(text)
        with pytest.raises(SystemExit) as exit:
            main(["--results", str(folder)])
        line = exit.value.code
        assert f": {path} is not" in line and expected in line and "\n" not in line


def content(run, accuracy=0.9, stored=3000, step=10000.0, on_atmega=True, seconds=90.0, **stamps):
    """Returns what a file holds.

    Args:
        run: `runs.Run`.
        accuracy: Float, on TFLite Micro in int16x8. It is .01 more in Keras and .02 less in int8.
        stored: Integer, bytes.
        step: Float, instructions on a Cortex-M4.
        on_atmega: Boolean, whether the model runs on an ATmega328P.
        seconds: Float, of a training of 45 epochs.
        **stamps: Entries of the environment.
    """
    measured = {
        "validation": accuracy,
        "keras": _quality(min(accuracy + 0.01, 1)),
        "epochs": 45,
        "training_cpu_seconds": seconds,
        "int16x8": _on_tflm(accuracy, stored),
        "int8": _on_tflm(max(accuracy - 0.02, 0), stored),
        "c": {
            **_quality(accuracy),
            "constant_bytes": stored + 500,
            "cortex-m4": {"step": step, "output": 500.0, "flash": 3000, "ram": 300},
            "atmega328p": {"step": 8 * step, "output": 4000.0, "flash": 4000, "ram": 300}
            if on_atmega
            else REASON,
        },
        "stored_bytes": {"best": stored, "paper": stored + 400},
    }
    is_sparse = run.model == "FastGRNN LSQ"
    return {
        "run": vars(run),
        "structure": {
            "units": 34,
            "kernel_rank": None,
            "recurrent_rank": 11 if run.model == "FastGRNN L" else None,
            "kernel_sparsity": 0.5 if is_sparse else 0.0,
            "recurrent_sparsity": 0.7 if is_sparse else 0.0,
            "weight_bits": 8,
            "bias_bytes": 1 if is_sparse else 4,
        },
        "training": {
            "epochs": 45,
            "fine_epochs": 6,
            "batch_size": 64,
            "learning_rate": 0.01,
            "largest_gradient": 0.2,
            "label_smoothing": 0.0,
        },
        "models": dict.fromkeys(models_of(run), measured),
        "cpu_seconds": 1800.0,
        "wall_seconds": 1000.0,
        "environment": {
            "date": "2026-11-22",
            "commit": "0123456",
            "python": "3.11.7",
            "system": "Linux x86_64, 2 CPUs",
            "tensorflow": "2.21.0",
            "keras": "3.15.1",
            "tflite-micro": "0.dev20261023182759",
            "numpy": "2.4.6",
            **stamps,
        },
    }


def _quality(accuracy):
    return {"accuracy": accuracy, "f1": accuracy / 2}


def _on_tflm(accuracy, stored):
    costs = {"file_bytes": stored + 2000, "arena_bytes": 3440, "invoke": 0.58}
    return {**_quality(accuracy), **costs}
