"""Runs a flatbuffer on TFLite Micro, and finds the arena it needs."""

import contextlib
import os
import tempfile
from collections.abc import Callable, Sequence

import numpy as np

from keras_fastgrnn.errors import MissingRuntimeError
from keras_fastgrnn.export.tflite.flatbuffer_reader import read_model
from keras_fastgrnn.export.tflite.schema import constant_of, tensor_bytes

# More than small models need.
LARGE_ARENA = 1 << 20


def is_available() -> bool:
    """Returns whether the TFLite Micro wheel is installed."""
    try:
        import tflite_micro  # noqa: F401
    except ImportError:
        return False
    return True


class Interpreter:
    """TFLite Micro's interpreter on one model.

    Args:
        model: Bytes of a `.tflite` file that has been checked; TFLite Micro itself checks nothing.
        arena_size: Integer, bytes of the arena. Defaults to one that is large enough.
        output_count: Integer, outputs that the model has. Defaults to 1.

    Raises:
        MissingRuntimeError: If the wheel is not installed.
        RuntimeError: If TFLite Micro refuses the model; the message is its own.
    """

    def __init__(self, model: bytes, arena_size: int = LARGE_ARENA, output_count: int = 1):
        self.output_count = output_count
        if not is_available():
            raise MissingRuntimeError(
                "TFLite Micro is not installed. Install the extra tflm, `pip install -e '.[tflm]'` "
                'in the project (Linux x86-64), or use predict(x, on="reference"), which computes '
                "the same integers."
            )
        from tflite_micro import runtime

        with _captured_errors() as messages:
            try:
                self._interpreter = runtime.Interpreter.from_bytes(model, arena_size=arena_size)
            except RuntimeError as error:
                raise RuntimeError(f"TFLite Micro refuses the model: {messages()}") from error

    def reset(self) -> None:
        """Starts a new sequence: clears the state."""
        self._interpreter.reset()

    def invoke(self, *inputs: np.ndarray) -> list[np.ndarray]:
        """Runs the model once: a time step, or a whole sequence.

        Args:
            inputs: Arrays of the shapes and types of the model's inputs.

        Returns:
            List of the model's outputs.
        """
        for index, value in enumerate(inputs):
            self._interpreter.set_input(value, index)
        self._interpreter.invoke()
        return [self._interpreter.get_output(index) for index in range(self.output_count)]

    def run(self, sequence: np.ndarray, states: Sequence[np.ndarray] = ()) -> np.ndarray:
        """Runs one sequence step by step, from the start.

        Args:
            sequence: Array of shape `(steps, input_dim)` of the model's input type.
            states: Arrays that stand for 0, for the inputs after the first, each of which is
                given the output of the same place from step to step. Defaults to none, for a
                model that keeps its state inside.

        Returns:
            Array of shape `(steps, outputs)`.
        """
        self.reset()
        results = []
        for x in sequence[:, np.newaxis]:
            result, *states = self.invoke(x, *states)
            results.append(result)
        return np.concatenate(results)


def find_arena_size(model: bytes) -> int:
    """Returns the smallest arena in which TFLite Micro runs a model, to 16 bytes.

    Found by trying on this machine; 32-bit microcontrollers need about two thirds of it.

    TFLite Micro refuses an arena that is up to a tenth too small. In one smaller than that its
    memory planner may write out of bounds and end the process, so the size goes down in steps of
    a thirty-second, and is bisected only between the last two.

    Args:
        model: Bytes of a `.tflite` file.

    Returns:
        Integer, bytes.

    Raises:
        MissingRuntimeError: If TFLite Micro is not installed.
        RuntimeError: If TFLite Micro refuses the model; the message is its own.
    """
    return smallest_arena(model, lambda model, size: Interpreter(model, size))


def smallest_arena(model: bytes, load: Callable[[bytes, int], object]) -> int:
    """Returns the smallest arena in which a model can be loaded, as `find_arena_size` does.

    Args:
        model: Bytes of a `.tflite` file.
        load: Function of the model and an arena's bytes, which raises RuntimeError where that
            arena is too small.

    Returns:
        Integer, bytes.

    Raises:
        RuntimeError: What `load` raises in the largest arena that is tried.
    """
    high = _large_arena(model, load)
    low = _a_little_less(high)
    while _fits(model, low, load):
        low, high = _a_little_less(low), low
    while high - low > 16:
        middle = (low + high) // 32 * 16
        low, high = (low, middle) if _fits(model, middle, load) else (middle, high)
    return high


def _large_arena(model, load) -> int:
    """About twice what a model needs, or more where its kernels need much themselves."""
    size = _generous_arena_size(model)
    for larger in (size, 4 * size, 16 * size):
        if _fits(model, larger, load):
            return larger
    load(model, 64 * size)
    return 64 * size


def _generous_arena_size(model) -> int:
    """160 bytes a tensor and operator, and the computed values, about twice."""
    model = read_model(model)
    tensors = [tensor for graph in model["subgraphs"] for tensor in graph["tensors"]]
    data = sum(tensor_bytes(t) for t in tensors if constant_of(model, t) is None)
    return 4096 + 256 * len(tensors) + 2 * data // 16 * 16


def _a_little_less(size) -> int:
    return size * 31 // 32 // 16 * 16


def _fits(model, size, load) -> bool:
    try:
        load(model, size)
    except RuntimeError:
        return False
    return True


@contextlib.contextmanager
def _captured_errors():
    """Collects what TFLite Micro writes to the process's standard error."""
    with tempfile.TemporaryFile() as file:
        saved = os.dup(2)
        os.dup2(file.fileno(), 2)

        def messages():
            file.seek(0)
            return " ".join(file.read().decode(errors="replace").split())

        try:
            yield messages
        finally:
            os.dup2(saved, 2)
            os.close(saved)
