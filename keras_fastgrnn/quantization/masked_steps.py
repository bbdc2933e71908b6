"""Tells the cells of a layer which sequences are masked at a step."""

import math

from keras_fastgrnn.keras_api import ops


class MaskedSteps:
    """Where the steps of one call of a layer are masked.

    Keras computes a masked step too, and throws it away without telling the cell. So the input
    that the first cell gets is infinite there.
    """

    def __init__(self):
        self._reader = None
        self._is_masked = None

    def marked(self, sequences, mask, reader):
        """Returns sequences that are infinite at masked steps.

        Args:
            sequences: Tensor of shape `(batch, steps, input_dim)`.
            mask: Boolean tensor of shape `(batch, steps)`, false at masked steps.
            reader: The cell that gets them.
        """
        self._reader = reader
        return ops.where(ops.cast(mask, "bool")[..., None], sequences, -math.inf)

    def unmarked(self, inputs, cell):
        """Returns the inputs of a step with 0 where they were marked, and takes note of it.

        Args:
            inputs: Tensor of shape `(batch, input_dim)`.
            cell: The cell that got them.
        """
        if cell is not self._reader:
            return inputs
        self._is_masked = ops.all(ops.isinf(inputs), -1, keepdims=True)
        return ops.where(self._is_masked, 0.0, inputs)

    def hidden(self, value):
        """Returns what a step computes with 0 where it is thrown away.

        Args:
            value: Tensor of shape `(batch, units)`.
        """
        return value if self._is_masked is None else ops.where(self._is_masked, 0.0, value)
