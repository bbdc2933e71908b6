"""The tasks of the benchmarks: what they read from the archives, and what they refuse."""

import functools
import hashlib
import shutil

import numpy as np
import pytest

HELD_OUT_HAR = [6, 15, 17, 22]
PARTS = ("training", "validation", "test")


@pytest.fixture(scope="module")
def tasks(root):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(root))
        from benchmarks import tasks

        yield tasks


@pytest.fixture(scope="module")
def data(shared):
    return shared / "data"


@pytest.fixture(scope="module")
def archive(data):
    """Reads an archive's arrays as they lie there."""

    def read(name):
        with np.load(data / f"{name}.npz") as opened:
            return dict(opened)

    return read


@pytest.fixture(scope="module")
def load(tasks, data):
    """`tasks.load`, once for each task."""
    return functools.cache(lambda name: tasks.load(name, data))


def har_signal(z):
    return np.stack([z["signal"][start : start + 128] for start in z["start"]])


def har_masks(z):
    held_out = np.array([subject in HELD_OUT_HAR for subject in z["subject"]])
    return (z["split"] == 0) & ~held_out, (z["split"] == 0) & held_out, z["split"] == 1


def dsa_signal(z):
    signal = np.zeros(z["signal.lo"].shape, np.float32)
    value = np.zeros(signal.shape[:2], int)
    for step in range(signal.shape[2]):  # of each difference, the sign is the lowest bit
        coded = z["signal.lo"][:, :, step] + 256 * z["signal.hi"][:, :, step].astype(int)
        value += np.where(coded % 2 == 0, coded // 2, -(coded // 2) - 1)
        signal[:, :, step] = (value + 2**15) % 2**16 - 2**15
    return signal.transpose(0, 2, 1) * z["scale"].astype(np.float32)


def dsa_masks(z):
    is_test = z["subject"] > 4
    held_out = np.array([index % 6 == 0 for index in range(len(is_test))])
    return ~is_test & ~held_out, ~is_test & held_out, is_test


def scaling(x, is_training):
    """Mean and deviation of the training sequences' channels."""
    mean = x[is_training].mean(axis=(0, 1), dtype=np.float64)
    return mean, np.sqrt(np.mean((x[is_training] - mean) ** 2, axis=(0, 1)))


def assert_parts(task, x, y, masks, mean, deviation):
    """The parts of a task are what masks choose, normalized by the training part alone."""
    for name, mask in zip(PARTS, masks, strict=True):
        part = getattr(task, name)
        assert (part.x.shape, part.x.dtype) == ((mask.sum(), *x.shape[1:]), np.float32)
        np.testing.assert_array_equal(part.y, y[mask])
        expected = (x[mask][::7] - mean) / deviation
        np.testing.assert_allclose(part.x[::7], expected, rtol=1e-4, atol=1e-4)


def assert_normalized(task):
    x = task.training.x
    np.testing.assert_allclose(x.mean(axis=(0, 1), dtype=np.float64), 0.0, atol=1e-4)
    np.testing.assert_allclose(x.std(axis=(0, 1), dtype=np.float64), 1.0, atol=1e-4)


def test_har_is_split_by_people(load, archive):
    z = archive("uci_har")
    masks = har_masks(z)
    people = [set(z["subject"][mask].tolist()) for mask in masks]
    assert [len(group) for group in people] == [17, 4, 9]
    assert not (people[0] & people[1] or people[0] & people[2] or people[1] & people[2])
    task, x = load("har"), har_signal(z)
    assert (task.classes, task.shape) == (6, (128, 9))
    assert_parts(task, x, z["label"], masks, *scaling(x, masks[0]))
    assert_normalized(task)
    assert np.bincount(task.test.y).tolist() == [496, 471, 420, 491, 532, 537]  # UCI's own


def test_har2_joins_upstairs_sitting_and_laying(load, archive):
    z = archive("uci_har")
    positive = ["WALKING_UPSTAIRS", "SITTING", "LAYING"]
    y = np.array([int(z["activity_names"][label] in positive) for label in z["label"]])
    task = load("har2")
    assert (task.classes, task.shape) == (2, (128, 9))
    for name, mask in zip(PARTS, har_masks(z), strict=True):
        np.testing.assert_array_equal(getattr(task, name).y, y[mask])
        np.testing.assert_array_equal(getattr(task, name).x, getattr(load("har"), name).x)
    assert np.sum(task.test.y) == 471 + 491 + 537


def test_dsa_is_tested_on_other_people(load, archive):
    z = archive("dsa19")
    task, x, masks = load("dsa"), dsa_signal(z), dsa_masks(z)
    assert (task.classes, task.shape) == (19, (125, 45))
    assert_parts(task, x, z["activity"], masks, *scaling(x, masks[0]))
    assert_normalized(task)
    for name, segments in zip(PARTS, (50, 10, 60), strict=True):  # of each of four people
        assert np.bincount(getattr(task, name).y).tolist() == [4 * segments] * 19


def test_speech_has_three_words_in_the_splits_of_the_archive(load, archive):
    z = archive("kws4_logmel_u8")
    masks = [(z["split"] == split) & (z["label"] != 3) for split in range(3)]
    task, x = load("speech"), z["x"].astype(np.float64)
    assert (task.classes, task.shape) == (3, (49, 16))
    assert_parts(task, x, z["label"], masks, *scaling(x, masks[0]))
    assert_normalized(task)
    counts = [[787, 773, 380], [114, 106, 80], [419, 405, 408]]
    assert [np.bincount(getattr(task, name).y).tolist() for name in PARTS] == counts


@pytest.mark.parametrize("name, side", [("usps", 16), ("mnist", 28)])
def test_digits_keep_every_sixth_for_validation(load, archive, name, side):
    z = archive(name)
    held_out = np.array([index % 6 == 0 for index in range(len(z["x_train"]))])
    task = load(name)
    assert (task.classes, task.shape) == (10, (side, side))
    chosen = z["x_train"][~held_out].astype(np.float64)
    mean, deviation = chosen.mean(), chosen.std()
    for part, x, y in (
        (task.training, z["x_train"][~held_out], z["y_train"][~held_out]),
        (task.validation, z["x_train"][held_out], z["y_train"][held_out]),
        (task.test, z["x_test"], z["y_test"]),
    ):
        np.testing.assert_array_equal(part.y, y)
        assert part.x.shape == x.shape
        np.testing.assert_allclose(part.x[::7], (x[::7] - mean) / deviation, atol=1e-4)


@pytest.mark.parametrize("name", ["har", "dsa", "speech", "usps"])
def test_augmentation_is_seeded_and_keeps_shapes(load, name):
    task = load(name)
    x = task.training.x[:40]
    before = x.copy()
    first, again, other = (task.augment(x, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert (first.shape, first.dtype) == (x.shape, np.float32)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(x, before)
    for one, another in ((first, other), (first, x)):
        assert np.mean(np.abs(one - another).max(axis=(1, 2)) > 0.01) > 0.8


@pytest.mark.parametrize("name", ["har", "dsa"])
def test_turned_sensors_measure_vectors_of_the_same_length(load, archive, name):
    z = archive({"har": "uci_har", "dsa": "dsa19"}[name])
    signal, masks = {"har": (har_signal, har_masks), "dsa": (dsa_signal, dsa_masks)}[name]
    mean, deviation = scaling(signal(z), masks(z)[0])
    x = load(name).training.x[:20]
    turned = load(name).augment(x, np.random.default_rng(0))
    lengths = [
        np.linalg.norm((values * deviation + mean).reshape(*x.shape[:2], -1, 3), axis=-1)
        for values in (x, turned)
    ]
    np.testing.assert_allclose(lengths[1], lengths[0], atol=1e-4 * lengths[0].max())


def test_digest_tells_names_types_shapes_and_values_apart(tasks):
    x = np.arange(6, dtype=np.int16).reshape(2, 3)
    expected = hashlib.sha256(b"x <i2 (2, 3)\n" + x.tobytes()).hexdigest()
    assert tasks.digest({"x": x}) == expected
    changed = x.copy()
    changed[1, 2] = 7
    others = [{"y": x}, {"x": x.astype(np.int32)}, {"x": x.T}, {"x": changed}, {"x": x, "y": x}]
    assert len({expected, *(tasks.digest(arrays) for arrays in others)}) == 6
    assert tasks.digest({"x": np.asfortranarray(x)}) == expected


@pytest.mark.parametrize("name", ["har", "har2", "dsa", "speech", "usps", "mnist"])
def test_missing_archive_is_one_line(tasks, tmp_path, name):
    for function in (tasks.check, tasks.load):
        with pytest.raises(tasks.DataError) as error:
            function(name, tmp_path / "nowhere")
        text = str(error.value)
        assert text.startswith("no ") and "benchmarks/README.md" in text and "\n" not in text


@pytest.mark.parametrize("damage", ["text", "half", "empty", "array", "names"])
def test_damaged_archive_is_one_line(tasks, tmp_path, damage):
    path = tmp_path / "usps.npz"
    np.savez_compressed(path, x_train=np.zeros((20, 16, 16)), y_train=np.zeros(20))
    whole = path.read_bytes()
    if damage == "array":
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    elif damage != "names":
        path.write_bytes({"text": b"no archive\n", "half": whole[:-200], "empty": b""}[damage])
    with pytest.raises(tasks.DataError) as error:
        tasks.check("usps", tmp_path)
    assert str(error.value).startswith(f"{path} is damaged or no such archive: ")
    assert "\n" not in str(error.value)


def test_archive_of_other_data_is_refused(tasks, data, archive, tmp_path):
    arrays = archive("usps")
    np.savez(tmp_path / "usps.npz", **arrays)
    tasks.check("usps", tmp_path)  # another file with the same data
    arrays["x_train"][0, 0, 0] += 1
    np.savez(tmp_path / "usps.npz", **arrays)
    with pytest.raises(tasks.DataError, match="usps.npz holds other data than what the results"):
        tasks.load("usps", tmp_path)
    shutil.copy(data / "mnist.npz", tmp_path / "usps.npz")
    with pytest.raises(tasks.DataError, match="usps.npz holds other data"):
        tasks.load("usps", tmp_path)


def test_command_without_data_ends_in_one_line_before_any_work(tasks, tmp_path, monkeypatch):
    from benchmarks import __main__ as command

    def fail(*_):
        raise AssertionError("a run began")

    monkeypatch.setattr(command.pool, "perform_all", fail)
    results = tmp_path / "results"
    arguments = ["--tasks", "har", "speech", "--data", str(tmp_path), "--results", str(results)]
    with pytest.raises(SystemExit) as exit:
        command.main(arguments)
    assert isinstance(exit.value.code, str)  # which Python prints, and ends with status 1
    assert exit.value.code.startswith("benchmarks: no ") and "\n" not in exit.value.code
    assert not results.exists()
