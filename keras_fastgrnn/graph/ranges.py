"""Ranges of every tensor, from data."""

from dataclasses import dataclass

import numpy as np

from keras_fastgrnn.graph import reference
from keras_fastgrnn.graph.graph import Graph, Tensor
from keras_fastgrnn.graph.sequences import Sequences, as_sequences


@dataclass
class Range:
    """What was seen of one tensor, over all sequences and steps.

    Attributes:
        low, high: Floats, the smallest and the largest value.
    """

    low: float
    high: float

    @property
    def magnitude(self) -> float:
        return max(-self.low, self.high)


def check_sequences(x, input_dim: int, argument: str, steps: int | None = None) -> np.ndarray:
    """Checks sequences given by the user.

    Args:
        x: Array-like of shape `(batch, steps, input_dim)`.
        input_dim: Integer, the channels the model expects.
        argument: String, the argument named in the error.
        steps: Integer, the steps expected, or `None` for any number.

    Returns:
        The sequences as a float32 array.

    Raises:
        ValueError: If they are missing, empty, of another shape, or not finite.
    """
    return _check_numbers(x, ("batch", steps or "steps", input_dim), argument)


def check_sequence(x, input_dim: int, argument: str) -> np.ndarray:
    """Checks one sequence, of shape `(steps, input_dim)`, as `check_sequences` does several."""
    return _check_numbers(x, ("steps", input_dim), argument)


def _check_numbers(x, shape: tuple[str | int, ...], argument: str) -> np.ndarray:
    expected = f"numbers of shape ({', '.join(map(str, shape))})"
    prefix = f"Received an invalid value for argument {argument}, expected {expected}, got "
    if x is None:
        hint = " Give some hundred sequences of the training data."
        raise ValueError(f"{prefix}None.{hint if argument == 'calibration_data' else ''}")
    if np.ma.is_masked(x):
        raise ValueError(f"{prefix}an array of which {np.ma.count_masked(x):,} values are masked.")
    no_numbers = f"{prefix}{type(x).__name__} that cannot become such an array."
    try:
        x = np.asarray(x)
    except (TypeError, ValueError) as error:
        raise ValueError(no_numbers) from error
    if x.dtype.kind not in "biuf":
        raise ValueError(no_numbers)
    fits = x.ndim == len(shape) and all(
        size == given or isinstance(size, str) for size, given in zip(shape, x.shape, strict=True)
    )
    if not fits or x.size == 0:
        raise ValueError(f"{prefix}an array of shape {x.shape}.")
    with np.errstate(over="ignore"):
        x = x.astype(np.float32)
    if not np.isfinite(x).all():
        count = np.count_nonzero(~np.isfinite(x))
        raise ValueError(f"{prefix}an array in which {count:,} of {x.size:,} are NaN or infinite.")
    return x


def _without_warnings(steps):
    """Overflow is found in the ranges, and told as the model's error."""
    with np.errstate(over="ignore", invalid="ignore"):
        yield from steps


def calibrate(graph: Graph, x: np.ndarray | Sequences) -> dict[Tensor, Range]:
    """Runs sequences through a float graph and records the range of every tensor.

    Ranges take all values of all steps: averages of extremes would clip the late steps of a
    growing state.

    Args:
        graph: Float graph.
        x: Array of shape `(batch, steps, input_dim)`, or `Sequences`.

    Returns:
        Dictionary from tensor to `Range`.

    Raises:
        ValueError: If the model's values are not finite, or the data is 0 throughout.
    """
    if not np.any(as_sequences(x).all_steps()):
        raise ValueError(
            "Received an invalid value for argument calibration_data, expected data of the "
            "range the device will see, got zeros only."
        )
    ranges: dict[Tensor, Range] = {}
    for values in _without_warnings(reference.steps(graph, x)):
        for tensor, value in values.items():
            seen = ranges.setdefault(tensor, Range(np.inf, -np.inf))
            seen.low = float(np.minimum(seen.low, value.min()))
            seen.high = float(np.maximum(seen.high, value.max()))
    with np.errstate(over="ignore"):
        extremes = {t: np.array([seen.low, seen.high], np.float32) for t, seen in ranges.items()}
    broken = [tensor.name for tensor, ends in extremes.items() if not np.isfinite(ends).all()]
    if broken:
        raise ValueError(
            f"The model computes NaN or infinite values on the calibration data, first in "
            f"{broken[0]!r}. Check its weights."
        )
    return ranges


def spread(x: Sequences, count: int) -> Sequences:
    """Returns at most `count` sequences, evenly spread over those given."""
    return x[np.unique(np.linspace(0, len(x) - 1, count).astype(int))]
