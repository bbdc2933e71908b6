"""What a recurrent step computes, rounded as on the device: its tensors and its weights.

Tensors that the device counts in one unit form a group with one scale. The state, the difference
and what they are added up from are one, so that the sums are exact; what the functions read is
another. A function's result has the scale that TFLite Micro dictates. What the functions read is
of no use beyond a limit, but of its two parts, the products with the input and with the state, each
may be larger, since they may cancel: such a part has a scale of its own.
"""

import dataclasses
import math

import tensorflow as tf

from keras_fastgrnn import activations
from keras_fastgrnn.activations import PIECEWISE_LINEAR
from keras_fastgrnn.quantization import function_tables
from keras_fastgrnn.quantization.fake_quantization import (
    BYTE_BIASES,
    WeightFormat,
    half_of_first_unit,
    power_of_two_at_least,
    round_matrix,
    round_to_integers,
    round_to_multiples,
)
from keras_fastgrnn.quantization.fixed_scales import INT8_LIMITS, INT16_LIMIT, Scale
from keras_fastgrnn.quantization.masked_steps import MaskedSteps
from keras_fastgrnn.quantization.ranged_groups import (
    Group,
    PartsOfSum,
    RangedGroup,
    reached_by,
    scale_of_group,
)
from keras_fastgrnn.replicas import widest_range

# What int16 values are added, subtracted or multiplied to may be halfway between two integers, and
# TFLite Micro then rounds away from zero: so does a value larger by some units of float32.
_ROUNDED_AWAY_FROM_ZERO = ("difference", "kept", "added", "state")
_LARGER = 1.0 + 2.0**-22


_PREFIXES = ("kernel", "recurrent")
_PRODUCTS = ("kernel_product", "recurrent_product")

# How many bits of 16 an input may give up so that one matrix can do for it and the state.
BITS_OF_JOINED_INPUT = 3


