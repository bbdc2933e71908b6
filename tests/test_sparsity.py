"""The callback that prunes the matrices of cells, in every model that has some."""

import itertools

import numpy as np
import pytest
from sparse_training import (
    BATCH,
    CHANNELS,
    STEPS,
    UNITS,
    Recorder,
    batches,
    model_of,
    train,
    weights_by_name,
)

from keras_fastgrnn import FastGRNN, FastGRNNCell, FastRNN, FastRNNCell, keras
from keras_fastgrnn.keras_api import IS_TF_KERAS, register
from keras_fastgrnn.models import weight_name
from keras_fastgrnn.sparsity import IterativeHardThresholding, PruneLowMagnitude
from keras_fastgrnn.tfmot_api import tfmot

if IS_TF_KERAS:
    import keras as other
else:
    import tf_keras as other

LAYERS = keras.layers
ALWAYS = IterativeHardThresholding(0.6, 1, 100, frequency=1)
HALF_AT_ONCE = tfmot.sparsity.keras.ConstantSparsity(0.5, 1, frequency=100)


def zeros(weights):
    return int(np.count_nonzero(weights == 0))


@register
class CellWithMoreWeights(FastGRNNCell):
    """A cell as quantization makes it: of the same matrices, and with weights of its own."""

    def build(self, input_shape):
        super().build(input_shape)
        self.range = self.add_weight(name="range", shape=(2, 2), trainable=False)


def nested():
    inner = keras.Sequential([LAYERS.Input((STEPS, CHANNELS)), FastGRNN(UNITS)])
    return model_of(inner)


class Custom(keras.Model):
    """A model with a call of its own, and a layer that holds a recurrent one."""

    def __init__(self):
        super().__init__()
        self.recurrent, self.head = LAYERS.RNN(FastRNNCell(UNITS)), LAYERS.Dense(2, name="head")

    def call(self, x):
        return self.head(self.recurrent(x))


def custom():
    model = Custom()
    model(np.zeros((1, STEPS, CHANNELS), "float32"))
    return model


MODELS = {
    "FastGRNN": lambda: model_of(FastGRNN(UNITS)),
    "FastRNN, low rank": lambda: model_of(FastRNN(UNITS, kernel_rank=2, recurrent_rank=3)),
    "RNN of a cell": lambda: model_of(LAYERS.RNN(FastGRNNCell(UNITS))),
    "RNN of a subclass": lambda: model_of(LAYERS.RNN(CellWithMoreWeights(UNITS))),
    "RNN of a stack": lambda: model_of(LAYERS.RNN([FastRNNCell(7), FastGRNNCell(UNITS)])),
    "Bidirectional": lambda: model_of(LAYERS.Bidirectional(FastGRNN(UNITS))),
    "model in a model": nested,
    "subclassed model": custom,
}


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_every_matrix_of_our_cells_is_pruned_after_every_step(make):
    model = make()
    model.compile("adam", "mse")
    seen = []

    def check(batch, logs):
        for weight in model.weights:
            name, values = weight_name(weight), weight.numpy()
            if "kernel" in name and "head" not in name:
                kept = int(np.rint(np.float32(values.size) * np.float32(0.4)))
                assert np.count_nonzero(values) == kept
                seen.append(name)

    callbacks = [
        PruneLowMagnitude(ALWAYS, ALWAYS),
        keras.callbacks.LambdaCallback(on_train_batch_end=check),
    ]
    model.fit(*batches(3), batch_size=BATCH, verbose=0, callbacks=callbacks)
    assert len(seen) == 3 * len(set(seen)) >= 3 * 2


def test_the_weights_of_the_head_stay_dense():
    model = model_of()
    train(model, batches(3), PruneLowMagnitude(ALWAYS, ALWAYS))
    weights = weights_by_name(model)
    assert zeros(weights["head_kernel"]) == 0
    assert zeros(weights["gate_bias"]) == zeros(weights["candidate_bias"]) == 0


