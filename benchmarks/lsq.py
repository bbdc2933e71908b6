"""The recipe on HAR-2: accuracy on TFLite Micro, and the bytes that the parameters store in.

    python -m benchmarks.lsq [--data FOLDER] [--epochs N] [--seeds N] [--quick]

Runs `recipe.fit_lsq` with settings that were chosen on held-out training subjects, converts its
model to int16x8, and looks at the test subjects once for each seed. Interrupted, it goes on from
the last epoch in `build/lsq/`; results there are not repeated. Writes `benchmarks/LSQ.md`.
"""

import argparse
import json
import math
import statistics
import sys
from pathlib import Path

from benchmarks import tasks
from benchmarks.quantization import accuracy, deployed_accuracy, optimizer
from keras_fastgrnn import FastGRNN, export, keras, recipe, sparsity

RESULTS = Path("build/lsq")
DOCUMENT = Path("benchmarks/LSQ.md")
UNITS = 32
LEARNING_RATE, FINE_LEARNING_RATE = 1e-2, 1e-3
STAGES = {"float": "float, in Keras", "trained": "quantized, in Keras", "tflm": "on TFLite Micro"}


def run(seed: int, epochs: int, fine_epochs: int, data: Path) -> dict:
    """Trains one model and measures it.

    Args:
        seed: Integer.
        epochs: Integer, of the three stages in float.
        fine_epochs: Integer, of quantization-aware training.
        data: Path of the folder with the archive.

    Returns:
        Dictionary of what was measured.
    """

    def learning_rate(epoch):
        if epoch >= epochs:
            return FINE_LEARNING_RATE
        return LEARNING_RATE * (0.505 + 0.495 * math.cos(math.pi * epoch / epochs))

    task = tasks.load("har2", data)
    keras.utils.set_random_seed(seed)
    layers = [keras.layers.Input(task.shape), FastGRNN(UNITS), keras.layers.Dense(2)]
    result = recipe.fit_lsq(
        keras.Sequential(layers),
        task.training.x,
        task.training.y,
        validation_data=(task.validation.x, task.validation.y),
        epochs=epochs,
        learning_rate=learning_rate,
        optimizer=optimizer,
        augmentation=task.augment,
        quantization_epochs=fine_epochs,
        checkpoint=RESULTS / f"checkpoint-{epochs}-{fine_epochs}-{seed}",
        seed=seed,
        jit_compile=True,
    )
    deployed = export.convert(result.model, name="har2")
    return {
        "validation": result.stages[-1].validation_accuracy,
        "float": accuracy(result.stages[-2].model, task.test),
        "trained": accuracy(result.model, task.test),
        "tflm": deployed_accuracy(result.model, task.test),
        "stored": int(sparsity.report(result.model).total_bytes["best"]),
        "file": len(deployed.tflite),
    }


def document(results: list[dict], epochs: int, fine_epochs: int) -> str:
    """Returns the text of `DOCUMENT`."""
    rows = []
    for key, title in {"validation": "validation subjects, quantized", **STAGES}.items():
        values = [100 * result[key] for result in results]
        deviation = statistics.stdev(values) if len(values) > 1 else 0.0
        mean, each = statistics.mean(values), ", ".join(f"{value:.2f}" for value in values)
        rows.append(f"| {title} | {mean:.2f} &plusmn; {deviation:.2f} | {each} |")
    stored, file = (
        "-".join(map(str, sorted({result[key] for result in results})))
        for key in ("stored", "file")
    )
    table = "\n".join(rows)
    return f"""# The recipe on HAR-2

Measured by `python -m benchmarks.lsq --epochs {epochs} --fine-epochs {fine_epochs} --seeds \
{len(results)}`: `recipe.fit_lsq` on FastGRNN of {UNITS} full-rank units and a Dense layer, {epochs}
epochs in float, {fine_epochs} quantization-aware in int16x8, windows turned by a random angle anew
in each epoch. Settings were chosen on held-out training subjects, epochs on the 4 validation
subjects; the 9 test subjects were looked at once. Accuracy in percent, mean, standard deviation and
each seed; of the test subjects but for the first row.

| | mean | seeds |
|---|---|---|
{table}

Parameters: {stored} bytes (`sparsity.report`: 8-bit weights, biases and scalars of 4 bytes, the
Dense layer, all counted); the `.tflite` file: {file} bytes. The paper has 95.59 % at 3.00 KB, of
the epoch with the best test accuracy.
"""


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=tasks.DEFAULT_DATA)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--fine-epochs", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="few epochs, one seed; no document")
    given = parser.parse_args(arguments)
    if given.quick:
        given.epochs, given.fine_epochs, given.seeds = 3, 1, 1
    results = []
    for seed in range(given.seeds):
        path = RESULTS / f"{given.epochs}-{given.fine_epochs}-{seed}.json"
        if not path.exists():
            try:
                measured = run(seed, given.epochs, given.fine_epochs, given.data)
            except tasks.DataError as error:
                sys.exit(f"benchmarks.lsq: {error}")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(measured, indent=2))
        results.append(json.loads(path.read_text()))
        print(path, results[-1], flush=True)
    text = document(results, given.epochs, given.fine_epochs)
    if given.quick:
        print(text)
    else:
        DOCUMENT.write_text(text)


if __name__ == "__main__":
    main()
