"""What the report of a sparse model counts."""

import json

import numpy as np
import pytest
from sparse_training import batches, train

from keras_fastgrnn import FastGRNN, FastGRNNCell, FastRNN, FastRNNCell, keras, sparsity, storage
from keras_fastgrnn.keras_api import register
from keras_fastgrnn.quantization import quantize_aware

LAYERS = keras.layers


def model_of(*layers, steps=12, channels=9):
    return keras.Sequential([LAYERS.Input((steps, channels)), *layers])


def keep(weight, count):
    """Leaves so many weights of a matrix."""
    values = np.zeros(int(np.prod(weight.shape)), "float32")
    values[np.random.default_rng(0).permutation(values.size)[:count]] = 0.5
    weight.assign(values.reshape(tuple(weight.shape)))


def har2():
    """The paper's HAR-2 model: H 80, ranks 5 and 40, a fifth of W and 30 % of U kept."""
    layer = FastGRNN(80, kernel_rank=5, recurrent_rank=40)
    model = model_of(layer, LAYERS.Dense(2))
    for factors, fraction in (("kernel_factors", 0.2), ("recurrent_factors", 0.3)):
        for weight in getattr(layer.cell, factors):
            keep(weight, int(fraction * np.prod(weight.shape)))
    return model


# W: 9 x 5 and 5 x 80; U: 80 x 40 and 40 x 80; then two biases, two scalars, and the classifier.
HAR2_KEPT = [9, 80, 960, 960, 160]
HAR2_OTHERS = 2 * 80 + 2 + 2


def test_the_papers_count_of_its_own_settings():
    """4.24 KB, though the paper's table says 3.00."""
    report = sparsity.report(har2())
    assert [matrix.kept for matrix in report.matrices] == HAR2_KEPT
    assert report.other_values == HAR2_OTHERS
    assert report.total_bytes["paper"] == 2 * sum(HAR2_KEPT[:4]) + 160 + HAR2_OTHERS
    assert round(report.total_bytes["paper"] / 1024, 2) == 4.24


@pytest.mark.parametrize("bias_bytes", [1, 4])
def test_totals_are_those_worked_out_by_hand(bias_bytes):
    totals = sparsity.report(har2(), bias_bytes=bias_bytes).total_bytes
    others = bias_bytes * HAR2_OTHERS
    assert totals["dense"] == 45 + 400 + 3200 + 3200 + 160 + others
    bitmaps = [6 + 9, 50 + 80, 400 + 960, 400 + 960]
    assert totals["bitmap"] == sum(bitmaps) + 20 + 160 + others
    assert totals["best"] == sum(bitmaps) + 160 + others


def test_weights_of_4_bits_are_packed():
    report = sparsity.report(har2(), weight_bits=4)
    sizes = report.matrices[0].storage_bytes
    assert {name: sizes[name] for name in ("dense", "bitmap", "index")} == {
        "dense": 23,
        "bitmap": 6 + 5,
        "index": 9 + 5,
    }
    assert report.total_bytes["paper"] == (9 + 5) + (80 + 40) + 2 * (960 + 480) + 80 + 82


def test_each_matrix_has_its_own_best_storage():
    report = sparsity.report(har2())
    assert [matrix.best_storage for matrix in report.matrices] == ["bitmap"] * 4 + ["dense"]
    layer = FastGRNN(40)
    model = model_of(layer)
    keep(layer.cell.recurrent_factors[0], 32)
    best = {m.shape: (m.kept, m.best_storage) for m in sparsity.report(model).matrices}
    assert best == {(9, 40): (360, "dense"), (40, 40): (32, "index")}


@register
class RangedCell(FastGRNNCell):
    """A cell as quantization makes it, with ranges beside its weights."""

    def build(self, input_shape):
        super().build(input_shape)
        self.range = self.add_weight(name="range", shape=(2, 2), trainable=False)


def normalization():
    return LAYERS.Normalization(mean=np.zeros(9), variance=np.ones(9))


@pytest.mark.parametrize(
    ("layers", "matrices", "others"),
    [
        ([FastGRNN(4)], 36 + 16, 2 * 4 + 2),
        ([FastGRNN(4, use_bias=False)], 36 + 16, 2),
        ([FastRNN(4, kernel_rank=2)], 18 + 8 + 16, 4 + 2),
        ([LAYERS.RNN(RangedCell(4))], 36 + 16, 2 * 4 + 2),
        ([LAYERS.RNN([FastRNNCell(4), FastGRNNCell(3)])], 36 + 16 + 12 + 9, 6 + 8),
        ([LAYERS.Bidirectional(FastGRNN(4))], 2 * (36 + 16), 2 * 10),
        ([normalization(), FastGRNN(4)], 36 + 16, 18 + 10),
        ([LAYERS.BatchNormalization(), FastGRNN(4)], 36 + 16, 4 * 9 + 10),
        ([LAYERS.GRU(4, return_sequences=True), FastGRNN(4)], 9 * 12 + 48 + 32, 24 + 10),
        ([LAYERS.LSTM(4)], 9 * 16 + 64, 16),
        ([LAYERS.SimpleRNN(4, use_bias=False)], 36 + 16, 0),
        ([LAYERS.RNN(LAYERS.GRUCell(4, reset_after=False))], 9 * 12 + 48, 12),
        ([FastGRNN(4), LAYERS.Dropout(0.5), LAYERS.Dense(3, use_bias=False)], 52 + 12, 10),
        ([model_of(FastGRNN(4)), LAYERS.Dense(3)], 52 + 12, 10 + 3),
    ],
)
def test_every_trained_number_is_counted_once(layers, matrices, others):
    report = sparsity.report(model_of(*layers))
    assert sum(matrix.weights for matrix in report.matrices) == matrices
    assert report.other_values == others


