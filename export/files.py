"""Writes a set of files: all of them, or none, by one process at a time.

No file system replaces several files at once. So the contents lie beside, complete, before the
first file is replaced; whoever is killed between two leaves files of two sets, which the compiler
refuses by the mark that `c_text.marked` writes into them, and the next set replaces all.
"""

import contextlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None

_STAGE = ".keras_fastgrnn_save_"
_STAGES = re.compile(re.escape(_STAGE) + r"\w+")
LONGEST_WAIT = 30.0  # seconds
_ABANDONED = 3600.0  # seconds, where another process cannot be seen to be at work
_POLL = 0.02


def write_all(folder, contents: dict[str, bytes], overwrite: bool) -> list[Path]:
    """Writes files into a folder, each whole, and none if one cannot be written.

    Args:
        folder: Path of the folder; it is made if it is not there.
        contents: Dictionary from file name to bytes.
        overwrite: Boolean, whether files of these names may be replaced.

    Returns:
        List of the paths.

    Raises:
        FileExistsError: If a file is there and `overwrite` is false.
        OSError: If the folder cannot be made or written.
    """
    folder = Path(folder)
    paths = [folder / name for name in contents]
    _refuse_existing(paths, overwrite)
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(
            "Received an invalid value for argument folder, expected a folder, got the file "
            f"{folder}."
        )
    folder.mkdir(parents=True, exist_ok=True)
    with _lock(folder) as is_alone:
        _refuse_existing(paths, overwrite)
        _remove_leftovers(folder, 0.0 if is_alone else _ABANDONED)
        with _stage(folder) as stage:
            written = [stage / name for name in contents]
            for path, content in zip(written, contents.values(), strict=True):
                path.write_bytes(content)
            _replace_all(written, paths)
    return paths


def _refuse_existing(paths, overwrite) -> None:
    existing = [str(path) for path in paths if os.path.lexists(path)]
    if existing and not overwrite:
        raise FileExistsError(
            f"Received an invalid value for argument folder, expected one without "
            f"{', '.join(existing)}. Give overwrite=True to replace them."
        )


@contextlib.contextmanager
def _lock(folder):
    """Keeps other processes from writing here; yields whether the system can.

    The system opens the lock of a process that is killed.
    """
    if fcntl is None:
        yield False
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield _locked(partial(fcntl.flock, descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB), folder)
    finally:
        os.close(descriptor)


def _locked(lock: Callable[[], None], folder) -> bool:
    end = time.monotonic() + LONGEST_WAIT
    while True:
        try:
            lock()
        except BlockingIOError as error:
            if time.monotonic() > end:
                message = f"Another process has been writing to the folder {folder} for long."
                raise BlockingIOError(message) from error
            time.sleep(_POLL)
        except OSError:  # a file system without locks
            return False
        else:
            return True


@contextlib.contextmanager
def _stage(folder):
    try:
        stage = Path(tempfile.mkdtemp(prefix=_STAGE, dir=folder))
    except OSError as error:  # about a name that nobody knows
        raise OSError(error.errno, error.strerror, str(folder)) from error
    try:
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _remove_leftovers(folder, age: float) -> None:
    """Removes what a process left that was killed: folders of this module's name alone."""
    with os.scandir(folder) as entries:
        stages = [entry for entry in entries if _STAGES.fullmatch(entry.name)]
    for entry in stages:
        is_old = time.time() - entry.stat(follow_symlinks=False).st_mtime >= age
        if is_old and entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, ignore_errors=True)


def _replace_all(written, paths) -> None:
    before = {path: path.read_bytes() for path in paths if path.is_file()}
    replaced = []
    try:
        for source, path in zip(written, paths, strict=True):
            os.replace(source, path)
            replaced.append((source, path))
    except BaseException:  # Ctrl-C too
        for source, path in replaced:
            if path in before:
                source.write_bytes(before[path])
                os.replace(source, path)
            else:
                path.unlink()
        raise
