"""What a Keras model holds: its layers, the FastRNN and FastGRNN cells in them, their weights."""

import numpy as np

from keras_fastgrnn.cells import FastCell
from keras_fastgrnn.keras_api import (
    FLAVOR,
    IS_TF_KERAS,
    invalid_argument,
    keras,
    mixed_flavors_message,
)

# The matrices of our cells, in the order of their weights: what holds the factors of each.
FACTORS = {"kernel": "kernel_factors", "recurrent_kernel": "recurrent_factors"}

# Keras's own cells, whose gates have their matrices side by side; ours are of the first class.
_KERAS_CELLS = (keras.layers.SimpleRNNCell, keras.layers.GRUCell, keras.layers.LSTMCell)

_NO_FAST_CELLS = (
    "Received an invalid value for argument model, expected a model with FastGRNN or FastRNN "
    "layers, or RNN around their cells, got one without any."
)
_NO_CELLS = (
    "Received an invalid value for argument model, expected a model with FastGRNN, FastRNN, GRU, "
    "LSTM or SimpleRNN layers, or RNN around their cells, got one without any."
)


def check_flavor(model):
    """Raises an error unless this is a model of this process's Keras.

    Args:
        model: What a user passed as a model.

    Raises:
        TypeError: If it is not.
    """
    if not isinstance(model, keras.Model):
        if any(base.__name__ == "Model" for base in type(model).__mro__):
            raise TypeError(mixed_flavors_message("The model"))
        raise TypeError(
            f"Received an invalid value for argument model, expected a {FLAVOR} model, "
            f"got {type(model).__name__}."
        )


def check_built(model):
    """Raises an error unless the model can be read: of this process's Keras, and built.

    Args:
        model: What a user passed as a model.

    Raises:
        TypeError: If it is not a model of this process's Keras.
        ValueError: If its input is not known yet.
    """
    check_flavor(model)
    if not getattr(model, "inputs", None):
        if not isinstance(model, keras.Sequential):
            raise ValueError(
                "Received an invalid value for argument model, expected a Sequential or Functional "
                f"model, got a {type(model).__name__}, whose layers only its call knows. Give "
                "keras.Model(x, model.call(x)) with x = keras.Input((steps, input_dim)), which has "
                "the same layers and weights."
            )
        raise ValueError(
            "Received an invalid value for argument model, expected a built Sequential or "
            "Functional model, got one without a known input. Begin it with Input((steps, "
            "input_dim)), or call it once on data."
        )


def cells_of(layer) -> list:
    """Returns the cells of a recurrent layer, from its input on.

    Args:
        layer: Recurrent layer.

    Returns:
        List of cells; more than one where the layer stacks them.
    """
    return list(getattr(layer.cell, "cells", [layer.cell]))


def layers_of(model) -> list:
    """Returns every layer of a model once: also cells, and layers inside others.

    Args:
        model: Keras model.

    Returns:
        List of layers, an outer one before those it holds.

    Raises:
        TypeError: If it is not a model of this process's Keras.
    """
    check_flavor(model)
    return list(dict.fromkeys(layers_inside(model)))


def layers_inside(layer):
    """Yields every layer inside another, an outer one before those it holds.

    Args:
        layer: Keras layer or model.
    """
    for inner in layer._flatten_layers(recursive=False, include_self=False):
        yield inner
        yield from layers_inside(inner)


def fast_cells(model) -> list:
    """Returns our cells anywhere in a model: also in stacks, wrappers and nested models.

    Args:
        model: Keras model.

    Returns:
        List of built cells, at least one.

    Raises:
        TypeError: If it is not a model of this process's Keras.
        ValueError: If it has no such cell, or is not built.
    """
    return _built_cells(model, (FastCell,), _NO_FAST_CELLS)


def recurrent_cells(model) -> list:
    """Returns the recurrent cells anywhere in a model, ours and Keras's own.

    Args:
        model: Keras model.

    Returns:
        List of built cells, at least one.

    Raises:
        TypeError: If it is not a model of this process's Keras.
        ValueError: If it has no such cell, or is not built.
    """
    return _built_cells(model, _KERAS_CELLS, _NO_CELLS)


def _built_cells(model, kinds: tuple, none_found: str) -> list:
    cells = [layer for layer in layers_of(model) if isinstance(layer, kinds)]
    if not cells:
        raise ValueError(none_found)
    built = [cell for cell in cells if cell.built]
    if not built:
        check_built(model)
    return built


def matrices_of(cell, name: str) -> list:
    """Returns a matrix of a recurrent cell, or its low-rank factors, in the order they apply.

    Args:
        cell: Built cell.
        name: String, "kernel" or "recurrent_kernel".

    Returns:
        List of one or two weights.
    """
    return getattr(cell, FACTORS[name], None) or [getattr(cell, name)]


