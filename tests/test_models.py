"""Which layers of a model hold our cells, and which models are refused."""

import numpy as np
import pytest
from small_models import CHANNELS, STEPS, sequences, sequential

from keras_fastgrnn import FastGRNN, FastGRNNCell, FastRNN, FastRNNCell, keras, models
from keras_fastgrnn.keras_api import FLAVOR, IS_TF_KERAS

LAYERS = keras.layers


def stack_of_all():
    return sequential(
        LAYERS.Dense(4),
        FastGRNN(3, return_sequences=True),
        LAYERS.GRU(3, return_sequences=True),
        LAYERS.RNN(FastRNNCell(2), return_sequences=True),
        LAYERS.RNN([FastGRNNCell(3), LAYERS.GRUCell(2)], return_sequences=True),
        FastRNN(3),
        LAYERS.Dense(2),
    )


def test_layers_with_our_cells_are_found_in_order():
    model = stack_of_all()
    assert models.fast_layers(model) == [model.layers[index] for index in (1, 3, 4, 5)]


def test_cells_of_a_stack_are_listed_from_its_input_on():
    first, second = FastGRNNCell(3), LAYERS.GRUCell(2)
    assert models.cells_of(LAYERS.RNN([first, second])) == [first, second]
    assert models.cells_of(LAYERS.RNN(first)) == [first]


def test_normalization_uses_the_weights_it_gets():
    def build():
        normalizations = LAYERS.Normalization(), sequential(LAYERS.Normalization())
        return sequential(*normalizations, FastGRNN(2)), normalizations

    model, (outer, inner) = build()
    outer.adapt(sequences() * 3.0 + 1.0)
    inner.layers[-1].adapt(sequences() * 5.0)
    copy, _ = build()
    models.set_weights(copy, model.get_weights())
    np.testing.assert_array_equal(copy(sequences()), model(sequences()))


class Doubled(LAYERS.Layer):
    """A layer that Keras cannot find by its name."""

    def call(self, inputs):
        return 2.0 * inputs


@pytest.mark.parametrize("compiled", [False, True])
def test_copy_of_a_functional_model_keeps_its_form(compiled):
    first, second = LAYERS.Input((STEPS, CHANNELS)), LAYERS.Input((2,))
    joined = LAYERS.Concatenate()([FastGRNN(2)(first), Doubled()(second)])
    model = keras.Model([first, second], LAYERS.Dense(2)(joined), name="two")
    if compiled:
        model.compile(loss=lambda y, outputs: outputs, metrics=[lambda y, outputs: outputs])
    copy = models.copied(model)
    x = [sequences(), np.ones((16, 2))]
    assert type(copy) is type(model) and copy.name == "two"
    np.testing.assert_array_equal(copy(x), model(x))


def test_copy_has_weights_of_its_own():
    model = stack_of_all()
    model.compile(loss=lambda y, outputs: outputs)
    copy = models.copied(model)
    before = np.asarray(copy(sequences()))
    np.testing.assert_array_equal(before, model(sequences()))
    model.set_weights([weight + 1.0 for weight in model.get_weights()])
    np.testing.assert_array_equal(copy(sequences()), before)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_layer_with_a_weight_that_is_not_finite_is_named(wrong):
    model = sequential(FastGRNN(2), LAYERS.Dense(2, name="culprit"))
    models.check_finite(model)
    model.layers[-1].bias.assign([0.0, wrong])
    with pytest.raises(ValueError, match="expected weights that are finite numbers, got 'culprit'"):
        models.check_finite(model)


@pytest.mark.parametrize(
    ("wrap", "kind"),
    [
        (lambda: LAYERS.Bidirectional(FastGRNN(2, name="inner")), "Bidirectional"),
        (lambda: LAYERS.Bidirectional(LAYERS.RNN([FastRNNCell(2)])), "Bidirectional"),
        (lambda: sequential(FastGRNN(2)), "Sequential"),
        (lambda: sequential(LAYERS.Bidirectional(FastRNN(2))), "Sequential"),
    ],
)
def test_cell_inside_another_layer_is_refused_by_the_name_of_that_layer(wrap, kind):
    outer = wrap()
    model = sequential(FastGRNN(CHANNELS, return_sequences=True), outer)
    with pytest.raises(ValueError) as error:
        models.fast_layers(model)
    assert str(error.value) == (
        "Received an invalid value for argument model, expected recurrent layers that stand in it "
        f"directly, got one inside {outer.name} ({kind})."
    )


def test_model_without_our_cells_is_refused():
    with pytest.raises(ValueError, match="expected a model with FastGRNN or FastRNN layers"):
        models.fast_layers(sequential(LAYERS.GRU(2), LAYERS.Dense(2)))


def test_model_that_is_not_built_is_refused():
    with pytest.raises(ValueError, match=r"got one without a known input\. Begin it with Input"):
        models.fast_layers(keras.Sequential([FastGRNN(2)]))


def test_what_is_no_model_is_refused():
    with pytest.raises(TypeError, match=rf"expected a {FLAVOR} model, got FastGRNN\.$"):
        models.fast_layers(FastGRNN(2))


def test_model_of_the_other_keras_is_refused():
    if IS_TF_KERAS:
        import keras as other
    else:
        import tf_keras as other
    inputs = other.layers.Input((STEPS, CHANNELS))
    model = other.Model(inputs, other.layers.Dense(2)(inputs))
    with pytest.raises(TypeError, match=f"but keras_fastgrnn runs on {FLAVOR} in this process"):
        models.fast_layers(model)
