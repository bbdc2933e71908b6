"""What a user gives as sequences, the steps of it that a device is fed, and answers to match."""

import collections

import numpy as np
import tensorflow as tf

from keras_fastgrnn.graph import real_values, reference
from keras_fastgrnn.graph.feeding import STEP_BY_STEP, Feeding
from keras_fastgrnn.graph.graph import Graph, Tensor
from keras_fastgrnn.graph.ranges import check_sequence, check_sequences
from keras_fastgrnn.graph.sequences import Sequences
from keras_fastgrnn.keras_api import invalid_argument

# Sequences that Keras is given at once, and steps that it takes one by one in less time than it
# makes a function of them.
_BATCH = 1024
_STEPS_WITHOUT_A_FUNCTION = 64


class GivenSequences:
    """Sequences that a user gave: an array, or arrays of unequal length.

    Keras keeps the state at a step that a Masking layer masks, so a device is not fed it.

    Attributes:
        x: float32 array of shape `(batch, steps, input_dim)`, or list of arrays of shape
            `(steps, input_dim)`.
        fed: `Sequences`, the steps that a device is fed.

    Args:
        x: Array-like of shape `(batch, steps, input_dim)`, or list of array-likes of shape
            `(steps, input_dim)`.
        input_dim: Integer, the channels the model expects.
        argument: String, the argument named in errors.
        steps: Integer, the steps expected, or `None` for any number.
        masking: The model's `Masking` layer, or `None`.
        feeding: `Feeding` of the device. Defaults to one frame a step.

    Raises:
        ValueError: If they are missing, empty, of another shape, not finite, too short to be
            answered, or masked throughout.
    """

    def __init__(
        self,
        x,
        input_dim: int,
        argument: str,
        steps: int | None = None,
        masking=None,
        feeding: Feeding = STEP_BY_STEP,
    ):
        steps = feeding.length if steps is None else steps
        self._steps = steps
        self._masking = masking
        self._feeding = feeding
        if isinstance(x, np.ndarray) and x.dtype == object and x.ndim == 1:
            x = list(x)
        if _is_of_other_lengths(x, None if masking is None else steps):
            named = ((one, f"{argument}[{place}]") for place, one in enumerate(x))
            self.x = [check_sequence(one, input_dim, name) for one, name in named]
            self._check_lengths(argument)
        else:
            self.x = check_sequences(x, input_dim, argument, steps)
        self._check_answered(argument)
        self._masks = self._found_masks()
        if self._masks is None:
            frames = Sequences(np.asarray(self.x))
            self._order, self.fed = range(len(self.x)), feeding.fed(frames)
            return
        lengths = np.array([np.count_nonzero(mask) for mask in self._masks])
        for place in np.flatnonzero(lengths == 0):
            raise ValueError(
                f"Received an invalid value for argument {argument}, expected sequences with steps "
                f"that are not masked, got {argument}[{place}] without any, to which a device "
                "never answers. Leave it out."
            )
        self._order = np.argsort(-lengths, kind="stable")
        values = np.zeros((len(lengths), max(lengths), input_dim), np.float32)
        for row, place in enumerate(self._order):
            values[row, : lengths[place]] = self.x[place][self._masks[place]]
        self.fed = feeding.fed(Sequences(values, lengths[self._order]))

    def _check_answered(self, argument) -> None:
        shortest = self._feeding.shortest
        for place, one in enumerate(self.x):
            if len(one) < shortest:
                raise ValueError(
                    f"Received an invalid value for argument {argument}, expected sequences of at "
                    f"least {shortest} steps, which the windows of the model's layers take, got "
                    f"{len(one)} in {argument}[{place}]."
                )

    def _check_lengths(self, argument) -> None:
        if self._steps is None:
            return
        for place, one in enumerate(self.x):
            if len(one) > self._steps or (len(one) < self._steps and self._masking is None):
                expected = f"{'' if self._masking is None else 'at most '}{self._steps} steps"
                raise ValueError(
                    f"Received an invalid value for argument {argument}, expected sequences of "
                    f"{expected}, as the model takes, got {len(one)} in {argument}[{place}]. "
                    f"{self._advice_on_lengths()}"
                )

    def _advice_on_lengths(self) -> str:
        if self._feeding.length is not None:
            return "Layers of it depend on that number."
        return (
            "Build the model with Input((None, input_dim)), which takes any number, and give it "
            "the same weights."
        )

    def _found_masks(self) -> list[np.ndarray] | None:
        """Which steps of each sequence are fed; `None` where that is a whole array."""
        if self._masking is None:
            is_array = isinstance(self.x, np.ndarray)
            return None if is_array else [np.ones(len(one), bool) for one in self.x]
        steps = tf.cast(np.concatenate(self.x)[np.newaxis], self._masking.compute_dtype)
        (mask,) = np.asarray(self._masking.compute_mask(steps))
        return np.split(mask, np.cumsum([len(one) for one in self.x])[:-1])

    @property
    def places(self) -> list[int]:
        """The row of `fed` for each of the sequences, in the order given."""
        return np.argsort(self._order).tolist()

    def answers(self, outputs, every_step: bool, graph: Graph) -> np.ndarray | list[np.ndarray]:
        """Returns what a device answers to the sequences, in the order given.

        Args:
            outputs: Array or list of arrays of shape `(steps, outputs)`, what it computes at every
                step of each sequence of `fed`, in the graph's own numbers.
            every_step: Boolean, whether to return the answers to all steps, or to the last ones.
            graph: `Graph` of the device.

        Returns:
            float32 array of shape `(batch, outputs)`; or, of every step, of shape
            `(batch, steps, outputs)`, or a list of arrays where lengths differ. At a masked step
            the answer is the one before, and that to zero states before the first.
        """
        output = graph.outputs[0]
        ordered = [outputs[row] for row in self.places]
        if not every_step:
            return _real_values(np.stack([one[-1] for one in ordered]), output)
        ordered = [_real_values(one[self._feeding.answer.late :], output) for one in ordered]
        if self._masking is None or self._masks is None:
            return _stacked(ordered)
        first = _real_values(reference.answer_to_nothing(graph)[np.newaxis], output)
        return _stacked(
            [
                np.concatenate([first, one])[np.cumsum(mask)]
                for one, mask in zip(ordered, self._masks, strict=True)
            ]
        )

    def keras_answers(self, model):
        """Returns what Keras answers to them, in the order and shape that `answers` gives.

        Args:
            model: Keras model.
        """
        if isinstance(self.x, np.ndarray):
            return _keras_answers(model, self.x)
        if self._masking is None:
            return _stacked(self._by_length(model))
        padded, _ = self.padded()
        answers = _keras_answers(model, padded)
        if answers.ndim == 2:
            return answers
        return _stacked([one[: len(x)] for one, x in zip(answers, self.x, strict=True)])

    def _by_length(self, model) -> list[np.ndarray]:
        places = collections.defaultdict(list)
        for place, one in enumerate(self.x):
            places[len(one)].append(place)
        answers = {}
        for same in places.values():
            found = _keras_answers(model, np.stack([self.x[place] for place in same]))
            answers.update(zip(same, found, strict=True))
        return [answers[place] for place in range(len(self.x))]

    def padded(self) -> tuple[np.ndarray, tf.Tensor | None]:
        """Returns one array of them all, as Keras is to be given it, and its mask.

        Returns:
            Array of shape `(batch, steps, input_dim)`, and a boolean tensor of shape
            `(batch, steps)`, false where it was made longer; `None` where nothing was. A Masking
            layer finds its own mask.
        """
        if isinstance(self.x, np.ndarray):
            return self.x, None
        filling = 0.0 if self._masking is None else self._masking.mask_value
        longest = max(map(len, self.x)) if self._steps is None else self._steps
        shape = (len(self.x), longest, self.x[0].shape[-1])
        padded = np.full(shape, filling, np.float32)
        mask = np.zeros(shape[:2], bool)
        for row, one in enumerate(self.x):
            padded[row, : len(one)] = one
            mask[row, : len(one)] = True
        return padded, tf.constant(mask)

    def at_fed_steps(self, answers) -> np.ndarray:
        """Returns answers at every step as one array, without those at masked steps.

        Args:
            answers: As `answers` returns them for every step.
        """
        if self._masking is None or self._masks is None:
            return answers if isinstance(answers, np.ndarray) else np.concatenate(answers)
        return np.concatenate([one[mask] for one, mask in zip(answers, self._masks, strict=True)])


