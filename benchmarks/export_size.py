"""Exported models beside tf.lite.TFLiteConverter's for the same Keras models.

Bytes, arena and Invoke time on TFLite Micro, and the error of the answers, for FastGRNN, GRU, LSTM
and SimpleRNN with seeded weights and data; where the converter fails, how. Writes a Markdown file.

    python -m benchmarks.export_size
"""

import argparse
import datetime
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run as a file, too

import numpy as np

from benchmarks.command_line import output_file, positive_integer
from benchmarks.measurements import Model, Stopwatch, measure
from benchmarks.stock_converter import (
    CLASSES,
    LAYERS,
    STATES,
    UNITS,
    Job,
    convert,
    sequence_model,
)
from keras_fastgrnn import export, keras
from keras_fastgrnn.export.files import write_all
from keras_fastgrnn.export.tflm.process import TFLMProcess

ROOT = Path(__file__).resolve().parent.parent
STEPS, CHANNELS = 128, 9
CALIBRATION_SEQUENCES, TEST_SEQUENCES = 64, 32
FORMATS = ("int16x8", "int8", None)
OURS, STOCK = "keras_fastgrnn", "TFLiteConverter"
OUR_FORMS = {
    "streaming": {},
    "streaming, explicit state": {"state": "explicit"},
    "sequence": {"mode": "sequence"},
}
YARDSTICK = (OURS, "streaming", "int16x8")
RIVAL = (STOCK, "one step", "int8")

PROMISED = ("bytes", "arena", "Invoke time")

HEADER = """\
# Exported models beside TFLiteConverter's

Written by `{command}` on {date}, with {versions}, on {machine}.

Every model reads {steps} time steps of {channels} channels with {units} units and ends in
Dense({classes}). Weights are Keras's initial ones moved by N(0, 0.1), data are waves with noise,
all seeded. A model of one time step has its states as inputs and outputs, and is made by hand of
the Keras cell and the Dense layer.
"""
NOTES = """\
## How each number was obtained

- **bytes**: length of the file as the converter returned it.
- **arena**: the smallest in which TFLite Micro's interpreter can be made on this machine, to 16
  bytes. 32-bit microcontrollers need about two thirds of it.
- **operators**: in the file, with those of a WHILE's condition and body.
- **Invoke**: microseconds a time step of `tflite_micro.runtime.Interpreter.invoke()` alone, the
  minimum of {rounds} rounds. In a round every model of the layer has its turn of about 2 ms. An
  Invoke on a whole sequence counts as {steps} time steps. *x ours*: that minimum over the one of
  our int16x8 streaming model. The wheel has TFLite Micro's reference kernels; a microcontroller's
  own kernels have other times.
- **with the calls around it**: the same with Python's calls that set every input and get every
  output, and hand on the states that are inputs and outputs.
- **error**: root mean square difference of the last answers to {tests} sequences that were not
  calibrated on from the Keras model's, as a part of their standard deviation, on TFLite Micro.
  States that are inputs and outputs are handed on as they are; *requantized*: turned into real
  values with the output's scale and back with the input's.
- **calibration**: the same {calibration} sequences for every model; for models of one time step,
  with the states that the Keras model computes on them.
- **failures**: every conversion ran in a process of its own with a clean environment and
  {timeout} s of time; its error is quoted. *any batch*: a Keras model of unknown batch
  size; all others have batch size 1. *tf_keras*: `TF_USE_LEGACY_KERAS=1`.
"""


def seeded_model(layer: str, steps=STEPS, channels=CHANNELS, units=UNITS, classes=CLASSES):
    """Returns a model whose weights are Keras's initial ones, all moved by N(0, 0.1)."""
    keras.utils.set_random_seed(0)
    model = sequence_model(layer, steps, channels, units=units, classes=classes)
    rng = np.random.default_rng(0)
    model.set_weights([w + rng.normal(0.0, 0.1, w.shape) for w in model.get_weights()])
    return model


def sequences(count: int, seed: int) -> np.ndarray:
    """Returns sequences whose channels are waves with noise of N(0, 0.5)."""
    rng = np.random.default_rng(seed)
    angle = np.arange(STEPS)[:, np.newaxis] * rng.uniform(0.05, 0.5, (count, 1, CHANNELS))
    waves = np.sin(angle + rng.uniform(0, 6, (count, 1, CHANNELS)))
    return (waves + rng.normal(0.0, 0.5, waves.shape)).astype(np.float32)


def our_jobs(quick: bool) -> list[tuple[str, str | None]]:
    """Returns the forms and formats that are exported."""
    return [("streaming", "int16x8")] if quick else [(f, q) for f in OUR_FORMS for q in FORMATS]


