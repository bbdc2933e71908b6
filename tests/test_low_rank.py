"""Trained models whose matrices become two factors, against NumPy's singular values."""

import json

import numpy as np
import pytest
from small_models import CHANNELS, compile_to_fit, drawn, sequences, sequential

from keras_fastgrnn import FastGRNN, FastGRNNCell, FastRNN, FastRNNCell, keras, low_rank
from keras_fastgrnn.quantization import quantize_aware

LAYERS = keras.layers
UNITS = 6

RECURRENT = {
    "FastGRNN": lambda **kw: FastGRNN(UNITS, **kw),
    "FastRNN": lambda **kw: FastRNN(UNITS, **kw),
    "RNN of a FastGRNNCell": lambda **kw: LAYERS.RNN(FastGRNNCell(UNITS, **kw)),
    "RNN of a FastRNNCell": lambda **kw: LAYERS.RNN(FastRNNCell(UNITS, **kw)),
}


def with_head(*layers, **kw):
    return sequential(*layers, LAYERS.Dense(3), **kw)


def cell_of(model, index=0):
    return model.layers[index].cell


def in_float64(variables):
    return [np.asarray(variable, np.float64) for variable in variables]


def matrix(factors):
    """The whole matrix."""
    product, *rest = in_float64(factors)
    return product @ rest[0] if rest else product


def outputs(model, x=None):
    return np.asarray(model(sequences() if x is None else x))


@pytest.mark.parametrize("make", RECURRENT.values(), ids=RECURRENT)
@pytest.mark.parametrize(("kernel_rank", "recurrent_rank"), [(2, 3), (1, None), (None, 5)])
def test_factors_are_the_nearest_matrix_of_the_rank(make, kernel_rank, recurrent_rank):
    model = with_head(make())
    before = matrix(cell_of(model).kernel_factors), matrix(cell_of(model).recurrent_factors)
    factorized = low_rank.factorize(model, kernel_rank, recurrent_rank)

    cell = cell_of(factorized)
    assert (cell.kernel_rank, cell.recurrent_rank) == (kernel_rank, recurrent_rank)
    for original, factors, rank in zip(
        before,
        (cell.kernel_factors, cell.recurrent_factors),
        (kernel_rank, recurrent_rank),
        strict=True,
    ):
        if rank is None:
            (whole,) = factors
            np.testing.assert_array_equal(whole, original)
            continue
        left, values, right = np.linalg.svd(original)
        nearest = sum(values[i] * np.outer(left[:, i], right[i]) for i in range(rank))
        np.testing.assert_allclose(matrix(factors), nearest, rtol=0, atol=1e-6)


def test_singular_values_are_split_evenly():
    model = with_head(FastGRNN(UNITS))
    values = np.linalg.svd(cell_of(model).recurrent_factors[0], compute_uv=False)[:4]
    left, right = map(np.asarray, cell_of(low_rank.factorize(model, None, 4)).recurrent_factors)
    # float32 factors
    np.testing.assert_allclose(np.sum(left**2, axis=0), values, rtol=1e-5)
    np.testing.assert_allclose(np.sum(right**2, axis=1), values, rtol=1e-5)


@pytest.mark.parametrize("make", RECURRENT.values(), ids=RECURRENT)
def test_full_rank_reproduces_the_predictions(make):
    model = with_head(make(use_bias=True))
    factorized = low_rank.factorize(model, CHANNELS, UNITS)
    assert len(factorized.weights) == len(model.weights) + 2
    np.testing.assert_allclose(outputs(factorized), outputs(model), rtol=0, atol=1e-5)
    np.testing.assert_allclose(
        outputs(low_rank.factorize(model, energy=1)), outputs(model), rtol=0, atol=1e-5
    )


def rotation(size, seed):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))[0]


def with_singular_values(model, kernel_values, recurrent_values):
    cell = cell_of(model)
    for factors, values, seed in (
        (cell.kernel_factors, kernel_values, 0),
        (cell.recurrent_factors, recurrent_values, 10),
    ):
        rows, columns = factors[0].shape
        diagonal = np.zeros((rows, columns))
        np.fill_diagonal(diagonal, values)
        factors[0].assign(rotation(rows, seed) @ diagonal @ rotation(columns, seed + 1))
    return model


