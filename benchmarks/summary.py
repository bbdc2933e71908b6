"""The results in short: the table of the README and of RESULTS.md, and what it hides."""

from collections.abc import Callable

from benchmarks import compressed_peers, paper, sentences
from benchmarks.compared_models import RECIPE
from benchmarks.compressed_peers import CompressedPeer
from benchmarks.measured_results import Cell, Results
from benchmarks.result_tables import NOT_RUN, TITLES, table, wrapped
from benchmarks.sentences import SIZE_NAMES, Difference, listed

_MODELS = (RECIPE, "GRU", "LSTM")
_SIZES = ("1KB", "3KB")
_STEPS = {
    "cortex-m4": "its instructions on a Cortex-M4",
    "atmega328p": "its cycles on an ATmega328P",
}
# The trainings were not repeated for it; `python -m benchmarks.plain_c_cost` has the figures.
_COUNTED_BEFORE = (
    "they were counted before dense rows used the DSP instructions of a Cortex-M4, by which a "
    "dense step takes a fifth to a third fewer."
)
_ROWS = [(task, size) for task in TITLES for size in _SIZES]


def in_short(results: Results, peers: dict[str, CompressedPeer]) -> str:
    """Returns the table of the recipe beside its peers, and below it what the table hides.

    Args:
        results: `Results`.
        peers: Dictionary from the names of models to `CompressedPeer`.
    """
    counts = {
        len(cell.files)
        for row in rows(results)
        for model in _MODELS
        if (cell := results.get(*row, model))
    }
    if not counts:
        return accuracies(results)
    seeds = str(*counts) if len(counts) == 1 else f"{min(counts)} to {max(counts)}"
    notes = [
        "Measured on the test split, on TFLite Micro in int16x8, with the bytes of all parameters "
        f"as `sparsity.report` and plain C store them: means of {seeds} seeds. Bold is what is "
        "ahead of the others by more than the spread of the seeds.",
        costs(results),
        _uncompressed(results),
        _beside_compressed(results, peers),
        _by_the_papers_count(results),
    ]
    lines = [wrapped(f"* {note}") for note in notes if note]
    return "\n\n".join([accuracies(results), "\n".join(lines)])


def rows(results: Results) -> list[tuple[str, str]]:
    """Returns the tasks and sizes of which the table has a row."""
    return [row for row in _ROWS if any(results.get(*row, model) for model in _MODELS)]


def accuracies(results: Results) -> str:
    """Returns the table of the recipe beside its peers; a sentence where nothing was run."""
    lines = []
    for task, size in rows(results):
        cells = [results.get(task, size, model) for model in _MODELS]
        there = [cell for cell in cells if cell]
        texts = [NOT_RUN if cell is None else _short(cell, there) for cell in cells]
        lines.append([TITLES[task], SIZE_NAMES[size], *texts, _published(task)])
    if not lines:
        sizes = " or ".join(SIZE_NAMES[size] for size in _SIZES)
        return f"No run of {' or '.join(_MODELS)} at {sizes}."
    return table(["task", "at most", *_MODELS, "paper's FastGRNN"], lines)


def _short(cell: Cell, cells: list[Cell]) -> str:
    score = f"{cell.accuracy().mean:.2f} %"
    ahead = [sentences.difference(cell, other) for other in cells if other is not cell]
    is_clear = ahead and all(one.points > 0 and one.exceeds_spread for one in ahead)
    return f"{f'**{score}**' if is_clear else score}, {cell.stored_bytes:,} B"


def _published(task: str) -> str:
    method = paper.published(task).get("FastGRNN")
    if method is None:
        return "-"
    other_task = ", pixel by pixel" if task == "mnist" else ""
    return f"{method.accuracy:.2f} %, {method.kilobytes} KB{other_task}"


def _pairs(results: Results, model: str) -> list[tuple[Cell, Cell]]:
    """Returns a model's cells of the table's rows, each with the GRU's."""
    pairs = [[results.get(*row, name) for name in (model, "GRU")] for row in _ROWS]
    return [(ours, gru) for ours, gru in pairs if ours and gru]


def costs(results: Results) -> str:
    """Says what the recipe's models cost over the GRU's."""

    def ratios(cost: Callable[[Cell], float | None]) -> str | None:
        pairs = [[cost(cell) for cell in pair] for pair in _pairs(results, RECIPE)]
        found = [pair[0] / pair[1] for pair in pairs if None not in pair]
        ends = [f"{end:.2f}" for end in (min(found), max(found))] if found else []
        return " to ".join(dict.fromkeys(ends)) or None

    def steps(device: str) -> str | None:
        return ratios(lambda cell: (step := cell.step(device)) and step.mean)

    files = ratios(lambda cell: cell.largest("int16x8", "file_bytes"))
    if files is None:
        return ""
    devices = [
        f"{found} times {name}" for device, name in _STEPS.items() if (found := steps(device))
    ]
    words = f" A step in plain C takes {listed(devices)}; {_COUNTED_BEFORE}" if devices else ""
    return (
        f"Over the GRU of the same bytes, {RECIPE} takes {files} times the bytes as a `.tflite`, "
        f"which stores zeros as well and biases as TFLite Micro reads them.{words}"
    )


def _uncompressed(results: Results) -> str:
    """Says where the recipe's compression is what makes the difference."""
    texts = [
        f"on {TITLES[ours.task]} at {SIZE_NAMES[ours.size]} {difference.place} by {difference}"
        for ours, gru in _pairs(results, "FastGRNN")
        for difference in [sentences.difference(ours, gru)]
    ]
    if not texts:
        return ""
    return (
        f"{RECIPE} has zeros or weights of 4 bits, biases of a byte, and training with rounding; "
        "the peers of the table have none of it. FastGRNN without it, dense and stored as the GRU "
        f"is, is {listed(texts)}, in the same bytes."
    )


def _beside_compressed(results: Results, peers: dict[str, CompressedPeer]) -> str:
    """Says how far the recipe is ahead of peers that are compressed as it is."""
    own = results.get(compressed_peers.TASK, compressed_peers.SIZE, RECIPE)
    if not own or not peers:
        return ""
    texts = [
        f"the {model} has {peer.trained.mean:.2f} % in {max(peer.stored_bytes):,} B, so "
        f"{RECIPE} is {apart.place} by {apart}"
        for model, peer in peers.items()
        for apart in [Difference.between(own.accuracy(), peer.trained)]
    ]
    place = f"{TITLES[own.task]} at {SIZE_NAMES[own.size]}"
    return f"Peers compressed and trained alike, on {place}: {'; '.join(texts)}."


def _by_the_papers_count(results: Results) -> str:
    texts = [
        f"{TITLES[task]} {listed(sizes)}"
        for task in TITLES
        if paper.published(task)
        and (
            sizes := [
                f"{cell.largest('stored_bytes', 'paper'):,} B"
                for size in _SIZES
                if (cell := results.get(task, size, RECIPE))
            ]
        )
    ]
    text = "The paper's numbers are of the epoch with the best test accuracy."
    if not texts:
        return text
    return f"{text} Its bytes are by its own count, by which {RECIPE} takes: {'; '.join(texts)}."
