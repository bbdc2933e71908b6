"""The paper's stages in one call."""

import numpy as np
import pytest
import tensorflow as tf
from small_models import sequential

from keras_fastgrnn import FastGRNN, FastGRNNCell, FastRNN, export, keras, recipe
from keras_fastgrnn.models import fast_cells

# Of so few validation sequences one alone is more than a point.
pytestmark = pytest.mark.filterwarnings("ignore::keras_fastgrnn.recipe.TrainingWarning")

LAYERS = keras.layers
STEPS, CHANNELS, UNITS = 8, 3, 8
STAGES = ["dense", "pruned", "frozen", "quantized"]


def labeled(count, seed):
    x = np.random.default_rng(seed).normal(size=(count, STEPS, CHANNELS)).astype("float32")
    return x, (x[:, -2:, 0].sum(axis=1) > 0).astype(int)


X, Y = labeled(240, 0)
VALIDATION = labeled(60, 1)


def small_model(*layers, seed=0):
    layers = layers or (FastGRNN(UNITS), LAYERS.Dense(2))
    return sequential(*layers, steps=STEPS, channels=CHANNELS, seed=seed, spread=0.3)


def fit(model=None, data=(X, Y), **arguments):
    arguments = {
        "validation_data": VALIDATION,
        "kernel_sparsity": 0.75,
        "recurrent_sparsity": 0.5,
        "frequency": 2,
        "epochs": 9,
        "learning_rate": 0.03,
        "batch_size": 20,
        "quantization_epochs": 2,
        "seed": 3,
        "verbose": 0,
        **arguments,
    }
    return recipe.fit_lsq(model or small_model(), *data, **arguments)


def matrices(model):
    (cell,) = fast_cells(model)
    return [np.asarray(factor) for factor in (*cell.kernel_factors, *cell.recurrent_factors)]


def kept(model):
    return [int(np.count_nonzero(matrix)) for matrix in matrices(model)]


@pytest.fixture(scope="module")
def result():
    keras.utils.set_random_seed(0)
    return fit()


