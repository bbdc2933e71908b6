"""Rounding after training against training that rounds, on HAR-2.

    python -m benchmarks.quantization_accuracy [--data FOLDER] [--epochs N] [--seeds N] [--quick]

Trains FastGRNN in float with smooth and with piecewise-linear functions, converts it as it is
("PTQ", scales from calibration data), and fine-tunes it quantization-aware ("QAT"), in int16x8 and
int8, with weights of 8 and 4 bits, and measures accuracies on TFLite Micro over the whole test
split. Each training leaves its result in `build/quantization/`, and is not repeated;
`benchmarks/QUANTIZATION.md` is written from the results there.
"""

import argparse
import math
import statistics
import sys
import textwrap
import warnings
from pathlib import Path

import numpy as np

from benchmarks import runs, tasks
from benchmarks.command_line import positive_integer
from keras_fastgrnn import FastGRNN, export, keras, recipe
from keras_fastgrnn.quantization import quantize_aware

RESULTS = Path("build/quantization")
DOCUMENT = Path("benchmarks/QUANTIZATION.md")
UNITS = 32
BATCH = 100
LEARNING_RATE, FINE_LEARNING_RATE = 1e-2, 1e-3
FUNCTIONS = {
    "smooth": {},
    "piecewise-linear": {"activation": "quant_tanh", "recurrent_activation": "quant_sigmoid4"},
}
FORMATS = [(quantization, bits) for quantization in ("int16x8", "int8") for bits in (8, 4)]


def optimizer(learning_rate: float):
    """Returns the optimizer: gradients through 128 steps need a small norm."""
    return keras.optimizers.Adam(learning_rate, global_clipnorm=0.2)


def trained(functions: str, epochs: int, task: tasks.Task, seed: int):
    """Returns a float model, of the epoch that does best on the validation subjects."""
    keras.utils.set_random_seed(seed)
    cell = FastGRNN(UNITS, **FUNCTIONS[functions])
    layers = [keras.layers.Input(task.shape), cell, keras.layers.Dense(2)]
    return recipe.fit_lsq(
        keras.Sequential(layers),
        task.training.x,
        task.training.y,
        validation_data=(task.validation.x, task.validation.y),
        epochs=epochs,
        learning_rate=lambda epoch: (
            LEARNING_RATE * 0.5 * (1.01 + math.cos(math.pi * epoch / epochs))
        ),
        optimizer=optimizer,
        augmentation=task.augment,
        quantization=None,
        seed=seed,
        jit_compile=True,
        verbose=0,
    ).model


def fine_tune(aware, epochs: int, task: tasks.Task, seed: int) -> None:
    """Trains a quantization-aware model on turned windows; keeps the best epoch, or none."""
    keras.utils.set_random_seed(seed)
    rng, train = np.random.default_rng(seed), task.training
    steps = epochs * math.ceil(len(train.y) / BATCH)
    schedule = keras.optimizers.schedules.CosineDecay(FINE_LEARNING_RATE, steps)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    aware.compile(optimizer(schedule), loss, jit_compile=True)
    best, weights = accuracy(aware, task.validation), aware.get_weights()
    for _ in range(epochs):
        aware.fit(task.augment(train.x, rng), train.y, batch_size=BATCH, verbose=0)
        reached = accuracy(aware, task.validation)
        if reached > best:
            best, weights = reached, aware.get_weights()
    aware.set_weights(weights)


def accuracy(model, part: tasks.Part) -> float:
    """Returns the accuracy of a Keras model."""
    return float(np.mean(model.predict(part.x, verbose=0).argmax(axis=1) == part.y))


