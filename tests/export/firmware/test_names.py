"""Names, numbers and comments in the generated C."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_fastgrnn import export
from keras_fastgrnn.export.firmware import names

GOOD_NAMES = ["gesture", "g", "Model2", "my_model_", "INT", "switch", "class", "a" * 60]


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_identifiers_are_names(name):
    assert names.check_name(name) == name


BAD_NAMES = ["", " ", "2fast", "my-model", "my model", "gesture\n", "_model", "mod\u00e8le"]
BAD_NAMES += ["a.b", "../a", "a/b", "a\0", None, 3, b"model", ["model"]]


@pytest.mark.parametrize("name", BAD_NAMES, ids=repr)
def test_what_cannot_begin_an_identifier_of_c_is_refused(name):
    with pytest.raises(ValueError) as error:
        names.check_name(name)
    assert str(error.value) == (
        "Received an invalid value for argument name, expected a C identifier such as 'gesture', "
        f"got {name!r}."
    )


def test_bad_name_is_refused_before_the_model_is_looked_at():
    with pytest.raises(ValueError, match="for argument name"):
        export.convert(None, name="my model")


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_float_literal_is_one_of_c_and_gives_the_same_float(value):
    text = names.literal(value, "float32")
    assert re.fullmatch(r"-?(\d+\.\d*|\d+(\.\d*)?e[+-]\d+)f", text)
    assert np.float32(text.removesuffix("f")).tobytes() == np.float32(value).tobytes()


@given(st.text())
def test_name_in_a_comment_cannot_end_it(text):
    comment = names.comment_text(text)
    assert comment.isascii() and comment.isprintable() and "*" not in comment
    assert len(comment) == len(text)


def test_name_of_a_tensor_is_kept():
    assert names.comment_text("fast_grnn_1/state") == "fast_grnn_1/state"


@given(st.lists(st.integers(-32768, 32767), min_size=1))
def test_rows_have_every_number_in_lines_that_are_not_too_long(numbers):
    text = names.rows([str(number) for number in numbers])
    assert [int(number) for number in text.split(",")] == numbers
    assert max(map(len, text.splitlines())) <= 100
