"""The benchmark of how long exporting takes, on a small model."""

import pytest


def test_every_line_has_its_seconds(benchmarks_on_path, capsys, monkeypatch):
    from benchmarks import convert_time

    monkeypatch.setattr(convert_time, "importing", lambda statements: 0.5)  # starts TensorFlow
    monkeypatch.setattr("sys.argv", ["", "--models", "FastGRNN(16)", "--sequences", "3"])
    convert_time.main()
    lines = capsys.readouterr().out.splitlines()
    of_convert = [line for line in lines if line.startswith("convert ")]
    of_predict = [line for line in lines if line.startswith("predict 3 x 128 steps on ")]
    assert len(of_convert) == 2 and all(line.endswith("at most 1.5") for line in of_convert)
    assert len(of_predict) == 4 and all(float(line.split()[-1]) > 0.0 for line in of_predict)


def test_seconds_of_child_processes_count(benchmarks_on_path):
    from benchmarks import convert_time

    loop = "import time\nwhile time.process_time() < 0.3: pass"
    command = [convert_time.sys.executable, "-c", loop]
    run = convert_time.subprocess.run
    assert convert_time.cpu_seconds(lambda: run(command, check=True)) == pytest.approx(0.3, abs=0.2)
