"""The stock converter on the models of the benchmarks: which conversions, and their table."""

import dataclasses
import json

import numpy as np
import pytest
from benchmark_results import check_damage_is_told
from small_models import needs_tflm

LAYERS = ["FastGRNN", "GRU", "LSTM", "SimpleRNN"]
OURS = {"file_bytes": 3000, "arena_bytes": 4000, "invoke_us_a_step": 2.0, "error": 0.01}


@pytest.fixture
def stock(benchmarks_on_path):
    from benchmarks import stock

    return stock


def test_each_layer_is_converted_in_three_ways_and_lstm_fused(stock):
    jobs = stock.jobs(classes=3)
    forms = {(job.form, job.quantization, job.flavor) for job in jobs if job.layer != "LSTM"}
    assert forms == {
        ("loop", None, "Keras 3"),
        ("loop", "int8", "Keras 3"),
        ("unrolled", "int8", "Keras 3"),
    }
    assert [sum(job.layer == layer for job in jobs) for layer in LAYERS] == [3, 3, 4, 3]
    assert {(job.units, job.classes, job.batch_size) for job in jobs} == {(32, 3, 1)}


def write(stock, folder, task, layer, form, measured, quantization="int8", flavor="Keras 3"):
    job = stock.Job(layer, form, quantization, 1, flavor, 32, 2)
    result = {"task": task, "job": dataclasses.asdict(job), "ours": OURS, "stock": measured}
    path = stock.path_of(task, job, folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result))


def test_table_has_ours_then_the_converters_with_ratios_and_its_words(stock, tmp_path):
    whole = {"file_bytes": 1234567, "arena_bytes": 99, "invoke_us_a_step": 5.0, "error": 0.5}
    write(stock, tmp_path, "speech", "GRU", "loop", {"failure": "a | b"})
    write(stock, tmp_path, "har2", "LSTM", "loop", whole, flavor="tf_keras")
    write(stock, tmp_path, "har2", "LSTM", "unrolled", {"failure": "stopped after 900 s"})
    write(stock, tmp_path, "har2", "LSTM", "loop", {**whole, "error": 1.02}, quantization=None)
    write(stock, tmp_path, "har2", "GRU", "loop", {"file_bytes": 5, "failure": "crashed"})
    _, _, *lines = stock.table(tmp_path).splitlines()
    assert lines == [
        "| har2 | GRU | ours, int16x8 streaming | 3,000 | 4,000 | 1.00 | 1 % |  |",
        "| har2 | GRU | int8 loop | 5 |  |  |  | crashed |",
        "| har2 | LSTM | ours, int16x8 streaming | 3,000 | 4,000 | 1.00 | 1 % |  |",
        "| har2 | LSTM | float loop | 1,234,567 | 99 | 2.50 | 102 % |  |",
        "| har2 | LSTM | int8, fused, tf_keras | 1,234,567 | 99 | 2.50 | 50 % |  |",
        "| har2 | LSTM | int8, unrolled |  |  |  |  | stopped after 900 s |",
        "| speech | GRU | ours, int16x8 streaming | 3,000 | 4,000 | 1.00 | 1 % |  |",
        "| speech | GRU | int8 loop |  |  |  |  | a \\| b |",
    ]


def test_table_of_nothing_has_a_header_alone(stock, tmp_path):
    assert len(stock.table(tmp_path / "nowhere").splitlines()) == 2


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda file: file.pop("task"), "'task'"),
        (lambda file: file.update(task="speech"), "it holds speech"),
        (lambda file: file["job"].pop("layer"), "'layer'"),
        (lambda file: file["ours"].pop("invoke_us_a_step"), "'invoke_us_a_step'"),
    ],
)
def test_a_damaged_result_is_one_line_that_names_it(stock, tmp_path, change, reason):
    write(stock, tmp_path, "har2", "GRU", "loop", OURS)
    check_damage_is_told(stock.main, tmp_path, change, reason)


@needs_tflm
def test_result_has_what_was_measured_of_both_and_a_late_one_is_told(stock, tmp_path, monkeypatch):
    monkeypatch.setattr(stock, "WORK", tmp_path)
    monkeypatch.setattr(stock, "ROUNDS", 2)
    rng = np.random.default_rng(0)
    part = stock.tasks.Part(rng.normal(size=(8, 6, 3)).astype(np.float32), np.arange(8) % 2)
    task = stock.tasks.Task("har2", 2, part, part, part)
    job = stock.Job("SimpleRNN", "unrolled", "int8", units=5)
    late = stock.perform(task, job, timeout=0.1)
    assert late["stock"] == {"failure": "stopped after 0.1 s"}
    assert set(late["ours"]) == {"file_bytes", "arena_bytes", "error"}
    result = json.loads(json.dumps(stock.perform(task, job, timeout=300)))
    assert result["job"]["units"] == 5
    (tflite,) = tmp_path.rglob("model.tflite")
    assert result["stock"]["file_bytes"] == tflite.stat().st_size
    for measured in (result["ours"], result["stock"]):
        assert set(measured) == {"file_bytes", "arena_bytes", "invoke_us_a_step", "error"}
        assert measured["error"] < 0.5
    assert {"commit", "tensorflow", "tf_keras", "date"} <= set(result["environment"])


def test_second_task_without_data_ends_the_command_before_the_first(stock, shared, tmp_path):
    (tmp_path / "uci_har.npz").symlink_to((shared / "data" / "uci_har.npz").resolve())
    with pytest.raises(SystemExit) as exit:
        stock.main(["--data", str(tmp_path), "--results", str(tmp_path / "results")])
    assert exit.value.code.startswith("benchmarks.stock: no kws4_logmel_u8.npz in ")
    assert not (tmp_path / "results").exists()


def test_command_without_data_ends_in_one_line(stock, tmp_path):
    with pytest.raises(SystemExit) as exit:
        stock.main(["--data", str(tmp_path), "--results", str(tmp_path / "results")])
    assert exit.value.code.startswith("benchmarks.stock: no uci_har.npz in ")
    assert not (tmp_path / "results").exists()
