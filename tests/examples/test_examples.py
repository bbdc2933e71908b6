"""The examples, run as a user runs them, on the data they are for."""

import hashlib
import importlib.util
import json
import os
import runpy
import shutil
import sys
import sysconfig
import zipfile

import matplotlib.pyplot as plt
import numpy as np
import pytest

from keras_fastgrnn.export.tflm.interpreter import is_available
from keras_fastgrnn.keras_api import IS_TF_KERAS

FLAVOR = {"TF_USE_LEGACY_KERAS": "1"} if IS_TF_KERAS else {}
SCRIPTS = ("digits.py", "har.py", "keyword.py", "lsq_har.py", "own_cell.py")
COLORS = plt.get_cmap("tab10").colors

# What UCI's text files keep of a value, and what the filters' start leaves after 40 seconds.
FILTERED = 1e-5
SETTLED = 2000


@pytest.fixture(scope="module")
def har_data(root):
    place = importlib.util.spec_from_file_location("har_data", root / "examples" / "har_data.py")
    module = importlib.util.module_from_spec(place)
    place.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def data(shared):
    return shared / "data"


def results_of(folder, formats):
    """The table's rows by format, after a look at the files beside it."""
    results = json.loads((folder / "results.json").read_text())
    rows = results["windows"] if isinstance(results, dict) else results
    assert [row["format"] for row in rows] == ["Keras", *formats]
    for row in rows[1:]:
        files = {path.suffix: path for path in (folder / row["format"]).iterdir()}
        assert {".tflite", ".h", ".cc", ".json", ".md", ".png"} <= set(files)
        assert files[".tflite"].stat().st_size == row["bytes"]
        if is_available():
            assert 1000 < row["arena_bytes"] < 10000
    return results, {row["format"]: row for row in rows}


def pixels_of(picture, color):
    """How many pixels of a picture have a color."""
    pixels = plt.imread(picture)[:, :, :3]
    return np.count_nonzero(np.abs(pixels - np.array(color)).max(axis=2) < 0.01)


def test_har_trains_exports_and_streams(run_python, root, data, tmp_path):
    arguments = "--quick", "--data", data / "uci_har.npz", "--hapt", data / "hapt_raw.npz"
    output = run_python(root / "examples" / "har.py", *arguments, "--output", "out", **FLAVOR)

    results, rows = results_of(tmp_path / "out", ("float32", "int16x8", "int8"))
    assert rows["Keras"]["accuracy"] > 0.6
    assert rows["float32"]["same_class"] == 1.0
    assert rows["int16x8"]["same_class"] > 0.97
    assert rows["int16x8"]["bytes"] < 3600
    assert results["stream"]["accuracy"]["all"] > 0.5
    assert f"all        {100 * results['stream']['accuracy']['all']:6.2f} %" in output
    for color in COLORS[:6]:
        assert pixels_of(tmp_path / "out" / "har.png", color) > 1000


