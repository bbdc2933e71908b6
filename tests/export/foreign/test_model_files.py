"""Saved models as files: links, bombs and damage are refused in one line before Keras sees them."""

import functools
import io
import json
import tracemalloc
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from small_models import sequential

from keras_fastgrnn import FastGRNN
from keras_fastgrnn.export.foreign.load_keras import load_model

pytestmark = pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")

ENDINGS = ["keras", "h5"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@functools.cache
def saved(ending) -> bytes:
    sequential(FastGRNN(2)).save(f"whole.{ending}")
    return Path(f"whole.{ending}").read_bytes()


def rewritten_archive(edit, compression=zipfile.ZIP_STORED):
    """Saves a model, and changes the files of its archive."""
    with zipfile.ZipFile(io.BytesIO(saved("keras"))) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    edit(members)
    with zipfile.ZipFile("model.keras", "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def rewritten_weights(edit, ending):
    """Saves a model, and changes the HDF5 file of its weights."""
    if ending == "h5":
        Path("model.h5").write_bytes(saved("h5"))
        with h5py.File("model.h5", "r+") as file:
            edit(file)
        return

    def in_archive(members):
        content = io.BytesIO(members["model.weights.h5"])
        with h5py.File(content, "r+") as file:
            edit(file)
        members["model.weights.h5"] = content.getvalue()

    rewritten_archive(in_archive)


def arrays(group) -> list[str]:
    names = []
    group.visititems(lambda name, item: names.append(name) if hasattr(item, "shape") else None)
    return names


def replaced(file, make):
    """Puts something else in the place of the first array of weights."""
    name = arrays(file)[0]
    before = file[name][()]
    del file[name]
    make(file, name, before)


def external_link(file, name, _):
    file[name] = h5py.ExternalLink("other.h5", "secret")


def soft_link(file, name, _):
    file[name] = h5py.SoftLink("/somewhere")


def virtual(file, name, before):
    layout = h5py.VirtualLayout(before.shape, before.dtype)
    layout[...] = h5py.VirtualSource("other.h5", "secret", before.shape)
    file.create_virtual_dataset(name, layout)


def external_values(file, name, before):
    external = [("other.bin", 0, before.nbytes)]
    file.create_dataset(name, before.shape, before.dtype, external=external)


def claimed(file, name, _):
    """Space that no byte of the file is spent on."""
    file.create_dataset(name, (1 << 20, 1 << 14), np.float32, chunks=(64, 64))


def bomb(file, name, _):
    file.create_dataset(name, data=np.zeros((1 << 11, 1 << 13), np.float32), compression="gzip")


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (external_link, "has a link in the place of"),
        (soft_link, "has a link in the place of"),
        (virtual, "to other files"),
        (external_values, "to other files"),
        (claimed, "claims 68,7"),
        (bomb, "claims 67,1"),
    ],
)
def test_weights_lead_to_no_other_file_and_to_no_more_bytes(make, message, ending):
    with h5py.File("other.h5", "w") as file:
        file["secret"] = np.full((3, 2), 42.0, np.float32)
    Path("other.bin").write_bytes(bytes(1000))
    rewritten_weights(lambda file: replaced(file, make), ending)
    assert message in refused(ending)


def refused(ending) -> str:
    tracemalloc.start()
    with pytest.raises(ValueError, match=rf"^model\.{ending} ") as caught:
        load_model(f"model.{ending}")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 50e6
    assert "\n" not in str(caught.value)
    return str(caught.value)


def put(name, content):
    return lambda members: members.update({name: content})


