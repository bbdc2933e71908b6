"""The tasks of the benchmarks: sequences with classes, split by people, and what turns them.

Each comes from one archive of NumPy arrays in a folder, `ARCHIVES`, whose checksum is checked; UCI
HAR may also be the folder that its archive unpacks to. Channels have zero mean and unit variance
over the training sequences. Settings are chosen on the validation sequences, of people who are not
in training wherever the data names people.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from examples import har_data

DEFAULT_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

# SHA-256 of the archives that the results were measured on.
ARCHIVES = {
    "uci_har.npz": "def402ba74de245432e4e3be29bdce099bbcde51f871f9ac43471ca39ba5ec53",
    "dsa19.npz": "db094455270032a0a12f7d375dc026a4d571123908eadd330f68bb0e8c579084",
    "kws4_logmel_u8.npz": "1032b36258d856b6ab10e5831db8d5d2da048042913fe444b96a2133f77e0d06",
    "usps.npz": "bb3d7d8e1f7cc28e1caeadd6bc57de52b5c49a235c9f44d6e552a9c563ff5a22",
    "mnist.npz": "a7ca5941ed14a4e275a85c70d92dc1ec30216050a9a8efb4cd648939b6ce6b80",
}

# Drawn once from the 21 subjects of UCI HAR's training split.
HAR_VALIDATION_SUBJECTS = (6, 15, 17, 22)
HAR2_POSITIVE = ("upstairs", "sitting", "laying")
DSA_TRAINING_SUBJECTS = (1, 2, 3, 4)
DSA_VALIDATION_SUBJECTS = (4,)
KEYWORDS = ("yes", "no", "unknown")

# What a task's training sequences keep for validation where no people are named.
_DIGITS_HELD_OUT = 6


@dataclass(frozen=True)
class Part:
    """Sequences with their classes.

    Attributes:
        x: float32 array of shape `(sequences, steps, channels)`, normalized.
        y: Integer array of shape `(sequences,)`.
    """

    x: np.ndarray
    y: np.ndarray

    def part(self, chosen) -> "Part":
        """Returns the sequences that a mask, index or slice chooses."""
        return Part(self.x[chosen], self.y[chosen])


@dataclass(frozen=True)
class Task:
    """A task with its data.

    Attributes:
        name: String, as the command line has it.
        classes: Integer.
        training, validation, test: `Part`. The first does not hold the second.
        augment: Function from normalized sequences and a generator to such sequences, or `None`.
    """

    name: str
    classes: int
    training: Part
    validation: Part
    test: Part
    augment: Callable | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Steps and channels of a sequence."""
        return self.training.x.shape[1:]


def load(name: str, folder: Path = DEFAULT_DATA) -> Task:
    """Reads a task's data.

    Args:
        name: String, a key of `TASKS`.
        folder: Path of the folder that holds the archives. Defaults to the one beside the project.

    Returns:
        `Task`.

    Raises:
        DataError: If its archive is missing or another one than results were measured on.
    """
    check(name, folder)
    return TASKS[name].load(folder)


def check(name: str, folder: Path = DEFAULT_DATA) -> None:
    """Raises a `DataError` unless a task's archive is the one that results were measured on.

    Args:
        name: String, a key of `TASKS`.
        folder: Path of the folder that holds the archives. Defaults to the one beside the project.
    """
    path = folder / TASKS[name].archive
    if not path.is_file():
        raise DataError(f"no {path.name} in {folder}; benchmarks/README.md says what it holds")
    if hashlib.sha256(path.read_bytes()).hexdigest() != ARCHIVES[path.name]:
        raise DataError(f"{path} has another checksum than the archive of the results")


class DataError(Exception):
    """Data that is missing or not what it should be."""


def _har(folder: Path, name: str, label: Callable[[np.ndarray], np.ndarray], classes: int) -> Task:
    windows = har_data.load_windows(folder / "uci_har.npz")
    is_validation = np.isin(windows.subject, HAR_VALIDATION_SUBJECTS) & ~windows.is_test
    masks = ~windows.is_test & ~is_validation, is_validation, windows.is_test
    return _task(name, windows.x, label(windows.activity), masks, classes, har_data.turned)


def _load_har(folder: Path) -> Task:
    return _har(folder, "har", lambda activity: activity, len(har_data.ACTIVITIES))


def _load_har2(folder: Path) -> Task:
    positive = [har_data.ACTIVITIES.index(name) for name in HAR2_POSITIVE]
    return _har(folder, "har2", lambda activity: np.isin(activity, positive).astype(int), 2)