def test_stages_have_their_epochs(result):
    assert [stage.name for stage in result.stages] == STAGES
    assert [stage.epochs for stage in result.stages] == [3, 3, 3, 2]
    for stage in result.stages:
        assert set(stage.history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
        assert {len(values) for values in stage.history.values()} == {stage.epochs}


def test_weights_are_pruned_in_the_second_stage_and_stay_so(result):
    dense, pruned, frozen, quantized = (stage.model for stage in result.stages)
    whole = [CHANNELS * UNITS, UNITS * UNITS]
    assert kept(dense) == whole
    for model in (pruned, frozen, quantized):
        assert kept(model) == [whole[0] // 4, whole[1] // 2]
    for first, second in zip(matrices(frozen), matrices(quantized), strict=True):
        np.testing.assert_array_equal(first != 0, second != 0)
        assert np.any(first != second)


def accuracy_of(model):
    x, y = VALIDATION
    return np.mean(np.asarray(model(x)).argmax(axis=1) == y)


def test_each_stage_keeps_its_best_epoch(result):
    for stage in result.stages:
        assert stage.validation_accuracy == max(stage.history["val_accuracy"])
        assert accuracy_of(stage.model) == pytest.approx(stage.validation_accuracy)
    assert result.model is result.stages[-1].model
    assert accuracy_of(result.model) > 0.8


def test_result_is_exported_without_calibration_data(result):
    classes = export.convert(result.model).predict(VALIDATION[0], on="reference").argmax(axis=1)
    expected = np.asarray(result.model(VALIDATION[0])).argmax(axis=1)
    assert np.mean(classes == expected) > 0.95


@pytest.mark.parametrize("index", range(4), ids=STAGES)
def test_model_of_a_stage_is_saved_and_loaded(result, index, tmp_path):
    model = result.stages[index].model
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(VALIDATION[0]), model(VALIDATION[0]))


def test_training_step_may_be_compiled():
    result = fit(epochs=3, quantization=None, jit_compile=True)
    assert np.isfinite(result.stages[-1].history["loss"][0])


def test_result_prints_a_line_a_stage(result):
    lines = str(result).splitlines()
    assert [line.split()[0] for line in lines] == ["stage", *STAGES]
    # 6 + 32 of the cell and 16 of the head.
    assert lines[3].split()[5] == "54"


def test_progress_is_one_line_an_epoch_and_the_rate_is_that_of_the_paper(capsys):
    optimizers, seen = [], []

    def make(rate):
        optimizers.append(keras.optimizers.Adam(rate))
        return optimizers[-1]

    def rates():
        return [float(np.asarray(one.learning_rate)) for one in optimizers]

    def augmentation(x, rng):
        seen.append(rates())
        return x

    fit(optimizer=make, augmentation=augmentation, epochs=3, quantization_epochs=1, verbose=1)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [f"{stage} 1/1" for stage in STAGES]
    assert all("validation" in line and "in epoch 1)" in line for line in lines)
    # It rises for 0.6 of 3 epochs, and 2.4 are left to fall in.
    fallen = [0.01 + 0.99 * (1.0 + np.cos(np.pi * part / 2.4)) / 2.0 for part in (0.4, 1.4)]
    expected = [0.03 / 1.6, 0.03 * fallen[0], 0.03 * fallen[1]]
    assert np.allclose([one[0] for one in seen[:3]], expected)
    assert np.allclose(seen[3][1], 0.003)


def test_same_seed_gives_the_same_model_and_another_seed_another(result):
    again, other = fit(), fit(seed=4, epochs=3, quantization=None)
    np.testing.assert_array_equal(again.model(VALIDATION[0]), result.model(VALIDATION[0]))
    assert again.stages[0].history == result.stages[0].history
    assert other.stages[0].history["loss"][0] != result.stages[0].history["loss"][0]


def test_augmentation_and_rate_are_asked_for_each_epoch():
    seen = []

    def augmentation(x, rng):
        seen.append((x, rng.normal()))
        return x + 0.1

    epochs = []
    fit(
        epochs=3,
        quantization_epochs=1,
        augmentation=augmentation,
        learning_rate=lambda epoch: epochs.append(epoch) or 0.01,
    )
    assert sorted(set(epochs)) == list(range(4))
    assert len({float(x[0, 0, 0]) for x, _ in seen}) == 4
    assert len({number for _, number in seen}) == 4
    for x, _ in seen:
        np.testing.assert_array_equal(np.sort(x, axis=None), np.sort(X, axis=None))


@pytest.mark.parametrize(
    ("layers", "is_soft"),
    [
        ((LAYERS.Normalization(), FastRNN(6, kernel_rank=2), LAYERS.Dense(2)), True),
        ((LAYERS.RNN(FastGRNNCell(6, recurrent_rank=2)), LAYERS.Dense(1)), False),
    ],
)
def test_other_models_heads_and_labels_train(layers, is_soft):
    x, y = VALIDATION
    result = fit(
        small_model(*layers),
        (X, 0.1 + 0.8 * np.eye(2)[Y] if is_soft else Y),
        validation_data=(x, np.eye(2)[y] if is_soft else y),
        quantization="int8",
        optimizer="nesterov",
        learning_rate=0.1,
        kernel_sparsity=0.0,
        epochs=12,
    )
    outputs = np.asarray(result.model(x))
    classes = outputs.argmax(axis=1) if is_soft else outputs[:, 0] > 0
    assert np.mean(classes == y) == pytest.approx(result.stages[-1].validation_accuracy)
    assert result.stages[-1].validation_accuracy > 0.7


def test_without_quantization_and_sparsity_three_stages_train_all_weights():
    model = small_model()
    result = fit(model, kernel_sparsity=0.0, recurrent_sparsity=0, quantization=None, epochs=3)
    assert [stage.name for stage in result.stages] == STAGES[:3]
    assert result.model is model
    assert kept(model) == [CHANNELS * UNITS, UNITS * UNITS]


def test_batch_whose_gradient_is_not_finite_changes_nothing():
    def loss(y, outputs):
        factor = tf.where(tf.reshape(y, (-1,)) == 1, 0.0, 1.0)
        return tf.sqrt(factor * tf.reduce_mean(outputs**2, axis=1))

    def marked(x, y):
        return x, np.where(np.arange(len(x)) == 5, 1, 0)

    model = small_model()
    before = model.get_weights()
    arguments = {"optimizer": keras.optimizers.SGD, "loss": loss, "quantization": None}
    zeros = VALIDATION[0], np.zeros(len(VALIDATION[0]), int)
    arguments |= {"validation_data": zeros, "kernel_sparsity": 0.0, "recurrent_sparsity": 0.0}
    fit(model, marked(X, Y), epochs=3, batch_size=len(X), **arguments)
    for weight, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, expected)

    fit(model, marked(X, Y), epochs=3, **arguments)
    assert all(np.isfinite(weight).all() for weight in model.get_weights())
    assert np.any(model.get_weights()[0] != before[0])


