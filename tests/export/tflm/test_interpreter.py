"""Exported models on TFLite Micro itself: its state, its arena, and where it is not installed."""

import os

import numpy as np
import pytest
from blocked_tflm import BLOCKER
from small_models import needs_tflm, sequences, sequential

from keras_fastgrnn import FastGRNN, FastGRNNCell, FastRNN, FastRNNCell, export, keras
from keras_fastgrnn.export.tflm import interpreter as tflm

LAYERS = keras.layers

# float32 sums of ten numbers in another order, over 24 steps.
FLOAT32 = 1e-5


@pytest.fixture(scope="module")
def model():
    return sequential(FastGRNN(5), LAYERS.Dense(2), steps=None)


@pytest.fixture(scope="module")
def floats(model):
    return export.convert(model, quantization=None)


@pytest.fixture(scope="module")
def integers(model):
    return export.convert(model, sequences())


def stream(interpreter, rows):
    return np.array([interpreter.invoke(row[np.newaxis])[0][0] for row in rows])


@needs_tflm
def test_state_goes_on_until_reset_starts_a_new_sequence(model, floats):
    x = sequences(2)
    interpreter = tflm.Interpreter(floats.tflite)
    interpreter.reset()
    first = [stream(interpreter, x[0])[-1], stream(interpreter, x[1])[-1]]
    interpreter.reset()
    second = stream(interpreter, x[1])[-1]

    joined = x.reshape(1, -1, x.shape[-1])
    expected = [model.predict(s, verbose=0)[0] for s in (x[:1], joined, x[1:])]
    np.testing.assert_allclose([*first, second], expected, atol=FLOAT32)
    assert np.abs(expected[1] - expected[2]).max() > 100 * FLOAT32


@needs_tflm
@pytest.mark.parametrize("quantization", ["int16x8", None])
def test_new_interpreter_starts_at_zero_without_reset(quantization, floats, integers):
    deployed = floats if quantization is None else integers
    x = sequences(1)[0] if quantization is None else np.full((12, 3), 999, np.int16)
    expected = tflm.Interpreter(deployed.tflite).run(x)
    for _ in range(20):  # memory that was used before
        np.testing.assert_array_equal(stream(tflm.Interpreter(deployed.tflite), x), expected)


@needs_tflm
def test_every_layer_of_a_stack_has_its_own_state():
    cells = [FastGRNNCell(5), FastRNNCell(3)]
    layers = LAYERS.RNN(cells, return_sequences=True), FastGRNN(2), LAYERS.Dense(2)
    model = sequential(*layers, steps=None)
    interpreter = tflm.Interpreter(export.convert(model, quantization=None).tflite)
    x = sequences(2)
    for joined in (x[:1], x.reshape(1, -1, x.shape[-1])):
        interpreter.reset()
        expected = model.predict(joined, verbose=0)[0]
        np.testing.assert_allclose(stream(interpreter, joined[0])[-1], expected, atol=FLOAT32)


@needs_tflm
def test_run_starts_every_sequence_at_zero_and_returns_every_step(integers):
    interpreter = tflm.Interpreter(integers.tflite)
    x = np.random.default_rng(0).integers(-9999, 9999, (12, 3)).astype(np.int16)
    first, second = interpreter.run(x), interpreter.run(x)
    assert (first.shape, first.dtype) == ((12, 2), np.int16)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(interpreter.run(x[:5]), first[:5])


# Arena


def stack(count):
    return [LAYERS.RNN([FastGRNNCell(3) for _ in range(count)]), LAYERS.Dense(20)]


SIZES = {
    "tiny": lambda: [FastRNN(1)],
    "small": lambda: [FastGRNN(4), LAYERS.Dense(2)],
    "medium": lambda: [FastGRNN(16), LAYERS.Dense(2)],
    "low rank": lambda: [FastGRNN(64, kernel_rank=3, recurrent_rank=16), LAYERS.Dense(6)],
    "wide": lambda: [FastGRNN(400), LAYERS.Dense(6)],
    "wide without head": lambda: [FastRNN(300)],
    "hard": lambda: [FastGRNN(9, "quant_tanh", "quant_sigmoid4"), LAYERS.Dense(3, "softmax")],
    "Dense of every size": lambda: [LAYERS.Dense(300), FastRNN(2), LAYERS.Dense(100)],
    "stacked": lambda: stack(3),
    "deep": lambda: stack(9),
}


