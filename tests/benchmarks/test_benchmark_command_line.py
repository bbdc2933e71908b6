"""What is wrong on a command line is refused in one line, before any work."""

import importlib

import pytest

NUMBERS = {
    "__main__": ("--seeds", "--workers"),
    "ablation": ("--seeds", "--workers"),
    "aware_exactness": ("--models",),
    "convert_time": ("--sequences",),
    "export_size": ("--timeout", "--rounds"),
    "quantization_accuracy": ("--epochs", "--fine-epochs", "--seeds"),
    "quantization_cost": ("--rounds", "--steps"),
    "raw_sensors": ("--epochs", "--fine-epochs"),
    "step_cost_fit": ("--models",),
    "stock": ("--timeout",),
}


@pytest.mark.parametrize("text", ["0", "-1", "2.5", "many"])
@pytest.mark.parametrize(
    "module, argument", [(module, one) for module, names in NUMBERS.items() for one in names]
)
def test_what_is_no_positive_integer_is_refused(
    module, argument, text, benchmarks_on_path, capsys, monkeypatch
):
    main = importlib.import_module(f"benchmarks.{module}").main
    monkeypatch.setattr("sys.argv", [module, f"{argument}={text}"])
    with pytest.raises(SystemExit):
        main()
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.endswith(f"error: argument {argument}: expected a positive integer, got {text}")


@pytest.mark.parametrize("module", ["export_size", "plain_c_cost"])
def test_folder_to_write_a_document_to_is_refused(
    module, benchmarks_on_path, capsys, monkeypatch, tmp_path
):
    main = importlib.import_module(f"benchmarks.{module}").main
    monkeypatch.setattr("sys.argv", [module, "--output", str(tmp_path)])
    with pytest.raises(SystemExit):
        main()
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.endswith(f"error: argument --output: expected a file, got the folder {tmp_path}")