@pytest.mark.parametrize(
    ("energy", "ranks"),
    # squares: 9 4 1 of 14 for W, 16 9 4 1 1 1 of 32 for U
    [(0.1, (1, 1)), (0.49, (1, 1)), (0.51, (1, 2)), (0.92, (2, 4)), (0.95, (3, 5)), (1, (3, 6))],
)
def test_energy_gives_each_matrix_the_smallest_rank_that_keeps_it(energy, ranks):
    model = with_singular_values(with_head(FastGRNN(UNITS)), (3, 2, 1), (4, 3, 2, 1, 1, 1))
    factorized = low_rank.factorize(model, energy=energy)
    assert (cell_of(factorized).kernel_rank, cell_of(factorized).recurrent_rank) == ranks
    kept = [
        np.cumsum(values)[rank - 1] / np.sum(values)
        for values, rank in zip(([9, 4, 1], [16, 9, 4, 1, 1, 1]), ranks, strict=True)
    ]
    found = [one.kept_energy for one in low_rank.report(model, factorized).matrices]
    np.testing.assert_allclose(found, kept, rtol=0, atol=1e-6)


def test_matrix_of_zeros_gets_rank_1():
    model = with_head(FastGRNN(UNITS))
    cell_of(model).recurrent_factors[0].assign(np.zeros((UNITS, UNITS)))
    factorized = low_rank.factorize(model, energy=0.9)
    assert cell_of(factorized).recurrent_rank == 1
    assert low_rank.report(model, factorized).matrices[1].kept_energy == 1.0


def test_two_factors_are_reduced_further():
    model = with_head(FastGRNN(UNITS, kernel_rank=3, recurrent_rank=4))
    product = matrix(cell_of(model).recurrent_factors)
    factorized = low_rank.factorize(model, recurrent_rank=2)
    left, values, right = np.linalg.svd(product)
    cell = cell_of(factorized)
    assert (cell.kernel_rank, cell.recurrent_rank) == (3, 2)
    np.testing.assert_allclose(
        matrix(cell.recurrent_factors), left[:, :2] * values[:2] @ right[:2], rtol=0, atol=1e-6
    )
    for now, then in zip(cell.kernel_factors, cell_of(model).kernel_factors, strict=True):
        np.testing.assert_array_equal(now, then)
    assert cell_of(low_rank.factorize(model, energy=1)).recurrent_rank == 4


def stacked():
    return with_head(
        LAYERS.Normalization(),
        FastGRNN(5, return_sequences=True, kernel_regularizer="l2", go_backwards=True, name="own"),
        LAYERS.Dropout(0.5),
        LAYERS.RNN(
            [FastGRNNCell(4, use_bias=False), LAYERS.GRUCell(3), FastRNNCell(5, "quant_tanh")],
            return_sequences=True,
        ),
        LAYERS.GRU(4, return_sequences=True),
        FastRNN(3, recurrent_rank=2, trainable=False),
    )


def configs_of(layer):
    """The configuration of the layer, or of each of its cells where it stacks them."""
    config = layer.get_config()
    return (
        [one["config"] for one in config["cell"]["config"]["cells"]]
        if "cell" in config
        else [config]
    )


def test_everything_else_stays_as_it_was():
    model = stacked()
    model.compile(loss=lambda y, outputs: outputs)
    model.layers[0].adapt(sequences(50) * 3.0 + 1.0)
    before = outputs(model)
    factorized = low_rank.factorize(model, energy=1.0)

    np.testing.assert_array_equal(outputs(model), before)
    np.testing.assert_allclose(outputs(factorized), before, rtol=0, atol=1e-5)
    for layer, new_layer in zip(model.layers, factorized.layers, strict=True):
        assert new_layer is not layer
        assert type(new_layer) is type(layer)
        for config, new_config in zip(configs_of(layer), configs_of(new_layer), strict=True):
            ranks = {"kernel_rank": 0, "recurrent_rank": 0}
            assert {**new_config, **ranks} == {**config, **ranks}
    stack = factorized.layers[3].cell.cells
    assert [(cell.kernel_rank, cell.recurrent_rank) for cell in stack[::2]] == [(4, 4), (3, 5)]