@pytest.mark.parametrize(
    ("edit", "compression", "message"),
    [
        (put("config.json", b" " * (1 << 26)), zipfile.ZIP_DEFLATED, "67,108,864 bytes as config"),
        (put("model.weights.h5", bytes(1 << 26)), zipfile.ZIP_DEFLATED, "as model.weights.h5"),
        (put("config.json", b'{"a":' * 100_000), zipfile.ZIP_STORED, "nested too deeply"),
        (put("config.json", b'{"a":' * 500 + b"1" + b"}" * 500), zipfile.ZIP_STORED, "too deeply"),
        (put("config.json", b"[1]"), zipfile.ZIP_STORED, "no JSON object"),
        (put("config.json", b"{"), zipfile.ZIP_STORED, "no JSON"),
        (put("config.json", b"\xff"), zipfile.ZIP_STORED, "no JSON"),
        (put("../evil", b""), zipfile.ZIP_STORED, "an archive of 4 files"),
        (put("assets/vocabulary.txt", b""), zipfile.ZIP_STORED, "an archive of 4 files"),
        (lambda members: members.pop("config.json"), zipfile.ZIP_STORED, "archive of 2 files"),
        (put("model.weights.h5", b"none"), zipfile.ZIP_STORED, "cannot be loaded as a model"),
    ],
    ids=range(11),
)
def test_archive_that_is_no_model_is_refused(edit, compression, message):
    rewritten_archive(edit, compression)
    assert message in refused("keras")


def test_name_that_is_there_twice_is_refused():
    rewritten_archive(lambda members: None)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile("model.keras", "a") as file:
        file.writestr("config.json", "{}")
    assert "archive of 4 files" in refused("keras")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "holds weights without a model"),
        (np.arange(3), "holds no text"),
        ("{" * 50_000, "no JSON"),
        ('{"a":' * 10_000, "nested too deeply"),
    ],
    ids=range(4),
)
def test_hdf5_file_that_is_no_model_is_refused(value, message):
    def edit(file):
        del file.attrs["model_config"]
        if value is not None:
            file.attrs["model_config"] = value

    rewritten_weights(edit, "h5")
    assert message in refused("h5")


def test_weights_alone_are_told_what_to_do():
    sequential(FastGRNN(2)).save_weights("model.weights.h5")
    Path("model.weights.h5").rename("model.h5")
    assert "model.save('model.keras')" in refused("h5")


def test_groups_that_hold_each_other_end():
    def edit(file):
        file["loop"] = file["/"]

    rewritten_weights(edit, "h5")
    assert load_model("model.h5").count_params() > 0


@pytest.mark.parametrize("ending", ENDINGS)
def test_models_compressed_by_others_load(ending):
    if ending == "keras":
        rewritten_archive(lambda members: None, zipfile.ZIP_DEFLATED)
    else:

        def compressed(file, name, before):
            file.create_dataset(name, data=before, compression="gzip")

        rewritten_weights(lambda file: replaced(file, compressed), "h5")
    assert load_model(f"model.{ending}").count_params() > 0


@pytest.mark.parametrize("ending", ENDINGS)
def test_damaged_models_are_loaded_or_refused_in_one_line(ending):
    rng, data, refusals = np.random.default_rng(0), saved(ending), 0
    for number in range(60):
        damaged = np.frombuffer(data, np.uint8).copy()
        if number % 3:
            places = rng.integers(0, len(damaged), rng.integers(1, 50))
            damaged[places] = rng.integers(0, 256, len(places))
        else:
            damaged = damaged[: rng.integers(len(damaged))]
        Path(f"model.{ending}").write_bytes(damaged.tobytes())
        try:
            load_model(f"model.{ending}")
        except (ValueError, OSError) as error:
            assert len(str(error).splitlines()) == 1 or "cannot be exported" in str(error)
            refusals += 1
    assert refusals > 20


def test_json_of_keras_is_what_is_read():
    """Two names in one object: Keras and this reader take the same, the last."""
    config = zipfile.ZipFile(io.BytesIO(saved("keras"))).read("config.json").decode()
    twice = json.dumps("Lambda") + ', "class_name": ' + json.dumps("Sequential")
    changed = config.replace('"class_name": "Sequential"', f'"class_name": {twice}', 1)
    rewritten_archive(put("config.json", changed))
    assert load_model("model.keras").count_params() > 0
