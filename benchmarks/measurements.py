"""What a model costs on TFLite Micro: operators, arena, time, and the error of its answers."""

import collections
import math
import time
from dataclasses import dataclass, field

import numpy as np

from keras_fastgrnn.export.report.report import compare
from keras_fastgrnn.export.tflite.flatbuffer_reader import read_model
from keras_fastgrnn.export.tflite.schema import TYPE_NAMES, operator_name, shape_of
from keras_fastgrnn.export.tflm.process import TFLMProcess
from keras_fastgrnn.graph import real_values
from keras_fastgrnn.graph.graph import Tensor

BATCH_SECONDS = 0.002


@dataclass(eq=False)
class Model:
    """A file, or how it failed to be made or run, and what was measured on it.

    Attributes:
        layer: String, the recurrent layer.
        maker: String, what made the file.
        form: String, what one Invoke computes.
        quantization: String or `None` for float32.
        tflite: Bytes, or `None` where there is no file.
        inputs: List of strings: "x", and names of states.
        outputs: List of strings: "y", and names of states.
        failure: String, or `None`.
        arena: Integer, bytes.
        error: Float, root mean square over the deviation of the Keras model's outputs; of states
            that are handed on, as the integers they are.
        requantized_error: Float, the same with states that are dequantized and quantized.
        invoke: List of floats, microseconds a time step, of Invoke alone, in every round.
        whole: List of floats, the same with the calls that set and get what the model takes.
    """

    layer: str
    maker: str
    form: str
    quantization: str | None
    tflite: bytes | None
    inputs: list[str] | None = None
    outputs: list[str] | None = None
    failure: str | None = None
    arena: int | None = None
    error: float | None = None
    requantized_error: float | None = None
    invoke: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)

    def ends(self) -> tuple[list[Tensor], list[Tensor]]:
        """Returns the file's own input and output tensors."""
        main = read_model(self.tflite)["subgraphs"][0]
        inputs, outputs = (
            [_tensor(main["tensors"][index]) for index in main[key]]
            for key in ("inputs", "outputs")
        )
        return inputs, outputs

    def operators(self) -> collections.Counter:
        """Returns how often each operator stands in the file."""
        model = read_model(self.tflite)
        names = [operator_name(code) for code in model["operator_codes"]]
        operators = (op for graph in model["subgraphs"] for op in graph["operators"])
        return collections.Counter(names[op["opcode_index"]] for op in operators)

    def steps_an_invoke(self) -> int:
        """Returns the time steps that one Invoke computes."""
        shape = self.ends()[0][self.inputs.index("x")].shape
        return math.prod(shape[:-1])


def _tensor(table) -> Tensor:
    tensor = Tensor("", shape_of(table), TYPE_NAMES[table["type"]])
    if tensor.dtype != "float32":
        quantization = table["quantization"]
        tensor.scale = float(quantization["scale"][0])
        tensor.zero_point = int(quantization["zero_point"][0])
    return tensor


def measure(model: Model, x, expected, process: TFLMProcess) -> None:
    """Finds a model's arena and the error of its answers, in a process that it may crash."""
    try:
        model.arena = process.find_arena_size(model.tflite)
        outputs = answers(model, x, process, requantize=False)
        model.error = compare(outputs, expected).relative_error
        if model.quantization is not None and len(model.inputs) > 1:
            outputs = answers(model, x, process, requantize=True)
            model.requantized_error = compare(outputs, expected).relative_error
    except RuntimeError as error:
        model.failure = str(error)


def answers(model: Model, x, process: TFLMProcess, requantize: bool) -> np.ndarray:
    """Runs sequences and returns the last answer to each, as real values.

    Args:
        model: `Model`.
        x: Array of shape `(batch, steps, channels)`.
        process: `TFLMProcess`.
        requantize: Boolean, whether states are handed on as real values and not as integers.

    Returns:
        Array of shape `(batch, classes)`.
    """
    process.load(model.tflite)
    inputs, outputs = model.ends()
    place = model.inputs.index("x")
    states = [(model.outputs.index(s), model.inputs.index(s)) for s in model.inputs if s != "x"]
    results = []
    for sequence in x:
        signal = _integers(sequence, inputs[place]).reshape(-1, *inputs[place].shape)
        given = [np.full((1, *t.shape), t.zero_point, t.dtype) for t in inputs]
        if requantize:
            for index, row in enumerate(signal):
                given[place] = row[np.newaxis]
                answer = process.run(given, len(outputs), reset=index == 0)
                for source, target in states:
                    real = _reals(answer[source], outputs[source])
                    given[target] = _integers(real, inputs[target])
        else:
            given[place] = signal
            answer = process.run(given, len(outputs), feedback=states)
        y = model.outputs.index("y")
        results.append(_reals(answer[y][-1], outputs[y]).ravel())
    return np.stack(results)


def _integers(values, tensor):
    return values if tensor.scale is None else real_values.quantize_values(values, tensor)


def _reals(values, tensor):
    return values if tensor.scale is None else real_values.dequantize_values(values, tensor)


class Stopwatch:
    """One model on TFLite Micro, timed in rounds that take turns with other models'."""

    def __init__(self, model: Model):
        from tflite_micro import runtime

        self.model = model
        self.steps = model.steps_an_invoke()
        self.interpreter = runtime.Interpreter.from_bytes(model.tflite, arena_size=2 * model.arena)
        inputs, outputs = model.ends()
        self.outputs = range(len(outputs))
        rng = np.random.default_rng(0)
        self.values = [
            _integers(rng.normal(0.0, 0.5, t.shape).astype(np.float32), t) for t in inputs
        ]
        self.handed = [
            (model.outputs.index(name), place)
            for place, name in enumerate(model.inputs)
            if name != "x"
        ]
        self.whole()
        self.repeats = 1 + int(BATCH_SECONDS / self._seconds(self.interpreter.invoke, 1))

    def whole(self) -> None:
        """One Invoke with all that a caller does around it."""
        for index, value in enumerate(self.values):
            self.interpreter.set_input(value, index)
        self.interpreter.invoke()
        results = [self.interpreter.get_output(index) for index in self.outputs]
        for source, target in self.handed:
            self.values[target] = results[source]

    def round(self) -> None:
        """Times both ways once."""
        for function, times in (
            (self.interpreter.invoke, self.model.invoke),
            (self.whole, self.model.whole),
        ):
            seconds = self._seconds(function, self.repeats)
            times.append(1e6 * seconds / (self.repeats * self.steps))

    def _seconds(self, function, repeats) -> float:
        start = time.perf_counter()
        for _ in range(repeats):
            function()
        return time.perf_counter() - start
