"""The file that a stopped training leaves."""

import numpy as np
import pytest

from keras_fastgrnn.recipe.training_state import TrainingState, digest

SETTINGS = {"epochs": [2, 2], "seed": 7, "weights": [(3, 4), ()]}
TEXT = {"stage": "dense", "histories": {"dense": {"loss": [0.1, float("nan")]}}}
ARRAYS = {"a": np.arange(5, dtype="uint32"), "b": np.array(0.1, "float32"), "c": np.zeros((0, 2))}


def test_what_is_written_is_read_again(tmp_path):
    folder = tmp_path / "a" / "b"
    TrainingState(folder, SETTINGS).write({"stage": "none"}, {})
    TrainingState(folder, SETTINGS).write(TEXT, ARRAYS)
    text, arrays = TrainingState(folder, SETTINGS).read()
    assert text["stage"] == "dense"
    np.testing.assert_array_equal(text["histories"]["dense"]["loss"], [0.1, np.nan])
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array, strict=True)
    assert [file.name for file in folder.iterdir()] == ["training.npz"]


def test_folder_without_a_file_gives_nothing(tmp_path):
    assert TrainingState(tmp_path / "none", SETTINGS).read() == ({}, {})
    assert not (tmp_path / "none").exists()


def test_without_a_folder_nothing_is_kept():
    state = TrainingState(None, SETTINGS)
    state.write(TEXT, ARRAYS)
    assert state.read() == ({}, {})


def test_file_that_is_written_when_the_process_stops_leaves_the_last_one(tmp_path, monkeypatch):
    state = TrainingState(tmp_path, SETTINGS)
    state.write(TEXT, ARRAYS)

    def stop(*args, **kwargs):
        args[0].write(b"half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", stop)
    with pytest.raises(KeyboardInterrupt):
        state.write({"stage": "frozen"}, {})
    assert state.read()[0]["stage"] == "dense"


@pytest.mark.parametrize(
    ("name", "value"), [("epochs", [2, 3]), ("seed", 8), ("weights", [(3, 4), (1,)]), ("new", 1)]
)
def test_other_settings_are_refused_by_name(tmp_path, name, value):
    TrainingState(tmp_path, SETTINGS).write(TEXT, ARRAYS)
    with pytest.raises(ValueError) as error:
        TrainingState(tmp_path, {**SETTINGS, name: value}).read()
    assert f"checkpoint, expected one of a training with {name} " in str(error.value)
    assert str(error.value).endswith(". Name another folder to start again.")


def test_setting_that_is_not_asked_for_may_be_any(tmp_path):
    TrainingState(tmp_path, SETTINGS).write(TEXT, ARRAYS)
    text, _ = TrainingState(tmp_path, {"epochs": [2, 2]}).read()
    assert text["stage"] == "dense"


@pytest.mark.parametrize("damage", [lambda b: b[:-30], lambda b: b"", lambda b: b"no archive"])
def test_damaged_file_is_refused(tmp_path, damage):
    TrainingState(tmp_path, SETTINGS).write(TEXT, ARRAYS)
    file = tmp_path / "training.npz"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(ValueError, match="checkpoint of fit_lsq in .*training.npz, got 'a damaged"):
        TrainingState(tmp_path, SETTINGS).read()


def test_archive_of_something_else_is_refused(tmp_path):
    np.savez(tmp_path / "training.npz", x=np.zeros(3))
    with pytest.raises(ValueError, match="got 'a damaged file'"):
        TrainingState(tmp_path, SETTINGS).read()


def test_digest_tells_contents_shapes_and_types_apart():
    arrays = [
        (np.arange(6.0),),
        (np.arange(6.0).reshape(2, 3),),
        (np.arange(6.0).reshape(3, 2),),
        (np.arange(6.0, dtype="float32"),),
        (np.arange(3.0), np.arange(3.0, 6.0)),
        (np.arange(6.0)[::-1],),
    ]
    assert len({digest(*one) for one in arrays}) == len(arrays)
    assert digest(np.arange(12.0)[::2]) == digest(np.arange(12.0)[::2].copy())
