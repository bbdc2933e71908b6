"""The benchmark of exported models: its numbers are those of the files, failures are shown."""

import os
import re
import subprocess
import sys

import pytest
from small_models import needs_tflm

from keras_fastgrnn.export.tflm.process import TFLMProcess

pytestmark = needs_tflm

CONVERSION_OF_A_LOOP = """
import numpy as np
import tensorflow as tf
from keras_fastgrnn import FastGRNN
x = tf.keras.layers.Input((128, 9), batch_size=1)
model = tf.keras.Model(x, tf.keras.layers.Dense(2)(FastGRNN(16)(x)))
converter = tf.lite.TFLiteConverter.from_keras_model(model)
converter.optimizations = [tf.lite.Optimize.DEFAULT]
converter.representative_dataset = lambda: [[np.ones((1, 128, 9), np.float32)]]
converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
converter.convert()
"""


@pytest.fixture(scope="module")
def quick(root, tmp_path_factory):
    """The folder that `--quick` wrote to, started as a file from elsewhere."""
    folder = tmp_path_factory.mktemp("export_size")
    script = root / "benchmarks" / "export_size.py"
    command = [sys.executable, script, "--quick", "--work", folder, "--output", folder / "out.md"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=300)
    return folder


@pytest.fixture
def benchmark(root, monkeypatch):
    monkeypatch.syspath_prepend(str(root))
    from benchmarks import export_size

    return export_size


def rows(folder, layer="FastGRNN"):
    """The rows of a layer's table, as dictionaries by the header's names."""
    (section,) = re.findall(
        rf"^## {layer}\n(.*?)^## ", (folder / "out.md").read_text(), re.M | re.S
    )
    lines = [line for line in section.splitlines() if line.startswith("|")]
    header, _, *cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    return [dict(zip(header, row, strict=True)) for row in cells]


def number(cell):
    return float(cell.replace(",", ""))


def test_rows_have_the_bytes_and_arenas_of_the_files(quick):
    measured = [row for row in rows(quick) if not row["failure"]]
    names = ["made by", "one Invoke computes", "format"]
    assert [[row[name] for name in names] for row in measured] == [
        ["keras_fastgrnn", "streaming", "int16x8"],
        ["TFLiteConverter", "one step", "int8"],
    ]
    with TFLMProcess() as process:
        for row in measured:
            name = " ".join(["FastGRNN", *(row[name] for name in names)]).replace(" ", "_")
            tflite = (quick / "models" / f"{name}.tflite").read_bytes()
            assert number(row["bytes"]) == len(tflite)
            arena = int(number(row["arena"]))
            process.load(tflite, arena)
            with pytest.raises(RuntimeError, match="TFLite Micro"):
                process.load(tflite, arena - 16)


def test_int16x8_streaming_is_smaller_and_faster_than_the_stock_int8_step(quick):
    ours, stock, _ = rows(quick)
    for cost in ("bytes", "arena", "Invoke, microseconds a step"):
        assert number(ours[cost]) < number(stock[cost])
    assert "- FastGRNN: all lower in ours." in (quick / "out.md").read_text()


def test_failure_of_the_converter_is_a_row_in_its_words(quick):
    *_, failed = rows(quick)
    assert list(failed.values())[:3] == ["TFLiteConverter", "loop", "int8"]
    assert not any(list(failed.values())[3:-1])
    reported = re.fullmatch(r"converter: ended by signal (\d+) \(SIG[A-Z]+\)", failed["failure"])

    environment = {k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"}
    command = [sys.executable, "-c", CONVERSION_OF_A_LOOP]
    process = subprocess.run(command, env=environment, capture_output=True, timeout=300)
    assert process.returncode == -int(reported[1])


def test_conversion_reports_the_converters_words_and_keeps_no_timeout(benchmark, tmp_path):
    model, x = benchmark.seeded_model("SimpleRNN"), benchmark.sequences(2, 0)
    job = benchmark.Job("SimpleRNN", "loop", None, batch_size=None)
    late = benchmark.convert(job, model.get_weights(), x, tmp_path, timeout=0.1)
    assert (late.tflite, late.error) == (None, "stopped after 0.1 s")
    failed = benchmark.convert(job, model.get_weights(), x, tmp_path, timeout=300)
    assert failed.tflite is None
    assert "'tf.TensorListReserve' op requires element_shape to be static" in failed.error


@pytest.mark.parametrize("layer", ["LSTM", "FastGRNN"])
def test_float_model_of_one_step_computes_what_keras_does(benchmark, tmp_path, layer):
    """Its inputs and outputs lie in another order than the Keras model's."""
    model, x = benchmark.seeded_model(layer), benchmark.sequences(2, 0)
    job = benchmark.Job(layer, "one step", None)
    made = benchmark.stock_model(job, model.get_weights(), x, tmp_path, timeout=300)
    with TFLMProcess() as process:
        benchmark.measure(made, x, model.predict(x, verbose=0), process)
    assert made.failure is None
    assert made.error < 1e-5  # float32 sums in another order, over 128 steps
