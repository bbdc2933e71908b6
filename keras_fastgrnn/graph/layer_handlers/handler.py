"""What the exporter and quantization-aware training must know of a class of layers."""

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from keras_fastgrnn import activations
from keras_fastgrnn.graph.calls import Call


class InTraining(enum.Enum):
    """How a quantization-aware model has a layer that is not rounded by itself."""

    KEPT = "as it is: it acts in training alone"
    LEFT_OUT = "not at all: it changes nothing"
    FOLDED = "in the kernel of the layer after it: it multiplies and adds"


def _no_problems(layer) -> Iterable[str]:
    return ()


@dataclass(frozen=True)
class LayerHandler:
    """One class of layers.

    Attributes:
        trace: Function from a layer and the `Symbol` of each input to that of its output. Where
            `in_training` is `FOLDED` it takes anything that can be multiplied, added, subtracted.
        problems: Function from a layer to the reasons why it cannot be exported, none where it
            can. Defaults to none.
        in_training: `InTraining`, or `None` where `quantize_aware` has a class for it, or refuses
            it. Defaults to `None`.
        merges: Boolean, whether it may have several inputs. Defaults to `False`.
        stride: Function from a layer to how many frames it moves on for one of its output.
            Defaults to 1.
        takes_frames: Function from a layer to whether it computes something from several frames of
            its input. Defaults to `False` of each.
        needs_length: Function from a layer to whether what it computes depends on the number of
            frames. Defaults to `False` of each.
        activation: Function from a layer to the activation that it is, which training takes into
            the Dense layer before it; `None` where it is none. Defaults to `None`.
    """

    trace: Callable
    problems: Callable[..., Iterable[str]] = _no_problems
    in_training: InTraining | None = None
    merges: bool = False
    stride: Callable[..., int] = lambda layer: 1
    takes_frames: Callable[..., bool] = lambda layer: False
    needs_length: Callable[..., bool] = lambda layer: False
    activation: Callable | None = None


# From the class of a layer, and of no class derived from it, to its handler.
HANDLERS: dict[type, LayerHandler] = {}


def register(handler: LayerHandler, *kinds: type) -> None:
    """Lets the exporter take layers of some classes.

    Args:
        handler: `LayerHandler`.
        *kinds: Classes of layers.
    """
    for kind in kinds:
        if kind in HANDLERS:
            raise ValueError(f"{kind.__name__} has a handler already")
        HANDLERS[kind] = handler


def stride_of(call: Call) -> int:
    """Returns how many frames a call moves on for one of its result.

    Args:
        call: `Call` of a layer that has a handler, or of an operation.
    """
    return 1 if call.operation is not None else HANDLERS[type(call.layer)].stride(call.layer)


def needs_length(call: Call) -> bool:
    """Returns whether what a call computes depends on the number of frames.

    Args:
        call: `Call` of a layer that has a handler, or of an operation.
    """
    return call.operation is None and HANDLERS[type(call.layer)].needs_length(call.layer)


def names_of(classes: Iterable[type]) -> str:
    """Returns the names of those classes that users write; `quantize_aware` makes the others.

    Args:
        classes: Classes of layers or cells.
    """
    names = sorted(one.__name__ for one in classes)
    return ", ".join(name for name in names if not name.startswith("QuantizeAware"))


def activation_problems(owner, *arguments: str) -> Iterable[str]:
    """Yields why activations of a layer or cell cannot be exported.

    Args:
        owner: Layer or cell.
        *arguments: Strings, the arguments that give them.
    """
    for argument in arguments:
        function = getattr(owner, argument, None)
        if activations.name_of(function) is None:
            name = getattr(function, "__name__", function)
            yield f"its {argument} {name!r} has no operator; use {', '.join(activations.known())}"
