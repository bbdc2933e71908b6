"""HAR-2: two classes of UCI HAR's windows, as the FastGRNN paper groups the six activities.

{walking upstairs, sitting, laying} against {walking, walking downstairs, standing}: 128 steps of 9
channels at 50 Hz, for training with zero mean and unit variance. The official split by subjects, of
whose 21 for training 4 are kept apart to choose settings and epochs by: 17, 4 and 9.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from examples import har_data

DEFAULT_DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "uci_har.npz"
_POSITIVE = [har_data.ACTIVITIES.index(name) for name in ("upstairs", "sitting", "laying")]

# Drawn once from the 21.
VALIDATION_SUBJECTS = (6, 15, 17, 22)


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
        signal = har_data.turned(x * self.deviation + self.mean, rng)
        return ((signal - self.mean) / self.deviation).astype(np.float32)


def load(path: Path = DEFAULT_DATA) -> tuple[Windows, Windows, Windows]:
    """Returns the windows for training, for validation and for the test.

    Args:
        path: Folder or archive, as `har_data.load_windows` reads them. Defaults to the archive
            beside the project.
    """
    windows = har_data.load_windows(path)
    is_test = windows.is_test
    is_validation = ~is_test & np.isin(windows.subject, VALIDATION_SUBJECTS)
    is_train = ~is_test & ~is_validation
    mean, deviation = (f(windows.x[is_train], axis=(0, 1)) for f in (np.mean, np.std))
    y = np.isin(windows.activity, _POSITIVE).astype(int)
    parts = is_train, is_validation, is_test
    return tuple(Windows(windows.x[part], y[part], mean, deviation) for part in parts)
