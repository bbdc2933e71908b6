"""TABLES.md: all that was measured, in tables, and how to read them."""

import collections
from pathlib import Path

from benchmarks import (
    ablation,
    compressed_peers,
    defaults,
    pictures,
    result_tables,
    sentences,
    stock,
)
from benchmarks.compared_models import EQUAL_UNITS, RECIPE, SPARSE
from benchmarks.grid import required_runs
from benchmarks.measured_results import Results
from benchmarks.result_tables import TITLES, wrapped
from benchmarks.sentences import SIZE_NAMES

_LEGEND = f"""
* Models: FastRNN; FastGRNN, full rank; FastGRNN L, low rank; {SPARSE}, sparse and rounded after
  training; {RECIPE}, the same trained with rounding (`recipe.fit_lsq` and quantization-aware
  epochs): one training gives both. These two have on each task what did best on validation
  sequences: a U of two factors and zeros; on UCI HAR zeros alone; on DSA-19 weights of 4 bits, no
  factors and no zeros. SimpleRNN, GRU and LSTM are Keras's own, dense, with weights of 8 bits and
  biases of 4 bytes, rounded after training; the GRU with `reset_after=False`, which has fewer
  biases. Each has one recurrent layer and a Dense head, the same epochs, batches and augmentation
  in float, and on all tasks one learning rate of its own, chosen on the validation sequences of
  speech and HAR-2. Which ranks and zeros a model has, its row says.
* Training: as `recipe.fit_lsq` does by itself, but for what is chosen here. Matrices begin as
  `glorot_uniform` draws them, not as the layers do, with noise of 0.1; on UCI HAR gradients are cut
  to a norm of 0.2, not 1; the quantization-aware epochs keep one learning rate, on UCI HAR half of
  what `fit_lsq` begins with; other models than FastGRNN have rates of their own. When these models
  were trained, a stage went on from the last epoch of the one before it, not from the best.
* Sizes: as many units as fit into 1, 1.5, 3 or 6 KB of 1,024 bytes of stored parameters, all
  counted, or {EQUAL_UNITS} units. Where as many as these fit, both rows are of one training.
* Accuracy and macro F1, in percent: **measured** on the test split, mean &plusmn; standard
  deviation of the sample of the seeds (**derived**). Keras: in float, of {RECIPE} with rounding.
  int16x8 and int8: on TFLite Micro. Plain C: the generated C, int16x8 with weights' scales rounded
  to powers of two, as {RECIPE} is trained. Macro F1 is that of int16x8.
* Stored, by the paper: **derived**, bytes of all parameters, each matrix in the smallest storage of
  `sparsity.report`, and as the paper counts them; the most of any seed.
* In C: **measured**, bytes of all constants of the generated C, which has its own tables and
  multipliers besides the parameters; the most of any seed.
* `.tflite`, arena: **measured**, bytes, int16x8, one step an Invoke; the arena is the least that
  runs on x86-64; the most of any seed.
* Invoke: **measured**, time of an int16x8 Invoke over that of a GRU of 32 units with as many
  channels, timed in turns with it on x86-64; median of the seeds.
* Cortex-M4: **measured** in QEMU, instructions of a step of the generated C without its head
  (`-O2`); ATmega328P: **measured** in simavr, cycles of the same; means of the seeds.
* Epoch: **measured**, CPU seconds of an epoch in float over those of the GRU that the column names,
  of {EQUAL_UNITS} units where that was run, with compilation spread over all epochs; median of the
  seeds. {RECIPE}'s quantization-aware epochs are not in it.
* Pictures: means of the seeds with whiskers of one standard deviation. Lines join sizes in KB; a
  point that is not joined has {EQUAL_UNITS} units. Models of one budget stand apart by their order,
  by 13 % of their bytes at most.
* Best: read off the test split, so of several models that are level it is the luckiest. The spread
  that differences are held against is **derived**: the standard deviation of a difference of two
  trainings, the root of the sum of both variances.
* Paper: **from the paper** (Kusupati et al., NeurIPS 2018), which picked its epochs by
  test accuracy. Here all was chosen on validation sequences.
""".strip()


_ABLATION = f"""
`python -m benchmarks.ablation`: one setting changed at a time; of models other than {RECIPE} the
learning rate, of which each has one for all tasks. Accuracy in Keras, of {RECIPE} the int16x8
model's, on the **validation** sequences, of speakers and people that are not in the training; mean
and standard deviation of the seeds.
""".strip()

_DEFAULTS = f"""
`python -m benchmarks.defaults`: {RECIPE} in the structures of the results, with the layers' own
initial weights, `fit_lsq`'s own learning rates, optimizer and batches, and each stage going on from
the best epoch before it; epochs and augmentation are those of the results. **Measured** on the test
split, on TFLite Micro in int16x8: mean and standard deviation of the seeds, beside those of the
results of the same seeds.
""".strip()

_COMPRESSED_PEERS = f"""
`python -m benchmarks.compressed_peers`: GRU and LSTM on HAR-2 with the zeros, epochs, biases of a
byte and rounding in training that {RECIPE} has, as wide as 1,024 bytes allow, at their own learning
rate. **Measured** on the test split, on TFLite Micro in int16x8: mean and standard deviation of the
seeds. {RECIPE} of as many bytes is in the table of HAR-2 above.
""".strip()

