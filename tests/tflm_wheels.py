"""Runs models on TFLite Micro wheels: the installed one, and the oldest supported in a process."""

import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from keras_fastgrnn.export.tflm.interpreter import Interpreter

_WORKER = """
import pickle, sys
import numpy as np
import tflite_micro
from tflite_micro import runtime
pickle.dump(tflite_micro.__file__, sys.stdout.buffer)
sys.stdout.buffer.flush()
while True:
    try:
        model, inputs, outputs = pickle.load(sys.stdin.buffer)
    except EOFError:
        break
    interpreter = runtime.Interpreter.from_bytes(model, arena_size=1 << 20)
    results = [[] for _ in range(outputs)]
    for x in inputs:
        interpreter.set_input(x, 0)
        interpreter.invoke()
        for index, result in enumerate(results):
            result.append(interpreter.get_output(index))
    pickle.dump([np.concatenate(r) for r in results], sys.stdout.buffer)
    sys.stdout.buffer.flush()
"""


class InstalledWheel:
    """Runs models in this process."""

    def run(self, model: bytes, inputs: np.ndarray, outputs: int) -> list[np.ndarray]:
        """Runs `inputs`, a step or a sequence an Invoke, and returns each output's rows."""
        interpreter = Interpreter(model, output_count=outputs)
        results = [interpreter.invoke(x) for x in inputs[:, np.newaxis]]
        return [np.concatenate(output) for output in zip(*results, strict=True)]


class OldestWheel:
    """Runs models in a process that sees the oldest supported wheel."""

    def __init__(self, folder: str):
        environment = {**os.environ, "PYTHONPATH": folder}
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115, open as long as the process
        self.process = subprocess.Popen(
            [sys.executable, "-c", _WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env=environment,
        )
        imported = Path(pickle.load(self.process.stdout))
        assert Path(folder).resolve() in imported.resolve().parents

    def run(self, model: bytes, inputs: np.ndarray, outputs: int) -> list[np.ndarray]:
        """As `InstalledWheel.run`."""
        request = (model, inputs[:, np.newaxis], outputs)
        pickle.dump(request, self.process.stdin)
        self.process.stdin.flush()
        try:
            return pickle.load(self.process.stdout)
        except EOFError as error:
            self.errors.seek(0)
            raise RuntimeError(self.errors.read().decode(errors="replace")) from error

    def close(self):
        self.process.communicate()
        self.errors.close()
