"""Quantizing and dequantizing in C, value by value, against the reference and plain NumPy."""

import dataclasses

import numpy as np
import pytest
from c_interfaces import INTERFACES
from compilers import C_MODES, CPP_MODES, in_each, run_program

from keras_fastgrnn.export.firmware import model_array
from keras_fastgrnn.graph import real_values
from keras_fastgrnn.graph.graph import Tensor

# The program is stopped by anything that C leaves undefined, such as a float too large for int32.
CHECKED = ["-fsanitize=undefined,float-cast-overflow", "-fsanitize-undefined-trap-on-error"]
OPTIONS = {"unoptimized": ["-O0", *CHECKED], "optimized": ["-O2", *CHECKED], "unchecked": ["-Os"]}

FORMATS = {
    "int16": Tensor("", (1, 1), "int16", scale=2.0**-11),
    "int16 of a large scale": Tensor("", (1, 1), "int16", scale=3.0e30),
    "int16 of a tiny scale": Tensor("", (1, 1), "int16", scale=1.0e-38),
    "int8": Tensor("", (1, 1), "int8", scale=0.0123456789, zero_point=-17),
    "int8 from -128": Tensor("", (1, 1), "int8", scale=1.0 / 256.0, zero_point=-128),
    "int8 up to 127": Tensor("", (1, 1), "int8", scale=0.1, zero_point=127),
}


def values_to_quantize(tensor):
    """Halves and their neighbors, the ends of the range, all exponents, and the infinities."""
    scale, limits = np.float32(tensor.scale), np.iinfo(tensor.dtype)
    integers = np.arange(2 * limits.min - 300, 2 * limits.max + 300, dtype=np.float32)
    with np.errstate(over="ignore", under="ignore"):
        halves = np.concatenate([integers, integers + np.float32(0.5)]) * scale
    near = [halves, np.nextafter(halves, -np.inf), np.nextafter(halves, np.inf)]
    bits = np.random.default_rng(0).integers(0, 2**32, 300_000, dtype=np.uint32)
    largest = np.finfo(np.float32).max
    special = np.array([0.0, -0.0, 1e-45, -1e-45, largest, -largest, np.inf, -np.inf], np.float32)
    values = np.concatenate([*near, bits.view(np.float32), special]).astype(np.float32)
    return values[~np.isnan(values)]


def nearest_integers(values, tensor):
    """The definition: float32 quotient, half away from zero, zero point, clipped."""
    with np.errstate(over="ignore", under="ignore"):
        quotient = (values / np.float32(tensor.scale)).astype(np.float64)
    nearest = np.sign(quotient) * np.floor(np.abs(quotient) + 0.5)
    limits = np.iinfo(tensor.dtype)
    return np.clip(nearest + tensor.zero_point, limits.min, limits.max).astype(tensor.dtype)


QUANTIZE = """
#include <math.h>
#include <stdio.h>
#include "gesture_model.h"

int main(void) {
  float value;
  while (fread(&value, sizeof value, 1, stdin) == 1) {
    const TYPE integer = gesture_quantize_input(value);
    fwrite(&integer, sizeof integer, 1, stdout);
  }
  return 0;
}
"""


@in_each(C_MODES + CPP_MODES)
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("kind", FORMATS)
def test_quantizing_in_c_is_that_of_the_reference(tmp_path, kind, options, mode):
    tensor = FORMATS[kind]
    text = model_array.header("gesture", b"1234", None, [tensor], [tensor])
    (tmp_path / "gesture_model.h").write_text(text)
    values = values_to_quantize(tensor)
    program = QUANTIZE.replace("TYPE", f"{tensor.dtype}_t")
    output = run_program(tmp_path, mode, program, options=OPTIONS[options], stdin=values.tobytes())
    integers = np.frombuffer(output, tensor.dtype)
    np.testing.assert_array_equal(integers, nearest_integers(values, tensor))
    with np.errstate(over="ignore", under="ignore"):
        np.testing.assert_array_equal(integers, real_values.quantize_input(values, tensor))


