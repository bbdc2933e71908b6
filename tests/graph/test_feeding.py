"""How many steps a device runs for a sequence, against the shapes that Keras computes."""

import numpy as np
import pytest
from small_models import sequential

from keras_fastgrnn import FastGRNN, keras
from keras_fastgrnn.graph.sequences import Sequences
from keras_fastgrnn.graph.trace import trace

LAYERS = keras.layers

WINDOWS = {
    "none": lambda: [],
    "valid": lambda: [LAYERS.Conv1D(2, 3)],
    "causal": lambda: [LAYERS.Conv1D(2, 3, padding="causal")],
    "strides": lambda: [LAYERS.Conv1D(2, 5, strides=2)],
    "causal strides": lambda: [LAYERS.Conv1D(2, 5, strides=3, padding="causal")],
    "longer strides than kernel": lambda: [LAYERS.Conv1D(2, 2, strides=3)],
    "same": lambda: [LAYERS.Conv1D(2, 4, padding="same")],
    "two": lambda: [LAYERS.Conv1D(2, 3, dilation_rate=2), LAYERS.MaxPooling1D(2)],
    "three": lambda: [LAYERS.MaxPooling1D(2), LAYERS.Conv1D(2, 3), LAYERS.MaxPooling1D(3, 2)],
}


def model_of(name, steps=None):
    return sequential(*WINDOWS[name](), FastGRNN(2, return_sequences=True), steps=steps)


@pytest.mark.parametrize("name", WINDOWS)
def test_answers_are_as_many_as_keras_gives(name):
    model = model_of(name)
    feeding = trace(model).feeding
    for steps in range(feeding.shortest, 40):
        answered = model.compute_output_shape((1, steps, 3))[1]
        assert feeding.answer.answers(steps) == answered
        assert feeding.answer.steps(steps) == answered + feeding.answer.late
    assert feeding.shortest == 1 or feeding.answer.answers(feeding.shortest - 1) == 0


@pytest.mark.parametrize(
    "name, frames, unanswered",
    [("none", 1, 0), ("valid", 1, 2), ("causal", 1, 0), ("strides", 2, 2), ("same", 1, 2)]
    + [("causal strides", 3, 0), ("longer strides than kernel", 3, 0)],
)
def test_first_answer_comes_as_soon_as_its_frames_have(name, frames, unanswered):
    feeding = trace(model_of(name)).feeding
    assert (feeding.frames, feeding.answer.late) == (frames, unanswered)


def test_frames_of_a_step_lie_one_after_another_and_padding_is_zero():
    feeding = trace(model_of("causal strides")).feeding
    x = Sequences(np.arange(1.0, 25.0).reshape(2, 4, 3), np.array([4, 2]))
    fed = feeding.fed(x)
    assert fed.lengths.tolist() == [2, 1]
    first = [*range(1, 13), *[0] * 6]
    np.testing.assert_array_equal(fed.values[0].ravel(), first)
    np.testing.assert_array_equal(fed.values[1, 0], [*range(13, 19), 0, 0, 0])


def test_a_step_of_one_frame_is_fed_as_it_is():
    x = Sequences(np.ones((2, 4, 3)))
    assert trace(model_of("none")).feeding.fed(x) is x
