"""What a trained model answers and costs once it is deployed: TFLite Micro, and plain C."""

import contextlib
import functools
import warnings

import numpy as np

from benchmarks.measurements import Model, Stopwatch
from benchmarks.tasks import Part
from examples.firmware import firmware
from examples.firmware.golden import checksums_of, generated_inputs, golden_of
from keras_fastgrnn import export, keras, sparsity
from keras_fastgrnn.graph import real_values

FORMATS = ("int16x8", "int8")
DEVICES = ("cortex-m4", "atmega328p")
TIMING_ROUNDS = 20
GOLDEN_STEPS = 16
LONG_RUN_BLOCKS = 4


def quality(logits: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Returns the accuracy of answers, and their F1 score averaged over the classes.

    Args:
        logits: Array of shape `(sequences, classes)`.
        y: Integer array of shape `(sequences,)`.

    Returns:
        Dictionary of "accuracy" and "f1", both in [0, 1].
    """
    answers = logits.argmax(axis=1)
    scores = []
    for label in np.unique(y):
        hits = np.sum((answers == label) & (y == label))
        scores.append(2 * hits / (np.sum(answers == label) + np.sum(y == label)))
    return {"accuracy": float(np.mean(answers == y)), "f1": float(np.mean(scores))}


def in_keras(model, test: Part) -> dict[str, float]:
    """Returns the `quality` of a Keras model."""
    return quality(model.predict(test.x, batch_size=500, verbose=0), test.y)


def on_tflm(model, test: Part, **options) -> dict:
    """Exports a model, runs it on TFLite Micro, and measures both.

    Args:
        model: Keras model.
        test: `Part`.
        **options: Arguments of `export.convert`.

    Returns:
        Dictionary of the `quality`, "file_bytes", "arena_bytes", and "invoke": the time of an
        Invoke over that of a GRU of 32 units with as many channels, timed in turns with it.
    """
    with _quiet():
        deployed = export.convert(model, name="model", **options)
        logits = deployed.predict(test.x, verbose=False)
    report = deployed.report
    return {
        **quality(logits, test.y),
        "file_bytes": report.file_bytes,
        "arena_bytes": report.arena_bytes,
        "invoke": _invoke_ratio(deployed, test.x.shape[1:]),
    }


def in_c(model, test: Part, **options) -> dict:
    """Exports a model as plain C and runs it here, on a Cortex-M4 and on an ATmega328P.

    Args:
        model: Keras model.
        test: `Part`.
        **options: Arguments of `export.convert_c`.

    Returns:
        Dictionary of the `quality`, "constant_bytes", and for each of `DEVICES` a dictionary of
        "step" and "output", instructions or cycles, "flash" and "ram" in bytes; or a string that
        says why the model does not run there.
    """
    with _quiet():
        deployed = export.convert_c(model, name="model", **options)
        logits = deployed.predict(test.x)
    costs = {device: _cost(deployed, test.x, device) for device in DEVICES}
    stored = sum(deployed.report.constant_bytes.values())
    return {**quality(logits, test.y), "constant_bytes": stored, **costs}


def stored_bytes(model, weight_bits: int = 8, bias_bytes: int = 4) -> dict[str, int]:
    """Returns what a model's parameters store in: "best" in our storage, "paper" by its count."""
    totals = sparsity.report(model, weight_bits, bias_bytes).total_bytes
    return {name: int(totals[name]) for name in ("best", "paper")}


@contextlib.contextmanager
def _quiet():
    """Hides the warnings about a model's precision, which the accuracies tell."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", (export.PrecisionWarning, export.SaturationWarning))
        yield


def _cost(deployed, x, device: str) -> dict | str:
    target = firmware.TARGETS[device]
    inputs = real_values.quantize_input(x[:1, :GOLDEN_STEPS], deployed.graph.inputs[0])
    long_run = golden_of(deployed, generated_inputs(LONG_RUN_BLOCKS, x.shape[2]))
    golden = golden_of(deployed, inputs)
    try:
        result = firmware.test(target, deployed, golden, checksums_of(long_run), "-O2")
    except firmware.TooLargeError as error:
        return str(error)
    if not result.has_passed:
        raise RuntimeError(f"{target.title}: {result.differences} numbers differ")
    return {name: getattr(result, name) for name in ("step", "output", "flash", "ram")}


def _invoke_ratio(deployed, shape) -> float:
    own = Stopwatch(_timed(deployed))
    yardstick = Stopwatch(_yardstick(*shape))
    for _ in range(TIMING_ROUNDS):
        own.round()
        yardstick.round()
    return min(own.model.invoke) / min(yardstick.model.invoke)


@functools.cache
def _yardstick(steps: int, channels: int) -> Model:
    layers = [keras.layers.Input((steps, channels)), keras.layers.GRU(32), keras.layers.Dense(2)]
    x = np.random.default_rng(0).normal(size=(8, steps, channels)).astype(np.float32)
    with _quiet():
        return _timed(export.convert(keras.Sequential(layers), x))


def _timed(deployed) -> Model:
    model = Model("", "", "streaming", deployed.report.quantization, deployed.tflite, ["x"], ["y"])
    model.arena = deployed.report.arena_bytes
    return model