@pytest.mark.parametrize("argument", ["kernel", "recurrent_kernel"])
def test_a_matrix_without_a_schedule_is_not_pruned(argument):
    model = model_of()
    train(model, batches(3), PruneLowMagnitude(**{argument: ALWAYS}))
    weights = weights_by_name(model)
    pruned = {name for name, values in weights.items() if zeros(values)}
    assert pruned == {argument}


def test_the_two_matrices_have_schedules_of_their_own():
    decay = tfmot.sparsity.keras.PolynomialDecay(0.2, 0.8, 2, 6, power=1, frequency=2)
    history = train(model_of(), batches(8), PruneLowMagnitude(HALF_AT_ONCE, decay))
    # What precedes step n + 1 follows step n: updates at the steps 2, 4 and 6 follow 1, 3 and 5.
    assert [zeros(w["kernel"]) for w in history] == [15] * 8
    assert [zeros(w["recurrent_kernel"]) for w in history] == [20, 20, 50, 50, 80, 80, 80, 80]


def test_the_mask_of_step_1_is_applied_before_the_first_step():
    """With a learning rate of 0 nothing but masks changes the weights."""
    model = model_of(optimizer=keras.optimizers.SGD(0.0))
    before = weights_by_name(model)["kernel"]
    (after,) = train(model, batches(1), PruneLowMagnitude(kernel=HALF_AT_ONCE))
    largest = np.abs(before) >= np.sort(np.abs(before), axis=None)[-15]
    np.testing.assert_array_equal(after["kernel"], before * largest)


def test_a_pruned_weight_returns_if_one_step_makes_it_one_of_the_largest():
    """The steps are far larger than the weights, so each mask is that of the last step."""
    model, data = model_of(optimizer=keras.optimizers.SGD(1.0)), batches(6)
    model.set_weights([1e-6 * weights for weights in model.get_weights()])
    every_step = tfmot.sparsity.keras.ConstantSparsity(0.8, 1, frequency=1)
    history = train(model, data, PruneLowMagnitude(kernel=every_step))
    supports = [weights["kernel"] != 0 for weights in history]
    assert [support.sum() for support in supports] == [6] * 6
    assert any((after & ~before).any() for before, after in itertools.pairwise(supports))


def test_between_two_thresholds_the_support_stays_or_everything_regrows():
    data = batches(12)
    for regrow in (False, True):
        schedule = IterativeHardThresholding(0.8, 3, 10, frequency=3, regrow=regrow)
        history = train(model_of(), data, PruneLowMagnitude(recurrent_kernel=schedule))
        counts = [zeros(weights["recurrent_kernel"]) for weights in history]
        # Thresholds precede the steps 3, 6 and 9; a step later, all weights are trained.
        assert counts == [0, *([80, 0, 0, 80, 0, 0, 80] if regrow else [80] * 7), *[80] * 4]
        supports = [weights["recurrent_kernel"] != 0 for weights in history[-5:]]
        assert all(np.array_equal(support, supports[0]) for support in supports)


def test_frozen_keeps_the_zeros_with_a_new_optimizer():
    model = model_of(FastGRNN(UNITS, recurrent_rank=4))
    train(model, batches(3), PruneLowMagnitude(ALWAYS, ALWAYS))
    names = ["kernel", "recurrent_kernel_left", "recurrent_kernel_right"]
    before = weights_by_name(model)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    for after in train(model, batches(4, seed=1), PruneLowMagnitude("frozen", "frozen")):
        for name in names:
            np.testing.assert_array_equal(after[name] == 0, before[name] == 0)
            assert not np.array_equal(after[name], before[name])


