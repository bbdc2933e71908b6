"""Runs sequences through a TFLite file of unknown origin, on TFLite Micro."""

from collections.abc import Callable, Mapping

import numpy as np

from keras_fastgrnn.export.foreign.file_states import file_ends, read_states
from keras_fastgrnn.export.foreign.verify import verify
from keras_fastgrnn.export.tflite.schema import operator_name, vector_of
from keras_fastgrnn.export.tflm.process import TFLMProcess
from keras_fastgrnn.graph import real_values
from keras_fastgrnn.graph.ranges import check_sequences
from keras_fastgrnn.keras_api import invalid_argument
from keras_fastgrnn.quantization.limits import real_ends

VALUE_TYPES = ("float32", "int8", "int16", "uint8")
# Their state is a variable that they read and write.
_STATEFUL = ("ASSIGN_VARIABLE", "SVDF", "UNIDIRECTIONAL_SEQUENCE_LSTM")


class SequenceRunner:
    """A file that is loaded into TFLite Micro, and how sequences go through it.

    Its data tells: of shape `(1, input_dim)` or `(1, 1, input_dim)` it takes one time step an
    Invoke; of shape `(steps, input_dim)` or `(1, steps, input_dim)` it takes so many, which are a
    whole sequence unless the file keeps a state, which then goes on to the next Invoke. Every
    sequence starts from the beginning. Further inputs are states that the caller keeps: they begin
    at their zero point, and get what the output that belongs to them held, by the names of the
    file's tensors and signatures, or because no other output has their type and shape.

    Args:
        data: Bytes of the file; nothing in it is trusted.
        process: `TFLMProcess` to run it in.
        states: Dictionary from a state's input to the output that holds its next value, each a name
            or a place counted from 0. Defaults to what the file tells.
        allow_unverified: Boolean, whether to run operators for which there is no rule to verify
            them by. Defaults to `False`.

    Attributes:
        inputs, outputs: Lists of `Tensor`.
        steps: Integer, the steps of an Invoke, or `None` where it takes one at a time.
        keeps_state: Boolean, whether further Invokes may go on with a sequence.
        notes: List of strings, what a user should know of how the last sequences were taken.

    Raises:
        MalformedModelError: If TFLite Micro cannot be given the file.
        ValueError: If it does not take sequences, or its states can be read in several ways.
        RuntimeError: If TFLite Micro refuses it; the message is its own.
    """

    def __init__(
        self,
        data: bytes,
        process: TFLMProcess,
        states: Mapping[str, str] | None = None,
        allow_unverified: bool = False,
    ):
        model = verify(data, allow_unverified)
        inputs, outputs = file_ends(model)
        self.inputs, self.outputs = ([end.tensor for end in ends] for ends in (inputs, outputs))
        self._check_ends()
        self._reading = read_states(inputs, outputs, states)
        self._source = self.inputs[self._reading.data]
        self._target = self.outputs[self._reading.answer]
        self.steps = self._steps_of_an_invoke()
        self.keeps_state = bool(self._reading.states) or _keeps_state(model)
        self.notes: list[str] = []
        self._notes_on_file = self._note_on_outputs(outputs)
        self._process = process
        self._states = [np.full(t.shape, t.zero_point, t.dtype) for t in self.inputs]
        self._arena_size = process.find_arena_size(data)
        self._data = data
        # Reset() clears variables and does not run once more what gives them their first values.
        self._starts_by_loading = "CALL_ONCE" in _operators(model)
        process.load(data, self._arena_size)

    def run(self, x, on_sequence: Callable[[], object] = lambda: None) -> np.ndarray:
        """Runs sequences, each from the start.

        Args:
            x: Array of shape `(batch, steps, input_dim)`: real values, or integers of the input's
                own type, which are taken as they are.
            on_sequence: Function that is called after each. Defaults to none.

        Returns:
            float32 array of shape `(batch, answers, units)`; there is an answer for every Invoke.

        Raises:
            ValueError: If `x` does not fit the model.
            RuntimeError: If TFLite Micro reports an error; the message is its own.
        """
        values = self._checked(x)
        self.notes = list(self._notes_on_file)
        if self.steps is not None and values.shape[1] > self.steps:
            self.notes.append(
                f"the file takes {self.steps} steps an Invoke, and its state goes on over "
                f"{values.shape[1] // self.steps} of them"
            )
        if self._source.dtype != "float32":
            values = self._integers(np.asarray(x), values)
        results = []
        for sequence in values:
            results.append(self._run_one(sequence).reshape(-1, self._target.shape[-1]))
            on_sequence()
        results = np.stack(results)
        if self._target.dtype != "float32":
            return real_values.dequantize_values(results, self._target)
        unknown = np.count_nonzero(np.isnan(results))
        if unknown:
            self.notes.append(f"{unknown:,} of {results.size:,} outputs are not a number (NaN)")
        return results

    def _checked(self, x) -> np.ndarray:
        width = self._source.shape[-1]
        if self.steps is None or not self.keeps_state:
            return check_sequences(x, width, "DATA", self.steps)
        values = check_sequences(x, width, "DATA")
        if values.shape[1] % self.steps:
            expected = f"a multiple of {self.steps} steps, which an Invoke takes"
            raise invalid_argument("DATA", expected, values)
        return values

    def _integers(self, x, values) -> np.ndarray:
        source = self._source
        if x.dtype == source.dtype:
            self.notes.append(f"the data is {x.dtype} as the input is, and taken as its integers")
            return x
        low, high = real_ends(source)
        outside = np.count_nonzero((values < low) | (values > high))
        if outside:
            self.notes.append(
                f"{outside:,} of {values.size:,} values of the data lie beyond the input's range, "
                f"{low:.4g} to {high:.4g}, and were clipped"
            )
        return real_values.quantize_input(values, source)

    def _run_one(self, sequence) -> np.ndarray:
        if self._starts_by_loading:
            self._process.load(self._data, self._arena_size)
        inputs = [state[np.newaxis] for state in self._states]
        inputs[self._reading.data] = sequence.reshape(-1, *self._source.shape)
        feedback = [(output, index) for index, output in self._reading.states.items()]
        results = self._process.run(inputs, len(self.outputs), feedback=feedback)
        return results[self._reading.answer]

    def _check_ends(self) -> None:
        if not self.inputs or not self.outputs:
            raise ValueError("The model has no input or no output.")
        for tensor in (*self.inputs, *self.outputs):
            fits = tensor.dtype in VALUE_TYPES and tensor.shape
            fits = fits and (tensor.dtype == "float32" or tensor.scale)
            if not fits:
                raise ValueError(
                    f"The model does not take sequences: expected inputs and outputs of "
                    f"{', '.join(VALUE_TYPES)} with a scale, got {tensor.dtype} "
                    f"{list(tensor.shape)}."
                )

    def _steps_of_an_invoke(self) -> int | None:
        shape = self._source.shape
        if len(shape) == 2 or (len(shape) == 3 and shape[0] == 1):
            steps = shape[-2]
            return steps if steps > 1 else None
        raise ValueError(
            "The model does not take sequences: expected an input of shape [1, input_dim] for a "
            f"step, or [steps, input_dim], got {list(shape)}."
        )

    def _note_on_outputs(self, outputs) -> list[str]:
        states = {outputs[j].index for j in self._reading.states.values()}
        left = [end for end in outputs if end.index not in states]
        if len(left) <= 1:
            return []
        answer = outputs[self._reading.answer]
        return [f"of {len(left)} outputs that are no states the first answers, {answer}"]


def _operators(model) -> set[str]:
    return {
        operator_name(model["operator_codes"][operator["opcode_index"]])
        for graph in model["subgraphs"]
        for operator in graph["operators"] or []
    }


def _keeps_state(model) -> bool:
    """Whether anything writes a variable, which is there again in the next Invoke."""
    if not _operators(model).isdisjoint(_STATEFUL):
        return True
    return any(
        graph["tensors"][index]["is_variable"]
        for graph in model["subgraphs"]
        for operator in graph["operators"] or []
        for index in vector_of(operator, "outputs")
    )
