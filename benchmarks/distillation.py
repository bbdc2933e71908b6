"""Distillation: the labels of a task, softened by what a larger model answers."""

import dataclasses
from pathlib import Path

import numpy as np
from scipy.special import softmax

from benchmarks.compared_models import Structure, Training
from benchmarks.tasks import Task
from benchmarks.training import one_hot, train

_TEMPERATURE = 2.0
_PART_OF_THE_TEACHER = 0.5


def taught(
    task: Task, name: str, structure: Structure, training: Training, seed: int, folder: Path
) -> Task:
    """Trains a teacher in float and returns the task with labels that are half its answers.

    The other half are the classes. Answers are those to sequences without augmentation, softened
    by a temperature of 2.

    Args:
        task: `Task`.
        name: String, the teacher's, a key of `compared_models.LAYERS` other than the recipe's.
        structure: `Structure` of the teacher.
        training: `Training` of the teacher.
        seed: Integer.
        folder: Path of the folder in which each epoch leaves what it takes to go on.

    Returns:
        `Task` with `soft_labels`.

    Reference:
        Hinton et al., Distilling the Knowledge in a Neural Network, 2015
        (https://arxiv.org/abs/1503.02531)
    """
    (teacher,) = train(name, task, structure, training, seed, folder)
    logits = teacher.model.predict(task.training.x, verbose=0)
    answers = softmax(logits / _TEMPERATURE, axis=1)
    own = (1 - _PART_OF_THE_TEACHER) * one_hot(task, task.training)
    labels = (own + _PART_OF_THE_TEACHER * answers).astype(np.float32)
    return dataclasses.replace(task, soft_labels=labels)