_STOCK = f"""
`python -m benchmarks.stock`: layers of {EQUAL_UNITS} units with their initial weights, through
`tf.lite.TFLiteConverter`, each in a process of its own; **measured** on TFLite Micro beside our
int16x8 file of the same model. Bytes and time do not depend on training. An Invoke counts for as
many steps as it computes. Failures are in the converter's own words.
""".strip()


def text(results: Results, folder: Path) -> str:
    """Returns TABLES.md.

    Args:
        results: `Results`.
        folder: Path of the folder that they were read from.
    """
    parts = [
        "# All that was measured",
        wrapped(
            "Written by `python -m benchmarks` from the files in `results/` alone; what follows "
            "from it is in [RESULTS.md](RESULTS.md). What each column is, and whether it is "
            "measured, derived or from the paper, is said [below](#how-to-read-it)."
        ),
        *(part for task in TITLES for part in _section(results, task)),
        *_optional("## What each part of the training is worth", _ABLATION, ablation.table(folder)),
        *_optional("## By the defaults of fit_lsq", _DEFAULTS, defaults.table(folder)),
        *_optional("## Peers compressed alike", _COMPRESSED_PEERS, compressed_peers.table(folder)),
        *_optional("## TensorFlow's own converter", _STOCK, stock.table(folder)),
        "## How to read it",
        _LEGEND,
        "## What was run",
        *_what_was_run(results),
        "## What was not run",
        _missing(results),
    ]
    return "\n\n".join(parts) + "\n"


def _optional(title: str, words: str, table: str) -> list[str]:
    """Returns a section, or nothing where its table has no rows."""
    return [title, wrapped(words), table.strip()] if table.count("\n") > 1 else []


def _section(results: Results, task: str) -> list[str]:
    if not results.of(task):
        return [f"## {TITLES[task]}", "Not run."]
    failures = [
        f"* {sentences.label(cell)} does not run on the {name}: `{reason}`"
        for device, name in result_tables.DEVICE_NAMES.items()
        for cell in results.of(task)
        for reason in sorted(set(cell.failures(device)))
    ]
    parts = [
        f"## {TITLES[task]}",
        f"![Accuracy against bytes and against instructions]({pictures.place_of(task)})",
        "\n".join(wrapped(f"* {line}") for line in sentences.about(results, task)),
        "Accuracy in percent, measured:",
        result_tables.accuracies(results, task),
        "What it costs, measured, but for the derived bytes stored:",
        result_tables.costs(results, task),
        "\n".join(failures),
        *result_tables.beside_the_paper(results, task),
    ]
    return [part for part in parts if part]


def _what_was_run(results: Results) -> list[str]:
    """Returns settings, environments and times, as the files have them."""
    cpu = sum(file["cpu_seconds"] for file in results.files)
    wall = sum(file["wall_seconds"] for file in results.files)
    copies = sum(file["wall_seconds"] == 0 for file in results.files)
    dates = sorted({file["environment"]["date"] for file in results.files})
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    lines = [
        f"`python -m benchmarks`, {when}: {len(results.files)} runs, together {cpu / 3600:.2f} "
        f"CPU hours and {wall:,.0f} seconds of wall time, added up over runs that went on "
        f"beside each other; {copies} of them share the training of another size. Compilers, "
        "emulators and TFLite Micro, in processes of their own, are not in the CPU hours, nor is "
        "what a run did before it was interrupted. A commit that is -dirty had changes that were "
        "not committed."
    ]
    environments = [
        f"* {name}: {_counted([str(file['environment'].get(name)) for file in results.files])}"
        for name in _names(results, "environment")
        if name != "date"
    ]
    names = _names(results, "training")
    rows = []
    for task in TITLES:
        given = [file["training"] for file in results.files if file["run"]["task"] == task]
        if given:
            settings = [
                _counted([str(one.get(name, "not recorded")) for one in given]) for name in names
            ]
            rows.append([TITLES[task], *settings])
    titles = ["task", *(name.replace("_", " ") for name in names)]
    settings = result_tables.table(titles, rows)
    return [*map(wrapped, lines), "\n".join(map(wrapped, environments)), settings]


def _names(results: Results, key: str) -> list[str]:
    """Returns what any file has under a key."""
    return list(dict.fromkeys(name for file in results.files for name in file[key]))


def _counted(values: list[str]) -> str:
    """Returns the values; where they are mixed, with how many runs have each."""
    counts = collections.Counter(values)
    if len(counts) == 1:
        return values[0]
    return "mixed: " + ", ".join(
        f"{value} ({count} of the runs)" for value, count in counts.items()
    )


def _missing(results: Results) -> str:
    required = required_runs()
    done = results.runs()
    seeds = {}
    for run in required:
        if run not in done:
            seeds.setdefault((run.task, run.model, run.size), []).append(run.seed)
    if not seeds:
        return f"Nothing: all {len(required)} runs of the required grid are there."
    count = sum(map(len, seeds.values()))
    lines = [f"{count} of the {len(required)} runs of the required grid:", ""]
    lines += [
        f"* {TITLES[task]}, {model}, {SIZE_NAMES[size]}: seeds {', '.join(map(str, missing))}"
        for (task, model, size), missing in seeds.items()
    ]
    return "\n".join(lines)
