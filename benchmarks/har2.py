"""HAR-2: two classes of UCI HAR's windows, as the FastGRNN paper groups the six activities.

{walking upstairs, sitting, laying} against {walking, walking downstairs, standing}: 128 steps of 9
channels at 50 Hz, for training with zero mean and unit variance. The official split by subjects, of
whose 21 for training 4 are kept apart to choose settings and epochs by: 17, 4 and 9.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

DEFAULT_DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "uci_har.npz"
STEPS = 128
_POSITIVE = ("WALKING_UPSTAIRS", "SITTING", "LAYING")

# Drawn once from the 21.
VALIDATION_SUBJECTS = (6, 15, 17, 22)

# Degrees, the standard deviation of the angle by which a window is turned.
_ANGLE = 10.0


@dataclass(frozen=True)
class Windows:
    """Windows of some subjects.

    Attributes:
        signal: float32 array of shape `(windows, 128, 9)`, in g and rad/s.
        y: Integer array of shape `(windows,)`, 0 or 1.
        mean, deviation: Arrays of shape `(9,)`, of the training windows' channels.
    """

    signal: np.ndarray
    y: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray

    @property
    def x(self) -> np.ndarray:
        """The signal with zero mean and unit variance, float32."""
        return ((self.signal - self.mean) / self.deviation).astype(np.float32)

    def turn(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Turns windows like those of `x`, each by a random angle around a random axis.

        The angle is one of N(0, 10 degrees), as a sensor may sit.
        """
        signal = rotated(x * self.deviation + self.mean, rng)
        return ((signal - self.mean) / self.deviation).astype(np.float32)


def load(path: Path = DEFAULT_DATA) -> tuple[Windows, Windows, Windows]:
    """Returns the windows for training, for validation and for the test.

    Args:
        path: Archive of the signals, where windows start, labels, subjects and the split.
            Defaults to the one beside the project.
    """
    with np.load(path) as archive:
        signal = archive["signal"][archive["start"][:, np.newaxis] + np.arange(STEPS)]
        names = [str(name).upper() for name in archive["activity_names"]]
        y = np.isin(archive["label"], [names.index(name) for name in _POSITIVE]).astype(int)
        is_test = archive["split"] == 1
        is_validation = ~is_test & np.isin(archive["subject"], VALIDATION_SUBJECTS)
    is_train = ~is_test & ~is_validation
    mean, deviation = (f(signal[is_train], axis=(0, 1)) for f in (np.mean, np.std))
    parts = is_train, is_validation, is_test
    return tuple(Windows(signal[part], y[part], mean, deviation) for part in parts)


def rotated(signal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Turns each window by an angle of N(0, 10 degrees) around a random axis.

    Args:
        signal: Array of shape `(windows, 128, 9)`, three groups of three axes.
        rng: Generator.

    Returns:
        float32 array of the same shape.
    """
    count = len(signal)
    axis = rng.normal(size=(count, 3))
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    angle = np.radians(_ANGLE) * rng.normal(size=(count, 1, 1))
    cross = np.zeros((count, 3, 3))
    cross[:, 0, 1], cross[:, 0, 2], cross[:, 1, 2] = -axis[:, 2], axis[:, 1], -axis[:, 0]
    cross -= cross.transpose(0, 2, 1)
    turn = np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * cross @ cross
    groups = signal.reshape(count, -1, 3) @ turn.astype(np.float32)
    return groups.reshape(signal.shape)