def test_a_matrix_that_begins_with_zeros_trains_all_its_weights_until_it_is_pruned():
    model = model_of(FastGRNN(UNITS, recurrent_initializer="identity"))
    schedule = IterativeHardThresholding(0.7, 4, 10)
    history = train(model, batches(4), PruneLowMagnitude(recurrent_kernel=schedule))
    assert [zeros(weights["recurrent_kernel"]) for weights in history] == [0, 0, 70, 70]


def test_one_callback_serves_two_models_in_turn():
    callback = PruneLowMagnitude(ALWAYS, ALWAYS)
    for units in (4, 6):
        model = model_of(FastGRNN(units))
        train(model, batches(2), callback)
        assert zeros(weights_by_name(model)["recurrent_kernel"]) == round(0.6 * units**2)


def test_gradients_of_several_batches_count_as_one_step():
    optimizer = {} if IS_TF_KERAS else {"gradient_accumulation_steps": 2}
    model = model_of(optimizer=keras.optimizers.SGD(0.1, **optimizer))
    schedule = IterativeHardThresholding(0.5, 3, 9, frequency=100)
    history = train(model, batches(6), PruneLowMagnitude(kernel=schedule))
    first = 1 if IS_TF_KERAS else 3
    assert [zeros(w["kernel"]) for w in history] == [0] * first + [15] * (6 - first)


def test_a_schedule_whose_steps_were_over_before_is_told():
    model = model_of()
    train(model, batches(6))
    schedule = IterativeHardThresholding(0.5, 2, 4)
    with pytest.warns(UserWarning, match="left no zeros in .*") as told:
        train(model, batches(2), PruneLowMagnitude(schedule, ALWAYS))
    (message,) = [str(one.message) for one in told if "no zeros" in str(one.message)]
    assert "/kernel: training ended after step 8 of the optimizer" in message
    assert "recurrent_kernel" not in message and "\n" not in message


@pytest.mark.filterwarnings("error:PruneLowMagnitude")
@pytest.mark.parametrize(
    "schedule",
    [
        IterativeHardThresholding(0.5, 20, 40),
        IterativeHardThresholding(0.5, 7, 40, frequency=8, regrow=True),
        IterativeHardThresholding(0.01, 1, 3),
        IterativeHardThresholding(0.5, 7, 9),
        tfmot.sparsity.keras.ConstantSparsity(0.0, 1),
        "frozen",
    ],
    ids=["not begun", "regrown", "too little for a zero", "pruned", "none", "frozen"],
)
def test_a_schedule_that_is_met_is_not_told(schedule):
    model = model_of()
    train(model, batches(6))
    for _ in range(2):
        train(model, batches(2), PruneLowMagnitude(kernel=schedule))


def fit(model, callback):
    train(model, batches(2), callback)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "argument kernel, expected a schedule, as recurrent_kernel has none, got None."),
        ({"kernel": 0.5}, "argument kernel, expected a TF-MOT PruningSchedule, 'frozen' or None"),
        ({"recurrent_kernel": "thawed"}, "argument recurrent_kernel, expected a TF-MOT"),
        (
            {"kernel": ALWAYS, "count": "most"},
            "argument count, expected 'rounded' or 'percentile', got 'most'.",
        ),
    ],
)
def test_invalid_argument_is_refused(arguments, message):
    with pytest.raises(ValueError) as error:
        PruneLowMagnitude(**arguments)
    assert message in str(error.value)


def test_model_without_recurrent_cells_is_refused():
    with pytest.raises(ValueError, match="expected a model with FastGRNN, FastRNN, GRU, LSTM or"):
        fit(model_of(LAYERS.GlobalAveragePooling1D()), PruneLowMagnitude(ALWAYS))


@pytest.mark.parametrize("layer", [LAYERS.GRU, LAYERS.LSTM, LAYERS.SimpleRNN])
def test_cells_of_keras_are_pruned(layer):
    model = model_of(layer(4, name="rnn"))
    fit(model, PruneLowMagnitude(ALWAYS, ALWAYS))
    cell = model.get_layer("rnn").cell
    for weight in (cell.kernel, cell.recurrent_kernel):
        assert 0.0 < np.mean(np.asarray(weight) == 0.0) < 1.0


