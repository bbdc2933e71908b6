"""Arrays from files that nobody has checked: .npy and .npz, never unpickled."""

from pathlib import Path

import numpy as np


def load_array(path, name: str | None, rank: int | None) -> np.ndarray:
    """Loads one array.

    Args:
        path: Path of a `.npy` or `.npz` file.
        name: String, which array of a `.npz` file, or `None` for the only one of that rank.
        rank: Integer, the dimensions it must have, or `None` for any.

    Returns:
        The array.

    Raises:
        ValueError: If there is no such array; says which there are.
        OSError: If the file cannot be read.
    """
    path = Path(path)
    arrays = _load(path)
    if name is not None and name not in arrays:
        raise ValueError(f"{path} has no array {name!r}; it has {_listed(arrays)}.")
    if name is None:
        fitting = [key for key, array in arrays.items() if array.ndim == rank]
        if len(fitting) != 1:
            number = "no array" if not fitting else f"{len(fitting)} arrays"
            raise ValueError(
                f"{path} has {number} of {rank} dimensions; it has {_listed(arrays)}. Name the one "
                "to take with --array."
            )
        (name,) = fitting
    array = arrays[name]
    if rank is not None and array.ndim != rank:
        raise ValueError(
            f"The array {name!r} of {path} has the shape {array.shape}, expected {rank} dimensions."
        )
    return array


def _load(path) -> dict[str, np.ndarray]:
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, expected a .npy or .npz file.")
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return {"": loaded}
            arrays = {key: loaded[key] for key in loaded.files}
    except OSError:
        raise
    except MemoryError as error:
        raise ValueError(f"{path} claims arrays that do not fit in memory.") from error
    except Exception as error:  # whatever NumPy meets in a file
        reason = str(error).partition("\n")[0]
        if "allow_pickle" in reason or "Object arrays" in reason:
            reason = "it holds Python objects, or is of another format"
        raise ValueError(f"{path} cannot be read as a .npy or .npz file: {reason}.") from error
    return {key: array for key, array in arrays.items() if isinstance(array, np.ndarray)}


def _listed(arrays) -> str:
    if list(arrays) == [""]:
        return f"one of shape {arrays[''].shape}"
    found = [f"{key} {array.shape}" for key, array in arrays.items()]
    return ", ".join(found) or "none"
