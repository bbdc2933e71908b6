"""Which of several equal computations is exported as integers: the one that costs little."""

import numpy as np
import pytest
from graphs import kinds
from small_models import sequences, sequential, with_int8_weights

from keras_fastgrnn import FastGRNN, FastRNN, keras
from keras_fastgrnn.export.lowering import alternatives
from keras_fastgrnn.export.lowering.alternatives import Int8Chooser, Int16Chooser
from keras_fastgrnn.export.lowering.integers import quantize_int16
from keras_fastgrnn.export.tflite import write
from keras_fastgrnn.graph import real_values, reference
from keras_fastgrnn.graph.ranges import calibrate
from keras_fastgrnn.graph.rewrite import simplify
from keras_fastgrnn.graph.trace import trace
from keras_fastgrnn.quantization.int16_scales import assign_exponents

FULL = "FULLY_CONNECTED"


def float_graph(model):
    graph = trace(model)
    simplify(graph)
    return graph


def chosen(model, x):
    graph = float_graph(model)
    return Int16Chooser(graph, calibrate(graph, x), x).choose().integers


def error(integers, floats, x):
    outputs = reference.run(integers, real_values.quantize_input(x, integers.inputs[0]))
    difference = outputs * integers.outputs[0].scale - reference.run(floats, x)
    return np.sqrt(np.mean(np.square(difference)))


@pytest.mark.parametrize("layer", [FastGRNN, FastRNN])
@pytest.mark.parametrize("size", [1 / 50, 1.0, 50.0])
def test_products_are_joined_at_whatever_size_the_input_has(layer, size):
    """The input's own scale takes up the difference between its weights and the state's."""
    model = sequential(layer(5), keras.layers.Dense(2), spread=0.25)
    kernel = model.trainable_weights[0]
    kernel.assign(np.asarray(kernel) / size)
    graph = chosen(model, (size * sequences()).astype("float32"))
    assert kinds(graph).count("CONCATENATION") == 1
    assert kinds(graph).count(FULL) == 2


def test_products_are_not_joined_where_one_scale_cannot_do_for_both():
    """The state of the first layer is the input of the second: neither scale is free."""
    layers = FastRNN(4, return_sequences=True), FastRNN(4), keras.layers.Dense(2)
    model = with_int8_weights(sequential(*layers))
    kernel = model.layers[1].trainable_weights[0]
    kernel.assign(np.asarray(kernel) / 4000.0)
    assert kinds(chosen(model, sequences())).count("CONCATENATION") == 1


def normalized(deviations):
    layer = keras.layers.Normalization(mean=[0.0] * 3, variance=np.square(deviations))
    return sequential(layer, FastGRNN(5), keras.layers.Dense(2), spread=0.25)


def test_normalization_of_similar_channels_is_folded_into_the_matrix():
    deviations = [1.0, 1.01, 0.99]
    graph = chosen(normalized(deviations), (sequences() * deviations).astype("float32"))
    # Of the two multiplications one keeps and one adds.
    assert kinds(graph).count("MUL") == 2


def test_normalization_of_different_channels_is_computed():
    """Folded, 8 bits would have to hold weights of 1 / 100 beside weights of 1."""
    deviations = [1.0, 10.0, 100.0]
    graph = chosen(normalized(deviations), (sequences() * deviations).astype("float32"))
    assert kinds(graph)[0] == "MUL"


@pytest.mark.parametrize("deviations", [[1.0, 1.1, 0.9], [1.0, 10.0, 100.0], [0.3, 1.0, 3.0]])
@pytest.mark.parametrize("seed", range(3))
def test_choice_is_at_most_a_tenth_worse_than_computing_everything(deviations, seed):
    layer = keras.layers.Normalization(mean=[0.0] * 3, variance=np.square(deviations))
    layers = layer, FastGRNN(5, kernel_rank=2), keras.layers.Dense(2)
    model = sequential(*layers, seed=seed, spread=0.25)
    x = (sequences(32) * deviations).astype("float32")
    floats = float_graph(model)
    plain = quantize_int16(floats, assign_exponents(floats, calibrate(floats, x), {}))
    # Two choices are made here, of 1.1 each at the most.
    assert error(chosen(model, x), floats, x) <= 1.1**2 * error(plain, floats, x)


