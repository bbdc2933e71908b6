"""Writes a set of files: all of them, or none."""

import os
import tempfile
from pathlib import Path


def write_all(folder, contents: dict[str, bytes], overwrite: bool) -> list[Path]:
    """Writes files into a folder, each whole, none before all can be written.

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
    existing = [str(path) for path in paths if path.exists()]
    if existing and not overwrite:
        raise FileExistsError(
            f"Received an invalid value for argument folder, expected one without "
            f"{', '.join(existing)}. Give overwrite=True to replace them."
        )
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        for name, content in contents.items():
            (Path(temporary) / name).write_bytes(content)
        for path in paths:
            os.replace(Path(temporary) / path.name, path)
    return paths
