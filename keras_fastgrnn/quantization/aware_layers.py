"""Cells and layers that compute in training what the device computes in integers.

`keras_fastgrnn.quantization.quantize_aware` makes them of a model. A recurrent layer here returns
the state as the device keeps it, `g = h / unit` (see `keras_fastgrnn.steps`).

Kernels are those that the user trains, of inputs as a Normalization would give them, or of `h`.
The device has no such inputs: it multiplies what it reads by `input_factor * kernel`. That is
what is rounded, and what the gradient goes back through, so that a learning rate means the same as
in the float model, whatever the sensor's unit.
"""

import dataclasses
import numbers
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_fastgrnn import activations
from keras_fastgrnn.activations import PIECEWISE_LINEAR
from keras_fastgrnn.cells import FastGRNNCell, FastRNNCell, dropped_out
from keras_fastgrnn.graph.cell_tracing import CELLS, named_cells
from keras_fastgrnn.graph.fixed_scales import INT8_FUNCTION_SCALES, Scale
from keras_fastgrnn.graph.graph import Graph, Tensor
from keras_fastgrnn.graph.layer_handlers import HANDLERS, InTraining, LayerHandler
from keras_fastgrnn.graph.layer_handlers.dense import after_product
from keras_fastgrnn.graph.layer_handlers.unchanged import trace_nothing
from keras_fastgrnn.graph.rewrite import simplify
from keras_fastgrnn.graph.symbol import Symbol
from keras_fastgrnn.keras_api import (
    as_written,
    checked_boolean,
    invalid_argument,
    keras,
    ops,
    register,
)
from keras_fastgrnn.models import FACTORS, cells_of, matrices_of
from keras_fastgrnn.quantization.end_range import EndRange
from keras_fastgrnn.quantization.fake_quantization import (
    BYTE_BIASES,
    FORMATS,
    WeightFormat,
    half_of_first_unit,
    round_matrix,
    round_to_integers,
    round_to_multiples,
)
from keras_fastgrnn.quantization.masked_steps import MaskedSteps
from keras_fastgrnn.quantization.ranged_groups import RangedGroup
from keras_fastgrnn.quantization.step_quantizer import StepQuantizer

# The activations of a Dense layer whose results training rounds.
ROUNDED_ACTIVATIONS = sorted({"linear", *PIECEWISE_LINEAR, *INT8_FUNCTION_SCALES})

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


# pyright's stubs of TensorFlow know an older Keras.
_LAYER: Any = keras.layers.Layer

# What the classes below are put before among the bases of a class.
_Mixed: Any = keras.layers.Layer if TYPE_CHECKING else object


class _Quantized(_Mixed):
    """What has the fields of `Options` as arguments and in its configuration."""

    def __init__(self, *args, **kwargs):
        names = [field.name for field in dataclasses.fields(Options)]
        self.options = Options(**{name: kwargs.pop(name) for name in names if name in kwargs})
        super().__init__(*args, **kwargs)

    def get_config(self):
        return {**super().get_config(), **dataclasses.asdict(self.options)}


class _Folding(_Quantized):
    """What has a kernel that reads `input_factor * x + input_constant`.

    The device has the one in the kernel, the other in the bias.

    Args:
        has_input_factor: Boolean, whether there is such a factor, the weight `input_factor`, else
            `None`. Defaults to `False`.
        has_input_constant: Boolean, whether there is the weight `input_constant`, else `None`.
            Defaults to `False`.
    """

    def __init__(self, *args, has_input_factor=False, has_input_constant=False, **kwargs):
        super().__init__(*args, **kwargs)
        self.has_input_factor = has_input_factor
        self.has_input_constant = has_input_constant

    def build(self, input_shape):
        super().build(input_shape)
        self.input_factor = self.input_constant = None
        if self.has_input_factor:
            self.input_factor = _constant_weight(self, "input_factor", input_shape, "ones")
        if self.has_input_constant:
            self.input_constant = _constant_weight(self, "input_constant", input_shape, "zeros")

    def get_config(self):
        own = {name: getattr(self, name) for name in ("has_input_factor", "has_input_constant")}
        return {**super().get_config(), **own}


