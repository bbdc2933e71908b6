"""Arrays from files that nobody has checked: .npy and .npz, never unpickled.

The header of an array says what it is. It is checked against what is needed, and against the size
of the file, before the array itself is read.
"""

import contextlib
import math
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

MOST_SEARCHED = 1000
_MOST_LISTED = 10

# What a file may grow to: recordings shrink to a tenth, and a thousandth is a bomb.
MOST_EXPANSION = 100
_ANY_EXPANSION = 1 << 28

_ENDING = ".npy"
_MAGIC = b"\x93NUMPY"
_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def load_array(
    path, name: str | None, rank: int | None, *, channels: int | None = None, count=None
) -> np.ndarray:
    """Loads one array, and nothing else of its file.

    Args:
        path: Path of a `.npy` or `.npz` file.
        name: String, which array of a `.npz` file, or `None` for the only one of that rank.
        rank: Integer, the dimensions it must have, of numbers; or `None` for any array.
        channels: Integer, what its last dimension must be. Defaults to `None`, any.
        count: Integer, how many of its first entries to read. Defaults to `None`, all.

    Returns:
        The array.

    Raises:
        ValueError: If there is no such array; says which there are.
        OSError: If the file cannot be read.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, expected a .npy or .npz file.")
    try:
        with path.open("rb") as file, _opened(file) as source:
            return _load(path, source, name, rank, channels, count)
    except (OSError, _RefusedError):
        raise
    except MemoryError as error:
        raise ValueError(f"{path} claims arrays that do not fit in memory.") from error
    except Exception as error:  # whatever NumPy and zipfile meet in a file
        reason = str(error).partition("\n")[0].rstrip(".") or type(error).__name__
        raise ValueError(f"{path} cannot be read as a .npy or .npz file: {reason}.") from error


class _RefusedError(ValueError):
    """What is wrong with a file, in words that are whole."""


@dataclass(frozen=True)
class _Header:
    """What an array says of itself, before its values."""

    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype


class _OneArray:
    """A `.npy` file."""

    names = ("",)

    def __init__(self, file):
        self._file = file

    @contextlib.contextmanager
    def open(self, name):
        self._file.seek(0)
        yield self._file


class _Archive:
    """A `.npz` file."""

    def __init__(self, file):
        self._zip = zipfile.ZipFile(file)
        members = [name for name in self._zip.namelist() if name.endswith(_ENDING)]
        self.names = tuple(dict.fromkeys(name.removesuffix(_ENDING) for name in members))

    def open(self, name):
        return self._zip.open(name + _ENDING)


@contextlib.contextmanager
def _opened(file):
    start = file.read(len(_MAGIC))
    if start == _MAGIC:
        yield _OneArray(file)
    elif start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        yield _Archive(file)
    else:
        raise ValueError("it holds Python objects, or is of another format")


def _load(path, source, name, rank, channels, count) -> np.ndarray:
    if name is None:
        name = _only_one(path, source, rank)
    elif name not in source.names:
        raise _RefusedError(f"{path} has no array {name!r}; it has {_listed(source)}.")
    with source.open(name) as file:
        header = _header(file)
        title = f"The array {name!r} of {path}" if name else f"The array of {path}"
        _check(title, header, rank, channels)
        if count is not None and header.shape and not header.is_fortran:
            shape = (min(count, header.shape[0]), *header.shape[1:])
            header = _Header(shape, False, header.dtype)
        size = math.prod(header.shape) * header.dtype.itemsize
        in_file = path.stat().st_size
        if size > MOST_EXPANSION * in_file + _ANY_EXPANSION:
            raise _RefusedError(
                f"{title} claims {size:,} bytes, of a file of {in_file:,}: it is damaged, or made "
                "to fill the memory."
            )
        values = file.read(size)
    if len(values) < size:
        raise ValueError(f"its array of {size:,} bytes ends after {len(values):,}")
    order = "F" if header.is_fortran else "C"
    array = np.frombuffer(values, header.dtype).reshape(header.shape, order=order)
    return array[:count] if array.ndim else array


def _only_one(path, source, rank) -> str:
    hint = "Name the one to take with --array."
    if source.names == ("",):
        with source.open("") as file:
            _header(file)  # which says what is wrong
    if len(source.names) > MOST_SEARCHED:
        raise _RefusedError(f"{path} has {_listed(source)}. {hint}")
    fitting = [name for name in source.names if len(_shape(source, name) or ()) == rank]
    if len(fitting) != 1:
        number = "no array" if not fitting else f"{len(fitting)} arrays"
        raise _RefusedError(
            f"{path} has {number} of {rank} dimensions; it has {_listed(source)}. {hint}"
        )
    return fitting[0]


def _header(file) -> _Header:
    version = np.lib.format.read_magic(file)
    if version not in _READERS:
        raise ValueError(f"it is of the format's version {version[0]}.{version[1]}")
    header = _Header(*_READERS[version](file))
    if header.dtype.hasobject:
        raise ValueError("it holds Python objects, or is of another format")
    if min(header.shape, default=0) < 0 or math.prod(header.shape) > np.iinfo(np.intp).max:
        raise ValueError(f"it has an array of shape {header.shape}")
    return header


def _check(title, header: _Header, rank, channels) -> None:
    if rank is None:
        return
    if len(header.shape) != rank:
        raise _RefusedError(f"{title} has the shape {header.shape}, expected {rank} dimensions.")
    if channels is not None and header.shape[-1] != channels:
        raise _RefusedError(
            f"{title} has the shape {header.shape}, expected (batch, steps, {channels}), as the "
            "model takes it."
        )
    if header.dtype.kind not in "biuf":
        raise _RefusedError(f"{title} holds {header.dtype}, expected real numbers.")


def _shape(source, name) -> tuple[int, ...] | None:
    """The shape of an array, or `None` where it cannot be told."""
    try:
        with source.open(name) as file:
            return _header(file).shape
    except Exception:  # another array may be the one that is needed
        return None


def _listed(source) -> str:
    if source.names == ("",):
        return f"one of shape {_shape(source, '')}"
    found = []
    for name in source.names[:_MOST_LISTED]:
        shape = _shape(source, name)
        found.append(f"{name} {'(unreadable)' if shape is None else shape}")
    more = len(source.names) - len(found)
    if more:
        found.append(f"and {more:,} more")
    return ", ".join(found) or "none"
