"""An export is run before it is returned: plain C by a compiler, a file by TFLite Micro."""

import pickle
import subprocess
import tempfile

import numpy as np
import pytest
import scaled_models
from compilers import needed
from small_models import CHANNELS, STEPS, needs_tflm, sequences, sequential

from keras_fastgrnn import FastGRNN, export, keras
from keras_fastgrnn.export.foreign.verify import verify
from keras_fastgrnn.export.plain_c import runtime
from keras_fastgrnn.export.report.exactness import compared, drawn_inputs
from keras_fastgrnn.graph import real_values
from keras_fastgrnn.graph.graph import Graph, Op, Tensor
from keras_fastgrnn.graph.operators import Arithmetic, operator_of
from keras_fastgrnn.quantization import quantize_aware

LAYERS = keras.layers

imprecise = pytest.mark.filterwarnings("ignore::keras_fastgrnn.export.PrecisionWarning")

SANITIZING = ("gcc", "clang")


def sanitizing(compiler):
    """The command of a compiler with its sanitizers; skips the test where it has none."""
    command = [needed(compiler), *scaled_models.SANITIZED]
    with tempfile.TemporaryDirectory() as folder:
        result = subprocess.run(
            [*command, "-x", "c", "-"],
            input=b"int main(void) { return 0; }",
            cwd=folder,
            capture_output=True,
        )
    if result.returncode:
        pytest.skip(f"{compiler} has no sanitizers; on Debian: libclang-rt-dev")
    return command


