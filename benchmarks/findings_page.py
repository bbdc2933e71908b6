"""RESULTS.md: what the paper claims, one claim at a time, and what was measured of it here."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import ablation, compressed_peers, paper, pictures, summary
from benchmarks.compared_models import EQUAL_UNITS, RECIPE, SIZES, training_for
from benchmarks.compressed_peers import CompressedPeer
from benchmarks.measured_results import Cell, Mean, Results
from benchmarks.result_tables import TITLES, table, wrapped
from benchmarks.sentences import SIZE_NAMES, Difference, difference, label, listed

GATED = ("GRU", "LSTM")
_FLOAT, _DEPLOYED = "keras", "int16x8"
_FLOAT_BYTES = 4  # of a parameter
_EQUAL = next(size for size, limit in SIZES.items() if limit is None)
_NOT_RUN = "Not run."
_PICTURED = "har2"

_INTRODUCTION = (
    "The paper (Kusupati et al., NeurIPS 2018) makes four claims for FastRNN and FastGRNN. This "
    "page takes them one by one. `python -m benchmarks` writes it from the files in `results/`; "
    "all that was measured is in [TABLES.md](TABLES.md)."
)
_WORDS = (
    f"**{RECIPE}** is FastGRNN compressed: many weights are zero, biases have one byte, training "
    "knows the device's rounding. On some tasks U is two thin matrices as well; on DSA-19 weights "
    "have 4 bits instead. SimpleRNN, GRU and LSTM are Keras's own.",
    f"**Float** is what Keras computes, {_FLOAT_BYTES} bytes a parameter. **Deployed** is what "
    "TFLite Micro computes, with integers (int16x8) and weights of 8 bits or fewer.",
    "Accuracy is on test data, in percent, the mean of several trainings; &plusmn; is their "
    "standard deviation. Bytes are those of all stored parameters; a KB is 1,024.",
    "**Clearly** is by more than the spread, the standard deviation of the difference between two "
    "trainings. Anything less may be luck.",
)
_LIMITS = (
    f"Compressed peers were trained on {TITLES[compressed_peers.TASK]} at "
    f"{SIZE_NAMES[compressed_peers.SIZE]} alone. Everywhere else GRU and LSTM are dense. The "
    "paper's UGRNN and SpectralRNN were not trained.",
    f'"Times smaller" is as coarse as the sizes that were run: {listed([*SIZE_NAMES.values()])}, '
    "and not all of them on every task.",
    *(f"{paper.NAMES[task]}: {caveat}" for task, caveat in paper.CAVEATS.items() if caveat),
    "The paper picked the epoch with the best test accuracy. Here epochs and settings were picked "
    "on validation data. Which size of a model is its best is read off the test data.",
)


@dataclass(frozen=True)
class Finding:
    """A claim of the paper, and what was measured of it.

    Attributes:
        title: String.
        claim: String, the paper's, a sentence.
        result: String, what was measured, in a sentence or two.
        parts: List of strings, paragraphs and tables that show it; empty where nothing was run.
    """

    title: str
    claim: str
    result: str
    parts: list[str]


def text(results: Results, folder: Path) -> str:
    """Returns RESULTS.md.

    Args:
        results: `Results`.
        folder: Path of the folder that they were read from.

    Raises:
        ResultsError: If a file in it is damaged.
    """
    findings = [
        before_compression(results),
        after_compression(results, compressed_peers.read(folder)),
        training(results, ablation.read(folder)),
        accuracy(results),
    ]
    short = [f"**{one.claim}** {one.result or _NOT_RUN}" for one in findings]
    short.append(f"**The price.** {summary.costs(results) or _NOT_RUN}")
    parts = [
        "# Results",
        wrapped(_INTRODUCTION),
        "## In short",
        _bullets(short),
        "## How to read this page",
        _bullets(_WORDS),
    ]
    for number, one in enumerate(findings, 1):
        parts += [f"## {number}. {one.title}", *(one.parts or [_NOT_RUN])]
    parts += ["## What this does not show", _bullets(_LIMITS)]
    return "\n\n".join(parts) + "\n"


def before_compression(results: Results) -> Finding:
    """Returns what was measured of FastGRNN and its gated peers in float, dense."""
    rows, ratios, apart, sentences = [], [], [], []
    for task in TITLES:
        own, *peers = (results.get(task, _EQUAL, model) for model in ("FastGRNN", *GATED))
        if own is None or None in peers:
            continue
        rows.append([TITLES[task], _float_score(own)])
        for peer in peers:
            ratios.append(_float_bytes(peer) / _float_bytes(own))
            apart.append(_in_float(own, peer))
            rows[-1].append(f"{_float_score(peer)}, {ratios[-1]:.1f} times")
    parts = []
    if rows:
        sentences.append(
            f"With as many units, GRU and LSTM take {_span(ratios)} times its bytes; in accuracy "
            f"FastGRNN is {_tally(apart)}."
        )
        titles = ["task", "FastGRNN", *GATED]
        parts += [f"In float, dense, {EQUAL_UNITS} units each:", table(titles, rows)]
    matches = _matches(results, "FastGRNN", _FLOAT)
    if matches:
        sentences.append(f"Some size of it is as accurate as {_matched(matches)}.")
        parts += [
            "The most accurate float peer, and the smallest float FastGRNN as accurate:",
            _match_table(matches, "FastGRNN", _FLOAT),
        ]
    sizes = [(task, size) for task in TITLES for size in SIZES if size != _EQUAL]
    pairs = [[results.get(*place, model) for model in ("FastGRNN", "GRU")] for place in sizes]
    same_bytes = [_in_float(own, gru) for own, gru in pairs if own and gru]
    if same_bytes:
        sentences.append(f"In as many bytes as the GRU it is {_tally(same_bytes)}.")
    if parts:
        parts.append(wrapped(_published_ratios("FastGRNN-LSQ")))
    if parts and results.of(_PICTURED):
        words = f"Accuracy against bytes and instructions on {TITLES[_PICTURED]}, deployed"
        parts.append(f"![{words}]({pictures.place_of(_PICTURED)})")
    return Finding(
        "Smaller before compression",
        "FastGRNN is as accurate as gated RNNs, and 2 to 4 times smaller.",
        " ".join(sentences),
        parts,
    )


def after_compression(results: Results, peers: dict[str, CompressedPeer]) -> Finding:
    """Returns what was measured of the compressed FastGRNN against float and compressed peers."""
    parts, sentences = [], []
    matches = _matches(results, RECIPE, _DEPLOYED)
    if matches:
        sentences.append(f"{RECIPE} is as accurate as {_matched(matches)}.")
        rounded = [match.times_rounded for match in matches if match.own]
        if rounded:
            sentences.append(f"Than these peers in 8 bits it is {_span(rounded)} times smaller.")
        parts += [
            f"The most accurate float peer, and the smallest deployed {RECIPE} as accurate:",
            _match_table(matches, RECIPE, _DEPLOYED),
            wrapped(_published_ratios("FastGRNN")),
        ]
    own = results.get(compressed_peers.TASK, compressed_peers.SIZE, RECIPE)
    if own and peers:
        place = f"{TITLES[own.task]} at {SIZE_NAMES[own.size]}"
        ahead = {
            model: Difference.between(own.accuracy(), peer.trained) for model, peer in peers.items()
        }
        texts = [f"{_apart(one, f'the {model}')}" for model, one in ahead.items()]
        sentences.append(f"Against peers compressed alike, on {place}, it is {listed(texts)}.")
        parts += [
            wrapped(
                f"The fair comparison, deployed, on {place}. The compressed peers have the zeros, "
                f"one-byte biases, epochs and training with rounding that {RECIPE} has:"
            ),
            _fair_table(results, own, peers),
        ]
    return Finding(
        "Smaller after compression",
        "Compressed, FastGRNN is up to 35 times smaller than gated RNNs.",
        " ".join(sentences),
        parts,
    )


def training(results: Results, trials: list[tuple[ablation.Trial, float]]) -> Finding:
    """Returns what was measured of FastRNN beside a plain RNN, in float."""
    rows, apart, reached = [], [], []
    for task in TITLES:
        row = [TITLES[task]]
        for size in SIZES:
            plain, own = (results.get(task, size, model) for model in ("SimpleRNN", "FastRNN"))
            if not plain or not own:
                row.append("")
                continue
            apart.append(_in_float(own, plain))
            reached.append(plain.accuracy(_FLOAT).mean)
            verdict = "clearly" if apart[-1].exceeds_spread else "not clearly"
            row.append(f"{own.accuracy(_FLOAT).mean:.2f} to {reached[-1]:.2f}, {verdict}")
        if any(row[1:]):
            rows.append(row)
    result, parts = "", []
    if rows:
        points = [one.points for one in apart]
        result = (
            f"At the same size FastRNN is {_tally(apart)}; the differences are {min(points):+.1f} "
            f"to {max(points):+.1f} points. SimpleRNN reaches {_span(reached)} %."
        )
        columns = [0, *(n for n in range(1, 1 + len(SIZES)) if any(row[n] for row in rows))]
        titles = ["task", *SIZE_NAMES.values()]
        parts = [
            "FastRNN to SimpleRNN in float, each with a learning rate chosen for it:",
            table([titles[n] for n in columns], [[row[n] for n in columns] for row in rows]),
        ]
    if faster := _at_the_rate_of_fastgrnn(trials):
        parts.append(wrapped(faster))
    return Finding(
        "FastRNN trains", "FastRNN trains well where a plain RNN does not.", result, parts
    )


def accuracy(results: Results) -> Finding:
    """Returns what was measured of the deployed accuracies."""
    places, texts = summary.rows(results), []
    for peer in GATED:
        pairs = [[results.get(*place, model) for model in (RECIPE, peer)] for place in places]
        if found := [difference(own, other) for own, other in pairs if own and other]:
            texts.append(_tally(found, f" of the {peer}"))
    if not texts:
        return Finding("Accuracy", _ACCURACY_CLAIM, "", [])
    pairs = {
        task: [results.get(task, _EQUAL, model) for model in (RECIPE, "GRU")] for task in TITLES
    }
    equal = [
        f"{_apart(difference(*pair))} on {TITLES[task]}"
        for task, pair in pairs.items()
        if all(pair)
    ]
    parts = [
        "Deployed, GRU and LSTM dense. Bold is clearly ahead of both others:",
        summary.accuracies(results),
    ]
    if equal:
        words = f"With as many units as the GRU, {EQUAL_UNITS}, {RECIPE} is {listed(equal)}."
        parts.append(wrapped(words))
    result = f"In the same bytes, {RECIPE} is {'; '.join(texts)}. These peers are dense."
    return Finding("Accuracy", _ACCURACY_CLAIM, result, parts)


_ACCURACY_CLAIM = "FastGRNN is as accurate as the best gated RNNs."


@dataclass(frozen=True)
class _Match:
    """A gated peer's best on a task, in float, and the smallest of ours that is as accurate.

    Attributes:
        peer: `Cell`.
        own: `Cell`, or `None` where none is as accurate.
        times: Float, how many times the bytes of `own` the peer takes in float, or `None`.
        times_rounded: Float, the same of the peer in 8 bits, and of `own` in 8 bits.
    """

    peer: Cell
    own: Cell | None
    times: float | None
    times_rounded: float | None


def _matches(results: Results, model: str, place: str) -> list[_Match]:
    """Returns a match for each task and gated peer that were run in several sizes."""
    found = []
    for task in TITLES:
        ours = [cell for cell in results.of(task) if cell.model == model]
        for name in GATED:
            peers = [cell for cell in results.of(task) if cell.model == name]
            if len(peers) < 2 or not ours:
                continue
            peer = max(peers, key=lambda cell: (cell.accuracy(_FLOAT).mean, -cell.stored_bytes))
            goal = peer.accuracy(_FLOAT).mean
            enough = [cell for cell in ours if cell.accuracy(place).mean >= goal]
            own = min(enough, key=lambda cell: cell.stored_bytes, default=None)
            times = own and _float_bytes(peer) / _bytes_at(own, place)
            found.append(_Match(peer, own, times, own and peer.stored_bytes / own.stored_bytes))
    return found


def _matched(matches: list[_Match]) -> str:
    """Says on how many tasks each peer is matched, and by a model how many times smaller."""
    texts = []
    for name in GATED:
        of_peer = [match for match in matches if match.peer.model == name]
        times = [match.times for match in of_peer if match.own]
        how = f" ({_span(times)} times smaller)" if times else ""
        if of_peer:
            texts.append(f"the best float {name} on {len(times)} of {len(of_peer)} tasks{how}")
    return listed(texts)


def _match_table(matches: list[_Match], model: str, place: str) -> str:
    is_deployed = place == _DEPLOYED
    rows = []
    for match in matches:
        row = [TITLES[match.peer.task], label(match.peer), _float_score(match.peer)]
        if match.own is None:
            row.append("none that was run")
        else:
            score = f"{match.own.accuracy(place).mean:.2f} %, {_bytes_at(match.own, place):,} B"
            times = [match.times, match.times_rounded][: 1 + is_deployed]
            row += [score, *(f"{one:.1f}" for one in times)]
        rows.append(row)
    titles = ["task", "peer", "in float", model, "times smaller", "than that peer in 8 bits"]
    return table(titles if is_deployed else titles[:-1], rows)


def _fair_table(results: Results, own: Cell, peers: dict[str, CompressedPeer]) -> str:
    """Returns a table of the compressed FastGRNN beside each peer, compressed alike and dense."""
    measured = [(RECIPE, "compressed", own.stored_bytes, own.accuracy())]
    for model, peer in peers.items():
        measured.append((model, "compressed", max(peer.stored_bytes), peer.trained))
        if dense := results.get(own.task, own.size, model):
            measured.append((model, "dense, 8 bits", dense.stored_bytes, dense.accuracy()))
    rows = [
        [model, how, f"{stored:,} B", f"{mean}", str(mean.count)]
        for model, how, stored, mean in measured
    ]
    for row, (*_, mean) in zip(rows[1:], measured[1:], strict=True):
        row.append(_apart(Difference.between(own.accuracy(), mean)))
    return table(["model", "how", "bytes", "accuracy", "trainings", f"{RECIPE} is"], rows)


def _published_ratios(method: str) -> str:
    """Says how many times smaller a method is than gated peers in the paper's own table."""
    tables = [paper.published(task) for task in paper.TABLE]
    texts = []
    for peer in GATED:
        ratios = [one[peer].kilobytes / one[method].kilobytes for one in tables]
        texts.append(f"{peer} {_span(ratios)}")
    names = ", ".join(paper.NAMES.values())
    return f"Times smaller in the paper ({names}): {', '.join(texts)}."


