"""What a model calls, one after the other: its layers, those of models inside it, and operations.

In Keras 3 an operation such as `x * 2` is no layer, in tf_keras it is one of a class for all of
them; here both are the same.
"""

import inspect
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_fastgrnn.keras_api import IS_TF_KERAS, keras

# What tf_keras has operations as: layers that call the function of a name.
CALLING_LAYERS = ("TFOpLambda", "SlicingOpLambda")


@dataclass(frozen=True)
class Result:
    """What a call computes, where it is an argument of another.

    Attributes:
        name: String, the name of the call.
        index: Integer, which of its results, 0 for the only one.
    """

    name: str
    index: int = 0


@dataclass(frozen=True)
class Call:
    """One call of a layer or operation.

    Attributes:
        name: String, that of the layer after those of the models that it is inside of.
        layer: Layer, or operation of Keras 3.
        operation: String, what it computes if it is no layer of its own, as Keras 3 or TensorFlow
            name it; `None` for a layer.
        arguments: Dictionary from the parameters of `layer.call` to values, among which each
            tensor is a `Result`.
        times: Integer, how often its layer is called.
    """

    name: str
    layer: Any
    operation: str | None
    arguments: dict[str, Any]
    times: int

    @property
    def sources(self) -> list[Result]:
        """The results that it reads."""
        return list(_results(self.arguments))

    @property
    def title(self) -> str:
        """What errors call it."""
        return f"{self.layer.name} ({self.operation or type(self.layer).__name__})"


def calls_of(model) -> tuple[list[Call], Result]:
    """Returns the calls of a model in the order they run, and the result that it answers.

    Args:
        model: Functional model of one input and one output.
    """
    calls: list[Call] = []
    return calls, _add_calls(calls, model, "", None)


def is_functional(model) -> bool:
    """Returns whether a model computes what its layers do and nothing else.

    Args:
        model: Layer or model.
    """
    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        return False
    functional = type(keras.Model(model.inputs, model.outputs))
    return type(model).call in (functional.call, keras.Sequential.call)


def is_chain(calls: list[Call]) -> bool:
    """Returns whether every call reads what the one before it computes, and nothing else.

    Args:
        calls: List of `Call`.
    """
    pairs = zip(calls, calls[1:], strict=False)
    return all(after.sources == [Result(before.name)] for before, after in pairs)


def _add_calls(calls: list[Call], model, prefix: str, given: Result | None) -> Result:
    """Adds the calls of a model that reads a result, and returns the result that it answers."""
    config = model.get_config()
    steps = {step.name: step for step in getattr(model, "operations", model.layers)}
    known: dict[str, Result] = {}

    def found(name: str, index: int) -> Result:
        result = known.get(name, Result(f"{prefix}{name}"))
        return Result(result.name, index) if index else result

    for one in config["layers"]:
        layer, nodes = steps[one["name"]], one["inbound_nodes"]
        if isinstance(layer, keras.layers.InputLayer) and given is not None:
            known[layer.name] = given
            continue
        arguments = _arguments(layer, nodes[0], found) if nodes else {}
        if len(nodes) == 1 and is_functional(layer) and len(layer.inputs + layer.outputs) == 2:
            inside = keras.Model(layer.inputs, layer.outputs)
            source, *_ = _results(arguments)  # and a mask, which its layers are given
            known[layer.name] = _add_calls(calls, inside, f"{prefix}{layer.name}/", source)
            continue
        name = f"{prefix}{layer.name}"
        calls.append(Call(name, layer, _operation(layer), arguments, len(nodes)))
    name, _, index = np.ravel(config["output_layers"])[:3]
    return found(str(name), int(index))


def _operation(layer) -> str | None:
    if not isinstance(layer, keras.layers.Layer):
        return type(layer).__name__
    is_operation = IS_TF_KERAS and type(layer).__name__ in CALLING_LAYERS
    return layer.get_config()["function"] if is_operation else None


def _arguments(layer, node, found) -> dict[str, Any]:
    """The arguments of one call in a model's configuration."""
    if not IS_TF_KERAS:
        names = inspect.signature(layer.call).parameters
        arguments = {**dict(zip(names, node["args"], strict=False)), **node["kwargs"]}
        return {name: _read_keras_3(value, found) for name, value in arguments.items()}
    if isinstance(node[0], str):  # an operation
        name, _, index, others = node
        first = index if name == "_CONSTANT_VALUE" else found(name, index)
        read = {key: _read_tf_keras(value, found) for key, value in others.items()}
        return {"x": first, **{key: value for key, value in read.items() if key != "name"}}
    inputs = [found(name, index) for name, _, index, *_ in node]
    others = dict(node[0][3])
    if len(inputs) > 1 and isinstance(layer, keras.layers.RNN):
        others["initial_state"] = inputs[1:]
        inputs = inputs[:1]
    return {"inputs": inputs if len(inputs) > 1 else inputs[0], **others}


def _read_keras_3(value, found):
    if isinstance(value, list | tuple):
        return type(value)(_read_keras_3(one, found) for one in value)
    if not isinstance(value, dict):
        return value
    config = value.get("config", {})
    if value.get("class_name") == "__keras_tensor__":
        name, _, index = config["keras_history"]
        return found(name, index)
    if value.get("class_name") == "__slice__":
        return slice(*(config[name] for name in ("start", "stop", "step")))
    if value.get("class_name") == "__ellipsis__":
        return ...
    if value.get("class_name") in ("__numpy__", "__tensor__"):
        return np.asarray(config["value"])
    return value


def _read_tf_keras(value, found):
    if isinstance(value, dict) and set(value) == {"start", "stop", "step"}:
        return slice(value["start"], value["stop"], value["step"])
    if isinstance(value, list) and len(value) >= 3 and isinstance(value[0], str):
        return found(value[0], value[2])
    if isinstance(value, list | tuple):
        return type(value)(_read_tf_keras(one, found) for one in value)
    return value


def _results(value):
    if isinstance(value, Result):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _results(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _results(one)
