"""The tables of the results, in Markdown."""

import re
import textwrap
from collections.abc import Callable

from benchmarks import paper, sentences
from benchmarks.compared_models import RECIPE, SIZES, Structure
from benchmarks.grid import required_runs
from benchmarks.measured_results import MODELS, PLACES, Cell, Results, models_of
from benchmarks.sentences import SIZE_NAMES

TITLES = {
    "har2": "HAR-2",
    "speech": "Speech (yes, no, unknown)",
    "har": "UCI HAR, 6 classes",
    "dsa": "DSA-19, by subjects",
    "usps": "USPS, row by row",
    "mnist": "MNIST, row by row",
}
DEVICE_NAMES = {"cortex-m4": "Cortex-M4", "atmega328p": "ATmega328P"}
NOT_RUN = "not run"
_NO_BREAK = "\0"


def _keys(results: Results, task: str) -> list[tuple[str, str, str]]:
    """Returns the cells that the grid wants or that were run, in the order of the tables."""
    wanted = {
        (run.task, run.size, model) for run in required_runs() for model in models_of(run)
    } | set(results.cells)
    order = [(task, size, model) for size in SIZES for model in MODELS]
    return [key for key in order if key in wanted]


def accuracies(results: Results, task: str) -> str:
    """Returns a task's table of accuracies."""

    def columns(cell):
        means = [*map(cell.accuracy, PLACES), cell.accuracy("int16x8", "f1")]
        return [_structures(cell), str(len(cell.files)), *map(str, means)]

    titles = ["size", "model", "units", "seeds", "Keras", "int16x8", "int8", "plain C", "macro F1"]
    return table(titles, _rows(results, task, columns))


def costs(results: Results, task: str) -> str:
    """Returns a task's table of bytes and times."""
    gru = _yardstick(results, task)

    def columns(cell):
        epoch = f"{cell.epoch_seconds() / gru.epoch_seconds():.2f}" if gru else "no GRU"
        paths = [
            ("stored_bytes", "best"),
            ("stored_bytes", "paper"),
            ("c", "constant_bytes"),
            ("int16x8", "file_bytes"),
            ("int16x8", "arena_bytes"),
        ]
        sizes = [f"{cell.largest(*path):,}" for path in paths]
        steps = [_step(cell, device) for device in ("cortex-m4", "atmega328p")]
        return [*sizes, f"{cell.invoke():.2f}", *steps, epoch]

    titles = ["size", "model", "stored", "by the paper", "in C", ".tflite", "arena", "Invoke"]
    epoch = f"epoch, {sentences.label(gru)} = 1" if gru else "epoch"
    return table([*titles, *DEVICE_NAMES.values(), epoch], _rows(results, task, columns))


def _rows(results: Results, task: str, columns: Callable[[Cell], list[str]]) -> list[list[str]]:
    """Returns a row for each of the `_keys`; `columns` makes what follows its names."""
    rows = []
    for key in _keys(results, task):
        _, size, model = key
        cell = results.cells.get(key)
        rows.append([SIZE_NAMES[size], model, *(columns(cell) if cell else [NOT_RUN])])
    return rows


def _yardstick(results: Results, task: str) -> Cell | None:
    """Returns the GRU that training times are compared with: of equal units where there is one."""
    found = [results.get(task, size, "GRU") for size in SIZES]
    return next(filter(None, found), None)


def _step(cell: Cell, device: str) -> str:
    step, failures = cell.step(device), cell.failures(device)
    if step is None:
        return "does not run"
    some = f" ({step.count} of {len(cell.files)} seeds)" if failures else ""
    return f"{step.mean:,.0f}{some}"


def _structures(cell: Cell) -> str:
    found = {_structure(file["structure"]) for file in cell.files}
    return " or ".join(sorted(found))


def _structure(structure: dict) -> str:
    """Returns the units and whatever is not default."""
    default = vars(Structure(0))
    given = {name: value for name, value in structure.items() if value != default.get(name)}
    units = given.pop("units")
    zeros = [100 * given.pop(name, 0) for name in ("kernel_sparsity", "recurrent_sparsity")]
    ranks = [given.pop(name, None) for name in ("kernel_rank", "recurrent_rank")]
    texts = [str(units)]
    if any(ranks):
        texts.append("ranks " + ", ".join("full" if rank is None else str(rank) for rank in ranks))
    if any(zeros):
        texts.append("zeros " + ", ".join(f"{percent:.0f} %" for percent in zeros))
    texts += [f"{name.replace('_', ' ')} {value}" for name, value in given.items()]
    return "; ".join(texts)


def beside_the_paper(results: Results, task: str) -> list[str]:
    """Returns the paper's numbers beside ours."""
    published = paper.published(task)
    if not published:
        return []
    sizes = [size for size in SIZES if results.of(task, size)]
    rows = []
    for method, (accuracy, kilobytes) in published.items():
        model = paper.METHODS[method]
        cells = [results.get(task, size, model) for size in sizes]
        ours = ["-" if cell is None else str(cell.accuracy()) for cell in cells]
        rows.append([method, f"{accuracy:.2f}", f"{kilobytes} KB", model or "-", *ours])
    note = (
        f"From the paper, its {paper.NAMES[task]}, and measured here, deployed in int16x8. The "
        "paper picked its epochs by test accuracy; here they are picked on validation sequences. "
        "There -LSQ means without low rank, sparsity and quantization, here with them: its "
        f"FastGRNN is our {RECIPE}, its FastGRNN-LSQ our FastGRNN. Its sizes are by its own count. "
        f"{paper.CAVEATS[task]}"
    )
    titles = [
        "in the paper",
        "paper, %",
        "paper, size",
        "here",
        *(f"at {SIZE_NAMES[size]}" for size in sizes),
    ]
    return [wrapped(note), table(titles, rows)]


def wrapped(line: str) -> str:
    """Returns a paragraph, or an item of a list, in lines of 100 characters."""
    indent = "  " if line.startswith("* ") else ""
    joined = re.sub(r"(?<=\d) (?=%|KB|B\b|units|points)", _NO_BREAK, line)
    joined = re.sub("`[^`]*`", lambda code: code[0].replace(" ", _NO_BREAK), joined)
    lines = textwrap.fill(
        joined, 100, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return lines.replace(_NO_BREAK, " ")


def table(titles: list[str], rows: list[list[str]]) -> str:
    """Returns a table; rows may be shorter than its titles."""
    lines = [titles, ["---"] * len(titles)]
    lines += [row + [""] * (len(titles) - len(row)) for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
