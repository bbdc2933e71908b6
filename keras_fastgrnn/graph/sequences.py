"""Sequences of one length or of several, run side by side."""

from collections.abc import Callable, Iterator

import numpy as np


class Sequences:
    """Sequences that are run side by side, the longest first: those that go on are the first rows.

    Args:
        values: Array of shape `(batch, longest, input_dim)`. What lies behind the end of a
            sequence is never read.
        lengths: Integer array of shape `(batch,)`, descending, the steps of each. Defaults to
            `None`: all are as long as the array.
    """

    def __init__(self, values: np.ndarray, lengths: np.ndarray | None = None):
        self.values = values
        self.lengths = np.full(len(values), values.shape[1]) if lengths is None else lengths

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows) -> "Sequences":
        """Those of some rows, in ascending order."""
        return Sequences(self.values[rows], self.lengths[rows])

    def map(self, function: Callable[[np.ndarray], np.ndarray]) -> "Sequences":
        """Returns sequences of other values, such as their integers.

        Args:
            function: Function of an array that keeps its first two axes.
        """
        return Sequences(function(self.values), self.lengths)

    def repeated(self, count: int) -> "Sequences":
        """Returns each sequence so many times in a row."""
        repeat = (np.repeat(array, count, axis=0) for array in (self.values, self.lengths))
        return Sequences(*repeat)

    def each_step(self) -> Iterator[np.ndarray]:
        """Yields the values of every step, of shape `(sequences that go on, input_dim)`."""
        for time in range(self.lengths[0]):
            yield self.values[: np.count_nonzero(self.lengths > time), time]

    def one_by_one(self) -> list[np.ndarray]:
        """Returns the values of each sequence, of shape `(steps, input_dim)`."""
        return [row[:length] for row, length in zip(self.values, self.lengths, strict=True)]

    def all_steps(self) -> np.ndarray:
        """Returns the values of all steps, of shape `(steps of all sequences, input_dim)`."""
        is_step = np.arange(self.values.shape[1]) < self.lengths[:, np.newaxis]
        return self.values[is_step]

    def together(self, results: list[np.ndarray]) -> np.ndarray:
        """Returns what each step gave as one array.

        Args:
            results: List of arrays of shape `(sequences that go on, units)`, one a step.

        Returns:
            Array of shape `(batch, steps, units)`; of shape `(steps of all sequences, units)`,
            one step after the other, where lengths differ.
        """
        if self._are_of_one_length:
            return np.stack(results, axis=1)
        return np.concatenate(results)

    def apart(self, results: list[np.ndarray]) -> np.ndarray | list[np.ndarray]:
        """Returns what each sequence gave.

        Args:
            results: As for `together`.

        Returns:
            Array of shape `(batch, steps, units)`; where lengths differ a list of arrays of shape
            `(steps, units)`, one a sequence.
        """
        if self._are_of_one_length:
            return np.stack(results, axis=1)
        return [
            np.stack([result[row] for result in results[:length]])
            for row, length in enumerate(self.lengths)
        ]

    def last(self, results: list[np.ndarray]) -> np.ndarray:
        """Returns what each sequence gave at its own last step, of shape `(batch, units)`.

        Args:
            results: As for `together`.
        """
        return np.stack([results[length - 1][row] for row, length in enumerate(self.lengths)])

    @property
    def _are_of_one_length(self) -> bool:
        return self.lengths[0] == self.lengths[-1]


def as_sequences(x) -> Sequences:
    """Returns an array of shape `(batch, steps, input_dim)` as `Sequences`, which stay as they are.

    Args:
        x: Array or `Sequences`.
    """
    return x if isinstance(x, Sequences) else Sequences(x)
