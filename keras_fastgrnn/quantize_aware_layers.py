"""Cells and layers that compute in training what the device computes in integers.

`keras_fastgrnn.quantization.quantize_aware` makes them of a model. A recurrent layer here returns
the state as the device keeps it, `g = h / unit` (see `keras_fastgrnn.steps`); the layer after it
has a kernel in that unit.
"""

import dataclasses
import numbers
from dataclasses import dataclass

from keras_fastgrnn import activations
from keras_fastgrnn.activations import PIECEWISE_LINEAR
from keras_fastgrnn.cells import FastGRNNCell, FastRNNCell
from keras_fastgrnn.end_range import EndRange
from keras_fastgrnn.fake_quantization import FORMATS, WeightFormat, round_to_integers
from keras_fastgrnn.fixed_scales import Scale
from keras_fastgrnn.keras_api import checked_boolean, invalid_argument, keras, register
from keras_fastgrnn.masked_steps import MaskedSteps
from keras_fastgrnn.models import cells_of
from keras_fastgrnn.step_quantizer import (
    BYTE_BIASES,
    StepQuantizer,
    reached_by,
    round_matrix,
    scale_of_group,
)

# How much of its range an int8 input or output keeps from batch to batch.
_INT8_MOMENTUM = 0.99


@dataclass(frozen=True)
class Options:
    """How a layer is quantized; the arguments are documented at `quantize_aware`."""

    quantization: str = "int16x8"
    weight_bits: int = 8
    power_of_two_weights: bool = False
    byte_biases: bool = False
    preserve_zeros: bool = True

    def __post_init__(self):
        if not (isinstance(self.quantization, str) and self.quantization in FORMATS):
            expected = " or ".join(map(repr, FORMATS))
            raise invalid_argument("quantization", expected, self.quantization)
        bits = self.weight_bits
        if not isinstance(bits, numbers.Integral) or isinstance(bits, bool) or bits not in (4, 8):
            raise invalid_argument("weight_bits", "4 or 8", bits)
        object.__setattr__(self, "weight_bits", int(bits))  # which a saved model can hold
        for name in ("power_of_two_weights", "byte_biases", "preserve_zeros"):
            object.__setattr__(self, name, checked_boolean(name, getattr(self, name)))

    @property
    def activation_format(self):
        return FORMATS[self.quantization]

    @property
    def weight_format(self) -> WeightFormat:
        return WeightFormat(self.weight_bits, self.power_of_two_weights)

    @property
    def constant_format(self) -> WeightFormat:
        """That of an int8 constant which is added to a tensor of the device."""
        return WeightFormat(power_of_two=self.byte_biases)

    def end_range(self, name: str, layer) -> EndRange:
        """Returns the range of an input or output of a layer."""
        momentum = _INT8_MOMENTUM if self.quantization == "int8" else None
        return EndRange(name, layer, self.activation_format, momentum)


class _Quantized:
    """What has the fields of `Options` as arguments and in its configuration."""

    def __init__(self, *args, **kwargs):
        names = [field.name for field in dataclasses.fields(Options)]
        self.options = Options(**{name: kwargs.pop(name) for name in names if name in kwargs})
        super().__init__(*args, **kwargs)

    def get_config(self):
        return {**super().get_config(), **dataclasses.asdict(self.options)}


class QuantizeAwareCell(_Quantized):
    """A cell whose step is rounded, and which returns the state as the device keeps it."""

    def build(self, input_shape):
        super().build(input_shape)
        self.quantizer = StepQuantizer(self, self, self.options)

    def call(self, inputs, states, training=None):
        inputs = self.quantizer.masked_steps.unmarked(inputs, self)
        h, states = super().call(inputs, states, training)
        return h / self.quantizer.step_weights().unit, states


@register
class QuantizeAwareFastGRNNCell(QuantizeAwareCell, FastGRNNCell):
    """`FastGRNNCell`, rounded as on the device. Made by `quantize_aware`."""