def gru_with_a_tiny_candidate():
    """Its product with the reset gate is rescaled by 33 bits."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([LAYERS.Input((20, 4)), LAYERS.GRU(8), LAYERS.Dense(3)])
    kernel, recurrent, bias = model.layers[0].get_weights()
    recurrent[:, 16:] *= 1e-5
    model.layers[0].set_weights([kernel, recurrent, bias])
    return model, np.random.default_rng(0).normal(size=(64, 20, 4)).astype("float32")


@pytest.mark.parametrize("compiler", SANITIZING)
def test_rescaling_by_more_bits_than_a_number_has_gives_what_the_reference_gives(compiler):
    command = sanitizing(compiler)
    model, x = gru_with_a_tiny_candidate()
    deployed = export.convert_c(model, x)
    assert scaled_models.differing(deployed.graph, x, command) == 0
    np.testing.assert_array_equal(deployed.predict(x), deployed.predict(x, on="reference"))


def test_plain_c_of_matrices_of_any_size_is_the_reference_and_defined():
    """Every other model is compiled by gcc and by clang, with what finds undefined behavior."""
    commands = [sanitizing(compiler) for compiler in SANITIZING]
    count = 2 * len(scaled_models.CELLS)
    refused = 0
    for seed in range(count):
        model, x = scaled_models.draw(seed)
        graph = scaled_models.integers_of(model, x, power_of_two=seed % 3 == 0)
        command = commands[seed // len(scaled_models.CELLS)]
        refused += graph is None
        if graph is not None:
            assert scaled_models.differing(graph, x, command) == 0, seed
    assert refused <= 0.6 * count


WAYS = [
    {},
    {"state": "explicit"},
    {"mode": "sequence"},
    {"input_type": "int8", "output_type": "float32"},
]


@needs_tflm
@imprecise
@pytest.mark.parametrize("options", WAYS, ids=str)
@pytest.mark.parametrize("quantization", ["int8", "int16x8"])
def test_models_and_data_of_any_size_are_exact_on_tflite_micro_or_refused(quantization, options):
    """`convert` itself compares; here what it returns is run on data of another size."""
    exact = 0
    first = 4 * WAYS.index(options)
    for seed in range(first, first + 4):
        rng = np.random.default_rng(seed)
        model, x = scaled_models.draw(seed, [(-10.0, 10.0), (-44.0, 30.0), (0.0, 0.0)][seed % 3])
        x = x * np.float32(10.0 ** (rng.uniform(-44, 30) if seed % 2 else rng.uniform(-3, 3)))
        try:
            deployed = export.convert(model, x, quantization=quantization, **options)
        except ValueError as refusal:
            known = (scaled_models.REFUSAL.format(bits) for bits in (8, 16))
            known = (*known, "NaN or infinite", "zeros only")
            assert any(words in str(refusal) for words in known), refusal
            continue
        exact += 1
        assert verify(deployed.tflite)
        assert deployed.report.exactness.answers > 0
    assert exact > 0


def constant_data_under_two_normalizations():
    norms = [LAYERS.Normalization(mean=[m] * CHANNELS, variance=[0.0] * CHANNELS) for m in (1, 0)]
    return [*norms, LAYERS.SimpleRNN(4), LAYERS.Dense(2)], np.ones((8, STEPS, CHANNELS), "float32")


TOO_DIFFERENT = {
    "data x 1e20": lambda: ([FastGRNN(4), LAYERS.Dense(2)], 1e20 * sequences()),
    "a state that explodes": lambda: ([LAYERS.SimpleRNN(6, "relu")], 1e33 * sequences()),
    "two Normalizations of constants": constant_data_under_two_normalizations,
}


@pytest.mark.parametrize("state", ["variable", "explicit"])
@pytest.mark.parametrize("case", TOO_DIFFERENT)
def test_what_int8_cannot_hold_is_refused_in_one_line(case, state):
    layers, x = TOO_DIFFERENT[case]()
    with pytest.raises(ValueError) as error:
        export.convert(sequential(*layers), x, quantization="int8", state=state)
    assert scaled_models.REFUSAL.format(8) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("state", ["variable", "explicit"])
@pytest.mark.parametrize("size", [1e-36, 1e-38, 1e-44])
def test_head_far_too_small_for_int8_is_refused_at_once(size, state):
    model = sequential(FastGRNN(4), LAYERS.Dense(2))
    kernel, bias = model.layers[-1].get_weights()
    model.layers[-1].set_weights([kernel * size, 0.0 * bias])
    with pytest.raises(ValueError, match="differ too much in size for 8-bit integers"):
        export.convert(model, sequences(), quantization="int8", state=state)


@pytest.mark.parametrize("size", [1e-36, 1e30])
@pytest.mark.parametrize(("quantization", "bits"), [("int16x8", 16), ("int8", 8)])
def test_trained_ranges_that_no_scale_holds_are_refused(quantization, bits, size):
    x = (sequences() * size).astype("float32")
    model = sequential(FastGRNN(4), LAYERS.Dense(2))
    aware = quantize_aware(model, quantization, calibration_data=x)
    with pytest.raises(ValueError, match=f"around 'input' {scaled_models.REFUSAL.format(bits)}"):
        export.convert(aware)


# What the report says


def test_report_of_plain_c_names_the_compiler_and_counts_the_answers(monkeypatch):
    monkeypatch.setenv("CC", f"{needed('gcc')} -O0")
    deployed = export.convert_c(sequential(FastGRNN(4), LAYERS.Dense(2)), sequences(10))
    found = deployed.report.exactness
    assert (found.by, found.answers, found.problem) == (
        "`gcc -O0 -std=c99 -O1`",
        10 * STEPS * 2,
        None,
    )
    words = (
        "compiled files run by `gcc -O0 -std=c99 -O1`: 0 of 240 answers differ from the reference"
    )
    assert str(deployed.report).endswith(words)
    assert deployed.report.to_dict()["exactness"]["answers"] == 240


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("no-such-compiler", "There is no C compiler (no-such-compiler)"),
        ("gcc --no-such-option", "The C compiler failed: gcc --no-such-option -std=c99"),
        ("arm-none-eabi-gcc -mthumb --specs=nosys.specs", "do not run on this machine"),
    ],
)
def test_report_says_that_the_files_were_not_run_and_why(monkeypatch, command, words):
    if command != "no-such-compiler":
        needed(command.split()[0])
    monkeypatch.setenv("CC", command)
    deployed = export.convert_c(sequential(FastGRNN(4)), sequences())
    assert (deployed.report.exactness.by, deployed.report.exactness.answers) == (None, 0)
    assert "compiled files not run on this machine: " in str(deployed.report)
    assert words in str(deployed.report)


def replace_in_c(monkeypatch, old, new):
    """Changes the files that the C is put together from."""
    definition = runtime.definition
    monkeypatch.setattr(runtime, "definition", lambda name: definition(name).replace(old, new))


def test_c_that_computes_other_integers_is_not_returned(monkeypatch):
    needed("gcc")
    right = runtime.definition("hyperbolic_tangent")
    wrong = right.replace("uint16_t result = 32767;", "uint16_t result = 32766;")
    wrong = wrong.replace("magnitude < (uint32_t)255 << 8", "magnitude < (uint32_t)20 << 8")
    assert wrong != right
    replace_in_c(monkeypatch, right, wrong)
    with pytest.raises(export.InexactExportError, match="please report it") as error:
        export.convert_c(sequential(FastGRNN(4)), sequences())
    assert "are not the reference's" in str(error.value) and "\n" not in str(error.value)


def test_program_that_fails_is_told(monkeypatch):
    needed("gcc")
    replace_in_c(monkeypatch, "const int16_t low =", "__builtin_trap();\n  const int16_t low =")
    with pytest.raises(export.InexactExportError, match="ended with -4"):
        export.convert_c(sequential(FastGRNN(4)), sequences())


@needs_tflm
def test_file_that_tflite_micro_computes_otherwise_is_not_returned(monkeypatch):
    right = operator_of("MUL").in_type("int16").kernel
    wrong = Arithmetic(lambda op: lambda *values: right(op)(*values) + 1)
    monkeypatch.setitem(operator_of("MUL").arithmetic, "int16", wrong)
    with pytest.raises(export.InexactExportError, match="answers of TFLite Micro are not"):
        export.convert(sequential(FastGRNN(4)), sequences())


@needs_tflm
@pytest.mark.parametrize("mode", ["streaming", "sequence"])
@pytest.mark.parametrize("every_step", [False, True])
def test_report_of_a_file_counts_the_answers_that_tflite_micro_gave(mode, every_step):
    model = sequential(FastGRNN(4, return_sequences=every_step), LAYERS.Dense(2))
    report = export.convert(model, sequences(5), mode=mode).report
    assert report.exactness.by == "TFLite Micro"
    answered = STEPS if every_step or mode == "streaming" else 1
    assert report.exactness.answers == 5 * answered * 2
    assert "run by TFLite Micro: 0 of" in str(report)
    assert export.convert(model, sequences(5), quantization=None).report.exactness is None


@needs_tflm
@pytest.mark.parametrize("input_type", [None, "float32", "int8"])
def test_quantization_aware_model_is_run_on_drawn_numbers_of_the_whole_range(input_type):
    x = sequences()
    aware = quantize_aware(sequential(FastGRNN(4), LAYERS.Dense(2)), calibration_data=x)
    report = export.convert(aware, input_type=input_type).report
    assert report.exactness.answers > 0 and report.agreement is None
    assert export.convert_c(aware).report.exactness.answers > 0


@pytest.mark.parametrize("dtype", ["int8", "int16"])
def test_drawn_numbers_reach_both_ends_of_the_input(dtype):
    x = Tensor("x", (1, 3), dtype, scale=2.0**-5)
    drawn = drawn_inputs(Graph([x], [x], [], []), None)
    ends = np.iinfo(dtype)
    assert drawn.dtype == dtype and drawn.shape[-1] == 3
    assert drawn.min() < 0.99 * ends.min and drawn.max() > 0.99 * ends.max
    given = Tensor("given", (1, 3))
    graph = Graph([given], [x], [Op("QUANTIZE", [given], x)], [])
    np.testing.assert_array_equal(
        real_values.quantize_input(drawn_inputs(graph, None), x),
        drawn_inputs(Graph([x], [x], [], []), None),
    )


def test_sequences_that_take_too_long_are_spread_and_one_is_always_run():
    inputs = [np.full((4, 1), place) for place in range(100)]
    seen = []

    def run(x):
        seen.extend(x[:, 0, 0].tolist())
        return x

    for products, expected in ((1 << 25, [0, 49, 99]), (1 << 40, [0]), (0, list(range(100)))):
        seen.clear()
        assert compared("it", "C", run, inputs, inputs, products).answers == 4 * len(expected)
        assert seen == expected


def test_exports_can_be_copied_to_another_process():
    x = sequences()
    for deployed in (
        export.convert_c(sequential(FastGRNN(4)), x),
        export.convert(sequential(FastGRNN(4)), x),
    ):
        copied = pickle.loads(pickle.dumps(deployed))
        np.testing.assert_array_equal(copied.predict(x), deployed.predict(x))
