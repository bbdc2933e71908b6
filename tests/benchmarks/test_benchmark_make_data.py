"""Archives of the benchmarks, made of small folders as the data sets' authors lay them out."""

import bz2

import numpy as np
import pytest

CHANNELS = [
    f"{kind}_{axis}" for kind in ("body_acc", "body_gyro", "total_acc") for axis in ("x", "y", "z")
]


@pytest.fixture
def make_data(root, monkeypatch):
    monkeypatch.syspath_prepend(str(root))
    from benchmarks import make_data

    return make_data


@pytest.fixture
def known(make_data, monkeypatch):
    """Makes some arrays those that results were measured on."""

    def make_known(name, arrays):
        monkeypatch.setitem(make_data.tasks.ARCHIVES, name, make_data.tasks.digest(arrays))

    return make_known


def rows_of(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(path, values, fmt="%.6e" if values.dtype.kind == "f" else "%d")


def test_uci_har_is_made_of_its_folder(make_data, known, tmp_path, capsys):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, 128, 9)).astype(np.float32)
    activity, subject = np.array([0, 5, 2, 1, 4]), np.array([1, 3, 3, 2, 2])
    folder = tmp_path / "UCI HAR Dataset"
    for name, part in (("train", slice(3)), ("test", slice(3, 5))):
        rows_of(folder / name / f"y_{name}.txt", activity[part] + 1)
        rows_of(folder / name / f"subject_{name}.txt", subject[part])
        for channel, title in enumerate(CHANNELS):
            rows_of(folder / name / "Inertial Signals" / f"{title}_{name}.txt", x[part, :, channel])
    x = np.array([[[np.float32(f"{v:.6e}") for v in row] for row in window] for window in x])
    is_test = np.arange(5) >= 3
    arrays = {"x": x, "activity": activity, "subject": subject, "is_test": is_test}
    known("uci_har.npz", arrays)
    make_data.main(["--folder", str(tmp_path / "new"), "--har", str(folder)])
    path = tmp_path / "new" / "uci_har.npz"
    assert capsys.readouterr().out == f"{path} holds what the results were measured on\n"
    read = make_data.tasks.read(path)
    for name, values in arrays.items():
        np.testing.assert_array_equal(read[name], values)


def test_dsa_is_made_of_its_folder(make_data, known, tmp_path):
    rng = np.random.default_rng(0)
    scale = np.array(([1 / 32] * 3 + [1 / 64] * 3 + [1 / 256] * 3) * 5)
    signal, activity, subject = [], [], []
    for a in (1, 19):
        for p in (2, 8):
            for s in (1, 10):
                integers = rng.integers(-2000, 2000, (125, 45))
                path = tmp_path / "data" / f"a{a:02}" / f"p{p}" / f"s{s:02}.txt"
                path.parent.mkdir(parents=True, exist_ok=True)
                values = (integers + rng.uniform(-0.4, 0.4, integers.shape)) * scale
                np.savetxt(path, values, fmt="%.6f", delimiter=",")
                signal.append(integers.T)
                activity.append(a - 1)
                subject.append(p)
    signal = np.array(signal, np.int16)
    arrays = {"signal": signal, "scale": scale}
    arrays |= {"activity": np.array(activity), "subject": np.array(subject)}
    known("dsa19.npz", arrays)
    make_data.main(["--folder", str(tmp_path), "--dsa", str(tmp_path / "data")])
    read = make_data.tasks.read(tmp_path / "dsa19.npz")
    for name, values in arrays.items():
        np.testing.assert_array_equal(read[name], values)


def test_zigzag_is_undone(make_data):
    values = np.array([[0, -1, 32767, -32768, 5], [-32768, 32767, 0, 0, 1]], np.int16)
    coded = make_data.zigzag("x", values)
    assert [part.dtype for part in coded.values()] == [np.uint8, np.uint8]
    np.testing.assert_array_equal(make_data.tasks.unzigzag(coded, "x"), values)
    assert (coded["x.lo"][0, 1], coded["x.hi"][0, 1]) == (1, 0)  # the sign is the lowest bit


