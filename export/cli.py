"""The command line: `python -m keras_fastgrnn.export`, also installed as `fastgrnn-export`."""

import argparse
import contextlib
import io
import json
import logging
import os
import signal
import sys
import warnings
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress

from keras_fastgrnn.errors import PrecisionWarning, SaturationWarning
from keras_fastgrnn.export.convert import CHOICES, convert
from keras_fastgrnn.export.convert_c import convert_c
from keras_fastgrnn.export.files import write_all
from keras_fastgrnn.export.firmware.names import check_name
from keras_fastgrnn.export.foreign.arrays import load_array
from keras_fastgrnn.export.foreign.inspection import inspect
from keras_fastgrnn.export.foreign.load_keras import load_model
from keras_fastgrnn.export.foreign.run_file import SequenceRunner
from keras_fastgrnn.export.tflm.process import TFLMProcess
from keras_fastgrnn.own_command import NAME as PROGRAM

FAILED, INTERRUPTED = 1, 130

_CHOICES = {
    "quantization": "int8 weights with activations of 16 or 8 bits, or floats throughout",
    "mode": "one Invoke computes one time step, or a whole sequence",
    "state": "kept inside, or inputs and outputs of the file",
    "input_type": "type of the file's input",
    "output_type": "type of the file's output",
}

