"""Arrays of files: the right one is found, and what is wrong is said; nothing is unpickled."""

import io
import pickle
import tracemalloc
import zipfile

import numpy as np
import pytest

from keras_fastgrnn.export.foreign.arrays import load_array

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


# Only what is needed is read


def peak_of(function, *arguments, **more):
    """What a function returns or raises, and the most bytes that Python held in it."""
    tracemalloc.start()
    try:
        result = function(*arguments, **more)
    except ValueError as error:
        result = error
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return result, peak


def write_zeros(path, shape, more=None):
    """An .npz of a great array of zeros, without making one here."""
    header = content(np.save, np.zeros(0, np.float32)).replace(b"(0,)", f"{shape}".encode())
    header = header[:10] + header[10:].rstrip().ljust(117) + b"\n"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in (more or {}).items():
            archive.writestr(f"{name}.npy", content(np.save, array))
        with archive.open("big.npy", "w", force_zip64=True) as file:
            file.write(header)
            left = 4 * int(np.prod(shape, dtype=np.int64))
            while left:
                left -= file.write(bytes(min(left, 1 << 20)))


@pytest.fixture(scope="module")
def bomb(tmp_path_factory):
    path = tmp_path_factory.mktemp("bomb") / "bomb.npz"
    write_zeros(path, (1 << 10, 1 << 8, 300), {"x": X, "y": np.array([0, 1])})
    assert path.stat().st_size < 400_000
    return path


def test_array_that_would_fill_the_memory_is_refused_unread(bomb):
    error, peak = peak_of(load_array, bomb, "big", 3)
    assert "claims 314,572,800 bytes, of a file of 3" in str(error)
    assert peak < 2e6


def test_other_arrays_of_the_file_are_not_read(bomb):
    array, peak = peak_of(load_array, bomb, "x", 3)
    np.testing.assert_array_equal(array, X)
    assert peak < 2e6
    error, peak = peak_of(load_array, bomb, None, 3)
    assert "has 2 arrays of 3 dimensions; it has x (2, 4, 3), y (2,), big (1024" in str(error)
    assert peak < 2e6


@pytest.mark.parametrize("order", ["C", "F"])
def test_the_first_entries_are_read_alone(order, tmp_path):
    x = np.asarray(np.random.default_rng(0).normal(size=(1000, 50, 3)), np.float32, order)
    np.savez(tmp_path / "x.npz", x=x)
    np.save(tmp_path / "x.npy", x)
    for name in ("x.npz", "x.npy"):
        array, peak = peak_of(load_array, tmp_path / name, None, 3, count=7)
        np.testing.assert_array_equal(array, x[:7])
        assert array.shape == (7, 50, 3)
        assert order == "F" or peak < x.nbytes / 2
        np.testing.assert_array_equal(load_array(tmp_path / name, None, 3, count=2000), x)


@pytest.mark.parametrize("dtype", ["<f2", ">f8", ">i2", "<u4", "?", "|i1"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_type_of_numbers_is_read(dtype, order, tmp_path):
    x = np.asarray(np.arange(24).reshape(2, 4, 3) % 3, dtype, order)
    np.save(tmp_path / "x.npy", x)
    array = load_array(tmp_path / "x.npy", None, 3)
    assert array.dtype == x.dtype
    np.testing.assert_array_equal(array, x)


@pytest.mark.parametrize("x", [X.astype(complex), X.astype(str), X.astype("datetime64[s]")])
def test_what_is_no_number_is_refused_by_its_header(x, tmp_path):
    np.save(tmp_path / "x.npy", x)
    with pytest.raises(ValueError, match=r"The array of .*x\.npy holds .*, expected real numbers"):
        load_array(tmp_path / "x.npy", None, 3)


def test_array_of_other_channels_is_refused_by_its_header(bomb):
    assert load_array(bomb, "x", 3, channels=3).shape == X.shape
    error, peak = peak_of(load_array, bomb, "big", 3, channels=3)
    assert "has the shape (1024, 256, 300), expected (batch, steps, 3)" in str(error)
    assert peak < 2e6


def test_many_names_are_not_listed(tmp_path):
    path = tmp_path / "many.npz"
    small = content(np.save, np.zeros(1))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", content(np.save, X))
        for number in range(10_000):
            archive.writestr(f"a{number}.npy", small)
    for name in (None, "nothing"):
        with pytest.raises(ValueError, match=r"x \(2, 4, 3\), a0 \(1,\), .*9,991 more") as caught:
            load_array(path, name, 3)
        assert len(str(caught.value)) < 500
    np.testing.assert_array_equal(load_array(path, "x", 3), X)


def test_damaged_array_beside_does_not_matter(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("objects.npy", content(np.save, np.array([{}]), allow_pickle=True))
        archive.writestr("text.npy", b"no array")
        archive.writestr("x.npy", content(np.save, X))
    np.testing.assert_array_equal(load_array(tmp_path / "x.npz", None, 3), X)
    with pytest.raises(ValueError, match=r"it has objects \(unreadable\), text \(unreadable\), x"):
        load_array(tmp_path / "x.npz", "y", None)


@pytest.mark.parametrize("shape", [(-1, 4, 3), (1 << 62, 1 << 62, 3), (True, 4, 3), (2.0, 4, 3)])
def test_shape_that_no_array_has_is_refused(shape, tmp_path):
    header = content(np.save, X).partition(b"'shape': ")
    (tmp_path / "x.npy").write_bytes(
        header[0] + header[1] + f"{shape}, }}".encode().ljust(118 - header[0].index(b"{")) + b"\n"
    )
    with pytest.raises(ValueError, match="x.npy") as caught:
        load_array(tmp_path / "x.npy", None, 3)
    assert "\n" not in str(caught.value)
