"""Generated C on bare devices, in emulators: every number is the reference's at every step."""

import dataclasses
import functools
import re
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from compilers import needed_device
from small_models import sequences, sequential

from benchmarks import plain_c_cost
from examples.firmware import demo, firmware
from examples.firmware.golden import (
    Golden,
    checksums_of,
    generated_inputs,
    golden_header,
    golden_of,
)
from keras_fastgrnn import FastGRNN, FastRNN, keras
from keras_fastgrnn.export.convert_c import convert_c
from keras_fastgrnn.graph import real_values, reference

LAYERS = keras.layers
MODELS = {
    "smooth": lambda: [FastGRNN(8), LAYERS.Dense(3)],
    "piecewise linear, low rank": lambda: [
        FastGRNN(16, "quant_tanh", "quant_sigmoid4", kernel_rank=2, recurrent_rank=8),
        LAYERS.Dense(6),
    ],
    "FastRNN with one answer": lambda: [FastRNN(6, "relu", recurrent_rank=3), LAYERS.Dense(1)],
    "zeros": lambda: [FastGRNN(12, "quant_tanh", "sigmoid"), LAYERS.Dense(2, "softmax")],
    "any scales, stacked, no head": lambda: [FastGRNN(5, return_sequences=True), FastRNN(4)],
}
# Of 100 steps, for these models and that of UCI HAR; 30 for the others.
LONG_RUN_BLOCKS = 100
RUN_LONGEST = ("smooth", "piecewise linear, low rank")
LEVELS = ("-O0", "-O1", "-O3", "-Os")


@functools.cache
def case(name):
    """A model in C, golden sequences, and what the reference computes in the long run."""
    model = sequential(*MODELS[name](), seed=len(name), spread=0.5)
    if name == "zeros":
        keep_a_quarter(model)
    deployed = convert_c(
        model, 0.5 * sequences(), name="gesture", power_of_two_weights=not name.startswith("any")
    )
    integers = real_values.quantize_input(sequences(6, seed=2), deployed.graph.inputs[0])
    blocks = LONG_RUN_BLOCKS if name in RUN_LONGEST else 30
    long_run = golden_of(deployed, generated_inputs(blocks, integers.shape[-1]))
    return deployed, golden_of(deployed, integers), long_run


def keep_a_quarter(model):
    for weight in model.trainable_weights:
        values = weight.numpy()
        if values.ndim == 2:
            weight.assign(values * (np.abs(values) > np.quantile(np.abs(values), 0.75)))


@pytest.fixture(params=firmware.TARGETS)
def target(request):
    return needed_device(request.param)


def assert_passes(result, golden, blocks):
    numbers = golden.states.size + golden.logits.size + golden.classes.size
    assert (result.differences, result.compared) == (0, numbers + blocks)
    assert result.has_passed


@pytest.mark.parametrize("name", MODELS)
def test_every_step_and_the_long_run_are_the_reference_s(name, target, tmp_path):
    deployed, golden, long_run = case(name)
    checksums = checksums_of(long_run)
    result = firmware.test(target, deployed, golden, checksums, folder=tmp_path)
    assert_passes(result, golden, len(checksums))
    assert result.state == 2 * golden.states.shape[-1]
    assert result.step > deployed.report.multiply_accumulates
    assert result.ram > result.state + 8
    assert result.flash > sum(deployed.report.constant_bytes.values())


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    ("device", "name"),
    # The assembly is AVR's, and that of a dense row Cortex-M4's.
    [
        *(("atmega328p", name) for name in MODELS),
        *(("cortex-m0", name) for name in ("smooth", "zeros")),
        *(("cortex-m4", name) for name in ("smooth", "any scales, stacked, no head")),
    ],
)
def test_every_optimization_computes_the_same(device, name, level, tmp_path):
    deployed, golden, long_run = case(name)
    checksums = checksums_of(long_run)[:8]
    result = firmware.test(needed_device(device), deployed, golden, checksums, level, tmp_path)
    assert_passes(result, golden, len(checksums))


