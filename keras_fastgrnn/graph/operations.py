"""Operations of Keras and TensorFlow in a model, such as `x * 2 + 1`, that are no layers."""

import math
import numbers
import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_fastgrnn.graph.calls import Call, Result
from keras_fastgrnn.models import output_of


@dataclass(frozen=True)
class Operation:
    """One kind of operation.

    Attributes:
        names: Tuple of strings, what Keras 3 and TensorFlow call it.
        compute: Function of its operands: symbols and numbers, or what else has the arithmetic.
        problems: Function of a `Call` of it to the reasons why it cannot be exported.
        takes_items: Boolean, whether it answers a part of its operand. Defaults to `False`.
        activation: String, the activation that it is, or `None`. Defaults to `None`.
    """

    names: tuple[str, ...]
    compute: Callable
    problems: Callable[[Call], Iterable[str]] = lambda call: ()
    takes_items: bool = False
    activation: str | None = None


def operands_of(arguments: dict) -> list:
    """Returns what an operation reads, `Result`s and constants, without what is left at `None`.

    Args:
        arguments: Dictionary, the `arguments` of a `Call`.
    """
    return [one for one in arguments.values() if one is not None]


def computed(call: Call, of_result: Callable[[Result], Any]) -> Any:
    """Returns what an operation computes.

    Args:
        call: `Call` of one of `OPERATIONS`.
        of_result: Function from a `Result` to what stands for it.
    """
    operands = [
        of_result(one) if isinstance(one, Result) else _constant(one)
        for one in operands_of(call.arguments)
    ]
    return operation_of(call).compute(*operands)


def operation_of(call: Call) -> Operation:
    """Returns what is known of the operation that is called.

    Args:
        call: `Call` of one of `OPERATIONS`.
    """
    return OPERATIONS[call.operation or ""]


def _constant(value):
    is_array = isinstance(value, numbers.Real | list | np.ndarray)
    return np.asarray(value, np.float64) if is_array else value


def _constant_problems(call):
    constants = [one for one in operands_of(call.arguments) if not isinstance(one, Result)]
    for one in map(np.asarray, constants):
        if one.dtype.kind not in "fiu" or math.prod(one.shape[:-1]) != 1:
            yield "it computes with a constant that is not one number or one per channel"


def _division_problems(call):
    if isinstance(operands_of(call.arguments)[1], Result):
        yield "it divides by what the model computes; TFLite Micro has no integers for that"
    yield from _constant_problems(call)


_EVERY = slice(None)


def answers_last_step(call: Call) -> bool:
    """Returns whether a call answers what its operand is at the last step, as `h[:, -1]` does.

    Args:
        call: `Call` of one of `OPERATIONS`.
    """
    if not operation_of(call).takes_items:
        return False
    _, key = operands_of(call.arguments)
    is_last = key in ((_EVERY, -1), (_EVERY, -1, _EVERY), (..., -1, _EVERY))
    return is_last and len(output_of(call.layer).shape) == 2


def _item_problems(call):
    _, key = operands_of(call.arguments)
    if not answers_last_step(call) and not _takes_channels(key, len(output_of(call.layer).shape)):
        yield "it takes other values than the last step, h[:, -1], or channels, x[..., 2:5]"


def _takes_channels(key, rank: int) -> bool:
    if not isinstance(key, tuple) or not isinstance(key[-1], slice):
        return False
    covers_all = ... in key[:-1] or len(key) == rank
    return (
        covers_all and all(one in (_EVERY, ...) for one in key[:-1]) and key[-1].step in (None, 1)
    )


def _items(value, key):
    return value if key[-1] == _EVERY or key[-1] == -1 else value.channels(key[-1])


def _divided(value, divisor):
    return value * (1.0 / divisor)


def _activation(name: str, *names: str) -> Operation:
    return Operation(names, lambda value: value.activate(name), activation=name)


_OPERATIONS = (
    Operation(("Add", "__operators__.add", "math.add"), operator.add, _constant_problems),
    Operation(("Subtract", "math.subtract"), operator.sub, _constant_problems),
    Operation(("Multiply", "math.multiply"), operator.mul, _constant_problems),
    Operation(
        ("TrueDivide", "Divide", "math.divide", "math.truediv"), _divided, _division_problems
    ),
    Operation(("Negative", "math.negative"), lambda value: value * -1.0),
    _activation("relu", "Relu", "nn.relu"),
    _activation("sigmoid", "Sigmoid", "math.sigmoid", "nn.sigmoid"),
    _activation("tanh", "Tanh", "math.tanh", "nn.tanh"),
    Operation(
        ("GetItem", "__operators__.getitem"),
        _items,
        _item_problems,
        takes_items=True,
    ),
)
OPERATIONS = {name: one for one in _OPERATIONS for name in one.names}


def names_of_operations() -> str:
    """Returns the names of the operations that can be exported, as Keras 3 has them."""
    return ", ".join(one.names[0] for one in _OPERATIONS)
