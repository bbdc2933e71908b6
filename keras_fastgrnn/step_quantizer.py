"""What a recurrent step computes, rounded as on the device: its tensors and its weights.

Tensors that the device counts in one unit form a group with one scale. The state, the difference
and what they are added up from are one, so that the sums are exact; what the functions read is
another. A function's result has the scale that TFLite Micro dictates.
"""

import dataclasses
import functools
import math

import tensorflow as tf

from keras_fastgrnn import activations
from keras_fastgrnn.activations import PIECEWISE_LINEAR
from keras_fastgrnn.fake_quantization import (
    WeightFormat,
    ends_of_integers,
    power_of_two_at_least,
    round_to_integers,
    round_to_multiples,
)
from keras_fastgrnn.fixed_scales import INT8_LIMITS, INT16_RESULT_EXPONENT, Scale
from keras_fastgrnn.masked_steps import MaskedSteps
from keras_fastgrnn.replicas import check_strategy, widest_range

# A difference of int16 values is often halfway between two integers, and TFLite Micro then rounds
# away from zero. This is a quarter of the finest unit, that of a function's result.
_AWAY_FROM_ZERO = 2.0 ** (INT16_RESULT_EXPONENT - 2)


class RangedGroup:
    """Tensors that share a scale, found from the range of all values that training showed.

    Args:
        name: String, the name of the weight that holds the range.
        layer: Keras layer that owns the weight.
        activation_format: One of `FORMATS`.
        units: Integer, the last axis of the tensors, to keep a range for each: in a loop that is
            faster than to find the ends of all units at every step. Defaults to `None`, one range.
        limit: Float, the magnitude beyond which values make no difference. Defaults to none.
    """

    def __init__(
        self,
        name: str,
        layer,
        activation_format,
        units: int | None = None,
        limit: float = math.inf,
    ):
        check_strategy()
        shape = (2,) if units is None else (2, units)
        self.seen = layer.add_weight(name=name, shape=shape, initializer="zeros", trainable=False)
        self.format = activation_format
        self.limit = limit
        self._axis = None if units is None else 0

    def begin(self) -> None:
        """Takes the scale for one call of the layer from what was seen before it."""
        seen = self.values()
        self.rounds = seen[0] < seen[1]
        self.set_scale(*self.format.scale_of_range(seen, self.limit))

    def set_scale(self, scale, zero_point) -> None:
        """Sets the scale for one call of the layer, outside its loop."""
        self.scale, self.zero_point = scale, zero_point
        self._ends = ends_of_integers(scale, zero_point, self.format.bits)

    def values(self):
        """Returns the range of all units as a tensor of shape `(2,)`."""
        low, high = tf.unstack(tf.convert_to_tensor(self.seen))
        return tf.stack([tf.reduce_min(low), tf.reduce_max(high)])

    @property
    def is_seen(self) -> bool:
        low, high = self.values().numpy()
        return bool(low < high)

    def round(self, value):
        """Rounds a tensor to the integers of this call; leaves it as it is before any was seen."""
        rounded = tf.quantization.fake_quant_with_min_max_vars(
            value, *self._ends, num_bits=self.format.bits
        )
        return tf.where(self.rounds, rounded, value)

    def observe(self, values: list) -> None:
        """Widens the range to hold some tensors, and 0, for later calls.

        Where one is NaN or infinite, the range stays as it was.
        """
        low = tf.reduce_min(functools.reduce(tf.minimum, values), self._axis)
        high = tf.reduce_max(functools.reduce(tf.maximum, values), self._axis)
        now = tf.stack([tf.minimum(low, 0.0), tf.maximum(high, 0.0)])
        is_finite = tf.math.is_finite(now[1] - now[0])
        self._widen(tf.where(is_finite, now, tf.zeros_like(now)))

    def _widen(self, now) -> None:
        """Takes all values ever seen: averages would clip the late steps of a growing state."""
        self.seen.assign(union(tf.convert_to_tensor(self.seen), now))

    def reached(self) -> tuple[float, float]:
        """Returns the smallest and the largest value that training showed."""
        return tuple(self.values().numpy().tolist())


