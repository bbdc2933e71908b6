"""The registry of operators, and an operator that is added from outside by registration alone."""

import re
from pathlib import Path

import graphs
import numpy as np
import pytest
from compilers import WARNINGS, needed
from graphs import chain, evaluate, fastrnn_step, value
from small_models import needs_tflm
from tflm_wheels import InstalledWheel

import keras_fastgrnn
from keras_fastgrnn.errors import UnsupportedOperatorError
from keras_fastgrnn.export.foreign.verify import verify
from keras_fastgrnn.export.lowering.costs import relative_error
from keras_fastgrnn.export.lowering.integers import quantize_int8, quantize_int16
from keras_fastgrnn.export.lowering.lower import CHOOSERS
from keras_fastgrnn.export.plain_c import header
from keras_fastgrnn.export.plain_c.expressions import Expressions
from keras_fastgrnn.export.plain_c.host import HostProgram
from keras_fastgrnn.export.plain_c.schedule import for_c
from keras_fastgrnn.export.plain_c.source import Source
from keras_fastgrnn.export.tflite import write
from keras_fastgrnn.export.tflite.schema import OPERATORS, TABLES
from keras_fastgrnn.graph import real_values, reference
from keras_fastgrnn.graph.fixed_scales import Scale
from keras_fastgrnn.graph.graph import Op
from keras_fastgrnn.graph.operators import (
    Arithmetic,
    Operator,
    kinds,
    operator,
    operator_of,
    register,
)
from keras_fastgrnn.graph.operators.file_calls import verify_elementwise
from keras_fastgrnn.graph.ranges import calibrate
from keras_fastgrnn.quantization.int8_scales import assign_int8_scales
from keras_fastgrnn.quantization.int16_scales import assign_exponents

ROOT = Path(keras_fastgrnn.__file__).parent
EVERY_KIND = [kind for kind in kinds() if operator_of(kind).arithmetic]


@pytest.fixture
def nothing_else_registered(monkeypatch):
    """What a test registers is forgotten after it."""
    monkeypatch.setattr(operator, "_registered", dict(operator._registered))


def _absolute_integers(op):
    zero_point = op.output.zero_point
    return lambda values: np.abs(values - zero_point) + zero_point


def _absolute_expression(c, op, entry):
    low, high = c.ends_of(op.inputs[0])
    return c.clipped(op, f"{entry} < 0 ? -(int32_t){entry} : {entry}", [0, max(-low, high)])


def _one_scale(op):
    return op.inputs[0].scale == op.output.scale


def _tied(graph, op, dictated, sums_share):
    return [[*op.inputs, op.output]]


ABS = Operator(
    "ABS",
    arithmetic={
        "float32": Arithmetic(lambda op: np.abs),
        "int16": Arithmetic(_absolute_integers, ties=_tied, fits=_one_scale),
        "int8": Arithmetic(_absolute_integers, ties=_tied, fits=_one_scale),
    },
    elementwise=True,
    options_table="AbsOptions",
    verify=verify_elementwise,
    expression=_absolute_expression,
    equation="|{0}|",
)


def graph_with_absolute_values():
    """A state, whose magnitudes a head reads."""
    graph = fastrnn_step(units=3, seed=1)
    head = graph.ops[-1]
    magnitudes = value(3, "magnitudes")
    graph.ops.insert(-1, Op("ABS", [graph.states[0].after], magnitudes))
    head.inputs[0] = magnitudes
    return graph


def data():
    return np.random.default_rng(0).normal(size=(8, 20, 3))


def integers_of(graph, quantization):
    return CHOOSERS[quantization](graph, calibrate(graph, data()), data()).choose().integers


@pytest.fixture
def absolute(nothing_else_registered):
    return register(ABS)