DEQUANTIZE = """
#include <stdio.h>
#include "gesture_model.h"

int main(void) {
  for (int integer = LOW; integer <= HIGH; ++integer) {
    const float value = gesture_dequantize_output((TYPE)integer);
    fwrite(&value, sizeof value, 1, stdout);
  }
  return 0;
}
"""


@in_each(C_MODES + CPP_MODES)
@pytest.mark.parametrize("kind", [kind for kind in FORMATS if "large" not in kind])
def test_dequantizing_in_c_is_that_of_the_reference_for_every_integer(tmp_path, kind, mode):
    scale = float(np.float32(FORMATS[kind].scale))  # as the file has it
    tensor = dataclasses.replace(FORMATS[kind], scale=scale)
    text = model_array.header("gesture", b"1234", None, [tensor], [tensor])
    (tmp_path / "gesture_model.h").write_text(text)
    limits = np.iinfo(tensor.dtype)
    numbers = {"LOW": limits.min, "HIGH": limits.max, "TYPE": f"{tensor.dtype}_t"}
    program = DEQUANTIZE
    for word, value in numbers.items():
        program = program.replace(word, str(value))
    values = np.frombuffer(run_program(tmp_path, mode, program), np.float32)
    integers = np.arange(limits.min, limits.max + 1)
    exact = (integers - tensor.zero_point) * np.float64(np.float32(tensor.scale))
    np.testing.assert_array_equal(values, exact.astype(np.float32))
    np.testing.assert_array_equal(values, real_values.dequantize_values(integers, tensor))


VECTORS = """
#include <math.h>
#include <stdio.h>
#include "gesture_model.h"

int main(void) {
  const float values[GESTURE_INPUT_SIZE] = {-1.25f, 3.7f, (float)NAN};
  const Y_TYPE integers[GESTURE_OUTPUT_SIZE] = {-3, 100};
  X_TYPE quantized[GESTURE_INPUT_SIZE];
  float dequantized[GESTURE_OUTPUT_SIZE];
  gesture_quantize_input_vector(values, quantized);
  gesture_dequantize_output_vector(integers, dequantized);
  for (int i = 0; i < GESTURE_INPUT_SIZE; ++i) printf("%d ", quantized[i]);
  for (int i = 0; i < GESTURE_OUTPUT_SIZE; ++i) printf("%.9g ", (double)dequantized[i]);
  return 0;
}
"""


@in_each(C_MODES + CPP_MODES)
@pytest.mark.parametrize("kind", ["int16", "int8", "explicit int16", "sequence of answers, int8"])
def test_vectors_are_converted_value_by_value_and_nan_is_the_largest(tmp_path, kind, mode):
    inputs, outputs = INTERFACES[kind]
    (x, *_), (y, *_) = inputs, outputs
    text = model_array.header("gesture", b"1234", None, inputs, outputs)
    (tmp_path / "gesture_model.h").write_text(text)
    program = VECTORS.replace("X_TYPE", f"{x.dtype}_t").replace("Y_TYPE", f"{y.dtype}_t")
    numbers = run_program(tmp_path, mode, program).split()
    expected = nearest_integers(np.array([-1.25, 3.7], np.float32), x)
    assert list(map(int, numbers[:3])) == [*expected, np.iinfo(x.dtype).max]
    real = (np.array([-3, 100]) - y.zero_point) * np.float64(np.float32(y.scale))
    np.testing.assert_array_equal(np.array(numbers[3:], np.float32), real.astype(np.float32))


@pytest.mark.parametrize("kind", INTERFACES)
def test_conversions_are_there_for_integers_alone(kind):
    inputs, outputs = INTERFACES[kind]
    text = model_array.header("gesture", b"1234", None, inputs, outputs)
    assert ("gesture_quantize_input(" in text) == (inputs[0].dtype != "float32")
    assert ("gesture_dequantize_output(" in text) == (outputs[0].dtype != "float32")
