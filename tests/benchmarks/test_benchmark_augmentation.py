"""What augmentation changes of a sequence, and what it must not."""

import numpy as np
import pytest


@pytest.fixture
def augmentation(benchmarks_on_path):
    from benchmarks import augmentation

    return augmentation


@pytest.fixture
def worn(augmentation):
    """Segments of a wearer who lies, sits and walks, and the same as if worn elsewhere."""
    rng = np.random.default_rng(1)
    gravity = rng.normal(size=(30, 1, 5, 1, 3))
    gravity /= np.linalg.norm(gravity, axis=-1, keepdims=True)
    noise = rng.normal(0.0, 0.01, (30, 20, 5, 3, 3))
    noise[:, :, :, 0] += 9.81 * gravity[:, :, :, 0]
    noise[:, :, :, 2] += rng.normal(size=(30, 1, 5, 3))
    x = noise.reshape(30, 20, 45).astype(np.float32)
    return x, augmentation.worn_elsewhere(x, np.random.default_rng(2))


def vectors(x):
    return x.reshape(*x.shape[:2], 5, 3, 3)


def test_a_sensor_that_is_turned_measures_vectors_of_the_same_length(worn):
    before, after = (np.linalg.norm(vectors(x), axis=-1) for x in worn)
    np.testing.assert_allclose(after, before, atol=2e-5)
    assert worn[1].dtype == np.float32


def test_facing_elsewhere_leaves_the_angle_between_field_and_gravity(worn):
    """Whatever turns, of one unit these two turn together or about one of them."""
    cosines = []
    for x in worn:
        mean = vectors(x).mean(axis=1)
        gravity, field = mean[:, :, 0], mean[:, :, 2]
        lengths = np.linalg.norm(gravity, axis=-1) * np.linalg.norm(field, axis=-1)
        cosines.append((gravity * field).sum(axis=-1) / lengths)
    np.testing.assert_allclose(cosines[1], cosines[0], atol=1e-4)


def test_all_units_of_a_wearer_face_the_same_way(augmentation):
    """Units that are mounted alike measure alike before, and after the heading alone changed."""
    rng = np.random.default_rng(3)
    unit = rng.normal(size=(6, 10, 9))
    heading = rng.uniform(-3, 3, (6, 1))
    once = augmentation._facing(unit, heading)
    back = augmentation._facing(once, -heading)
    np.testing.assert_allclose(back, unit, atol=1e-12)
    assert np.array_equal(once[:, :, :6], unit[:, :, :6])
    assert np.abs(once[:, :, 6:] - unit[:, :, 6:]).max() > 0.1


def test_clips_are_moved_by_up_to_four_frames(augmentation):
    frames = np.arange(49)
    x = np.broadcast_to(frames[:, np.newaxis], (200, 49, 16))
    shifts = set()
    for clip in augmentation._shifted(x, np.random.default_rng(0)):
        shift = int(clip[24, 0]) - 24
        assert np.array_equal(clip, np.clip(x[0] + shift, 0, 48))
        shifts.add(shift)
    assert shifts == set(range(-4, 5))


@pytest.mark.parametrize(("axis", "most"), [(1, 8), (2, 3)])
def test_up_to_so_many_neighbors_are_hidden(augmentation, axis, most):
    x = np.random.default_rng(1).normal(size=(200, 49, 16))
    mean = x.mean(axis=(0, 1))
    counts = set()
    for clip, hidden in zip(
        x, augmentation._hidden(x, np.random.default_rng(0), axis, most), strict=True
    ):
        is_hidden = (hidden != clip).all(axis=2 - axis)
        assert np.array_equal(
            hidden != clip, np.expand_dims(is_hidden, 2 - axis) & np.ones(clip.shape, bool)
        )
        assert np.array_equal(
            hidden[hidden != clip], np.broadcast_to(mean, x[0].shape)[hidden != clip]
        )
        first, last = np.flatnonzero(is_hidden)[[0, -1]] if is_hidden.any() else (0, -1)
        counts.add(int(is_hidden.sum()))
        assert last - first + 1 == is_hidden.sum()
    assert counts == set(range(most + 1))


@pytest.mark.parametrize("size", [16, 28])
def test_images_are_moved_whole(augmentation, size):
    x = np.random.default_rng(0).normal(size=(100, size, size))
    most = {16: 1, 28: 2}[size]
    seen = set()
    for image, moved in zip(x, augmentation.moved_image(x, np.random.default_rng(1)), strict=True):
        found = [
            (rows, columns)
            for rows in range(-most, most + 1)
            for columns in range(-most, most + 1)
            if np.array_equal(
                np.roll(image, (rows, columns), (0, 1))[most:-most, most:-most],
                moved[most:-most, most:-most],
            )
        ]
        seen.update(found)
        assert len(found) == 1
    assert len(seen) == (2 * most + 1) ** 2


@pytest.mark.parametrize("name", ["worn_elsewhere", "varied_speech", "moved_image"])
def test_a_seed_gives_the_same_again(augmentation, name):
    x = np.random.default_rng(0).normal(size=(5, 30, 45)).astype(np.float32)
    make = getattr(augmentation, name)
    first, again, other = (make(x, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
