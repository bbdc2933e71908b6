"""Quantization-aware training of recurrent layers by TensorFlow Model Optimization, in tf_keras.

TF-MOT refuses recurrent layers that come without a `QuantizeConfig`. Here is that of ours:

    quantization = tfmot.quantization.keras
    annotated = keras.Sequential([
        keras.layers.Input((128, 9)),
        quantization.quantize_annotate_layer(FastGRNN(16), FastGRNNQuantizeConfig()),
        quantization.quantize_annotate_layer(keras.layers.Dense(2)),
    ])
    model = quantization.quantize_apply(annotated)

That is int8: TF-MOT's own scheme rounds the model's input, and the weights and results of Dense
layers, to 8 bits. For anything else, such as activations of 16 bits, there is a scheme in this
module:

    config = FastGRNNQuantizeConfig("int16x8")
    ...
    model = quantization.quantize_apply(annotated, FastGRNNQuantizeScheme())

Train the model further; `keras_fastgrnn.export.convert(model)` then needs no calibration data.

TF-MOT cannot save what its own scheme makes as `.keras`: save the weights, as `.weights.h5`, and
load them into a model made in the same way. What the scheme of this module makes can be saved.
"""

import dataclasses
import math

import tensorflow as tf

from keras_fastgrnn.cells import FastCell
from keras_fastgrnn.graph.fixed_scales import Scale
from keras_fastgrnn.keras_api import IS_TF_KERAS, invalid_argument, keras, register
from keras_fastgrnn.models import cells_of
from keras_fastgrnn.quantization.aware_layers import Options
from keras_fastgrnn.quantization.aware_models import quantize_aware
from keras_fastgrnn.quantization.fake_quantization import TfmotInt8Format
from keras_fastgrnn.quantization.step_quantizer import StepQuantizer
from keras_fastgrnn.tfmot_api import tfmot

_tfmot = tfmot.quantization.keras

_NEED_ANNOTATION = (keras.layers.RNN, keras.layers.Dense)


@register
class FastGRNNQuantizeConfig(_tfmot.QuantizeConfig):
    """How TF-MOT quantizes `FastGRNN` and `FastRNN` layers, and `RNN` around their cells.

    Every tensor of the step, and every weight, is rounded as the device rounds it.

    Args:
        quantization: "int8" (activations and state of 8 bits) or "int16x8" (of 16). Defaults to
            "int8", the only one for TF-MOT's own scheme.
        weight_bits: Integer, 8 or 4, as the other arguments for
            `keras_fastgrnn.quantization.quantize_aware`. Defaults to 8.
        power_of_two_weights: Boolean, whether scales of matrices are powers of two. Defaults to
            `False`.
        byte_biases: Boolean, whether biases are rounded to an int8 times a power of two. Defaults
            to `False`.
        preserve_zeros: Boolean, whether weights that are exactly 0, as pruning leaves them, get no
            gradient, and so stay 0. Defaults to `True`.

    Raises:
        ValueError: If an argument is invalid, or this process runs Keras 3. In `quantize_apply`:
            if the layer has other cells, or a `FastGRNNQuantizeScheme` is needed: for these
            arguments, or under a strategy of several replicas.
    """

    def __init__(
        self,
        quantization="int8",
        weight_bits=8,
        power_of_two_weights=False,
        byte_biases=False,
        preserve_zeros=True,
    ):
        _check_flavor()
        self.options = Options(
            quantization, weight_bits, power_of_two_weights, byte_biases, preserve_zeros
        )

    def get_weights_and_quantizers(self, layer):
        _check_recurrent(layer)
        if tf.distribute.get_strategy().num_replicas_in_sync > 1:
            raise invalid_argument(
                "scheme",
                "a FastGRNNQuantizeScheme, as TF-MOT's own keeps other ranges on every replica",
                "TF-MOT's own",
            )
        if dataclasses.replace(self.options, preserve_zeros=True) != Options("int8"):
            raise invalid_argument(
                "scheme",
                f"a FastGRNNQuantizeScheme for {layer.name}, as it is quantized otherwise than "
                "TF-MOT quantizes the input and the Dense layers of a model",
                "TF-MOT's own",
            )
        return [
            (cell.kernel_factors[0], _CellQuantizer(cell, index == 0, self.options))
            for index, cell in enumerate(cells_of(layer))
        ]

    def set_quantize_weights(self, layer, quantize_weights):
        pass

    def get_activations_and_quantizers(self, layer):
        return []

    def set_quantize_activations(self, layer, quantize_activations):
        pass

    def get_output_quantizers(self, layer):
        return []

    def get_config(self):
        return dataclasses.asdict(self.options)


