"""Layers of several inputs: sums, products, and vectors one after another."""

import functools
import operator
from collections.abc import Callable, Iterable

from keras_fastgrnn.graph.layer_handlers.handler import LayerHandler, register
from keras_fastgrnn.graph.symbol import Symbol
from keras_fastgrnn.keras_api import keras
from keras_fastgrnn.models import output_of


def _handler(merge: Callable, problems: Callable[..., Iterable[str]] | None = None) -> LayerHandler:
    def trace(layer, *values: Symbol) -> Symbol:
        value = merge(*values)
        value.tensor.name = value.tensor.name or layer.name
        return value

    return LayerHandler(trace, problems or (lambda layer: ()), merges=True)


def _of_all(function: Callable) -> Callable:
    return lambda *values: functools.reduce(function, values)


def _mean(*values: Symbol) -> Symbol:
    return functools.reduce(operator.add, values) * (1.0 / len(values))


def _axis_problems(layer):
    if layer.axis not in (-1, len(output_of(layer).shape) - 1):
        yield "it joins steps; use axis=-1"


register(_handler(_of_all(operator.add)), keras.layers.Add)
register(_handler(_of_all(operator.sub)), keras.layers.Subtract)
register(_handler(_of_all(operator.mul)), keras.layers.Multiply)
register(_handler(_mean), keras.layers.Average)
register(_handler(_of_all(Symbol.larger)), keras.layers.Maximum)
register(
    _handler(lambda first, *others: first.followed_by(*others), _axis_problems),
    keras.layers.Concatenate,
)
