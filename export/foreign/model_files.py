"""Saved Keras models as files: their configuration is read, and nothing in them is trusted.

Keras follows what a file says: to other files, to any amount of memory, to any class. Here a file
is looked through before Keras sees it.
"""

import io
import json
import zipfile
from pathlib import Path

import h5py
from h5py import h5o  # pyright: ignore[reportAttributeAccessIssue]  (compiled, without types)

CONFIG, WEIGHTS = "config.json", "model.weights.h5"
_MEMBERS = {CONFIG, WEIGHTS, "metadata.json"}

LARGEST_CONFIG = 1 << 24
DEEPEST_CONFIG = 200
MOST_OBJECTS = 100_000

# Keras compresses nothing; others who do seldom save more.
MOST_EXPANSION = 100
_ANY_EXPANSION = 1 << 20


def read_config(path) -> dict:
    """Reads the configuration of a saved model, and looks through its weights.

    Args:
        path: Path of a `.keras` or `.h5` file.

    Returns:
        Dictionary, what the file's JSON says, in which nothing has been looked up.

    Raises:
        ValueError: If the file cannot be read, or leads beyond itself.
        OSError: If there is no such file.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            return _of_archive(file) if path.suffix == ".keras" else _of_hdf5(file)
    except _RefusedError as error:
        raise ValueError(f"{path} {error}") from error
    except Exception as error:  # whatever zipfile and HDF5 meet in a file
        if isinstance(error, OSError) and error.filename is not None:
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path} cannot be loaded as a model: {reason}") from error


class _RefusedError(Exception):
    """What is wrong with a file, to be said after its name."""


def _of_archive(file) -> dict:
    if not zipfile.is_zipfile(file):
        raise _RefusedError("is no Keras archive, or one cut off. Save the model again.")
    largest = _most_bytes(file)
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        if len(set(names)) != len(names) or not {CONFIG, WEIGHTS} <= set(names) <= _MEMBERS:
            raise _RefusedError(
                f"is an archive of {len(names):,} files, expected {', '.join(sorted(_MEMBERS))} "
                "alone, as Keras saves a model that can be exported."
            )
        for info in archive.infolist():
            if info.file_size > (LARGEST_CONFIG if info.filename == CONFIG else largest):
                raise _RefusedError(f"holds {info.file_size:,} bytes as {info.filename}: too many.")
        weights = io.BytesIO(archive.read(WEIGHTS))
        with h5py.File(weights) as content:
            _check_content(content, largest)
        return _parsed(archive.read(CONFIG))


def _of_hdf5(file) -> dict:
    with h5py.File(file) as content:
        _check_content(content, _most_bytes(file))
        config = content.attrs.get("model_config")
        if config is None:
            raise _RefusedError(
                "holds weights without a model. Build the model in Python, load them with "
                "load_weights, and save the model itself with model.save('model.keras')."
            )
        if not isinstance(config, str | bytes):
            raise _RefusedError("holds no text as the model's configuration.")
        return _parsed(config)


def _most_bytes(file) -> int:
    """What may come out of a file: no bomb."""
    return MOST_EXPANSION * file.seek(0, io.SEEK_END) + _ANY_EXPANSION


def _parsed(text: str | bytes) -> dict:
    if len(text) > LARGEST_CONFIG:
        raise _RefusedError(f"has a configuration of {len(text):,} bytes: too many.")
    try:
        config = json.loads(text)
    except RecursionError as error:
        raise _RefusedError("has a configuration that is nested too deeply.") from error
    except ValueError as error:
        raise _RefusedError(f"has a configuration that is no JSON: {error}.") from error
    if not isinstance(config, dict):
        raise _RefusedError("has a configuration that is no JSON object.")
    level, depth = [config], 0
    while level:
        depth += 1
        if depth > DEEPEST_CONFIG:
            raise _RefusedError("has a configuration that is nested too deeply.")
        level = [inner for value in level for inner in children(value)]
    return config


def children(value) -> list:
    """Returns the dictionaries and lists inside a value of JSON."""
    values = value.values() if isinstance(value, dict) else value
    return [inner for inner in values if isinstance(inner, dict | list)]


def _check_content(content: h5py.File, largest: int) -> None:
    """Refuses links to other files, and arrays that are larger than the file can hold."""
    groups: list[h5py.Group] = [content]
    seen, claimed = set(), 0
    while groups:
        group = groups.pop()
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise _RefusedError(f"has a link in the place of {group.name}/{name}.")
            item = group[name]
            place = h5o.get_info(item.id).addr
            if place in seen:
                continue
            seen.add(place)
            if len(seen) > MOST_OBJECTS:
                raise _RefusedError(f"holds more than {MOST_OBJECTS:,} groups and arrays.")
            if isinstance(item, h5py.Group):
                groups.append(item)
            elif isinstance(item, h5py.Dataset):
                if item.is_virtual or item.external:
                    raise _RefusedError(f"leaves the values of {item.name} to other files.")
                claimed += item.nbytes
    if claimed > largest:
        raise _RefusedError(f"claims {claimed:,} bytes of weights, more than it can hold.")