@pytest.mark.parametrize("ending", ["", ".bz2"])
def test_usps_is_made_of_libsvms_text(make_data, known, tmp_path, ending):
    texts = {"usps": "7 1:-1 3:0.431 256:1\n1 2:-0.9999998\n", "usps.t": "10 16:0.5 17:-.5 \n"}
    for name, text in texts.items():
        content = text.encode()
        path = tmp_path / (name + ending)
        path.write_bytes(bz2.compress(content) if ending else content)
    x_train, x_test = np.zeros((2, 16, 16), np.int16), np.zeros((1, 16, 16), np.int16)
    x_train[0, 0, 0], x_train[0, 0, 2], x_train[0, 15, 15] = -1000, 431, 1000
    x_train[1, 0, 1] = -1000
    x_test[0, 0, 15], x_test[0, 1, 0] = 500, -500
    labels = {"y_train": np.array([6, 0]), "y_test": np.array([9])}
    known("usps.npz", {"x_train": x_train, "x_test": x_test, **labels})
    files = [str(tmp_path / (name + ending)) for name in texts]
    make_data.main(["--folder", str(tmp_path / "new"), "--usps", *files])


def test_mnist_is_kerass(make_data, known, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (3, 28, 28)).astype(np.uint8), np.array([1, 2, 3], np.uint8)
    monkeypatch.setattr(
        make_data.keras.datasets.mnist, "load_data", lambda: ((x, y), (x[:1], y[:1]))
    )
    labels = {"y_train": y.astype(int), "y_test": y[:1].astype(int)}
    known("mnist.npz", {"x_train": x, "x_test": x[:1], **labels})
    make_data.main(["--folder", str(tmp_path), "--mnist"])


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--har", "nowhere"], "benchmarks.make_data: uci_har.npz cannot be made: [Errno 2]"),
        (["--dsa", "nowhere"], "benchmarks.make_data: no a01/p1/s01.txt in nowhere"),
        (["--usps", "here", "nowhere"], "benchmarks.make_data: usps.npz cannot be made: [Errno 2]"),
        (["--usps", "text", "text"], "benchmarks.make_data: usps.npz cannot be made: not enough"),
        (["--usps", "far", "far"], "benchmarks.make_data: usps.npz cannot be made: index 256 is"),
        (["--usps", "here", "here"], "benchmarks.make_data: new/usps.npz holds other data"),
    ],
)
def test_mistakes_are_one_line(make_data, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").write_text("1 1:1\n")
    (tmp_path / "far").write_text("1 257:1\n")
    (tmp_path / "text").write_text("This is no such data.\n")
    with pytest.raises(SystemExit) as exit:
        make_data.main(["--folder", "new", *arguments])
    assert exit.value.code.startswith(message) and "\n" not in exit.value.code


def test_download_that_fails_is_one_line(make_data, tmp_path, monkeypatch):
    def fail():
        raise Exception("URL fetch failure on mnist.npz: None -- nowhere\n")

    monkeypatch.setattr(make_data.keras.datasets.mnist, "load_data", fail)
    with pytest.raises(SystemExit) as exit:
        make_data.main(["--folder", str(tmp_path), "--mnist"])
    assert exit.value.code.endswith(
        "mnist.npz cannot be made: URL fetch failure on mnist.npz: None -- nowhere"
    )


def test_a_mistake_of_our_own_keeps_its_traceback(make_data, tmp_path, monkeypatch):
    monkeypatch.setattr(make_data.keras.datasets.mnist, "load_data", lambda: 1 + "one")
    with pytest.raises(TypeError, match="unsupported operand"):
        make_data.main(["--folder", str(tmp_path), "--mnist"])


def test_command_wants_a_data_set(make_data, capsys):
    with pytest.raises(SystemExit) as exit:
        make_data.main(["--folder", "new"])
    assert exit.value.code == 2
    assert "name at least one data set" in capsys.readouterr().err.splitlines()[-1]