def _at_the_rate_of_fastgrnn(trials: list[tuple[ablation.Trial, float]]) -> str:
    """Says what SimpleRNN and FastRNN lose, on validation data, at FastGRNN's learning rate."""
    scores: dict[tuple[str, str, str], list[float]] = {}
    for trial, value in trials:
        scores.setdefault((trial.task, trial.model, trial.change), []).append(100 * value)
    texts = []
    for task in TITLES:
        rate = training_for(task, "FastGRNN").learning_rate
        changed_to, changes = f"a learning rate of {rate:g}", []
        for model in ("SimpleRNN", "FastRNN"):
            own, changed = (
                scores.get((task, model, name)) for name in (ablation.WHOLE, changed_to)
            )
            if own and changed:
                points = Mean.of(changed).mean - Mean.of(own).mean
                usual = training_for(task, model).learning_rate
                changes.append(f"{points:+.1f} points for {model} ({rate:g}, not {usual:g})")
        if changes:
            texts.append(f"on {TITLES[task]} {listed(changes)}")
    if not texts:
        return ""
    return f"At FastGRNN's learning rate accuracy on validation data changes: {'; '.join(texts)}."


def _tally(differences: list[Difference], of_whom: str = "") -> str:
    """Says in how many of some comparisons the first is clearly ahead and clearly behind."""
    clear = [one for one in differences if one.exceeds_spread]
    ahead = sum(one.points > 0 for one in clear)
    return (
        f"clearly ahead{of_whom} in {ahead} of {len(differences)} comparisons, clearly behind in "
        f"{len(clear) - ahead}"
    )