def _constant_weight(layer, name: str, input_shape, initializer: str):
    """Adds a number for each channel of the input that no training changes."""
    shape = (input_shape[-1],)
    return layer.add_weight(name=name, shape=shape, initializer=initializer, trainable=False)


class QuantizeAwareCell(_Folding):
    """A cell whose step is rounded, and whose state, and output, is that of the device."""

    def build(self, input_shape):
        super().build(input_shape)
        weights = self.input_factor, self.input_constant
        self.quantizer = StepQuantizer(self, self, self.options, *weights)

    def call(self, inputs, states, training=None):
        listed = isinstance(states, (list, tuple))
        states = list(states) if listed else [states]
        inputs = self.quantizer.masked_steps.unmarked(inputs, self)
        inputs, recurrent_mask = dropped_out(self, inputs, states[0], training)
        states = self.quantizer.step(inputs, states, recurrent_mask)
        return states[0], states if listed else states[0]

    def get_prunable_weights(self) -> list:
        """Returns the matrices, or their low-rank factors: what TF-MOT prunes of a layer."""
        return [matrix for name in FACTORS for matrix in matrices_of(self, name)]


# From the class of a cell to that of the same cell, rounded.
AWARE_CELLS: dict[type, type] = {}


def register_aware_cell(kind: type) -> type:
    """Makes the quantization-aware class of a cell that the exporter knows.

    Args:
        kind: Class of cells in `keras_fastgrnn.graph.cell_tracing.CELLS`.

    Returns:
        The class, under the name of `kind` after "QuantizeAware".
    """
    names = {"__doc__": f"`{kind.__name__}`, rounded as on the device. Made by `quantize_aware`."}
    aware = type(f"QuantizeAware{kind.__name__}", (QuantizeAwareCell, kind), names)
    aware.__module__ = __name__
    AWARE_CELLS[kind] = register(aware)
    CELLS[aware] = CELLS[kind]
    return aware


QuantizeAwareFastGRNNCell = register_aware_cell(FastGRNNCell)
QuantizeAwareFastRNNCell = register_aware_cell(FastRNNCell)
QuantizeAwareSimpleRNNCell = register_aware_cell(keras.layers.SimpleRNNCell)
QuantizeAwareGRUCell = register_aware_cell(keras.layers.GRUCell)
QuantizeAwareLSTMCell = register_aware_cell(keras.layers.LSTMCell)


class _Reading(_Mixed):
    """A layer of a model, with what stands between the layer before it and its kernel.

    Args:
        quantizes_input: Boolean, whether its input is the model's, which is rounded here. Defaults
            to `False`.
        has_input_offset: Boolean, whether a number for each channel, the weight `input_offset`, is
            added to the input, as subtracting a mean does; the device has it in a bias. Defaults
            to `False`.
    """

    def __init__(self, *args, quantizes_input=False, has_input_offset=False, **kwargs):
        super().__init__(*args, **kwargs)
        self.quantizes_input = quantizes_input
        self.has_input_offset = has_input_offset

    input_range: Any
    input_offset: Any

    def build(self, input_shape):
        super().build(input_shape)
        self.input_range = self.input_offset = None
        if self.quantizes_input:
            self.input_range = options_of(self).end_range("input_range", self)
        if self.has_input_offset:
            self.input_offset = _constant_weight(self, "input_offset", input_shape, "zeros")

    def rounded_offset(self):
        """Returns what is added to the input after `begin`: multiples of the input's unit."""
        if self.input_range is None:
            return ops.convert_to_tensor(self.input_offset)
        offset = ops.convert_to_tensor(self.input_offset)
        rounded = round_to_multiples(offset, self.input_range.scale)
        return ops.where(self.input_range.rounds, rounded, offset)

    def read(self, inputs):
        """Returns the inputs of the kernel, but for its factor, after `begin`."""
        if self.input_range is not None:
            inputs = self.input_range.round(inputs)
        return inputs if self.input_offset is None else inputs + self.rounded_offset()

    def get_config(self):
        own = {name: getattr(self, name) for name in ("quantizes_input", "has_input_offset")}
        return {**super().get_config(), **own}


