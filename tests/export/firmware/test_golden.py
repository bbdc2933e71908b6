"""The golden sequence and the self-test in C, against TFLite Micro and against wrong answers."""

import dataclasses
import functools
import itertools
import re

import numpy as np
import pytest
from c_interfaces import INTERFACES
from compilers import C_MODES, CPP_MODES, build, in_each
from small_models import needs_tflm, sequences, sequential

from keras_fastgrnn import FastGRNN, export, keras
from keras_fastgrnn.export.firmware import golden, model_array
from keras_fastgrnn.export.tflm.interpreter import Interpreter
from keras_fastgrnn.graph import real_values

# `invoke` answers what the test gives on standard input, and prints what it is given.
PROGRAM = """
#include "gesture_golden.h"
#include "gesture_golden.h"
#include <stdio.h>

static int invoke(const X_TYPE *input, Y_TYPE *output) {
  fwrite(input, sizeof *input, X_SIZE, stdout);
  return fread(output, sizeof *output, Y_SIZE, stdin) == Y_SIZE ? 0 : 1;
}

int main(void) {
  fprintf(stdout, "%c", gesture_self_test(invoke));
  return 0;
}
"""


def build_self_test(folder, mode, x, y):
    """Builds the self-test of inputs like `x` and outputs like `y`, a row for each Invoke.

    Returns a function from answers to the golden inputs and the self-test's result.
    """
    program = PROGRAM
    types = {"float32": "float", "int16": "int16_t", "int8": "int8_t"}
    words = {"X_TYPE": types[x.dtype.name], "Y_TYPE": types[y.dtype.name]}
    words.update(X_SIZE=x.shape[1], Y_SIZE=y.shape[1])
    for word, value in words.items():
        program = program.replace(word, str(value))
    run = build(folder, mode, program)

    def self_test(answers):
        output = run(answers.tobytes())
        given = np.frombuffer(output[:-1], x.dtype).reshape(-1, x.shape[1])
        return given, int.from_bytes(output[-1:], "little", signed=True)

    return self_test


OPTIONS = {
    "int16x8": {},
    "float32": {"quantization": None},
    "int8": {"quantization": "int8"},
    "int8 of float32": {"quantization": "int8", "input_type": "float32", "output_type": "int8"},
    "explicit": {"quantization": "int8", "state": "explicit"},
    "int16 of float32": {"quantization": None, "output_type": "int16"},
    "sequence": {"mode": "sequence"},
    "sequence of answers": {"quantization": "int8", "mode": "sequence"},
}


@functools.cache
def exported(kind, steps):
    """A model converted in one of the ways, and its first sequence as the file takes it."""
    answers_all = kind == "sequence of answers"
    layers = [FastGRNN(4, return_sequences=answers_all), keras.layers.Dense(2)]
    x = sequences(steps=steps)
    model = sequential(*layers, steps=steps)
    deployed = export.convert(model, x, name="gesture", **OPTIONS[kind])
    tensor = deployed.inputs[0]
    first = x[0] if tensor.scale is None else real_values.quantize_input(x[0], tensor)
    return deployed, first


def tflm_answers(deployed, first):
    """The answer of each Invoke on TFLite Micro."""
    interpreter = Interpreter(deployed.tflite, output_count=len(deployed.outputs))
    if len(deployed.inputs[0].shape) == 3:  # a whole sequence
        return interpreter.invoke(first[np.newaxis])[0].reshape(1, -1)
    states = [np.full(t.shape, t.zero_point, t.dtype) for t in deployed.inputs[1:]]
    return interpreter.run(first, states)


@needs_tflm
@in_each(C_MODES + CPP_MODES)
@pytest.mark.parametrize(
    ("kind", "steps"), list(zip(OPTIONS, itertools.cycle([20, 5]), strict=False))
)
def test_answers_of_tflite_micro_pass_and_wrong_ones_are_counted(tmp_path, kind, steps, mode):
    deployed, first = exported(kind, steps)
    deployed.save(tmp_path)
    answers = tflm_answers(deployed, first)[:16]
    inputs = first.reshape(1, -1) if "sequence" in kind else first[:16]

    self_test = build_self_test(tmp_path, mode, inputs, answers)
    given, wrong = self_test(answers)
    np.testing.assert_array_equal(given, inputs)
    assert wrong == 0

    changed = answers.copy()
    changed[0, 0] += 3  # beyond the unit by which floats may round differently
    changed[-1, -1] -= 3
    assert self_test(changed)[1] == 2
    assert self_test(answers[:-1])[1] == -1


def write_golden(folder, kind, invokes):
    """Writes the golden file of drawn numbers; returns the inputs and outputs of each Invoke."""
    inputs, outputs = INTERFACES[kind]
    rng = np.random.default_rng(0)
    x, y = (_drawn(rng, (invokes, *t.shape), t.dtype) for t in (inputs[0], outputs[0]))
    model = model_array.header("gesture", b"1234", None, inputs, outputs)
    (folder / "gesture_model.h").write_text(model)
    text = golden.header("gesture", inputs[0], outputs[0], x, y)
    (folder / "gesture_golden.h").write_text(text)
    return x.reshape(invokes, -1), y.reshape(invokes, -1)


def _drawn(rng, shape, dtype):
    if dtype == "float32":
        return (rng.normal(size=shape) * 10.0 ** rng.integers(-9, 9, shape)).astype(dtype)
    limits = np.iinfo(dtype)
    values = rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    values.flat[:2] = limits.min, limits.max
    return values


@in_each(C_MODES + CPP_MODES)
@pytest.mark.parametrize("kind", INTERFACES)
def test_every_interface_has_its_numbers_exactly(tmp_path, kind, mode):
    invokes = 1 if "sequence" in kind else 4
    x, y = write_golden(tmp_path, kind, invokes)
    given, wrong = build_self_test(tmp_path, mode, x, y)(y)
    np.testing.assert_array_equal(given, x)
    assert wrong == 0


@in_each(C_MODES + CPP_MODES)
def test_floats_may_differ_by_1e_5_of_their_size_and_nan_is_wrong(tmp_path, mode):
    x, y = write_golden(tmp_path, "float32", 8)
    near, far, nan = y.copy(), y.copy(), y.copy()
    size = np.maximum(np.abs(y), 1.0)
    near += np.float32(0.9e-5) * size
    far -= np.float32(1.2e-5) * size
    nan[3, 1] = np.nan
    self_test = build_self_test(tmp_path, mode, x, y)
    assert [self_test(values)[1] for values in (near, far, nan)] == [0, y.size, 1]


def test_sixteen_invokes_are_written_at_most():
    tensor = dataclasses.replace(INTERFACES["int16"][0][0], shape=(1, 1))
    values = np.arange(100, dtype=np.int16)[:, np.newaxis]
    text = golden.header("gesture", tensor, tensor, values, values)
    assert "#define GESTURE_GOLDEN_INVOKES 16\n" in text
    assert re.findall(r"^    \{(\d+)\}", text, re.M) == [str(i) for i in range(16)] * 2
