"""Files of whole sequences and of explicit state, against the streaming file on TFLite Micro."""

import functools

import numpy as np
import pytest
from small_models import needs_tflm, sequences, sequential

from keras_fastgrnn import FastGRNN, FastRNN, export, keras
from keras_fastgrnn.export.lowering.end_types import TYPES, with_io_types
from keras_fastgrnn.export.lowering.lower import CHOOSERS
from keras_fastgrnn.export.tflite.subgraphs import sequence, streaming
from keras_fastgrnn.export.tflite.write import with_float_clips, write, write_subgraphs
from keras_fastgrnn.export.tflm.interpreter import Interpreter
from keras_fastgrnn.graph import real_values
from keras_fastgrnn.graph.ranges import calibrate
from keras_fastgrnn.graph.rewrite import fold_all, simplify
from keras_fastgrnn.graph.trace import trace

LAYERS = keras.layers
MODELS = {
    "FastGRNN": lambda: [FastGRNN(5), LAYERS.Dense(2)],
    "no head": lambda: [FastGRNN(5)],
    "stacked": lambda: [FastGRNN(4, return_sequences=True), FastRNN(3), LAYERS.Dense(2)],
    "Dense before": lambda: [LAYERS.Dense(4, "relu"), FastGRNN(5), LAYERS.Dense(2, "softmax")],
    "hard": lambda: [FastGRNN(5, "quant_tanh", "quant_sigmoid"), LAYERS.Dense(2)],
    "GRU": lambda: [LAYERS.GRU(5), LAYERS.Dense(2)],
    "LSTM": lambda: [LAYERS.LSTM(5), LAYERS.Dense(2), LAYERS.Dense(3)],
    "LSTM alone": lambda: [LAYERS.LSTM(5)],
}
LONG = 128

each_model = pytest.mark.parametrize("name", MODELS)
each_quantization = pytest.mark.parametrize("quantization", [*CHOOSERS, None])
pytestmark = needs_tflm


@functools.cache
def exported(name, quantization):
    """The graph of a model's step, the ranges of its ends, and a long sequence."""
    x = sequences(8, steps=LONG)
    graph = trace(sequential(*MODELS[name](), steps=LONG, spread=0.3))
    simplify(graph)
    ranges = calibrate(graph, x)
    ends = ranges[graph.inputs[0]], ranges[graph.outputs[0]]
    if quantization is None:
        fold_all(graph)
        graph = with_float_clips(graph)
    else:
        graph = CHOOSERS[quantization](graph, ranges, x).choose().integers
    return graph, ends, x[0]


def typed(name, quantization, input_type=None, output_type=None):
    """The graph with these types at its ends, and the long sequence in them."""
    graph, ends, x = exported(name, quantization)
    graph = with_io_types(graph, input_type, output_type, *ends)
    tensor = graph.inputs[0]
    x = x if tensor.dtype == "float32" else real_values.quantize_input(x, tensor)
    return graph, x.astype(tensor.dtype)


def zeros(tensors):
    return [np.full(tensor.shape, tensor.zero_point, tensor.dtype) for tensor in tensors]


def invoked(subgraphs, x, states=()):
    """What the file of these subgraphs answers to a sequence: its outputs."""
    count = len(subgraphs[0].outputs)
    interpreter = Interpreter(write_subgraphs(subgraphs), output_count=count)
    return interpreter.invoke(x[np.newaxis], *states)


def streamed(wheel, graph, x):
    return wheel.run(write(graph), x, 1)[0]


@each_model
@each_quantization
@pytest.mark.parametrize("steps", [1, 2, LONG])
def test_sequence_answers_as_streaming_at_the_last_step_and_at_every_step(
    wheels, name, quantization, steps
):
    graph, x = typed(name, quantization)
    expected = streamed(wheels["installed"], graph, x[:steps])
    last = sequence(graph, steps, every_step=False, explicit=False)
    every = sequence(graph, steps, every_step=True, explicit=False)
    for wheel in wheels.values():
        (outputs,) = wheel.run(write_subgraphs(last), x[np.newaxis, :steps], 1)
        np.testing.assert_array_equal(outputs, expected[-1:])
        (outputs,) = wheel.run(write_subgraphs(every), x[np.newaxis, :steps], 1)
        np.testing.assert_array_equal(outputs, expected[np.newaxis])


