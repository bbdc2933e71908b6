"""The report as Markdown and as a picture."""

import dataclasses
import io
import re

import numpy as np
import pytest
from matplotlib.image import imread
from small_models import sequences, sequential

from keras_fastgrnn import FastGRNN, export, keras
from keras_fastgrnn.export.report import pages
from keras_fastgrnn.export.tflite.flatbuffer_reader import read_model

BLUE, ORANGE, RED = (31, 119, 180), (255, 127, 14), (214, 39, 40)


def exported(quantization, data=True):
    layers = [FastGRNN(6, recurrent_rank=2), keras.layers.Dense(3)]
    x = sequences() if data else None
    return export.convert(sequential(*layers), x, quantization=quantization, name="gesture")


def with_equal_matrices():
    """A float model whose last two layers have one matrix, which is in the file once."""
    dense = [keras.layers.Dense(6, activation="relu", use_bias=False) for _ in range(3)]
    model = sequential(FastGRNN(6), *dense)
    dense[2].set_weights(dense[1].get_weights())
    return export.convert(model, quantization=None, name="gesture")


@pytest.fixture(scope="module", params=["int16x8", "int8", None, "no data", "equal matrices"])
def deployed(request):
    if request.param == "no data":
        return exported(None, data=False)
    if request.param == "equal matrices":
        return with_equal_matrices()
    return exported(request.param)


def tables(text):
    """The rows of every table, without its titles, by the heading above it."""
    found = {}
    for section in text.split("\n## "):
        rows = re.findall(r"^\| (.*) \|$", section, re.M)[2:]
        found[section.splitlines()[0]] = [row.split(" | ") for row in rows]
    return found


def number(text):
    return float(text.replace(",", "").split()[0])


def test_parts_are_the_file(deployed):
    parts = pages.file_parts(deployed.report, deployed.graph)
    assert sum(parts.values()) == len(deployed.tflite)
    assert parts["structure"] == deployed.report.overhead_bytes


def test_parts_are_the_buffers_in_the_file(deployed):
    """Told apart by their shapes: a matrix is (units, inputs), a bias is (units,)."""
    model = read_model(deployed.tflite)
    buffers = {}
    for tensor in model["subgraphs"][0]["tensors"]:
        if tensor["buffer"]:
            data = model["buffers"][tensor["buffer"]]["data"].tobytes()
            shape = tensor["shape"]
            kind = "other" if shape[0] == 1 else "bias" if len(shape) == 1 else "matrix"
            buffers[data] = kind
    parts = pages.file_parts(deployed.report, deployed.graph)
    sizes = {kind: [len(d) for d, k in buffers.items() if k == kind] for kind in buffers.values()}
    matrices = [size for name, size in parts.items() if name.endswith(": weights")]
    assert sorted(matrices) == sorted(sizes["matrix"])
    assert parts["biases"] == sum(sizes["bias"])
    assert parts["other constants"] == sum(sizes["other"])


def test_markdown_has_the_numbers_of_the_report(deployed):
    report = deployed.report
    text = pages.markdown(report, deployed.graph, "gesture_report.png")
    found = tables(text)
    facts = dict(found["# gesture"])
    assert facts["format"] == (report.quantization or "float32")
    assert number(facts["file"]) == len(deployed.tflite)
    if report.arena_bytes is None:
        assert facts["arena"] == "not measured"
    else:
        assert number(facts["arena"]) == report.arena_bytes
    if report.agreement is not None:
        assert number(facts["sequences compared with Keras"]) == 16
        same = number(facts["same class as Keras"])
        assert same == pytest.approx(100.0 * report.agreement.same_class, abs=0.005)
    sizes = [number(size) for _, size in found["Bytes of the file"]]
    assert sum(sizes) == len(deployed.tflite)
    operators = {name: int(count) for name, count in found["Operators in a time step"]}
    assert operators == {f"`{name}`": count for name, count in report.operators.items()}
    assert "![Bytes of the file and ranges of the tensors](gesture_report.png)\n" in text


