"""Sparse and quantized on HAR-2: what each stage of the paper's recipe costs and saves.

HAR-2 is UCI HAR in two classes, {sitting, laying, upstairs} and {standing, walking, downstairs}, as
in the FastGRNN paper. `recipe.fit_lsq` trains a FastGRNN of 32 units in four stages, and chooses
epochs on subjects held out of training. The test subjects are looked at once, at the end, the
quantized model on TFLite Micro itself. TFLite Micro has no sparse matrices, so its file is larger
than what the weights take with a bitmap of the zeros, which the table counts.

    python examples/lsq_har.py --data "UCI HAR Dataset" --output build/lsq_har
    python examples/lsq_har.py --download --epochs 300 --checkpoint build/lsq_har/checkpoint
"""

import sys

sys.path.append(sys.path.pop(0))  # keyword.py beside this script must not hide Python's own

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import har_data
import matplotlib.pyplot as plt
import numpy as np
from example_common import (
    PLACE,
    WHERE,
    add_har,
    command_line,
    end,
    find_har,
    make,
    parse,
    told_in_one_line,
    write_results,
)

from keras_fastgrnn import FastGRNN, export, keras, recipe, sparsity

POSITIVE = [har_data.ACTIVITIES.index(name) for name in ("sitting", "laying", "upstairs")]


def labels(windows):
    """Returns 1 for windows of the first class, 0 for those of the second."""
    return np.isin(windows.activity, POSITIVE).astype(int)


def build(x):
    """Returns a model of one logit that normalizes its input itself."""
    mean, variance = x.mean(axis=(0, 1)), x.var(axis=(0, 1))
    return keras.Sequential(
        [
            keras.layers.Input(x.shape[1:]),
            keras.layers.Normalization(mean=mean, variance=variance),
            FastGRNN(32, recurrent_activation="tanh"),
            keras.layers.Dense(1),
        ]
    )


def train(fitted, held_out, arguments):
    """Runs the recipe; returns its result."""
    keras.utils.set_random_seed(arguments.seed)
    return recipe.fit_lsq(
        build(fitted.x),
        fitted.x,
        labels(fitted),
        validation_data=(held_out.x, labels(held_out)),
        kernel_sparsity=0.5,
        recurrent_sparsity=0.7,
        epochs=arguments.epochs,
        optimizer=lambda rate: keras.optimizers.Adam(rate, global_clipnorm=0.2),
        augmentation=har_data.turned,  # what matters most here: 3 points on held-out subjects
        checkpoint=arguments.checkpoint,
        seed=arguments.seed,
    )


def stored_bytes(stage):
    """Returns the bytes of a stage's weights: floats of 4 bytes, or int8, zeros by a bitmap."""
    report = sparsity.report(stage.model)
    if stage.name == "quantized":
        return report.total_bytes["best"]
    numbers = sum(min(m.weights, m.kept + m.weights / 32) for m in report.matrices)
    return round(4 * (numbers + report.other_values))


def accuracy(logits, windows):
    """Returns the part of windows that a logit above 0 or below has in the right class."""
    return float(np.mean((logits[:, 0] > 0) == labels(windows)))


def evaluate(result, deployed, test):
    """Looks at the test subjects; returns the table's rows, one a stage."""
    rows = []
    for stage in result.stages:
        report = sparsity.report(stage.model)
        logits = stage.model.predict(test.x, verbose=0)
        rows.append(
            {
                "stage": stage.name,
                "non_zero": sum(matrix.kept for matrix in report.matrices),
                "bytes": stored_bytes(stage),
                "held_out": stage.validation_accuracy,
                "test": accuracy(logits, test),
            }
        )
    on_device = deployed.predict(test.x, on=WHERE)
    rows[-1]["on_device"] = accuracy(on_device, test)
    rows[-1]["same_class"] = float(np.mean((on_device > 0) == (logits > 0)))
    return rows


