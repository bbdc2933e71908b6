"""Tensors of a step that the device counts in one unit, with the ranges that training has shown."""

import abc
import functools
import math
from typing import Any

from keras_fastgrnn.graph.fixed_scales import Scale
from keras_fastgrnn.keras_api import ops
from keras_fastgrnn.quantization.fake_quantization import ends_of_integers, round_between
from keras_fastgrnn.replicas import check_strategy


class Group(abc.ABC):
    """Tensors that share a scale.

    Args:
        activation_format: One of `FORMATS`.
    """

    seen: Any  # the range, a weight or two tensors
    rounds: Any  # a boolean tensor, whether there is a range

    def __init__(self, activation_format):
        self.format = activation_format

    def set_scale(self, scale, zero_point) -> None:
        """Sets the scale for one call of the layer, outside its loop."""
        self.scale, self.zero_point = scale, zero_point
        self._ends = ends_of_integers(scale, zero_point, self.format.bits)

    @property
    def largest(self):
        """The largest magnitude that the integers of this call hold."""
        return ops.maximum(-self._ends[0], self._ends[1])

    @abc.abstractmethod
    def reached(self) -> tuple[float, float]:
        """Returns the smallest and the largest value that training showed."""

    def round(self, value):
        """Rounds a tensor to the integers of this call; leaves it as it is before any was seen."""
        rounded = round_between(value, self._ends, self.scale)
        return ops.where(self.rounds, rounded, value)


class RangedGroup(Group):
    """Tensors that share a scale, found from the range of all values that training showed.

    Args:
        name: String, the name of the weight that holds the range.
        layer: Keras layer that owns the weight.
        activation_format: One of `FORMATS`.
        units: Integer, the last axis of the tensors, to keep a range for each: in a loop that is
            faster than to find the ends of all units at every step. Defaults to `None`, one range.
        limit: Float, the magnitude beyond which values make no difference. Defaults to none.
        finest: Float, the smallest scale. Defaults to any.
    """

    def __init__(
        self,
        name: str,
        layer,
        activation_format,
        units: int | None = None,
        limit: float = math.inf,
        finest: float = 0.0,
    ):
        check_strategy()
        shape = (2,) if units is None else (2, units)
        self.seen = layer.add_weight(name=name, shape=shape, initializer="zeros", trainable=False)
        super().__init__(activation_format)
        self.limit, self._finest = limit, finest
        self._axis = None if units is None else 0

    def begin(self) -> None:
        """Takes the scale for one call of the layer from what was seen before it."""
        seen = self.values()
        self.rounds = seen[0] < seen[1]
        self.set_scale(*self.format.scale_of_range(seen, self.limit, self._finest))

    def current(self) -> Scale:
        """Returns the scale of the range seen until now, as tensors."""
        return Scale(*self.format.scale_of_range(self.values(), self.limit, self._finest))

    def values(self):
        """Returns the range of all units as a tensor of shape `(2,)`."""
        low, high = ops.unstack(ops.convert_to_tensor(self.seen))
        return ops.stack([ops.min(low), ops.max(high)])

    @property
    def is_seen(self) -> bool:
        low, high = self.values().numpy()
        return bool(low < high)

    def observe(self, values: list) -> None:
        """Widens the range to hold some tensors, and 0, for later calls.

        Where one is NaN or infinite, the range stays as it was.
        """
        lowest, highest = (
            functools.reduce(ops.minimum, values),
            functools.reduce(ops.maximum, values),
        )
        low = ops.min(lowest, self._axis, initial=math.inf)
        high = ops.max(highest, self._axis, initial=-math.inf)
        now = ops.stack([ops.minimum(low, 0.0), ops.maximum(high, 0.0)])
        is_finite = ops.isfinite(now[1] - now[0])
        self._widen(ops.where(is_finite, now, ops.zeros_like(now)))

    def _widen(self, now) -> None:
        """Takes all values ever seen: averages would clip the late steps of a growing state."""
        self.seen.assign(union(ops.convert_to_tensor(self.seen), now))

    def reached(self) -> tuple[float, float]:
        """Returns the smallest and the largest value that training showed."""
        low, high = self.values().numpy().tolist()
        return low, high