def deployed_accuracy(model, test: tasks.Part, **options) -> float:
    """Returns the accuracy of a model's file on TFLite Micro."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", (export.PrecisionWarning, export.SaturationWarning))
        logits = export.convert(model, **options).predict(test.x, verbose=False)
    return float(np.mean(logits.argmax(axis=1) == test.y))


def run(functions: str, seed: int, epochs: int, fine_epochs: int, data: Path) -> dict:
    """Trains one float model and measures everything made of it.

    Args:
        functions: String, a key of `FUNCTIONS`.
        seed: Integer.
        epochs: Integer, of the float training.
        fine_epochs: Integer, of each quantization-aware training.
        data: Path of the folder with the archive.

    Returns:
        Dictionary from what was measured to an accuracy.
    """
    task = tasks.load("har2", data)
    calibration = task.training.x[::36]
    model = trained(functions, epochs, task, seed)
    measured = {"float": accuracy(model, task.test)}
    for quantization, bits in FORMATS:
        options = {"weight_bits": bits, "calibration_data": calibration}
        aware = quantize_aware(model, quantization, **options)
        if bits == 8:
            after = {"calibration_data": calibration, "quantization": quantization}
            measured[f"PTQ {quantization}"] = deployed_accuracy(model, task.test, **after)
        else:
            measured[f"PTQ {quantization} 4-bit"] = deployed_accuracy(aware, task.test)
        fine_tune(aware, fine_epochs, task, seed)
        name = f"QAT {quantization}" + (" 4-bit" if bits == 4 else "")
        measured[f"{name} in Keras"] = accuracy(aware, task.test)
        measured[name] = deployed_accuracy(aware, task.test)
    return measured


def table(results: list[dict]) -> str:
    """Returns a Markdown table: mean and standard deviation over the seeds, in percent."""
    names = list(results[0]["measured"])
    columns = [f for f in FUNCTIONS if any(r["functions"] == f for r in results)]
    lines = ["| | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    for name in names:
        cells = []
        for functions in columns:
            values = [100 * r["measured"][name] for r in results if r["functions"] == functions]
            deviation = f" &plusmn; {statistics.stdev(values):.2f}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.2f}{deviation}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def document(results: list[dict]) -> str:
    """Returns the text of `DOCUMENT`."""
    epochs, fine_epochs = (results[0]["settings"][key] for key in ("epochs", "fine_epochs"))
    seeds = sorted({result["seed"] for result in results})
    text = f"""Measured by `python -m benchmarks.quantization_accuracy --epochs {epochs} \
--fine-epochs {fine_epochs} --seeds {len(seeds)}`: FastGRNN of {UNITS} units and a Dense layer \
on HAR-2 (two classes of UCI HAR, 9 subjects for the test), {epochs} epochs in float on \
windows turned by a random angle and {fine_epochs} more quantization-aware; the epoch that did \
best on 4 subjects held out of training. Accuracy on the test subjects in percent, mean and \
standard deviation over {len(seeds)} seeds, of the file on TFLite Micro but for "float" and \
"in Keras". "PTQ" is the float model with scales from calibration data, "QAT" the fine-tuned one; \
"4-bit" are weights of 4 bits, stored as 8. Piecewise-linear functions are `quant_tanh` and \
`quant_sigmoid4`."""
    title = "# Rounding after training, and training that rounds"
    return f"{title}\n\n{textwrap.fill(text, 100)}\n\n{table(results)}\n"


def _result(functions: str, seed: int, settings: dict, data: Path) -> dict:
    """Returns what was measured of a training, which it makes unless its result is on disk."""
    path = RESULTS / f"{functions}-{settings['epochs']}-{settings['fine_epochs']}-{seed}.json"
    if not path.exists():
        result = {"functions": functions, "seed": seed, "settings": settings}
        runs.write(path, {**result, "measured": run(functions, seed, **settings, data=data)})
    found = runs.read(path)
    print(path, found["measured"], flush=True)
    return found


def main(arguments: list[str] | None = None) -> None:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    add, count = parser.add_argument, positive_integer
    add("--data", type=Path, default=tasks.DEFAULT_DATA, help="folder with the archives")
    add("--epochs", type=count, default=30, help="of training in float; default: 30")
    add("--fine-epochs", type=count, default=6, help="quantization-aware; default: 6")
    add("--seeds", type=count, default=3, help="of each; default: 3")
    add("--quick", action="store_true", help="few epochs, one seed; no document")
    given = parser.parse_args(arguments)
    if given.quick:
        given.epochs, given.fine_epochs, given.seeds = 3, 1, 1
    settings = {"epochs": given.epochs, "fine_epochs": given.fine_epochs}
    results = []
    try:
        for seed in range(given.seeds):
            for functions in FUNCTIONS:
                results.append(_result(functions, seed, settings, given.data))
    except (runs.ResultsError, tasks.DataError) as error:
        sys.exit(f"benchmarks.quantization_accuracy: {error}")
    if given.quick:
        print(table(results))
    else:
        DOCUMENT.write_text(document(results))


if __name__ == "__main__":
    main()
