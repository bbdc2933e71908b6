"""What users pass, odd or wrong: NumPy's values are as good as Python's, the rest gets one line."""

import gc
import math
import os
import pathlib
import re
import warnings
from functools import partial

import numpy as np
import pytest
import tensorflow as tf
from small_models import needs_tflm, sequences, sequential

from keras_fastgrnn import FastGRNN, edgeml, export, keras
from keras_fastgrnn.export.tflm.process import TFLMProcess
from keras_fastgrnn.keras_api import checked_boolean, checked_path, checked_verbose
from keras_fastgrnn.quantization import quantize_aware
from keras_fastgrnn.quantization.aware_layers import Options, options_of


@pytest.fixture(scope="module")
def model():
    return sequential(FastGRNN(3), keras.layers.Dense(2))


@pytest.fixture(scope="module")
def exported(model):
    return {
        "tflm": export.convert(model, sequences(), name="gesture"),
        "c": export.convert_c(model, sequences(), name="gesture"),
    }


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def in_one_line(error, argument) -> bool:
    return bool(
        re.fullmatch(rf"Received an invalid value for argument {argument}, .*\.", str(error))
    )


# Paths

NO_PATHS = [None, 3, True, math.nan, [], {}, "a\0b", b"a\0b", ["out"], np.array("out")]


@pytest.mark.parametrize("value", NO_PATHS, ids=repr)
@pytest.mark.parametrize("kind", ["tflm", "c"])
def test_what_is_no_path_is_refused_and_nothing_written(value, kind, exported):
    with pytest.raises(ValueError) as error:
        exported[kind].save(value)
    assert in_one_line(error.value, "folder")
    assert os.listdir() == []


@pytest.mark.parametrize("value", ["out", b"out", pathlib.Path("out"), np.str_("out"), "./out/"])
@pytest.mark.parametrize("kind", ["tflm", "c"])
def test_every_kind_of_path_is_taken(value, kind, exported):
    paths = exported[kind].save(value)
    assert os.listdir() == ["out"]
    assert all(path.is_file() for path in paths)


@pytest.mark.parametrize("value", NO_PATHS, ids=repr)
def test_other_arguments_that_are_paths_are_checked_alike(value):
    with pytest.raises(ValueError) as error:
        checked_path("checkpoint", value, "the path of a folder")
    assert in_one_line(error.value, "checkpoint")
    with pytest.raises(ValueError) as error:
        edgeml.load(value, "tanh", "sigmoid")
    assert in_one_line(error.value, "folder")


# Booleans

NO_BOOLEANS = [None, 1, 0, "yes", "", np.int64(1), np.array(True), np.array([True, False]), 1.0]


@pytest.mark.parametrize("value", NO_BOOLEANS, ids=repr)
def test_what_is_no_boolean_is_refused(value, model, exported):
    calls = {
        "overwrite": [partial(e.save, "out", overwrite=value) for e in exported.values()],
        "power_of_two_weights": [
            lambda: export.convert(model, sequences(), power_of_two_weights=value),
            lambda: export.convert_c(model, sequences(), power_of_two_weights=value),
            lambda: quantize_aware(model, power_of_two_weights=value),
        ],
        "byte_biases": [lambda: quantize_aware(model, byte_biases=value)],
        "preserve_zeros": [lambda: quantize_aware(model, preserve_zeros=value)],
        "it": [lambda: checked_boolean("it", value)],
    }
    for argument, functions in calls.items():
        for function in functions:
            with pytest.raises(ValueError) as error:
                function()
            assert in_one_line(error.value, argument)
    assert os.listdir() == []


def test_booleans_and_integers_of_numpy_are_as_good(model, exported):
    exported["c"].save("out")
    exported["c"].save("out", overwrite=np.True_)
    of_numpy = export.convert(model, sequences(), power_of_two_weights=np.True_)
    of_python = export.convert(model, sequences(), power_of_two_weights=True)
    assert of_numpy.tflite == of_python.tflite
    options = {"power_of_two_weights": np.True_, "preserve_zeros": np.False_}
    aware = quantize_aware(model, weight_bits=np.int64(4), byte_biases=np.True_, **options)
    aware.save("aware.keras")
    loaded = keras.models.load_model("aware.keras")
    expected = Options(
        "int16x8", 4, power_of_two_weights=True, byte_biases=True, preserve_zeros=False
    )
    assert options_of(loaded.layers[1]) == options_of(aware.layers[1]) == expected
    assert FastGRNN(3, seed=np.int64(7)).get_config()["seed"] == 7


