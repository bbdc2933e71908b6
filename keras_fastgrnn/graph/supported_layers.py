"""Which layers a model has, and which of them cannot be exported."""

import inspect
import itertools
import numbers

import numpy as np

from keras_fastgrnn.errors import UnsupportedLayerError
from keras_fastgrnn.graph.layer_handlers import HANDLERS
from keras_fastgrnn.graph.layer_handlers.advice import advice_on
from keras_fastgrnn.keras_api import FLAVOR, IS_TF_KERAS, keras
from keras_fastgrnn.models import check_built

_ADVICE_ON_INPUTS = (
    "Put the channels of all inputs beside each other in the data, and build the model with one "
    "Input of them."
)
_ADVICE_ON_OUTPUTS = (
    "Convert a model for each output, keras.Model(model.inputs, model.outputs[0]), or join the "
    "heads into one Dense layer without a softmax."
)
_CALL_HINTS = {
    "initial_state": "it is given an initial_state; an exported model starts from zero",
    "mask": "it is given a mask of its own; use a Masking layer behind the Input",
    "training": "training=True leaves its dropout on; call it without",
}


def chain_of(model):
    """Returns a model that holds nothing but the layers on the way from input to output.

    Args:
        model: Built Keras model with one input of shape `(batch, steps, input_dim)`.

    Returns:
        Keras model of the same layers, in the order they run.

    Raises:
        TypeError: If `model` is not a model of this process's Keras.
        ValueError: If it is not built, has several inputs or outputs, computes something of its
            own in `call`, or its input is not a sequence of vectors.
    """
    check_built(model)
    inputs = model.inputs
    if len(inputs) != 1 or len(model.outputs) != 1:
        advice = _ADVICE_ON_INPUTS if len(inputs) != 1 else _ADVICE_ON_OUTPUTS
        raise ValueError(
            "Received an invalid value for argument model, expected one input and one output, "
            f"got {len(inputs)} and {len(model.outputs)}. {advice} An exported model keeps its "
            "state inside and starts each sequence from zero, so no state can be either."
        )
    shape = tuple(inputs[0].shape)
    if len(shape) != 3 or shape[-1] is None:
        raise ValueError(
            "Received an invalid value for argument model, expected an input of shape (batch, "
            f"steps, input_dim), got {shape}."
        )
    chain = keras.Model(model.inputs[0], model.outputs[0])
    if type(model).call not in (type(chain).call, keras.Sequential.call):
        raise ValueError(
            "Received an invalid value for argument model, expected a Sequential or Functional "
            f"model, got a {type(model).__name__} with a call of its own, which would be missing "
            "from the export. Convert keras.Model(model.inputs, model.outputs) if that is enough."
        )
    return chain


def unsupported_layers(chain) -> list[str]:
    """Finds what of a model cannot be exported.

    Args:
        chain: Model as `chain_of` returns it.

    Returns:
        List of one line for every such layer: its name, why, and what to use.
    """
    # In Keras 3 an operation such as `x * 2` is not a layer. One of booleans belongs to a mask.
    steps = getattr(chain, "operations", chain.layers)
    layers = [s for s in steps if s in chain.layers or getattr(s.output, "dtype", None) != "bool"]
    problems = [f"{title(layer)}: {why}." for layer in layers for why in _problems(layer)]
    if not problems:
        problems = [f"{title(layer)}: {why}." for layer, why in call_problems(chain)]
    if not problems and not any(isinstance(layer, keras.layers.RNN) for layer in layers):
        problems.append("the whole model: it has no recurrent layer; use TensorFlow's converter.")
    return problems


def refuse_layers(problems: list[str]) -> None:
    """Raises the error for layers that cannot be exported.

    Args:
        problems: List of one line for every such layer.

    Raises:
        UnsupportedLayerError: If there is any.
    """
    if problems:
        lines = "\n".join(f"- {problem}" for problem in problems)
        raise UnsupportedLayerError(f"The model has layers that cannot be exported:\n{lines}")


def masking_of(model):
    """Returns the Masking layer of a model, or `None`.

    Args:
        model: Chain of layers.
    """
    return next((one for one in model.layers if isinstance(one, keras.layers.Masking)), None)


