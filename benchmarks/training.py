"""Trains the models of the benchmarks, ours and their peers', by the same epochs and batches."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.compared_models import RECIPE, SPARSE, Structure, Training, build
from benchmarks.deployment import FORMATS
from benchmarks.tasks import Part, Task
from keras_fastgrnn import keras, recipe
from keras_fastgrnn.quantization import quantize_aware
from keras_fastgrnn.recipe.staged_training import QUANTIZED, Stage, StagedTraining
from keras_fastgrnn.recipe.training_data import Arrays
from keras_fastgrnn.recipe.training_state import TrainingState

CALIBRATION_SEQUENCES = 64


@dataclass(frozen=True)
class Trained:
    """A trained model and how it is to be deployed.

    Attributes:
        name: String, a name of the tables.
        model: Keras model, what accuracy in Keras is measured on: in float, or of the recipe the
            quantization-aware one for int16x8.
        aware: Dictionary from a format to the quantization-aware model to export; empty where
            `model` is exported with calibration data.
        epochs: Integer, of training in float.
        cpu_seconds: Float, of training in float.
        validation: Float, accuracy of `model` on the validation sequences.
    """

    name: str
    model: object
    aware: dict
    epochs: int
    cpu_seconds: float
    validation: float


def calibration_data(part: Part) -> np.ndarray:
    """Returns training sequences, spread over all, to take ranges from."""
    return part.x[:: max(1, len(part.x) // CALIBRATION_SEQUENCES)]


def train(
    name: str,
    task: Task,
    structure: Structure,
    training: Training,
    seed: int,
    folder: Path,
    formats: tuple[str, ...] = FORMATS,
    compressed: bool = False,
) -> list[Trained]:
    """Trains a model.

    Args:
        name: String, a key of `LAYERS`.
        task: `Task`.
        structure: `Structure`.
        training: `Training`.
        seed: Integer.
        folder: Path of the folder in which each epoch leaves what it takes to go on.
        formats: Tuple of strings, what the recipe's model is trained for; "int16x8" is one.
        compressed: Boolean, whether another model is trained as the recipe's, too. Defaults to
            `False`.

    Returns:
        List of `Trained`: of the recipe two, rounded after training and trained with rounding.
    """
    keras.utils.set_random_seed(seed)
    model = build(name, structure, task.shape, task.classes, training.initializer)
    if name == RECIPE or compressed:
        return _by_recipe(model, task, structure, training, seed, folder, formats)
    return _in_float(name, model, task, training, seed, folder)


def _in_float(name, model, task, training, seed, folder) -> list[Trained]:
    begin = time.process_time()
    stage = Stage("dense", training.epochs)
    _train_stage(model, stage, task, training, seed, folder)
    seconds = time.process_time() - begin
    model.set_weights(stage.best_weights)
    return [Trained(name, model, {}, training.epochs, seconds, stage.validation_accuracy)]


def _by_recipe(model, task, structure, training, seed, folder, formats) -> list[Trained]:
    options = {
        "weight_bits": structure.weight_bits,
        "byte_biases": structure.bias_bytes == 1,
        "power_of_two_weights": True,
    }
    begin = time.process_time()
    result = recipe.fit_lsq(
        model,
        task.training.x,
        _labels(task),
        validation_data=(task.validation.x, one_hot(task, task.validation)),
        kernel_sparsity=structure.kernel_sparsity,
        recurrent_sparsity=structure.recurrent_sparsity,
        epochs=training.epochs,
        batch_size=training.batch_size,
        learning_rate=training.rate,
        optimizer=training.optimizer,
        loss=training.loss(),
        augmentation=task.augment if training.augments else None,
        quantization=None,
        checkpoint=folder / "float",
        seed=seed,
        jit_compile=True,
        verbose=0,
    )
    seconds = time.process_time() - begin
    validation = {SPARSE: result.stages[-1].validation_accuracy}
    x = calibration_data(task.training)
    rounded, trained = {}, {}
    for format_ in formats:
        rounded[format_] = quantize_aware(result.model, format_, **options, calibration_data=x)
        aware = quantize_aware(result.model, format_, **options, calibration_data=x)
        stage = Stage(QUANTIZED, training.fine_epochs)
        _train_stage(aware, stage, task, training, seed, folder / format_)
        aware.set_weights(stage.best_weights)
        trained[format_] = aware
        if format_ == "int16x8":
            validation[RECIPE] = stage.validation_accuracy
    return [
        Trained(SPARSE, result.model, rounded, training.epochs, seconds, validation[SPARSE]),
        Trained(RECIPE, trained["int16x8"], trained, training.epochs, seconds, validation[RECIPE]),
    ]


def _train_stage(model, stage: Stage, task: Task, training: Training, seed, folder) -> None:
    def rate(_, epoch):
        return training.fine_learning_rate if stage.name == QUANTIZED else training.rate(epoch)

    staged = StagedTraining(
        stages=[stage],
        data=Arrays(
            task.training.x,
            _labels(task),
            batch_size=training.batch_size,
            augmentation=task.augment if training.augments else None,
        ),
        validation_data=Arrays(task.validation.x, one_hot(task, task.validation)),
        rate=rate,
        seed=seed,
        state=TrainingState(folder, {"stage": stage.name, "epochs": stage.epochs}),
        is_silent=True,
    )
    optimizer = training.optimizer(rate(stage, 0))
    model.compile(optimizer, training.loss(), metrics=["accuracy"], jit_compile=True)
    staged.begin(model)
    staged.train(model, stage)


def _labels(task: Task) -> np.ndarray:
    return one_hot(task, task.training) if task.soft_labels is None else task.soft_labels


def one_hot(task: Task, part: Part) -> np.ndarray:
    """Returns the classes of a part as a float32 array of shape `(sequences, classes)`."""
    return np.eye(task.classes, dtype=np.float32)[part.y]