@register
class QuantizeAwareRNN(_Reading, keras.layers.RNN):
    """A recurrent layer of quantization-aware cells. Made by `quantize_aware`.

    Args:
        cell: Cell of a class in `AWARE_CELLS`, or a list of them.
        quantizes_input: Boolean, whether the sequences are the model's input, which is rounded
            here. Defaults to `False`.
        has_input_offset: Boolean, whether a number is added to each channel of the input, as
            subtracting a mean does; the device has it in a bias. Defaults to `False`.
        **kwargs: As for `keras.layers.RNN`.
    """

    # Keras names the shapes after the arguments of `call`.
    def build(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, sequences_shape, initial_state_shape=None
    ):
        super().build(sequences_shape)
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
        source = source_of(self)
        for cell in cells_of(self):
            cell.quantizer.begin(training, source)
            source = cell.quantizer.state_scale()

    def call(self, sequences, initial_state=None, mask=None, training=None):
        training = bool(training)
        self.begin(training)
        rounded = self.read(sequences)
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


@register
class QuantizeAwareDense(_Reading, _Folding, keras.layers.Dense):
    """A Dense layer, rounded as on the device. Made by `quantize_aware`.

    Args:
        units: Integer; this and all other arguments as for `keras.layers.Dense`.
        quantizes_input: Boolean, as for `QuantizeAwareRNN`, as is `has_input_offset`. Defaults to
            `False`.
        has_input_factor: Boolean, whether the device multiplies each row of the kernel by a
            number. Defaults to `False`.
    """

    def build(self, input_shape):
        super().build(input_shape)
        self.output_range = None
        self.output_scale, is_merged = self._scale_of_activation()
        if not (is_merged and self.output_scale):
            self.output_range = self.options.end_range("output_range", self)

    def _scale_of_activation(self) -> tuple[Scale | None, bool]:
        """The scale of its result, and whether it is that of the matrix product itself."""
        name = activations.known_name(self.activation)
        line = PIECEWISE_LINEAR.get(name)
        ends = (line.low, line.high) if line else None
        scale = self.options.activation_format.scale_of_function(name, ends)
        return scale, name == "linear" or line is not None

    def rounded_weights(self):
        """Returns kernel and bias (or `None`) as the device has them."""
        kernel = ops.convert_to_tensor(self.kernel)
        bias = ops.convert_to_tensor(self.bias) if self.use_bias else None
        if self.input_constant is not None:
            added = ops.matmul(ops.convert_to_tensor(self.input_constant)[None], kernel)[0]
            bias = added if bias is None else bias + added
        if self.input_factor is not None:
            kernel = kernel * ops.convert_to_tensor(self.input_factor)[:, None]
        if bias is not None and self.options.byte_biases:
            bias = BYTE_BIASES.round(bias)
        return round_matrix(kernel, self.options), bias

    def begin(self, training: bool) -> None:
        """As `QuantizeAwareRNN.begin`."""
        for group in filter(None, (self.input_range, self.output_range)):
            group.begin()

    def call(self, inputs, training=None):
        training = bool(training)
        self.begin(training)
        kernel, bias = self.rounded_weights()
        product = ops.matmul(self.read(inputs), kernel)
        product = product if bias is None else product + bias
        product = self._moved_away_from_zero(product, kernel)
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

    def _moved_away_from_zero(self, outputs, kernel):
        """As TFLite Micro rounds int8 results, where the scale of the inputs is known."""
        source = source_of(self)
        if source is None or self.options.activation_format.bits == 16:
            return outputs
        line = PIECEWISE_LINEAR.get(activations.known_name(self.activation))
        slope, shift = (line.slope, line.shift) if line else (1.0, 0.0)
        product = slope * source.scale * self.options.weight_format.scale_of_rounded(kernel)
        counted = self.output_range or self.output_scale
        if counted is None:
            return outputs
        nudge = half_of_first_unit(product, counted.scale)
        return outputs + ops.stop_gradient(nudge / slope * ops.sign(outputs + shift))

    def _rounded_result(self, outputs):
        scale = self.output_scale
        if scale is None or activations.name_of(self.activation) == "softmax":
            return outputs
        bits = self.options.activation_format.bits
        return round_to_integers(outputs, scale.scale, scale.zero_point, bits)

    # Keras 3's Dense saves its kernel and bias alone.
    def save_own_variables(self, store):
        _LAYER.save_own_variables(self, store)

    def load_own_variables(self, store):
        _LAYER.load_own_variables(self, store)


