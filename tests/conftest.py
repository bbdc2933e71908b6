"""What every test file shares. The environment is set before anything imports TensorFlow."""

import collections
import gc
import os
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
NO_SKIPS = bool(os.environ.get("KERAS_FASTGRNN_NO_SKIPS"))

IS_TF_KERAS = os.environ.get("TF_USE_LEGACY_KERAS") in ("1", "true", "True")

# What a device computes depends on the integers alone, and those on what is traced of a model. So
# tf_keras runs the tests of layers, of training, of saving, loading and tracing, and whole
# conversions of models with Masking and a layer of each kind.
KERAS_3_ALONE = [
    "benchmarks/*",
    "examples/*",
    "export/firmware/*",
    "export/foreign/test_[!l]*.py",  # all but test_load_keras.py
    "export/lowering/*",
    "export/report/*",
    "export/test_cli*.py",
    "export/test_convert*.py",
    "export/test_export_id.py",
    "export/test_files.py",
    "export/tflite/*",
    "export/tflm/*",
    "graph/test_fixed_point.py",
    "graph/test_ranges.py",
    "graph/test_reference.py",
    "graph/test_rewrite*.py",
    "quantization/test_int*_scales.py",
    "export/plain_c/*.py",
    "quantization/test_limits.py",
    "quantization/test_units.py",
    "recipe/test_budget_search.py",
    "recipe/test_search_*.py",
    "test_docs.py",
    "test_edgeml_errors.py",
    "test_export_size.py",
    "test_own_command.py",
    "test_packaging.py",
    "test_storage.py",
]
# Tests of many cases, of which none is about what differs between the two: of each test tf_keras
# runs every fourth case.
KERAS_3_MOSTLY = [
    "export/test_masking.py",
    "graph/layer_handlers/test_convolutions.py",
    "graph/layer_handlers/test_pooling.py",
    "graph/test_given_sequences.py",
    "quantization/test_aware_layers.py",
    "quantization/test_aware_models.py",
    "quantization/test_step_quantizer.py",
    "recipe/*",
    "test_sparsity*.py",
]
TF_KERAS_ALONE = ["quantization/test_tfmot_training.py", "test_tfmot_pruning.py"]
collect_ignore_glob = KERAS_3_ALONE if IS_TF_KERAS else TF_KERAS_ALONE

settings.register_profile("reproducible", deadline=None, derandomize=True)
settings.load_profile("reproducible")


def pytest_collection_modifyitems(config, items):
    """Leaves out cases that tf_keras need not run, and makes our own warnings errors.

    The warnings carry the caller's module, so that the filter of pyproject.toml, which goes by the
    module, misses them. Naming their category imports TensorFlow, as the collected tests have by
    this time.
    """
    for category in (
        "export.PrecisionWarning",
        "export.SaturationWarning",
        "recipe.TrainingWarning",
    ):
        config.addinivalue_line("filterwarnings", f"error::keras_fastgrnn.{category}")
    if IS_TF_KERAS:
        items[:] = _every_fourth(items)
    gc.collect()
    gc.freeze()  # what is imported by now stays, and need not be looked through again and again


def _every_fourth(items) -> list:
    """Every fourth case of the tests of `KERAS_3_MOSTLY`, and all others."""
    places = collections.Counter()
    kept = []
    for item in items:
        path = item.path.relative_to(ROOT / "tests")
        test = path, getattr(item, "originalname", item.name)
        is_thinned = any(path.match(pattern) for pattern in KERAS_3_MOSTLY)
        if not is_thinned or places[test] % 4 == 0:
            kept.append(item)
        places[test] += 1
    return kept


def _fail_if_skipped(report):
    expected_failure = hasattr(report, "wasxfail")
    if NO_SKIPS and report.skipped and not expected_failure:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{reason}\nKERAS_FASTGRNN_NO_SKIPS is set, so a skip is a failure."
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    return _fail_if_skipped((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report():
    return _fail_if_skipped((yield))


@pytest.fixture(autouse=True)
def seeded():
    """Every test starts from the same random state, whichever ran before it."""
    from keras_fastgrnn import keras

    keras.utils.set_random_seed(0)


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's root folder."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of the data sets and golden numbers that are not part of the project."""
    folder = Path(os.environ.get("KERAS_FASTGRNN_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip("The shared test data is absent; KERAS_FASTGRNN_SHARED names its folder.")
    return folder


@pytest.fixture
def benchmarks_on_path(root, monkeypatch):
    """Makes `benchmarks` and `examples` importable, as `python -m` does from the root."""
    monkeypatch.syspath_prepend(str(root))


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    """A folder with a FastGRNN checkpoint of the authors' code."""
    import checkpoints

    checkpoints.write(tmp_path, checkpoints.fastgrnn_arrays())
    return tmp_path


@pytest.fixture
def run_python(tmp_path):
    """Runs Python in a process of its own, as a user's shell would: no flavor chosen yet.

    `run_python("-c", code)` returns the standard output; keyword arguments set environment
    variables. The folder is `tmp_path`, so that nothing is imported from the project's root.
    """
    dropped = {"TF_USE_LEGACY_KERAS", "PYTHONPATH", "PYTHONWARNINGS"}
    clean = {name: value for name, value in os.environ.items() if name not in dropped}

    def run(*arguments, timeout=600, **environment) -> str:
        result = subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=tmp_path,
            env={**clean, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    return run


@pytest.fixture(scope="session")
def wheels():
    """The installed TFLite Micro wheel and the oldest supported one, by name."""
    from tflm_wheels import InstalledWheel, OldestWheel

    from keras_fastgrnn.export.tflm.interpreter import is_available

    if not is_available():
        pytest.skip("The TFLite Micro wheel is absent; install keras-fastgrnn[tflm].")
    folder = os.environ.get("KERAS_FASTGRNN_OLDEST_TFLM", "")
    if not Path(folder, "tflite_micro").is_dir():
        pytest.skip("The oldest TFLite Micro wheel is absent; `make test` installs it.")
    oldest = OldestWheel(folder)
    yield {"installed": InstalledWheel(), "oldest": oldest}
    oldest.close()


@pytest.fixture(scope="session")
def files_of_converter(tmp_path_factory) -> dict[str, bytes]:
    """Files that `foreign_files.py` writes, in a process for each Keras.

    They are made once; other workers of pytest-xdist wait for them.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "foreign_files"
    done = folder / "done"
    try:
        folder.mkdir()
    except FileExistsError:
        until = time.monotonic() + 600.0
        while not done.exists() and time.monotonic() < until:
            time.sleep(0.5)
    else:
        for flavor in ("0", "1"):
            subprocess.run(
                [sys.executable, Path(__file__).with_name("foreign_files.py"), folder],
                env={**os.environ, "TF_USE_LEGACY_KERAS": flavor},
                check=True,
                capture_output=True,
            )
        done.touch()
    return {path.stem: path.read_bytes() for path in sorted(folder.glob("*.tflite"))}