def union(seen, now):
    """Returns the range that holds two, which are tensors of shape `(2, ...)`."""
    return ops.stack([ops.minimum(seen[0], now[0]), ops.maximum(seen[1], now[1])])


class PartOfSum(Group):
    """One part of a sum; `seen` is the range of its values."""

    def reached(self) -> tuple[float, float]:
        """As `RangedGroup.reached`."""
        low, high = self.seen
        return float(low), float(high)


class PartsOfSum(RangedGroup):
    """The parts of a sum that is of no use beyond a limit.

    A part whose range the sum holds has the scale of the sum. Another one has its own, cut where
    the sum is beyond its limit whatever the other parts are.

    Attributes:
        parts: List of `PartOfSum`.

    Args:
        name: String, the name of the weight that holds the range.
        layer: Keras layer that owns the weight.
        total: `RangedGroup` or `Scale` of the sum.
        limit: Float, the magnitude beyond which the sum makes no difference.
        activation_format: One of `FORMATS`.
        units: Integer, the last axis of each part.
        count: Integer, how many parts there are. Defaults to 2.
    """

    def __init__(
        self, name: str, layer, total, limit: float, activation_format, units: int, count: int = 2
    ):
        super().__init__(name, layer, activation_format, count * units)
        self.limit = limit
        self.parts = [PartOfSum(activation_format) for _ in range(count)]
        self._total = total
        self._units = units

    def begin(self, added: Any = 0.0) -> None:
        """Takes the scales for one call of the layer, after the sum's.

        Args:
            added: Number or tensor, the largest magnitude that is added to the sum before it
                reaches the limit. Defaults to 0.
        """
        low, high = ops.unstack(ops.convert_to_tensor(self.seen))
        self.rounds = ops.any(low < high)
        for index, part in enumerate(self.parts):
            own = slice(index * self._units, (index + 1) * self._units)
            part.rounds, part.seen = self.rounds, (ops.min(low[own]), ops.max(high[own]))
            self._begin_part(part, math.inf)
        largest = [part.largest for part in self.parts]
        for index, part in enumerate(self.parts):
            others = sum(largest[:index] + largest[index + 1 :])
            self._begin_part(part, self.limit + added + others)

    def _begin_part(self, part: PartOfSum, limit) -> None:
        total = self._total
        low, high = ends_of_integers(total.scale, total.zero_point, self.format.bits)
        if isinstance(total, RangedGroup):  # not up to the ends of the integers, which tell of more
            low, high = ops.unstack(ops.clip(total.values(), -self.limit, self.limit))
        fits = ops.logical_and(low <= part.seen[0], part.seen[1] <= high)
        scale, zero_point = self.format.scale_of_range(ops.stack(part.seen), limit)
        part.set_scale(
            ops.where(fits, total.scale, scale),
            ops.where(fits, ops.cast(total.zero_point, "float32"), zero_point),
        )

    def observe(self, values: list) -> None:
        """Widens the ranges to hold all parts, as `RangedGroup.observe` does."""
        super().observe([ops.concatenate(values, axis=-1)])


def scale_of_group(group: Group | Scale) -> Scale | None:
    """Returns the scale of a group, or `None` if it depends on values not seen yet."""
    if isinstance(group, Scale):
        return group
    return Scale(float(group.scale), int(group.zero_point)) if bool(group.rounds) else None


def reached_by(group: Group | Scale) -> tuple[float, float]:
    """Returns the smallest and the largest value that training showed of a group.

    They are infinite for one that has no range: training clips its values, however large.
    """
    return (-math.inf, math.inf) if isinstance(group, Scale) else group.reached()
