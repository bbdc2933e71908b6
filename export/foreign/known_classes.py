"""What the configuration of a saved model may name: what the exporter knows, and nothing else.

Keras makes an object of whatever a configuration names, and some of that is code from the file: a
Lambda layer, an operation of TensorFlow, a function of any module.
"""

import inspect
import re
from collections.abc import Iterator

from keras_fastgrnn import activations
from keras_fastgrnn.graph.calls import CALLING_LAYERS
from keras_fastgrnn.graph.cell_tracing import CELLS
from keras_fastgrnn.graph.layer_handlers import HANDLERS
from keras_fastgrnn.graph.layer_handlers.advice import advice_on, hint
from keras_fastgrnn.graph.operations import OPERATIONS
from keras_fastgrnn.graph.supported_layers import refuse_layers
from keras_fastgrnn.keras_api import PACKAGE, keras

_MOST_PROBLEMS = 20
_LONGEST_NAME = 60

_MODELS = {"Functional", "Model", "Sequential"}
_OTHERS = {
    *("StackedRNNCells", "DTypePolicy", "FloatDTypePolicy", "Policy"),
    *("__keras_tensor__", "__numpy__", "__tensor__", "__tuple__", "TensorShape"),  # values
    *("Any", "NotEqual"),  # how Keras 3 computes a mask
}
_NO_ACTIVATIONS = {"deserialize", "get", "serialize"}
_PACKAGES_OF_KERAS = {"builtins", "keras", "tf_keras"}


def _names(module, is_kind) -> set[str]:
    return {name for name, value in vars(module).items() if is_kind(value)}


_OURS = {
    known.__name__: known.__module__
    for known in (*HANDLERS, *CELLS, *activations.known().values())
    if known.__module__.startswith(f"{PACKAGE}.")
}
_EXPORTED = {known.__name__ for known in (*HANDLERS, *CELLS)}
_HINTED = {name for name in _names(keras.layers, inspect.isclass) if hint(name)}
_CLASSES = {*CALLING_LAYERS} | _MODELS | _OTHERS | _EXPORTED | _HINTED
for _part in (keras.initializers, keras.regularizers, keras.constraints):
    _CLASSES |= _names(_part, inspect.isclass)
_FUNCTIONS = {*activations.known(), *_names(keras.activations, inspect.isfunction)}
_FUNCTIONS -= _NO_ACTIVATIONS


def refuse_unknown(config: dict) -> None:
    """Raises an error if a configuration names a class or function that is not known.

    Args:
        config: Dictionary, the configuration of a model as its file has it.

    Raises:
        UnsupportedLayerError: If there is any; names the layers that cannot be exported.
    """
    config = {**config, "compile_config": None}  # which `compile=False` leaves alone
    found = list(_named(config))
    if all(_is_known(entry) for _, _, entry in found):
        return
    problems = [_problem(config, *one) for one in found]
    problems = list(dict.fromkeys(filter(None, problems)))
    if len(problems) > _MOST_PROBLEMS:
        more = f"and {len(problems) - _MOST_PROBLEMS:,} more."
        problems = [*problems[:_MOST_PROBLEMS], more]
    refuse_layers(problems)


def _named(config: dict) -> Iterator[tuple[dict, str | None, dict]]:
    """Yields each entry with a name of a class, its layer's entry, and the argument it is for."""
    waiting: list[tuple[object, dict, str | None]] = [(config, config, "layers")]
    while waiting:
        value, layer, argument = waiting.pop()
        if isinstance(value, list):
            inside = [(inner, layer, argument) for inner in value]
        elif isinstance(value, dict):
            if "class_name" in value:
                layer = value if argument == "layers" else layer
                yield layer, argument, value
                argument = None if argument == "layers" else argument
            inside = [(v, layer, argument if k == "config" else k) for k, v in value.items()]
        else:
            inside = []
        waiting += reversed(inside)


def _is_known(entry: dict) -> bool:
    kind, name, known = entry["class_name"], entry["class_name"], _CLASSES
    if kind == "function":
        name, known = entry.get("config"), _FUNCTIONS
    registered, module = entry.get("registered_name"), entry.get("module")
    if not isinstance(name, str) or not isinstance(module, str | None):
        return False
    own = name.removeprefix(f"{PACKAGE}>")
    if own not in known or registered not in (None, kind, own, f"{PACKAGE}>{own}"):
        return False
    if own in CALLING_LAYERS:
        config = entry.get("config")
        function = config.get("function") if isinstance(config, dict) else None
        return isinstance(function, str) and function in OPERATIONS
    if own in _OURS:
        return module in (None, "builtins", _OURS[own])
    # Keras 3 does not load what it saves of `x * 2`, an operation of the name of a layer.
    is_operation = module is not None and ".ops." in module and own not in _OTHERS
    is_of_keras = module is None or module.partition(".")[0] in _PACKAGES_OF_KERAS
    return own == name and is_of_keras and not is_operation


def _problem(model: dict, layer: dict, argument: str | None, entry: dict) -> str | None:
    """Why an entry keeps a model from being exported, if it does."""
    is_known, kind = _is_known(entry), _text(entry["class_name"])
    if entry is model:
        advice = "a class of its own; convert it in Python, or save a Sequential or Functional one"
        return None if is_known else f"the whole model: it is a {kind}, {advice}."
    if argument != "layers":
        what = _text(entry.get("config")) if kind == "function" else kind
        advice = "which is no part of Keras or of this package; leave it out, or convert in Python"
        return None if is_known else f"{_title(layer)}: its {_text(argument)} is {what}, {advice}."
    if is_known and kind in {*CALLING_LAYERS} | _EXPORTED | _OTHERS | _MODELS:
        return None
    return f"{_title(layer)}: {advice_on(kind)}."


def _title(layer: dict) -> str:
    config = layer.get("config")
    name = config.get("name") if isinstance(config, dict) else None
    return f"{_text(name or layer.get('name'))} ({_text(layer['class_name'])})"


def _text(value) -> str:
    """What a file says, fit for a terminal."""
    text = value.rpartition(">")[2] if isinstance(value, str) else type(value).__name__
    text = re.sub(r"[^ -~]", "?", text)
    return text if len(text) <= _LONGEST_NAME else f"{text[:_LONGEST_NAME]}..."