@pytest.fixture(scope="module")
def har(shared):
    """A model in C, 20 test windows, and the long run."""
    with np.load(shared / "data" / "uci_har.npz") as archive:
        starts = archive["start"][archive["split"] == 1]
        places = starts[:: len(starts) // 20][:20, np.newaxis] + np.arange(128)
        x = archive["signal"][places].astype("float32")
    keras.utils.set_random_seed(0)
    scaling = LAYERS.Normalization(mean=x.mean(axis=(0, 1)), variance=x.var(axis=(0, 1)))
    layers = [LAYERS.Input((128, 9)), scaling, FastGRNN(16), LAYERS.Dense(6)]
    deployed = convert_c(keras.Sequential(layers), x, name="har", power_of_two_weights=True)
    golden = golden_of(deployed, real_values.quantize_input(x, deployed.graph.inputs[0]))
    return deployed, golden, golden_of(deployed, generated_inputs(LONG_RUN_BLOCKS, 9))


def test_20_windows_of_uci_har_are_the_reference_s(har, target, tmp_path):
    deployed, golden, long_run = har
    assert golden.states.shape == (20, 128, 16)
    result = firmware.test(target, deployed, golden, checksums_of(long_run), folder=tmp_path)
    assert_passes(result, golden, LONG_RUN_BLOCKS)
    assert len(list(tmp_path.glob("image*"))) == (10 if target.flash == 2**15 else 1)


@pytest.mark.parametrize("name", MODELS)
def test_the_long_run_saturates_and_goes_on(name):
    deployed, _, long_run = case(name)
    inputs = long_run.inputs
    assert {-32767, 32767} <= set(inputs.ravel().tolist())
    assert inputs.shape == (1, 10000 if name in RUN_LONGEST else 3000, 3)
    clipped = 0
    for values in reference.steps(deployed.graph, inputs[:, :1000]):
        for op in deployed.graph.ops:
            clipped += np.count_nonzero(np.abs(values[op.output]) >= 32767)
    assert clipped > 100
    for block in np.split(long_run.states[0, :800], 8):
        assert len(np.unique(block, axis=0)) > 1


def test_numbers_that_differ_are_counted(tmp_path):
    deployed, golden, long_run = case("smooth")
    golden, checksums = golden[:2], checksums_of(long_run)[:3]
    wrong = Golden(*(array.copy() for array in (golden.inputs, golden.states, golden.logits)))
    wrong.states[0, 0, 0] += 1
    wrong.states[1, 11, 7] ^= 1 << 14
    wrong.logits[1, 3, golden.classes[1, 3]] = -32768  # and so another class
    checksums[1] ^= 1
    target = needed_device("cortex-m3")
    result = firmware.test(target, deployed, wrong, checksums, folder=tmp_path)
    assert result.differences == 5
    assert not result.has_passed


# A model that takes as long, and as much stack, as the test knows.
TESTED_HEADER = """#include <stdint.h>
#define TESTED_INPUT_SIZE 1
#define TESTED_OUTPUT_SIZE 1
#define TESTED_STATE_BYTES 2
typedef struct { int16_t sum; } tested_state;
void tested_reset(tested_state *state);
void tested_step(tested_state *state, const int16_t *input);
void tested_output(const tested_state *state, int16_t *logits);
uint16_t tested_classify(const tested_state *state);
"""
TESTED_SOURCE = """#include "tested.h"
static void turn(uint16_t times) {
#ifdef __AVR__
  __asm__ __volatile__("1: sbiw %0, 1\\n brne 1b" : "+w"(times));
#else
  uint32_t count = times;
  __asm__ __volatile__(".syntax unified\\n1: subs %0, #1\\n bne 1b" : "+l"(count) : : "cc");
#endif
}
void tested_reset(tested_state *state) { state->sum = 0; }
void tested_step(tested_state *state, const int16_t *input) {
  volatile uint8_t used[100];
  for (uint8_t i = 0; i < 100; ++i) used[i] = i;
  state->sum = (int16_t)(input[0] + used[0]);
  turn(50000);
}
void tested_output(const tested_state *state, int16_t *logits) {
  logits[0] = state->sum;
  turn(1000);
}
uint16_t tested_classify(const tested_state *state) { return state->sum > 0; }
"""


def test_what_is_measured_is_what_is_known(target, tmp_path):
    tested = SimpleNamespace(name="tested", header=TESTED_HEADER, source=TESTED_SOURCE)
    inputs = generated_inputs(3, 1)
    golden = Golden(inputs, inputs, inputs)  # state and answer are the input
    part = Golden(*(array[:, :10] for array in (inputs, inputs, inputs)))
    result = firmware.test(target, tested, part, checksums_of(golden), folder=tmp_path)
    assert_passes(result, part, 3)
    a_turn = 4 if target.unit == "cycles" else 2  # cycles: 2 and 2; instructions
    assert 0 <= result.step - a_turn * 50000 <= 2000  # and what 100 bytes take to write
    assert 0 <= result.output - a_turn * 1000 <= 40
    assert 100 <= result.step_stack <= 124
    assert result.output_stack <= 20
    assert result.ram == 2 + result.step_stack
    assert result.tick == {"cortex-m0": 62.5, "atmega328p": 1.0}.get(
        next(name for name, value in firmware.TARGETS.items() if value is target), 40.0
    )


def test_a_missing_tool_is_named_with_its_package(target, monkeypatch, tmp_path):
    deployed, golden, _ = case("smooth")
    monkeypatch.setattr(shutil, "which", lambda command: None)
    with pytest.raises(firmware.MissingToolError) as caught:
        firmware.test(target, deployed, golden, [], folder=tmp_path)
    message = str(caught.value)
    assert message.endswith(f"on Debian: apt-get install {target.packages}")
    assert target.compiler in message
    assert "\n" not in message


def test_what_does_not_fit_or_end_is_an_error(tmp_path):
    deployed, golden, _ = case("smooth")
    target = needed_device("atmega328p")
    with pytest.raises(firmware.FirmwareError, match="Take shorter ones"):
        firmware.build(dataclasses.replace(target, flash=9000), deployed, golden, [], tmp_path)
    (image,) = firmware.build(target, deployed, golden, [], tmp_path)
    with pytest.raises(firmware.FirmwareError, match="did not end within 0.001 s"):
        firmware.run(target, image, timeout=0.001)
    header = SimpleNamespace(name="golden")
    with pytest.raises(firmware.FirmwareError, match=r"has a golden.h itself"):
        firmware.build(target, header, golden, [], tmp_path)
    silent = dataclasses.replace(target, emulator=("true",))
    with pytest.raises(firmware.FirmwareError, match="printed no result"):
        firmware.run(silent, image)


@pytest.mark.parametrize("is_installed", [True, False])
def test_the_demo_prints_a_line_for_each_device(is_installed, monkeypatch, tmp_path, capsys):
    titles = [needed_device(name).title for name in firmware.TARGETS]
    monkeypatch.setattr(demo, "LONG_RUN_BLOCKS", 4)
    monkeypatch.setattr(sys, "argv", ["demo", "--output", str(tmp_path / "built")])
    if not is_installed:
        monkeypatch.setattr(shutil, "which", lambda command: None)
    with pytest.raises(SystemExit) as caught:
        demo.main()
    assert caught.value.code == (0 if is_installed else 1)
    lines = capsys.readouterr().out.splitlines()
    lines = lines[1:] if is_installed else lines[-4:]
    assert [line for line, title in zip(lines, titles, strict=True) if title in line] == lines
    ending = r" 0 of [\d,]+" if is_installed else ".* on Debian: apt-get install .*"
    assert all(re.search(ending + "$", line) for line in lines)


def test_the_benchmark_counts_the_weights_of_a_step(monkeypatch):
    needed_device("cortex-m4")
    monkeypatch.setattr(plain_c_cost, "SIZES", (8,))
    monkeypatch.setattr(plain_c_cost, "DENSITIES", (0.25,))
    (row,) = plain_c_cost.size_rows(blocks=1)
    units, density, kept, instructions, each, *_ = row.strip("| ").split(" | ")
    assert (units, density) == ("8", "0.25")
    assert 30 <= int(kept) <= (9 + 8) * 8 // 4
    expected = int(instructions.replace(",", "")) / int(kept)
    assert float(each) == pytest.approx(expected, abs=0.5 / int(kept) + 0.005)  # both are rounded


def test_a_header_without_sequences_or_checksums_is_c_all_the_same():
    _, golden, _ = case("smooth")
    text = golden_header("gesture", golden[:0], [])
    assert "#define GOLDEN_SEQUENCES 0" in text
    assert "#define LONG_RUN_BLOCKS 0" in text
    assert text.count("{\n  0};") == 5
