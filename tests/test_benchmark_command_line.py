"""What is wrong on a command line is refused in one line, before any work."""

import importlib

import pytest

NUMBERS = {
    "__main__": ("--seeds", "--workers"),
    "ablation": ("--seeds", "--workers"),
    "export_size": ("--timeout", "--rounds"),
    "quantization": ("--epochs", "--fine-epochs", "--seeds"),
    "quantization_cost": ("--rounds", "--steps"),
    "step_cost": ("--models",),
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


def test_document_that_cannot_be_written_is_told_before_any_work(
    benchmarks_on_path, capsys, monkeypatch, tmp_path
):
    from benchmarks import plain_c

    for path in (tmp_path, tmp_path / "nowhere" / "PLAIN_C.md"):
        monkeypatch.setattr("sys.argv", ["plain_c", "--output", str(path)])
        with pytest.raises(SystemExit):
            plain_c.main()
        line = capsys.readouterr().err.splitlines()[-1]
        assert line.endswith(f"--output: expected a file in a folder that is there, got {path}")
