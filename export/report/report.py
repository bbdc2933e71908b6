"""What came out of an export: bytes, arena, operators, ranges, agreement with Keras."""

from __future__ import annotations

import collections
import dataclasses
from dataclasses import dataclass

import numpy as np

from keras_fastgrnn.export.lowering.costs import relative_error
from keras_fastgrnn.export.report.exactness import Exactness
from keras_fastgrnn.export.tflite.subgraphs import Subgraph
from keras_fastgrnn.graph import reference
from keras_fastgrnn.graph.graph import Constant, Graph, Op, Tensor
from keras_fastgrnn.graph.operators import operator_of
from keras_fastgrnn.graph.sequences import Sequences, as_sequences
from keras_fastgrnn.quantization.limits import ends_by_design, real_ends

_TOLERATED_AT_ENDS = {"int8": 1e-3}


@dataclass(frozen=True)
class TensorReport:
    """One computed tensor over the data it was observed on.

    Attributes:
        name: String.
        shape: Tuple of integers.
        dtype: String.
        scale: Float, the real value of integer 1; `None` in a float model.
        zero_point: Integer that stands for 0.
        lowest, limit: Floats, the smallest and the largest real value that the tensor holds;
            `None` in a float model.
        low, high: Floats, the smallest and largest real value seen.
        seen: The smallest and the largest value that calibration, or quantization-aware training,
            saw of the tensor, or `None` where that is not known.
        is_state: Boolean, whether the value is kept between steps.
        saturated: Integer, values at an end of the range.
        lost: Integer, how many of those were clipped to it without precedent. The others are
            harmless: the function itself ends there, its reader answers the same for all larger
            values, or training went beyond that end too and was clipped there.
        values: Integer, values seen.
        rarely: Float, the part of the values that may be lost on data like that of the training.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None
    zero_point: int
    lowest: float | None
    limit: float | None
    low: float
    high: float
    seen: tuple[float, float] | None
    is_state: bool
    saturated: int
    lost: int
    values: int
    rarely: float

    @property
    def is_clipped(self) -> bool:
        """Whether so many values are lost that results change.

        A range that int8 just holds has some at its ends by rounding alone.
        """
        return self.lost > max(self.rarely, _TOLERATED_AT_ENDS.get(self.dtype, 0.0)) * self.values


@dataclass(frozen=True)
class Agreement:
    """How the exported model's outputs agree with the Keras model's.

    Attributes:
        sequences: Integer, sequences compared.
        relative_error: Float, root mean square difference over the standard deviation of the
            Keras model's outputs (over their root mean square where they do not vary).
        largest_difference: Float, of any output.
        same_class: Float in [0, 1], sequences (or steps) whose largest output is the same;
            `None` for one output.
    """

    sequences: int
    relative_error: float
    largest_difference: float
    same_class: float | None

    def __str__(self) -> str:
        classes = "" if self.same_class is None else f"same class {100 * self.same_class:.2f} %, "
        error = f"error {100 * self.relative_error:.2g} % of the outputs' deviation"
        return f"{classes}{error}, {self.sequences} sequences"


@dataclass(frozen=True)
class Report:
    """What came out of an export. `print` it, or take `to_dict()` for JSON.

    Attributes:
        name: String, name of the model.
        quantization: String, "int16x8", "int8", or `None` for float32.
        mode: String, "streaming" or "sequence".
        state: String, "variable" or "explicit".
        file_bytes: Integer, size of the `.tflite` file.
        weight_bytes: Integer, bytes of constants in it; the rest is structure.
        arena_bytes: Integer, the smallest arena on TFLite Micro, found by bisection; `None` where
            TFLite Micro is not installed.
        operators: Dictionary from operator to how often the file has it: in streaming mode, how
            often it runs in a step.
        multiply_accumulates: Integer, in the matrices, a step.
        tensors: List of `TensorReport`; empty for a float model without calibration data.
        agreement: `Agreement` on the calibration data, or `None` without it.
        rounding_costs: Dictionary from tensor to the root mean square difference that its
            rounding alone makes in the outputs, over their standard deviation; the largest
            first; empty for a float model.
        notes: List of strings, what a firmware must do otherwise than the Keras model.
        exactness: `Exactness` of the file on TFLite Micro; `None` for a float model.
    """

    name: str
    quantization: str | None
    mode: str
    state: str
    file_bytes: int
    weight_bytes: int
    arena_bytes: int | None
    operators: dict[str, int]
    multiply_accumulates: int
    tensors: list[TensorReport]
    agreement: Agreement | None
    rounding_costs: dict[str, float]
    notes: list[str]
    exactness: Exactness | None

    @property
    def overhead_bytes(self) -> int:
        """Bytes of the file that are not constants."""
        return self.file_bytes - self.weight_bytes

    def to_dict(self) -> dict:
        """Returns the report as plain dictionaries, lists and numbers."""
        report = {**dataclasses.asdict(self), "overhead_bytes": self.overhead_bytes}
        for tensor in report["tensors"]:
            tensor["shape"] = list(tensor["shape"])
            tensor["seen"] = None if tensor["seen"] is None else list(tensor["seen"])
        return report

    def __str__(self) -> str:
        arena = "not measured" if self.arena_bytes is None else f"{self.arena_bytes:,} bytes"
        operators = ", ".join(f"{n} {kind}" for kind, n in self.operators.items())
        place = "a step" if self.mode == "streaming" else "in the file"
        lines = [
            f"{self.name}: {self.quantization or 'float32'}, {self.mode}, {self.state} state",
            f"  file        {self.file_bytes:,} bytes: {self.weight_bytes:,} of constants, "
            f"{self.overhead_bytes:,} of structure",
            f"  arena       {arena}",
            f"  operators   {sum(self.operators.values())} {place}: {operators}",
            f"  multiplies  {self.multiply_accumulates:,} a step",
        ]
        if self.agreement is not None:
            lines.append(f"  with Keras  {self.agreement}")
        if self.rounding_costs:
            first = list(self.rounding_costs.items())[:3]
            costs = ", ".join(f"{name} {100 * cost:.2g} %" for name, cost in first)
            lines.append(f"  rounding    alone costs most at {costs}")
        lines += [f"  note        {note}" for note in self.notes]
        if self.exactness is not None:
            lines.append(f"  exactness   {self.exactness}")
        return "\n".join([*lines, *_tensor_table(self.tensors)])


def _tensor_table(tensors: list[TensorReport]) -> list[str]:
    titles = [f"{t.name} (state)" if t.is_state else t.name for t in tensors]
    width = max(map(len, titles), default=0)
    lines = [f"  {'tensor':{width}}      from        to"] if tensors else []
    if any(t.limit is not None for t in tensors):
        lines[0] += "     limit saturated"
    for title, tensor in zip(titles, tensors, strict=True):
        line = f"  {title:{width}} {tensor.low:9.3g} {tensor.high:9.3g}"
        if tensor.limit is not None:
            line += f" {tensor.limit:9.3g} {tensor.saturated:9,}"
            if tensor.saturated:
                line += f" {tensor.lost:,} lost" if tensor.lost else " harmless"
        lines.append(line)
    return lines


def describe(
    subgraphs: list[Subgraph],
    name,
    options,
    tflite,
    arena_bytes,
    tensors,
    agreement,
    rounding_costs,
    notes,
    exactness,
) -> Report:
    """Builds the report of an exported graph.

    Args:
        subgraphs: List of the file's `Subgraph`.
        name: String.
        options: Dictionary of the arguments of `convert`.
        tflite: Bytes of the file.
        arena_bytes: Integer or `None`.
        tensors: List of `TensorReport`.
        agreement: `Agreement` or `None`.
        rounding_costs: Dictionary from tensor to cost.
        notes: List of strings.
        exactness: `Exactness` or `None`.

    Returns:
        `Report`.
    """
    ops = [op for subgraph in subgraphs for op in subgraph.ops]
    constants = [t for op in ops for t in op.inputs if isinstance(t, Constant)]
    matrices = [op.weights for op in ops if isinstance(op, Op) and operator_of(op.kind).has_matrix]
    return Report(
        name=name,
        quantization=options["quantization"],
        mode=options["mode"],
        state=options["state"],
        file_bytes=len(tflite),
        weight_bytes=sum(map(len, {t.data.astype(t.dtype).tobytes() for t in constants})),
        arena_bytes=arena_bytes,
        operators=dict(collections.Counter(op.kind for op in ops)),
        multiply_accumulates=sum(matrix.data.size for matrix in matrices),
        tensors=tensors,
        agreement=agreement,
        rounding_costs=rounding_costs,
        notes=notes,
        exactness=exactness,
    )


def observe(
    graph: Graph, x: np.ndarray | Sequences, every_step: bool = True
) -> tuple[np.ndarray | list[np.ndarray], list[TensorReport]]:
    """Runs sequences on the reference and records the range of every computed tensor.

    Args:
        graph: Float or integer graph.
        x: Array of shape `(batch, steps, input_dim)`, or `Sequences`, in the graph's own numbers.
        every_step: Boolean, whether the answer is of use at every step. If not, what no state
            comes from is observed after the last step of each sequence alone. Defaults to `True`.

    Returns:
        The outputs of every step, as `Sequences.apart` returns them, and a list of
        `TensorReport`.
    """
    outputs, seen = [], {}
    kept = graph.sources_of_states()
    lengths = as_sequences(x).lengths
    for time, values in enumerate(reference.steps(graph, x)):
        answer = values[graph.outputs[0]]
        outputs.append(answer)
        is_last = lengths[: len(answer)] == time + 1
        for tensor, value in values.items():
            observed = value if every_step or tensor in kept else value[is_last]
            if observed.size:
                seen.setdefault(tensor, _Observation(tensor)).add(observed)
    after = {state.after for state in graph.states}
    before = {state.before for state in graph.states}
    reports = [
        _tensor_report(graph, observation, tensor in after)
        for tensor, observation in seen.items()
        if tensor not in before
    ]
    return as_sequences(x).apart(outputs), reports


class _Observation:
    """What was seen of one tensor."""

    def __init__(self, tensor: Tensor):
        self.tensor = tensor
        self.low, self.high, self.values = np.inf, -np.inf, 0
        self.at_ends = [0, 0]
        self.ends = None if tensor.scale is None else np.iinfo(tensor.dtype)

    def add(self, value) -> None:
        self.low, self.high = min(self.low, value.min()), max(self.high, value.max())
        self.values += value.size
        if self.ends is not None:
            self.at_ends[0] += int(np.count_nonzero(value <= self.ends.min))
            self.at_ends[1] += int(np.count_nonzero(value >= self.ends.max))


def _tensor_report(graph, seen: _Observation, is_state) -> TensorReport:
    tensor = seen.tensor
    lowest, limit, lost = None, None, 0
    low, high = float(seen.low), float(seen.high)
    if tensor.scale is not None:
        lowest, limit = real_ends(tensor)
        low, high = (tensor.unit * (end - tensor.zero_point) for end in (low, high))
        harmless = ends_by_design(graph, tensor)
        if tensor.seen is not None and not is_state:
            half = 0.5 * tensor.unit  # what is this far from an end is rounded to it
            below, above = tensor.seen[0] < lowest + half, limit - half < tensor.seen[1]
            harmless = harmless[0] or below, harmless[1] or above
        lost = sum(count for count, safe in zip(seen.at_ends, harmless, strict=True) if not safe)
    is_known = tensor.seen is not None and np.isfinite(tensor.seen).all()
    return TensorReport(
        name=tensor.name,
        shape=tensor.shape,
        dtype=tensor.dtype,
        scale=None if tensor.scale is None else tensor.unit,
        zero_point=tensor.zero_point,
        lowest=lowest,
        limit=limit,
        low=low,
        high=high,
        seen=tensor.seen if is_known else None,
        is_state=is_state,
        saturated=sum(seen.at_ends),
        lost=lost,
        values=seen.values,
        rarely=0.0 if is_state else tensor.rarely,
    )


def compare(outputs: np.ndarray, expected: np.ndarray, sequences: int | None = None) -> Agreement:
    """Compares outputs with those of the Keras model.

    Args:
        outputs: Array of shape `(batch, outputs)` or `(batch, steps, outputs)`, or
            `(steps of all sequences, outputs)`.
        expected: Array of the same shape.
        sequences: Integer, how many sequences they are. Defaults to the first axis.

    Returns:
        `Agreement`.
    """
    same = None
    if outputs.shape[-1] > 1:
        same = float(np.mean(outputs.argmax(axis=-1) == expected.argmax(axis=-1)))
    difference = outputs - expected.astype(np.float64)
    return Agreement(
        sequences=len(outputs) if sequences is None else sequences,
        relative_error=relative_error(outputs, expected),
        largest_difference=float(np.abs(difference).max()),
        same_class=same,
    )
