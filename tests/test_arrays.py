"""Arrays of files: the right one is found, and what is wrong is said; nothing is unpickled."""

import io
import pickle
import zipfile

import numpy as np
import pytest

from keras_fastgrnn.export.arrays import load_array

X = np.arange(24.0).reshape(2, 4, 3)


@pytest.fixture
def npz(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, x=X, y=np.array([0, 1]), mask=np.ones((2, 4)))
    return path


def test_the_one_array_of_the_rank_is_taken(npz):
    np.testing.assert_array_equal(load_array(npz, None, 3), X)


def test_array_is_taken_by_its_name(npz):
    np.testing.assert_array_equal(load_array(npz, "y", None), [0, 1])


def test_npy_holds_one_array(tmp_path):
    np.save(tmp_path / "x.npy", X)
    np.testing.assert_array_equal(load_array(tmp_path / "x.npy", None, 3), X)


LISTED = r"it has x \(2, 4, 3\), y \(2,\), mask \(2, 4\)"


@pytest.mark.parametrize(
    ("name", "rank", "message"),
    [
        ("z", 3, rf"has no array 'z'; {LISTED}"),
        (None, 4, rf"has no array of 4 dimensions; {LISTED}\. Name the one to take with --array"),
        ("y", 3, r"The array 'y' of .* has the shape \(2,\), expected 3 dimensions"),
    ],
)
def test_array_that_is_not_there_is_named_beside_those_that_are(name, rank, message, npz):
    with pytest.raises(ValueError, match=message):
        load_array(npz, name, rank)


def test_two_arrays_of_the_rank_need_a_name(tmp_path):
    np.savez(tmp_path / "data.npz", train=X, test=X[:1])
    with pytest.raises(ValueError, match="has 2 arrays of 3 dimensions; it has train"):
        load_array(tmp_path / "data.npz", None, 3)
    assert load_array(tmp_path / "data.npz", "test", 3).shape == (1, 4, 3)


class Bomb:
    """What unpickling it does is seen."""

    opened = []

    def __reduce__(self):
        return Bomb.opened.append, ("unpickled",)


def content(save, *arguments, **more) -> bytes:
    file = io.BytesIO()
    save(file, *arguments, **more)
    return file.getvalue()


def huge() -> bytes:
    """The header of an array of 2^60 numbers, and nothing behind it."""
    header = content(np.save, np.zeros(1))
    return header.replace(b"(1,)", b"(1152921504606846976,)")[:140]


def other_archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("metadata.json", "{}")
    return file.getvalue()


BAD = {
    "empty": b"",
    "text": b"a,b,c\n1,2,3\n",
    "pickle": pickle.dumps(Bomb()),
    "objects": content(np.save, np.array([Bomb()], object), allow_pickle=True),
    "objects in npz": content(np.savez, x=np.array([Bomb()], object)),
    "cut off": content(np.save, X)[:150],
    "cut off npz": content(np.savez, x=X)[:150],
    "huge": huge(),
    "other archive": other_archive(),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_file_is_refused_in_one_line_and_never_unpickled(what, tmp_path):
    path = tmp_path / "bad.npz"
    path.write_bytes(BAD[what])
    with pytest.raises(ValueError, match="bad.npz") as caught:
        load_array(path, None, 3)
    assert "\n" not in str(caught.value)
    assert "allow_pickle" not in str(caught.value)
    assert Bomb.opened == []


def test_absent_file_and_folder_are_errors_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_array(tmp_path / "nothing.npz", None, 3)
    with pytest.raises(IsADirectoryError):
        load_array(tmp_path, None, 3)


@pytest.mark.parametrize("ending", ["npy", "npz"])
def test_damaged_files_are_read_or_refused(ending, tmp_path):
    rng = np.random.default_rng(0)
    data = content(np.save, X) if ending == "npy" else content(np.savez, x=X)
    path = tmp_path / "bad"
    refused = 0
    for _ in range(300):
        damaged = np.frombuffer(data, np.uint8).copy()
        damaged[rng.integers(0, len(damaged), rng.integers(1, 5))] ^= np.uint8(1 << rng.integers(8))
        path.write_bytes(damaged.tobytes())
        try:
            load_array(path, None, 3)
        except (ValueError, OSError):
            refused += 1
    assert refused > 50