def test_loss_that_is_negative_is_trained_on():
    loss = keras.losses.CosineSimilarity()
    x, y = VALIDATION
    labels = {"validation_data": (x, np.eye(2, dtype="float32")[y])}
    result = fit(small_model(), (X, np.eye(2, dtype="float32")[Y]), loss=loss, **labels, epochs=3)
    assert all(stage.history["loss"][-1] < 0.0 for stage in result.stages)


def test_numbers_of_numpy_are_numbers(tmp_path):
    arguments = {"epochs": np.int64(3), "batch_size": np.int32(20), "seed": np.int64(1)}
    arguments |= {"checkpoint": tmp_path, "kernel_sparsity": np.float32(0.5), "quantization": None}
    first, again = (fit(small_model(), **arguments) for _ in range(2))
    assert first.stages[-1].history == again.stages[-1].history


def test_bits_of_the_table_are_those_trained_with():
    result = fit(small_model(), epochs=3, quantization_options={"weight_bits": 4})
    assert result.weight_bits == 4


def test_stage_without_a_finite_loss_is_told():
    def loss(y, outputs):
        return tf.where(tf.reshape(y, (-1,)) == 1, np.inf, 1.0) * tf.reduce_mean(outputs, axis=1)

    zeros = VALIDATION[0], np.zeros(len(VALIDATION[0]), int)
    with pytest.raises(ValueError, match="No epoch of the dense stage had a finite loss. Check"):
        fit(loss=loss, validation_data=zeros, quantization=None)


def test_training_that_diverges_in_every_epoch_is_told():
    linear = FastRNN(UNITS, "linear"), LAYERS.Dense(2)
    rate = {"optimizer": keras.optimizers.SGD, "learning_rate": 1e30}
    with pytest.raises(ValueError, match="diverged in every epoch of the dense stage. Give a"):
        fit(small_model(*linear), quantization=None, **rate)


def test_epoch_that_diverges_is_undone_and_the_rate_halved(capsys):
    """The first epoch of the second stage is driven away, as is the last one of the third."""
    optimizers, rates, starts = [], [], []
    model = small_model()

    def make(rate):
        optimizers.append(keras.optimizers.SGD(rate))
        return optimizers[-1]

    def rate(epoch):
        return 1e3 if epoch in (2, 5) else 0.1

    def augmentation(x, rng):
        rates.append(float(np.asarray(optimizers[0].learning_rate)))
        starts.append(model.get_weights())
        return x

    arguments = {"epochs": 6, "quantization": None, "augmentation": augmentation, "verbose": 1}
    result = fit(model, optimizer=make, learning_rate=rate, **arguments)
    assert [stage.diverged for stage in result.stages] == [[], [1], [2]]
    assert np.allclose(rates, [0.1, 0.1, 1e3, 0.05, 0.05, 5e2])
    # What the second stage began with is left of its first epoch.
    np.testing.assert_array_equal(starts[3][2], starts[2][2])
    assert [stage.best_epoch for stage in result.stages[1:]] == [2, 1]
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].endswith(": diverged, so it goes on from epoch 0 with half the rate")
    assert lines[5].endswith(": diverged, so it goes on from epoch 1 with half the rate")


# Mistakes


