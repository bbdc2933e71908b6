"""Nonlinearities of the paper that Keras does not have: piecewise-linear tanh and sigmoid."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from keras_fastgrnn.keras_api import IS_TF_KERAS, PACKAGE, invalid_argument, keras, register


@dataclass(frozen=True)
class PiecewiseLinear:
    """The function `clip(slope * (x + shift), low, high)`."""

    slope: float
    shift: float
    low: float
    high: float


# That of Keras's function `leaky_relu`; its layer LeakyReLU has one of its own.
LEAKY_SLOPE = 0.2

PIECEWISE_LINEAR = {
    "relu": PiecewiseLinear(1.0, 0.0, 0.0, math.inf),
    # Keras 3: relu6(x + 3) / 6; before it: 0.2 x + 0.5 between 0 and 1.
    "hard_sigmoid": PiecewiseLinear(0.2, 2.5, 0.0, 1.0)
    if IS_TF_KERAS
    else PiecewiseLinear(1.0 / 6.0, 3.0, 0.0, 1.0),
    "quant_tanh": PiecewiseLinear(1.0, 0.0, -1.0, 1.0),
    "quant_sigmoid": PiecewiseLinear(0.5, 1.0, 0.0, 1.0),
    "quant_sigmoid4": PiecewiseLinear(0.25, 2.0, 0.0, 1.0),
}


@register
def quant_tanh(x):
    """Piecewise-linear tanh: `clip(x, -1, 1)`.

    Kusupati et al. 2018, section 3.3 ("quantTanh" in the authors' code).

    Args:
        x: Tensor of any shape.

    Returns:
        Tensor of the shape of `x`, values in [-1, 1].

    Example:

    >>> import numpy as np
    >>> from keras_fastgrnn.activations import quant_tanh
    >>> np.asarray(quant_tanh(np.array([-2.0, 0.5, 3.0], "float32"))).tolist()
    [-1.0, 0.5, 1.0]
    """
    relu = keras.activations.relu
    return relu(x, max_value=1.0) - relu(-x, max_value=1.0)


@register
def quant_sigmoid(x):
    """Piecewise-linear sigmoid: `clip((x + 1) / 2, 0, 1)`.

    Kusupati et al. 2018, section 3.3 ("quantSigm" in the authors' code).

    Args:
        x: Tensor of any shape.

    Returns:
        Tensor of the shape of `x`, values in [0, 1].

    Example:

    >>> import numpy as np
    >>> from keras_fastgrnn.activations import quant_sigmoid
    >>> np.asarray(quant_sigmoid(np.array([-2.0, 0.5, 3.0], "float32"))).tolist()
    [0.0, 0.75, 1.0]
    """
    return _unit_ramp(x, PIECEWISE_LINEAR["quant_sigmoid"])


@register
def quant_sigmoid4(x):
    """Wider piecewise-linear sigmoid: `clip((x + 2) / 4, 0, 1)`.

    "quantSigm4" in the authors' code.

    Args:
        x: Tensor of any shape.

    Returns:
        Tensor of the shape of `x`, values in [0, 1].

    Example:

    >>> import numpy as np
    >>> from keras_fastgrnn.activations import quant_sigmoid4
    >>> np.asarray(quant_sigmoid4(np.array([-3.0, 1.0, 3.0], "float32"))).tolist()
    [0.0, 0.75, 1.0]
    """
    return _unit_ramp(x, PIECEWISE_LINEAR["quant_sigmoid4"])


def _unit_ramp(x, line: PiecewiseLinear):
    return keras.activations.relu(line.slope * (x + line.shift), max_value=line.high)


# In tf_keras silu and swish are two functions of one kind.
_FROM_KERAS = [
    "hard_sigmoid",
    "leaky_relu",
    "linear",
    "relu",
    "relu6",
    "sigmoid",
    "silu",
    "softmax",
    "swish",
    "tanh",
]
_OURS = {f.__name__: f for f in (quant_tanh, quant_sigmoid, quant_sigmoid4)}


def get(identifier, argument: str = "activation") -> Callable:
    """Returns the activation function that `identifier` names.

    Like `keras.activations.get`, and it knows the functions of this module by their bare names.

    Args:
        identifier: String, function, serialized function, or `None` for the linear function.
        argument: String, the argument named in the error.

    Returns:
        A function from tensor to tensor.

    Raises:
        ValueError: If nothing answers to `identifier`.

    Example:

    >>> from keras_fastgrnn import activations
    >>> activations.get("quant_tanh").__name__
    'quant_tanh'
    """
    name = identifier.get("config") if isinstance(identifier, dict) else identifier
    own_name = name.removeprefix(f"{PACKAGE}>") if isinstance(name, str) else None
    if own_name in _OURS:
        return _OURS[own_name]
    try:
        return keras.activations.get(identifier)
    except (ValueError, TypeError) as error:
        examples = ", ".join(map(repr, ("tanh", "sigmoid", "relu", *_OURS)))
        expected = f"the name of an activation (for example {examples}) or a function"
        raise invalid_argument(argument, expected, identifier) from error


def known() -> dict[str, Callable]:
    """Returns the activations that the exporter has operators for, by name."""
    return {**{name: keras.activations.get(name) for name in _FROM_KERAS}, **_OURS}


def known_name(activation: Callable | None) -> str:
    """Returns the short name of a known activation.

    Args:
        activation: As for `name_of`.

    Raises:
        ValueError: If it is any other function.
    """
    name = name_of(activation)
    if name is None:
        raise ValueError(f"{activation} is none of the functions {', '.join(known())}")
    return name


def name_of(activation: Callable | None) -> str | None:
    """Returns the short name of a known activation, or `None` for any other function.

    Args:
        activation: Function as `get` returns it, or `None` for the linear function.

    Returns:
        A name of `known`, or `None`.
    """
    if activation is None:
        return "linear"
    return next((name for name, function in known().items() if function is activation), None)
