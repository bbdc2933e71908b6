"""Files with explicit state in full LiteRT, the desktop's interpreter, with its reference kernels.

LiteRT computes the same but for two roundings in FULLY_CONNECTED: with int8 it rounds once where
TFLite Micro rounds twice, and with int16 its multiplier has 31 bits where TFLite Micro's has 16.
"""

import numpy as np
import pytest
from random_models import randomize
from small_models import needs_tflm, sequences

from keras_fastgrnn import FastGRNN, export, keras
from keras_fastgrnn.export.tflm.interpreter import Interpreter
from keras_fastgrnn.graph import real_values

litert = pytest.importorskip("ai_edge_litert.interpreter")
pytestmark = needs_tflm
STEPS, CHANNELS = 128, 9

each_type = pytest.mark.parametrize("quantization", ["int16x8", "int8", None])


class LiteRT:
    """The interpreter on one file, called as ours is."""

    def __init__(self, model: bytes):
        self.interpreter = litert.Interpreter(
            model_content=model,
            experimental_op_resolver_type=litert.OpResolverType.BUILTIN_REF,
        )
        self.interpreter.allocate_tensors()

    def invoke(self, *inputs):
        details = self.interpreter.get_input_details()
        for detail, value in zip(details, inputs, strict=True):
            self.interpreter.set_tensor(detail["index"], value)
        self.interpreter.invoke()
        outputs = self.interpreter.get_output_details()
        return [self.interpreter.get_tensor(detail["index"]) for detail in outputs]


@pytest.fixture(scope="module")
def data():
    return sequences(20, STEPS, CHANNELS)


@pytest.fixture(scope="module")
def model():
    layers = [keras.layers.Input((STEPS, CHANNELS)), FastGRNN(16), keras.layers.Dense(2)]
    model = keras.Sequential(layers)
    rng = np.random.default_rng(0)
    for weight in model.trainable_weights:
        if len(weight.shape):  # zeta and nu stay what they begin with
            weight.assign(rng.normal(0.0, 0.3, tuple(weight.shape)))
    return model


@pytest.fixture(scope="module")
def deployed(model, data):
    """Files of explicit state, by quantization and mode."""
    return {
        (quantization, mode): export.convert(
            model, data, quantization=quantization, mode=mode, state="explicit"
        )
        for quantization in ("int16x8", "int8", None)
        for mode in ("streaming", "sequence")
    }


def given(deployed, x):
    """Data in the numbers of the file's input, and what stands for a state of 0."""
    tensor = deployed.inputs[0]
    x = x if tensor.scale is None else real_values.quantize_input(x, tensor)
    states = [np.full(t.shape, t.zero_point, t.dtype) for t in deployed.inputs[1:]]
    return x.astype(tensor.dtype), states


def streamed(runner, x, states):
    """Outputs and states of every step."""
    results, kept = [], []
    for row in x[:, np.newaxis]:
        result, *states = runner.invoke(row, *states)
        results.append(result[0])
        kept.append(states[0][0])
    return np.array(results, float), np.array(kept, float)


def test_float_model_answers_as_keras(model, deployed, data):
    streaming = deployed[None, "streaming"]
    expected = model.predict(data, verbose=0)
    runner = LiteRT(streaming.tflite)
    outputs = [streamed(runner, *given(streaming, x))[0][-1] for x in data]
    # float32 sums of 25 numbers in another order, over 128 steps.
    np.testing.assert_allclose(outputs, expected, atol=1e-5)


@pytest.mark.parametrize("quantization", ["int16x8", "int8"])
def test_integers_are_those_of_tflite_micro_in_128_steps(deployed, data, quantization):
    streaming = deployed[quantization, "streaming"]
    desktop = LiteRT(streaming.tflite)
    micro = Interpreter(streaming.tflite, output_count=2)
    for x in data:
        found = streamed(desktop, *given(streaming, x))
        expected = streamed(micro, *given(streaming, x))
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)
        assert np.ptp(found[0]) > 10 and np.ptp(found[1]) > 10


@each_type
def test_whole_sequence_answers_as_step_by_step(deployed, data, quantization):
    streaming, whole = (deployed[quantization, mode] for mode in ("streaming", "sequence"))
    desktop, desktop_whole = LiteRT(streaming.tflite), LiteRT(whole.tflite)
    for x in data[:4]:
        logits, states = streamed(desktop, *given(streaming, x))
        x, start = given(whole, x)
        output, state = desktop_whole.invoke(x[np.newaxis], *start)
        np.testing.assert_array_equal(output[0], logits[-1])
        np.testing.assert_array_equal(state[0], states[-1])


@each_type
@pytest.mark.parametrize("input_type", ["int8", "int16", "float32"])
def test_other_types_at_the_ends_and_every_step_run_too(quantization, input_type):
    layers = [keras.layers.Input((7, 3)), keras.layers.LSTM(4, return_sequences=True)]
    model = keras.Sequential([*layers, FastGRNN(5, return_sequences=True)])
    randomize(model, np.random.default_rng(1), 0.1)
    x = sequences(8, 7, 3)
    deployed = export.convert(
        model,
        x,
        quantization=quantization,
        mode="sequence",
        state="explicit",
        input_type=input_type,
        output_type="float32",
    )
    sequence, states = given(deployed, x[0])
    output, *after = LiteRT(deployed.tflite).invoke(sequence[np.newaxis], *states)
    assert [a.shape for a in after] == [(1, 4), (1, 4), (1, 5)]
    expected = deployed.predict(x[:1])
    # The roundings named above, in 7 steps: 4 units of int8 over a range of about 2.
    tolerance = {"int16x8": 1e-3, "int8": 4 * 2 / 253, None: 1e-5}[quantization]
    np.testing.assert_allclose(output, expected, atol=tolerance)
