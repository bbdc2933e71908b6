"""Plants faults in the integer arithmetic, one at a time, and tells which ones the tests find.

    python tests/plant_faults.py                # all of them, about half an hour on two cores
    python tests/plant_faults.py rewrite.py     # those in the files whose path ends so

Each fault is a wrong rounding, scale, sign or limit in a copy of the tree, on which the tests that
ought to notice run in Keras 3 until the first one fails. A fault that none finds is a gap in the
tests, or changes nothing: then another one takes its place here. The exit status is the number of
faults that were not found.
"""

import contextlib
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.pop("TF_USE_LEGACY_KERAS", None)

import pytest
import tensorflow.keras  # noqa: F401

ROOT = Path(__file__).resolve().parent.parent

KERNEL_TESTS = [
    "graph/test_reference.py::test_every_input_of_a_table_gives_the_same_integer",
    "graph/test_reference.py::test_softmax_gives_the_same_integers",
    "graph/test_reference.py::test_every_sum_of_two_int8_is_the_same_integer",
    "graph/test_reference.py::test_sums_of_int16_of_any_scales_are_the_same_integers",
    "graph/test_reference.py::test_no_integer_differs_in_10000_steps_without_reset",
    "graph/test_reference.py::test_no_integer_differs_in_random_models",
    "quantization/test_int8_scales.py",
]
C_TESTS = ["export/plain_c/test_expressions.py", "export/test_convert_c.py"]

