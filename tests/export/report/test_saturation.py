"""Values that leave 16 bits on other data than the calibration's are counted and told."""

import re
import warnings

import numpy as np
import pytest
from small_models import needs_tflm, sequences, sequential

from keras_fastgrnn import FastGRNN, FastRNN, export, keras
from keras_fastgrnn.export.tflite.write import write
from keras_fastgrnn.export.tflm.interpreter import Interpreter
from keras_fastgrnn.graph import real_values

LAYERS = keras.layers
ENDS = (-32768, 32767)


@pytest.mark.parametrize("category", [export.PrecisionWarning, export.SaturationWarning])
def test_warning_of_our_own_is_an_error_in_the_tests(category):
    with pytest.raises(category):
        warnings.warn("Ours, raised in the name of a caller.", category, stacklevel=1)


def warnings_of(deployed, x, on="reference", **arguments):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        deployed.predict(x, on=on, **arguments)
    return [w for w in caught if issubclass(w.category, export.SaturationWarning)]


def counts_of(warning):
    """The numbers in a warning: tensor name -> (values at an end, values)."""
    found = re.findall(r"'(\S+)' beyond \S+ in ([\d,]+) of ([\d,]+) values", str(warning.message))
    return {name: tuple(int(n.replace(",", "")) for n in numbers) for name, *numbers in found}


def accumulator():
    """A FastRNN that adds its inputs up: `h' = x + h`."""
    layer = FastRNN(
        1, "linear", use_bias=False, alpha_initializer=30.0, beta_initializer=30.0, name="sum"
    )
    model = keras.Sequential([LAYERS.Input((None, 1)), layer, LAYERS.Dense(1, use_bias=False)])
    for weight, number in zip(model.trainable_weights, (1.0, 0.0, 30.0, 30.0, 0.0009), strict=True):
        weight.assign(np.full(tuple(weight.shape), number))
    return model


@pytest.fixture(scope="module")
def counter():
    """The accumulator, calibrated on ten steps of 1: it reaches 10, and 16 fits."""
    return export.convert(accumulator(), np.ones((1, 10, 1)))


def test_state_that_grows_past_its_range_is_named_and_counted(counter):
    """It is clipped from step 16 on, to 16 - 2^-11."""
    (warning,) = warnings_of(counter, np.ones((3, 100, 1)))
    assert str(warning.message) == (
        "Values left the range that calibration or training saw, and were clipped, as the device "
        "clips them: the state 'sum/state' beyond 16 in 255 of 300 values. Calibrate, or train, "
        "with data that reaches these values, in sequences as long as the device's."
    )
    assert warning.filename == __file__
    outputs = counter.predict(np.ones((1, 12, 1)), on="reference")
    assert outputs[0, 0] == pytest.approx(0.0108, rel=0.01)


def test_negative_end_counts_too(counter):
    (warning,) = warnings_of(counter, -np.ones((2, 20, 1)))
    assert counts_of(warning) == {"sum/state": (2 * 5, 40)}


@pytest.mark.parametrize("steps", [1, 10, 15])
def test_state_within_its_range_gives_no_warning(counter, steps):
    assert warnings_of(counter, np.ones((3, steps, 1))) == []


def test_input_beyond_its_range_is_named(counter):
    (warning,) = warnings_of(counter, np.array([[[1.0], [5.0], [-4.0]]]))
    assert counts_of(warning) == {"input": (2, 3)}


KINDS = {
    "tanh": lambda: [FastGRNN(4), LAYERS.Dense(2)],
    "relu": lambda: [FastRNN(4, "relu"), LAYERS.Dense(2)],
    "hard": lambda: [FastGRNN(4, "quant_tanh", "quant_sigmoid"), LAYERS.Dense(2)],
    "relu head": lambda: [FastRNN(4), LAYERS.Dense(8, "relu")],
    "relu before": lambda: [LAYERS.Dense(8, "relu"), FastGRNN(4)],
    "softmax": lambda: [FastRNN(4, "linear"), LAYERS.Dense(3, "softmax")],
}


@pytest.mark.parametrize("layers", KINDS.values(), ids=KINDS)
def test_data_like_that_of_the_calibration_gives_no_warning(layers):
    x = sequences(300, seed=1)
    deployed = export.convert(sequential(*layers(), spread=0.25), x)
    assert warnings_of(deployed, x) == []
    assert warnings_of(deployed, sequences(20, seed=2)) == []