def union(seen, now):
    """Returns the range that holds two, which are tensors of shape `(2, ...)`."""
    return tf.stack([tf.minimum(seen[0], now[0]), tf.maximum(seen[1], now[1])])


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
        options: `Options`, as in `keras_fastgrnn.quantize_aware_layers`.
    """

    def __init__(self, cell, layer, options):
        self.options = options
        self.format = options.activation_format
        self._cell = cell
        self._groups: dict[str, RangedGroup | Scale] = {}
        self._declare(layer)
        self.input_group: RangedGroup | None = None
        self.is_joined = False
        self._nudges = {}
        self._weights = None
        self._training = False
        self._seen_in_step: dict[RangedGroup, list] = {}

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

    def begin(self, training: bool) -> None:
        """Takes scales and rounded weights for the steps of one call of a layer.

        Args:
            training: Boolean, whether to widen ranges to what these steps show.
        """
        self._training = training
        self._seen_in_step = {}
        self.masked_steps = MaskedSteps()
        for group in self._ranged:
            group.begin()
        self._weights = self._with_rounded_matrices(self._cell.step_weights())
        if self._cell.use_bias:
            self._weights = self._with_rounded_biases(self._weights)
        if self.format.bits == 16:
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
        sources = self.input_group, self._groups["state"]
        self._nudges = {}
        for source, kernel, prefix in zip(sources, self._kernels(), _PREFIXES, strict=True):
            names = [f"{prefix}_projection", f"{prefix}_product"][-len(kernel) :]
            for name, weight_scale in zip(names, self._weight_scales(kernel), strict=True):
                if source is not None:
                    product = source.scale * weight_scale
                    self._nudges[name] = _nudge(product, self._groups[name].scale)
                source = self._groups[name]
        difference, state = (self._groups[name] for name in ("difference", "state"))
        if "gate" in self._groups:
            gate, candidate = self._groups["gate"], self._groups["candidate"]
            weights = self._weights
            factor = tf.abs(1.0 + weights.nu / weights.zeta) / WeightFormat().largest
            self._nudges["kept"] = _nudge(gate.scale * difference.scale, state.scale)
            self._nudges["added"] = _nudge(factor * candidate.scale, state.scale)
        else:
            factor = tf.abs(self._weights.beta) / WeightFormat().largest
            self._nudges["kept"] = _nudge(factor * state.scale, state.scale)
        for name, function in self._functions.items():
            line, before = PIECEWISE_LINEAR.get(function), self._groups.get(f"{name}_pre")
            if line and before:  # the device multiplies by the slope
                factor = line.slope / WeightFormat().largest
                self._nudges[name] = _nudge(factor * before.scale, self._groups[name].scale)

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
        if name == "difference" and self.format.bits == 16:
            value = value + tf.stop_gradient(_AWAY_FROM_ZERO * tf.sign(value))
        if name in self._nudges:
            value = value + tf.stop_gradient(self._nudges[name] * tf.sign(value))
        rounded = self._rounded(group, value)
        if name in _PRODUCTS and self.is_joined is not False:
            rounded = tf.where(self.is_joined, value, rounded)
        if name == "state":
            self._end_step()
        return rounded - offset if offset else rounded

    def _rounded(self, group, value):
        if isinstance(group, Scale):
            return round_to_integers(value, group.scale, group.zero_point, self.format.bits)
        if self._training:
            self._seen_in_step.setdefault(group, []).append(self.masked_steps.hidden(value))
        return group.round(value)

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
        first = round_matrix(first * weights.unit, self.options) / weights.unit
        others = [round_matrix(factor, self.options) for factor in others]
        kernel = tuple(round_matrix(factor, self.options) for factor in weights.kernel)
        return dataclasses.replace(weights, kernel=kernel, recurrent_kernel=(first, *others))

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
        products = self._groups[_PRODUCTS[0]]
        if isinstance(products, Scale):  # coarser than the constant's own: the sum is exact
            scale = products.scale
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


def _nudge(product_scale, result_scale):
    """Half of the unit to which TFLite Micro rounds first."""
    factor = product_scale / result_scale
    return 0.5 * result_scale * power_of_two_at_least(factor * (1.0 + 2.0**-20))


def round_matrix(matrix, options):
    """Rounds one matrix or factor.

    Args:
        matrix: Variable or tensor.
        options: `Options`.

    Returns:
        Tensor of its shape. Where `options.preserve_zeros`, zeros have no gradient.
    """
    matrix = tf.convert_to_tensor(matrix)
    rounded = options.weight_format.round(matrix)
    if options.preserve_zeros:
        rounded = rounded * tf.cast(matrix != 0.0, rounded.dtype)
    return rounded


BYTE_BIASES = WeightFormat(power_of_two=True)


def scale_of_group(group: RangedGroup | Scale) -> Scale | None:
    """Returns the scale of a group, or `None` if it depends on values not seen yet."""
    if isinstance(group, Scale):
        return group
    return Scale(float(group.scale), int(group.zero_point)) if group.is_seen else None


def reached_by(group: RangedGroup | Scale) -> tuple[float, float]:
    """Returns the smallest and the largest value that training showed of a group.

    They are infinite for one that has no range: training clips its values, however large.
    """
    return group.reached() if isinstance(group, RangedGroup) else (-math.inf, math.inf)


def _shift(activation) -> float:
    line = PIECEWISE_LINEAR.get(activations.name_of(activation))
    return line.shift if line else 0.0