def test_operator_from_outside_is_computed_in_float(absolute, monkeypatch):
    monkeypatch.setitem(graphs._OPERATORS, "ABS", lambda x: [abs(v) for v in x])
    graph = graph_with_absolute_values()
    found = reference.run(graph, data())
    for one, answers in zip(data(), found, strict=True):
        np.testing.assert_allclose(answers, evaluate(graph, one), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("quantization", ["int16x8", "int8"])
def test_operator_from_outside_is_quantized(absolute, quantization):
    floats = graph_with_absolute_values()
    graph = integers_of(floats, quantization)
    (op,) = (op for op in graph.ops if op.kind == "ABS")
    assert (op.inputs[0].scale, op.inputs[0].zero_point) == (op.output.scale, op.output.zero_point)
    integers = real_values.quantize_input(data(), graph.inputs[0])
    answers = real_values.dequantize_values(reference.run(graph, integers), graph.outputs[0])
    error = relative_error(answers, reference.run(floats, data()))
    assert error < {"int16x8": 0.01, "int8": 0.06}[quantization]


@needs_tflm
@pytest.mark.parametrize("quantization", [None, "int16x8", "int8"])
def test_operator_from_outside_runs_on_tflite_micro(absolute, quantization):
    graph = graph_with_absolute_values()
    graph = graph if quantization is None else integers_of(graph, quantization)
    outside = 20.0 * data()  # where values are clipped
    for x in (data(), outside):
        x = (
            x.astype(np.float32)
            if quantization is None
            else real_values.quantize_input(x, graph.inputs[0])
        )
        file = write.write(graph)
        verify(file)
        expected = reference.run(graph, x[:1])[0]
        (found,) = InstalledWheel().run(file, x[0], 1)
        if quantization is None:
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
        else:
            np.testing.assert_array_equal(found, expected)
            magnitudes = graph.ops[-2].output
            (inside,) = InstalledWheel().run(write.write(graph, outputs=[magnitudes]), x[0], 1)
            steps = [values[magnitudes][0] for values in reference.steps(graph, x[:1])]
            np.testing.assert_array_equal(inside, steps)
            assert len(np.unique(inside)) > 5


def test_operator_from_outside_is_compiled_from_c(absolute):
    graph = integers_of(graph_with_absolute_values(), "int16x8")
    source = Source("model", for_c(graph))
    texts = header.header(source), source.source()
    assert "magnitudes = |after|" in texts[0]
    program = HostProgram("model", *texts, ["-std=c99", *WARNINGS], [needed("gcc")])
    for x in (data(), 20.0 * data()):
        x = real_values.quantize_input(x, graph.inputs[0])
        np.testing.assert_array_equal(program.run(x, 2), reference.run(graph, x))


def test_operator_is_registered_once(absolute):
    with pytest.raises(ValueError, match="ABS is registered already"):
        register(ABS)


def test_no_module_beside_the_entries_asks_for_a_kind():
    """Rewrites are identities of the operators that they are about; the rest reads entries."""
    asks = re.compile(r"\.kind\b\]? (==|!=|in|not in) |match op\.kind")
    folders = [ROOT / "graph", ROOT / "quantization", ROOT / "export"]
    files = [path for folder in folders for path in folder.rglob("*.py")]
    assert len(files) > 100
    found = {
        str(path.relative_to(ROOT))
        for path in files
        if asks.search(path.read_text().replace("dtype.kind", ""))
        and not path.is_relative_to(ROOT / "graph" / "operators")
    }
    assert found == {
        "graph/rewrite.py",
        "export/convert_c.py",  # says what to do about a SOFTMAX
        "export/lowering/trained_scales.py",
    }


UNKNOWN = "NEG"  # TFLite has it


def unknown_graph():
    return chain(2, ("FULLY_CONNECTED", [np.eye(2)], {}), (UNKNOWN, [], {}))


def known_scales(graph, scale):
    return dict.fromkeys((graph.inputs[0], *(op.output for op in graph.ops)), scale)


def ranges_of(graph):
    known = chain(2, ("FULLY_CONNECTED", [np.eye(2)], {}), ("TANH", [], {}))
    ranges = calibrate(known, np.ones((2, 3, 2)))
    twins = dict(zip(known.tensors(), graph.tensors(), strict=True))
    return {twins[tensor]: found for tensor, found in ranges.items()}


def integer_unknown():
    known = chain(2, ("FULLY_CONNECTED", [np.eye(2)], {}), ("TANH", [], {}))
    graph = quantize_int16(known, dict.fromkeys(known_scales(known, 0), -12))
    graph.ops[-1].kind = UNKNOWN
    return graph


REFUSING = {
    "reference": lambda: reference.run(unknown_graph(), np.ones((1, 1, 2))),
    "integer reference": lambda: reference.run(integer_unknown(), np.ones((1, 1, 2), np.int16)),
    "int16 scales": lambda: assign_exponents(graph := unknown_graph(), ranges_of(graph), {}),
    "int8 scales": lambda: assign_int8_scales(graph := unknown_graph(), ranges_of(graph)),
    "int16": lambda: quantize_int16(graph := unknown_graph(), known_scales(graph, -12)),
    "int8": lambda: quantize_int8(
        graph := unknown_graph(), known_scales(graph, Scale(0.01)), frozenset()
    ),
    "file": lambda: write.write(unknown_graph()),
    "integer file": lambda: write.write(integer_unknown()),
    "plain C": lambda: for_c(integer_unknown()),
    "expression": lambda: Expressions().elementwise(integer_unknown().ops[-1], ["x"]),
}


@pytest.mark.parametrize("use", REFUSING.values(), ids=REFUSING)
def test_unknown_operator_is_refused_by_name(use):
    with pytest.raises(
        UnsupportedOperatorError, match=f"There is no operator {UNKNOWN}; there are"
    ):
        use()


def test_type_that_an_operator_does_not_compute_is_refused_by_name():
    graph = integer_unknown()
    graph.ops[-1].kind = "CLIP"
    with pytest.raises(UnsupportedOperatorError, match="CLIP does not compute int16"):
        reference.run(graph, np.ones((1, 1, 2), np.int16))
    with pytest.raises(UnsupportedOperatorError, match="TFLite has no operator CLIP"):
        write.write(graph)


@pytest.mark.parametrize("kind", ["CONCATENATION", "SOFTMAX"])
def test_what_plain_c_does_not_compute_is_refused_by_name(kind):
    graph = integer_unknown()
    graph.ops[-1].kind = kind
    graph.states.append(graphs.State(graph.inputs[0], graph.outputs[0]))
    with pytest.raises(UnsupportedOperatorError, match=f"C does not compute the operator {kind}"):
        for_c(graph)


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_entry_of_integers_is_whole(kind):
    """What is computed in integers is in TFLite's schema, is verified and has a C equation."""
    entry = operator_of(kind)
    if not entry.arithmetic.keys() & {"int16", "int8"}:
        assert kind in ("CLIP", "MINIMUM", "DEQUANTIZE")
        return
    assert kind in OPERATORS
    assert entry.options_table is None or entry.options_table in TABLES
    assert entry.verify is not None
    assert bool(entry.expression) == bool(entry.equation)
    if "int16" in entry.arithmetic and kind != "QUANTIZE":
        joins = entry.copies and entry.expression is None
        ways = entry.has_matrix, joins, entry.expression is not None, entry.leads_alike
        assert sum(ways) == 1


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_what_is_trained_is_what_the_kernel_of_floats_computes(kind):
    entry = operator_of(kind)
    if entry.on_tensors is None:
        assert kind in ("CLIP", "MINIMUM", "CONCATENATION", "SLICE", "QUANTIZE", "DEQUANTIZE")
        return
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 3))
    if entry.has_matrix:
        constants = [rng.normal(size=(5, 3)), rng.normal(size=5)]
    elif entry.equation.count("{") == 2:
        constants = [rng.normal(size=(1, 3))]
    else:
        constants = []
    (op,) = chain(3, (kind, constants, {})).ops
    expected = entry.in_type("float32").kernel(op)(x)
    operands = [constants[0].T, *constants[1:]] if entry.has_matrix else constants
    found = entry.on_tensors(*(np.float32(operand) for operand in (x, *operands)))
    np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-5, atol=1e-5)
