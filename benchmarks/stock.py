"""The stock converter on the benchmarks' models: what it makes of them, or its error.

    python -m benchmarks.stock [--tasks ...] [--data FOLDER] [--results FOLDER] [--timeout SECONDS]

Takes FastGRNN, GRU, LSTM and SimpleRNN of equal hidden size, as Keras makes them, with seeded
weights: bytes, arena and time do not depend on training. Each conversion runs in a process of its
own, is measured in turns with our int16x8 streaming model of the same Keras model, and leaves a
JSON file in `benchmarks/results/stock/`; a conversion whose file is there is not repeated.
"""

import argparse
import dataclasses
import sys
import time
from importlib.metadata import version
from pathlib import Path

from benchmarks import runs, tasks
from benchmarks.command_line import positive_integer
from benchmarks.compared_models import EQUAL_UNITS
from benchmarks.export_size import seeded_model
from benchmarks.measurements import Model, Stopwatch, measure
from benchmarks.stock_converter import LAYERS, Job, convert
from benchmarks.training import calibration_data
from keras_fastgrnn import export
from keras_fastgrnn.export.tflm.process import TFLMProcess

FOLDER = "stock"
WORK = Path("build/stock")
TASKS = ("har2", "speech")
TITLES = {
    ("loop", None, "Keras 3"): "float loop",
    ("loop", "int8", "Keras 3"): "int8 loop",
    ("loop", "int8", "tf_keras"): "int8, fused, tf_keras",
    ("unrolled", "int8", "Keras 3"): "int8, unrolled",
}
TIMEOUT = 900
ROUNDS = 100
TEST_SEQUENCES = 8


def jobs(classes: int) -> list[Job]:
    """Returns what the converter is asked for on a task.

    Args:
        classes: Integer, of the task.

    Returns:
        List of `Job`. Only LSTM has a fused operator.
    """
    return [
        Job(layer, form, quantization, 1, flavor, EQUAL_UNITS, classes)
        for form, quantization, flavor in TITLES
        for layer in LAYERS
        if flavor == "Keras 3" or layer == "LSTM"
    ]


def path_of(task: str, job: Job, folder: Path) -> Path:
    """Returns where the result of a conversion lies."""
    words = task, job.layer, job.form, job.quantization or "float32", job.flavor
    return folder / FOLDER / f"{'-'.join(words).replace(' ', '_')}.json"


def perform(task: tasks.Task, job: Job, timeout: float) -> dict:
    """Converts a model, measures it beside ours, and returns the result.

    Args:
        task: `Task`.
        job: `Job`.
        timeout: Float, seconds that the conversion may take.

    Returns:
        Dictionary with "ours" and "stock", each with what `_measured` returns, and "stock" with
        "failure" instead where there is no file or it does not run.
    """
    x, test = calibration_data(task.training), task.test.x[:TEST_SEQUENCES]
    keras_model = seeded_model(job.layer, *task.shape, job.units, job.classes)
    deployed = export.convert(keras_model, x, quantization="int16x8")
    ours = Model(job.layer, "", "streaming", "int16x8", deployed.tflite, ["x"], ["y"])
    begin = time.monotonic()
    made = convert(job, keras_model.get_weights(), x, WORK, timeout)
    seconds = time.monotonic() - begin
    stock = Model(
        job.layer,
        "",
        job.form,
        job.quantization,
        made.tflite,
        made.inputs,
        made.outputs,
        made.error,
    )
    expected = keras_model.predict(test, verbose=0)
    with TFLMProcess() as process:
        measure(ours, test, expected, process)
        if stock.failure is None:
            measure(stock, test, expected, process)
    if stock.failure is None:
        watches = Stopwatch(ours), Stopwatch(stock)
        for _ in range(ROUNDS):
            for watch in watches:
                watch.round()
    return {
        "task": task.name,
        "job": dataclasses.asdict(job),
        "ours": _measured(ours),
        "stock": _measured(stock),
        "conversion_seconds": seconds,
        "environment": {**runs.environment(), "tf_keras": version("tf_keras")},
    }