@needs_tflm
@pytest.mark.parametrize("layers", KINDS.values(), ids=KINDS)
def test_numbers_in_the_warning_are_those_that_tflite_micro_computes(layers):
    """Every tensor at an end of 16 bits is counted, except where nothing is lost by it."""
    deployed = export.convert(sequential(*layers(), spread=0.4), sequences())
    x = 8.0 * sequences(5, seed=3)
    (warning,) = warnings_of(deployed, x, return_sequences=True)
    graph = deployed.graph
    tensors = {op.output.name: op.output for op in graph.ops}
    opened = Interpreter(write(graph, outputs=[*tensors.values()]), output_count=len(tensors))
    found = dict.fromkeys([*tensors, "input"], 0)
    for sequence in real_values.quantize_input(x, graph.inputs[0]):
        opened.reset()
        for row in sequence:
            found["input"] += np.isin(row, ENDS).sum()
            for name, result in zip(tensors, opened.invoke(row[np.newaxis]), strict=True):
                found[name] += np.isin(result, ENDS).sum()
    told = {name: saturated for name, (saturated, _) in counts_of(warning).items()}
    assert "input" in told
    for name, saturated in told.items():
        assert saturated == found[name]
    # Sigmoid and tanh end at 1 by themselves; beyond 8 their inputs make no difference.
    harmless = ("gate", "candidate", "gate_pre", "candidate_pre", "inputs", "logits")
    silent = {name for name, count in found.items() if count and name not in told}
    for name in silent:
        kind = graph.producer(tensors[name]).kind
        assert name.endswith(harmless) or kind in ("LOGISTIC", "SOFTMAX"), name


@pytest.mark.parametrize("on", [pytest.param("tflm", marks=needs_tflm), "reference"])
def test_warning_comes_wherever_the_model_runs(counter, on):
    (warning,) = warnings_of(counter, np.ones((1, 20, 1)), on)
    assert counts_of(warning) == {"sum/state": (5, 20)}


def test_output_of_a_relu_that_is_clipped_is_told():
    """The head answers 1 in calibration and up to 3 later: 2 - 2^-14 is its end."""
    head = LAYERS.Dense(1, "relu", use_bias=False, name="head")
    layer = FastRNN(1, "linear", use_bias=False, alpha_initializer=30.0, beta_initializer=-30.0)
    model = keras.Sequential([LAYERS.Input((None, 1)), layer, head])
    for weight, number in zip(model.trainable_weights, (1.0, 0.0, 30.0, -30.0, 1.0), strict=True):
        weight.assign(np.full(tuple(weight.shape), number))
    x = np.array([[[1.0], [-1.0], [1.0]]])
    deployed = export.convert(model, x)
    assert warnings_of(deployed, 1.2 * x) == []
    (warning,) = warnings_of(deployed, 3.0 * x)
    assert counts_of(warning)["head"] == (1, 1)
    (warning,) = warnings_of(deployed, 3.0 * x, return_sequences=True)
    assert counts_of(warning)["head"] == (2, 3)


def test_float_model_never_saturates():
    deployed = export.convert(accumulator(), np.ones((1, 10, 1)), quantization=None)
    assert warnings_of(deployed, 1e6 * np.ones((3, 100, 1))) == []


@pytest.mark.parametrize("head", ["softmax", "sigmoid", "tanh"])
@pytest.mark.parametrize(
    ("quantization", "output_type"), [("int16x8", "int8"), ("int8", "int16"), ("int8", "float32")]
)
def test_converted_output_of_a_function_that_ends_there_gives_no_warning(
    head, quantization, output_type
):
    model = sequential(FastGRNN(3), LAYERS.Dense(2, activation=head))
    model.layers[-1].bias.assign([30.0, -30.0])
    x = sequences()
    deployed = export.convert(model, x, quantization=quantization, output_type=output_type)
    assert not [w for w in warnings_of(deployed, x) if "dense" in str(w.message)]


def test_converted_output_beyond_its_calibrated_range_is_told():
    model = sequential(FastGRNN(3), LAYERS.Dense(2))
    deployed = export.convert(model, 0.01 * sequences(), output_type="int8")
    (warning,) = warnings_of(deployed, sequences())
    assert "'dense" in str(warning.message)


@pytest.mark.parametrize("quantization", ["int16x8", "int8"])
def test_calibration_data_itself_gives_no_warning(quantization):
    for seed in range(5):
        model = sequential(FastGRNN(6), LAYERS.Dense(3), seed=seed)
        deployed = export.convert(model, sequences(64), quantization=quantization)
        assert not warnings_of(deployed, sequences(64))