def test_markdown_has_the_range_of_every_tensor(deployed):
    text = pages.markdown(deployed.report, deployed.graph, "gesture_report.png")
    rows = tables(text).get("Ranges on the calibration data", [])
    assert len(rows) == len(deployed.report.tensors)
    for row, tensor in zip(rows, deployed.report.tensors, strict=True):
        assert row[0] == f"`{tensor.name}`" + (" (state)" if tensor.is_state else "")
        assert float(row[2]) == pytest.approx(tensor.low, rel=5e-3)  # three digits
        assert float(row[3]) == pytest.approx(tensor.high, rel=5e-3)
        if tensor.limit is None:
            assert row[4:] == ["-", "-", "-"]
        else:
            integers = np.iinfo(tensor.dtype)
            ends = [
                (end - tensor.zero_point) * tensor.scale for end in (integers.min, integers.max)
            ]
            assert [float(end) for end in row[4:6]] == pytest.approx(ends, rel=5e-4)
            assert number(row[6].partition(" (")[0]) == tensor.saturated


def pixels(png):
    return np.round(255 * imread(io.BytesIO(png))[:, :, :3]).astype(int)


def count(image, color):
    return np.count_nonzero((image == color).all(axis=-1))


def test_picture_shows_the_state_in_a_color_of_its_own(deployed):
    image = pixels(pages.picture(deployed.report, deployed.graph))
    assert 300 < image.shape[0] < 1500 and 700 < image.shape[1] < 1600
    assert count(image, BLUE) > 1000
    assert count(image, RED) == 0
    assert (count(image, ORANGE) > 100) == bool(deployed.report.tensors)


@pytest.mark.parametrize(
    ("lost", "dtype", "is_red"),
    [
        (100, "int16", True),
        (0, "int16", False),
        (1, "int16", True),
        (1, "int8", False),
        (100, "int8", True),
    ],
)
def test_picture_shows_the_tensors_whose_values_are_lost(lost, dtype, is_red):
    """int8 has some values at its ends by rounding alone."""
    deployed = exported("int16x8")
    changes = {"saturated": 100, "lost": lost, "dtype": dtype, "values": 10_000}
    tensors = [dataclasses.replace(t, **changes) for t in deployed.report.tensors]
    report = dataclasses.replace(deployed.report, tensors=tensors)
    image = pixels(pages.picture(report, deployed.graph))
    assert (count(image, RED) > 0) == is_red


def test_length_of_a_bar_is_the_part_of_the_range():
    """Where values begin at half of the smallest possible, the bar is 3/4 of the axis."""
    deployed = exported("int16x8")
    (state,) = [t for t in deployed.report.tensors if t.is_state]
    widths = []
    for low, high in ((-1.0, 1.0), (-0.5, 1.0)):
        limits = {"low": low * state.limit, "high": high * state.limit}
        report = dataclasses.replace(
            deployed.report, tensors=[dataclasses.replace(state, **limits)]
        )
        image = pixels(pages.picture(report, deployed.graph))
        widths.append((image == ORANGE).all(axis=-1).any(axis=0).sum())
    assert widths[1] / widths[0] == pytest.approx(0.75, abs=0.02)


def test_user_s_matplotlib_is_left_alone(run_python):
    code = """
import numpy as np
from keras_fastgrnn import FastRNN, export, keras

model = keras.Sequential([keras.layers.Input((5, 3)), FastRNN(2)])
deployed = export.convert(model, np.ones((4, 5, 3)))
import matplotlib
matplotlib.use("svg")
matplotlib.rcParams["font.size"] = 7.0
before = dict(matplotlib.rcParams)
deployed.save("out")
print(before == dict(matplotlib.rcParams), matplotlib.get_backend())
"""
    assert run_python("-c", code).splitlines()[-1] == "True svg"


def test_any_character_may_be_in_a_name(deployed):
    name = "a_$x$_^b^%|`&"
    tensors = [dataclasses.replace(t, name=name) for t in deployed.report.tensors]
    report = dataclasses.replace(deployed.report, name=name, tensors=tensors)
    assert pages.picture(report, deployed.graph).startswith(b"\x89PNG")
    rows = tables(pages.markdown(report, deployed.graph, "a.png"))
    assert len(rows.get("Ranges on the calibration data", [])) == len(tensors)
