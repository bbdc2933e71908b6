"""Makes the benchmarks' archives of the data sets as their authors publish them.

    python -m benchmarks.make_data --folder FOLDER [--har [FOLDER]] [--dsa FOLDER] [--mnist]
        [--usps FILE FILE]

Writes an archive for each data set that is named, and says whether it holds what the results were
measured on. `--har` without a folder and `--mnist` download; benchmarks/README.md says where the
others are.
"""

import argparse
import bz2
import re
import sys
from pathlib import Path

import numpy as np

from benchmarks import tasks
from examples import har_data
from keras_fastgrnn import keras

# What the archive counts in, of acceleration, angular velocity and magnetic field.
DSA_SCALES = (2.0**-5, 2.0**-6, 2.0**-8)
DSA_UNITS, DSA_AXES = 5, 3
USPS_SHAPE, USPS_SCALE = (16, 16), 1000


def har_arrays(folder: Path | None) -> dict[str, np.ndarray]:
    """Reads UCI HAR.

    Args:
        folder: Path of its folder, "UCI HAR Dataset", or `None` to download it.

    Returns:
        Dictionary of arrays, as the archive has them.
    """
    if folder is None:
        folder = _downloaded(har_data.download, "data", har_data.CACHE)
    windows = har_data.load_windows(folder)
    return {
        "signal": windows.x.reshape(-1, windows.x.shape[2]),
        "start": np.arange(len(windows.x)) * har_data.STEPS,
        "label": windows.activity.astype(np.uint8),
        "subject": windows.subject.astype(np.int8),
        "split": windows.is_test.astype(np.uint8),
    }


def dsa_arrays(folder: Path) -> dict[str, np.ndarray]:
    """Reads Daily and Sports Activities.

    Args:
        folder: Path of its folder, "data", with a file `a01/p1/s01.txt` for each segment.

    Returns:
        Dictionary of arrays, as the archive has them.
    """
    paths = sorted(folder.glob("a*/p*/s*.txt"))
    if not paths:
        raise tasks.DataError(f"no a01/p1/s01.txt in {folder}")
    scale = np.tile(np.repeat(DSA_SCALES, DSA_AXES), DSA_UNITS)
    names = [re.findall(r"[aps](\d+)", "/".join(path.parts[-3:])) for path in paths]
    activity, subject, _ = np.array(names, dtype=np.uint8).T
    segments = [np.rint(np.loadtxt(path, delimiter=",", ndmin=2) / scale) for path in paths]
    signal = np.stack(segments).astype(np.int16).transpose(0, 2, 1)
    return {
        **zigzag("signal", signal),
        "scale": scale,
        "activity": activity - 1,
        "subject": subject,
    }


def zigzag(name: str, values: np.ndarray) -> dict[str, np.ndarray]:
    """Returns int16 values as `tasks.unzigzag` reads them: small bytes, which compress well."""
    differences = np.diff(values, axis=-1, prepend=np.int16(0))
    coded = ((differences << 1) ^ (differences >> 15)).view(np.uint16)
    return {f"{name}.lo": coded.astype(np.uint8), f"{name}.hi": (coded >> 8).astype(np.uint8)}


def mnist_arrays() -> dict[str, np.ndarray]:
    """Downloads MNIST as Keras has it; returns it as the archive has it."""
    (x_train, y_train), (x_test, y_test) = _downloaded(keras.datasets.mnist.load_data)
    return {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}


def _downloaded(function, *arguments):
    """Calls what downloads by Keras, whose own error is a bare `Exception`."""
    try:
        return function(*arguments)
    except Exception as error:
        if type(error) is not Exception:
            raise
        raise OSError(str(error)) from error


def usps_arrays(training: Path, test: Path) -> dict[str, np.ndarray]:
    """Reads USPS in LIBSVM's text format.

    Args:
        training, test: Paths of `usps` and `usps.t`, or of these compressed, ending in `.bz2`.

    Returns:
        Dictionary of arrays, as the archive has them.
    """
    arrays = {}
    for part, path in (("train", training), ("test", test)):
        with bz2.open(path, "rt") if path.suffix == ".bz2" else path.open() as file:
            lines = [line.split() for line in file if line.strip()]
        pixels = np.zeros((len(lines), np.prod(USPS_SHAPE)))
        for row, (_, *fields) in zip(pixels, lines, strict=True):
            for index, value in (field.split(":") for field in fields):
                row[int(index) - 1] = float(value)
        x = np.rint(USPS_SCALE * pixels).astype(np.int16)
        arrays[f"x_{part}"] = x.reshape(-1, *USPS_SHAPE)
        arrays[f"y_{part}"] = np.array([int(float(line[0])) - 1 for line in lines], np.uint8)
    return arrays


def write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes an archive, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial.npz")
    np.savez_compressed(partial, **arrays)
    partial.replace(path)


def main(arguments: list[str] | None = None) -> None:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--folder", type=Path, required=True, help="where the archives go")
    add = parser.add_argument
    words = "UCI HAR, unpacked; without a folder it is downloaded"
    add("--har", type=Path, nargs="?", const=None, default=False, metavar="FOLDER", help=words)
    add("--dsa", type=Path, metavar="FOLDER", help="the folder of a01 to a19")
    add("--mnist", action="store_true", help="downloaded by Keras")
    add("--usps", type=Path, nargs=2, metavar=("USPS", "USPS_T"), help="LIBSVM's two files")
    given = parser.parse_args(arguments)
    makers = {
        "uci_har.npz": given.har is not False and (lambda: har_arrays(given.har)),
        "dsa19.npz": given.dsa and (lambda: dsa_arrays(given.dsa)),
        "mnist.npz": given.mnist and mnist_arrays,
        "usps.npz": given.usps and (lambda: usps_arrays(*given.usps)),
    }
    chosen = {name: make for name, make in makers.items() if make}
    if not chosen:
        parser.error("name at least one data set: --har, --dsa, --mnist, --usps")
    for name, make in chosen.items():
        path = given.folder / name
        try:
            write(path, make())
            tasks.read(path)
        except tasks.DataError as error:
            sys.exit(f"benchmarks.make_data: {error}")
        except (IndexError, OSError, ValueError) as error:
            words = str(error).partition("\n")[0]
            sys.exit(f"benchmarks.make_data: {name} cannot be made: {words}")
        print(f"{path} holds what the results were measured on")


if __name__ == "__main__":
    main()