# A file, the tests that ought to notice, the quickest first, and the faults: a text that is in the
# file once, and what takes its place.
FAULTS = [
    (
        "keras_fastgrnn/graph/fixed_point.py",
        ["graph/test_fixed_point.py"],
        [
            ("np.floor(fraction * 2.0**31 + 0.5)", "np.floor(fraction * 2.0**31)"),
            ("    product += 1 << 30\n", ""),
            ("    rounded -= (values < 0) & (half > 0)\n", ""),
            ("range(-2, integer_bits)", "range(-1, integer_bits)"),
            ("rounding_shift(_logistic(x), 23) - 128", "(_logistic(x) >> 23) - 128"),
        ],
    ),
    (
        "keras_fastgrnn/graph/operators/fully_connected.py",
        [*KERNEL_TESTS, "export/lowering/test_integers.py"],
        [
            ("* reduced + (1 << (total_shift - 1))", "* reduced + (1 << (total_shift - 1)) - 1"),
            ("reduced = (multiplier + 2**15) >> 16", "reduced = multiplier >> 16"),
            ("- x.zero_point * integers.sum(axis=0)", "+ x.zero_point * integers.sum(axis=0)"),
        ],
    ),
    (
        "keras_fastgrnn/graph/operators/fully_connected.py",
        ["export/lowering/test_integers.py"],
        [
            ('* left).max() < SUM_LIMITS["int8"]', '* left).max() < 2 * SUM_LIMITS["int8"]'),
            ('SUM_LIMITS = {"int16": 2.0**47', 'SUM_LIMITS = {"int16": 2.0**62'),
        ],
    ),
    (
        "keras_fastgrnn/graph/operators/sums.py",
        KERNEL_TESTS,
        [
            ("multiply(a + sign * b, *output_factor)", "multiply(a + b, *output_factor)"),
            ('{"int16": 15, "int8": 20}', '{"int16": 15, "int8": 19}'),
            ("first.zero_point - sign * second", "first.zero_point - second"),
        ],
    ),
    (
        "keras_fastgrnn/graph/operators/sums.py",
        [
            "quantization/test_limits.py",
            "quantization/test_int8_scales.py",
            "export/tflite/test_litert.py",
        ],
        [
            ("limit + np.abs(real_constant(second))", "limit - np.abs(real_constant(second))"),
            ("[of_inputs, of_inputs, quantize", "[of_inputs, of_inputs, of_inputs or quantize"),
        ],
    ),
    (
        "keras_fastgrnn/graph/operators/sums.py",
        C_TESTS,
        [("_EXACT_BITS = 13", "_EXACT_BITS = 14")],
    ),
    (
        "keras_fastgrnn/graph/operators/sigmoids.py",
        ["quantization/test_int16_scales.py", *KERNEL_TESTS],
        [
            ("finest=2.0**INT16_TABLE_EXPONENT", "finest=2.0**-14"),
            ("result + (1 << 9) - 1) >> 10", "result + (1 << 9)) >> 10"),
        ],
    ),
    (
        "keras_fastgrnn/graph/operators/softmax.py",
        KERNEL_TESTS,
        [("(values & 0x7F) + 64) >> 7", "(values & 0x7F)) >> 7")],
    ),
    (
        "keras_fastgrnn/graph/real_values.py",
        ["graph/test_reference.py", "export/test_convert.py"],
        [
            ("high = min(high, int(", "high = min(high, -1 + int("),
            ("np.trunc(scaled + np.copysign(0.5, scaled))", "np.floor(scaled + 0.5)"),
        ],
    ),
    (
        "keras_fastgrnn/graph/rewrite.py",
        ["graph/test_rewrite.py", "graph/test_rewrite_models.py"],
        [
            ("for t in source.constants]", "for t in source.constants[:1]] + source.inputs[2:]"),
            ('("ADD", np.add)', '("ADD", np.subtract)'),
            ("_LARGEST_FOLDED_SUM = 16.0", "_LARGEST_FOLDED_SUM = 1e6"),
        ],
    ),
    (
        "keras_fastgrnn/graph/given_sequences.py",
        ["graph/test_given_sequences.py", "export/test_masking.py"],
        [
            ("[np.cumsum(mask)], output)", "[np.cumsum(mask) - mask], output)"),
            ("np.argsort(self._order).tolist()", "list(self._order)"),
        ],
    ),
    (
        "keras_fastgrnn/quantization/limits.py",
        ["quantization/test_limits.py", "export/report/test_saturation.py"],
        [
            ("limit <= high + tensor.unit", "limit <= high"),
        ],
    ),
    (
        "keras_fastgrnn/quantization/int16_scales.py",
        ["quantization/test_int16_scales.py", "export/report/test_saturation.py"],
        [
            ("HEADROOM = 1.25", "HEADROOM = 1.0"),
            (" - (mantissa == 0.5)", ""),
        ],
    ),
    (
        "keras_fastgrnn/quantization/int8_scales.py",
        ["quantization/test_int8_scales.py"],
        [
            ("round(LOWEST_CALIBRATED_INT8 - low / scale)", "LOWEST_CALIBRATED_INT8 - low / scale"),
            ("max(ranges[tensor].low, -limit)", "max(ranges[tensor].low, limit)"),
        ],
    ),
    (
        "export/lowering/integers.py",
        ["export/lowering/test_integers.py", "export/test_convert.py"],
        [
            ("math.ceil(math.ldexp(mantissa, 15)", "math.floor(math.ldexp(mantissa, 15)"),
            ("tensor.data.max() * (1.0 + 2.0**-16)", "tensor.data.max()"),
        ],
    ),
    (
        "export/lowering/alternatives.py",
        ["export/lowering/test_alternatives.py", "export/test_convert.py"],
        [
            ("errors - factor**2 * others", "errors - factor * others"),
            ("scale_of(exponent) / scale_of(chosen[-1])", "scale_of(chosen[-1] - exponent)"),
            ("largest[0] / largest[1]", "largest[1] / largest[0]"),
        ],
    ),
    (
        "export/lowering/costs.py",
        ["export/lowering/test_costs.py", "export/report/test_exactness.py"],
        [
            (
                "integer.output.unit / integer.inputs[place].unit",
                "integer.inputs[place].unit / integer.output.unit",
            ),
            ("if deviation <= 1e-6 * size:", "if deviation <= 0.0:"),
        ],
    ),
    (
        "export/lowering/end_types.py",
        ["export/lowering/test_end_types.py"],
        [("else HEADROOM * _known(seen).magnitude", "else _known(seen).magnitude")],
    ),
    (
        "export/tflite/write.py",
        ["export/tflite/test_write.py", "export/tflite/test_litert.py"],
        [
            ("readers[-1] > writer", "readers[0] > writer"),
        ],
    ),
    (
        "export/plain_c/expressions.py",
        C_TESTS,
        [
            ("+ rounding(op) >= 2**31", "+ rounding(op) >= 2**33"),
        ],
    ),
    (
        "export/plain_c/round_shift.h",
        C_TESTS,
        [("(bits - 1)) - (value < 0), bits)", "(bits - 1)), bits)")],
    ),
    (
        "export/plain_c/logistic.h",
        C_TESTS,
        [("x < 0 ? 32768 - result : result", "x < 0 ? 32767 - result : result")],
    ),
    (
        "export/plain_c/multiply_fractions.h",
        C_TESTS,
        [("product < 0 ? 16383 : 16385", "product < 0 ? 16384 : 16385")],
    ),
    (
        "export/plain_c/matrices.py",
        C_TESTS,
        [("LARGEST_OF_4_BITS = 7", "LARGEST_OF_4_BITS = 8")],
    ),
    (
        "export/plain_c/schedule.py",
        C_TESTS,
        [("(index > written or reads_vector)", "index > written")],
    ),
]