class _CellQuantizer(_tfmot.quantizers.Quantizer):
    """Makes a cell's step a rounded one.

    To TF-MOT it is the quantizer of one of the cell's weights, and leaves it as it is: the step
    rounds that weight with the others.
    """

    def __init__(self, cell, is_first: bool, options: Options):
        self._cell = cell
        self._is_first = is_first
        self._options = options

    # TF-MOT's own is said to return this dictionary, and has no body.
    def build(self, tensor_shape, name, layer):  # pyright: ignore[reportIncompatibleMethodOverride]
        self._wrapper = layer
        with tf.name_scope(self._cell.name):
            self._cell.quantizer = StepQuantizer(self._cell, layer, self._options)
        return {}

    def __call__(self, inputs, training, weights, **kwargs):
        if self._is_first:
            self._cell.quantizer.input_group = self._scale_of_input()
        self._cell.quantizer.begin(training)
        return inputs

    def _scale_of_input(self) -> Scale | None:
        """The scale of the layer that TF-MOT has put behind the model's input."""
        for node in self._wrapper.inbound_nodes:
            ends = getattr(node.inbound_layers, "quantizer_vars", None)
            if ends is not None:
                seen = tf.stack([ends["min_var"], ends["max_var"]])
                return Scale(*TfmotInt8Format().scale_of_range(seen, math.inf))
        return None

    def get_config(self):
        return dataclasses.asdict(self._options)


class FastGRNNQuantizeScheme(_tfmot.QuantizeScheme):
    """How TF-MOT's `quantize_apply` quantizes a whole model alike, its input and head included.

    It makes what `keras_fastgrnn.quantization.quantize_aware` makes, with the options of the
    `FastGRNNQuantizeConfig` that recurrent layers are annotated with. Dense layers are annotated
    without one. Normalization and Rescaling, which it folds, and Dropout need no annotation.

    Raises:
        ValueError: If this process runs Keras 3. In `quantize_apply`: if a layer cannot be
            quantized, is not annotated, or is annotated with something else.
    """

    def __init__(self):
        _check_flavor()

    def get_layout_transformer(self):
        return _QuantizeAware()

    def get_quantize_registry(self):
        return _NoLayers()


class _QuantizeAware(_tfmot.QuantizeLayoutTransform):
    """Puts quantization-aware layers in the place of those that are annotated."""

    def apply(self, model, layer_quantize_map):
        configs = {name: found.get("quantize_config") for name, found in layer_quantize_map.items()}
        options = set()
        for layer in model.layers:
            if isinstance(layer, _NEED_ANNOTATION):
                _check_annotation(layer, configs)
            if isinstance(layer, keras.layers.RNN):
                options.add(configs[layer.name].options)
        if len(options) != 1:
            raise invalid_argument(
                "model",
                "recurrent layers annotated with one and the same FastGRNNQuantizeConfig",
                f"{len(options)} different ones",
            )
        return quantize_aware(model, **dataclasses.asdict(options.pop())), {}


class _NoLayers(_tfmot.QuantizeRegistry):
    """The layers that are left for TF-MOT to wrap."""

    def supports(self, layer):
        return False

    def get_quantize_config(self, layer):
        raise TypeError(f"The layer {layer.name} is quantized already.")


def _check_flavor():
    if not IS_TF_KERAS:
        raise ValueError(
            "TF-MOT quantizes models of tf_keras only, but keras_fastgrnn runs on Keras 3 in this "
            "process. Use keras_fastgrnn.quantization.quantize_aware, or set TF_USE_LEGACY_KERAS=1 "
            "before TensorFlow is imported."
        )


def _check_recurrent(layer):
    is_recurrent = isinstance(layer, keras.layers.RNN)
    if not is_recurrent or not all(isinstance(cell, FastCell) for cell in cells_of(layer)):
        raise invalid_argument(
            "to_annotate",
            "a FastGRNN or FastRNN layer, or RNN around their cells, for FastGRNNQuantizeConfig",
            f"{layer.name} ({type(layer).__name__})",
        )


def _check_annotation(layer, configs):
    expected = f"{layer.name} ({type(layer).__name__}) annotated "
    if isinstance(layer, keras.layers.RNN):
        _check_recurrent(layer)
        kind, with_what = FastGRNNQuantizeConfig, "with a FastGRNNQuantizeConfig"
    else:
        kind, with_what = type(None), "without a QuantizeConfig of its own"
    if layer.name not in configs:
        raise invalid_argument("model", f"{expected}by quantize_annotate_layer", "a float layer")
    config = configs[layer.name]
    if not isinstance(config, kind):
        raise invalid_argument("model", expected + with_what, type(config).__name__)