NAN = np.where(np.arange(CHANNELS) == 1, np.nan, X)
RETURNS = "augmentation, expected a function that returns finite numbers of shape"
MISTAKES = {
    "epochs": [(4, "epochs, expected a multiple of 3, got 4"), (0, "epochs, expected a positive")],
    "batch_size": [(0, "batch_size, expected a positive integer, got 0")],
    "frequency": [(0, "frequency, expected a positive integer, got 0")],
    "kernel_sparsity": [
        (1.0, "kernel_sparsity, expected a number in [0, 1), got 1.0"),
        (0.99, "kernel_sparsity, expected one that keeps a weight of"),
    ],
    "recurrent_sparsity": [(-0.1, "recurrent_sparsity, expected a number in [0, 1), got -0.1")],
    "learning_rate": [
        (0.0, "learning_rate, expected a positive number or a function, got 0.0"),
        (lambda epoch: 1.0 - epoch, "returns a positive number for epoch 1, got 0.0"),
        (lambda epoch: np.inf, "returns a positive number for epoch 0, got inf"),
        (lambda epoch: None, "returns a positive number for epoch 0, got None"),
    ],
    "optimizer": [
        ("sgd", "optimizer, expected 'adam' or 'nesterov', or a function, got 'sgd'"),
        (["adam"], "optimizer, expected 'adam' or 'nesterov', or a function, got ['adam']"),
        (keras.optimizers.SGD(), "optimizer, expected 'adam' or 'nesterov', or a function, got <"),
        (lambda rate: None, "optimizer, expected a function to a "),
    ],
    "quantization_options": [("int8", "quantization_options, expected a dictionary or None")],
    "checkpoint": [
        (5, "checkpoint, expected the path of a folder, or None, got 5"),
        (__file__, "checkpoint, expected the path of a folder, or None, got '"),
    ],
    "jit_compile": [("no", "jit_compile, expected True or False, got 'no'")],
    "verbose": [("x", "verbose, expected 0 or 1, got 'x'")],
    "quantization": [("int4", "quantization, expected 'int16x8' or 'int8', got 'int4'")],
    "weight_bits": [(5, "weight_bits, expected 4 or 8, got 5")],
    "quantization_epochs": [(0, "quantization_epochs, expected a positive integer, got 0")],
    "seed": [(-1, "seed, expected an integer that is not negative"), (1.5, "seed, expected an")],
    "validation_data": [
        (None, "validation_data, expected a tuple of inputs and labels, got 'NoneType'"),
        ((X[:2], [0, 2]), "validation_data, expected labels in [0, 1], got 2"),
        ((X[:2], np.eye(2)), "validation_data, expected labels that are integers as y is, got an"),
    ],
    "data": [
        ((NAN, Y), "x and y, expected inputs that are finite numbers, got nan"),
        ((X, np.eye(2)[Y]), "validation_data, expected labels that are vectors, a number for"),
    ],
    "augmentation": [
        (True, "augmentation, expected a function or None, got True"),
        (lambda x, rng: x[1:], f"{RETURNS} {X.shape}, got an array of shape {X[1:].shape}"),
        (lambda x, rng: x * np.nan, f"{RETURNS} {X.shape}, got nan"),
        (lambda x, rng: x.astype(str), f"{RETURNS} {X.shape}, got '"),
        (lambda x, rng: None, f"{RETURNS} {X.shape}, got None"),
        (lambda x, rng: [[1], [2, 3]], f"{RETURNS} {X.shape}, got [[1], [2, 3]]"),
    ],
}


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [(name, *case) for name, cases in MISTAKES.items() for case in cases],
)
def test_mistake_is_told_before_any_work(argument, value, message):
    model = small_model()
    before = model.get_weights()
    with pytest.raises(ValueError) as error:
        fit(model, **{argument: value})
    assert str(error.value).startswith("Received an invalid value for argument ")
    assert message in str(error.value)
    for weight, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_weights_that_are_not_finite_are_refused():
    model = small_model()
    model.layers[-1].bias.assign([np.nan, 0.0])
    with pytest.raises(ValueError, match="model, expected weights that are finite numbers"):
        fit(model)


def test_model_that_cannot_be_quantized_is_refused():
    with pytest.raises(ValueError, match="expected a model with FastGRNN, FastRNN, GRU, LSTM or"):
        fit(small_model(LAYERS.Dense(3), LAYERS.GlobalAveragePooling1D(), LAYERS.Dense(2)))
    with pytest.raises(ValueError, match="LayerNormalization"):
        fit(small_model(FastGRNN(3), LAYERS.LayerNormalization(), LAYERS.Dense(2)))


@pytest.mark.parametrize("layer", [LAYERS.GRU, LAYERS.LSTM])
def test_cells_of_keras_are_pruned_rounded_and_exported(layer):
    model = small_model(layer(6), LAYERS.Dense(2))
    result = fit(model, kernel_sparsity=0.5, recurrent_sparsity=0.75, epochs=3)
    cell = result.model.layers[1].cell
    for weight, fraction in ((cell.kernel, 0.5), (cell.recurrent_kernel, 0.75)):
        assert np.mean(np.asarray(weight) == 0.0) == pytest.approx(fraction, abs=0.02)
    deployed = export.convert(result.model)
    difference = np.abs(deployed.predict(X, on="reference") - result.model.predict(X, verbose=0))
    assert difference.max() <= 20 * deployed.graph.outputs[0].scale
