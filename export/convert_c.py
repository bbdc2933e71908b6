"""Keras model -> two files of plain C that compute it, in one call."""

import dataclasses
import json
import os
import shlex
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_fastgrnn.export.deployed_model import warn_of_saturation
from keras_fastgrnn.export.files import write_all
from keras_fastgrnn.export.firmware.names import check_name, marked
from keras_fastgrnn.export.lowering.costs import rounding_costs
from keras_fastgrnn.export.lowering.lower import LoweredModel, lower
from keras_fastgrnn.export.plain_c import header
from keras_fastgrnn.export.plain_c.host import HostProgram, MissingCompilerError, section_bytes
from keras_fastgrnn.export.plain_c.schedule import for_c, with_logits
from keras_fastgrnn.export.plain_c.source import Source
from keras_fastgrnn.export.report.exactness import Exactness, compared, drawn_inputs
from keras_fastgrnn.export.report.report import Agreement, TensorReport, compare, observe
from keras_fastgrnn.export.report.warnings import warn_of_imprecision
from keras_fastgrnn.graph import real_values, reference
from keras_fastgrnn.graph.given_sequences import GivenSequences, wants_every_step
from keras_fastgrnn.graph.graph import Graph
from keras_fastgrnn.graph.operators.softmax import softmax
from keras_fastgrnn.graph.sequences import Sequences
from keras_fastgrnn.keras_api import (
    Data,
    checked_boolean,
    checked_path,
    invalid_argument,
    keras,
)

_QUANTIZATION = "int16x8"


def convert_c(
    model: keras.Model,
    calibration_data: Data = None,
    *,
    name: str = "model",
    power_of_two_weights: bool = False,
) -> "PlainCModel":
    """Exports a trained Keras model as plain C, for devices too small for TFLite Micro.

    It computes the integers of `convert(model, calibration_data, quantization="int16x8")`, bit for
    bit, in two files that need nothing else: no library, no heap, no variables of their own. Zeros
    that pruning left take no bytes. A softmax at the end is left out of the C, which answers with
    logits; `predict` applies it in Python.

    Where this machine has a C compiler, the files are compiled and run on the calibration data, or
    without it on drawn numbers, and compared with the reference before this returns; the report
    says so, or that there was no compiler.

    Args:
        model: Trained Keras model; this and `calibration_data` as for `convert`.
        calibration_data: Array of shape `(batch, steps, input_dim)`, or list of arrays of shape
            `(steps, input_dim)`. Defaults to `None`, which will do for a model trained
            quantization-aware for "int16x8".
        name: String, a C identifier that names files and C symbols. Defaults to "model".
        power_of_two_weights: Boolean, as for `convert`; with it nothing needs more than 32 bits,
            which small processors compute several times as fast. Defaults to `False`.

    Returns:
        `PlainCModel`.

    Raises:
        UnsupportedLayerError: If a layer cannot be exported; names all of them.
        ValueError: If an argument is invalid or the model computes NaN.
        TypeError: If `model` is not a model of this process's Keras.
        InexactExportError: If the compiled files compute other integers than the reference.

    Example:

    >>> import numpy as np
    >>> from keras_fastgrnn import FastGRNN, keras
    >>> from keras_fastgrnn import export
    >>> layers = [keras.layers.Input((128, 9)), FastGRNN(16), keras.layers.Dense(2)]
    >>> x = np.random.default_rng(0).normal(size=(20, 128, 9))
    >>> deployed = export.convert_c(keras.Sequential(layers), x, name="gesture")
    >>> deployed.report.state_bytes
    32
    >>> deployed.predict(x, on="reference").shape
    (20, 2)
    """
    check_name(name)
    lowered = lower(
        model, calibration_data, _QUANTIZATION, power_of_two_weights=power_of_two_weights
    )
    deployed = PlainCModel(lowered, name)
    if lowered.given is not None:
        warn_of_imprecision(deployed.report, deployed.graph, lowered.given.fed)
    return deployed


