"""Which of a model's layers hold FastRNN and FastGRNN cells."""

from keras_fastgrnn.cells import FastCell
from keras_fastgrnn.keras_api import FLAVOR, keras, mixed_flavors_message

# Where Keras's wrappers and nested models keep other layers.
_INNER_LAYERS = ("layers", "layer", "forward_layer", "backward_layer", "cell", "cells")


def check_built(model):
    """Raises an error unless the model can be read: of this process's Keras, and built.

    Args:
        model: What a user passed as a model.

    Raises:
        TypeError: If it is not a model of this process's Keras.
        ValueError: If its input is not known yet.
    """
    if not isinstance(model, keras.Model):
        if any(base.__name__ == "Model" for base in type(model).__mro__):
            raise TypeError(mixed_flavors_message("The model"))
        raise TypeError(
            f"Received an invalid value for argument model, expected a {FLAVOR} model, "
            f"got {type(model).__name__}."
        )
    if not getattr(model, "inputs", None):
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
        if layer not in found and _holds_fast_cell(layer):
            raise ValueError(
                "Received an invalid value for argument model, expected recurrent layers that "
                f"stand in it directly, got one inside {layer.name} ({type(layer).__name__})."
            )
    if not found:
        raise ValueError(
            "Received an invalid value for argument model, expected a model with FastGRNN or "
            "FastRNN layers, or RNN around their cells, got one without any."
        )
    return found


def _holds_fast_cell(layer) -> bool:
    inner = [getattr(layer, name, None) or [] for name in _INNER_LAYERS]
    flat = [one for part in inner for one in (part if isinstance(part, (list, tuple)) else [part])]
    return any(isinstance(one, FastCell) or _holds_fast_cell(one) for one in flat)