def _load_dsa(folder: Path) -> Task:
    with np.load(folder / "dsa19.npz") as archive:
        x = unzigzag(archive, "signal").transpose(0, 2, 1) * archive["scale"]
        y, subject = archive["activity"].astype(int), archive["subject"]
    is_validation = np.isin(subject, DSA_VALIDATION_SUBJECTS)
    is_test = ~np.isin(subject, DSA_TRAINING_SUBJECTS)
    masks = ~is_test & ~is_validation, is_validation, is_test
    return _task("dsa", x.astype(np.float32), y, masks, 19, _turned_units)


def _turned_units(x, rng):
    """Turns each of the five units of three sensors by an angle of its own."""
    units = np.split(x, 5, axis=2)
    return np.concatenate([har_data.turned(unit, rng) for unit in units], axis=2)


def _load_speech(folder: Path) -> Task:
    with np.load(folder / "kws4_logmel_u8.npz") as archive:
        x, y = archive["x"].astype(np.float32), archive["label"].astype(int)
        masks = [(archive["split"] == part) & (y < len(KEYWORDS)) for part in range(3)]
    return _task("speech", x, y, masks, len(KEYWORDS), _varied_speech)


def _varied_speech(x, rng):
    """Moves clips in time, and hides some frames and bands of each, as SpecAugment does."""
    return _hidden(_hidden(_shifted(x, rng), rng, axis=1, most=8), rng, axis=2, most=3)


def _shifted(x, rng, frames: int = 4):
    """Moves each clip by up to so many frames and repeats what lies at its end."""
    steps = np.arange(x.shape[1]) + rng.integers(-frames, frames + 1, (len(x), 1))
    return np.take_along_axis(x, np.clip(steps, 0, x.shape[1] - 1)[:, :, np.newaxis], axis=1)


def _hidden(x, rng, axis: int, most: int):
    """Replaces up to so many neighbors along an axis by the mean of all clips."""
    first = rng.integers(0, x.shape[axis], (len(x), 1))
    last = first + rng.integers(0, most + 1, (len(x), 1))
    index = np.arange(x.shape[axis])
    is_hidden = np.expand_dims((index >= first) & (index < last), 3 - axis)
    return np.where(is_hidden, x.mean(axis=(0, 1)), x)


def _digits(folder: Path, name: str) -> Task:
    with np.load(folder / f"{name}.npz") as archive:
        x = np.concatenate([archive["x_train"], archive["x_test"]]).astype(np.float32)
        y = np.concatenate([archive["y_train"], archive["y_test"]]).astype(int)
        index = np.arange(len(x))
        is_test = index >= len(archive["x_train"])
    is_validation = ~is_test & (index % _DIGITS_HELD_OUT == 0)
    # Pixels at the border never change: one deviation for all.
    masks = ~is_test & ~is_validation, is_validation, is_test
    return _task(name, x, y, masks, 10, None)


def _task(name, x, y, masks, classes, augment) -> Task:
    channels = (0, 1) if augment else None
    mean, deviation = (f(x[masks[0]], axis=channels) for f in (np.mean, np.std))
    parts = [Part(((x[mask] - mean) / deviation).astype(np.float32), y[mask]) for mask in masks]

    def augment_normalized(normalized, rng):
        return ((augment(normalized * deviation + mean, rng) - mean) / deviation).astype(np.float32)

    return Task(name, classes, *parts, augment_normalized if augment else None)


def unzigzag(archive, name: str) -> np.ndarray:
    """Returns integers stored as zigzagged differences along their last axis."""
    zigzag = archive[f"{name}.lo"] | archive[f"{name}.hi"].astype(np.uint16) << 8
    differences = (zigzag >> 1) ^ -(zigzag & 1)
    return np.cumsum(differences, axis=-1, dtype=np.uint16).astype(np.int16)


class _Source(NamedTuple):
    archive: str
    load: Callable[[Path], Task]


TASKS = {
    "har": _Source("uci_har.npz", _load_har),
    "har2": _Source("uci_har.npz", _load_har2),
    "dsa": _Source("dsa19.npz", _load_dsa),
    "speech": _Source("kws4_logmel_u8.npz", _load_speech),
    "usps": _Source("usps.npz", lambda folder: _digits(folder, "usps")),
    "mnist": _Source("mnist.npz", lambda folder: _digits(folder, "mnist")),
}
