"""What a training has done so far, in one file, so that it goes on where it was stopped."""

import hashlib
import json
import os
import zipfile

import numpy as np

from keras_fastgrnn.keras_api import checked_path, invalid_argument

_FILE = "training.npz"
_TEXT = "text"
_HINT = "Name another folder to start again."


class TrainingState:
    """Numbers, texts and arrays of a training, kept in a folder.

    The file is replaced as a whole by each `write`, so a process that is stopped at any moment
    leaves one that can be read.

    Args:
        folder: Path of the folder, which is made, or `None` to keep nothing.
        settings: Dictionary of what the training was asked to do, as JSON; what a later one with
            the same folder must be asked too.

    Raises:
        ValueError: If `folder` is not the path of a folder.
    """

    def __init__(self, folder, settings: dict):
        expected = "the path of a folder, or None"
        path = None if folder is None else checked_path("checkpoint", folder, expected)
        if path is not None and path.exists() and not path.is_dir():
            raise invalid_argument("checkpoint", expected, folder)
        self.file = None if path is None else path / _FILE
        self.settings = json.loads(_json(settings))  # as they are read again

    def read(self) -> tuple[dict, dict]:
        """Returns the texts and arrays that were written last, both empty if there are none.

        Raises:
            ValueError: If the file is damaged, or of a training with other settings.
        """
        if self.file is None or not self.file.exists():
            return {}, {}
        try:
            with np.load(self.file) as archive:
                arrays = dict(archive)
            text = json.loads(str(arrays.pop(_TEXT)))
            settings = text.pop("settings")
        except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
            expected = f"a checkpoint of fit_lsq in {self.file}"
            raise _invalid(expected, "a damaged file") from error
        for name, value in self.settings.items():
            if settings.get(name) != value:
                raise _invalid(f"one of a training with {name} {value}", settings.get(name))
        return text, arrays

    def write(self, text: dict, arrays: dict):
        """Takes the place of what was written before.

        Args:
            text: Dictionary that JSON can hold.
            arrays: Dictionary of arrays.
        """
        if self.file is None:
            return
        self.file.parent.mkdir(parents=True, exist_ok=True)
        partial = self.file.with_suffix(".partial")
        with partial.open("wb") as opened:
            np.savez(opened, **{_TEXT: _json({**text, "settings": self.settings})}, **arrays)
        os.replace(partial, self.file)


def _json(text: dict) -> str:
    """Numbers may be NumPy's."""
    return json.dumps(text, default=np.generic.item)


def digest(*arrays) -> str:
    """Returns a short text that tells arrays apart by their contents.

    Args:
        *arrays: Arrays.
    """
    sha256 = hashlib.sha256()
    for array in arrays:
        sha256.update(repr((array.shape, array.dtype.str)).encode())
        sha256.update(np.ascontiguousarray(array).tobytes())
    return sha256.hexdigest()[:16]


def _invalid(expected, got) -> ValueError:
    error = invalid_argument("checkpoint", expected, got)
    return ValueError(f"{error} {_HINT}")
