"""The range of what goes into or comes out of a quantization-aware layer, outside of any loop."""

import math

from keras_fastgrnn.keras_api import ops
from keras_fastgrnn.quantization.ranged_groups import RangedGroup, union
from keras_fastgrnn.replicas import widest_range


class EndRange(RangedGroup):
    """The range of an input or output, over all batches, or averaged over them.

    Args:
        name: String, the name of the weight that holds the range.
        layer: Keras layer that owns it.
        activation_format: One of `FORMATS`.
        momentum: Float, the part of an average that a batch leaves as it is, or `None` for the
            range of all values. Defaults to `None`.
    """

    def __init__(self, name: str, layer, activation_format, momentum: float | None = None):
        super().__init__(name, layer, activation_format)
        self._momentum = momentum
        if momentum is not None:  # an average does not tell what it clipped
            self.extremes = layer.add_weight(
                name=f"{name}_extremes", shape=(2,), initializer="zeros", trainable=False
            )

    def observe_replicas(self, value) -> None:
        """Widens the range by what all replicas saw of a tensor.

        A layer does this last: here a replica waits for the others, which `begin` the same layer.

        Args:
            value: Tensor.
        """
        ends = [ops.min(value, initial=math.inf), ops.max(value, initial=-math.inf)]
        low, high = ops.unstack(widest_range(ops.stack(ends)))
        self.observe([low, high])

    def _widen(self, now) -> None:
        if self._momentum is None:
            super()._widen(now)
            return
        seen = ops.convert_to_tensor(self.seen)
        average = ops.where(seen[0] < seen[1], now + self._momentum * (seen - now), now)
        self.seen.assign(ops.where(now[0] < now[1], average, seen))
        self.extremes.assign(union(ops.convert_to_tensor(self.extremes), now))

    def reached(self) -> tuple[float, float]:
        """As `RangedGroup.reached`; infinite for an average that came from elsewhere."""
        if self._momentum is None:
            return super().reached()
        low, high = ops.convert_to_tensor(self.extremes).numpy().tolist()
        return (low, high) if low < high else (-math.inf, math.inf)