@contextlib.contextmanager
def planted(path: Path, old: str, new: str):
    text = path.read_text()
    if text.count(old) != 1:
        raise SystemExit(f"{path} has {text.count(old)} times, expected once: {old!r}")
    path.write_text(text.replace(old, new))
    yield
    path.write_text(text)


class FirstFailure:
    """A plugin of pytest that remembers the first test that failed."""

    test = None

    def pytest_runtest_logreport(self, report):
        if report.failed and self.test is None:
            self.test = report.nodeid

    pytest_collectreport = pytest_runtest_logreport


def run(copy: Path, tests: list[str], sender) -> None:
    """Runs tests on a copy of the tree, in a process that has imported nothing of the project."""
    os.chdir(copy)
    sys.path.insert(0, str(copy))
    first = FirstFailure()
    with open("output.txt", "w") as output, contextlib.redirect_stdout(output):
        options = ["-x", "-q", "-p", "no:cacheprovider"]
        code = pytest.main([*options, *(f"tests/{test}" for test in tests)], plugins=[first])
    sender.send((code, first.test))


def first_failure(copy: Path, tests: list[str]) -> str | None:
    """The first test that fails on a copy of the tree, or `None`."""
    context = multiprocessing.get_context("fork")  # TensorFlow is imported once
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=run, args=(copy, tests, sender))
    process.start()
    code, test = receiver.recv()
    process.join()
    if code != 0 and test is None:
        raise SystemExit((copy / "output.txt").read_text())
    return test


def main(endings: list[str]) -> int:
    os.environ.setdefault("KERAS_FASTGRNN_SHARED", str(ROOT.parent / "shared"))
    files = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    found = []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in files:
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name, follow_symlinks=False)
        for path, tests, faults in FAULTS:
            for old, new in faults if not endings or path.endswith(tuple(endings)) else ():
                start = time.monotonic()
                with planted(copy / path, old, new):
                    test = first_failure(copy, tests)
                if test is not None and first_failure(copy, [test.removeprefix("tests/")]):
                    raise SystemExit(f"{test} fails without a fault, too.")
                found.append(test)
                seconds = time.monotonic() - start
                print(f"{path}: {old.strip()}")
                print(f"    {test or 'NOT FOUND'} ({seconds:.0f} s)", flush=True)
    missed = found.count(None)
    print(f"{len(found) - missed} of {len(found)} faults were found.")
    return missed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
