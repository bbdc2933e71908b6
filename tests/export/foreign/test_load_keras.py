"""Saved models: what can be exported loads as Keras loads it, and no code from a file runs."""

import base64
import functools
import json
import marshal
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import tensorflow as tf
from small_models import sequences, sequential

from keras_fastgrnn import FastGRNN, FastRNN, keras
from keras_fastgrnn.cells import FastGRNNCell
from keras_fastgrnn.errors import UnsupportedLayerError
from keras_fastgrnn.export.foreign.known_classes import refuse_unknown
from keras_fastgrnn.export.foreign.load_keras import load_model
from keras_fastgrnn.keras_api import IS_TF_KERAS
from keras_fastgrnn.quantization import quantize_aware

pytestmark = [
    pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file"),
    pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`"),
]

ENDINGS = ["keras", "h5"]
MARKER = Path("ran")


def mark(x=None, *_, **__):
    """What code from a file would do here; Keras runs it once when the model is made."""
    MARKER.write_text("ran")
    return x


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


# What loads


def many_layers():
    layers = keras.layers
    return sequential(
        layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[1.0, 4.0, 9.0]),
        layers.Rescaling(0.5, offset=1.0),
        FastGRNN(4, return_sequences=True, activation="quant_tanh"),
        FastRNN(3, return_sequences=True, recurrent_rank=2),
        layers.RNN([FastGRNNCell(3), layers.GRUCell(4)], return_sequences=True),
        layers.SimpleRNN(3, return_sequences=True, activation=keras.activations.relu),
        layers.GRU(3, return_sequences=True, kernel_regularizer="l2", dtype="float32"),
        layers.Dropout(0.1),
        layers.LSTM(3, kernel_constraint=keras.constraints.MaxNorm(2.0)),
        layers.Dense(2, activation="softmax", bias_initializer=keras.initializers.Constant(0.1)),
    )


def functional():
    source = keras.layers.Input((12, 3))
    return keras.Model(source, keras.layers.Dense(2)(keras.layers.GRU(3)(source)))


def aware():
    return quantize_aware(
        sequential(FastGRNN(3), keras.layers.Dense(2)), calibration_data=sequences()
    )


def compiled():
    """A loss of the user's own is in the file, and is not needed."""
    model = sequential(FastGRNN(3), keras.layers.Dense(1))
    model.compile("adam", lambda truth, answer: tf.reduce_mean(truth - answer))
    return model


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("make", [many_layers, functional, aware, compiled])
def test_models_that_can_be_exported_load_with_their_weights(make, ending):
    model = make()
    model.save(f"model.{ending}")
    loaded = load_model(f"model.{ending}")
    assert [*map(type, loaded.layers)] == [*map(type, model.layers)]
    for weight, expected in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)


# Code in a file


def with_lambda():
    return sequential(keras.layers.Lambda(mark), FastGRNN(2))


def with_lambda_of_bytes():
    """A `lambda`, whose code Keras saves in the file, marshaled."""
    return sequential(
        keras.layers.Lambda(lambda x: (__import__("pathlib").Path("ran").touch(), x)[1]),
        FastGRNN(2),
    )


def with_nested_lambda():
    return sequential(sequential(keras.layers.Lambda(mark)), FastGRNN(2))


def with_wrapped_lambda():
    return sequential(keras.layers.TimeDistributed(keras.layers.Lambda(mark)), FastGRNN(2))


def with_operation():
    """tf_keras makes a TFOpLambda of it, which looks its function up by the name in the file."""
    source = keras.layers.Input((12, 3))
    return keras.Model(source, FastGRNN(2)(source * 2.0 + 1.0))


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    ("make", "named"),
    [
        (with_lambda, "Lambda"),
        (with_lambda_of_bytes, "Lambda"),
        (with_nested_lambda, "Lambda"),
        (with_wrapped_lambda, "Lambda"),
    ],
)
def test_code_in_a_model_is_named_and_not_run(make, named, ending):
    make().save(f"evil.{ending}")
    MARKER.unlink(missing_ok=True)
    with pytest.raises(UnsupportedLayerError, match=named):
        load_model(f"evil.{ending}")
    assert not MARKER.exists()


@pytest.mark.parametrize("ending", ENDINGS)
def test_operations_are_loaded_where_keras_loads_them(ending):
    model = with_operation()
    model.save(f"operation.{ending}")
    if not IS_TF_KERAS:
        with pytest.raises(ValueError, match="Multiply|Only input tensors may be passed"):
            load_model(f"operation.{ending}")
        return
    x = np.random.default_rng(0).normal(size=(4, 12, 3)).astype("float32")
    loaded = load_model(f"operation.{ending}")
    np.testing.assert_array_equal(loaded(x), model(x))


@pytest.mark.parametrize("function", ["io.write_file", "math.multiply.__globals__", None, 3])
def test_layer_that_calls_another_function_by_its_name_is_refused(function):
    config = {"name": "evil", "function": function}
    layer = {"class_name": "TFOpLambda", "config": config, "name": "evil"}
    with pytest.raises(UnsupportedLayerError, match="evil .TFOpLambda.: there is no exporter"):
        refuse_unknown({"class_name": "Functional", "config": {"layers": [layer]}})


@functools.cache
def saved(ending) -> bytes:
    inner = sequential(FastGRNN(2, return_sequences=True))
    head = keras.layers.Dense(2, kernel_regularizer="l2")
    path = Path(f"model.{ending}")
    sequential(inner, FastGRNN(2), head).save(path)
    return path.read_bytes()


def rewritten(edit, ending):
    """Saves a model, and changes what its configuration says."""
    Path(f"evil.{ending}").write_bytes(saved(ending))
    if ending == "h5":
        with h5py.File("evil.h5", "r+") as file:
            config = json.loads(file.attrs["model_config"])
            edit(config)
            file.attrs["model_config"] = json.dumps(config)
        return
    with zipfile.ZipFile("evil.keras") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    edit(config)
    write_archive({**members, "config.json": json.dumps(config)})


def write_archive(members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile("evil.keras", "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def marshaled(function):
    code = base64.b64encode(marshal.dumps(function.__code__)).decode()
    return {"value": [code, None, None]}


def module_that_marks(name):
    """A module that marks when it is imported, as any module on the path could."""
    Path(f"{name}.py").write_text(
        "import pathlib\npathlib.Path('ran').write_text('ran')\nZeros = 1"
    )
    return name


def entry(name, config, **more):
    return {"class_name": name, "config": config, "registered_name": None, **more}


ENTRIES = {
    "marshaled code": lambda: entry("__lambda__", marshaled(mark)),
    "class of any module": lambda: entry("Zeros", {}, module=module_that_marks("of_user")),
    "function of any module": lambda: entry("function", "linear", module=module_that_marks("mine")),
    "module named like Keras": lambda: entry("Zeros", {}, module=module_that_marks("keras_")),
    "command": lambda: entry("function", "system", module="os"),
    "process": lambda: entry("Popen", {"args": ["touch", "ran"]}, module="subprocess"),
    "download": lambda: entry("get_file", {"origin": "file:///x"}, module="keras.utils"),
    "function of Keras": lambda: entry("function", "load_model", module="keras.models"),
    "registered name": lambda: {**entry("Zeros", {}), "registered_name": "os>system"},
    "type": lambda: entry(
        "__typespec__", [], spec_name="Zeros", module=module_that_marks("types_")
    ),
    "no name": lambda: entry(["Zeros"], {}),
    "no module": lambda: entry("Zeros", {}, module=["os"]),
    "function without a name": lambda: entry("function", {"config": "linear"}, module="builtins"),
    "operation": lambda: entry("TFOpLambda", {"name": "f", "function": "io.write_file"}),
    "saved model": lambda: entry("TFSMLayer", {"filepath": "folder"}, module="keras.layers"),
}


def places(config, value):
    """Where a configuration may name something: each on its own."""
    layers = config["config"]["layers"]
    nested = layers[1]["config"]["layers"]
    return {
        "initializer": (layers[2]["config"], "kernel_initializer", value),
        "activation": (layers[3]["config"], "activation", value),
        "data type": (layers[3]["config"], "dtype", value),
        "nested": (nested[1]["config"], "kernel_initializer", value),
        "in a list": (layers[3]["config"], "kernel_regularizer", [{"l2": [value]}]),
        "layer": (layers, 2, value),
        "build": (layers[2], "build_config", {"input_shape": value}),
        "compilation of a part": (layers[1], "compile_config", {"loss": value}),
        "in what is known": (layers[3]["config"]["kernel_regularizer"]["config"], "l2", value),
    }


PLACE_NAMES = [
    *("initializer", "activation", "data type", "nested", "in a list", "layer", "build"),
    *("compilation of a part", "in what is known"),
]


def refused(ending):
    MARKER.unlink(missing_ok=True)
    with pytest.raises(UnsupportedLayerError) as caught:
        load_model(f"evil.{ending}")
    assert not MARKER.exists()
    assert len(str(caught.value).splitlines()) < 30
    return str(caught.value)


def put(place, value, config):
    container, key, content = places(config, value)[place]
    container[key] = content


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("what", ENTRIES)
def test_what_is_not_known_is_refused_before_it_is_looked_up(what, ending, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(tmp_path)
    rewritten(functools.partial(put, "initializer", ENTRIES[what]()), ending)
    assert "kernel_initializer" in refused(ending)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("place", PLACE_NAMES)
def test_what_is_not_known_is_found_wherever_it_is(place, ending, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(tmp_path)
    rewritten(functools.partial(put, place, ENTRIES["class of any module"]()), ending)
    refused(ending)


def test_everything_wrong_is_told_at_once_and_fit_for_a_terminal():
    def edit(config):
        layers = config["config"]["layers"]
        layers[2]["config"]["name"] = "a\x1b[2J\n" + 500 * "b"
        put("initializer", entry("Evil\x07", {}), config)
        layers += [entry("ZeroPadding1D", {"name": f"conv_{i}"}) for i in range(1000)]
        layers.append(entry("Bidirectional", {"name": "both_ways"}))

    rewritten(edit, "h5")
    text = refused("h5")
    assert "a?[2J?bbb" in text and "its kernel_initializer is Evil?" in text
    assert "there is no exporter for this layer" in text  # as without what is not known
    assert text.isascii() and "and 982 more." in text


@pytest.mark.parametrize("ending", ENDINGS)
def test_module_of_the_whole_model_is_not_imported(ending, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(tmp_path)
    rewritten(lambda config: config.update(module=module_that_marks("of_all")), ending)
    refused(ending)


def test_model_of_an_own_class_is_named():
    rewritten(lambda config: config.update(class_name="Mine"), "h5")
    assert "the whole model: it is a Mine" in refused("h5")
