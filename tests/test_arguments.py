"""Arguments of the cells and layers: their names, their configuration, and the wrong ones."""

import inspect
import json
import math
import pydoc
import re

import numpy as np
import pytest
import tensorflow as tf

from keras_fastgrnn import FastGRNN, FastGRNNCell, FastRNN, FastRNNCell, keras, low_rank, sparsity
from keras_fastgrnn.keras_api import invalid_argument
from keras_fastgrnn.quantization import quantize_aware

CELLS = [FastGRNNCell, FastRNNCell]
CELLS_AND_LAYERS = [FastGRNNCell, FastRNNCell, FastGRNN, FastRNN]
SCALARS = {FastGRNNCell: ("zeta", "nu"), FastRNNCell: ("alpha", "beta")}
H = 6

EVERY_ARGUMENT = {
    "units": H,
    "activation": "quant_tanh",
    "use_bias": True,
    "kernel_initializer": "glorot_uniform",
    "recurrent_initializer": "orthogonal",
    "bias_initializer": "zeros",
    "kernel_regularizer": "l1",
    "recurrent_regularizer": "l2",
    "bias_regularizer": "l2",
    "kernel_constraint": "max_norm",
    "recurrent_constraint": "unit_norm",
    "bias_constraint": "non_neg",
    "dropout": 0.25,
    "recurrent_dropout": 0.5,
    "seed": 3,
    "kernel_rank": 2,
    "recurrent_rank": 5,
}
CLASSES = {
    "kernel_initializer": "GlorotUniform",
    "recurrent_initializer": "Orthogonal",
    "bias_initializer": "Zeros",
    "kernel_regularizer": "L1",
    "recurrent_regularizer": "L2",
    "bias_regularizer": "L2",
    "kernel_constraint": "MaxNorm",
    "recurrent_constraint": "UnitNorm",
    "bias_constraint": "NonNeg",
    "activity_regularizer": "L2",
}
OF_FASTGRNN = {
    "recurrent_activation": "quant_sigmoid",
    "zeta_initializer": 0.5,
    "nu_initializer": -2.0,
}
OF_FASTRNN = {"alpha_initializer": -1.0, "beta_initializer": 2.0}
OF_LAYERS = {
    "activity_regularizer": "l2",
    "return_sequences": True,
    "return_state": True,
    "go_backwards": True,
    "stateful": True,
    "unroll": True,
}
OWN_ARGUMENTS = {
    FastGRNNCell: OF_FASTGRNN,
    FastRNNCell: OF_FASTRNN,
    FastGRNN: {**OF_FASTGRNN, **OF_LAYERS},
    FastRNN: {**OF_FASTRNN, **OF_LAYERS},
}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (FastGRNNCell, keras.layers.GRUCell),
        (FastRNNCell, keras.layers.SimpleRNNCell),
        (FastGRNN, keras.layers.GRU),
        (FastRNN, keras.layers.SimpleRNN),
    ],
)
def test_arguments_have_the_names_and_the_order_of_keras(ours, theirs):
    ours, theirs = (inspect.signature(made).parameters for made in (ours, theirs))
    of_their_equations_and_kernels = {"reset_after", "implementation", "use_cudnn", "time_major"}
    assert theirs.keys() - ours.keys() <= of_their_equations_and_kernels
    keyword_only = inspect.Parameter.KEYWORD_ONLY
    common = [n for n, p in ours.items() if n in theirs and p.kind is not keyword_only]
    assert common == [name for name in theirs if name in common]
    assert common[:3] == list(theirs)[:3]


@pytest.mark.parametrize("cell", CELLS)
def test_signature_lists_the_arguments_and_the_defaults_of_the_paper(cell):
    parameters = inspect.signature(cell).parameters
    defaults = {
        name: parameter.default
        for name, parameter in parameters.items()
        if parameter.default is not inspect.Parameter.empty
    }
    scalars = {"zeta_initializer": 1.0, "nu_initializer": -4.0}
    if cell is FastRNNCell:
        scalars = {"alpha_initializer": -3.0, "beta_initializer": 3.0}
    else:
        assert defaults.pop("recurrent_activation") == "sigmoid"
    assert defaults == {
        "activation": "tanh",
        "use_bias": True,
        "kernel_initializer": None,
        "recurrent_initializer": None,
        "bias_initializer": "ones",
        **dict.fromkeys(("kernel_regularizer", "recurrent_regularizer", "bias_regularizer")),
        **dict.fromkeys(("kernel_constraint", "recurrent_constraint", "bias_constraint")),
        "dropout": 0.0,
        "recurrent_dropout": 0.0,
        "seed": None,
        "kernel_rank": None,
        "recurrent_rank": None,
        **scalars,
    }