def our_model(layer: str, form: str, quantization: str | None, model, x) -> Model:
    """Exports a Keras model."""
    deployed = export.convert(model, x, quantization=quantization, **OUR_FORMS[form])
    states = STATES[layer] if "explicit" in form else ()
    ends = ["x", *states], ["y", *states]
    return Model(layer, OURS, form, quantization, deployed.tflite, *ends)


def stock_jobs(layer: str, quick: bool) -> list[Job]:
    """Returns what the stock converter is asked for."""
    if quick:
        return [Job(layer, "one step", "int8"), Job(layer, "loop", "int8")]
    return [
        *(Job(layer, "one step", q) for q in FORMATS),
        *(Job(layer, "one step", q, batch_size=None) for q in FORMATS),
        *(Job(layer, "loop", q) for q in FORMATS),
        Job(layer, "loop", None, batch_size=None),
        *(Job(layer, "loop", q, flavor="tf_keras") for q in FORMATS),
        *(Job(layer, "unrolled", q) for q in FORMATS),
    ]


def stock_model(job: Job, weights, x, folder: Path, timeout: float) -> Model:
    """Runs one job of the stock converter."""
    made = convert(job, weights, x, folder, timeout)
    form = job.form if job.batch_size else f"{job.form}, any batch"
    form = f"{form}, tf_keras" if job.flavor == "tf_keras" else form
    failure = made.error and f"converter: {made.error}"
    ends = made.inputs, made.outputs
    return Model(job.layer, STOCK, form, job.quantization, made.tflite, *ends, failure)


def models_of(layer: str, arguments, process: TFLMProcess, progress) -> list[Model]:
    """Makes and measures all models of a layer; says how far it is."""
    model = seeded_model(layer)
    x, test = sequences(CALIBRATION_SEQUENCES, 1), sequences(TEST_SEQUENCES, 2)
    expected, weights = model.predict(test, verbose=0), model.get_weights()
    models = []

    def add(made: Model):
        if made.failure is None:
            measure(made, test, expected, process)
            path = f"{layer} {made.maker} {made.form} {_format(made)}.tflite".replace(" ", "_")
            write_all(arguments.work / "models", {path: made.tflite}, overwrite=True)
        models.append(made)
        progress(made)

    for form, quantization in our_jobs(arguments.quick):
        add(our_model(layer, form, quantization, model, x))
    for job in stock_jobs(layer, arguments.quick):
        add(stock_model(job, weights, x, arguments.work / "stock", arguments.timeout))
    return models


def take_times(models: list[Model], rounds: int) -> None:
    """Times the models that run, in turn."""
    watches = [Stopwatch(model) for model in models if model.failure is None]
    bar = keras.utils.Progbar(rounds, unit_name="round")
    for _ in range(rounds):
        for watch in watches:
            watch.round()
        bar.add(1)


