"""Writes a set of files: all of them, or none."""

import os
import tempfile
from pathlib import Path


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
    existing = [str(path) for path in paths if os.path.lexists(path)]
    if existing and not overwrite:
        raise FileExistsError(
            f"Received an invalid value for argument folder, expected one without "
            f"{', '.join(existing)}. Give overwrite=True to replace them."
        )
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(
            "Received an invalid value for argument folder, expected a folder, got the file "
            f"{folder}."
        )
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        written = [Path(temporary) / name for name in contents]
        for path, content in zip(written, contents.values(), strict=True):
            path.write_bytes(content)
        _replace_all(written, paths)
    return paths


def _replace_all(written, paths) -> None:
    before = {path: path.read_bytes() for path in paths if path.is_file()}
    replaced = []
    try:
        for source, path in zip(written, paths, strict=True):
            os.replace(source, path)
            replaced.append((source, path))
    except OSError:
        for source, path in replaced:
            if path in before:
                source.write_bytes(before[path])
                os.replace(source, path)
            else:
                path.unlink()
        raise