def title(layer) -> str:
    """Returns what errors call a layer."""
    return f"{layer.name} ({type(layer).__name__})"


def _problems(layer):
    handler = HANDLERS.get(type(layer))
    if handler is None:
        yield advice_on(type(layer).__name__)
    else:
        yield from handler.problems(layer)
    if getattr(layer, "quantization_mode", None) is not None:
        yield "Keras has quantized it; export the float model"


def call_problems(chain):
    """Yields layers, and why the way they are called cannot be exported."""
    config = chain.get_config()
    calls = {layer["name"]: layer["inbound_nodes"] for layer in config["layers"]}
    if int(np.ravel(config["output_layers"])[2]):
        yield chain.layers[-1], "the model answers its state; let it answer the layer's output"
    yield from _masking_problems(chain)
    mask = _mask_operation(chain, calls)
    for previous, layer in itertools.pairwise(chain.layers):
        sources, arguments = _call(layer, calls[layer.name][0], mask)
        if len(calls[layer.name]) > 1:
            yield layer, f"it is used {len(calls[layer.name])} times; use a layer for each"
        elif sources != [previous.name]:
            yield layer, "it is not a link of a plain chain of layers"
        for argument, why in _CALL_HINTS.items():
            if arguments.get(argument) not in (None, False):
                yield layer, why


def _masking_problems(chain):
    """Yields layers, and why a device that is not fed masked steps would answer otherwise."""
    masking = masking_of(chain)
    if masking is None:
        return
    first, *layers = chain.layers[1:]
    for layer in (one for one in (first, *layers) if isinstance(one, keras.layers.Masking)):
        if layer is not first:
            yield layer, "put it behind the Input, with the mask_value that padded steps have there"
    if not isinstance(masking.mask_value, numbers.Real):
        yield masking, "its mask_value is not one number"
    while layers and not isinstance(layers[-1], keras.layers.RNN):
        layers.pop()
    for layer in layers:
        if not layer.supports_masking:
            yield (
                layer,
                f"in {FLAVOR} it loses the mask of {masking.name}, so that padded steps are "
                "computed; leave it out, and normalize the data before it is padded",
            )
        if getattr(layer, "zero_output_for_mask", False):
            yield (
                layer,
                "zero_output_for_mask=True answers 0 at masked steps, where a device keeps its "
                "answer; build the model with zero_output_for_mask=False and the same weights",
            )


def _mask_operation(chain, calls) -> str | None:
    """The name of the operation that computes the mask of a Masking layer, in Keras 3."""
    masking = masking_of(chain)
    if masking is None or IS_TF_KERAS:
        return None
    compared = (calls[masking.name][0]["args"][0], masking.mask_value)
    sources = {name: nodes[0]["args"] for name, nodes in calls.items() if nodes}
    comparison = next((name for name, args in sources.items() if args == compared), None)
    found = (name for name, args in sources.items() if comparison in _sources(args))
    return next(found, None)


def _sources(arguments) -> list[str]:
    tensors = [value["config"] for value in arguments if isinstance(value, dict)]
    return [_source(*tensor["keras_history"]) for tensor in tensors if "keras_history" in tensor]


def _source(name: str, node: int, result: int, *arguments) -> str:
    """The name of a layer, and which of its results is read where that is not the first."""
    return f"{name}, result {result}" if result else name


def _call(layer, node, mask: str | None) -> tuple[list[str], dict]:
    """Reads one call in a model's configuration: the names of its sources, its arguments.

    The mask that a Masking layer has passed on is left out.
    """
    if IS_TF_KERAS:
        initial_state = {"initial_state": True} if len(node) > 1 else {}
        return [_source(*source) for source in node], {**node[0][3], **initial_state}
    names = inspect.signature(layer.call).parameters
    arguments = {**dict(zip(names, node["args"], strict=False)), **node["kwargs"]}
    if mask is not None and _sources([arguments.get("mask")]) == [mask]:
        del arguments["mask"]
    return _sources(arguments.values()), arguments
