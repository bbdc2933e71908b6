"""What `convert` returns: a model's file, which runs itself and writes what a firmware needs."""

import json
import os
import sys
import warnings
from pathlib import Path

import numpy as np

from keras_fastgrnn.errors import SaturationWarning
from keras_fastgrnn.export.files import write_all
from keras_fastgrnn.export.firmware import golden, model_array, resolver
from keras_fastgrnn.export.firmware.names import marked
from keras_fastgrnn.export.foreign.verify import verify
from keras_fastgrnn.export.lowering.lower import LoweredModel
from keras_fastgrnn.export.lowering.trained_scales import RARELY
from keras_fastgrnn.export.report import pages
from keras_fastgrnn.export.report.exactness import Exactness, compared, drawn_inputs
from keras_fastgrnn.export.report.report import Report, TensorReport, compare, describe, observe
from keras_fastgrnn.export.tflite.subgraphs import Subgraph, sequence, streaming
from keras_fastgrnn.export.tflite.write import write_subgraphs
from keras_fastgrnn.export.tflm import interpreter
from keras_fastgrnn.graph import real_values, reference
from keras_fastgrnn.graph.given_sequences import GivenSequences, wants_every_step
from keras_fastgrnn.graph.graph import Graph
from keras_fastgrnn.graph.operators import operator_of
from keras_fastgrnn.graph.sequences import Sequences, as_sequences
from keras_fastgrnn.keras_api import (
    Data,
    checked_boolean,
    checked_path,
    checked_verbose,
    invalid_argument,
    keras,
)


