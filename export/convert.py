"""Keras model -> a model that TFLite Micro runs, in one call."""

import json
import sys
import warnings
from pathlib import Path

import numpy as np

from keras_fastgrnn.export import c_golden, c_model, c_operators, reference, report_files, tflm
from keras_fastgrnn.export.c_text import check_name
from keras_fastgrnn.export.calibrate import calibrate, check_sequences
from keras_fastgrnn.export.choose import Int8Chooser, Int16Chooser, spread
from keras_fastgrnn.export.errors import PrecisionWarning, SaturationWarning
from keras_fastgrnn.export.files import write_all
from keras_fastgrnn.export.graph import Graph
from keras_fastgrnn.export.io_types import TYPES, with_io_types
from keras_fastgrnn.export.layers import chain_of
from keras_fastgrnn.export.precision import rounding_costs
from keras_fastgrnn.export.report import Report, compare, describe, observe
from keras_fastgrnn.export.rewrite import fold_all, simplify
from keras_fastgrnn.export.subgraphs import Subgraph, sequence, streaming
from keras_fastgrnn.export.tflite import with_float_clips, write_subgraphs
from keras_fastgrnn.export.trace import trace
from keras_fastgrnn.keras_api import invalid_argument, keras

CHOOSERS = {"int16x8": Int16Chooser, "int8": Int8Chooser}
CHOICES = {
    "quantization": (*CHOOSERS, None),
    "mode": ("streaming", "sequence"),
    "state": ("variable", "explicit"),
    "input_type": (*TYPES, None),
    "output_type": (*TYPES, None),
}

# Above this root mean square error, as a part of the outputs' standard deviation, convert warns;
# int8 weights leave 0.003 to 0.06.
LARGEST_RELATIVE_ERROR = 0.1

# Sequences of the calibration data on which the cost of each tensor's rounding is measured.
COSTING_SEQUENCES = 64

# An input channel whose standard deviation is fewer integer steps than this may explain it.
COARSE_LEVELS = {"int16": 64.0, "int8": 2.0}


def convert(
    model,
    calibration_data=None,
    *,
    quantization: str | None = "int16x8",
    mode: str = "streaming",
    state: str = "variable",
    input_type: str | None = None,
    output_type: str | None = None,
    name: str = "model",
) -> "DeployedModel":
    """Exports a trained Keras model as a streaming TFLite Micro model.

    The exported model computes one time step per Invoke and keeps its state inside; `Reset()`
    starts a new sequence. Its head answers at every step; after the last one the answer is the
    Keras model's.

    "int16x8" has weights of 8 bits, activations and state of 16, and is computed in integers
    alone. Scales come from running `calibration_data` through the float model, so give some
    hundred sequences that reach what the device will see: a state that grows further later is
    clipped (and counted, see `DeployedModel.predict`). All channels of the input share one scale,
    so they should be of similar size. A `PrecisionWarning` tells where the integers differ much
    from the Keras model.

    Args:
        model: Trained Keras model, Sequential or Functional: a chain of Input, Normalization,
            Rescaling, Dropout, RNN with `FastRNNCell`, `FastGRNNCell`, `SimpleRNNCell`, `GRUCell`
            or `LSTMCell`, `FastRNN`, `FastGRNN`, `SimpleRNN`, `GRU`, `LSTM` and Dense layers, of
            the Keras that `keras_fastgrnn` runs on.
        calibration_data: Array of shape `(batch, steps, input_dim)`, as the Keras model takes
            it. Needed for "int16x8"; for `None` it fills the report. Defaults to `None`.
        quantization: "int16x8", or `None` for float32. Defaults to "int16x8".
        name: String, a C identifier that names files and C symbols. Defaults to "model".

    Returns:
        `DeployedModel`.

    Raises:
        UnsupportedLayerError: If a layer cannot be exported; names all of them.
        ValueError: If an argument is invalid or the model computes NaN.
        TypeError: If `model` is not a model of this process's Keras.

    Example:

    >>> import numpy as np
    >>> from keras_fastgrnn import FastGRNN, keras
    >>> from keras_fastgrnn import export
    >>> layers = [keras.layers.Input((128, 9)), FastGRNN(16), keras.layers.Dense(2)]
    >>> x = np.random.default_rng(0).normal(size=(20, 128, 9))
    >>> deployed = export.convert(keras.Sequential(layers), x, name="gesture")
    >>> deployed.predict(x).shape
    (20, 2)
    >>> len(deployed.tflite) < 2100
    True
    """
    check_name(name)
    options = {
        "quantization": quantization,
        "mode": mode,
        "state": state,
        "input_type": input_type,
        "output_type": output_type,
    }
    for argument, value in options.items():
        if not (value is None or isinstance(value, str)) or value not in CHOICES[argument]:
            choices = ", ".join(map(repr, CHOICES[argument]))
            raise invalid_argument(argument, f"one of {choices}", value)
    model = chain_of(model)
    graph = trace(model)
    simplify(graph)
    name_tensors(graph)
    _, steps, input_dim = model.inputs[0].shape
    if mode == "sequence" and steps is None:
        raise ValueError(
            "Received an invalid value for argument model, expected a fixed number of steps for "
            "mode='sequence', got an input of any number. Begin it with Input((steps, input_dim))."
        )
    x, expected, ranges, costs = calibration_data, None, {}, {}
    integer_ends = {"int8", "int16"} & {input_type, output_type}
    if x is not None or quantization is not None or integer_ends:
        x = check_sequences(x, input_dim, "calibration_data", steps)
        expected = _keras_outputs(model, x)
        ranges = calibrate(graph, x)
    ends = ranges.get(graph.inputs[0]), ranges.get(graph.outputs[0])
    if quantization is None:
        fold_all(graph)
        graph = with_float_clips(graph)
    else:
        chosen = CHOOSERS[quantization](graph, ranges, x).choose()
        every_step = len(model.outputs[0].shape) == 3
        sample = spread(x, COSTING_SEQUENCES)
        costs = rounding_costs(chosen.graph, chosen.integers, sample, every_step)
        graph = chosen.integers
    graph = with_io_types(graph, input_type, output_type, *ends)
    deployed = DeployedModel(model, graph, options, name, x, expected, costs)
    if quantization is not None:
        _warn_of_imprecision(deployed, x)
    return deployed


