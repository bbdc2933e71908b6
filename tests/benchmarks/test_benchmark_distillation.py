"""Labels of distillation are half the classes, half the teacher's answers, and are learned."""

import dataclasses
import math

import numpy as np
import pytest

CLASSES = 3
SEQUENCES = 96


@pytest.fixture
def task(benchmarks_on_path):
    """Sequences whose class is the channel that is high."""
    from benchmarks.tasks import Part, Task

    rng = np.random.default_rng(0)
    y = np.arange(SEQUENCES) % CLASSES
    x = rng.normal(scale=0.3, size=(SEQUENCES, 6, CLASSES)) + np.eye(CLASSES)[y][:, np.newaxis]
    part = Part(x.astype(np.float32), y)
    return Task("speech", CLASSES, part, part, part)


@pytest.fixture
def training(benchmarks_on_path):
    from benchmarks.compared_models import Training

    return Training(epochs=6, fine_epochs=2, batch_size=16)


def test_labels_are_the_mean_of_the_classes_and_the_teachers_answers(task, training, tmp_path):
    from benchmarks.compared_models import Structure
    from benchmarks.distillation import taught
    from benchmarks.training import train

    settings = Structure(units=8), training, 5
    labels = taught(task, "FastGRNN", *settings, tmp_path / "taught").soft_labels
    (teacher,) = train("FastGRNN", task, *settings, tmp_path / "again")
    logits = teacher.model.predict(task.training.x, verbose=0)
    for label, y, logit in zip(labels, task.training.y, logits.astype(float), strict=True):
        powers = [math.exp(one / 2) for one in logit]
        for index, power in enumerate(powers):
            expected = (float(index == y) + power / sum(powers)) / 2
            # float32 of a softmax: a few units of its last place
            assert label[index] == pytest.approx(expected, abs=1e-6)


def test_soft_labels_are_learned_in_place_of_the_classes(task, training, tmp_path):
    from benchmarks.compared_models import Structure
    from benchmarks.training import train

    other = (task.training.y + 1) % CLASSES
    labels = np.full((SEQUENCES, CLASSES), 0.1, np.float32)
    labels[np.arange(SEQUENCES), other] = 0.8
    task = dataclasses.replace(
        task,
        validation=dataclasses.replace(task.validation, y=other),  # picks the epoch
        soft_labels=labels,
    )
    for trained in train(
        "FastGRNN LSQ", task, Structure(units=8), training, 0, tmp_path, ("int16x8",)
    ):
        answers = trained.model.predict(task.training.x, verbose=0).argmax(axis=1)
        assert np.mean(answers == other) > 0.9
