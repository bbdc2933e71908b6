"""`convert_c`: plain C against the NumPy reference, TFLite Micro and Keras, compiled and run."""

import subprocess

import numpy as np
import pytest
from c_programs import compiled, differing, source_of
from chains import DIFFERENT_STEPS
from compilers import WARNINGS, needed
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from random_models import build, descriptions
from small_models import CHANNELS, STEPS, answers_of, needs_tflm, sequences, sequential

from keras_fastgrnn import FastGRNN, FastRNN, export, keras
from keras_fastgrnn.export.lowering.alternatives import Int16Chooser
from keras_fastgrnn.export.plain_c import header, host
from keras_fastgrnn.export.plain_c.schedule import with_logits
from keras_fastgrnn.graph import real_values
from keras_fastgrnn.graph.graph import name_tensors
from keras_fastgrnn.graph.ranges import calibrate
from keras_fastgrnn.graph.rewrite import simplify
from keras_fastgrnn.graph.trace import trace
from keras_fastgrnn.keras_api import IS_TF_KERAS
from keras_fastgrnn.quantization import quantize_aware
from keras_fastgrnn.quantization.fake_quantization import WeightFormat

LAYERS = keras.layers
RANDOM_MODELS = 50  # of each number of cells

# tf_keras takes no such names itself.
STRANGE_NAMES = ["2-x"] if IS_TF_KERAS else ["2-x", "2 x 3", "\u03bb"]


def integer_graph(model, x, power_of_two=False, bits=8):
    graph = trace(model)
    simplify(graph)
    name_tensors(graph)
    weight_format = WeightFormat(bits, power_of_two)
    return (
        Int16Chooser(graph, calibrate(graph, x), x, weight_format=weight_format).choose().integers
    )


def has_softmax_inside(graph):
    return any(op.kind == "SOFTMAX" for op in with_logits(graph).ops)


def ordinary_and_far(x, graph):
    """Sequences as in calibration, and ones whose values leave every range."""
    return real_values.quantize_input(np.concatenate([x, 30.0 * x]), graph.inputs[0])


@pytest.mark.parametrize("power_of_two", [False, True], ids=["any scale", "powers of two"])
@pytest.mark.parametrize("layers", DIFFERENT_STEPS.values(), ids=DIFFERENT_STEPS)
def test_every_answer_and_state_is_the_reference(layers, power_of_two):
    x = sequences()
    model = sequential(*layers(), spread=0.15)
    graph = integer_graph(model, x, power_of_two)
    if has_softmax_inside(graph):
        with pytest.raises(ValueError, match="argument model, expected a softmax at its end alone"):
            export.convert_c(model, x)
        return
    assert differing(compiled(graph), graph, ordinary_and_far(x, graph)) == 0


