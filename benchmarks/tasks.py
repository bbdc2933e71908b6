"""The tasks of the benchmarks: sequences with classes, split by people, and what turns them.

Each comes from one archive of NumPy arrays in a folder, `ARCHIVES`, whose contents are checked;
benchmarks/README.md says what they hold and how to make one. Channels have zero mean and unit
variance over the training sequences. Settings are chosen on the validation sequences, of people who
are not in training where there are enough people: all four of Daily and Sports Activities train,
and settings were chosen by leaving out one after the other.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.augmentation import moved_image, varied_speech, worn_elsewhere
from examples import har_data

DEFAULT_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

# Archives, and the `digest` of what is read from the ones that the results were measured on.
ARCHIVES = {
    "uci_har.npz": "fdbcbae83ecac8a08668efe3d494baa61cae01480655a2850e8fb3614bfc768d",
    "dsa19.npz": "6e8b6880e482507e4522fd7b1aa7f8c6698f2e2c264bff07d0b8ea5f9578a9d7",
    "kws4_logmel_u8.npz": "6c01085960099e2af9c8774667a64191673ee20013aabbd309253b7851521ebe",
    "usps.npz": "03ee7bf29552709005df7a2b8e67ffff9eb055693ce0477ee293ef6d0219a57d",
    "mnist.npz": "69b9a5fcfbca666226a5296e696bae015fd9aed7a1199fe62499c75d7adcfb83",
}

# Drawn once from the 21 subjects of UCI HAR's training split.
HAR_VALIDATION_SUBJECTS = (6, 15, 17, 22)
HAR2_POSITIVE = ("upstairs", "sitting", "laying")
DSA_TRAINING_SUBJECTS = (1, 2, 3, 4)
KEYWORDS = ("yes", "no", "unknown")

# One training sequence in so many is kept for validation where no people are.
_HELD_OUT = 6


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
        soft_labels: float32 array of shape `(training sequences, classes)`, what is learned in
            place of the training sequences' classes, or `None`.
    """

    name: str
    classes: int
    training: Part
    validation: Part
    test: Part
    augment: Callable | None = None
    soft_labels: np.ndarray | None = None

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
    source = TASKS[name]
    return source.task(name, read(folder / source.archive))


def check(name: str, folder: Path = DEFAULT_DATA) -> None:
    """Raises a `DataError` unless a task's archive is the one that results were measured on.

    Args:
        name: String, a key of `TASKS`.
        folder: Path of the folder that holds the archives. Defaults to the one beside the project.
    """
    read(folder / TASKS[name].archive)


class DataError(Exception):
    """Data that is missing or not what it should be."""


def read(path: Path) -> dict[str, np.ndarray]:
    """Reads an archive and checks what it holds.

    Args:
        path: Path that ends in a key of `ARCHIVES`.

    Returns:
        Dictionary from names to arrays.

    Raises:
        DataError: If the file is missing, damaged, or holds something else.
    """
    if not path.is_file():
        raise DataError(f"no {path.name} in {path.parent}; benchmarks/README.md says what it holds")
    try:
        arrays = _READERS[path.name](path)
    except Exception as error:  # a damaged file fails in zip, its compression or NumPy
        words = str(error).partition("\n")[0]
        raise DataError(f"{path} is damaged or no such archive: {words}") from error
    if digest(arrays) != ARCHIVES[path.name]:
        raise DataError(f"{path} holds other data than what the results were measured on")
    return arrays


def digest(arrays: dict[str, np.ndarray]) -> str:
    """Returns the SHA-256 of the names, types, shapes and values of arrays."""
    found = hashlib.sha256()
    for name, values in arrays.items():
        found.update(f"{name} {values.dtype.str} {values.shape}\n".encode())
        found.update(np.ascontiguousarray(values))
    return found.hexdigest()


def _read_har(path: Path) -> dict[str, np.ndarray]:
    windows = har_data.load_windows(path)._asdict()
    return {**windows, "subject": windows["subject"].astype(int)}


