"""Runs files of unknown origin on TFLite Micro in a process of its own.

TFLite Micro trusts every byte of a file. `keras_fastgrnn.export.verify` refuses what would lead it
out of bounds; should a file get past that, the process ends and not the caller's.
"""

import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np

from keras_fastgrnn.errors import MissingRuntimeError
from keras_fastgrnn.export.tflm import interpreter
from keras_fastgrnn.export.tflm.worker import receive, send

_WORKER = Path(__file__).with_name("worker.py")
START_SECONDS = 60.0


class ProcessEndedError(RuntimeError):
    """TFLite Micro crashed, or took too long and was stopped."""


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()


def _pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    if process.stdin is None or process.stdout is None:
        raise ValueError("The process was started without pipes")
    return process.stdin, process.stdout


class TFLMProcess:
    """TFLite Micro in a process that is started when needed, and again after a crash.

    Args:
        environment: Dictionary of environment variables that are added to this process's own, such
            as PYTHONPATH for another wheel. Defaults to none.
        timeout: Float, seconds that one request may take. Defaults to 60.

    Raises:
        MissingRuntimeError: If TFLite Micro is not installed.

    Example:

    >>> from keras_fastgrnn.export.tflm.process import TFLMProcess
    >>> with TFLMProcess() as process:
    ...     process.load(b"no model")
    Traceback (most recent call last):
    RuntimeError: TFLite Micro refuses the model: ...
    """

    def __init__(self, environment: dict[str, str] | None = None, timeout: float = 60.0):
        if environment is None and not interpreter.is_available():
            raise MissingRuntimeError(
                "TFLite Micro is not installed. Install the extra tflm, `pip install -e '.[tflm]'` "
                "in the project (Linux x86-64)."
            )
        self.timeout = timeout
        self.crashes = 0
        self._environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._end()
            self._process = None

    def load(self, model: bytes, arena_size: int = 1 << 20) -> None:
        """Makes an interpreter of a model, in place of the one before.

        Args:
            model: Bytes of a `.tflite` file.
            arena_size: Integer, bytes of the arena. Defaults to 1 MiB.

        Raises:
            RuntimeError: If TFLite Micro refuses the model; the message is its own.
            ProcessEndedError: If it crashes, or takes too long.
        """
        header = {"do": "load", "arena": arena_size}
        self._ask(header, [np.frombuffer(model, np.uint8)], "refuses the model")

    def run(
        self,
        inputs: list[np.ndarray],
        output_count: int = 1,
        *,
        reset: bool = True,
        feedback: Sequence[tuple[int, int]] = (),
    ) -> list[np.ndarray]:
        """Runs one sequence on the model that was loaded.

        Args:
            inputs: List of arrays, one for each of the model's inputs, of shape
                `(steps, *shape of the input)` and the input's type. An input that is fed back
                has one step, its first value.
            output_count: Integer, how many outputs the model has. Defaults to 1.
            reset: Boolean, whether to clear the state first. Defaults to `True`.
            feedback: List of pairs `(output, input)` of indices: what an Invoke leaves in the
                output goes into the input before the next. Defaults to none.

        Returns:
            List of arrays, one for each output, of shape `(steps, *shape of the output)`.

        Raises:
            RuntimeError: If TFLite Micro reports an error; the message is its own.
            ProcessEndedError: If it crashes, or takes too long.
        """
        header = {"do": "run", "reset": reset, "outputs": output_count, "feedback": list(feedback)}
        return self._ask(header, inputs, "cannot run the model")

    def find_arena_size(self, model: bytes) -> int:
        """Returns the smallest arena in which the model loads, to 16 bytes.

        As `interpreter.find_arena_size`; a crash counts as an arena too small.

        Args:
            model: Bytes of a `.tflite` file.

        Returns:
            Integer, bytes.

        Raises:
            RuntimeError: If TFLite Micro refuses the model; the message is its own.
            ProcessEndedError: If it crashes in a large arena, or takes too long.
        """
        return interpreter.smallest_arena(model, self.load)

    def _ask(self, header, arrays, failure) -> list[np.ndarray]:
        process = self._process or self._start()
        requests, answers = _pipes(process)
        late = threading.Event()
        timer = threading.Timer(self.timeout, lambda: (late.set(), process.kill()))
        timer.daemon = True  # Ctrl-C may come before it can be canceled
        try:
            timer.start()
            send(requests, header, arrays)
            answer, results = receive(answers)
        except (EOFError, BrokenPipeError, ValueError) as error:
            raise self._ended(process, late.is_set()) from error
        except BaseException:  # such as Ctrl-C: what is half read cannot be read on
            self.close()
            raise
        finally:
            timer.cancel()
        if "error" in answer:
            raise RuntimeError(f"TFLite Micro {failure}: {answer['error']}")
        return results

    def _start(self) -> subprocess.Popen[bytes]:
        # From its text: started from its path, it would import this folder's modules first.
        process = subprocess.Popen(
            [sys.executable, "-c", _WORKER.read_text()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self._environment,
        )
        self._end = weakref.finalize(self, _end, process)  # where nobody closes it, too
        try:
            header, _ = receive(_pipes(process)[1])
        except EOFError as error:
            self._end.detach()
            message = process.communicate()[1].decode(errors="replace").strip()
            last_line = message.rpartition("\n")[2]
            raise RuntimeError(f"TFLite Micro does not start: {last_line}") from error
        self.file = header["file"]
        self._process = process
        return process

    def _ended(self, process: subprocess.Popen[bytes], late: bool) -> ProcessEndedError:
        self.crashes += 1
        self.close()
        code = process.returncode
        if late:
            return ProcessEndedError(f"TFLite Micro took longer than {self.timeout:g} seconds.")
        reason = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return ProcessEndedError(f"TFLite Micro crashed on this model ({reason}).")