FROZEN = {
    "Dense": lambda: [FastGRNN(4), LAYERS.Dense(3)],
    "GRU": lambda: [LAYERS.GRU(4, return_sequences=True), FastGRNN(4)],
    "cells of two kinds": lambda: [LAYERS.RNN([LAYERS.GRUCell(3), RangedCell(4)])],
    "wrapped": lambda: [LAYERS.Bidirectional(LAYERS.LSTM(3, return_sequences=True)), FastGRNN(4)],
    "nested": lambda: [
        model_of(LAYERS.Dropout(0.5), LAYERS.GRU(9, return_sequences=True)),
        FastGRNN(2),
    ],
}


@pytest.mark.parametrize("case", FROZEN)
def test_layers_that_do_not_train_are_counted(case):
    model = model_of(*FROZEN[case]())
    before = sparsity.report(model)
    model.layers[0].trainable = False
    assert sparsity.report(model) == before
    model.trainable = False
    assert sparsity.report(model) == before


@pytest.mark.parametrize("trainable", [True, False])
@pytest.mark.parametrize("quantization", ["int16x8", "int8"])
def test_ranges_of_quantization_are_not_counted(quantization, trainable):
    model = model_of(LAYERS.RNN([FastGRNNCell(4), FastRNNCell(3)]), LAYERS.Dense(3))
    made = quantize_aware(model, quantization)
    made.trainable = trainable
    expected, found = sparsity.report(model), sparsity.report(made)
    assert found.total_bytes == expected.total_bytes
    assert found.other_values == expected.other_values


def test_a_layer_used_twice_is_counted_once():
    inputs = LAYERS.Input((12, 9))
    layer, head = FastGRNN(4), LAYERS.Dense(2)
    model = keras.Model(inputs, [head(layer(inputs)), head(layer(2.0 * inputs))])
    report = sparsity.report(model)
    assert [matrix.weights for matrix in report.matrices] == [36, 16, 8]
    assert report.other_values == 10 + 2


def test_what_the_callback_pruned_is_what_the_report_counts():
    model = model_of(FastGRNN(10), LAYERS.Dense(2, name="head"), steps=5, channels=3)
    model.compile("adam", "mse")
    schedule = sparsity.IterativeHardThresholding(0.7, 1, 9, frequency=1)
    train(model, batches(3), sparsity.PruneLowMagnitude(schedule, schedule))
    kernel, recurrent_kernel, head = sparsity.report(model).matrices
    assert (kernel.kept, recurrent_kernel.kept, head.kept) == (9, 30, 20)
    assert (kernel.kept_fraction, head.kept_fraction) == (0.3, 1.0)


def test_the_table_has_a_line_for_each_matrix_and_the_totals():
    lines = str(sparsity.report(har2())).splitlines()
    ways = [one.name for one in storage.STORAGES]
    titles = lines[0].split()
    assert titles == ["matrix", "shape", "kept", "%", *ways, "paper", "best"]
    assert len(lines) == 1 + 5 + 2
    first = dict(zip(titles, lines[1].split(), strict=True))
    assert first.pop("matrix").endswith("kernel_left")
    shown = {"shape": "9x5", "kept": "9", "%": "20.0", "paper": "18", "best": "bitmap"}
    assert first.items() >= {**shown, "dense": "45", "bitmap": "15", "index": "18"}.items()
    assert lines[-2].split() == ["other", "numbers", "164", *["656"] * len(ways), "164"]
    name, *totals = lines[-1].split()
    assert name == "bytes"
    found = dict(zip([*ways, "paper", "best"], totals, strict=True))
    sizes = {"dense": "7,661", "bitmap": "3,701", "index": "4,994"}
    assert found.items() >= {**sizes, "paper": "4,342", "best": "3,681"}.items()


def test_the_dictionary_is_json():
    report = json.loads(json.dumps(sparsity.report(har2()).to_dict()))
    assert report["total_bytes"]["best"] == 3681
    assert (report["weight_bits"], report["bias_bytes"]) == (8, 4)
    first = report["matrices"][0]
    assert first["shape"] == [9, 5]
    assert first["kept"] == 9
    assert first["kept_fraction"] == 0.2
    assert first["best_storage"] == "bitmap"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight_bits": 2}, "argument weight_bits, expected 4 or 8, got 2."),
        ({"bias_bytes": 0}, "argument bias_bytes, expected a positive integer, got 0."),
        ({"bias_bytes": 1.5}, "argument bias_bytes, expected a positive integer, got 1.5."),
    ],
)
def test_invalid_argument_is_refused(arguments, message):
    with pytest.raises(ValueError) as error:
        sparsity.report(model_of(FastGRNN(2)), **arguments)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (keras.Sequential([FastGRNN(2)]), ValueError, "expected a built"),
        (None, TypeError, "expected a .* model, got NoneType"),
    ],
)
def test_model_that_cannot_be_counted_is_refused(model, error, message):
    with pytest.raises(error, match=message):
        sparsity.report(model)