@pytest.mark.parametrize("over, is_folded", [(1.001, True), (0.999, False)])
def test_fewer_operators_are_chosen_up_to_the_tolerated_loss_alone(over, is_folded, monkeypatch):
    deviations = [1.0, 10.0, 100.0]
    model = normalized(deviations)
    x = (sequences() * deviations).astype("float32")
    floats = float_graph(model)

    def chosen_with(tolerated_loss):
        monkeypatch.setattr(alternatives._Chooser._take, "__defaults__", (tolerated_loss,))
        graph = Int16Chooser(floats, calibrate(floats, x), x).choose().integers
        return graph, error(graph, floats, x)

    (plain, least), (folded, most) = chosen_with(0.0), chosen_with(1e6)
    assert len(folded.ops) < len(plain.ops) and most > 1.2 * least
    graph, _ = chosen_with(over * most / least)
    assert kinds(graph) == kinds(folded if is_folded else plain)


@pytest.mark.parametrize("which", [0, 1])
def test_kernel_of_zeros_is_no_reason_not_to_choose(which):
    model = sequential(FastGRNN(5), keras.layers.Dense(2))
    weight = model.trainable_weights[which]
    weight.assign(np.zeros(tuple(weight.shape)))
    x = sequences()
    floats = float_graph(model)
    # int8 weights of 1 leave 0.004, over a state of size 1.
    assert error(chosen(model, x), floats, x) < 0.02


def test_way_that_the_arithmetic_refuses_is_not_chosen():
    """Joined, a recurrent matrix of 1e-4 would be counted beside an input kernel of 1."""
    model = sequential(FastRNN(4), keras.layers.Dense(2), spread=0.25)
    recurrent_kernel = model.trainable_weights[1]
    recurrent_kernel.assign(np.asarray(recurrent_kernel) * 1e-4)
    x = (100.0 * sequences()).astype("float32")
    graph = chosen(model, x)
    assert "CONCATENATION" not in kinds(graph)
    # Tenths of the outputs, of size 1; the input is coarse beside what the tanh can tell apart.
    assert error(graph, float_graph(model), x) < 0.1


def test_model_that_no_way_can_compute_is_refused():
    model = sequential(FastGRNN(4), keras.layers.Dense(2))
    x = (1e20 * sequences()).astype("float32")
    with pytest.raises(ValueError, match="differ too much in size for 16-bit integers"):
        chosen(model, x)


def test_calibration_data_of_one_sequence_is_enough_and_of_many_is_thinned_out():
    model = with_int8_weights(sequential(FastGRNN(4), keras.layers.Dense(2)))
    x = sequences(600)
    graph = float_graph(model)
    ranges = calibrate(graph, x)
    assert kinds(Int16Chooser(graph, ranges, x[:1]).choose().integers) == kinds(
        Int16Chooser(graph, ranges, x).choose().integers
    )
    assert sum(map(len, Int16Chooser(graph, ranges, x).parts)) == alternatives.TRIAL_SEQUENCES[-1]


@pytest.mark.parametrize("chooser", [Int16Chooser, Int8Chooser])
def test_few_sequences_tell_what_all_would(chooser, monkeypatch):
    layers = keras.layers.LSTM(6, return_sequences=True), keras.layers.LSTM(6)
    graph = float_graph(sequential(*layers, keras.layers.Dense(3)))
    x = sequences(256)
    ranges, steps, sequences_run = calibrate(graph, x), reference.steps, []

    def counted(graph, x):
        sequences_run.append(len(x))
        return steps(graph, x)

    def chosen_file():
        return write.write(chooser(graph, ranges, x).choose().integers)

    monkeypatch.setattr(reference, "steps", counted)
    on_few, few = chosen_file(), sum(sequences_run)
    sequences_run.clear()
    monkeypatch.setattr(alternatives, "TRIAL_SEQUENCES", (256,))
    assert chosen_file() == on_few
    assert sum(sequences_run) > 5 * few


def test_joining_what_cannot_share_an_int8_scale_is_not_chosen():
    """The two states are results of functions that dictate different scales."""
    layers = [
        keras.layers.SimpleRNN(1, use_bias=False, return_sequences=True),
        keras.layers.SimpleRNN(1, activation="sigmoid", use_bias=False),
    ]
    floats = float_graph(sequential(*layers))
    x = sequences()
    best = Int8Chooser(floats, calibrate(floats, x), x).choose()
    assert kinds(best.integers).count("CONCATENATION") <= 1