def test_functional_model_with_two_inputs_keeps_its_form():
    a, b = LAYERS.Input((None, 3), name="a"), LAYERS.Input((2,), name="b")
    joined = LAYERS.Concatenate()([FastGRNN(4)(a), b])
    model = drawn(keras.Model([a, b], LAYERS.Dense(2)(joined)))
    x = [sequences(), np.ones((16, 2), "float32")]
    factorized = low_rank.factorize(model, 3, 4)
    np.testing.assert_allclose(outputs(factorized, x), outputs(model, x), rtol=0, atol=1e-5)


def test_factorized_model_is_saved_and_loaded(tmp_path):
    factorized = low_rank.factorize(with_head(FastGRNN(UNITS), seed=3), 2, 3)
    factorized.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(outputs(loaded), outputs(factorized))


def labeled(count=64):
    x = sequences(count)
    return x, (x[:, :, 0].sum(axis=1) > 0).astype(int) + (x[:, -1, 1] > 0)


def test_fine_tuning_regains_what_the_rank_cost():
    x, y = labeled()
    model = with_head(FastGRNN(UNITS), spread=0.2)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    compile_to_fit(model, keras.optimizers.Adam(0.03), loss)
    model.fit(x, y, epochs=15, verbose=0)
    factorized = low_rank.factorize(model, 1, 1)
    compile_to_fit(factorized, keras.optimizers.Adam(0.01), loss)
    cost = factorized.evaluate(x, y, verbose=0)
    history = factorized.fit(x, y, epochs=10, verbose=0).history["loss"]
    assert model.evaluate(x, y, verbose=0) < cost
    assert history[-1] < 0.9 * cost
    assert cell_of(factorized).recurrent_rank == 1


# The report


def test_report_counts_parameters_and_accuracy():
    model = with_head(FastGRNN(UNITS, name="gate"))
    x = sequences(400)
    y = outputs(model, x).argmax(axis=1)
    factorized = low_rank.factorize(model, 1, 4)
    y_after = outputs(factorized, x).argmax(axis=1)
    report = low_rank.report(model, factorized, (x, y))

    assert report.accuracy_before == 1.0
    assert report.accuracy == pytest.approx(np.mean(y_after == y)) and report.accuracy < 1.0
    rest = 2 * UNITS + 2 + 3 * UNITS + 3
    assert report.parameters_before == 3 * UNITS + UNITS * UNITS + rest
    assert report.parameters == 1 * (3 + UNITS) + 4 * (UNITS + UNITS) + rest
    kernel, recurrent = report.matrices
    assert (kernel.matrix, kernel.shape, kernel.rank_before, kernel.rank) == (
        "kernel",
        (3, 6),
        3,
        1,
    )
    assert (kernel.parameters_before, kernel.parameters, kernel.grows) == (18, 9, False)
    assert (recurrent.matrix, recurrent.shape) == ("recurrent_kernel", (6, 6))
    assert (recurrent.parameters_before, recurrent.parameters, recurrent.grows) == (36, 48, True)


def test_report_says_where_the_factors_store_more():
    model = with_head(FastGRNN(UNITS, name="gate"))
    lines = str(low_rank.report(model, low_rank.factorize(model, 1, 4))).splitlines()
    kernel, recurrent = lines[-2:]
    assert "gate, cell 0, kernel" in kernel and "3 -> 1" in kernel and "18 -> 9" in kernel
    assert "36 -> 48  more than before" in recurrent and "more" not in kernel
    assert not any("accuracy" in line for line in lines)


def test_report_becomes_json():
    model = with_head(FastGRNN(UNITS))
    report = low_rank.report(model, low_rank.factorize(model, 1), (sequences(4), [0, 1, 2, 0]))
    assert "accuracy" in str(report)
    loaded = json.loads(json.dumps(report.to_dict()))
    assert loaded == report.to_dict()
    assert loaded["matrices"][0]["grows"] is False


