"""Model that TF-MOT's own scheme quantized -> the quantization-aware model of the same integers.

TensorFlow Model Optimization (TF-MOT) is not imported: its layers are known by their names.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from keras_fastgrnn import activations
from keras_fastgrnn.graph.calls import is_chain
from keras_fastgrnn.graph.supported_layers import (
    call_problems,
    computing_calls,
    refuse_layers,
    title,
)
from keras_fastgrnn.keras_api import keras
from keras_fastgrnn.models import cells_of
from keras_fastgrnn.quantization.aware_layers import QuantizeAwareDense, QuantizeAwareRNN
from keras_fastgrnn.quantization.aware_models import quantize_aware
from keras_fastgrnn.quantization.fake_quantization import TfmotInt8Format
from keras_fastgrnn.quantization.ranged_groups import RangedGroup

_NEED_ANNOTATION = (keras.layers.RNN, keras.layers.Dense)

_SCHEME = "make the model with keras_fastgrnn.quantization.tfmot_training.FastGRNNQuantizeScheme"


def without_wrappers(model):
    """Replaces TF-MOT's layers, if there are any.

    Args:
        model: Chain of layers.

    Returns:
        The model itself, or a quantization-aware model of the same weights and ranges.

    Raises:
        UnsupportedLayerError: If layers are not quantized as the device would; names all of them.
    """
    if not any(_is_of_tfmot(layer, "QuantizeLayer", "QuantizeWrapperV2") for layer in model.layers):
        return model
    refuse_layers([f"{title(layer)}: {why}." for layer, why in _problems(model)])
    rounded_input = next(filter(_is_input_quantizer, model.layers))
    wrappers = [layer for layer in model.layers if _kind(layer) is not None]
    config = next(one.quantize_config for one in wrappers if _kind(one) is keras.layers.RNN)
    plain = [_unwrapped(wrapper) for wrapper in wrappers]
    source = keras.layers.Input(model.inputs[0].shape[1:])
    float_model = keras.Sequential([source, *plain], name=model.name)
    for layer, wrapper in zip(plain, wrappers, strict=True):
        layer.set_weights(_weights(wrapper))
    aware = quantize_aware(float_model, **config.get_config())
    layers = [one for one in aware.layers if isinstance(one, QuantizeAwareRNN | QuantizeAwareDense)]
    input_range = layers[0].input_range
    _set_range(input_range, rounded_input, rounded_input.name)
    input_range.extremes.assign(input_range.seen)  # it is no average
    for layer, wrapper in zip(layers, wrappers, strict=True):
        _set_ranges(layer, wrapper)
    return aware


def _is_of_tfmot(layer, *names: str) -> bool:
    package = type(layer).__module__.partition(".")[0]
    return package == "tensorflow_model_optimization" and type(layer).__name__ in names


def _is_input_quantizer(layer) -> bool:
    """Whether it is what TF-MOT's own scheme puts behind a model's input."""
    if not _is_of_tfmot(layer, "QuantizeLayer"):
        return False
    return type(layer.quantizer).__name__ == "AllValuesQuantizer"


def _inner(layer):
    """The layer that TF-MOT has wrapped, or the layer itself."""
    return layer.layer if _is_of_tfmot(layer, "QuantizeWrapperV2") else layer


def _kind(layer):
    """What a wrapped layer is: `RNN`, `Dense`, or `None` for any other layer."""
    inner = _inner(layer)
    kinds = _NEED_ANNOTATION if inner is not layer else ()
    return next((kind for kind in kinds if isinstance(inner, kind)), None)


def _problems(model):
    """Yields layers, and why they cannot be exported."""
    first, *layers = model.layers
    if not any(map(_is_input_quantizer, layers)):
        yield first, f"TF-MOT does not round what comes from it; {_SCHEME}"
    recurrent = [layer for layer in layers if _kind(layer) is keras.layers.RNN]
    if not recurrent:
        yield model, "it has no recurrent layer that is quantized"
    for layer in layers:
        problem = _problem(layer) or _problem_of_config(layer, recurrent)
        if problem:
            yield layer, problem
    calls, answer = computing_calls(model)
    if not is_chain(calls):
        yield model, "it is no plain chain of layers"
    yield from ((call.layer, why) for call, why in call_problems(calls, answer))


def _problem(layer) -> str | None:
    if _is_input_quantizer(layer) or _kind(layer) is not None:
        return None
    inner = _inner(layer)
    if isinstance(inner, keras.layers.Dropout):
        return None
    if isinstance(inner, _NEED_ANNOTATION):
        return "it is not quantized; annotate it with quantize_annotate_layer"
    if isinstance(inner, keras.layers.Normalization | keras.layers.Rescaling):
        return f"TF-MOT does not fold it into the layer after it; {_SCHEME}"
    return "it cannot be quantized here; use RNN, FastGRNN, FastRNN, Dense and Dropout layers"


def _problem_of_config(layer, recurrent: list) -> str | None:
    config: Any = getattr(layer, "quantize_config", None)
    name = type(config).__name__
    if _kind(layer) is keras.layers.Dense and name != "Default8BitQuantizeConfig":
        return f"it has a {name}; annotate it with quantize_annotate_layer alone"
    if _kind(layer) is keras.layers.RNN:
        if name != "FastGRNNQuantizeConfig":
            return f"it has a {name}; annotate it with a FastGRNNQuantizeConfig"
        if config.get_config() != recurrent[0].quantize_config.get_config():
            return "its QuantizeConfig is not that of the first recurrent layer"
    return None


def _unwrapped(wrapper):
    layer = wrapper.layer
    config = layer.get_config()
    if _kind(wrapper) is keras.layers.Dense:  # TF-MOT has put a function around this one
        function = getattr(layer.activation, "activation", layer.activation)
        config["activation"] = activations.name_of(function)
    return type(layer).from_config(config)


def _weights(wrapper) -> list[np.ndarray]:
    if _kind(wrapper) is keras.layers.RNN:
        return wrapper.layer.get_weights()
    kernel, *bias = wrapper.trainable_weights
    low, high = (_weight(wrapper, f"kernel_{end}") for end in ("min", "max"))
    rounded = tf.quantization.fake_quant_with_min_max_vars(kernel, low, high, narrow_range=True)
    return [rounded.numpy(), *(one.numpy() for one in bias)]


def _set_ranges(layer, wrapper) -> None:
    if isinstance(layer, QuantizeAwareRNN):
        ours = [range_ for cell in cells_of(layer) for range_ in cell.quantizer.ranges]
        trained = [weight for name, weight in _named(wrapper) if name.endswith("_range")]
        for range_, values in zip(ours, trained, strict=True):
            range_.assign(values)
    elif layer.output_range is not None:
        (name,) = (name for name, _ in _named(wrapper) if name.endswith("_activation_min"))
        _set_range(layer.output_range, wrapper, name.removesuffix("_min"))


def _set_range(group: RangedGroup, layer, name: str) -> None:
    """Takes the range of a quantizer of TF-MOT."""
    group.format = TfmotInt8Format()
    group.seen.assign([_weight(layer, f"{name}_min"), _weight(layer, f"{name}_max")])


def _named(layer) -> list[tuple]:
    """The weights that TF-MOT added to a layer, in order, each with the last part of its name."""
    return [(weight.name.split("/")[-1].split(":")[0], weight) for weight in layer.weights]


def _weight(layer, name: str):
    return next(weight for own, weight in _named(layer) if own == name)