def test_model_that_is_not_built_is_refused():
    model = keras.Sequential([FastGRNN(UNITS), LAYERS.Dense(2, name="head")])
    model.compile("adam", "mse")
    with pytest.raises(ValueError, match="expected a built Sequential or Functional model"):
        fit(model, PruneLowMagnitude(kernel=ALWAYS))


def test_model_of_the_other_keras_is_refused():
    inputs = other.layers.Input((3,))
    model = other.Model(inputs, other.layers.Dense(2)(inputs))
    model.compile("sgd", "mse")
    with pytest.raises(TypeError, match="belongs to"):
        model.fit(np.ones((4, 3)), np.ones((4, 2)), callbacks=[PruneLowMagnitude(ALWAYS)])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused_before_the_first_step(value):
    model = model_of()
    weights = model.get_weights()
    weights[1][2, 3] = value
    model.set_weights(weights)
    recorder = Recorder()
    with pytest.raises(ValueError) as error:
        train(model, batches(2), PruneLowMagnitude(recurrent_kernel=ALWAYS), recorder)
    message = str(error.value)
    assert message.startswith(f"The training diverged: PruneLowMagnitude found {value} in ")
    assert message.endswith(
        "/recurrent_kernel. Check that the data is finite, or give a lower learning rate."
    )
    assert not recorder.history


def test_data_that_is_not_finite_is_told_where_a_mask_changes():
    x, y = batches(2)
    with pytest.raises(ValueError, match="The training diverged: .* Check that the data is finite"):
        train(model_of(), (np.nan * x, y), PruneLowMagnitude(kernel=ALWAYS))


@pytest.mark.parametrize("schedule", [ALWAYS, "frozen"])
def test_a_matrix_of_zeros_is_refused_before_the_first_step(schedule):
    model = model_of(FastGRNN(UNITS, kernel_initializer="zeros"))
    with pytest.raises(ValueError, match="/kernel, got 'only zeros'"):
        fit(model, PruneLowMagnitude(kernel=schedule))
    assert int(model.optimizer.iterations.numpy()) == 0


def test_a_schedule_that_would_prune_everything_later_is_refused_before_the_first_step():
    model = model_of()
    decay = tfmot.sparsity.keras.PolynomialDecay(0.0, 0.99, 10, 20, frequency=1)
    with pytest.raises(ValueError) as error:
        fit(model, PruneLowMagnitude(kernel=decay))
    assert "argument kernel, expected a schedule that keeps one of the 30 weights of" in str(
        error.value
    )
    assert "got 'a sparsity of 0.99'." in str(error.value)
    assert int(model.optimizer.iterations.numpy()) == 0


def test_several_steps_per_execution_are_refused_before_the_first_step():
    model = model_of(steps_per_execution=4)
    with pytest.raises(ValueError, match="steps_per_execution above 1, got 4"):
        fit(model, PruneLowMagnitude(kernel=ALWAYS))
    assert int(model.optimizer.iterations.numpy()) == 0


def test_steps_that_were_not_seen_are_refused():
    """As where Keras chooses steps_per_execution by itself."""
    model, callback = model_of(), PruneLowMagnitude(kernel=ALWAYS)
    callback.set_model(model)
    callback.on_train_begin()
    callback.on_train_batch_begin(0)
    model.optimizer.iterations.assign(3)
    with pytest.raises(ValueError, match="steps_per_execution above 1, got 3"):
        callback.on_train_batch_end(0)


def test_an_optimizer_that_averages_weights_is_refused():
    model = model_of(optimizer=keras.optimizers.SGD(0.1, use_ema=True))
    with pytest.raises(ValueError, match="use_ema=True"):
        fit(model, PruneLowMagnitude(kernel=ALWAYS))