_EPILOGS = {
    "convert": """examples:
  fastgrnn-export convert gesture.keras --calibration train.npz --name gesture --out build/
  fastgrnn-export convert gesture.keras --calibration train.npz --array x_train --count 200
  fastgrnn-export convert gesture.h5 --quantization none --out build/ --overwrite
  fastgrnn-export convert gesture.keras --calibration train.npz --target c --out firmware/

Calibration data has the shape (sequences, steps, channels), as the model takes it.""",
    "run": """examples:
  fastgrnn-export run build/gesture.tflite test.npz --array x_test --labels y_test
  fastgrnn-export run build/gesture.tflite recording.npy --output outputs.npz

Every sequence starts anew. States that go in and out are fed back, as the names in the file, their
types and shapes, or --state tell; a file that takes whole sequences is given whole ones. Real
values are quantized with the file's own scale; integers of the input's own type are taken as they
are.""",
    "inspect": """examples:
  fastgrnn-export inspect build/gesture.tflite
  fastgrnn-export inspect anything.tflite --json | jq .arena_bytes""",
}


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: List of strings. Defaults to those of the process.

    Returns:
        Integer, the exit code: 0, 1 where something fails, 130 where the user interrupts it.
        A usage error exits with 2 itself, as `argparse` does.
    """
    given = _parser().parse_args(arguments)
    try:
        with _own_warnings_shown():
            given.command(given)
        sys.stdout.flush()
    except BrokenPipeError:  # such as `| head`; what is left has nowhere to go
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except (ImportError, MemoryError, OSError, RuntimeError, TypeError, ValueError) as error:
        print(f"{PROGRAM}: error: {_one_line(error)}", file=sys.stderr)
        return FAILED
    return 0


def command() -> None:
    """Runs the command line as a process of its own, without the logs of TensorFlow and Keras."""
    for name in ("absl", "tensorflow"):
        logging.getLogger(name).setLevel(logging.ERROR)
    sys.exit(main())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="From a trained Keras model to a file that TFLite Micro runs.",
        epilog="`fastgrnn-export COMMAND --help` has examples.",
    )
    commands = parser.add_subparsers(dest="name_of_command", required=True, metavar="COMMAND")

    def add(name, function, text):
        added = commands.add_parser(
            name,
            help=text,
            description=text,
            epilog=_EPILOGS[name],
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        added.set_defaults(command=function)
        return added.add_argument

    option = add("convert", _convert, "Converts a saved Keras model.")
    option("model", metavar="MODEL", help="the model, saved as .keras or .h5")
    option("--calibration", metavar="DATA", help=".npz or .npy with sequences to set scales by")
    option("--array", metavar="NAME", help="the array of a .npz; default: the one of rank 3")
    option("--count", type=_positive, metavar="N", help="use the first N sequences; default: all")
    option("--name", default="model", help="C identifier for files and symbols; default: model")
    option("--out", default=".", metavar="FOLDER", help="where to write; default: here")
    option("--overwrite", action="store_true", help="replace files that are there")
    option("--target", choices=("tflm", "c"), default="tflm", help=_TARGETS)
    option("--power-of-two-weights", action="store_true", help=_POWERS)
    for argument, choices in CHOICES.items():
        names = ["none" if choice is None else choice for choice in choices]
        default = names[0]
        if argument.endswith("_type"):
            names.remove("none")
            default = "the type that the model computes in"
        flag = "--" + argument.replace("_", "-")
        text = f"{_CHOICES[argument]}; default: {default}"
        option(flag, choices=names, default=argparse.SUPPRESS, help=text)

    option = add("run", _run, "Runs sequences through a .tflite file on TFLite Micro.")
    option("file", metavar="FILE", help="the .tflite file, from here or from elsewhere")
    option("data", metavar="DATA", help=".npz or .npy with sequences")
    option("--array", metavar="NAME", help="the array of a .npz; default: the one of rank 3")
    option("--labels", metavar="NAME", help="array of classes in the .npz, to print the accuracy")
    option("--output", metavar="OUT", help=".npz to write the outputs and classes to")
    option("--overwrite", action="store_true", help="replace OUT if it is there")
    option("--state", action="append", type=_state, default=[], metavar="IN=OUT", help=_STATES)
    option("--allow-unverified", action="store_true", help=_UNVERIFIED)

    option = add("inspect", _inspect, "Says what is in a .tflite file, whoever made it.")
    option("file", metavar="FILE", help="the .tflite file")
    option("--json", action="store_true", help="print it as JSON")
    option("--allow-unverified", action="store_true", help=_UNVERIFIED)
    return parser


_TARGETS = "what is to run the model: TFLite Micro, or plain C99 by itself; default: tflm"
_POWERS = "let int16x8 weights have scales that are powers of two, for devices that shift only"

_STATES = "a state's input and the output of its next value, by name or place; once for each state"
_UNVERIFIED = "give TFLite Micro operators, too, that there is no rule to verify by"


def _state(text) -> tuple[str, str]:
    name, separator, output = text.partition("=")
    if not (name and separator and output):
        raise argparse.ArgumentTypeError(f"expected IN=OUT, got {text!r}")
    return name, output


def _positive(text) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected an integer of at least 1, got {text!r}")
    return int(text)


def _convert(given) -> None:
    name = check_name(given.name)
    chosen = {key: value for key, value in vars(given).items() if key in CHOICES}
    if chosen.get("quantization") == "none":
        chosen["quantization"] = None
    ending = "tflite"
    if given.target == "c":
        ending = "c"
        _refuse_choices_of_tflm(chosen)
    with _stage("Loading the model"):
        model = load_model(given.model)
    _refuse_existing(Path(given.out, f"{name}.{ending}"), given.overwrite)
    x = None
    if given.calibration is not None:
        with _stage("Reading the data"):
            channels = _channels(model)
            x = load_array(given.calibration, given.array, 3, channels=channels, count=given.count)
    chosen["power_of_two_weights"] = given.power_of_two_weights
    with _stage("Converting: calibrating, choosing scales, comparing with Keras"):
        deployed = (convert_c if given.target == "c" else convert)(model, x, name=name, **chosen)
    with _stage("Writing the files"):
        paths = deployed.save(given.out, overwrite=given.overwrite)
    print(deployed.report)
    print("\nwritten:")
    for path in paths:
        print(f"  {path}")


def _channels(model) -> int | None:
    """What a sequence has at each step, where the model can be exported at all."""
    shapes = [tuple(tensor.shape) for tensor in model.inputs or ()] if model.built else []
    return shapes[0][-1] if len(shapes) == 1 and len(shapes[0]) == 3 else None


def _refuse_choices_of_tflm(chosen: dict) -> None:
    """Plain C is streaming, in int16x8, and keeps its state where the caller says."""
    for argument, value in chosen.items():
        if (argument, value) not in (("quantization", "auto"), ("quantization", "int16x8")):
            flag = "--" + argument.replace("_", "-")
            raise ValueError(
                f"Received an invalid value for argument {flag}, expected none with --target c, "
                f"which computes int16x8 step by step, got {value!r}."
            )


def _run(given) -> None:
    x = load_array(given.data, given.array, 3)
    labels = None if given.labels is None else load_array(given.data, given.labels, None)
    if given.output is not None:
        _refuse_existing(Path(given.output), given.overwrite)
    with TFLMProcess() as process:
        states, allowed = dict(given.state), given.allow_unverified
        runner = SequenceRunner(_read(given.file), process, states, allowed)
        with Progress(console=_console(), disable=not _console().is_terminal) as progress:
            task = progress.add_task("sequences", total=len(x))
            with _remembered_interrupt() as check:
                outputs = runner.run(x, lambda: (check(), progress.advance(task)))
    for note in runner.notes:
        print(f"{PROGRAM}: note: {note}", file=sys.stderr)
    classes = outputs.argmax(axis=2)
    print(f"{len(x):,} sequences, {outputs.shape[1]:,} answers each, {outputs.shape[2]:,} outputs")
    for unit, values in enumerate(np.moveaxis(outputs[:, -1], 1, 0)):
        print(
            f"  output {unit}: {values.min():.6g} to {values.max():.6g}, mean {values.mean():.6g}, "
            f"the largest in {np.count_nonzero(classes[:, -1] == unit):,}"
        )
    if labels is not None:
        print(f"accuracy: {100 * _accuracy(classes, labels, outputs.shape[2]):.2f} %")
    if given.output is not None:
        _save(Path(given.output), given.overwrite, outputs=outputs, classes=classes)
    if np.isnan(outputs).any():
        raise RuntimeError("The model answers NaN, which is no number; see the note above.")


@contextlib.contextmanager
def _remembered_interrupt():
    """Yields a function that raises what Ctrl-C raised in vain, in a callback that ignores it."""
    came = []

    def raise_it(*_):
        came.append(True)
        raise KeyboardInterrupt

    def check():
        if came:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, raise_it)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, before)


def _accuracy(classes, labels, units) -> float:
    """Labels are one for a sequence, met by its last answer, or one for every answer."""
    met = classes[:, -1] if labels.shape == classes.shape[:1] else classes
    if labels.shape != met.shape or labels.dtype.kind not in "iu":
        raise ValueError(
            f"The labels are {labels.dtype} of shape {labels.shape}, expected integers of shape "
            f"{classes.shape[:1]}, or {classes.shape} for one an answer."
        )
    outside = labels[(labels < 0) | (labels >= units)]
    if outside.size:
        raise ValueError(
            f"The labels hold {outside.flat[0]}, expected classes in [0, {units - 1}], as the "
            f"model has {units} outputs."
        )
    return float(np.mean(met == labels))


def _refuse_existing(path: Path, overwrite: bool) -> None:
    if os.path.lexists(path) and not overwrite:
        raise FileExistsError(f"{path} is there already. Give --overwrite to replace it.")


def _save(path, overwrite, **arrays) -> None:
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    (written,) = write_all(path.parent, {path.name: content.getvalue()}, overwrite)
    print(f"written: {written}")


def _inspect(given) -> None:
    found = inspect(_read(given.file), allow_unverified=given.allow_unverified)
    print(json.dumps(found.to_dict(), indent=2) if given.json else found)


def _read(path) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _console() -> Console:
    return Console(stderr=True)


def _stage(text):
    """Shows on a terminal what is being done."""
    console = _console()
    return console.status(text + " ...") if console.is_terminal else contextlib.nullcontext()


@contextlib.contextmanager
def _own_warnings_shown():
    """Shows this project's warnings as lines of their own, and nobody else's."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        finally:
            for warning in caught:
                if issubclass(warning.category, (PrecisionWarning, SaturationWarning)):
                    print(f"{PROGRAM}: warning: {_one_line(warning.message)}", file=sys.stderr)


def _one_line(error) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}"
    return " ".join(str(error).split()) or type(error).__name__