@dataclass(frozen=True)
class PlainCReport:
    """What came out of an export to plain C; `print` shows it.

    Attributes:
        name: String.
        quantization: String, "int16x8".
        matrices: List of dictionaries, one for the columns of every matrix that meet one vector:
            its name, shape, how many weights are not zero, how they are stored, bits and bytes.
        constant_bytes: Dictionary from the name of every constant array to its bytes.
        state_bytes: Integer, what is kept between steps.
        multiply_accumulates: Integer, of a step with its answer.
        drops_softmax: Boolean, whether the Keras model ends in a softmax, which C leaves out.
        notes: List of strings, what a firmware must do otherwise than the Keras model.
        tensors: List of `TensorReport` over the calibration data.
        agreement: `Agreement` with the Keras model on it, or `None`.
        rounding_costs: Dictionary, as in the report of `convert`.
        exactness: `Exactness`, which compiler's program was compared with the reference.
    """

    name: str
    quantization: str
    matrices: list[dict]
    constant_bytes: dict[str, int]
    state_bytes: int
    multiply_accumulates: int
    drops_softmax: bool
    notes: list[str]
    tensors: list[TensorReport]
    agreement: Agreement | None
    rounding_costs: dict[str, float]
    exactness: Exactness

    def to_dict(self) -> dict:
        """Returns the report as a dictionary that JSON can hold."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        lines = [
            f"{self.name}: plain C, {self.quantization}",
            f"constants {sum(self.constant_bytes.values()):,} bytes, state {self.state_bytes:,}, "
            f"{self.multiply_accumulates:,} multiply-accumulates a step with its answer",
        ]
        for matrix in self.matrices:
            rows, columns = matrix["shape"]
            lines.append(
                f"  {matrix['name']}: {rows} x {columns}, {matrix['kept']:,} kept, "
                f"{matrix['storage']} of {matrix['bits']} bits, {matrix['bytes']:,} bytes"
            )
        parts = [f"{m['name']}_{part}" for m in self.matrices for part in ("weights", "places")]
        for name, size in self.constant_bytes.items():
            if name not in parts:
                lines.append(f"  {name}: {size:,} bytes")
        if self.agreement is not None:
            lines.append(f"agreement with Keras: {self.agreement}")
        if self.drops_softmax:
            lines.append(
                "The softmax at the end is left out: the C answers with logits, and predict "
                "applies it in Python."
            )
        lines += self.notes
        lines.append(f"compiled files {self.exactness}")
        return "\n".join(lines)


class PlainCModel:
    """A model as plain C, which compiles and runs itself on this machine. Made by `convert_c`.

    Attributes:
        name: String, the C identifier.
        header: String, the text of `NAME.h`.
        source: String, the text of `NAME.c`.
        graph: `Graph`, the integers of one step, which `keras_fastgrnn.graph.reference` runs.
        report: `PlainCReport`.
    """

    def __init__(self, lowered: LoweredModel, name: str):
        self.name = name
        self.graph = with_logits(lowered.graph)
        _refuse_softmax(self.graph)
        source = Source(name, for_c(self.graph))
        texts = marked({"header": header.header(source), "source": source.source()})
        self.header, self.source = texts["header"], texts["source"]
        self._returns_sequences = lowered.returns_sequences
        self._masking = lowered.masking
        self._ends_in_softmax = lowered.graph.outputs[0] is not self.graph.outputs[0]
        self._program = None
        self.report = _report(lowered, source, self.graph, self._answers, self._exactness)

    def predict(
        self, x: Data, *, on: str = "host", return_sequences: bool = False
    ) -> np.ndarray | list[np.ndarray]:
        """Runs whole sequences, each from a zero state, and returns what the device would.

        Where the Keras model ends in a softmax, the C answers with logits, of which this is the
        softmax, computed in Python. A step that a Masking layer masks is not fed to the C.

        Args:
            x: Array of shape `(batch, steps, input_dim)`, as the Keras model takes it, or list of
                arrays of shape `(steps, input_dim)`, each as long as it likes.
            on: "host" to compile the files with this machine's C compiler and run them, or
                "reference" for the NumPy reference, which computes the same integers. Defaults to
                "host".
            return_sequences: Boolean, as for `DeployedModel.predict`. Defaults to `False`.

        Returns:
            float32 array of the Keras model's output shape, or all answers, as
            `DeployedModel.predict` returns them.

        Raises:
            MissingCompilerError: If there is no C compiler.
            ValueError: If an argument is invalid.
        """
        if on not in ("host", "reference"):
            raise invalid_argument("on", "'host' or 'reference'", on)
        every_step = wants_every_step(return_sequences) or self._returns_sequences
        graph = self.graph
        (source,), (output,) = graph.inputs, graph.outputs
        given = GivenSequences(
            x, graph.input_dim, "x", masking=self._masking, feeding=graph.feeding
        )
        integers = given.fed.map(lambda values: real_values.quantize_input(values, source))
        program = self._compiled() if on == "host" else None
        outputs, tensors = observe(self.graph, integers, every_step)
        warn_of_saturation(tensors, self.report.tensors)
        if program is not None:
            padded = program.run(integers.values, output.shape[-1])
            outputs = Sequences(padded, integers.lengths).one_by_one()
        return self._answers(given, outputs, every_step)

    def _compiled(self) -> HostProgram:
        if self._program is None:
            self._program = HostProgram(self.name, self.header, self.source)
        return self._program

    def __getstate__(self):
        """A copy in another process compiles a program of its own."""
        return {**self.__dict__, "_program": None}

    def _exactness(self, integers: Sequences, outputs, products: int) -> Exactness:
        width = self.graph.outputs[0].shape[-1]
        try:
            program = self._compiled()
            return compared(
                f"`{program.command}`",
                "C",
                lambda x: program.run(x, width),
                integers.one_by_one(),
                outputs,
                products,
            )
        except MissingCompilerError as problem:
            return Exactness(None, problem=str(problem))

    def _answers(self, given: GivenSequences, outputs, every_step: bool):
        answers = given.answers(outputs, every_step, self.graph)
        if not self._ends_in_softmax:
            return answers
        is_array = isinstance(answers, np.ndarray)
        return softmax(answers) if is_array else [softmax(one) for one in answers]

    def section_bytes(self, compiler: str = "cc -Os") -> dict[str, int]:
        """Compiles the model, and returns what its code, constants and variables take.

        Args:
            compiler: String, the command of a compiler such as gcc, with its options:
                "arm-none-eabi-gcc -mcpu=cortex-m4 -mthumb -O2". Defaults to this machine's.

        Returns:
            Dictionary from the name of a section, such as ".text", to its bytes. There are no
            variables: the state is the caller's.

        Raises:
            MissingCompilerError: If there is no such compiler, or it fails.
        """
        if not isinstance(compiler, str) or not compiler.split() or "\0" in compiler:
            raise invalid_argument("compiler", "a command such as 'cc -Os'", compiler)
        return section_bytes(self.name, self.header, self.source, shlex.split(compiler))

    def save(self, folder: str | bytes | os.PathLike, *, overwrite: bool = False) -> list[Path]:
        """Writes `NAME.c` and `NAME.h`, and the report as `NAME_report.json`.

        Args:
            folder: Path of the folder; this and `overwrite` as for `DeployedModel.save`.
            overwrite: Boolean. Defaults to `False`.

        Returns:
            List of the paths.

        Raises:
            FileExistsError: If one of the files is there and `overwrite` is false.
            OSError: If the folder cannot be made or written.
            ValueError: If an argument is invalid.
        """
        folder = checked_path("folder", folder)
        overwrite = checked_boolean("overwrite", overwrite)
        texts = {
            ".c": self.source,
            ".h": self.header,
            "_report.json": json.dumps(self.report.to_dict(), indent=2) + "\n",
        }
        contents = {f"{self.name}{ending}": text.encode() for ending, text in texts.items()}
        return write_all(folder, contents, overwrite)

    def __repr__(self) -> str:
        size = sum(self.report.constant_bytes.values())
        return f"<PlainCModel {self.name!r}: {size:,} bytes of constants>"


def _refuse_softmax(graph: Graph) -> None:
    names = [op.output.name for op in graph.ops if op.kind == "SOFTMAX"]
    if names:
        raise ValueError(
            "Received an invalid value for argument model, expected a softmax at its end alone, "
            f"got one at {', '.join(names)}. Use sigmoid there, or convert for TFLite Micro."
        )


def _report(lowered: LoweredModel, source: Source, graph: Graph, answers, check) -> PlainCReport:
    (source_tensor,), (output,) = graph.inputs, lowered.graph.outputs
    tensors, agreement, costs = [], None, {}
    if lowered.given is None:
        integers = Sequences(drawn_inputs(graph, None))
        exactness = check(integers, reference.run(graph, integers), source.multiply_accumulates)
    else:
        fed = lowered.given.fed
        integers = fed.map(lambda values: real_values.quantize_input(values, source_tensor))
        outputs, tensors = observe(graph, integers)
        exactness = check(integers, outputs, source.multiply_accumulates)
        # Those of the compiled program, too.
        found = answers(lowered.given, outputs, lowered.returns_sequences)
        agreement = compare(*lowered.at_fed_steps(found), len(integers))
        costs = rounding_costs(lowered.real, lowered.twins, fed, lowered.returns_sequences)
    matrices = [
        {
            "name": name,
            "shape": (stored.rows, stored.columns),
            "kept": stored.kept,
            "storage": stored.storage.name,
            "bits": stored.bits,
            "bytes": stored.bytes,
        }
        for name, stored in ((name, one.stored) for name, one in source.matrices.items())
    ]
    return PlainCReport(
        source.name,
        _QUANTIZATION,
        matrices,
        dict(source.tables),
        source.state_bytes,
        source.multiply_accumulates,
        output is not graph.outputs[0],
        lowered.notes,
        tensors,
        agreement,
        costs,
        exactness,
    )
