"""What `save` leaves in a folder: all files, each whole, or what was there before."""

import json
import os
import random
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from small_models import sequences, sequential

from keras_fastgrnn import FastRNN, export
from keras_fastgrnn.export import files
from keras_fastgrnn.export.files import write_all

ENDINGS = ["model.h", "model.cc", "ops.h", "report.json", "report.md", "report.png"]
NAMES = ["gesture.tflite", *(f"gesture_{ending}" for ending in ENDINGS)]
CONTENTS = {"a.txt": b"new a", "b.txt": b"new b", "c.txt": b"new c"}


@pytest.fixture(scope="module")
def deployed():
    return export.convert(sequential(FastRNN(2)), quantization=None, name="gesture")


def tree(folder):
    """Every file and folder below, with the bytes of the files."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def test_all_files_are_written_and_their_paths_returned(deployed, tmp_path):
    folder = tmp_path / "build" / "models"  # neither is there
    paths = deployed.save(folder)
    assert sorted(paths) == sorted(folder / name for name in NAMES)
    assert sorted(tree(folder)) == sorted(NAMES)
    assert (folder / "gesture.tflite").read_bytes() == deployed.tflite
    report = json.loads((folder / "gesture_report.json").read_text())
    assert report == deployed.report.to_dict()
    for path in paths:
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~_umask()


@pytest.mark.parametrize("quantization", ["int16x8", None])
def test_golden_file_is_written_where_there_is_calibration_data(tmp_path, quantization):
    model = sequential(FastRNN(2))
    export.convert(model, sequences(), quantization=quantization, name="gesture").save(tmp_path)
    assert sorted(tree(tmp_path)) == sorted([*NAMES, "gesture_golden.h"])


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_folder_may_be_a_string_and_the_current_one(deployed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    deployed.save("out")
    deployed.save("")
    assert (tmp_path / NAMES[0]).read_bytes() == (tmp_path / "out" / NAMES[0]).read_bytes()


@pytest.mark.parametrize("existing", NAMES)
def test_file_that_is_there_is_replaced_on_request_only(deployed, tmp_path, existing):
    (tmp_path / existing).write_bytes(b"mine")
    (tmp_path / "notes.txt").write_bytes(b"notes")
    before = tree(tmp_path)
    with pytest.raises(FileExistsError) as error:
        deployed.save(tmp_path)
    assert str(error.value) == (
        "Received an invalid value for argument folder, expected one without "
        f"{tmp_path / existing}. Give overwrite=True to replace them."
    )
    assert tree(tmp_path) == before

    deployed.save(tmp_path, overwrite=True)
    after = tree(tmp_path)
    assert after.keys() == {*NAMES, "notes.txt"}
    assert after["notes.txt"] == b"notes"
    assert after["gesture.tflite"] == deployed.tflite
    assert b"mine" not in after.values()


def test_every_file_that_is_there_is_named(deployed, tmp_path):
    deployed.save(tmp_path)
    with pytest.raises(FileExistsError) as error:
        deployed.save(tmp_path)
    assert all(str(tmp_path / name) in str(error.value) for name in NAMES)


def test_link_to_nowhere_is_there_too(tmp_path):
    (tmp_path / "b.txt").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError, match=r"b\.txt"):
        write_all(tmp_path, CONTENTS, overwrite=False)
    assert (tmp_path / "b.txt").is_symlink()
    write_all(tmp_path, CONTENTS, overwrite=True)
    assert (tmp_path / "b.txt").read_bytes() == b"new b"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("place", ["folder", "parent"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_file_in_place_of_the_folder_is_left_alone(deployed, tmp_path, place, overwrite):
    (tmp_path / "taken").write_bytes(b"mine")
    folder = tmp_path / "taken" if place == "folder" else tmp_path / "taken" / "models"
    with pytest.raises(NotADirectoryError, match="taken"):
        deployed.save(folder, overwrite=overwrite)
    assert tree(tmp_path) == {"taken": b"mine"}


def test_file_in_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "taken").write_bytes(b"mine")
    with pytest.raises(NotADirectoryError) as error:
        write_all(tmp_path / "taken", CONTENTS, overwrite=False)
    assert str(error.value) == (
        "Received an invalid value for argument folder, expected a folder, got the file "
        f"{tmp_path / 'taken'}."
    )


@pytest.mark.parametrize("blocked", CONTENTS)
@pytest.mark.parametrize("there", [[], ["a.txt"], ["a.txt", "b.txt", "c.txt"]], ids=len)
def test_everything_is_as_before_where_one_file_cannot_be_replaced(tmp_path, blocked, there):
    """A folder in place of a file lets `os.replace` fail after others have succeeded."""
    for name in there:
        (tmp_path / name).write_bytes(b"old " + name.encode())
    (tmp_path / blocked).unlink(missing_ok=True)
    (tmp_path / blocked / "inside").mkdir(parents=True)
    (tmp_path / "notes.txt").write_bytes(b"notes")
    before = tree(tmp_path)
    with pytest.raises(OSError, match=blocked):
        write_all(tmp_path, CONTENTS, overwrite=True)
    assert tree(tmp_path) == before
    with pytest.raises(FileExistsError):
        write_all(tmp_path, CONTENTS, overwrite=False)
    assert tree(tmp_path) == before


def test_nothing_is_left_where_a_file_cannot_be_written(tmp_path):
    contents = {"a.txt": b"new a", "b" * 300: b"a name too long for any file system"}
    with pytest.raises(OSError, match="name too long"):
        write_all(tmp_path, contents, overwrite=False)
    assert tree(tmp_path) == {}


# Several processes, and those that are killed

# `files.py` imports nothing of the project, so that a process of its own starts fast.
WRITER = f"""
import importlib.util, itertools, sys, time
spec = importlib.util.spec_from_file_location("files", {str(Path(files.__file__))!r})
files = importlib.util.module_from_spec(spec)
spec.loader.exec_module(files)
for number in itertools.count():
    content = str(number).encode() * 20000
    files.write_all(sys.argv[1], {{f"{{i}}.txt": content for i in range(8)}}, overwrite=True)
    print(number, flush=True)
    time.sleep(float(sys.argv[2]))