def _read_dsa(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as archive:
        signal = {"signal": unzigzag(archive, "signal"), "scale": archive["scale"]}
        return signal | {name: archive[name].astype(int) for name in ("activity", "subject")}


def _read_speech(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as archive:
        return {"x": archive["x"]} | {
            name: archive[name].astype(int) for name in ("label", "split")
        }


def _read_digits(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as archive:
        images = {name: archive[name] for name in ("x_train", "x_test")}
        return images | {name: archive[name].astype(int) for name in ("y_train", "y_test")}


def unzigzag(archive, name: str) -> np.ndarray:
    """Returns integers stored as zigzagged differences along their last axis."""
    zigzag = archive[f"{name}.lo"] | archive[f"{name}.hi"].astype(np.uint16) << 8
    differences = (zigzag >> 1) ^ -(zigzag & 1)
    return np.cumsum(differences, axis=-1, dtype=np.uint16).astype(np.int16)


_READERS = {
    "uci_har.npz": _read_har,
    "dsa19.npz": _read_dsa,
    "kws4_logmel_u8.npz": _read_speech,
    "usps.npz": _read_digits,
    "mnist.npz": _read_digits,
}


def _har(name: str, windows: dict[str, np.ndarray]) -> Task:
    is_test = windows["is_test"]
    is_validation = np.isin(windows["subject"], HAR_VALIDATION_SUBJECTS) & ~is_test
    masks = ~is_test & ~is_validation, is_validation, is_test
    y, classes = windows["activity"], len(har_data.ACTIVITIES)
    if name == "har2":
        positive = [har_data.ACTIVITIES.index(activity) for activity in HAR2_POSITIVE]
        y, classes = np.isin(y, positive).astype(int), 2
    return _task(name, windows["x"], y, masks, classes, har_data.turned)


def _dsa(name: str, segments: dict[str, np.ndarray]) -> Task:
    x = segments["signal"].transpose(0, 2, 1) * segments["scale"]
    is_test = ~np.isin(segments["subject"], DSA_TRAINING_SUBJECTS)
    masks = _with_held_out(is_test)
    return _task(name, x.astype(np.float32), segments["activity"], masks, 19, worn_elsewhere)


def _speech(name: str, clips: dict[str, np.ndarray]) -> Task:
    x, y = clips["x"].astype(np.float32), clips["label"]
    masks = [(clips["split"] == part) & (y < len(KEYWORDS)) for part in range(3)]
    return _task(name, x, y, masks, len(KEYWORDS), varied_speech)


def _digits(name: str, images: dict[str, np.ndarray]) -> Task:
    x = np.concatenate([images["x_train"], images["x_test"]]).astype(np.float32)
    y = np.concatenate([images["y_train"], images["y_test"]])
    masks = _with_held_out(np.arange(len(x)) >= len(images["x_train"]))
    # Pixels at the border never change: one deviation for all.
    return _task(name, x, y, masks, 10, moved_image, over=None)


def _with_held_out(is_test):
    is_validation = ~is_test & (np.arange(len(is_test)) % _HELD_OUT == 0)
    return ~is_test & ~is_validation, is_validation, is_test


def _task(name, x, y, masks, classes, augment, over=(0, 1)) -> Task:
    mean, deviation = (f(x[masks[0]], axis=over, dtype=np.float64) for f in (np.mean, np.std))
    parts = [Part(((x[mask] - mean) / deviation).astype(np.float32), y[mask]) for mask in masks]

    def augment_normalized(normalized, rng):
        return ((augment(normalized * deviation + mean, rng) - mean) / deviation).astype(np.float32)

    return Task(name, classes, *parts, augment_normalized)


class _Source(NamedTuple):
    archive: str
    task: Callable[[str, dict[str, np.ndarray]], Task]


TASKS = {
    "har": _Source("uci_har.npz", _har),
    "har2": _Source("uci_har.npz", _har),
    "dsa": _Source("dsa19.npz", _dsa),
    "speech": _Source("kws4_logmel_u8.npz", _speech),
    "usps": _Source("usps.npz", _digits),
    "mnist": _Source("mnist.npz", _digits),
}