def test_lsq_har_trains_in_stages_and_goes_on_from_its_checkpoint(run_python, root, data, tmp_path):
    script = root / "examples" / "lsq_har.py"
    arguments = "--quick", "--epochs", 6, "--seed", 1, "--checkpoint", "kept", "--output", "out"
    output = run_python(script, *arguments, "--data", data / "uci_har.npz", **FLAVOR)

    rows = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [row["stage"] for row in rows] == ["dense", "pruned", "frozen", "quantized"]
    weights, kept = [9 * 32, 32 * 32], [144, 307]  # 0.5 and 0.3 of them
    dense, sparse = sum(weights) + 32, sum(kept) + 32  # and the head's
    assert [row["non_zero"] for row in rows] == [dense, sparse, sparse, sparse]
    # Biases, scalars and the head's; mean and variance are in the weights of the last model.
    other, bitmaps = 2 * 32 + 2 + 1, sum(-(-count // 8) for count in weights)
    assert [row["bytes"] for row in rows] == [
        4 * (dense + other + 18),
        *[pytest.approx(4 * (sparse + other + 18) + bitmaps, abs=1)] * 2,
        sparse + bitmaps + 4 * other,
    ]
    assert rows[3]["test"] > 0.6
    assert rows[3]["same_class"] > 0.99
    assert f"{100 * rows[3]['on_device']:.2f} %" in output
    assert pixels_of(tmp_path / "out" / "lsq_har.png", COLORS[0]) > 100
    assert output.count("dense 2/2") == 1

    again = run_python(script, *arguments, "--data", data / "uci_har.npz", **FLAVOR)
    assert "dense 2/2" not in again
    assert json.loads((tmp_path / "out" / "results.json").read_text()) == rows

    message = "lsq_har.py: cannot train: .* argument checkpoint, .* Name another folder"
    with pytest.raises(AssertionError, match=message) as told:
        run_python(script, *arguments, "--seed", 2, "--data", data / "uci_har.npz", **FLAVOR)
    assert "Traceback" not in str(told.value)


def test_keyword_trains_and_exports(run_python, root, data, tmp_path):
    arguments = "--quick", "--data", data / "kws4_logmel_u8.npz", "--output", "out"
    run_python(root / "examples" / "keyword.py", *arguments, **FLAVOR)

    _, rows = results_of(tmp_path / "out", ("float32", "int16x8", "int8"))
    assert rows["Keras"]["accuracy"] > 0.6
    assert rows["float32"]["same_class"] == 1.0
    assert rows["int16x8"]["same_class"] > 0.97
    report = json.loads((tmp_path / "out" / "int16x8" / "keyword_report.json").read_text())
    given = report["tensors"][0]
    assert (given["dtype"], given["scale"], given["zero_point"]) == ("int8", 1.0, 0)
    for color in COLORS[:3]:
        assert pixels_of(tmp_path / "out" / "keyword.png", color) > 300


def test_own_cell_is_on_the_device_what_was_trained(run_python, root, tmp_path):
    run_python(root / "examples" / "own_cell.py", "--epochs", 2, "--output", "out", **FLAVOR)
    _, rows = results_of(tmp_path / "out", ("int16x8", "int8"))
    for quantization in ("int16x8", "int8"):
        assert rows[quantization]["same_class"] > 0.98
        assert rows[quantization]["accuracy"] > 0.5


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_run_where_nothing_has_imported_keyword_before(run_python, root, tmp_path, script):
    """Without `site`, whose files import it early, and with the packages as a wheel lays them.

    A copy of `keras_fastgrnn` holds what its link to `export` leads to.
    """
    shutil.copytree(root / "keras_fastgrnn", tmp_path / "keras_fastgrnn")
    folders = os.pathsep.join([str(tmp_path), sysconfig.get_path("purelib")])
    arguments = "-S", root / "examples" / script, "--help"
    shown = run_python(*arguments, PYTHONPATH=folders, **FLAVOR)
    assert "--output" in shown
    assert "passes over the training data (default: " in shown


def test_filters_give_the_published_windows_of_the_same_recordings(har_data, data):
    windows = har_data.load_windows(data / "uci_har.npz")
    with np.load(data / "uci_har.npz") as archive:
        experiment, position = archive["experiment"], archive["raw_position"]
    with np.load(data / "hapt_raw.npz") as archive:
        numbers = [number for number, subject, *_ in archive["recordings"] if subject in (2, 10)]
    recordings = har_data.load_recordings(data / "hapt_raw.npz", (2, 10))
    compared = 0
    for number, recording in zip(numbers, recordings, strict=True):
        for index in np.flatnonzero((experiment == number) & (position > SETTLED)):
            # UCI's windows begin one sample later than the raw data they were filtered from.
            here = slice(position[index] + 1, position[index] + 1 + har_data.STEPS)
            assert np.abs(recording.x[here] - windows.x[index]).max() < FILTERED
            assert windows.subject[index] == recording.subject
            # One stretch is labeled 1 to 12 samples off in the two data sets.
            agreeing = recording.activity[here] == windows.activity[index]
            compared += agreeing.mean() > 0.9
    assert compared > 400


def write_text(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(path, values, fmt="%.9e" if np.asarray(values).dtype.kind == "f" else "%d")


def test_folder_as_uci_ships_it_reads_as_the_archive_does(har_data, data, tmp_path):
    windows = har_data.load_windows(data / "uci_har.npz").part(slice(None, None, 200))
    for part, mask in (("train", ~windows.is_test), ("test", windows.is_test)):
        x, activity, subject, _ = windows.part(mask)
        for index, channel in enumerate(har_data.CHANNELS):
            write_text(
                tmp_path / part / "Inertial Signals" / f"{channel}_{part}.txt", x[:, :, index]
            )
        write_text(tmp_path / part / f"y_{part}.txt", activity + 1)
        write_text(tmp_path / part / f"subject_{part}.txt", subject)

    for read, expected in zip(har_data.load_windows(tmp_path), windows, strict=True):
        np.testing.assert_array_equal(read, expected)


def test_hapt_folder_reads_as_the_archive_does(har_data, data, tmp_path):
    with np.load(data / "hapt_raw.npz") as archive:
        # Differences of the signal, undone with Python's own integers.
        low, high = (archive[f"signal.{name}"][:, :20598].astype(int) for name in ("lo", "hi"))
        zigzag = low + 256 * high
        signal = np.where(zigzag % 2, -(zigzag + 1) // 2, zigzag // 2).cumsum(axis=1).T
        raw = signal * np.repeat([archive["acc_scale_g"], archive["gyro_scale_rad_s"]], 3)
        labels = archive["labels"]
    write_text(tmp_path / "RawData" / "acc_exp01_user01.txt", raw[:, :3])
    write_text(tmp_path / "RawData" / "gyro_exp01_user01.txt", raw[:, 3:])
    write_text(tmp_path / "RawData" / "labels.txt", labels[labels[:, 0] == 1])

    (read,) = har_data.load_recordings(tmp_path, [1])
    expected = har_data.load_recordings(data / "hapt_raw.npz", [1])[0]
    assert read.subject == expected.subject == 1
    np.testing.assert_allclose(read.x, expected.x, atol=1e-6)  # what 10 digits and filters leave
    np.testing.assert_array_equal(read.activity, expected.activity)


@pytest.fixture
def nested_archive(har_data, tmp_path, monkeypatch):
    """A zip in a zip, as UCI ships its data, in place of UCI's; the paths of it and of a cache."""
    inner, outer = tmp_path / "UCI HAR Dataset.zip", tmp_path / "outer.zip"
    with zipfile.ZipFile(inner, "w") as opened:
        opened.writestr("__MACOSX/UCI HAR Dataset/._train", "")
        opened.writestr("UCI HAR Dataset/train/y_train.txt", "5\n")
    with zipfile.ZipFile(outer, "w") as opened:
        opened.write(inner, inner.name)
    sha256 = hashlib.sha256(outer.read_bytes()).hexdigest()
    landmark = har_data.ARCHIVES["data"][2]
    monkeypatch.setitem(har_data.ARCHIVES, "data", (outer.as_uri(), sha256, landmark))
    return outer, tmp_path / "cache"


def test_download_unpacks_once_and_keeps_the_folder(har_data, nested_archive):
    archive, cache = nested_archive
    folder = har_data.download("data", cache)
    assert folder.name == "UCI HAR Dataset"
    assert (folder / "train" / "y_train.txt").read_text() == "5\n"
    archive.unlink()
    assert har_data.download("data", cache) == folder
    assert [path.name for path in cache.iterdir()] == ["data"]


def test_download_with_another_checksum_is_refused(har_data, nested_archive, monkeypatch):
    archive, cache = nested_archive
    archive.write_bytes(archive.read_bytes() + b"\0")
    with pytest.raises(ValueError, match="corrupted"):
        har_data.download("data", cache)
    assert not (cache / "data").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["har.py"], 'har.py: no data; give --data "UCI HAR Dataset", its folder, or --download'),
        (["har.py", "--data", "empty"], "har.py: cannot read empty as UCI HAR: "),
        (["har.py", "--download", "--cache", "cache"], "har.py: cannot download, so give --data: "),
        (["lsq_har.py", "--epochs", "4"], "lsq_har.py: --epochs: expected a multiple of 3, got 4"),
        (["lsq_har.py", "--seed", "-1"], "lsq_har.py: --seed: expected an integer in [0, 2**32)"),
        (["lsq_har.py", "--checkpoint", "other.npz"], "lsq_har.py: --checkpoint: expected"),
        (["lsq_har.py", "--data", "other.npz"], "lsq_har.py: cannot read other.npz as UCI HAR: "),
        (["har.py", "--epochs", "0"], "har.py: --epochs: expected 1 or more, got 0"),
        (["digits.py", "--epochs", "0"], "digits.py: --epochs: expected 1 or more, got 0"),
        (["keyword.py"], "keyword.py: no data; give --data, an .npz as --help describes"),
        (["keyword.py", "--data", "other.npz"], "keyword.py: cannot read other.npz as log-mel"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_end_with_one_line_and_nothing_written(
    root, tmp_path, monkeypatch, arguments, message
):
    examples = tmp_path / "project" / "examples"  # beside which there is no data
    shutil.copytree(root / "examples", examples)
    (tmp_path / "empty").mkdir()
    np.savez(tmp_path / "other.npz", y=np.zeros(3))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.syspath_prepend(str(examples))
    monkeypatch.setattr(sys, "argv", [*arguments, "--output", "out"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(examples / arguments[0]), run_name="__main__")
    assert stopped.value.code.splitlines()[-1].startswith(message)
    assert not (tmp_path / "out").exists()