@pytest.mark.parametrize("value", [None, 0, 1, False, True, np.False_, np.int8(0)], ids=repr)
def test_progress_is_shown_or_not(value, exported):
    assert exported["tflm"].predict(sequences(1), on="reference", verbose=value).shape == (1, 2)
    assert value is None or checked_verbose(value) == int(value)


@pytest.mark.parametrize("value", ["auto", 2, -1, 0.5, "", np.array([0, 1])], ids=repr)
def test_progress_that_is_neither_is_refused(value, exported):
    with pytest.raises(ValueError) as error:
        exported["tflm"].predict(sequences(1), verbose=value)
    assert in_one_line(error.value, "verbose")


# Arrays

X = sequences()
SAME = {
    "big-endian": X.astype(">f4"),
    "double": X.astype(np.float64),
    "long double": X.astype(np.longdouble),
    "Fortran's order": np.asfortranarray(X),
    "reversed twice": X[::-1, ::-1].copy()[::-1, ::-1],
    "list": X.tolist(),
    "tensor": tf.constant(X),
    "read-only": np.frombuffer(X.tobytes(), np.float32).reshape(X.shape),
    "masked nowhere": np.ma.masked_array(X, mask=False),
    "memory": memoryview(np.ascontiguousarray(X)),
}
FEW = {
    "half": np.round(X).astype(np.float16),
    "bytes": np.abs(np.round(X)).astype(np.uint8),
    "booleans": X > 0,
    "big-endian integers": np.round(X).astype(">i8"),
}
NO_ARRAYS = {
    "none": None,
    "masked": np.ma.masked_array(X, mask=X > 1),
    "complex": X.astype(complex),
    "objects": X.astype(object),
    "text": X.astype(str),
    "times": X.astype("datetime64[s]"),
    "empty": X[:0],
    "no steps": X[:, :0],
    "number": 3,
    "array of no dimension": np.array(3.0),
    "one sequence": X[0],
    "word": "abc",
    "dictionary": {"x": X},
    "not a number": np.where(X > 1, np.nan, X),
    "beyond float32": X.astype(np.float64) * 1e300,
    "beyond everything": [[[10**400] * 3] * 12],
    "records": np.zeros((16, 12, 3), [("a", "f4")]),
}


@pytest.mark.parametrize("kind", [*SAME, *FEW])
def test_array_of_every_kind_is_the_same_array(kind, model, exported):
    x = SAME.get(kind, FEW.get(kind))
    plain = np.array(X if kind in SAME else x, np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", export.SaturationWarning)
        for deployed in exported.values():
            answers, expected = (deployed.predict(v, on="reference") for v in (x, plain))
            np.testing.assert_array_equal(answers, expected)


@pytest.mark.parametrize("kind", NO_ARRAYS)
def test_what_is_no_array_of_sequences_is_refused_in_one_line(kind, model, exported):
    calls = {
        "x": [partial(deployed.predict, NO_ARRAYS[kind]) for deployed in exported.values()],
        "calibration_data": [
            lambda: export.convert(model, NO_ARRAYS[kind]),
            lambda: export.convert_c(model, NO_ARRAYS[kind]),
        ],
    }
    for argument, functions in calls.items():
        for function in functions:
            with pytest.raises(ValueError) as error:
                function()
            assert in_one_line(error.value, argument)


# Silence


@pytest.mark.filterwarnings("ignore::keras_fastgrnn.export.SaturationWarning")
@pytest.mark.parametrize("factor", [1e-45, 1e37, 3e38])
def test_data_of_any_size_is_run_without_a_warning_of_numpy(factor, exported):
    x = np.clip(X.astype(np.float64) * factor, -3e38, 3e38)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        for deployed in exported.values():
            assert np.isfinite(deployed.predict(x, on="reference")).all()


@needs_tflm
@pytest.mark.parametrize("is_closed", [False, True])
def test_what_is_open_is_closed_in_silence(is_closed, model, exported):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        process = TFLMProcess()
        process.load(exported["tflm"].tflite)
        number = process._process.pid
        if is_closed:
            process.close()
            process.load(exported["tflm"].tflite)
        plain = export.convert_c(model, X)
        plain.predict(X)
        del process, plain
        gc.collect()
    assert [w for w in caught if issubclass(w.category, ResourceWarning)] == []
    assert not pathlib.Path(f"/proc/{number}").exists()