class DeployedModel:
    """An exported model: its bytes, a report, and TFLite Micro to run it. Made by `convert`.

    Attributes:
        name: String, the C identifier.
        tflite: Bytes of the `.tflite` file.
        inputs: List of `Tensor`, the inputs of the file: the model's own, then explicit states.
        outputs: List of `Tensor`, the outputs of the file in the same order.
        graph: `Graph`, the computation of one step, which `keras_fastgrnn.graph.reference` runs.
        report: `Report`.
    """

    def __init__(self, lowered: LoweredModel, graph: Graph, options, name, costs):
        self.name = name
        self.graph = graph
        self._frames = lowered.model.inputs[0].shape[1] if options["mode"] == "sequence" else None
        self._returns_sequences = lowered.returns_sequences
        self._masking = lowered.masking
        is_explicit = options["state"] == "explicit"
        subgraphs = self._subgraphs(is_explicit)
        self.inputs, self.outputs = subgraphs[0].inputs, subgraphs[0].outputs
        self.tflite = write_subgraphs(subgraphs, portable=is_explicit)
        verify(self.tflite)
        self._interpreter = None
        self._golden = None
        self._arena = (
            interpreter.find_arena_size(self.tflite) if interpreter.is_available() else None
        )
        tensors, agreement, exactness = [], None, None
        is_integer = options["quantization"] is not None
        if lowered.given is not None:
            integers = self._to_input(lowered.given.fed)
            outputs, tensors = observe(graph, integers)
            first = lowered.given.places[0]
            self._golden = self._by_invoke(integers.one_by_one()[first], outputs[first])
            answers = lowered.given.answers(outputs, self._returns_sequences, graph)
            agreement = compare(*lowered.at_fed_steps(answers), len(integers))
            exactness = self._exactness(integers, outputs) if is_integer else None
        elif is_integer:
            steps = None if self._frames is None else graph.feeding.answer.steps(self._frames)
            integers = Sequences(drawn_inputs(graph, steps))
            exactness = self._exactness(integers, reference.run(graph, integers))
        self.report: Report = describe(
            subgraphs,
            name,
            options,
            self.tflite,
            self._arena,
            tensors,
            agreement,
            costs,
            lowered.notes,
            exactness,
        )

    def _subgraphs(self, is_explicit: bool) -> list[Subgraph]:
        if self._frames is None:
            return streaming(self.graph, is_explicit)
        steps = self.graph.feeding.answer.steps(self._frames)
        return sequence(self.graph, steps, self._returns_sequences, is_explicit)

    def _by_invoke(self, inputs, outputs) -> tuple[np.ndarray, np.ndarray]:
        """One sequence as what each Invoke is given and answers."""
        if self._frames is None:
            return inputs, outputs
        answer = outputs if self._returns_sequences else outputs[-1]
        return inputs[np.newaxis], answer[np.newaxis]

    def predict(
        self,
        x: Data,
        *,
        on: str = "tflm",
        return_sequences: bool = False,
        verbose: bool | None = None,
    ) -> np.ndarray | list[np.ndarray]:
        """Runs whole sequences, each from a zero state, and returns what the device would.

        Values that leave the range of their tensor are clipped there, as on the device. A
        `SaturationWarning` counts those that also left what calibration, or quantization-aware
        training, saw of the tensor, a state first. What training clipped too, what calibration
        data has as often, and what makes no difference to its reader is no alarm. Only a float32
        input so large that its integer leaves 32 bits is undefined on the device: TFLite Micro on
        x86 answers with the lowest integer, the reference clips.

        A step that a Masking layer of the Keras model masks is not fed to the device, whose answer
        stays what it was, as Keras's does.

        Args:
            x: Array of shape `(batch, steps, input_dim)`, as the Keras model takes it, or list of
                arrays of shape `(steps, input_dim)`, each as long as it likes in streaming mode.
            on: "tflm" for TFLite Micro itself, or "reference" for the NumPy reference, which
                computes the same integers. Defaults to "tflm".
            return_sequences: Boolean, whether to return the answer at every step, whatever the
                Keras model returns. Defaults to `False`, for what the Keras model returns.
            verbose: Boolean, whether to show a progress bar. Defaults to `None`, which shows one
                on a terminal.

        Returns:
            float32 array of the Keras model's output shape, or `(batch, steps, outputs)` with
            `return_sequences`; a list of arrays of shape `(steps, outputs)` instead where answers
            at every step are asked for and the lengths differ. In the order given.

        Raises:
            MissingRuntimeError: If TFLite Micro is not installed.
            ValueError: If an argument is invalid.
        """
        if on not in ("tflm", "reference"):
            raise invalid_argument("on", "'tflm' or 'reference'", on)
        shown = checked_verbose(sys.stdout.isatty() if verbose is None else verbose)
        every_step = wants_every_step(return_sequences) or self._returns_sequences
        if self._frames is not None and every_step != self._returns_sequences:
            expected = "False for mode='sequence' and a model that answers at the end alone"
            raise invalid_argument("return_sequences", expected, return_sequences)
        graph = self.graph
        given = GivenSequences(x, graph.input_dim, "x", self._frames, self._masking, graph.feeding)
        interpreter = self._tflm() if on == "tflm" else None
        integers = self._to_input(given.fed)
        outputs, tensors = observe(self.graph, integers, every_step)
        warn_of_saturation(tensors, self.report.tensors)
        if interpreter is not None:
            outputs = self._run_on_tflm(interpreter, integers, shown)
        return given.answers(outputs, every_step, self.graph)

    def __repr__(self) -> str:
        kind = self.report.quantization or "float32"
        return f"<DeployedModel {self.name!r}: {kind}, {self.report.file_bytes:,} bytes>"

    def save(self, folder: str | bytes | os.PathLike, *, overwrite: bool = False) -> list[Path]:
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
            ValueError: If an argument is invalid.
        """
        folder = checked_path("folder", folder)
        overwrite = checked_boolean("overwrite", overwrite)
        name, tflite, report, graph = self.name, self.tflite, self.report, self.graph
        inputs, outputs = self.inputs, self.outputs
        texts = {
            "model.h": model_array.header(name, tflite, report.arena_bytes, inputs, outputs),
            "model.cc": model_array.source(name, tflite),
            "ops.h": resolver.header(name, tflite),
        }
        if self._golden is not None:
            texts["golden.h"] = golden.header(
                name, inputs[0], outputs[0], *self._golden, is_exact=report.quantization is not None
            )
        texts = {
            **marked(texts, tflite),
            "report.json": json.dumps(report.to_dict(), indent=2) + "\n",
            "report.md": pages.markdown(report, graph, f"{name}_report.png"),
        }
        contents = {
            f"{name}.tflite": tflite,
            **{f"{name}_{ending}": text.encode() for ending, text in texts.items()},
            f"{name}_report.png": pages.picture(report, graph),
        }
        return write_all(folder, contents, overwrite)

    def _to_input(self, x: Sequences) -> Sequences:
        tensor = self.graph.inputs[0]
        if tensor.scale is None:
            return x
        return as_sequences(x).map(lambda values: real_values.quantize_input(values, tensor))

    def _exactness(self, integers: Sequences, outputs) -> Exactness:
        if self._arena is None:
            return Exactness(None, problem="TFLite Micro is not installed.")
        interpreter = self._new_interpreter()
        matrices = [op.weights for op in self.graph.ops if operator_of(op.kind).has_matrix]
        return compared(
            "TFLite Micro",
            "TFLite Micro",
            lambda x: np.stack(self._run_on_tflm(interpreter, Sequences(x), verbose=0)),
            integers.one_by_one(),
            outputs,
            sum(matrix.data.size for matrix in matrices),
        )

    def _new_interpreter(self) -> interpreter.Interpreter:
        arena = max(interpreter.LARGE_ARENA, self._arena or 0)
        return interpreter.Interpreter(self.tflite, arena, len(self.outputs))

    def _tflm(self) -> interpreter.Interpreter:
        if self._interpreter is None:
            self._interpreter = self._new_interpreter()
        return self._interpreter

    def _run_on_tflm(self, interpreter, integers: Sequences, verbose):
        states = [np.full(t.shape, t.zero_point, t.dtype) for t in self.inputs[1:]]
        progress = keras.utils.Progbar(len(integers), unit_name="sequence", verbose=verbose)
        outputs = []
        for values in integers.one_by_one():
            if self._frames is None:
                outputs.append(interpreter.run(values, states))
            else:
                answer = interpreter.invoke(values[np.newaxis], *states)[0]
                outputs.append(answer.reshape(-1, answer.shape[-1]))
            progress.add(1)
        return outputs


def warn_of_saturation(tensors: list[TensorReport], calibrated: list[TensorReport]) -> None:
    """Warns the caller's caller of tensors whose values were clipped without precedent.

    Args:
        tensors: List of `TensorReport` over the data that was run.
        calibrated: List of `TensorReport` over the calibration data, which integers may leave a
            little further than real numbers do.
    """
    before = {t.name: min(t.lost / t.values, RARELY) for t in calibrated}
    clipped = [t for t in tensors if t.is_clipped and t.lost > before.get(t.name, 0.0) * t.values]
    clipped.sort(key=lambda t: not t.is_state)
    if clipped:
        lines = "; ".join(
            f"{'the state ' if t.is_state else ''}{t.name!r} beyond {t.limit:.4g} in "
            f"{t.lost:,} of {t.values:,} values"
            for t in clipped
        )
        warnings.warn(
            "Values left the range that calibration or training saw, and were clipped, as the "
            f"device clips them: {lines}. Calibrate, or train, with data that reaches these "
            "values, in sequences as long as the device's.",
            SaturationWarning,
            stacklevel=3,
        )
