"""Whether `recipe.fit_lsq` loses what it had: few sequences, of which 30 % have a label by chance.

    python -m benchmarks.noisy_labels [--task TASK] [--seeds N] [--epochs N]

Trains a FastGRNN of 32 units on 400 training sequences by `fit_lsq`'s own defaults, without zeros,
and the same model by Keras's `fit` with Adam as Keras has it, for as many epochs and in as large
batches. Epochs are chosen on 400 validation sequences with labels as noisy. Prints the validation
accuracy of every stage and of what is returned, that of Keras's last and best epoch, and the
accuracies of the models on all test sequences, whose labels are right.
"""

import argparse
import statistics
import sys
import warnings
from pathlib import Path

import numpy as np

from benchmarks import tasks
from benchmarks.command_line import positive_integer
from benchmarks.tasks import Part, Task
from keras_fastgrnn import FastGRNN, keras, recipe

SEQUENCES = 400
NOISE = 0.3
UNITS = 32
SEEDS, EPOCHS = 10, 60
BATCH_SIZE = 64

# Of the recipe: validation accuracies of the stages, the last of which is what is returned.
STAGES = ("dense", "pruned", "frozen", "quantized")
PLAIN = ("Keras, last", "Keras, best")
COLUMNS = (*STAGES, *PLAIN, *(f"test: {name}" for name in ("returned", *PLAIN)))


def noisy(part: Part, classes: int, rng: np.random.Generator) -> Part:
    """Returns some sequences of a part, of which some have a label by chance.

    Args:
        part: `Part`.
        classes: Integer.
        rng: Generator.
    """
    chosen = part.part(rng.permutation(len(part.y))[:SEQUENCES])
    is_noisy = rng.random(len(chosen.y)) < NOISE
    return Part(chosen.x, np.where(is_noisy, rng.integers(0, classes, len(chosen.y)), chosen.y))


def measured(task: Task, seed: int, epochs: int) -> dict:
    """Trains both ways and returns what `COLUMNS` name, in percent, and "warned", a Boolean.

    Args:
        task: `Task`.
        seed: Integer, of sequences, noise, weights and batches.
        epochs: Integer, a multiple of 3, of the recipe's stages in float.
    """
    rng = np.random.default_rng(seed)
    training, validation = (
        noisy(part, task.classes, rng) for part in (task.training, task.validation)
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", recipe.TrainingWarning)
        result = recipe.fit_lsq(
            _model(task, seed),
            training.x,
            training.y,
            validation_data=(validation.x, validation.y),
            epochs=epochs,
            seed=seed,
            verbose=0,
        )
    warned = any(issubclass(one.category, recipe.TrainingWarning) for one in caught)
    plain = _model(task, seed)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    plain.compile("adam", loss, metrics=["accuracy"])
    kept = _BestEpoch()
    history = plain.fit(
        training.x,
        training.y,
        batch_size=BATCH_SIZE,
        epochs=sum(stage.epochs for stage in result.stages),
        validation_data=(validation.x, validation.y),
        callbacks=[kept],
        verbose=0,
    ).history
    tested = [_accuracy(result.model, task.test), _accuracy(plain, task.test)]
    plain.set_weights(kept.weights)
    tested.append(_accuracy(plain, task.test))
    stages = [100 * stage.validation_accuracy for stage in result.stages]
    reached = [100 * history["val_accuracy"][-1], 100 * kept.accuracy]
    return {**dict(zip(COLUMNS, [*stages, *reached, *tested], strict=True)), "warned": warned}


class _BestEpoch(keras.callbacks.Callback):
    """Keeps the weights of the epoch with the highest validation accuracy."""

    def __init__(self):
        super().__init__()
        self.accuracy = -1.0
        self.weights = None

    def on_epoch_end(self, epoch, logs=None):
        if logs["val_accuracy"] > self.accuracy:
            self.accuracy, self.weights = logs["val_accuracy"], self.model.get_weights()


def table(rows: list[dict]) -> str:
    """Returns a Markdown table of what `measured` returned for seeds 0, 1 and so on, and means."""
    lines = [
        f"| seed | {' | '.join(COLUMNS)} | below the best stage |",
        "|---|" + "---|" * (len(COLUMNS) + 1),
    ]
    for seed, row in enumerate(rows):
        lost = max(row[name] for name in STAGES) - row[STAGES[-1]]
        told = f"{lost:.1f}{', warned' if row['warned'] else ''}"
        lines.append(f"| {seed} | {_cells([f'{row[name]:.1f}' for name in COLUMNS])} | {told} |")
    means = [f"{statistics.mean(row[name] for row in rows):.1f}" for name in COLUMNS]
    lines.append(f"| mean | {_cells(means)} | |")
    return "\n".join(lines)


def _cells(texts: list[str]) -> str:
    return " | ".join(texts)


def _model(task: Task, seed: int):
    keras.utils.set_random_seed(seed)
    layers = [keras.layers.Input(task.shape), FastGRNN(UNITS), keras.layers.Dense(task.classes)]
    return keras.Sequential(layers)


def _accuracy(model, part: Part) -> float:
    answers = model.predict(part.x, batch_size=500, verbose=0).argmax(axis=1)
    return 100 * float(np.mean(answers == part.y))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser("noisy_labels", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--task", choices=tasks.TASKS, default="usps", help="whose sequences; default: usps")
    add("--seeds", type=positive_integer, default=SEEDS, help=f"default: {SEEDS}")
    add("--epochs", type=positive_integer, default=EPOCHS, help=f"default: {EPOCHS}")
    add("--data", type=Path, default=tasks.DEFAULT_DATA, help="folder with the archives")
    given = parser.parse_args(arguments)
    if given.epochs % 3:
        parser.error(f"argument --epochs: expected a multiple of 3, got {given.epochs}")
    try:
        task = tasks.load(given.task, given.data)
    except tasks.DataError as error:
        sys.exit(f"noisy_labels: {error}")
    rows = []
    for seed in range(given.seeds):
        rows.append(measured(task, seed, given.epochs))
        print(f"[{seed + 1}/{given.seeds}]", file=sys.stderr, flush=True)
    print(table(rows))


if __name__ == "__main__":
    main()