def _apart(one: Difference, whom: str = "") -> str:
    """Says how far the first is ahead, or behind, and whether clearly."""
    if one.spread is None:
        how = "a single training"
    else:
        how = "clearly" if one.exceeds_spread else f"within the spread, {one.spread:.2f}"
    link = " of " if one.place == "ahead" else " "
    place = f"{one.place}{link}{whom}" if whom else one.place
    return f"{place} by {abs(one.points):.2f} points ({how})"


def _in_float(first: Cell, second: Cell) -> Difference:
    return Difference.between(first.accuracy(_FLOAT), second.accuracy(_FLOAT))


def _float_bytes(cell: Cell) -> int:
    """Bytes in float of a dense model, of which the paper counts a byte for each parameter."""
    return _FLOAT_BYTES * cell.largest("stored_bytes", "paper")


def _bytes_at(cell: Cell, place: str) -> int:
    return _float_bytes(cell) if place == _FLOAT else cell.stored_bytes


def _float_score(cell: Cell) -> str:
    return f"{cell.accuracy(_FLOAT).mean:.2f} %, {_float_bytes(cell):,} B"


def _span(values: list[float]) -> str:
    ends = [f"{end:.1f}" for end in (min(values), max(values))]
    return " to ".join(dict.fromkeys(ends))


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(wrapped(f"* {line}") for line in lines)
