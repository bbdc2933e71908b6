"""UCI HAR's windows and HAPT's continuous recordings: where they come from, and their filters."""

import shutil
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import signal
from scipy.spatial.transform import Rotation

from keras_fastgrnn import keras

STEPS = 128
RATE = 50.0
ACTIVITIES = ("walking", "upstairs", "downstairs", "sitting", "standing", "laying")
UNLABELED = -1
CHANNELS = [f"{name}_{axis}" for name in ("body_acc", "body_gyro", "total_acc") for axis in "xyz"]

CACHE = Path.home() / ".cache" / "keras_fastgrnn"
UCI = "https://archive.ics.uci.edu/static/public"
ARCHIVES = {
    "data": (
        f"{UCI}/240/human+activity+recognition+using+smartphones.zip",
        "c00b803081a5c797cd5e4b83700a9810b38d53d9d84e01917e090e1fdbc81031",
        "UCI HAR Dataset/train/y_train.txt",
    ),
    "hapt": (
        f"{UCI}/341/smartphone+based+recognition+of+human+activities+and+postural+transitions.zip",
        "4ac4ae064227c07045a99551876b54d204837e995e298b6488559e209b3deb09",
        "RawData/labels.txt",
    ),
}


class Windows(NamedTuple):
    """Windows of `STEPS` steps, as arrays with one entry a window."""

    x: np.ndarray
    activity: np.ndarray
    subject: np.ndarray
    is_test: np.ndarray

    def part(self, chosen):
        """Returns the windows that a mask, index or slice chooses."""
        return Windows(*(values[chosen] for values in self))


class Recording(NamedTuple):
    """Minutes of one subject: channels `x` and activity, one row a step."""

    subject: int
    x: np.ndarray
    activity: np.ndarray


def load_windows(path):
    """Reads UCI HAR from its folder, or from an .npz of the signals and where windows start."""
    if not path.is_dir():
        with np.load(path) as archive:
            x = archive["signal"][archive["start"][:, np.newaxis] + np.arange(STEPS)]
            is_test = archive["split"] == 1
            return Windows(x, archive["label"].astype(int), archive["subject"], is_test)
    parts = []
    for name in ("train", "test"):
        folder = path / name
        x = [
            np.loadtxt(folder / "Inertial Signals" / f"{channel}_{name}.txt", dtype="float32")
            for channel in CHANNELS
        ]
        activity = np.loadtxt(folder / f"y_{name}.txt", dtype=int) - 1
        subject = np.loadtxt(folder / f"subject_{name}.txt", dtype=int)
        is_test = np.full(len(subject), name == "test")
        parts.append(Windows(np.stack(x, axis=2), activity, subject, is_test))
    return Windows(*map(np.concatenate, zip(*parts, strict=True)))


def turned(x, rng, degrees=10.0):
    """Turns each window by an angle of N(0, `degrees`) around a random axis, as a phone may sit."""
    axis = rng.normal(size=(len(x), 3))
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    angle = np.radians(degrees) * rng.normal(size=(len(x), 1))
    rotation = Rotation.from_rotvec(angle * axis).as_matrix()
    vectors = x.reshape(len(x), -1, 3)  # of each step, three sensors' x, y and z
    return (vectors @ rotation.astype("float32")).reshape(x.shape)


def load_recordings(path, subjects):
    """Reads the continuous recordings of some subjects, filtered as UCI HAR's windows are."""
    read = _raw_recordings_of_folder if path.is_dir() else _raw_recordings_of_archive
    recordings = []
    for subject, raw, stretches in read(path, subjects):
        activity = np.full(len(raw), UNLABELED)
        for label, first, last in stretches:
            if label <= len(ACTIVITIES):
                activity[first - 1 : last] = label - 1
        recordings.append(Recording(subject, channels(raw), activity))
    return recordings


def _raw_recordings_of_folder(path, subjects):
    """Yields subject, raw acceleration (g) and angular velocity (rad/s), labeled stretches."""
    labels = np.loadtxt(path / "RawData" / "labels.txt", dtype=int)
    for experiment, subject in np.unique(labels[:, :2], axis=0):
        if subject in subjects:
            ending = f"exp{experiment:02}_user{subject:02}.txt"
            raw = [np.loadtxt(path / "RawData" / f"{name}_{ending}") for name in ("acc", "gyro")]
            yield subject, np.hstack(raw), labels[labels[:, 0] == experiment, 2:]


def _raw_recordings_of_archive(path, subjects):
    """As `_raw_recordings_of_folder`; the integers are stored as zigzagged differences."""
    with np.load(path) as archive:
        zigzag = archive["signal.lo"] | archive["signal.hi"].astype(np.uint16) << 8
        differences = (zigzag >> 1) ^ -(zigzag & 1)
        integers = np.cumsum(differences, axis=1, dtype=np.uint16).astype(np.int16).T
        scales = np.repeat([archive["acc_scale_g"], archive["gyro_scale_rad_s"]], 3)
        labels = archive["labels"]
        for experiment, subject, start, end in archive["recordings"]:
            if subject in subjects:
                stretches = labels[labels[:, 0] == experiment, 2:]
                yield subject, integers[start:end] * scales, stretches


def channels(raw):
    """Filters raw acceleration and angular velocity into UCI HAR's 9 channels.

    A median of 3 samples and a low pass of 20 Hz against noise; gravity is what passes 0.3 Hz. All
    of it looks back only, so a device can do it sample by sample. Orders and the angular velocity's
    0.1 Hz are what gives the published windows, to 1e-6 but for the first seconds.
    """
    clean = _low_pass(signal.medfilt(raw, (3, 1)), order=10, frequency=20.0)
    acceleration, velocity = clean[:, :3], clean[:, 3:]
    body = acceleration - _low_pass(acceleration, order=3, frequency=0.3)
    turning = velocity - _low_pass(velocity, order=2, frequency=0.1)
    return np.hstack([body, turning, acceleration]).astype("float32")


def _low_pass(x, order, frequency):
    sections = signal.butter(order, frequency, fs=RATE, output="sos")
    rest = signal.sosfilt_zi(sections)[:, :, np.newaxis] * x[0]
    return signal.sosfilt(sections, x, axis=0, zi=rest)[0]


def download(name, cache):
    """Gets one of `ARCHIVES`, checks it and returns the unpacked data set's folder in `cache`.

    A file that is fetched or unpacked in part never counts: an archive must have its checksum, and
    a folder gets its name when all is in it.
    """
    url, sha256, landmark = ARCHIVES[name]
    folder = cache / name
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        archive = keras.utils.get_file(
            f"{name}.zip",
            url,
            file_hash=sha256,
            hash_algorithm="sha256",
            cache_dir=str(cache),
            cache_subdir="",
        )
        partial = cache / f"{name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        _unpack(archive, partial)
        for nested in partial.glob("*.zip"):
            _unpack(nested, partial)
            nested.unlink()
        partial.rename(folder)
        Path(archive).unlink()
    return next(folder.rglob(landmark)).parents[1]


def _unpack(archive, folder):
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(folder)
