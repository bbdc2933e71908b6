"""The generated registration, compiled and run on a class that has a resolver's methods."""

import pytest
from compilers import C_MODES, CPP_MODES, in_each, run_program
from small_models import sequences, sequential

from keras_fastgrnn import FastGRNN, FastRNN, export, keras
from keras_fastgrnn.export.firmware import resolver
from keras_fastgrnn.export.tflite.flatbuffer_writer import TableWriter
from keras_fastgrnn.export.tflite.schema import OPERATORS

# As tflite-micro's micro_mutable_op_resolver.h names them, for all operators that may be written.
METHODS = {
    "ADD": "AddAdd",
    "CONCATENATION": "AddConcatenation",
    "DEQUANTIZE": "AddDequantize",
    "DYNAMIC_UPDATE_SLICE": "AddDynamicUpdateSlice",
    "FULLY_CONNECTED": "AddFullyConnected",
    "GATHER": "AddGather",
    "LESS": "AddLess",
    "LOGISTIC": "AddLogistic",
    "MAXIMUM": "AddMaximum",
    "MINIMUM": "AddMinimum",
    "MUL": "AddMul",
    "QUANTIZE": "AddQuantize",
    "RESHAPE": "AddReshape",
    "SLICE": "AddSlice",
    "SOFTMAX": "AddSoftmax",
    "STRIDED_SLICE": "AddStridedSlice",
    "SUB": "AddSub",
    "TANH": "AddTanh",
    "WHILE": "AddWhile",
}

# A resolver prints the methods that are called, and refuses what does not fit into it.
PROGRAM = """
#include "gesture_ops.h"
#include "gesture_ops.h"
#include <cstdio>

enum Status { kOk, kError };

template <unsigned int capacity>
class Resolver {
 public:
METHODS

 private:
  Status Register(const char* method) {
    if (count_ == capacity) return kError;
    ++count_;
    std::printf("%s ", method);
    return kOk;
  }
  unsigned int count_ = 0;
};

int main() {
  Resolver<CAPACITY> resolver;
  std::printf(gesture_add_operators(resolver) ? "true" : "false");
  return 0;
}
"""


def registered(folder, mode, tflite, capacity="GESTURE_OPERATOR_COUNT"):
    """The methods that are called, then "true" or "false"."""
    (folder / "gesture_ops.h").write_text(resolver.header("gesture", tflite))
    methods = [f'  Status {name}() {{ return Register("{name}"); }}' for name in METHODS.values()]
    program = PROGRAM.replace("METHODS", "\n".join(methods)).replace("CAPACITY", capacity)
    return run_program(folder, mode, program).decode().split()


def file_of(operators):
    """A TFLite file that lists these operators, and nothing else."""
    return TableWriter().finish(
        {"operator_codes": [{"builtin_code": OPERATORS[name]} for name in operators]}
    )


MODELS = {
    "int16x8": ([FastGRNN(4), keras.layers.Dense(2)], "int16x8"),
    "float32": ([FastGRNN(4, "quant_sigmoid"), keras.layers.Dense(2)], None),
    "softmax": ([FastRNN(3), keras.layers.Dense(3, activation="softmax")], "int16x8"),
    "int8": ([FastRNN(3), keras.layers.Dense(3, activation="softmax")], "int8"),
}


@in_each(CPP_MODES)
@pytest.mark.parametrize("kind", MODELS)
def test_operators_of_the_model_are_registered_and_no_others(tmp_path, kind, mode):
    layers, quantization = MODELS[kind]
    deployed = export.convert(sequential(*layers), sequences(), quantization=quantization)
    *methods, success = registered(tmp_path, mode, deployed.tflite)
    assert sorted(methods) == sorted(METHODS[name] for name in deployed.report.operators)
    assert success == "true"


@in_each(CPP_MODES)
def test_operators_of_every_subgraph_are_registered(tmp_path, mode):
    deployed = export.convert(sequential(FastGRNN(4)), sequences(), mode="sequence")
    *methods, success = registered(tmp_path, mode, deployed.tflite)
    steps = {METHODS[name] for name in deployed.report.operators}
    assert steps | {"AddWhile", "AddLess"} <= set(methods)
    assert success == "true"


@in_each(CPP_MODES)
def test_every_operator_has_the_name_of_its_method(tmp_path, mode):
    *methods, success = registered(tmp_path, mode, file_of(METHODS))
    assert methods == sorted(METHODS.values())
    assert success == "true"


@in_each(CPP_MODES)
def test_resolver_that_is_too_small_is_told(tmp_path, mode):
    methods = registered(tmp_path, mode, file_of(["TANH", "ADD", "MUL"]), capacity="2")
    assert methods == ["AddAdd", "AddMul", "false"]


@in_each(CPP_MODES)
def test_operator_listed_twice_is_registered_once(tmp_path, mode):
    assert registered(tmp_path, mode, file_of(["ADD", "ADD"])) == ["AddAdd", "true"]


@in_each(C_MODES)
def test_c_has_the_count(tmp_path, mode):
    (tmp_path / "gesture_ops.h").write_text(resolver.header("gesture", file_of(METHODS)))
    program = (
        '#include "gesture_ops.h"\n#include "gesture_ops.h"\n#include <stdio.h>\n'
        'int main(void) { printf("%d", GESTURE_OPERATOR_COUNT); return 0; }\n'
    )
    assert int(run_program(tmp_path, mode, program)) == len(METHODS)