def _measured(model: Model) -> dict:
    """What there is of a model's bytes, arena, microseconds a step, error, and failure."""
    found = {
        "file_bytes": None if model.tflite is None else len(model.tflite),
        "arena_bytes": model.arena,
        "invoke_us_a_step": min(model.invoke, default=None),
        "error": model.error,
        "failure": model.failure,
    }
    return {name: value for name, value in found.items() if value is not None}


def table(folder: Path) -> str:
    """Returns the stock converter's models beside ours, as Markdown.

    Args:
        folder: Path of the folder of all results.

    Returns:
        String, a table with a line for each of our models, and below it one for each conversion
        that has a result.
    """
    lines = [
        "| task | layer | model | bytes | arena | Invoke, x ours | error | failure |",
        "|---|---|---|---|---|---|---|---|",
    ]
    order = [*TASKS, *LAYERS, *TITLES.values()]
    rows = read(folder)
    before = None
    for key in sorted(rows, key=lambda key: [order.index(word) for word in key]):
        task, layer, title = key
        ours, stock = rows[key]["ours"], rows[key]["stock"]
        if before != (task, layer):
            lines.append(_row(task, layer, "ours, int16x8 streaming", ours, 1.0))
        before = task, layer
        ratio = None
        if "invoke_us_a_step" in stock:
            ratio = stock["invoke_us_a_step"] / ours["invoke_us_a_step"]
        lines.append(_row(task, layer, title, stock, ratio))
    return "\n".join(lines) + "\n"


def read(folder: Path) -> dict[tuple[str, str, str], dict]:
    """Returns the results of a folder under their task, their layer and what was asked for.

    Raises:
        ResultsError: If one is damaged.
    """
    return dict(_read(path, folder) for path in (folder / FOLDER).glob("*.json"))


def _read(path: Path, folder: Path) -> tuple[tuple[str, str, str], dict]:
    one = runs.read(path)
    try:
        job = Job(**one["job"])
        if path_of(one["task"], job, folder) != path:
            raise ValueError(f"it holds {one['task']}, {job}")
        if "invoke_us_a_step" in one["stock"]:
            one["ours"]["invoke_us_a_step"]
        title = TITLES[job.form, job.quantization, job.flavor]
    except (KeyError, TypeError, ValueError) as error:
        raise runs.ResultsError(f"{path} is not the result of a conversion: {error!r}") from None
    return (one["task"], job.layer, title), one


def _row(task: str, layer: str, title: str, measured: dict, ratio: float | None) -> str:
    sizes = [f"{measured[k]:,}" if k in measured else "" for k in ("file_bytes", "arena_bytes")]
    error = _percent(measured["error"]) if "error" in measured else ""
    failure = measured.get("failure", "").replace("|", "\\|")
    cells = [task, layer, title, *sizes, "" if ratio is None else f"{ratio:.2f}", error, failure]
    return f"| {' | '.join(cells)} |"


def _percent(error: float) -> str:
    return f"{100 * error:.0f} %" if error >= 0.1 else f"{100 * error:.2g} %"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    add = parser.add_argument
    add("--tasks", nargs="+", choices=TASKS, default=TASKS, help="default: all")
    add("--data", type=Path, default=tasks.DEFAULT_DATA, help="folder with the archives")
    add("--results", type=Path, default=runs.RESULTS, help=f"default: {runs.RESULTS}")
    add("--timeout", type=positive_integer, default=TIMEOUT, help="seconds for one conversion")
    given = parser.parse_args(arguments)
    try:
        read(given.results)
        chosen = [tasks.load(name, given.data) for name in given.tasks]
    except (runs.ResultsError, tasks.DataError) as error:
        sys.exit(f"benchmarks.stock: {error}")
    for task in chosen:
        for job in jobs(task.classes):
            path = path_of(task.name, job, given.results)
            if not path.exists():
                result = perform(task, job, given.timeout)
                runs.write(path, result)
                print(path.name, result["stock"], flush=True)


if __name__ == "__main__":
    main()