@each_quantization
@pytest.mark.parametrize("input_type", [None, *TYPES])
@pytest.mark.parametrize("output_type", [None, *TYPES])
@pytest.mark.parametrize("every_step", [False, True])
def test_sequence_answers_as_streaming_whatever_the_types_at_its_ends(
    wheels, quantization, input_type, output_type, every_step
):
    graph, x = typed("FastGRNN", quantization, input_type, output_type)
    expected = streamed(wheels["installed"], graph, x[:9])
    subgraphs = sequence(graph, 9, every_step, explicit=False)
    (outputs,) = invoked(subgraphs, x[:9])
    assert outputs.dtype == graph.outputs[0].dtype
    expected = expected[np.newaxis] if every_step else expected[-1:]
    np.testing.assert_array_equal(outputs, expected)


@each_quantization
def test_every_invoke_is_a_sequence_of_its_own(wheels, quantization):
    graph, x = typed("stacked", quantization)
    data = write_subgraphs(sequence(graph, 8, every_step=False, explicit=False))
    (together,) = wheels["installed"].run(data, x[:32].reshape(4, 8, -1), 1)
    for index in range(4):
        alone = streamed(wheels["installed"], graph, x[8 * index : 8 * index + 8])
        np.testing.assert_array_equal(together[index], alone[-1])


# Explicit state


@each_model
@each_quantization
def test_explicit_state_gives_what_the_variable_gives(wheels, name, quantization):
    graph, x = typed(name, quantization)
    (subgraph,) = streaming(graph, explicit=True)
    count = 1 + len(graph.states)
    assert (len(subgraph.inputs), len(subgraph.outputs)) == (count, count)
    interpreter = Interpreter(write_subgraphs([subgraph]), output_count=count)
    outputs = interpreter.run(x, zeros(subgraph.inputs[1:]))
    np.testing.assert_array_equal(outputs, streamed(wheels["installed"], graph, x))


@each_model
@each_quantization
@pytest.mark.parametrize("every_step", [False, True])
def test_two_halves_of_a_sequence_chained_by_their_state_are_the_whole(
    name, quantization, every_step
):
    graph, x = typed(name, quantization)
    whole = sequence(graph, 20, every_step, explicit=True)
    half = sequence(graph, 10, every_step, explicit=True)
    start = zeros(whole[0].inputs[1:])
    expected, *states = invoked(whole, x[:20], start)
    first, *between = invoked(half, x[:10], start)
    second, *after = invoked(half, x[10:20], between)
    assert len(states) == len(graph.states)
    assert any(np.any(one != other) for one, other in zip(between, start, strict=True))
    rows = np.concatenate([first, second], axis=-2) if every_step else second
    np.testing.assert_array_equal(rows, expected)
    for one, other in zip(after, states, strict=True):
        np.testing.assert_array_equal(one, other)


@each_quantization
@pytest.mark.parametrize("mode", ["streaming", "sequence"])
def test_explicit_state_has_one_scale_before_and_after_which_are_listed_in_one_order(
    quantization, mode
):
    graph, _ = typed("LSTM", quantization)
    explicit = {"streaming": streaming, "sequence": lambda g, e: sequence(g, 5, False, e)}[mode]
    main = explicit(graph, True)[0]
    assert len(main.inputs) == len(main.outputs) == 3
    for before, after, state in zip(main.inputs[1:], main.outputs[1:], graph.states, strict=True):
        assert before.shape == after.shape == state.before.shape
        assert (before.scale, before.zero_point) == (after.scale, after.zero_point)
        assert (before.scale, before.dtype) == (state.after.scale, state.after.dtype)


def test_loop_is_never_unrolled():
    graph, _ = typed("FastGRNN", "int16x8")
    sizes = [len(write_subgraphs(sequence(graph, n, False, False))) for n in (100, 1_000, 10_000)]
    assert len(set(sizes)) == 1


# convert


@pytest.mark.parametrize("returns", [False, True])
@pytest.mark.parametrize("state", ["variable", "explicit"])
@each_quantization
def test_predict_of_a_sequence_model_is_predict_of_the_streaming_model(
    quantization, state, returns
):
    model = sequential(FastGRNN(4, return_sequences=returns), LAYERS.Dense(2), spread=0.3)
    x = sequences(6)
    whole = export.convert(model, x, quantization=quantization, mode="sequence", state=state)
    steps = export.convert(model, x, quantization=quantization, state=state)
    np.testing.assert_array_equal(whole.predict(x), steps.predict(x))
    assert whole.predict(x).shape == model.predict(x, verbose=0).shape


def test_sequence_of_any_number_of_steps_is_refused():
    model = keras.Sequential([LAYERS.Input((None, 3)), FastGRNN(4)])
    with pytest.raises(ValueError, match="expected a fixed number of steps for mode='sequence'"):
        export.convert(model, sequences(), mode="sequence")