@pytest.mark.parametrize("make", CELLS_AND_LAYERS)
def test_help_and_signature_list_every_argument(make):
    names = {**EVERY_ARGUMENT, **OWN_ARGUMENTS[make]}.keys()
    assert names | {"kwargs"} == inspect.signature(make).parameters.keys()
    text = pydoc.plain(pydoc.render_doc(make))
    assert all(re.search(rf"\b{name}(: [^=]+ )?=", text) for name in names - {"units"})


@pytest.mark.parametrize("make", CELLS_AND_LAYERS)
def test_arguments_may_be_passed_by_position(make):
    positional = dict(EVERY_ARGUMENT)
    if make in (FastGRNNCell, FastGRNN):
        items = list(positional.items())
        positional = dict([*items[:2], ("recurrent_activation", "quant_sigmoid"), *items[2:]])
    by_position = make(*positional.values()).get_config()
    by_name = make(**positional).get_config()
    del by_position["name"], by_name["name"]
    assert by_position == by_name


@pytest.mark.parametrize("make", CELLS_AND_LAYERS)
def test_config_makes_the_same_again(make):
    arguments = {**EVERY_ARGUMENT, **OWN_ARGUMENTS[make]}
    original = make(**arguments, dtype="float64", name="mine", trainable=False)
    config = original.get_config()
    assert arguments.keys() <= config.keys()
    copy = make.from_config(json.loads(json.dumps(config)))

    assert copy.get_config() == config
    assert (copy.name, copy.trainable, copy.compute_dtype) == ("mine", False, "float64")
    for name, value in arguments.items():
        found = getattr(copy, name)
        if name in CLASSES:
            assert type(found).__name__ == CLASSES[name], name
        elif name in ("activation", "recurrent_activation"):
            assert found.__name__ == value
        elif name.endswith("_initializer"):
            assert float(found(())) == value
        else:
            assert found == value, name


@pytest.mark.parametrize("layer", [FastGRNN, FastRNN])
def test_layer_has_its_arguments_as_properties(layer):
    made = layer(**EVERY_ARGUMENT, **OWN_ARGUMENTS[layer])
    for name in inspect.signature(layer.cell_class).parameters:
        if name != "kwargs":
            assert getattr(made, name) is getattr(made.cell, name), name
    plain = {n: v for n, v in EVERY_ARGUMENT.items() if isinstance(v, (int, float))}
    assert {name: getattr(made, name) for name in plain} == plain


# Wrong arguments


NAN = math.nan
INVALID = [
    ("units", 0, "a positive integer"),
    ("units", -3, "a positive integer"),
    ("units", 2.5, "a positive integer"),
    ("units", "8", "a positive integer"),
    ("units", None, "a positive integer"),
    ("units", True, "a positive integer"),
    ("units", NAN, "a positive integer"),
    ("kernel_rank", 0, "an integer in [1, 6]"),
    ("kernel_rank", -1, "an integer in [1, 6]"),
    ("kernel_rank", 7, "an integer in [1, 6]"),
    ("kernel_rank", 2.0, "an integer in [1, 6]"),
    ("recurrent_rank", 0, "an integer in [1, 6]"),
    ("recurrent_rank", 7, "an integer in [1, 6]"),
    ("recurrent_rank", "full", "an integer in [1, 6]"),
    ("dropout", NAN, "a number in [0, 1]"),
    ("dropout", -0.1, "a number in [0, 1]"),
    ("dropout", 1.1, "a number in [0, 1]"),
    ("dropout", "0.1", "a number in [0, 1]"),
    ("dropout", None, "a number in [0, 1]"),
    ("dropout", True, "a number in [0, 1]"),
    ("recurrent_dropout", NAN, "a number in [0, 1]"),
    ("recurrent_dropout", 2, "a number in [0, 1]"),
]