def _keras_outputs(model, x) -> np.ndarray:
    outputs = model.predict(x, verbose=0)
    if not np.isfinite(outputs).all():
        raise ValueError(
            "The model computes NaN or infinite values on the calibration data. Check its weights."
        )
    return outputs


class DeployedModel:
    """An exported model: its bytes, a report, and TFLite Micro to run it. Made by `convert`.

    Attributes:
        name: String, the C identifier.
        tflite: Bytes of the `.tflite` file.
        inputs: List of `Tensor`, the inputs of the file: the model's own, then explicit states.
        outputs: List of `Tensor`, the outputs of the file in the same order.
        graph: `Graph`, the computation of one step, which `keras_fastgrnn.export.reference` runs.
        report: `Report`.
    """

    def __init__(self, model, graph: Graph, options, name, calibration_data, expected, costs):
        self.name = name
        self.graph = graph
        self._steps = model.inputs[0].shape[1] if options["mode"] == "sequence" else None
        self._returns_sequences = len(model.outputs[0].shape) == 3
        is_explicit = options["state"] == "explicit"
        subgraphs = self._subgraphs(is_explicit)
        self.inputs, self.outputs = subgraphs[0].inputs, subgraphs[0].outputs
        self.tflite = write_subgraphs(subgraphs, portable=is_explicit)
        self._interpreter = None
        self._golden = None
        tensors, agreement = [], None
        if calibration_data is not None:
            integers = self._to_input(calibration_data)
            outputs, tensors = observe(graph, integers)
            self._golden = self._by_invoke(integers[0], outputs[0])
            agreement = compare(self._from_output(outputs), expected)
        arena = tflm.find_arena_size(self.tflite) if tflm.is_available() else None
        self.report: Report = describe(
            graph, name, options, self.tflite, arena, tensors, agreement, costs
        )

    def _subgraphs(self, is_explicit: bool) -> list[Subgraph]:
        if self._steps is None:
            return streaming(self.graph, is_explicit)
        return sequence(self.graph, self._steps, self._returns_sequences, is_explicit)

    def _by_invoke(self, inputs, outputs) -> tuple[np.ndarray, np.ndarray]:
        """One sequence as what each Invoke is given and answers."""
        if self._steps is None:
            return inputs, outputs
        answer = outputs if self._returns_sequences else outputs[-1]
        return inputs[np.newaxis], answer[np.newaxis]

    def predict(self, x, *, on: str = "tflm", verbose: bool | None = None) -> np.ndarray:
        """Runs whole sequences, each from a zero state, and returns what the device would.

        Values that leave the range of their tensor are clipped there, as on the device, and
        counted: a `SaturationWarning` names the tensors where that changes results.

        Args:
            x: Array of shape `(batch, steps, input_dim)`, as the Keras model takes it.
            on: "tflm" for TFLite Micro itself, or "reference" for the NumPy reference, which
                computes the same integers. Defaults to "tflm".
            verbose: Boolean, whether to show a progress bar. Defaults to `None`, which shows one
                on a terminal.

        Returns:
            float32 array of the Keras model's output shape.

        Raises:
            MissingRuntimeError: If TFLite Micro is not installed.
            ValueError: If an argument is invalid.
        """
        if on not in ("tflm", "reference"):
            raise invalid_argument("on", "'tflm' or 'reference'", on)
        x = check_sequences(x, self.graph.inputs[0].shape[-1], "x", self._steps)
        integers = self._to_input(x)
        outputs, tensors = observe(self.graph, integers)
        _warn_of_saturation(tensors)
        if on == "tflm":
            outputs = self._run_on_tflm(integers, verbose)
        return self._from_output(outputs)

    def __repr__(self) -> str:
        kind = self.report.quantization or "float32"
        return f"<DeployedModel {self.name!r}: {kind}, {self.report.file_bytes:,} bytes>"

    def save(self, folder, *, overwrite: bool = False) -> list[Path]:
        """Writes what a firmware needs, and the report, all named after the model.

        The C files are C99 and C++11: `NAME.tflite` as an array (`NAME_model.h`, `NAME_model.cc`)
        with the sizes, scales and conversions of input and output; `NAME_ops.h`, which registers
        its operators; and, where there was calibration data, `NAME_golden.h`, a self-test for the
        device on its first sequence, at most 16 Invokes of it. The report is `NAME_report.json`
        and `NAME_report.md`, with the picture `NAME_report.png`.

        Args:
            folder: Path of the folder; it is made if it is not there.
            overwrite: Boolean, whether to replace files of these names. Defaults to `False`.

        Returns:
            List of the paths.

        Raises:
            FileExistsError: If one of the files is there and `overwrite` is false.
            OSError: If the folder cannot be made or written.
        """
        name, tflite, report, graph = self.name, self.tflite, self.report, self.graph
        inputs, outputs = self.inputs, self.outputs
        texts = {
            "model.h": c_model.header(name, tflite, report.arena_bytes, inputs, outputs),
            "model.cc": c_model.source(name, tflite),
            "ops.h": c_operators.header(name, tflite),
            "report.json": json.dumps(report.to_dict(), indent=2) + "\n",
            "report.md": report_files.markdown(report, graph, f"{name}_report.png"),
        }
        if self._golden is not None:
            texts["golden.h"] = c_golden.header(name, inputs[0], outputs[0], *self._golden)
        contents = {
            f"{name}.tflite": tflite,
            **{f"{name}_{ending}": text.encode() for ending, text in texts.items()},
            f"{name}_report.png": report_files.picture(report, graph),
        }
        return write_all(folder, contents, overwrite)

    def _to_input(self, x) -> np.ndarray:
        tensor = self.graph.inputs[0]
        return x if tensor.scale is None else reference.quantize_input(x, tensor)

    def _from_output(self, outputs) -> np.ndarray:
        tensor = self.graph.outputs[0]
        if tensor.scale is not None:
            outputs = reference.dequantize_values(outputs, tensor)
        return np.asarray(outputs if self._returns_sequences else outputs[:, -1], np.float32)

    def _run_on_tflm(self, integers, verbose) -> np.ndarray:
        if self._interpreter is None:
            self._interpreter = tflm.Interpreter(self.tflite, output_count=len(self.outputs))
        states = [np.full(t.shape, t.zero_point, t.dtype) for t in self.inputs[1:]]
        show = sys.stdout.isatty() if verbose is None else verbose
        progress = keras.utils.Progbar(len(integers), unit_name="sequence", verbose=int(show))
        outputs = []
        for values in integers:
            if self._steps is None:
                outputs.append(self._interpreter.run(values, states))
            else:
                outputs.append(self._interpreter.invoke(values, *states)[0])
            progress.add(1)
        return np.stack(outputs)