"""


def start_writer(folder, pause=0.0):
    """A process that writes sets of files, each of one number."""
    command = [sys.executable, "-c", WRITER, str(folder), str(pause)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_killed_process_leaves_whole_files_and_nothing_that_the_next_does_not_remove(tmp_path):
    """Which set a file is of, the compiler sees: test_export_id.py."""
    rng, leftovers = random.Random(0), 0
    for _ in range(40):
        process = start_writer(tmp_path)
        process.stdout.readline()
        time.sleep(rng.uniform(0.0, 0.02))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        leftovers += any(path.is_dir() for path in tmp_path.iterdir())
        names = [f"{i}.txt" for i in range(8)]
        for name in names:
            text = (tmp_path / name).read_text()
            assert len(text) % 20000 == 0 and text == text[: len(text) // 20000] * 20000
        start = time.monotonic()
        write_all(tmp_path, {"next.txt": b"next"}, overwrite=True)
        assert time.monotonic() - start < 5.0  # the lock of the dead is open
        assert sorted(path.name for path in tmp_path.iterdir()) == [*names, "next.txt"]
    assert leftovers > 0


def test_two_processes_at_a_time_leave_one_set(tmp_path):
    writers = [start_writer(tmp_path, pause=0.02) for _ in range(2)]
    for writer in writers:
        writer.stdout.readline()
    for _ in range(20):
        write_all(tmp_path, {f"{i}.txt": b"mine" for i in range(8)}, overwrite=True)
    for writer in writers:
        assert writer.poll() is None  # no error
        writer.kill()
        writer.communicate()
    write_all(tmp_path, {f"{i}.txt": b"mine" for i in range(8)}, overwrite=True)
    assert tree(tmp_path) == {f"{i}.txt": b"mine" for i in range(8)}


def test_of_two_that_may_not_replace_one_fails(tmp_path):
    results = []

    def write(content):
        try:
            results.append(write_all(tmp_path, dict.fromkeys(CONTENTS, content), overwrite=False))
        except FileExistsError:
            results.append(None)

    threads = [threading.Thread(target=write, args=(bytes([i]),)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results.count(None) == 7
    assert len(set(tree(tmp_path).values())) == 1


def test_folder_that_another_process_holds_is_told(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")
    monkeypatch.setattr(files, "LONGEST_WAIT", 0.1)
    holder = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    with pytest.raises(BlockingIOError, match=f"writing to the folder {tmp_path}"):
        write_all(tmp_path, CONTENTS, overwrite=False)
    os.close(holder)
    write_all(tmp_path, CONTENTS, overwrite=False)


@pytest.mark.parametrize("has_locks", [True, False])
def test_leftovers_are_removed_and_nothing_of_others(tmp_path, monkeypatch, has_locks):
    old, young = (tmp_path / f".keras_fastgrnn_save_{name}" for name in ("a1b2c3d4", "e5f6g7h8"))
    for folder in (old, young, tmp_path / ".keras_fastgrnn_save", tmp_path / "tmp1234"):
        folder.mkdir()
        (folder / "a.txt").write_bytes(b"a")
    (tmp_path / ".keras_fastgrnn_save_file").write_bytes(b"a file")
    (tmp_path / ".keras_fastgrnn_save_link").symlink_to(tmp_path / "tmp1234")
    os.utime(old, (0, 0))
    if not has_locks:  # as on Windows
        monkeypatch.setattr(files, "fcntl", None)
    kept = tree(tmp_path).keys() - {old.name, f"{old.name}/a.txt"}
    if has_locks:
        kept -= {young.name, f"{young.name}/a.txt"}
    write_all(tmp_path, CONTENTS, overwrite=False)
    assert tree(tmp_path).keys() == kept | CONTENTS.keys()


@pytest.mark.skipif(sys.platform != "linux", reason="root may write everywhere else")
def test_folder_that_cannot_be_written_is_named():
    with pytest.raises(OSError) as error:
        write_all("/proc/self", CONTENTS, overwrite=False)
    assert error.value.filename == "/proc/self"