def _keras_answers(model, x: np.ndarray) -> np.ndarray:
    batches = [x[start : start + _BATCH] for start in range(0, len(x), _BATCH)]
    if len(batches) * x.shape[1] > _STEPS_WITHOUT_A_FUNCTION:
        return model.predict(x, verbose=0, batch_size=_BATCH)
    return np.concatenate([np.asarray(model(batch, training=False)) for batch in batches])


def wants_every_step(return_sequences) -> bool:
    """Returns an argument of `predict` as a boolean, or raises the error for any other value."""
    if not isinstance(return_sequences, bool | np.bool_):
        raise invalid_argument("return_sequences", "True or False", return_sequences)
    return bool(return_sequences)


def _is_of_other_lengths(x, steps: int | None) -> bool:
    """Whether it is a list of sequences that are not of one length, or not of the given one."""
    if not isinstance(x, list | tuple) or not all(hasattr(one, "__len__") for one in x):
        return False
    lengths = {len(one) for one in x}
    return len(lengths) > 1 or (steps is not None and bool(lengths - {steps}))


def _stacked(answers: list[np.ndarray]) -> np.ndarray | list[np.ndarray]:
    """One array, where the answers are of one shape."""
    return np.stack(answers) if len({one.shape for one in answers}) == 1 else answers


def _real_values(values: np.ndarray, tensor: Tensor) -> np.ndarray:
    if tensor.scale is not None:
        return real_values.dequantize_values(values, tensor)
    return values.astype(np.float32)