def test_report_takes_a_model_after_fine_tuning_and_one_that_did_not_change():
    model = with_head(FastGRNN(UNITS))
    same = low_rank.report(model, model)
    assert [one.kept_energy for one in same.matrices] == [1.0, 1.0]
    factorized = low_rank.factorize(model, 1)
    matrix_before = matrix(cell_of(model).kernel_factors)
    cell_of(factorized).kernel_factors[0].assign(np.ones((3, 1)))
    cell_of(factorized).kernel_factors[1].assign(np.ones((1, UNITS)))
    (kernel, _) = low_rank.report(model, factorized).matrices
    expected = 1 - np.sum((matrix_before - 1) ** 2) / np.sum(matrix_before**2)
    assert kernel.kept_energy == pytest.approx(expected)


# Mistakes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel_rank": 4}, "argument kernel_rank, expected an integer in [1, 3], got 4."),
        ({"kernel_rank": 0}, "argument kernel_rank, expected an integer in [1, 3], got 0."),
        ({"recurrent_rank": 7}, "argument recurrent_rank, expected an integer in [1, 6], got 7."),
        ({"recurrent_rank": 2.0}, "recurrent_rank, expected an integer in [1, 6], got 2.0."),
        ({"recurrent_rank": True}, "recurrent_rank, expected an integer in [1, 6], got True."),
        ({"energy": 0.0}, "argument energy, expected a number in (0, 1], got 0.0."),
        ({"energy": 1.1}, "argument energy, expected a number in (0, 1], got 1.1."),
        ({"energy": float("nan")}, "argument energy, expected a number in (0, 1], got nan."),
        ({"energy": "0.9"}, "argument energy, expected a number in (0, 1], got '0.9'."),
        ({}, "argument energy, expected a number in (0, 1] where no rank is given, got None."),
        (
            {"energy": 0.9, "kernel_rank": 2},
            "argument energy, expected None where a rank is given, got 0.9.",
        ),
    ],
    ids=str,
)
def test_wrong_argument_is_refused(arguments, message):
    with pytest.raises(ValueError) as error:
        low_rank.factorize(with_head(FastGRNN(UNITS)), **arguments)
    assert str(error.value).endswith(message)


def test_rank_is_at_most_that_of_the_smallest_cell_and_of_its_factors():
    model = with_head(LAYERS.RNN([FastGRNNCell(6), FastGRNNCell(4)]))
    with pytest.raises(ValueError, match=r"recurrent_rank, expected an integer in \[1, 4\], got 5"):
        low_rank.factorize(model, recurrent_rank=5)
    model = with_head(FastGRNN(UNITS, recurrent_rank=2))
    with pytest.raises(ValueError, match=r"recurrent_rank, expected an integer in \[1, 2\], got 3"):
        low_rank.factorize(model, recurrent_rank=3)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(wrong):
    model = with_head(FastGRNN(UNITS, name="culprit"))
    weights = model.get_weights()
    weights[1][2, 2] = wrong
    model.set_weights(weights)
    with pytest.raises(ValueError, match="expected weights that are finite numbers, got 'culprit'"):
        low_rank.factorize(model, 1)


def test_model_without_our_cells_is_refused():
    with pytest.raises(ValueError, match="expected a model with FastGRNN or FastRNN layers"):
        low_rank.factorize(with_head(LAYERS.GRU(3)), 1)


def test_model_that_is_quantization_aware_is_refused():
    model = quantize_aware(with_head(FastGRNN(UNITS, name="culprit")))
    with pytest.raises(ValueError, match="model, expected a float model, .*, got 'culprit'"):
        low_rank.factorize(model, 1)


def test_report_of_unrelated_models_is_refused():
    model = with_head(FastGRNN(UNITS))
    with pytest.raises(ValueError, match="factorized, expected a model with the matrices of the"):
        low_rank.report(model, with_head(FastGRNN(5)))


@pytest.mark.parametrize(
    "data",
    [(sequences(4), [0, 1, 2]), (sequences(3), [0, 1, 3]), (sequences(0), []), sequences(3)],
)
def test_report_refuses_wrong_data(data):
    model = with_head(FastGRNN(UNITS))
    with pytest.raises(ValueError, match="invalid value for argument validation_data"):
        low_rank.report(model, low_rank.factorize(model, 1), data)