@register
class QuantizeAwareFastRNNCell(QuantizeAwareCell, FastRNNCell):
    """`FastRNNCell`, rounded as on the device. Made by `quantize_aware`."""


@register
class QuantizeAwareRNN(keras.layers.RNN):
    """A recurrent layer of quantization-aware cells. Made by `quantize_aware`.

    Args:
        cell: `QuantizeAwareFastGRNNCell`, `QuantizeAwareFastRNNCell`, or a list of them.
        quantizes_input: Boolean, whether the sequences are the model's input, which is rounded
            here. Defaults to `False`.
        **kwargs: As for `keras.layers.RNN`.
    """

    def __init__(self, cell, quantizes_input=False, **kwargs):
        super().__init__(cell, **kwargs)
        self.quantizes_input = quantizes_input

    def build(self, sequences_shape, initial_state_shape=None):
        super().build(sequences_shape)
        self.input_range = None
        if self.quantizes_input:
            options = cells_of(self)[0].options
            self.input_range = options.end_range("input_range", self)
            cells_of(self)[0].quantizer.input_group = self.input_range

    def get_prunable_weights(self) -> list:
        """Returns the matrices of all cells, or their factors: what TF-MOT prunes of a layer."""
        return [weight for cell in cells_of(self) for weight in cell.get_prunable_weights()]

    def begin(self, training: bool) -> None:
        """Takes scales and rounded weights for one call.

        Args:
            training: Boolean, whether to widen the ranges to what it shows.
        """
        if self.input_range is not None:
            self.input_range.begin()
        for cell in cells_of(self):
            cell.quantizer.begin(training)

    def call(self, sequences, initial_state=None, mask=None, training=None):
        training = bool(training)
        self.begin(training)
        rounded = sequences
        if self.input_range is not None:
            rounded = self.input_range.round(sequences)
        if training and mask is not None:
            cells = cells_of(self)
            masked_steps = MaskedSteps()
            for cell in cells:
                cell.quantizer.masked_steps = masked_steps
            rounded = masked_steps.marked(rounded, mask, reader=cells[0])
        arguments = {"initial_state": initial_state, "mask": mask, "training": training}
        outputs = super().call(rounded, **arguments)
        if training and self.input_range is not None:
            self.input_range.observe_replicas(sequences)
        for cell in cells_of(self):
            cell.quantizer.end()
        return outputs

    def get_config(self):
        return {**super().get_config(), "quantizes_input": self.quantizes_input}


@register
class QuantizeAwareDense(_Quantized, keras.layers.Dense):
    """A Dense layer, rounded as on the device. Made by `quantize_aware`.

    Args:
        units: Integer; this and all other arguments as for `keras.layers.Dense`.
        quantizes_input: Boolean, as for `QuantizeAwareRNN`. Defaults to `False`.
    """

    def __init__(self, *args, quantizes_input=False, **kwargs):
        super().__init__(*args, **kwargs)
        self.quantizes_input = quantizes_input

    def build(self, input_shape):
        super().build(input_shape)
        self.input_range = self.output_range = None
        if self.quantizes_input:
            self.input_range = self.options.end_range("input_range", self)
        self.output_scale, is_merged = self._scale_of_activation()
        if not (is_merged and self.output_scale):
            self.output_range = self.options.end_range("output_range", self)

    def _scale_of_activation(self) -> tuple[Scale | None, bool]:
        """The scale of its result, and whether it is that of the matrix product itself."""
        name = activations.name_of(self.activation)
        line = PIECEWISE_LINEAR.get(name)
        ends = (line.low, line.high) if line else None
        scale = self.options.activation_format.scale_of_function(name, ends)
        return scale, name == "linear" or line is not None

    def rounded_weights(self):
        """Returns kernel and bias (or `None`) as the device has them."""
        kernel = round_matrix(self.kernel, self.options)
        bias = self.bias if self.use_bias else None
        if bias is not None and self.options.byte_biases:
            bias = BYTE_BIASES.round(bias)
        return kernel, bias

    def begin(self, training: bool) -> None:
        """As `QuantizeAwareRNN.begin`."""
        for group in filter(None, (self.input_range, self.output_range)):
            group.begin()

    def call(self, inputs, training=None):
        training = bool(training)
        self.begin(training)
        rounded = inputs if self.input_range is None else self.input_range.round(inputs)
        kernel, bias = self.rounded_weights()
        product = rounded @ kernel
        product = product if bias is None else product + bias
        is_merged = self._scale_of_activation()[1]
        if is_merged:
            product = self.activation(product)
        outputs = product if self.output_range is None else self.output_range.round(product)
        if not is_merged:
            outputs = self.activation(outputs)
        outputs = self._rounded_result(outputs)
        if training and self.input_range is not None:
            self.input_range.observe_replicas(inputs)
        if training and self.output_range is not None:
            self.output_range.observe_replicas(product)
        return outputs

    def _rounded_result(self, outputs):
        scale = self.output_scale
        if scale is None or activations.name_of(self.activation) == "softmax":
            return outputs
        bits = self.options.activation_format.bits
        return round_to_integers(outputs, scale.scale, scale.zero_point, bits)

    # Keras 3's Dense saves its kernel and bias alone.
    def save_own_variables(self, store):
        keras.layers.Layer.save_own_variables(self, store)

    def load_own_variables(self, store):
        keras.layers.Layer.load_own_variables(self, store)

    def get_config(self):
        return {**super().get_config(), "quantizes_input": self.quantizes_input}