def table(models: list[Model]) -> str:
    """Returns the table of a layer's models."""
    lines = [
        "| made by | one Invoke computes | format | bytes | arena | operators "
        "| Invoke, microseconds a step | x ours | error | requantized | failure |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    ours = min(_find(models, YARDSTICK).invoke)
    for model in models:
        size = "" if model.tflite is None else f"{len(model.tflite):,}"
        cells = [model.maker, model.form, _format(model), size]
        if model.failure is None:
            cells += [f"{model.arena:,}", f"{sum(model.operators().values()):,}"]
            cells += [f"{min(model.invoke):.2f}", f"{min(model.invoke) / ours:.2f}"]
            cells += [_percent(model.error), _percent(model.requantized_error), ""]
        else:
            cells += [*[""] * 6, model.failure.replace("|", "\\|")]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def comparison(by_layer: dict[str, list[Model]]) -> str:
    """Returns our int16x8 streaming models beside the stock int8 models of one time step."""
    lines = [
        "## int16x8 streaming beside the stock int8 model of one time step",
        "",
        "| layer | made by | bytes | arena | Invoke, microseconds a step "
        "| with the calls around it | error | requantized |",
        "|---|---|---|---|---|---|---|---|",
    ]
    verdicts, operators = [], []
    for layer, models in by_layer.items():
        ours, rival = _find(models, YARDSTICK), _find(models, RIVAL)
        for model in (ours, rival):
            sizes = f"{len(model.tflite):,} | {model.arena:,}"
            times = f"{min(model.invoke):.2f} | {min(model.whole):.2f}"
            errors = f"{_percent(model.error)} | {_percent(model.requantized_error)}"
            lines.append(f"| {layer} | {model.maker} | {sizes} | {times} | {errors} |")
            counts = ", ".join(f"{n} {name}" for name, n in sorted(model.operators().items()))
            operators.append(f"- {layer}, {model.maker}: {counts}")
        not_lower = [name for name in PROMISED if _costs(ours)[name] >= _costs(rival)[name]]
        verdict = "not lower in ours: " + ", ".join(not_lower) if not_lower else "all lower in ours"
        ratio = np.median(np.array(rival.invoke) / np.array(ours.invoke))
        verdicts.append(
            f"- {layer}: {verdict}. Invoke time, stock over ours, median of the rounds: {ratio:.2f}"
        )
    return "\n".join([*lines, "", *verdicts, "", "Operators a step:", "", *operators]) + "\n"


def stock_ahead(by_layer: dict[str, list[Model]]) -> str:
    """Returns where a stock model is below our int16x8 streaming model of the same layer."""
    lines = []
    for layer, models in by_layer.items():
        ours = _costs(_find(models, YARDSTICK))
        for model in models:
            if model.maker == STOCK and model.quantization and model.failure is None:
                below = [name for name, cost in _costs(model).items() if cost < ours[name]]
                if below:
                    lines.append(
                        f"- {layer}, {model.form}, {model.quantization}: {', '.join(below)}"
                    )
    title = "Stock integer models that are below our int16x8 streaming one, and in what:"
    return "\n".join([title, "", *(lines or ["- none"])]) + "\n"


def document(by_layer: dict[str, list[Model]], arguments) -> str:
    """Returns the whole Markdown file."""
    packages = ("tensorflow", "keras", "tf_keras", "tflite-micro")
    values = {
        "command": "python -m benchmarks.export_size" + " --quick" * arguments.quick,
        "date": datetime.date.today().isoformat(),
        "versions": ", ".join(f"{name} {version(name)}" for name in packages),
        "machine": f"{platform.system()} {platform.machine()} with {os.cpu_count()} CPUs",
        "steps": STEPS,
        "units": UNITS,
        "classes": CLASSES,
        "channels": CHANNELS,
        "rounds": arguments.rounds,
        "tests": TEST_SEQUENCES,
        "calibration": CALIBRATION_SEQUENCES,
        "timeout": arguments.timeout,
    }
    tables = [f"## {layer}\n\n{table(models)}" for layer, models in by_layer.items()]
    parts = [
        HEADER.format(**values),
        comparison(by_layer),
        stock_ahead(by_layer),
        *tables,
        NOTES.format(**values),
    ]
    return "\n".join(parts)


def _find(models, key) -> Model:
    return next(m for m in models if (m.maker, m.form, m.quantization) == key)


def _costs(model) -> dict[str, float]:
    return {
        "bytes": len(model.tflite),
        "arena": model.arena,
        "Invoke time": min(model.invoke),
        "error": model.error,
    }


def _format(model) -> str:
    return model.quantization or "float32"


def _percent(error) -> str:
    return "" if error is None else f"{100 * error:.2g} %"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="three models of FastGRNN, 20 rounds")
    parser.add_argument(
        "--output",
        type=output_file,
        help="Markdown file; default benchmarks/EXPORT.md, with --quick in the work folder",
    )
    parser.add_argument(
        "--work",
        type=Path,
        default=ROOT / "build" / "export_size",
        help="folder for the models and the stock converter's results, which are used again; "
        "default build/export_size",
    )
    parser.add_argument(
        "--timeout", type=positive_integer, default=900, help="seconds for one conversion"
    )
    parser.add_argument(
        "--rounds", type=positive_integer, help="rounds of timing; default 300, quick 20"
    )
    values = parser.parse_args(arguments)
    if values.rounds is None:
        values.rounds = 20 if values.quick else 300
    if values.output is None:
        folder = values.work if values.quick else ROOT / "benchmarks"
        values.output = folder / "EXPORT.md"
    return values


def main() -> None:
    arguments = parse()
    layers = ["FastGRNN"] if arguments.quick else list(LAYERS)
    total = sum(len(our_jobs(arguments.quick) + stock_jobs(n, arguments.quick)) for n in layers)
    by_layer, done = {}, 0

    def progress(model: Model):
        nonlocal done
        done += 1
        what = model.failure or f"{len(model.tflite):,} bytes, arena {model.arena:,}"
        names = f"{model.layer}, {model.maker}, {model.form}, {_format(model)}"
        print(f"[{done}/{total}] {names}: {what}", flush=True)

    with TFLMProcess() as process:
        for layer in layers:
            by_layer[layer] = models_of(layer, arguments, process, progress)
    for layer, models in by_layer.items():
        print(f"{layer}: times")
        take_times(models, arguments.rounds)
    text = document(by_layer, arguments)
    (path,) = write_all(arguments.output.parent, {arguments.output.name: text.encode()}, True)
    print(f"\n{comparison(by_layer)}\nWritten to {path}")


if __name__ == "__main__":
    main()