def print_table(rows, subjects):
    """Prints one line a stage."""
    print(f"\n{'stage':10} {'non-zero':>8} {'bytes':>7} {'held out':>10} {'test':>10}")
    for row in rows:
        accuracies = f"{100 * row['held_out']:8.2f} % {100 * row['test']:8.2f} %"
        print(f"{row['stage']:10} {row['non_zero']:8,} {row['bytes']:7,} {accuracies}")
    last = rows[-1]
    print(f"\n{subjects} test subjects on {PLACE}: {100 * last['on_device']:.2f} %,")
    print(f"the same class as in Keras in {100 * last['same_class']:.2f} % of the windows.")


def draw(rows, path):
    """Draws accuracy against stored bytes, one point a stage."""
    figure, axes = plt.subplots(figsize=(7, 4.2), constrained_layout=True)
    sizes = [row["bytes"] for row in rows]
    for key, title, color, marker in (
        ("held_out", "subjects held out of training", "0.6", "o"),
        ("test", "test subjects", "tab:blue", "o"),
        ("on_device", f"test subjects on {PLACE}", "tab:red", "x"),
    ):
        chosen = [
            (size, 100 * row[key]) for size, row in zip(sizes, rows, strict=True) if key in row
        ]
        axes.plot(*zip(*chosen, strict=True), marker, color=color, label=title)
    for row in rows:
        axes.annotate(
            row["stage"], (row["bytes"], 100 * row["test"]), (6, -12), textcoords="offset points"
        )
    axes.set_xscale("log", base=2)
    axes.set_xticks(sorted(set(sizes)), [f"{size:,}" for size in sorted(set(sizes))])
    axes.margins(0.12)
    axes.minorticks_off()
    axes.set(xlabel="bytes stored", ylabel="accuracy (%)", title="HAR-2, stage by stage")
    axes.grid(color="0.9")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)


def parse_arguments():
    """Returns the command line's arguments, with the data's place filled in."""
    parser = command_line(__doc__, "build/lsq_har", epochs=60)
    add_har(parser, har_data.CACHE)
    parser.add_argument("--seed", type=int, default=0, help="of the weights and the batches")
    parser.add_argument("--checkpoint", type=Path, help="folder to go on from after a stop")
    parser.add_argument("--quick", action="store_true", help="a part of the data, to try it out")
    arguments = parse(parser)
    if arguments.epochs % 3:
        end(f"--epochs: expected a multiple of 3, got {arguments.epochs}")
    if not 0 <= arguments.seed < 2**32:
        end(f"--seed: expected an integer in [0, 2**32), got {arguments.seed}")
    if arguments.checkpoint and arguments.checkpoint.is_file():
        end(f"--checkpoint: expected a folder, got {arguments.checkpoint}, a file")
    return find_har(arguments, {"data": "uci_har.npz"}, har_data.download)


def main():
    arguments = parse_arguments()
    with told_in_one_line(f"cannot read {arguments.data} as UCI HAR"):
        windows = har_data.load_windows(arguments.data)
    training, test = windows.part(~windows.is_test), windows.part(windows.is_test)
    is_held_out = np.isin(training.subject, np.unique(training.subject)[::4])
    every = slice(None, None, 8 if arguments.quick else 1)
    fitted, held_out, test = (
        part.part(every) for part in (training.part(~is_held_out), training.part(is_held_out), test)
    )
    folder = arguments.output
    make(folder)

    with told_in_one_line("cannot train", ValueError):
        result = train(fitted, held_out, arguments)
    result.model.save(folder / "lsq_har.keras")
    deployed = export.convert(result.model, name="lsq_har")
    deployed.save(folder / "int16x8", overwrite=True)
    print(f"\n{deployed.report}")

    rows = evaluate(result, deployed, test)
    print_table(rows, len(np.unique(test.subject)))
    draw(rows, folder / "lsq_har.png")
    write_results(rows, folder)
    print(f"\nWritten to {folder}/: lsq_har.png, results.json, lsq_har.keras, and in int16x8/ the")
    print(".tflite file, its C files and a report.")


if __name__ == "__main__":
    main()