def name_tensors(graph: Graph) -> None:
    """Gives every tensor that nothing named a name from its operator."""
    for index, op in enumerate(graph.ops):
        op.output.name = op.output.name or f"{op.kind.lower()}_{index}"


def _warn_of_imprecision(deployed, x) -> None:
    report = deployed.report
    error = report.agreement.relative_error
    if error <= LARGEST_RELATIVE_ERROR:
        return
    scale, coarse_levels = _input_scale(deployed.graph)
    levels = x.std(axis=(0, 1)) / scale
    coarse = np.flatnonzero(levels < coarse_levels)
    costliest = next(iter(report.rounding_costs))
    advice = f"The rounding of {costliest!r} costs most. "
    if coarse.size:
        advice = (
            f"The input has one scale for all its channels, and channels {coarse.tolist()} vary by "
            f"only {levels[coarse].min():.2g} of its integer steps: bring the channels to a "
            "similar size before the model, in the training data and in the firmware."
        )
    elif report.quantization == "int8":
        advice += "quantization='int16x8' rounds it 256 times finer, at nearly the same size."
    else:
        advice += "Compare predict with the Keras model before you use it."
    warnings.warn(
        f"The integer outputs differ from the Keras model's by {100 * error:.2g} % of the outputs' "
        f"standard deviation on the calibration data. {advice}",
        PrecisionWarning,
        stacklevel=3,
    )


def _input_scale(graph: Graph) -> tuple[float, float]:
    """The scale in which the model computes with its input, and how few steps of it are coarse."""
    (x,) = graph.inputs
    computed = graph.ops[0].output if x.dtype == "float32" else x
    return computed.scale, COARSE_LEVELS[computed.dtype]


def _warn_of_saturation(tensors) -> None:
    clipped = [t for t in tensors if t.saturated and not t.by_design]
    if clipped:
        lines = "; ".join(
            f"{'the state ' if t.is_state else ''}{t.name!r} beyond {t.limit:.4g} in "
            f"{t.saturated:,} of {t.values:,} values"
            for t in clipped
        )
        warnings.warn(
            f"Values left the range of their tensor and were clipped, as the device clips them: "
            f"{lines}. Calibrate with data that reaches these values.",
            SaturationWarning,
            stacklevel=3,
        )