def options_of(layer) -> Options:
    """Returns the options of a quantization-aware layer.

    Args:
        layer: `QuantizeAwareRNN` or `QuantizeAwareDense`.
    """
    return layer.options if isinstance(layer, QuantizeAwareDense) else cells_of(layer)[0].options


def scales_of(layer) -> dict[str, Scale | None]:
    """Returns the scales that a layer was trained with, by the names of the exporter's tensors.

    Args:
        layer: `QuantizeAwareRNN` or `QuantizeAwareDense`.

    Returns:
        Dictionary from name to `Scale`, or to `None` where no training step has shown the range.
    """
    layer.begin(training=False)
    return _by_name(layer, scale_of_group, StepQuantizer.scales)


def reached_of(layer) -> dict[str, tuple[float, float]]:
    """Returns the smallest and the largest value that training showed of each tensor.

    Args:
        layer: `QuantizeAwareRNN` or `QuantizeAwareDense`.

    Returns:
        Dictionary from the names of `scales_of` to two floats, as `step_quantizer.reached_by`.
    """
    return _by_name(layer, reached_by, StepQuantizer.reached)


def _by_name(layer, of_group, of_step) -> dict:
    """What is so of each tensor, by a function of its group and one of the tensors of a step."""
    found = {}
    if layer.input_range is not None:
        found["input"] = of_group(layer.input_range)
    if isinstance(layer, QuantizeAwareDense):
        result = layer.output_scale
        if layer.output_range is not None:
            found[f"{layer.name}/logits" if result else layer.name] = of_group(layer.output_range)
        return found | ({layer.name: of_group(result)} if result else {})
    for prefix, cell in _named_cells(layer):
        found |= {f"{prefix}/{name}": one for name, one in of_step(cell.quantizer).items()}
    return found


def joined_products(layer) -> list[str]:
    """Returns the names of the products that are one matrix with the one beside them.

    Args:
        layer: `QuantizeAwareRNN` or `QuantizeAwareDense`, after `scales_of`.
    """
    if isinstance(layer, QuantizeAwareDense):
        return []
    cells = _named_cells(layer)
    return [f"{prefix}/kernel_product" for prefix, cell in cells if bool(cell.quantizer.is_joined)]


def _named_cells(layer) -> list[tuple]:
    """Pairs of the exporter's prefix and a cell."""
    cells = cells_of(layer)
    prefixes = [layer.name if len(cells) == 1 else f"{layer.name}/{i}" for i in range(len(cells))]
    return list(zip(prefixes, cells, strict=True))
