"""Damaged files through the command line: an exit code or one error, never a crash."""

import re
import time
from collections import Counter

import numpy as np
import tflite_files
from small_models import needs_tflm, sequences
from tflite_files import damaged

from keras_fastgrnn.errors import MalformedModelError
from keras_fastgrnn.export import cli
from keras_fastgrnn.export.foreign import inspection
from keras_fastgrnn.export.foreign.verify import verify
from keras_fastgrnn.export.tflm.process import TFLMProcess

ONE_ERROR = re.compile(r"fastgrnn-export: error: [^\n]+\n")
DAMAGED_FILES = 600


@needs_tflm
def test_damaged_files_end_with_0_or_one_error_and_the_process_lives(tmp_path, monkeypatch, capfd):
    """Half of the files go to `inspect`, half to `run`; one process runs all that pass."""
    files = list(tflite_files.files().values())
    process = TFLMProcess(timeout=10)
    shared = type("Shared", (), {"__enter__": lambda _: process, "__exit__": lambda *_: None})
    monkeypatch.setattr(cli, "TFLMProcess", shared)
    monkeypatch.setattr(
        cli, "inspect", lambda data, **more: inspection.inspect(data, process, **more)
    )
    np.save(tmp_path / "one.npy", sequences(1))
    path, rng, counts = tmp_path / "bad.tflite", np.random.default_rng(0), Counter()
    start = time.monotonic()
    with process:
        for number in range(DAMAGED_FILES):
            if number % 20 == 0:
                data = rng.bytes(rng.integers(2000))
                data = data[:4] + b"TFL3" + data[8:] if number % 40 else data
            else:
                data = damaged(files[number % len(files)], rng)
            path.write_bytes(data)
            command = ["inspect", path] if number % 2 else ["run", path, tmp_path / "one.npy"]
            code = cli.main([str(argument) for argument in command])
            out, error = capfd.readouterr()
            assert code in (0, 1), number
            assert error == "" if code == 0 else ONE_ERROR.fullmatch(error), (number, error)
            counts[_outcome(data, error or out)] += 1
        assert process.crashes == 0
    seconds = time.monotonic() - start
    print(f"{DAMAGED_FILES} damaged files in {seconds:.0f} s: {dict(counts)}, 0 crashes")
    assert sum(counts.values()) == DAMAGED_FILES
    assert min(counts["refused by verify"], counts["ran"]) > 30


def _outcome(data, text) -> str:
    try:
        verify(data)
    except MalformedModelError:
        return "refused by verify"
    if "TFLite Micro refuses" in text or "TFLite Micro cannot run" in text:
        return "refused by TFLite Micro"
    return "fits no sequences" if "fastgrnn-export: error" in text else "ran"