class StepQuantizer:
    """Rounds the tensors and weights of one cell's step.

    Attributes:
        input_group: `RangedGroup` of the cell's input where the cell is its only reader, else
            `None`.
        is_joined: Boolean tensor, whether the device computes both products with one matrix, which
            then have no tensors of their own.

    Args:
        cell: Built `FastRNNCell` or `FastGRNNCell`.
        layer: Keras layer that owns the ranges, as non-trainable weights.
        options: `Options`, as in `keras_fastgrnn.quantization.aware_layers`.
        input_factor: Weight of shape `(input_dim,)`, by which the device multiplies the rows of
            the kernel. Defaults to `None`.
    """

    def __init__(self, cell, layer, options, input_factor=None):
        self.options = options
        self._input_factor = input_factor
        self.format = options.activation_format
        self._cell = cell
        self._groups: dict[str, Group | Scale] = {}
        self._declare(layer)
        self.input_group: RangedGroup | Scale | None = None
        self._source: RangedGroup | Scale | None = None
        self.is_joined = False
        self._nudges = {}
        self._weights = None
        self._training = False
        self._seen_in_step: dict[RangedGroup, list] = {}
        self._read_by_tables = dict.fromkeys(f"{name}_pre" for name in self._functions)

    def _declare(self, layer) -> None:
        """Says which tensors the device has for this cell, and which share a scale."""
        cell = self._cell
        ranged = {}

        def group(name, units=cell.units, limit=math.inf):
            if name not in ranged:
                ranged[name] = RangedGroup(f"{name}_range", layer, self.format, units, limit)
            return ranged[name]

        functions = {"candidate": activations.name_of(cell.activation)}
        if hasattr(cell, "recurrent_activation"):
            functions["gate"] = activations.name_of(cell.recurrent_activation)
        self._functions = functions
        dictated = {tensor: self._dictated(name) for tensor, name in functions.items()}
        before = self.format.scale_before_functions if all(dictated.values()) else None
        summed = before or group("sum", limit=max(self._limit(name) for name in functions.values()))
        for tensor, name in functions.items():
            unbounded = "state" if tensor == "candidate" else "gate"
            reads_gate_pre = name == "linear" and "gate" in functions  # and may be the same tensor
            ranged_group = summed if reads_gate_pre else group(unbounded)
            self._groups[tensor] = dictated[tensor] or ranged_group
            if tensor == "gate" or not self._is_merged(name, has_gate="gate" in functions):
                self._groups[f"{tensor}_pre"] = summed
            elif name == "linear":  # both are one tensor
                self._groups[f"{tensor}_pre"] = self._groups[tensor]
        for tensor in ("difference", "kept", "added", "state"):
            self._groups[tensor] = group("state")
        for prefix in _PREFIXES:
            rank = getattr(cell, f"{prefix}_rank")
            if rank is not None:
                self._groups[f"{prefix}_projection"] = group(f"{prefix}_projection", rank)
        self._groups |= dict.fromkeys(_PRODUCTS, summed)
        self._summed, self._parts = summed, None
        limit = INT16_LIMIT if isinstance(summed, Scale) else summed.limit
        if math.isfinite(limit):
            self._parts = PartsOfSum(
                "products_range", layer, summed, limit, self.format, cell.units
            )
            ranged["products"] = self._parts
            self._groups |= dict(zip(_PRODUCTS, self._parts.parts, strict=True))
        self._ranged = list(ranged.values())

    @staticmethod
    def _is_merged(function: str, has_gate: bool) -> bool:
        """Whether the device computes a candidate without a tensor for what its function reads."""
        line = PIECEWISE_LINEAR.get(function)
        return function == "linear" or (line is not None and (line.slope == 1.0 or not has_gate))

    def _dictated(self, name) -> Scale | None:
        line = PIECEWISE_LINEAR.get(name)
        return self.format.scale_of_function(name, (line.low, line.high) if line else None)

    def _limit(self, name) -> float:
        if name in PIECEWISE_LINEAR:
            return math.inf
        return INT8_LIMITS.get(name, math.inf)

    @property
    def ranges(self) -> list:
        """The weights that hold ranges, in the order they were made."""
        return [group.seen for group in self._ranged]

    def state_scale(self) -> Scale:
        """Returns the scale of the state, as tensors, of the range seen until now."""
        return self._groups["state"].current()

    def begin(self, training: bool, source: RangedGroup | Scale | None = None) -> None:
        """Takes scales and rounded weights for the steps of one call of a layer.

        Args:
            training: Boolean, whether to widen ranges to what these steps show.
            source: What the cell's input is counted in. Defaults to `None`, what `input_group` is.
        """
        self._training = training
        self._source = source or self.input_group
        self._seen_in_step = {}
        self.masked_steps = MaskedSteps()
        weights = self._cell.step_weights()
        for group in self._ranged:
            group.begin()
        if self._parts is not None and hasattr(weights, "gate_bias"):
            difference = weights.candidate_bias - weights.gate_bias
            self._parts.begin(added=tf.reduce_max(tf.abs(difference)))
        self._weights = self._with_rounded_matrices(weights)
        if self._cell.use_bias:
            self._weights = self._with_rounded_biases(self._weights)
        if self.format.bits == 16:
            self._weights = self._with_rounded_factor(self._weights)
            self._join()
        else:
            self._find_nudges()

    def end(self) -> None:
        """Gives all replicas the ranges of what any of them saw in the steps since `begin`."""
        for group in self._ranged if self._training else ():
            group.seen.assign(widest_range(tf.convert_to_tensor(group.seen)))

    def _join(self) -> None:
        """Decides whether one matrix does for input and state, which saves two operators.

        It does where the input can have the scale at which both parts of the matrix fill their
        bits, a little coarser than its own.
        """
        source = self._groups.get("kernel_projection", self.input_group)
        if source is None:
            return
        state = self._groups.get("recurrent_projection", self._groups["state"])
        kernel, recurrent_kernel = (self._weight_scales(k)[-1] for k in self._kernels())
        balanced = state.scale * recurrent_kernel / kernel
        ratio = balanced / source.scale
        self.is_joined = tf.logical_and(ratio >= 1.0, ratio <= 2.0**BITS_OF_JOINED_INPUT)
        scale = tf.where(self.is_joined, balanced, source.scale)
        source.set_scale(scale, source.zero_point)

    def _kernels(self) -> list[tuple]:
        weights = self._weights
        first, *others = weights.recurrent_kernel
        return [weights.kernel, (first * weights.unit, *others)]

    def _weight_scales(self, kernel) -> list:
        return [self.options.weight_format.scale_of_rounded(factor) for factor in kernel]

    def _find_nudges(self) -> None:
        """How far int8 results are from where rounding once would change.

        TFLite Micro rounds what it multiplies by a factor twice, first to a power of two of the
        result's unit: all that is within half of that from the middle of two integers goes away
        from zero.
        """
        sources = self._source, self._groups["state"]
        self._nudges = {}
        for source, kernel, prefix in zip(sources, self._kernels(), _PREFIXES, strict=True):
            names = [f"{prefix}_projection", f"{prefix}_product"][-len(kernel) :]
            for name, weight_scale in zip(names, self._weight_scales(kernel), strict=True):
                if source is not None:
                    product = source.scale * weight_scale
                    self._nudges[name] = half_of_first_unit(product, self._groups[name].scale)
                source = self._groups[name]
        difference, state = (self._groups[name] for name in ("difference", "state"))
        if "gate" in self._groups:
            gate, candidate = self._groups["gate"], self._groups["candidate"]
            weights = self._weights
            factor = tf.abs(1.0 + weights.nu / weights.zeta) / WeightFormat().largest
            self._nudges["kept"] = half_of_first_unit(gate.scale * difference.scale, state.scale)
            self._nudges["added"] = half_of_first_unit(factor * candidate.scale, state.scale)
        else:
            factor = tf.abs(self._weights.beta) / WeightFormat().largest
            self._nudges["kept"] = half_of_first_unit(factor * state.scale, state.scale)
        for name, function in self._functions.items():
            line, before = PIECEWISE_LINEAR.get(function), self._groups.get(f"{name}_pre")
            if line and before:  # the device multiplies by the slope
                factor = line.slope / WeightFormat().largest
                self._nudges[name] = half_of_first_unit(
                    factor * before.scale, self._groups[name].scale
                )

    def step_weights(self, recurrent_mask=None):
        """Returns what the step reads, as `FastCell.step_weights` does, rounded."""
        return dataclasses.replace(self._weights, recurrent_mask=recurrent_mask)

    def tap(self, name: str, value):
        """The tap of a step, see `keras_fastgrnn.steps`: rounds what the device rounds."""
        group = self._groups.get(name)
        if group is None:
            return value
        offset = self._offset(name)
        value = value + offset if offset else value
        value = self._by_table(name, value)
        if name in _ROUNDED_AWAY_FROM_ZERO and self.format.bits == 16:
            value = value * _LARGER
        if name in self._nudges:
            value = value + tf.stop_gradient(self._nudges[name] * tf.sign(value))
        rounded = self._rounded(group, value)
        if name in self._read_by_tables:
            self._read_by_tables[name] = rounded
        if name in _PRODUCTS and self.is_joined is not False:
            rounded = tf.where(self.is_joined, value, rounded)
        if name == "state":
            self._end_step()
        return rounded - offset if offset else rounded

    def _by_table(self, name: str, value):
        """What TFLite Micro's function answers to the tensor it reads, with the real gradient."""
        function = function_tables.FUNCTIONS.get(self._functions.get(name))
        if function is None or self.format.bits != 16:
            return value
        return value + tf.stop_gradient(function(self._read_by_tables[f"{name}_pre"]) - value)

    def _rounded(self, group, value):
        if isinstance(group, Scale):
            return round_to_integers(value, group.scale, group.zero_point, self.format.bits)
        if self._training:
            shown = self.masked_steps.hidden(value)
            for observer in self._observers(group):
                self._seen_in_step.setdefault(observer, []).append(shown)
        return group.round(value)

    def _observers(self, group) -> list[RangedGroup]:
        """The groups whose ranges are to hold the values of one of them."""
        if self._parts is None or group not in self._parts.parts:
            return [group]
        return [g for g in (self._parts, self._summed) if isinstance(g, RangedGroup)]

    def _offset(self, name: str) -> float:
        """What the device has added to a tensor already: the shift of a piecewise-linear function.

        It is merged into the bias, which comes with the state's product.
        """
        has_gate = "gate" in self._groups
        before = "gate_pre" if has_gate else "candidate_pre"
        if name not in (before, "candidate_pre", "recurrent_product"):
            return 0.0
        is_of_gate = has_gate and name != "candidate_pre"
        cell = self._cell
        return _shift(cell.recurrent_activation if is_of_gate else cell.activation)

    def _end_step(self) -> None:
        for group, values in self._seen_in_step.items():
            group.observe(values)
        self._seen_in_step = {}

    def _with_rounded_matrices(self, weights):
        first, *others = weights.recurrent_kernel
        recurrent_kernel = (
            round_matrix(first * weights.unit, self.options) / weights.unit,
            *(round_matrix(factor, self.options) for factor in others),
        )
        first, *others = weights.kernel
        kernel = (
            round_matrix(first, self.options, self._input_factor),
            *(round_matrix(factor, self.options) for factor in others),
        )
        return dataclasses.replace(weights, kernel=kernel, recurrent_kernel=recurrent_kernel)

    def _with_rounded_factor(self, weights):
        """The number that multiplies the state or the candidate is a tensor of 16 bits."""
        if hasattr(weights, "beta"):
            return dataclasses.replace(weights, beta=_rounded_factor(weights.beta))
        factor = _rounded_factor(1.0 + weights.nu / weights.zeta)
        return dataclasses.replace(weights, nu=(factor - 1.0) * weights.zeta)

    def _with_rounded_biases(self, weights):
        if not hasattr(weights, "gate_bias"):
            bias = self._round_bias(weights.bias, _shift(weights.activation))
            return dataclasses.replace(weights, bias=bias)
        shift = _shift(weights.recurrent_activation)
        gate_bias = self._round_bias(weights.gate_bias, shift)
        difference = weights.candidate_bias - weights.gate_bias
        difference = self._round_constant(difference, _shift(weights.activation) - shift)
        candidate_bias = gate_bias + difference
        return dataclasses.replace(weights, gate_bias=gate_bias, candidate_bias=candidate_bias)

    def _round_bias(self, bias, shift):
        """A bias is counted in the unit of the products of the state and its matrix."""
        source = self._groups.get("recurrent_projection", self._groups["state"])
        *_, matrix_scale = self._weight_scales(self._kernels()[1])
        bias = BYTE_BIASES.round(bias + shift) if self.options.byte_biases else bias + shift
        return round_to_multiples(bias, source.scale * matrix_scale) - shift

    def _round_constant(self, values, shift):
        """What is added to a tensor of the device is a tensor of its type itself."""
        if self.options.byte_biases or self.format.bits == 8:
            return self.options.constant_format.round(values + shift) - shift
        if isinstance(self._summed, Scale):  # coarser than the constant's own: the sum is exact
            scale = self._summed.scale
            return round_to_integers(values + shift, scale, 0, self.format.bits) - shift
        return values

    def reached(self) -> dict[str, tuple[float, float]]:
        """Returns the smallest and largest value of every tensor of the step, as `reached_by`."""
        reached = {name: reached_by(group) for name, group in self._groups.items()}
        for name in _PRODUCTS:
            reached[name] = tuple(self._slope_of_products() * end for end in reached[name])
        return reached

    def scales(self) -> dict[str, Scale | None]:
        """Returns the scale of every tensor of the step by name, after `begin`.

        `None` stands for ranges not seen yet.
        """
        scales = {name: scale_of_group(group) for name, group in self._groups.items()}
        for name in _PRODUCTS if scales[_PRODUCTS[0]] else ():
            scale = scales[name]
            scales[name] = Scale(self._slope_of_products() * scale.scale, scale.zero_point)
        return scales

    def _slope_of_products(self) -> float:
        """The slope of a function that the device merges into the matrices, as without a gate."""
        line = PIECEWISE_LINEAR.get(activations.name_of(self._cell.activation))
        return line.slope if line and "gate" not in self._groups else 1.0


def _rounded_factor(value):
    """A positive number of 15 bits, which the exporter may count in a unit that has one more."""
    return round_to_multiples(value, power_of_two_at_least(tf.stop_gradient(value)) * 2.0**-14)


def _shift(activation) -> float:
    line = PIECEWISE_LINEAR.get(activations.name_of(activation))
    return line.shift if line else 0.0
