"""Runs sequences through a TFLite file of unknown origin, on TFLite Micro."""

from collections.abc import Callable

import numpy as np

from keras_fastgrnn.export import reference
from keras_fastgrnn.export.calibrate import check_sequences
from keras_fastgrnn.export.graph import Tensor
from keras_fastgrnn.export.limits import real_ends
from keras_fastgrnn.export.schema import TYPE_NAMES, shape_of
from keras_fastgrnn.export.tflm_process import TFLMProcess
from keras_fastgrnn.export.verify import verify

VALUE_TYPES = ("float32", "int8", "int16")


class SequenceRunner:
    """A file that is loaded into TFLite Micro, and how sequences go through it.

    Its first input tells: of shape `(1, input_dim)` it takes one time step an Invoke and starts
    every sequence with `Reset()`; of shape `(steps, input_dim)` or `(1, steps, input_dim)` it takes
    a whole sequence. Further inputs are states that the caller keeps: they begin at their zero
    point, and from step to step get what the output of the same place held.

    Args:
        data: Bytes of the file; nothing in it is trusted.
        process: `TFLMProcess` to run it in.

    Attributes:
        inputs, outputs: Lists of `Tensor`.
        steps: Integer, the steps of a whole sequence, or `None` where it takes one at a time.
        notes: List of strings, what a user should know of how the last sequences were taken.

    Raises:
        MalformedModelError: If TFLite Micro cannot be given the file.
        ValueError: If it does not take sequences.
        RuntimeError: If TFLite Micro refuses it; the message is its own.
    """

    def __init__(self, data: bytes, process: TFLMProcess):
        model = verify(data)
        graph = model["subgraphs"][0]
        self.inputs, self.outputs = (
            [_as_tensor(graph["tensors"][index]) for index in graph[ends]]
            for ends in ("inputs", "outputs")
        )
        self.steps = self._check_ends()
        self.notes: list[str] = []
        self._process = process
        self._states = [np.full(t.shape, t.zero_point, t.dtype) for t in self.inputs[1:]]
        process.load(data, process.find_arena_size(data))

    def run(self, x, on_sequence: Callable[[], None] = lambda: None) -> np.ndarray:
        """Runs sequences, each from the start.

        Args:
            x: Array of shape `(batch, steps, input_dim)`: real values, or integers of the input's
                own type, which are taken as they are.
            on_sequence: Function that is called after each. Defaults to none.

        Returns:
            float32 array of shape `(batch, answers, units)`; there is an answer for every step, or
            one for a whole sequence.

        Raises:
            ValueError: If `x` does not fit the model.
            RuntimeError: If TFLite Micro reports an error; the message is its own.
        """
        source, target = self.inputs[0], self.outputs[0]
        values = check_sequences(x, source.shape[-1], "DATA", self.steps)
        self.notes = []
        if source.dtype != "float32":
            values = self._integers(np.asarray(x), values)
        results = []
        for sequence in values:
            results.append(self._run_one(sequence).reshape(-1, target.shape[-1]))
            on_sequence()
        results = np.stack(results)
        if target.dtype != "float32":
            results = reference.dequantize_values(results, target)
        return results

    def _integers(self, x, values) -> np.ndarray:
        source = self.inputs[0]
        if x.dtype == source.dtype:
            self.notes = [f"the data is {x.dtype} as the input is, and taken as its integers"]
            return x
        low, high = real_ends(source)
        outside = np.count_nonzero((values < low) | (values > high))
        if outside:
            self.notes = [
                f"{outside:,} of {values.size:,} values of the data lie beyond the input's range, "
                f"{low:.4g} to {high:.4g}, and were clipped"
            ]
        return reference.quantize_input(values, source)

    def _run_one(self, sequence) -> np.ndarray:
        count = len(self.outputs)
        states = [state[np.newaxis] for state in self._states]
        if self.steps is None:
            rows = sequence.reshape(-1, *self.inputs[0].shape)
            feedback = [(index, index) for index in range(1, len(self.inputs))]
            return self._process.run([rows, *states], count, feedback=feedback)[0]
        whole = sequence.reshape(1, *self.inputs[0].shape)
        return self._process.run([whole, *states], count)[0]

    def _check_ends(self) -> int | None:
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
        for source, target in zip(self.inputs[1:], self.outputs[1:], strict=False):
            self._check_state(source, target)
        if len(self.inputs) > len(self.outputs):
            raise ValueError(
                f"The model has {len(self.inputs)} inputs and {len(self.outputs)} outputs; "
                "expected inputs after the first to be states, each with an output."
            )
        shape = self.inputs[0].shape
        if len(shape) == 3 and shape[0] == 1:
            return shape[1]
        if len(shape) == 2:
            return shape[0] if shape[0] > 1 else None
        raise ValueError(
            "The model does not take sequences: expected an input of shape [1, input_dim] for a "
            f"step, or [steps, input_dim], got {list(shape)}."
        )

    @staticmethod
    def _check_state(source, target) -> None:
        ends = [(t.dtype, t.shape, t.scale, t.zero_point) for t in (source, target)]
        if ends[0] != ends[1]:
            raise ValueError(
                f"The model's state of shape {list(source.shape)} goes in as {ends[0]} and comes "
                f"out as {ends[1]}; expected the same type, shape, scale and zero point."
            )


def _as_tensor(table) -> Tensor:
    quantization = table["quantization"] or {}
    scales, zero_points = quantization.get("scale"), quantization.get("zero_point")
    has_scale = scales is not None and scales.size
    return Tensor(
        table["name"] or "",
        shape_of(table),
        TYPE_NAMES[table["type"]],
        scale=float(scales[0]) if has_scale else None,
        zero_point=int(zero_points[0]) if has_scale else 0,
    )
