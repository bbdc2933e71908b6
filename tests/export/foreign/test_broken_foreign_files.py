"""Files of TensorFlow's converter with one thing wrong are refused, each for its reason.

Every change keeps the file readable, and leads a kernel of TFLite Micro out of its tensors, to an
abort, or to another meaning.
"""

import pytest
from table_changes import (
    computed,
    find,
    left_out,
    scaled,
    shaped,
    tensor_of,
    typed,
    valued,
    with_options,
)
from tflite_files import changed

from keras_fastgrnn.errors import MalformedModelError
from keras_fastgrnn.export.foreign.verify import verify


def renamed_variable(model):
    options = find(model, "VAR_HANDLE", 1)["builtin_options"]
    find(model, "VAR_HANDLE", 1)["builtin_options"] = {**options, "shared_name": "another"}
    assign = find(model, "ASSIGN_VARIABLE")
    model["subgraphs"][0]["operators"].remove(assign)


CONV, DEPTHWISE, LSTM = "CONV_2D", "DEPTHWISE_CONV_2D", "UNIDIRECTIONAL_SEQUENCE_LSTM"
BROKEN = {
    "bias of one": ("image int8", shaped(CONV, 2, [1]), r"its bias is int32 \[1\]"),
    "bias of floats": ("image float32", shaped(DEPTHWISE, 2, [2]), r"its bias is float32 \[2\]"),
    "bias type": ("image int8", typed(CONV, 2, "float32"), "does not compute int8, float32"),
    "bias left out": ("image int8", left_out(DEPTHWISE, 2), "bias is listed and left out"),
    "filters of more channels": ("image int8", shaped(CONV, 1, [4, 3, 2, 3]), "groups of 2 chan"),
    "more filters": ("image int8", shaped(CONV, 1, [64, 3, 2, 2]), "has the shape"),
    "filters of rank 3": ("image int8", shaped(CONV, 1, [12, 2, 2]), "its shapes are"),
    "larger result": ("image int8", shaped(CONV, 0, [1, 4, 60, 4], "outputs"), "has the shape"),
    "stride 0": ("image int8", with_options(CONV, stride_h=0), "the stride 0"),
    "stride": ("image int8", with_options(CONV, stride_w=2), "has the shape"),
    "dilation 0": ("image int8", with_options(CONV, dilation_w_factor=0), "the dilation 0"),
    "dilation": ("image float32", with_options(DEPTHWISE, dilation_h_factor=2), "has the shape"),
    "padding": ("image int8", with_options(CONV, padding=2), "its padding is number 2"),
    "multiplier": ("image int8", with_options(DEPTHWISE, depth_multiplier=3), "are not 3 for each"),
    "multiplier 0": ("image int8", with_options(DEPTHWISE, depth_multiplier=0), "are not 0 for"),
    "scales of filters": ("image int8", scaled(CONV, 1, 3), "has 3 scales for the shape"),
    "scales, dimension": ("image int8", scaled(CONV, 1, 4, 3), "the quantized dimension 3"),
    "pool of 0": ("image int8", with_options("MAX_POOL_2D", filter_width=0), "have the size 0"),
    "pool result": (
        "image float32", shaped("AVERAGE_POOL_2D", 0, [1, 9, 9, 8], "outputs"), "has the shape",
    ),
    "pool channels": ("image int8", shaped("MAX_POOL_2D", 0, [1, 2, 5, 9], "outputs"), "has the"),
    "axis": ("image int8", valued("MEAN", 1, [1, 4]), "its axis is 4, of 4"),
    "axis computed": ("image int8", computed("MEAN", 1), "is computed, expected a constant"),
    "three axes": ("image float32", shaped("MEAN", 1, [3]), "has the shape|room for 2 of 4"),
    "mean result": ("image float32", shaped("MEAN", 0, [1, 99], "outputs"), "has the shape"),
    "keep_dims": ("image float32", with_options("MEAN", keep_dims=True), "has the shape"),
    "paddings": ("image int8", valued("PAD", 1, [0, 0, 9, 0, 2, 1, 0, 0]), "has the shape"),
    "negative": ("image int8", valued("PAD", 1, [0, 0, 2, -1, 2, 1, 0, 0]), "its paddings are"),
    "paddings, shape": ("image int8", shaped("PAD", 1, [2, 2]), r"not a constant of the shape"),
    "leaky": ("1d float32", with_options("LEAKY_RELU", alpha=float("nan")), "its alpha is nan"),
    "order": ("1d float32", valued("TRANSPOSE", 1, [0, 2, 2]), "order of dimensions is"),
    "turned": ("1d float32", valued("TRANSPOSE", 1, [2, 1, 0]), "has the shape"),
    "reshape": ("1d float32", shaped("RESHAPE", 0, [1, 2, 3], "outputs"), "its shapes are"),
    "packed": ("shapes float32", with_options("PACK", values_count=9), "it counts 9 of 3"),
    "pack axis": ("shapes float32", with_options("PACK", axis=3), "its axis is 3"),
    "pack result": ("shapes float32", shaped("PACK", 0, [1, 30, 6], "outputs"), "has the shape"),
    "unpacked": ("shapes float32", with_options("UNPACK", num=5), "it counts 5 of 4"),
    "unpack axis": ("shapes float32", with_options("UNPACK", axis=-4), "its axis is -4"),
    "split axis": ("shapes float32", valued("SPLIT", 0, [3]), "its axis is 3, of 3"),
    "split computed": ("shapes float32", computed("SPLIT", 0), "is computed"),
    "split": ("shapes float32", shaped("SPLIT", 1, [1, 4, 4], "outputs"), "differ in shape|has"),
    "split_v": ("shapes float32", shaped("SPLIT_V", 2, [1, 4, 9], "outputs"), "along axis 2|value"),
    "splits": ("shapes float32", with_options("SPLIT_V", num_splits=2), "it counts 2 of 3"),
    "end": ("shapes float32", valued("STRIDED_SLICE", 2, [1, 3, 6]), "has the shape"),
    "step 0": ("shapes float32", valued("STRIDED_SLICE", 3, [1, 0, 2]), "a stride of 0"),
    "mask": ("shapes float32", with_options("STRIDED_SLICE", end_mask=2), "has the shape"),
    "ellipsis": ("shapes float32", with_options("STRIDED_SLICE", ellipsis_mask=1), "ellipsis_ma"),
    "shrink": ("shapes float32", with_options("STRIDED_SLICE", shrink_axis_mask=1), "has the shap"),
    "pad value": ("shapes float32", shaped("PADV2", 2, [2]), "pads with more than one value"),
    "gather": ("shapes float32", valued("GATHER", 1, [5, 0, 6]), "an index out of range"),
    "gathered": ("shapes float32", computed("GATHER", 1), "which may lie out of range"),
    "largest": ("shapes float32", valued("REDUCE_MAX", 1, [9]), "its axis is 9"),
    "total": ("shapes float32", shaped("SUM", 0, [12], "outputs"), "has the shape"),
    "arg axis": ("elements float32", valued("ARG_MAX", 1, [2]), "its axis is 2"),
    "lstm weights": ("lstm float32", shaped(LSTM, 3, [6, 4]), r"has the shape \[6, 4\]"),
    "lstm recurrent": ("lstm float32", shaped(LSTM, 6, [6, 7]), r"has the shape \[6, 7\]"),
    "lstm bias": ("lstm int8", shaped(LSTM, 13, [1]), r"has the shape \[1\], expected \[6\]"),
    "lstm scales": ("lstm int8", scaled(LSTM, 2, 6), "has 6 scales, expected 1"),
    "lstm state": ("lstm int8", shaped(LSTM, 19, [1, 5]), "has the shape"),
    "lstm result": ("lstm float32", shaped(LSTM, 0, [1, 70, 6], "outputs"), "has the shape|value"),
    "lstm activation": ("lstm int8", with_options(LSTM, fused_activation_function=1), "number 1"),
    "lstm clip": ("lstm int8", with_options(LSTM, cell_clip=-1.0), "its cell_clip is -1"),
    "lstm, left out": ("lstm int8", left_out(LSTM, 5), "input 5 is left out"),
    "lstm, constant state": (
        "lstm float32",
        lambda m: tensor_of(m, LSTM, 18).update(is_variable=False),
        "no value yet|is its state and no variable",
    ),
    "variable of two sizes": (
        "variables float32",
        shaped("ASSIGN_VARIABLE", 1, [1, 3, 4], graph=1),
        "are one variable and differ in type or size",
    ),
    "variable assigned": ("variables float32", renamed_variable, "is never assigned"),
    "variable without a name": (
        "variables float32", with_options("VAR_HANDLE", shared_name=None), "has no name",
    ),
    "handle": (
        "variables float32",
        lambda m: find(m, "READ_VARIABLE").update(inputs=find(m, "FULLY_CONNECTED")["inputs"][1:2]),
        "does not compute",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_broken_file_is_refused_in_one_line_that_says_why(what, files_of_converter):
    name, change, message = BROKEN[what]
    data = changed(files_of_converter[name], change)
    with pytest.raises(MalformedModelError, match=message) as caught:
        verify(data)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("what", ["bias of one", "larger result", "axis", "lstm bias"])
def test_what_is_broken_was_sound_before(what, files_of_converter):
    verify(changed(files_of_converter[BROKEN[what][0]], lambda model: None))
