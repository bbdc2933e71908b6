"""Tensors of a step that the device counts in one unit, with the ranges that training has shown."""

import functools
import math

import tensorflow as tf

from keras_fastgrnn.quantization.fake_quantization import ends_of_integers, round_between
from keras_fastgrnn.quantization.fixed_scales import Scale
from keras_fastgrnn.replicas import check_strategy


class Group:
    """Tensors that share a scale.

    Args:
        activation_format: One of `FORMATS`.
    """

    def __init__(self, activation_format):
        self.format = activation_format

    def set_scale(self, scale, zero_point) -> None:
        """Sets the scale for one call of the layer, outside its loop."""
        self.scale, self.zero_point = scale, zero_point
        self._ends = ends_of_integers(scale, zero_point, self.format.bits)

    @property
    def largest(self):
        """The largest magnitude that the integers of this call hold."""
        return tf.maximum(-self._ends[0], self._ends[1])

    def round(self, value):
        """Rounds a tensor to the integers of this call; leaves it as it is before any was seen."""
        rounded = round_between(value, self._ends, self.scale, self.format.bits)
        return tf.where(self.rounds, rounded, value)


class RangedGroup(Group):
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
        super().__init__(activation_format)
        self.limit = limit
        self._axis = None if units is None else 0

    def begin(self) -> None:
        """Takes the scale for one call of the layer from what was seen before it."""
        seen = self.values()
        self.rounds = seen[0] < seen[1]
        self.set_scale(*self.format.scale_of_range(seen, self.limit))

    def current(self) -> Scale:
        """Returns the scale of the range seen until now, as tensors."""
        return Scale(*self.format.scale_of_range(self.values(), self.limit))

    def values(self):
        """Returns the range of all units as a tensor of shape `(2,)`."""
        low, high = tf.unstack(tf.convert_to_tensor(self.seen))
        return tf.stack([tf.reduce_min(low), tf.reduce_max(high)])

    @property
    def is_seen(self) -> bool:
        low, high = self.values().numpy()
        return bool(low < high)

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


class PartOfSum(Group):
    """One part of a sum; `seen` is the range of its values."""

    def reached(self) -> tuple[float, float]:
        """As `RangedGroup.reached`."""
        return tuple(float(end) for end in self.seen)


class PartsOfSum(RangedGroup):
    """The two parts of a sum that is of no use beyond a limit.

    A part whose range the sum holds has the scale of the sum. Another one has its own, cut where
    the sum is beyond its limit whatever the other part is.

    Attributes:
        parts: List of two `PartOfSum`.

    Args:
        name: String, the name of the weight that holds the range.
        layer: Keras layer that owns the weight.
        total: `RangedGroup` or `Scale` of the sum.
        limit: Float, the magnitude beyond which the sum makes no difference.
        activation_format: One of `FORMATS`.
        units: Integer, the last axis of each part.
    """

    def __init__(self, name: str, layer, total, limit: float, activation_format, units: int):
        super().__init__(name, layer, activation_format, 2 * units)
        self.limit = limit
        self.parts = [PartOfSum(activation_format), PartOfSum(activation_format)]
        self._total = total

    def begin(self, added=0.0) -> None:
        """Takes the scales for one call of the layer, after the sum's.

        Args:
            added: Number or tensor, the largest magnitude that is added to the sum before it
                reaches the limit. Defaults to 0.
        """
        low, high = tf.unstack(tf.convert_to_tensor(self.seen))
        self.rounds = tf.reduce_any(low < high)
        lows, highs = (tf.split(ends, 2) for ends in (low, high))
        ranges = list(zip(map(tf.reduce_min, lows), map(tf.reduce_max, highs), strict=True))
        for part, seen in zip(self.parts, ranges, strict=True):
            part.rounds, part.seen = self.rounds, seen
            self._begin_part(part, math.inf)
        limits = [self.limit + added + part.largest for part in reversed(self.parts)]
        for part, limit in zip(self.parts, limits, strict=True):
            self._begin_part(part, limit)

    def _begin_part(self, part: PartOfSum, limit) -> None:
        total = self._total
        low, high = ends_of_integers(total.scale, total.zero_point, self.format.bits)
        if isinstance(total, RangedGroup):  # not up to the ends of the integers, which tell of more
            low, high = tf.unstack(tf.clip_by_value(total.values(), -self.limit, self.limit))
        fits = tf.logical_and(low <= part.seen[0], part.seen[1] <= high)
        scale, zero_point = self.format.scale_of_range(tf.stack(part.seen), limit)
        part.set_scale(
            tf.where(fits, total.scale, scale),
            tf.where(fits, tf.cast(total.zero_point, tf.float32), zero_point),
        )

    def observe(self, values: list) -> None:
        """Widens the ranges to hold both parts, as `RangedGroup.observe` does."""
        super().observe([tf.concat(values, axis=-1)])


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