@pytest.mark.parametrize("cell_count", [1, 2])
@settings(max_examples=RANDOM_MODELS, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_integer_differs_in_random_models(cell_count, data):
    model, x = build(data.draw(descriptions(cell_count)), STEPS)
    try:
        graph = integer_graph(model, x, power_of_two=data.draw(st.booleans()))
    except ValueError as refusal:
        assert "differ too much in size" in str(refusal)
        assume(False)
    assume(not has_softmax_inside(graph))
    density = data.draw(st.sampled_from([1.0, 0.4, 0.1]))
    rng = np.random.default_rng(0)
    for op in graph.ops:
        if op.kind == "FULLY_CONNECTED":
            op.inputs[1].data = op.inputs[1].data * (rng.random(op.inputs[1].shape) < density)
    assert differing(compiled(graph), graph, ordinary_and_far(x, graph)) == 0


@pytest.mark.parametrize("spread", [0.0, 1e-3], ids=["equal", "different"])
def test_sums_of_more_than_32_bits_are_the_reference(spread):
    """The weights are far smaller than the bias, whose unit they give."""
    model, x = sequential(FastGRNN(5), LAYERS.Dense(3, name="head")), sequences()
    kernel, bias = model.layers[-1].weights
    kernel.assign(1e-7 * np.ones(kernel.shape))
    bias.assign(3.0 + spread * np.arange(3))
    graph = integer_graph(model, x)
    assert np.abs(graph.ops[-1].inputs[2].data).min() > 2**32
    assert "int64_t head_sum" in source_of(graph).source()
    assert differing(compiled(graph), graph, ordinary_and_far(x, graph)) == 0


@pytest.mark.parametrize("name", ["int16_t", "i", "saturate", "gesture_step", *STRANGE_NAMES])
def test_layers_of_any_name_make_c_that_compiles(name):
    model, x = sequential(FastGRNN(5, name=name), LAYERS.Dense(3)), sequences()
    graph = integer_graph(model, x)
    assert differing(compiled(graph), graph, ordinary_and_far(x, graph)) == 0


@pytest.mark.parametrize("layer", [FastGRNN, FastRNN])
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("level", ["-O0", "-O2", "-O3", "-Os"])
def test_every_compiler_and_level_gives_the_same_integers(compiler, level, layer):
    x = sequences()
    graph = integer_graph(sequential(layer(6, kernel_rank=2, recurrent_rank=3), LAYERS.Dense(2)), x)
    program = compiled(graph, [level], compiler)
    assert differing(program, graph, ordinary_and_far(x, graph)) == 0


def check_at_level(graph, x, level, folder):
    """C computes the reference's integers here, and compiles for Arm without a warning."""
    for program in (compiled(graph), compiled(graph, [level])):
        assert differing(program, graph, ordinary_and_far(x, graph)) == 0
    source = source_of(graph)
    (folder / "gesture.h").write_text(header.header(source))
    (folder / "gesture.c").write_text(source.source())
    command = [needed("arm-none-eabi-gcc"), "-mthumb", level, "-std=c99", *WARNINGS, "-c"]
    subprocess.run([*command, "gesture.c"], cwd=folder, check=True)


@pytest.mark.parametrize("level", ["-O2", "-O3"])
def test_a_bitmap_of_no_whole_bytes_reads_nothing_beyond_the_vector(level, tmp_path):
    """Nor does a compiler that knows the vector's length find it to."""
    model = sequential(FastGRNN(24, kernel_rank=2, recurrent_rank=6), LAYERS.Dense(2))
    rng = np.random.default_rng(6)
    right = model.layers[0].cell.recurrent_factors[1]
    right.assign(rng.normal(0.0, 0.3, right.shape) * (rng.random(right.shape) < 0.3))
    x = sequences()
    graph = integer_graph(model, x, power_of_two=True)
    assert source_of(graph).source().count("add_bitmap(") == 2  # where it is defined and called
    check_at_level(graph, x, level, tmp_path)


@pytest.mark.parametrize("level", ["-O2", "-O3"])
@pytest.mark.parametrize("bits", [8, 4])
def test_zeros_in_blocks_are_left_out_in_blocks(bits, level, tmp_path):
    """Of W three columns, fewer than a block, and of U five blocks and two columns more."""
    model = sequential(FastGRNN(22), LAYERS.Dense(2), spread=0.15)
    rng = np.random.default_rng(bits)
    for factor in model.layers[0].cell.get_prunable_weights():
        inputs, units = factor.shape
        is_kept = np.repeat(rng.random((-(-inputs // 4), units)) < 0.4, 4, axis=0)[:inputs]
        factor.assign(np.where(is_kept, factor.numpy(), 0.0))
    x = sequences()
    graph = integer_graph(model, x, power_of_two=True, bits=bits)
    name = "add_blocks" if bits == 8 else "add_blocks_4_bits"
    assert source_of(graph).source().count(f"{name}(") == 3  # where it is defined, of W and of U
    check_at_level(graph, x, level, tmp_path)


def test_10000_steps_without_a_reset_are_the_reference():
    rng = np.random.default_rng(7)
    size = np.repeat(rng.choice([0.3, 1.0, 30.0, 3000.0], 500), 20)[:, np.newaxis]
    x = (rng.normal(size=(10_000, CHANNELS)) * size)[np.newaxis].astype("float32")
    graph = integer_graph(sequential(FastGRNN(8), LAYERS.Dense(2)), sequences())
    integers = real_values.quantize_input(x, graph.inputs[0])
    assert np.mean(np.abs(integers.astype(int)) >= 32767) > 0.1
    assert differing(compiled(graph), graph, integers) == 0


@needs_tflm
def test_answers_are_those_of_tflite_micro():
    model, x = sequential(FastGRNN(6), LAYERS.Dense(3)), sequences()
    for power_of_two in (False, True):
        options = {"power_of_two_weights": power_of_two}
        plain, file = export.convert_c(model, x, **options), export.convert(model, x, **options)
        np.testing.assert_array_equal(plain.predict(x), file.predict(x))


@pytest.mark.parametrize("options", [{}, {"weight_bits": 4}, {"power_of_two_weights": True}])
def test_quantization_aware_model_needs_no_calibration_data(options):
    x = sequences()
    model = sequential(FastGRNN(6), LAYERS.Dense(2))
    aware = quantize_aware(model, "int16x8", calibration_data=x, **options)
    deployed = export.convert_c(aware)
    np.testing.assert_array_equal(deployed.predict(x), deployed.predict(x, on="reference"))
    np.testing.assert_allclose(deployed.predict(x), answers_of(aware, x), atol=2e-3)
    bits = {matrix["bits"] for matrix in deployed.report.matrices}
    assert bits == ({4} if "weight_bits" in options else {8})


def test_biases_of_one_byte_are_stored_as_such():
    x = sequences()
    options = {"power_of_two_weights": True, "byte_biases": True}
    aware = quantize_aware(
        sequential(FastGRNN(6), LAYERS.Dense(2, name="dense")),
        "int16x8",
        calibration_data=x,
        **options,
    )
    sizes = export.convert_c(aware).report.constant_bytes
    assert {name: size for name, size in sizes.items() if "bias" in name or "constant" in name} == {
        "gate_pre_bias": 6,
        "candidate_pre_constant": 6,
        "dense_bias": 2,
    }


def test_a_softmax_at_the_end_is_left_out():
    x = sequences()
    with_softmax = sequential(FastGRNN(6), LAYERS.Dense(3, "softmax"))
    deployed = export.convert_c(with_softmax, x)
    assert deployed.report.drops_softmax
    assert "the C answers with logits, and predict applies it in Python" in str(deployed.report)
    assert "agreement with Keras: same class 100.00 %, error 0." in str(deployed.report)
    expected = answers_of(with_softmax, x)
    np.testing.assert_allclose(deployed.predict(x), expected, atol=5e-3)
    assert deployed.report.agreement.relative_error < 0.05


def test_zeros_cost_neither_bytes_nor_products():
    x, dense = sequences(), sequential(FastGRNN(12), LAYERS.Dense(2))
    pruned = keras.models.clone_model(dense)
    rng = np.random.default_rng(0)
    pruned.set_weights(
        [w * (rng.random(w.shape) < 0.2) if w.ndim == 2 else w for w in dense.get_weights()]
    )
    reports = [export.convert_c(model, x).report for model in (dense, pruned)]
    bytes_ = [sum(report.constant_bytes.values()) for report in reports]
    assert bytes_[1] < bytes_[0] - 100
    assert reports[1].multiply_accumulates < 0.3 * reports[0].multiply_accumulates
    assert {matrix["storage"] for matrix in reports[0].matrices} == {"dense"}
    assert {matrix["storage"] for matrix in reports[1].matrices} & {"bitmap", "index"}


def test_constant_bytes_of_the_report_are_those_of_the_object(tmp_path):
    deployed = export.convert_c(sequential(FastGRNN(6), LAYERS.Dense(2)), sequences())
    deployed.save(tmp_path)
    subprocess.run([needed("gcc"), "-std=c99", "-O0", "-c", "model.c"], cwd=tmp_path, check=True)
    command = ["nm", "--print-size", "--defined-only", "--radix=d", "model.o"]
    lines = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    symbols = [line.split() for line in lines.splitlines()]
    found = {name: int(size) for _, size, kind, name in symbols if kind in "rR"}
    assert found == deployed.report.constant_bytes
    assert not [name for *_, kind, name in symbols if kind in "bBdDcC"]  # no variables
    undefined = subprocess.run(
        ["nm", "-u", "model.o"], cwd=tmp_path, capture_output=True, text=True
    )
    assert undefined.stdout == ""  # no library


@pytest.mark.parametrize(
    "compiler", ["cc -Os", "clang -O1", "avr-gcc -mmcu=atmega328p -Os", "arm-none-eabi-gcc -mthumb"]
)
def test_sections_hold_all_constants_and_no_variables(compiler):
    needed(compiler.split()[0])
    deployed = export.convert_c(sequential(FastGRNN(6), LAYERS.Dense(2)), sequences())
    sections = deployed.section_bytes(compiler)
    assert not [name for name in sections if name.startswith((".data", ".bss"))]
    assert sections[".text"] > 200
    constants = sum(deployed.report.constant_bytes.values())
    assert constants <= sum(sections.values()) < 10 * constants


@pytest.mark.parametrize(
    ("compiler", "words"),
    [
        ("no-such-gcc -Os", "There is no no-such-gcc to compile the model with. Install it"),
        ("gcc --no-such-option", "The C compiler failed: gcc --no-such-option -c model.c"),
    ],
)
def test_compiler_that_fails_is_told_in_one_line(compiler, words):
    deployed = export.convert_c(sequential(FastGRNN(4)), sequences())
    with pytest.raises(export.MissingCompilerError) as error:
        deployed.section_bytes(compiler)
    assert str(error.value).startswith(words) and "\n" not in str(error.value)


@pytest.mark.parametrize("compiler", [None, "", ["gcc"]])
def test_compiler_is_a_command(compiler):
    deployed = export.convert_c(sequential(FastGRNN(4)), sequences())
    with pytest.raises(ValueError, match="argument compiler, expected a command such as"):
        deployed.section_bytes(compiler)


def test_header_serves_cpp_and_floats(tmp_path):
    x = sequences()
    deployed = export.convert_c(sequential(FastGRNN(4), LAYERS.Dense(2)), x, name="wave")
    paths = deployed.save(tmp_path)
    assert [path.name for path in paths] == ["wave.c", "wave.h", "wave_report.json"]
    (tmp_path / "main.cc").write_text(
        """#define WAVE_FLOATS
#include <cstdio>
#include "wave.h"
int main() {
  float sample[WAVE_INPUT_SIZE], logits[WAVE_OUTPUT_SIZE];
  int16_t input[WAVE_INPUT_SIZE], output[WAVE_OUTPUT_SIZE];
  wave_state state;
  wave_reset(&state);
  while (std::fread(sample, sizeof sample, 1, stdin) == 1) {
    wave_quantize_input_vector(sample, input);
    wave_step(&state, input);
  }
  wave_output(&state, output);
  wave_dequantize_output_vector(output, logits);
  std::printf("%u %.9g %.9g", wave_classify(&state), (double)logits[0], (double)logits[1]);
}
"""
    )
    run = {"cwd": tmp_path, "check": True}
    subprocess.run([needed("gcc"), "-std=c99", *WARNINGS, "-c", "wave.c"], **run)
    flags = ["-std=c++11", *WARNINGS]
    subprocess.run([needed("g++"), *flags, "main.cc", "wave.o", "-o", "main"], **run)
    done = subprocess.run([tmp_path / "main"], input=x[0].tobytes(), capture_output=True, **run)
    number, *logits = done.stdout.split()
    (expected,) = deployed.predict(x[:1], on="reference")
    assert int(number) == expected.argmax()
    np.testing.assert_array_equal(np.array(logits, "float32"), expected)


@pytest.mark.parametrize("name", ["2fast", "a-b", "", "_x", None])
def test_name_that_is_no_identifier_is_refused(name):
    with pytest.raises(ValueError, match="^Received an invalid value for argument name"):
        export.convert_c(sequential(FastGRNN(4)), sequences(), name=name)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"calibration_data": None}, "argument calibration_data, expected .*, got None"),
        ({"power_of_two_weights": 1}, "argument power_of_two_weights, expected True or False"),
    ],
)
def test_invalid_argument_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        export.convert_c(sequential(FastGRNN(4)), **{"calibration_data": sequences(), **arguments})


def test_model_trained_for_int8_is_refused():
    x = sequences()
    aware = quantize_aware(sequential(FastGRNN(4), LAYERS.Dense(2)), "int8", calibration_data=x)
    with pytest.raises(ValueError, match="argument quantization, expected 'int8'"):
        export.convert_c(aware)


def test_without_a_compiler_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(host, "COMPILERS", ("no-such-compiler",))
    monkeypatch.delenv("CC", raising=False)
    deployed = export.convert_c(sequential(FastGRNN(4)), sequences())
    with pytest.raises(export.MissingCompilerError, match="Install one, such as Debian's") as error:
        deployed.predict(sequences())
    assert "\n" not in str(error.value)
    assert deployed.predict(sequences(), on="reference").shape == (16, 4)


def test_predict_runs_on_the_host_or_in_the_reference_alone():
    deployed = export.convert_c(sequential(FastGRNN(4)), sequences())
    with pytest.raises(ValueError, match="argument on, expected 'host' or 'reference'"):
        deployed.predict(sequences(), on="tflm")


def test_files_that_are_there_are_not_replaced(tmp_path):
    deployed = export.convert_c(sequential(FastGRNN(4)), sequences())
    (tmp_path / "model.h").write_text("mine")
    with pytest.raises(FileExistsError, match="argument folder, expected one without"):
        deployed.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model.h"]
    deployed.save(tmp_path, overwrite=True)
