"""The estimate of a step's instructions, against counts by hand and against an emulator."""

import numpy as np
import pytest
from compilers import needed_device
from small_models import drawn, sequential

from benchmarks import step_cost_fit
from keras_fastgrnn import FastGRNN, FastGRNNCell, FastRNN, keras
from keras_fastgrnn.models import fast_cells
from keras_fastgrnn.recipe.step_cost import plain_c_instructions

LAYERS = keras.layers
PIECEWISE_LINEAR = "quant_tanh", "quant_sigmoid4"

# What the docstring says.
LARGEST_ERROR = 0.16


def model_of(layer, channels=9):
    return sequential(layer, LAYERS.Dense(2), channels=channels)


def with_weights(model, *matrices):
    (cell,) = fast_cells(model)
    for factor, values in zip(cell.get_prunable_weights(), matrices, strict=True):
        factor.assign(values)
    return model


def rows(columns):
    """What a row of so many columns takes: itself, its fours, and the weights after them."""
    return 8 + 12 * (columns // 4) + 4 * (columns % 4)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (FastGRNN(16), 16 * (38 + 40) + 16 * (rows(9) + rows(16))),
        (FastGRNN(16, *PIECEWISE_LINEAR), 16 * 38 + 16 * (rows(9) + rows(16))),
        (FastRNN(8, "relu"), 8 * 14 + 8 * (rows(9) + rows(8))),
        (
            FastRNN(8, kernel_rank=2, recurrent_rank=3),
            8 * (14 + 20) + 2 * rows(9) + 8 * rows(2) + 3 * rows(8) + 8 * rows(3),
        ),
        (
            LAYERS.RNN([FastGRNNCell(4, "relu"), FastRNN(4, "relu").cell]),
            4 * (38 + 20 + 14) + 4 * (rows(9) + 3 * rows(4)),
        ),
    ],
)
def test_dense_matrices_are_counted(layer, expected):
    assert plain_c_instructions(model_of(layer)) == expected


def test_each_matrix_is_counted_in_its_smallest_storage():
    kernel, recurrent = np.zeros((9, 16)), np.zeros((16, 16))
    kernel[::2] = 1.0  # 80 of 144, in a bitmap of a byte a row and one that rows share
    recurrent[[1, 5, 7], [2, 2, 9]] = 1.0  # 3 of 256, by index
    model = with_weights(model_of(FastGRNN(16, *PIECEWISE_LINEAR)), kernel, recurrent)
    bitmap, index = 16 * 19 + 16 * 7.5 + 80 * 4.5, 3 * 11
    assert plain_c_instructions(model) == 16 * 38 + 32 * 8 + bitmap + index


@pytest.mark.parametrize(
    ("layer", "kept"),
    [
        (FastGRNN(16), 1.0),
        (FastGRNN(24, recurrent_rank=8), 0.5),
        (FastGRNN(32, *PIECEWISE_LINEAR, kernel_rank=4), 0.25),
        (FastRNN(32), 0.1),
    ],
)
def test_estimate_is_as_near_to_the_emulator_as_it_says(layer, kept):
    needed_device("cortex-m4")
    model = drawn(model_of(layer), spread=0.3)
    (cell,) = fast_cells(model)
    for factor in cell.get_prunable_weights():
        values = factor.numpy()
        factor.assign(values * (np.abs(values) >= np.quantile(np.abs(values), 1.0 - kept)))
    assert abs(step_cost_fit.measure(model, "").error) < LARGEST_ERROR


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([FastGRNN(4, return_sequences=True), LAYERS.GRU(3)], "FastRNN or FastGRNN, got 'GRUCell'"),
        ([LAYERS.LSTM(3)], "a model with FastGRNN or FastRNN"),
    ],
)
def test_other_recurrent_layers_are_refused(layers, message):
    with pytest.raises(ValueError, match=message):
        plain_c_instructions(sequential(*layers, LAYERS.Dense(2)))