@needs_tflm
@pytest.mark.parametrize("quantization", ["int16x8", None])
@pytest.mark.parametrize("size", SIZES)
def test_model_runs_in_the_arena_found_and_not_in_32_bytes_less(size, quantization, monkeypatch):
    """Far below its need TFLite Micro's planner writes out of bounds: no such arena is tried."""
    tried = []

    class Recorded(tflm.Interpreter):
        def __init__(self, model, arena_size=1 << 20, *more):
            tried.append(arena_size)
            super().__init__(model, arena_size, *more)

    model = sequential(*SIZES[size](), spread=0.1)
    monkeypatch.setattr(tflm, "Interpreter", Recorded)
    deployed = export.convert(model, sequences(4), quantization=quantization)
    monkeypatch.undo()
    arena = deployed.report.arena_bytes
    assert arena % 16 == 0
    assert min(tried) > 0.95 * arena

    x = sequences(1)[0] if quantization is None else np.full((12, 3), 999, np.int16)
    tight, roomy = (tflm.Interpreter(deployed.tflite, size) for size in (arena, 1 << 20))
    np.testing.assert_array_equal(tight.run(x), roomy.run(x))
    with pytest.raises(
        RuntimeError, match=r"^TFLite Micro refuses the model: .*(arena|memory|buf)"
    ):
        tflm.Interpreter(deployed.tflite, arena - 32)


@needs_tflm
def test_conversions_of_many_sizes_do_not_end_the_process(run_python):
    """Writes out of bounds may go unseen once, and hardly forty times."""
    code = """
import sys
import numpy as np
from keras_fastgrnn.export.tflm import interpreter
from keras_fastgrnn.graph.graph import Constant, Graph, Op, State, Tensor
from keras_fastgrnn.export.tflite.write import write
for units in range(1, 200, 5):
    x, g, sum, after = (Tensor("", (1, units)) for _ in range(4))
    weights = Constant("", (units, units), data=np.eye(units))
    ops = [Op("FULLY_CONNECTED", [x, weights], sum), Op("ADD", [sum, g], after)]
    interpreter.find_arena_size(write(Graph([x], [after], ops, [State(g, after)])))
print("alive")
"""
    assert run_python("-c", code).strip() == "alive"


@needs_tflm
def test_model_that_tflite_micro_does_not_know_is_refused_in_its_own_words(floats):
    data = bytearray(floats.tflite)
    code = np.array([9], "<i4").tobytes()  # FULLY_CONNECTED
    place = data.find(code)
    while place != -1:
        data[place : place + 4] = np.array([11], "<i4").tobytes()  # EMBEDDING_LOOKUP_SPARSE
        place = data.find(code)
    with pytest.raises(RuntimeError, match=r"^TFLite Micro refuses the model: \w+"):
        tflm.Interpreter(bytes(data))


@needs_tflm
def test_nothing_is_printed_and_standard_error_is_given_back(model, capfd):
    deployed = export.convert(model, sequences())
    with pytest.raises(RuntimeError):
        tflm.Interpreter(deployed.tflite, deployed.report.arena_bytes - 16)
    deployed.predict(sequences())
    os.write(2, b"still here")
    assert capfd.readouterr() == ("", "still here")


# Without the wheel


def test_everything_but_tflite_micro_works_without_its_wheel(run_python, tmp_path):
    code = f"""
{BLOCKER}
import numpy as np
from keras_fastgrnn import FastGRNN, export, keras
from keras_fastgrnn.export.tflm import interpreter
assert not interpreter.is_available()
x = np.sin(np.arange(120.0)).reshape(4, 10, 3)
model = keras.Sequential([keras.layers.Input((10, 3)), FastGRNN(4), keras.layers.Dense(2)])
deployed = export.convert(model, x)
assert deployed.report.arena_bytes is None
assert "arena       not measured" in str(deployed.report)
difference = np.abs(deployed.predict(x, on="reference") - model.predict(x, verbose=0)).max()
assert difference < 0.05, difference
for call in (deployed.predict, lambda x: interpreter.find_arena_size(deployed.tflite)):
    try:
        call(x)
    except export.MissingRuntimeError as error:
        assert isinstance(error, ImportError)
        print(error)
deployed.save("out")
print(open("out/model_model.h").read())
"""
    output = run_python("-c", code)
    first, second, *header = output.splitlines()
    assert first == second
    assert first.startswith("TFLite Micro is not installed. Install") and "tflm" in first
    assert 'predict(x, on="reference")' in first
    text = "\n".join(header)
    assert "not measured" in text and "ARENA_SIZE" not in text
