"""The steps at which iterative hard thresholding prunes, and what it is made from."""

import pytest
import tensorflow as tf

from keras_fastgrnn.sparsity import IterativeHardThresholding


def updates(schedule, steps):
    """The steps at which the mask changes, with the sparsity it then has."""
    answers = {step: schedule(tf.constant(step, tf.int64)) for step in range(1, steps + 1)}
    return {step: round(float(s), 6) for step, (update, s) in answers.items() if update}


def test_the_mask_changes_every_few_steps_of_the_second_stage_alone():
    schedule = IterativeHardThresholding(0.7, begin_step=10, end_step=25, frequency=5)
    assert updates(schedule, 60) == {10: 0.7, 15: 0.7, 20: 0.7}


def test_every_fifteenth_step_is_the_default():
    assert list(updates(IterativeHardThresholding(0.5, 3, 40), 60)) == [3, 18, 33]


def test_weights_regrow_after_each_threshold_but_the_last():
    schedule = IterativeHardThresholding(0.7, 10, 25, frequency=5, regrow=True)
    assert updates(schedule, 60) == {10: 0.7, 11: 0.0, 15: 0.7, 16: 0.0, 20: 0.7}


@pytest.mark.parametrize("end_step", [13, 14, 15])
def test_nothing_regrows_where_no_threshold_follows(end_step):
    schedule = IterativeHardThresholding(0.7, 10, end_step, frequency=5, regrow=True)
    assert updates(schedule, 30) == {10: 0.7}


def test_thresholds_at_every_step_leave_nothing_to_regrow():
    schedule = IterativeHardThresholding(0.7, 2, 5, frequency=1, regrow=True)
    assert updates(schedule, 9) == {2: 0.7, 3: 0.7, 4: 0.7}


@pytest.mark.parametrize("steps", [45, 100, 150, 151.5, 152])
@pytest.mark.parametrize("frequency", [1, 7, 15])
def test_thirds_are_those_of_the_authors_loop(steps, frequency):
    """Their batch `n`, from 0, is followed by what precedes our step `n + 2`, from 1."""
    third, two_thirds = int(steps / 3.0), int(2 * steps / 3.0)
    expected = [n + 2 for n in range(third, two_thirds) if n % frequency == 0]
    schedule = IterativeHardThresholding.in_thirds(0.8, steps, frequency)
    assert list(updates(schedule, 160)) == expected
    assert schedule.end_step == two_thirds + 2


def test_thirds_can_regrow():
    schedule = IterativeHardThresholding.in_thirds(0.8, 30, 5, regrow=True)
    assert updates(schedule, 40) == {12: 0.8, 13: 0.0, 17: 0.8}


@pytest.mark.parametrize("regrow", [False, True])
def test_configuration_makes_the_same_schedule(regrow):
    schedule = IterativeHardThresholding(0.25, 4, 30, 3, regrow)
    config = schedule.get_config()
    assert config["class_name"] == "keras_fastgrnn>IterativeHardThresholding"
    copy = IterativeHardThresholding.from_config(config["config"])
    assert copy.get_config() == config
    assert updates(copy, 40) == updates(schedule, 40)


def test_schedule_answers_in_a_graph():
    schedule = IterativeHardThresholding(0.25, 4, 30, 3, regrow=True)
    in_graph = tf.function(schedule)
    for step in range(1, 35):
        found, wanted = in_graph(tf.constant(step, tf.int64)), schedule(step)
        assert [v.numpy() for v in found] == [v.numpy() for v in wanted]


VALID = {"sparsity": 0.5, "begin_step": 10, "end_step": 20, "frequency": 5}


@pytest.mark.parametrize(
    ("argument", "value", "expected"),
    [
        ("sparsity", 1.0, "a number in [0, 1)"),
        ("sparsity", -0.1, "a number in [0, 1)"),
        ("sparsity", float("nan"), "a number in [0, 1)"),
        ("sparsity", "0.5", "a number in [0, 1)"),
        ("sparsity", True, "a number in [0, 1)"),
        ("begin_step", 0, "an integer of at least 1"),
        ("begin_step", 2.5, "an integer of at least 1"),
        ("end_step", 10, "an integer of at least 11"),
        ("end_step", 5, "an integer of at least 11"),
        ("end_step", -1, "an integer of at least 11"),
        ("frequency", 0, "an integer of at least 1"),
        ("frequency", True, "an integer of at least 1"),
    ],
)
def test_argument_out_of_range_is_refused(argument, value, expected):
    with pytest.raises(ValueError) as error:
        IterativeHardThresholding(**{**VALID, argument: value})
    assert str(error.value) == (
        f"Received an invalid value for argument {argument}, expected {expected}, got {value!r}."
    )


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (0, "a positive number"),
        (float("inf"), "a positive number"),
        ("many", "a positive number"),
        (20, "so many that a multiple of 15 is in their second third"),
    ],
)
def test_training_without_a_second_third_is_refused(steps, expected):
    with pytest.raises(ValueError) as error:
        IterativeHardThresholding.in_thirds(0.5, steps)
    assert f"argument steps, expected {expected}, got {steps!r}." in str(error.value)