@pytest.mark.parametrize("make", CELLS_AND_LAYERS)
@pytest.mark.parametrize(("argument", "value", "expected"), INVALID)
def test_argument_out_of_range_gets_one_clear_error(make, argument, value, expected):
    with pytest.raises(ValueError) as error:
        make(**{"units": H, argument: value})
    assert str(error.value) == (
        f"Received an invalid value for argument {argument}, expected {expected}, got {value!r}."
    )


@pytest.mark.parametrize("value", [NAN, math.inf, -math.inf, None, True, 1j, [1.0]])
@pytest.mark.parametrize(
    ("make", "argument"),
    [(cell, f"{name}_initializer") for cell in CELLS for name in SCALARS[cell]],
)
def test_logit_that_is_no_finite_number_gets_one_clear_error(make, argument, value):
    with pytest.raises(ValueError) as error:
        make(H, **{argument: value})
    assert str(error.value) == (
        f"Received an invalid value for argument {argument}, expected a finite number or an "
        f"initializer, got {value!r}."
    )


@pytest.mark.parametrize("make", CELLS_AND_LAYERS)
@pytest.mark.parametrize("argument", ["activation", "recurrent_activation"])
def test_unknown_activation_is_named_in_the_error(make, argument):
    if make in (FastRNNCell, FastRNN):
        argument = "activation"
    message = (
        rf"^Received an invalid value for argument {argument}, expected the name .* got 'no'\.$"
    )
    with pytest.raises(ValueError, match=message):
        make(H, **{argument: "no"})


@pytest.mark.parametrize("make", CELLS_AND_LAYERS)
def test_rank_above_the_input_is_refused_when_the_input_is_known(make):
    cell_or_layer = make(12, kernel_rank=12)
    shape = (None, 9) if make in CELLS else (None, 5, 9)
    with pytest.raises(ValueError) as error:
        cell_or_layer.build(shape)
    assert str(error.value) == (
        "Received an invalid value for argument kernel_rank, expected an integer in [1, 9], got 12."
    )


@pytest.mark.parametrize("make", CELLS_AND_LAYERS)
@pytest.mark.parametrize("argument", ["reset_after", "unit"])
def test_arguments_that_nothing_knows_are_refused(make, argument):
    with pytest.raises((TypeError, ValueError), match=argument):
        make(H, **{argument: 1})


@pytest.mark.parametrize("make", CELLS_AND_LAYERS)
def test_numbers_of_numpy_are_numbers(make):
    made = make(np.int64(H), kernel_rank=np.int32(3), dropout=np.float32(0.25))
    config = json.loads(json.dumps(made.get_config()))
    assert (config["units"], config["kernel_rank"], config["dropout"]) == (6, 3, 0.25)


def layers_model():
    return keras.Sequential([keras.layers.Input((4, 3)), FastGRNN(H), keras.layers.Dense(2)])


HALF = sparsity.IterativeHardThresholding(0.5, 1, 3)
CALLS = {
    "units": FastGRNN,
    "dropout": lambda x: FastGRNN(H, dropout=x),
    "quantization": lambda x: quantize_aware(layers_model(), x),
    "weight_bits": lambda x: sparsity.report(layers_model(), x),
    "kernel": sparsity.PruneLowMagnitude,
    "count": lambda x: sparsity.PruneLowMagnitude(HALF, count=x),
    "sparsity": lambda x: sparsity.IterativeHardThresholding(x, 1, 3),
    "energy": lambda x: low_rank.factorize(layers_model(), energy=x),
}


@pytest.mark.parametrize("make", [np.ones, tf.ones])
@pytest.mark.parametrize("argument", CALLS)
def test_an_array_is_told_by_its_shape(argument, make):
    with pytest.raises(ValueError) as error:
        CALLS[argument](make((400, 16, 3)))
    message = str(error.value)
    assert message.startswith(f"Received an invalid value for argument {argument}, expected ")
    assert message.endswith(", got an array of shape (400, 16, 3).")


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("a" * 98, repr("a" * 98)),
        (list(range(1000)), repr(list(range(1000)))[:100] + "..."),
        ([np.eye(2)], "[array([[1., 0.], [0., 1.]])]"),
        (np.float32(0.5), repr(np.float32(0.5))),
        ((400, 16, 3), "(400, 16, 3)"),
    ],
    ids=["short", "long", "of lines", "number", "shape"],
)
def test_a_value_is_told_in_one_short_line(value, told):
    assert str(invalid_argument("units", "an integer", value)).endswith(f", got {told}.")