def weight_name(weight) -> str:
    """Returns the name of a weight and of the layers around it.

    Args:
        weight: Weight of a layer.

    Returns:
        String, for example "fast_grnn/fast_grnn_cell/kernel".
    """
    return getattr(weight, "path", weight.name).removesuffix(":0")


def fast_layers(model) -> list:
    """Returns the layers of a model that run our cells.

    Args:
        model: Built Keras model.

    Returns:
        List of `FastGRNN`, `FastRNN` and `RNN` layers, at least one.

    Raises:
        TypeError, ValueError: If `check_built` refuses the model.
        ValueError: If it has no such layer, or one inside another layer.
    """
    check_built(model)
    found = [
        layer
        for layer in model.layers
        if isinstance(layer, keras.layers.RNN)
        and any(isinstance(cell, FastCell) for cell in cells_of(layer))
    ]
    for layer in model.layers:
        if layer not in found and any(isinstance(one, FastCell) for one in layers_inside(layer)):
            raise ValueError(
                "Received an invalid value for argument model, expected recurrent layers that "
                f"stand in it directly, got one inside {layer.name} ({type(layer).__name__})."
            )
    if not found:
        raise ValueError(_NO_FAST_CELLS)
    return found


def set_weights(layer, weights):
    """Gives a layer or model its weights; Normalization layers use those they get.

    Args:
        layer: Built Keras layer or model.
        weights: List of arrays, as `get_weights` returns them.
    """
    layer.set_weights(weights)
    for one in [layer, *layers_inside(layer)]:
        if isinstance(one, keras.layers.Normalization):
            one.finalize_state()


def rebuilt(model, configure=None):
    """Returns a model of the same layers, not compiled, with weights as they are initialized.

    Keras 3's `clone_model` compiles the copy of a compiled model, and fails where it finds a loss
    or metric that is not registered.

    Args:
        model: Built Keras model, Sequential or Functional.
        configure: Function that changes the configuration of a layer in place, or `None`.

    Returns:
        Keras model.
    """
    config = model.get_config()
    if configure is not None:
        for layer in config["layers"]:
            configure(layer["config"])
    classes = {type(layer).__name__: type(layer) for layer in layers_of(model)}
    return type(model).from_config(config, custom_objects=classes)


def copied(model):
    """Returns a model of the same layers and weights.

    Args:
        model: Built Keras model, Sequential or Functional.

    Returns:
        Keras model, not compiled.
    """
    copy = rebuilt(model)
    set_weights(copy, model.get_weights())
    return copy


def input_of(layer):
    """Returns the tensor that a layer, or operation of Keras 3, was first called on.

    Args:
        layer: Layer that was called; of several tensors, as one with its mask, the first counts.
    """
    given = layer.get_input_at(0) if IS_TF_KERAS else layer.input
    return given[0] if isinstance(given, list | tuple) else given


def output_of(layer):
    """Returns the tensor that a layer, or operation of Keras 3, answered when first called.

    Args:
        layer: Layer that was called; of several results the first one counts.
    """
    output = layer.get_output_at(0) if IS_TF_KERAS else layer.output
    return output[0] if isinstance(output, list | tuple) else output


def stateful_layers(model) -> list:
    """Returns the layers that keep their state from one batch to the next.

    Args:
        model: Keras model.
    """
    layers = [layer for layer in layers_of(model) if isinstance(layer, keras.layers.RNN)]
    return [layer for layer in layers if layer.stateful]


def without_stateful(model):
    """Returns a model of the same layers and weights that begins each sequence from zero.

    Args:
        model: Functional model.

    Returns:
        The model itself if it does so already, or a model for any number of sequences and steps.
    """
    if not stateful_layers(model):
        return model

    def configure(config):
        for name in {"batch_shape", "batch_input_shape"}.intersection(config):
            config[name] = (None, None, *config[name][2:])
        if "stateful" in config:
            config["stateful"] = False
        for inner in config.get("layers", ()):
            configure(inner["config"])

    copy = rebuilt(model, configure)
    for layer, original in zip(layers_of(copy), layers_of(model), strict=True):
        if not any(layers_inside(original)):
            set_weights(layer, original.get_weights())
    return copy


def check_finite(model):
    """Raises an error if a weight of a model is NaN or infinite.

    Args:
        model: Keras model.

    Raises:
        ValueError: Names the layer.
    """
    for layer in model.layers:
        if not all(np.isfinite(weight).all() for weight in layer.get_weights()):
            raise invalid_argument("model", "weights that are finite numbers", layer.name)
