"""What the examples share: their command lines, how they end on mistakes, and their table."""

import argparse
import contextlib
import json
import sys
from pathlib import Path

import numpy as np

from keras_fastgrnn.export.tflm.interpreter import is_available

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
WHERE = "tflm" if is_available() else "reference"
PLACE = "TFLite Micro" if WHERE == "tflm" else "the NumPy reference (no TFLite Micro here)"


def end(message):
    """Ends the program with one line that says what is wrong."""
    sys.exit(f"{Path(sys.argv[0]).name}: {message}")


@contextlib.contextmanager
def told_in_one_line(task, errors=Exception):
    """Ends the program with one line where a file, folder or download is not as it must be."""
    try:
        yield
    except errors as error:
        end(f"{task}: {' '.join(str(error).split()) or type(error).__name__}")


class _Help(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """The description as it is written, and the defaults that there are."""

    def _get_help_string(self, action):
        is_absent = action.default is None or action.default is False
        return action.help if is_absent else super()._get_help_string(action)


def command_line(description, output, epochs):
    """Returns a parser with what every example takes, and these defaults."""
    parser = argparse.ArgumentParser(description=description, formatter_class=_Help)
    parser.add_argument("--output", type=Path, default=Path(output), help="folder to write")
    parser.add_argument("--epochs", type=int, default=epochs, help="passes over the training data")
    return parser


def parse(parser):
    """Returns the command line's arguments; ends the program where one cannot be used."""
    arguments = parser.parse_args()
    if arguments.epochs < 1:
        end(f"--epochs: expected 1 or more, got {arguments.epochs}")
    return arguments


def add_har(parser, cache):
    """Adds where UCI HAR is, or that it is to be downloaded."""
    parser.add_argument("--data", type=Path, help="UCI HAR: its unpacked folder, or an .npz")
    parser.add_argument("--download", action="store_true", help="get what is not given from UCI")
    parser.add_argument("--cache", type=Path, default=cache, help="folder of downloads")


def find_har(arguments, files, download):
    """Fills in the places of data sets that were not given; ends the program without UCI HAR."""
    for name, file in files.items():
        if getattr(arguments, name) is None and arguments.download:
            with told_in_one_line(f"cannot download, so give --{name}"):
                setattr(arguments, name, download(name, arguments.cache))
        elif getattr(arguments, name) is None and (SHARED / file).is_file():
            setattr(arguments, name, SHARED / file)
    if arguments.data is None:
        end('no data; give --data "UCI HAR Dataset", its folder, or --download')
    return arguments


def make(folder):
    """Makes the folder that `--output` names."""
    with told_in_one_line("cannot write --output"):
        folder.mkdir(parents=True, exist_ok=True)


def keras_row(classes, labels):
    """Returns the table's row of the Keras model."""
    return {"format": "Keras", "accuracy": np.mean(classes == labels)}


def exported_row(label, deployed, classes, keras_classes, labels):
    """Returns the table's row of an exported model that answered these classes."""
    return {
        "format": label,
        "accuracy": np.mean(classes == labels),
        "same_class": np.mean(classes == keras_classes),
        "bytes": deployed.report.file_bytes,
        "arena_bytes": deployed.report.arena_bytes,
    }


def print_table(rows, inputs):
    """Prints what ran where, and one line a format."""
    print(f"\n{inputs} on {PLACE}:\n")
    print(f"{'format':9} {'accuracy':>9} {'as Keras':>9} {'bytes':>7} {'arena':>7}")
    for row in rows:
        line = f"{row['format']:9} {100 * row['accuracy']:7.2f} %"
        if "bytes" in row:
            arena = "-" if row["arena_bytes"] is None else f"{row['arena_bytes']:,}"
            line += f" {100 * row['same_class']:7.2f} % {row['bytes']:7,} {arena:>7}"
        if "largest_difference" in row:
            line += f"   logits within {row['largest_difference']:.1e}"
        print(line)


def probabilities(logits):
    """Returns the softmax of each row."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def write_results(results, folder):
    """Writes `results.json`."""
    (folder / "results.json").write_text(json.dumps(results, indent=2, default=float))
