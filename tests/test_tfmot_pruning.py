"""TF-MOT's own pruning of our cells and layers; it takes tf_keras models only."""

import numpy as np
import pytest
from sparse_training import BATCH, CHANNELS, STEPS, Recorder, batches, model_of, train

from keras_fastgrnn import FastGRNN, FastGRNNCell, FastRNN, FastRNNCell, keras
from keras_fastgrnn.models import fast_cells
from keras_fastgrnn.sparsity import IterativeHardThresholding, PruneLowMagnitude, report
from keras_fastgrnn.tfmot_api import tfmot

pruning = tfmot.sparsity.keras
COUNT = 14
SCHEDULES = {
    "ours": IterativeHardThresholding(0.7, 4, 12, frequency=3),
    "ours, regrown": IterativeHardThresholding(0.7, 4, 12, frequency=3, regrow=True),
    "ours, from the first step": IterativeHardThresholding(0.7, 1, 9, frequency=2),
    "ConstantSparsity": pruning.ConstantSparsity(0.65, 3, frequency=4),
    "PolynomialDecay": pruning.PolynomialDecay(0.2, 0.8, 2, 12, frequency=1),
}
LAYERS = {
    "FastGRNN": lambda: FastGRNN(10),
    "FastRNN, low rank": lambda: FastRNN(10, kernel_rank=2, recurrent_rank=3),
    "RNN of a cell": lambda: keras.layers.RNN(FastGRNNCell(10)),
    "RNN of a stack": lambda: keras.layers.RNN([FastRNNCell(7), FastGRNNCell(10)]),
}


class MaskRecorder(Recorder):
    """Keeps the weights and the masks of TF-MOT's wrapper after every step."""

    def on_train_batch_end(self, batch, logs=None):
        variables = self.model.layers[0].pruning_vars
        self.history.append([(w.numpy(), mask.numpy()) for w, mask, _ in variables])


def twins(layer, schedule, optimizer):
    """Two models of the same weights, one of them wrapped by TF-MOT."""
    wrapped = model_of(pruning.prune_low_magnitude(layer(), schedule), optimizer())
    plain = model_of(layer(), optimizer())
    plain.set_weights([weight.numpy() for weight in wrapped.trainable_weights])
    return wrapped, plain


def wrapped_history(model, data):
    recorder = MaskRecorder()
    train(model, data, pruning.UpdatePruningStep(), recorder)
    return recorder.history


@pytest.mark.parametrize(
    ("layer", "schedule"),
    [*(("FastGRNN", name) for name in SCHEDULES), *((name, "ours") for name in LAYERS)][1:],
)
def test_our_callback_gives_the_weights_of_tfmot_at_every_step(layer, schedule):
    """TF-MOT updates and applies the masks of a step in the step; ours are on the weights then."""
    layer, schedule = LAYERS[layer], SCHEDULES[schedule]
    wrapped, plain = twins(layer, schedule, lambda: keras.optimizers.Adam(0.05))
    data = batches(COUNT)
    theirs = wrapped_history(wrapped, data)
    matrices = [weight for cell in fast_cells(plain) for weight in cell.get_prunable_weights()]
    ours = []
    record = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: ours.append([w.numpy() for w in matrices])
    )
    train(plain, data, PruneLowMagnitude(schedule, schedule), record)
    zeros = 0
    for step in range(COUNT - 1):
        masks = [mask for _, mask in theirs[step + 1]]
        for found, (weight, _), mask in zip(ours[step], theirs[step], masks, strict=True):
            np.testing.assert_array_equal(found != 0, mask != 0, f"step {step}")
            np.testing.assert_allclose(found, weight * mask, rtol=0, atol=1e-6)
            zeros += np.count_nonzero(mask == 0)
    assert zeros


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_only_the_matrices_are_pruned_and_stripping_leaves_their_zeros(layer):
    wrapped, _ = twins(layer, SCHEDULES["ours"], lambda: "adam")
    train(wrapped, batches(COUNT), pruning.UpdatePruningStep())
    stripped = pruning.strip_pruning(wrapped)
    assert type(stripped.layers[0]) is type(layer())
    assert len(stripped.weights) == len(wrapped.trainable_weights)
    for weight in stripped.weights:
        zeros = np.count_nonzero(weight.numpy() == 0)
        if "kernel" in weight.name and "head" not in weight.name:
            assert zeros == round(0.7 * weight.numpy().size)
        else:
            assert zeros == 0
    assert report(wrapped).total_bytes == report(stripped).total_bytes
    x = batches(2, seed=1)[0]
    np.testing.assert_array_equal(stripped.predict(x, verbose=0), wrapped.predict(x, verbose=0))


@pytest.mark.parametrize("layer", [LAYERS["FastGRNN"], LAYERS["RNN of a stack"]])
def test_training_goes_on_from_a_saved_pruned_model(layer, tmp_path):
    schedule, file = SCHEDULES["ours, regrown"], tmp_path / "model.keras"
    x, y = batches(COUNT)
    model, _ = twins(layer, schedule, lambda: "adam")
    # Two fits, as TF-MOT masks the weights at the end of each: after step 6, within a support.
    parts = [(x[: 6 * BATCH], y[: 6 * BATCH]), (x[6 * BATCH :], y[6 * BATCH :])]
    train(model, parts[0], pruning.UpdatePruningStep())
    model.save(file)
    with pruning.prune_scope():
        loaded = keras.models.load_model(file)
    found = loaded.layers[0].pruning_schedule
    assert type(found) is IterativeHardThresholding
    assert found.get_config() == schedule.get_config()
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))
    for one, other in zip(
        wrapped_history(loaded, parts[1]), wrapped_history(model, parts[1]), strict=True
    ):
        for (weight, mask), (expected, expected_mask) in zip(one, other, strict=True):
            np.testing.assert_array_equal(mask, expected_mask)
            np.testing.assert_allclose(weight, expected, rtol=0, atol=1e-6)


def test_a_whole_model_is_pruned():
    model = pruning.prune_low_magnitude(model_of(), SCHEDULES["ours"])
    model.compile("adam", "mse")
    train(model, batches(COUNT), pruning.UpdatePruningStep())
    kernels = [w.numpy() for w in model.trainable_weights if "kernel" in w.name]
    assert [np.count_nonzero(kernel) for kernel in kernels] == [9, 30, 6]


LOAD = """
import sys
import numpy as np
from keras_fastgrnn import keras, sparsity
from keras_fastgrnn.tfmot_api import tfmot
with tfmot.sparsity.keras.prune_scope():
    model = keras.models.load_model(sys.argv[1])
print(type(model.layers[0].pruning_schedule).__name__)
np.save(sys.argv[2], model.predict(np.load(sys.argv[3]), verbose=0))
"""


def test_a_pruned_model_loads_in_a_process_of_its_own(run_python, tmp_path):
    model, _ = twins(LAYERS["RNN of a cell"], SCHEDULES["ours"], lambda: "adam")
    train(model, batches(5), pruning.UpdatePruningStep())
    model.save(tmp_path / "model.keras")
    x = np.ones((2, STEPS, CHANNELS), "float32")
    np.save(tmp_path / "x.npy", x)
    files = [tmp_path / name for name in ("model.keras", "y.npy", "x.npy")]
    output = run_python("-c", LOAD, *files, TF_USE_LEGACY_KERAS="1")
    assert output.strip() == "IterativeHardThresholding"
    np.testing.assert_allclose(np.load(files[1]), model.predict(x, verbose=0), rtol=0, atol=1e-6)
