"""How the frames of a sequence become the steps of a device.

A frame is what Keras takes as a step. Where a layer strides over frames a device takes several of
them at once, and where one has no padding the first steps have no answer in Keras.
"""

import itertools
from dataclasses import dataclass

import numpy as np

from keras_fastgrnn.graph.sequences import Sequences


@dataclass(frozen=True)
class Window:
    """The frames that one frame of a layer's output is computed from.

    Attributes:
        length: Integer, from the first to the last.
        stride: Integer, how far it moves on.
        is_padded: Boolean, whether Keras pads with zeros, and so answers from the first frame on.
    """

    length: int
    stride: int
    is_padded: bool

    def answers(self, frames: int) -> int:
        """Returns how many frames the output has."""
        first = 1 if self.is_padded else self.length
        return max(0, (frames - first) // self.stride + 1)


@dataclass(frozen=True)
class Pace:
    """When the frames of a value come.

    Attributes:
        frames: Integer, how many of them a step has, one after the other.
        late: Integer, how many frames at the start of a sequence have no counterpart in Keras.
        windows: Tuple of `Window`, those of the layers before, in order, but for those that answer
            to each frame at once.
        length: Integer, how many frames a sequence has of it in Keras, or `None` for any number.
    """

    frames: int = 1
    late: int = 0
    windows: tuple[Window, ...] = ()
    length: int | None = None

    def answers(self, frames: int) -> int:
        """Returns how many frames of it Keras computes for a sequence.

        Args:
            frames: Integer, the length of the sequence.
        """
        for window in self.windows:
            frames = window.answers(frames)
        return frames

    def steps(self, frames: int) -> int:
        """Returns how many steps a device, which computes one frame of it a step, runs for it.

        Args:
            frames: Integer, the length of the sequence.
        """
        return self.answers(frames) + self.late


# One frame a step, from the first on.
EVERY_FRAME = Pace()


@dataclass(frozen=True)
class Feeding:
    """How a device is fed.

    Attributes:
        frames: Integer, how many frames of the input a step takes.
        answer: `Pace` of what the model answers.
        length: Integer, how many frames a sequence has, where layers depend on that, or `None`.
    """

    frames: int = 1
    answer: Pace = EVERY_FRAME
    length: int | None = None

    @property
    def shortest(self) -> int:
        """How many frames a sequence must have to be answered."""
        return next(frames for frames in itertools.count(1) if self.answer.answers(frames))

    def fed(self, x: Sequences) -> Sequences:
        """Returns what a device is fed at each step: its frames, one after the other.

        Frames at the end that Keras leaves out are left out, and frames that it pads with are 0.

        Args:
            x: `Sequences` of frames.
        """
        if not self.answer.windows:
            return x
        steps = np.array([self.answer.steps(int(length)) for length in x.lengths])
        count, channels = self.frames * steps.max(), x.values.shape[-1]
        values = np.zeros((len(x), count, channels), x.values.dtype)
        given = x.values[:, :count]
        is_frame = np.arange(given.shape[1]) < x.lengths[:, np.newaxis]
        values[:, : given.shape[1]] = np.where(is_frame[..., np.newaxis], given, 0)
        return Sequences(values.reshape(len(x), -1, self.frames * channels), steps)


# One frame a step, and an answer to each.
STEP_BY_STEP = Feeding()
