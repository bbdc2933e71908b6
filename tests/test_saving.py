"""Cloning, and what is written to files and read again, here and in a process of its own."""

import numpy as np
import pytest
import twin_model

from keras_fastgrnn import FastGRNN, FastGRNNCell, FastRNN, FastRNNCell, keras
from keras_fastgrnn.keras_api import FLAVOR, IS_TF_KERAS
from keras_fastgrnn.quantization import quantize_aware

THIS_FLAVOR = {"TF_USE_LEGACY_KERAS": "1"} if IS_TF_KERAS else {}
OTHER_FLAVOR = {} if IS_TF_KERAS else {"TF_USE_LEGACY_KERAS": "1"}

# The same operations on the same float32 numbers; another process may split them otherwise.
CLOSE = {"rtol": 0.0, "atol": 1e-6}


@pytest.fixture
def run_twin(run_python, tmp_path):
    """Runs `twin_model.py` in a process of its own; returns its weights and its output."""

    def run(what, file, environment):
        output = tmp_path / "output.npz"
        flavor = run_python(twin_model.__file__, what, file, output, **environment).strip()
        assert (flavor == FLAVOR) == (environment == THIS_FLAVOR)
        arrays = dict(np.load(output))
        y = arrays.pop("y")
        return [arrays[name] for name in sorted(arrays)], y

    return run


def assert_same_weights(found, expected):
    for array, value in zip(found, expected, strict=True):
        np.testing.assert_array_equal(array, value)


@pytest.fixture(scope="module")
def model():
    return twin_model.build_drawn()


@pytest.fixture(scope="module")
def y(model):
    return np.asarray(model(twin_model.inputs()))


def test_the_model_of_these_tests_has_every_weight_drawn(model, y):
    weights = model.get_weights()
    # 8 + 2 * 6 (both ways) + 6 + 6 (stacked) + 4 (no bias) + 2 (dense).
    assert len(weights) == 38
    assert len({w.ravel()[0] for w in weights}) == 38
    assert np.ptp(y, axis=0).min() > 0.01


def test_clone_has_the_configuration_and_weights_of_its_own(model, y):
    clone = keras.models.clone_model(model)
    for layer, copy in zip(model.layers, clone.layers, strict=True):
        assert type(copy) is type(layer)
        assert copy.get_config() == layer.get_config()
    assert not np.array_equal(clone.get_weights()[0], model.get_weights()[0])
    clone.set_weights(model.get_weights())
    np.testing.assert_array_equal(clone(twin_model.inputs()), y)


def test_configuration_of_the_model_makes_the_same_model(model, y):
    copy = keras.models.model_from_json(model.to_json())
    copy.set_weights(model.get_weights())
    np.testing.assert_array_equal(copy(twin_model.inputs()), y)


@pytest.mark.parametrize("layer", [FastGRNN, FastRNN])
def test_optimizer_goes_on_after_loading(layer, tmp_path):
    rng = np.random.default_rng(0)
    x, target = rng.normal(size=(8, 5, 4)), rng.normal(size=(8, 6))
    first = keras.Sequential([keras.layers.Input((5, 4)), layer(6, kernel_rank=2)])
    first.compile("adam", "mse")
    first.fit(x, target, batch_size=8, epochs=2, verbose=0)
    first.save(tmp_path / "model.keras")
    second = keras.models.load_model(tmp_path / "model.keras")
    assert_same_weights(second.get_weights(), first.get_weights())
    for model in (first, second):
        model.fit(x, target, batch_size=8, epochs=2, verbose=0)
    for found, expected in zip(second.get_weights(), first.get_weights(), strict=True):
        # Threads add gradients in any order; without its moments Adam would be 1e-3 off.
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_archive_loads_in_a_process_of_its_own_without_custom_objects(model, y, run_twin, tmp_path):
    model.save(tmp_path / "model.keras")
    weights, output = run_twin("archive", tmp_path / "model.keras", THIS_FLAVOR)
    assert_same_weights(weights, model.get_weights())
    np.testing.assert_allclose(output, y, **CLOSE)


@pytest.mark.parametrize("is_quantize_aware", [False, True])
def test_h5_loads_in_a_process_of_its_own_without_custom_objects(
    is_quantize_aware, run_twin, tmp_path
):
    cells = [FastGRNNCell(5, "quant_tanh", "quant_sigmoid"), FastRNNCell(6, kernel_rank=2)]
    inputs = keras.layers.Input((twin_model.STEPS, twin_model.INPUT_DIM))
    recurrent = FastGRNN(6, "quant_tanh", return_sequences=True), keras.layers.RNN(cells)
    model = keras.Sequential([inputs, *recurrent, keras.layers.Dense(3)])
    if is_quantize_aware:
        model = quantize_aware(model, calibration_data=twin_model.inputs())
    model.save(tmp_path / "model.h5")
    weights, output = run_twin("archive", tmp_path / "model.h5", THIS_FLAVOR)
    assert_same_weights(weights, model.get_weights())
    np.testing.assert_allclose(output, model(twin_model.inputs()), **CLOSE)


def test_weights_load_into_a_new_model(model, y, tmp_path):
    model.save_weights(tmp_path / "model.weights.h5")
    twin = twin_model.build()
    twin.load_weights(tmp_path / "model.weights.h5")
    assert_same_weights(twin.get_weights(), model.get_weights())
    np.testing.assert_array_equal(twin(twin_model.inputs()), y)


def test_weights_load_into_the_twin_of_the_other_flavor(model, y, run_twin, tmp_path):
    model.save_weights(tmp_path / "model.weights.h5")
    weights, output = run_twin("weights", tmp_path / "model.weights.h5", OTHER_FLAVOR)
    assert_same_weights(weights, model.get_weights())
    np.testing.assert_allclose(output, y, **CLOSE)


def test_weights_that_the_other_flavor_saved_load_here(run_twin, tmp_path):
    weights, output = run_twin("save", tmp_path / "model.weights.h5", OTHER_FLAVOR)
    twin = twin_model.build()
    twin.load_weights(tmp_path / "model.weights.h5")
    assert_same_weights(twin.get_weights(), weights)
    np.testing.assert_allclose(twin(twin_model.inputs()), output, **CLOSE)