@register
class QuantizeAwareNoise(keras.layers.Wrapper):
    """A layer that acts in training alone, on `input_factor * x + input_offset`.

    That is what it acts on in the float model, such as the values that a Normalization gives,
    where the device has what lies before them. Made by `quantize_aware`.

    Args:
        layer: Keras layer, such as a Dropout, that answers its input where a model is used.
        **kwargs: As for every Keras layer.
    """

    input_factor: Any
    input_offset: Any

    def __init__(self, layer, **kwargs):
        super().__init__(layer, **kwargs)
        self.supports_masking = True

    def build(self, input_shape=None):
        super().build(input_shape)
        self.input_factor = _constant_weight(self, "input_factor", input_shape, "ones")
        self.input_offset = _constant_weight(self, "input_offset", input_shape, "zeros")

    def call(self, inputs, training=None):
        if not training:
            return inputs
        factor = ops.convert_to_tensor(self.input_factor)
        offset = ops.convert_to_tensor(self.input_offset)
        changed = self.layer(inputs * factor + offset, training=True) - offset
        is_constant = factor == 0.0  # which no noise changes in the kernel of the layer after it
        return ops.where(is_constant, inputs, changed / ops.where(is_constant, 1.0, factor))

    def compute_output_shape(self, input_shape):
        return input_shape


def is_kept(layer) -> bool:
    """Returns whether a layer of a model acts in training alone.

    Args:
        layer: Layer, of a quantization-aware model or not.
    """
    handler = HANDLERS.get(type(layer))
    return handler is not None and handler.in_training is InTraining.KEPT


@as_written
def source_of(layer) -> RangedGroup | Scale | None:
    """Returns what the input of a layer is counted in, or `None` where that is not known.

    Args:
        layer: `QuantizeAwareRNN` or `QuantizeAwareDense`, after `begin`.
    """
    if layer.input_range is not None:
        return layer.input_range
    before = _layer_before(layer)
    while before is not None and is_kept(before):
        before = _layer_before(before)
    match before:
        case QuantizeAwareRNN():
            return cells_of(before)[-1].quantizer.state_scale()
        case QuantizeAwareDense():
            return before.output_scale or (before.output_range and before.output_range.current())
        case _:
            return None


def _layer_before(layer):
    """The layer whose output this one reads; `None` outside a model, and where it is in several."""
    try:
        inputs = layer.input
    except AttributeError:
        return None
    value, *_ = inputs if isinstance(inputs, (list, tuple)) else [inputs]  # and then its mask
    return getattr(value, "_keras_history", (None,))[0]


def options_of(layer) -> Options:
    """Returns the options of a quantization-aware layer.

    Args:
        layer: `QuantizeAwareRNN` or `QuantizeAwareDense`.
    """
    return layer.options if isinstance(layer, QuantizeAwareDense) else cells_of(layer)[0].options


def _with_offset(layer, value: Symbol) -> Symbol:
    has_offset = layer.input_offset is not None
    return value + np.asarray(layer.rounded_offset(), np.float64) if has_offset else value


def _trace_recurrent(layer, value: Symbol) -> Symbol:
    layer.begin(training=False)
    value = _with_offset(layer, value)
    for prefix, cell in named_cells(layer):
        value = value.appended(cell.quantizer.rounded_graph(), prefix)
    return value


def _trace_dense(layer, value: Symbol) -> Symbol:
    layer.begin(training=False)
    kernel, bias = layer.rounded_weights()
    value = _with_offset(layer, value)
    x = Symbol(Graph(inputs=[], outputs=[]), Tensor("", value.tensor.shape))
    product = x @ np.asarray(kernel, np.float64)
    if bias is not None:
        product = product + np.asarray(bias, np.float64)
    graph = x.graph
    graph.inputs, graph.outputs = [x.tensor], [after_product(layer, product).tensor]
    simplify(graph)
    return value.appended(graph, "")


HANDLERS |= {
    QuantizeAwareRNN: LayerHandler(_trace_recurrent),
    QuantizeAwareDense: LayerHandler(_trace_dense),
    QuantizeAwareNoise: LayerHandler(trace_nothing, in_training=InTraining.KEPT),
}
