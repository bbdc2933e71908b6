"""The whole way on real data: UCI HAR, six activities, windows of 128 steps of 9 channels."""

import numpy as np
import pytest

from keras_fastgrnn import FastGRNN, export, keras
from keras_fastgrnn.export.lowering.costs import COSTING_SEQUENCES
from keras_fastgrnn.graph.ranges import spread
from keras_fastgrnn.quantization import quantize_aware

UNITS = 32
EPOCHS = 8
BATCH = 100
QUANTIZED_EPOCHS = 1

# The test subjects move further than those whose sequences the ranges are from.
clips = pytest.mark.filterwarnings("ignore::keras_fastgrnn.export.SaturationWarning")


@pytest.fixture(scope="module")
def har(shared):
    archive = np.load(shared / "data" / "uci_har.npz")
    windows = archive["start"][:, np.newaxis] + np.arange(128)
    x, y = archive["signal"][windows].astype("float32"), archive["label"]
    train = archive["split"] == 0
    return {"train": (x[train], y[train]), "test": (x[~train], y[~train])}


@pytest.fixture(scope="module")
def trained(har):
    keras.utils.set_random_seed(0)
    x, y = har["train"]
    mean, variance = x.mean(axis=(0, 1)), x.var(axis=(0, 1))
    model = keras.Sequential(
        [
            keras.layers.Input((128, 9)),
            keras.layers.Normalization(mean=mean, variance=variance),
            FastGRNN(UNITS),
            keras.layers.Dense(6),
        ]
    )
    steps = EPOCHS * -(-len(x) // BATCH)
    learning_rate = keras.optimizers.schedules.CosineDecay(1e-2, steps)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(learning_rate), loss, jit_compile=True)
    model.fit(x, y, batch_size=BATCH, epochs=EPOCHS, verbose=0)
    return model


def round_weights_to_int8(weights):
    """What 8 bits leave of each matrix by itself, everything else in float."""
    rounded = []
    for value in weights:
        scale = np.abs(value).max() / 127.0
        rounded.append(np.round(value / scale) * scale if value.ndim == 2 else value)
    return rounded


def test_int16x8_on_tflm_classifies_the_uci_har_test_set_as_keras_does(har, trained, capsys):
    x, y = har["test"]
    keras_logits = trained.predict(x, verbose=0)
    weights = trained.get_weights()
    trained.set_weights(round_weights_to_int8(weights))
    rounded_classes = trained.predict(x, verbose=0).argmax(axis=1)
    trained.set_weights(weights)

    deployed = export.convert(trained, har["train"][0][::36], name="har")
    logits = deployed.predict(x)

    keras_classes, classes = keras_logits.argmax(axis=1), logits.argmax(axis=1)
    rounded_agreement = np.mean(rounded_classes == keras_classes)
    agreement = np.mean(classes == keras_classes)
    keras_accuracy, accuracy = np.mean(keras_classes == y), np.mean(classes == y)
    with capsys.disabled():
        print(
            f"\nUCI HAR test, H {UNITS}, {EPOCHS} epochs: accuracy Keras {keras_accuracy:.4f}, "
            f"TFLM {accuracy:.4f}; same class as Keras: TFLM {agreement:.4f}, rounding the "
            f"weights alone {rounded_agreement:.4f}; {deployed.report.file_bytes} bytes"
        )
    assert keras_accuracy > 0.85
    assert agreement >= rounded_agreement - 0.001
    assert abs(accuracy - keras_accuracy) <= 0.003
    np.testing.assert_array_equal(logits[::10], deployed.predict(x[::10], on="reference"))


@clips
def test_plain_c_with_powers_of_two_classifies_the_uci_har_test_set(har, trained, capsys):
    x, y = har["test"]
    keras_classes = trained.predict(x, verbose=0).argmax(axis=1)
    calibration_data = har["train"][0][::36]
    deployed = export.convert_c(trained, calibration_data, name="har", power_of_two_weights=True)
    logits = deployed.predict(x)
    np.testing.assert_array_equal(logits, deployed.predict(x, on="reference"))
    classes = logits.argmax(axis=1)
    keras_accuracy, accuracy = np.mean(keras_classes == y), np.mean(classes == y)
    with capsys.disabled():
        print(
            f"\nUCI HAR test, plain C, powers of two: accuracy Keras {keras_accuracy:.4f}, C "
            f"{accuracy:.4f}; same class {np.mean(classes == keras_classes):.4f}; "
            f"{sum(deployed.report.constant_bytes.values())} bytes of constants"
        )
    assert np.mean(classes == keras_classes) > 0.95
    assert abs(accuracy - keras_accuracy) < 0.015


@clips
@pytest.mark.filterwarnings("ignore::keras_fastgrnn.export.PrecisionWarning")
def test_int8_without_quantization_aware_training_tells_what_it_costs(har, trained, capsys):
    x, y = har["test"]
    keras_logits = trained.predict(x, verbose=0)
    calibration_data = har["train"][0][::36]
    deployed = export.convert(trained, calibration_data, quantization="int8", name="har")
    logits = deployed.predict(x)
    agreement = np.mean(logits.argmax(axis=1) == keras_logits.argmax(axis=1))
    keras_accuracy, accuracy = (np.mean(k.argmax(axis=1) == y) for k in (keras_logits, logits))
    name, cost = next(iter(deployed.report.rounding_costs.items()))
    costed = spread(calibration_data, COSTING_SEQUENCES)
    expected = trained.predict(costed, verbose=0)
    error = np.sqrt(np.mean((deployed.predict(costed) - expected) ** 2)) / np.std(expected)
    with capsys.disabled():
        print(
            f"\nUCI HAR test, int8: accuracy Keras {keras_accuracy:.4f}, TFLM {accuracy:.4f}; same "
            f"class as Keras {agreement:.4f}; error {error:.3f} of the outputs' deviation, of "
            f"which rounding {name} alone makes {cost:.3f}; {deployed.report.file_bytes} bytes"
        )
    assert agreement > 0.93
    assert accuracy > keras_accuracy - 0.03
    assert name.split("/")[-1] in ("state", "kept", "difference", "added")
    assert 0.2 * error < cost < 2.0 * error  # errors of several tensors cancel in part


def fine_tuned(trained, har, quantization):
    keras.utils.set_random_seed(0)
    x, y = har["train"]
    model = quantize_aware(trained, quantization, calibration_data=x[::36])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss, jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    model.fit(x[::6], y[::6], batch_size=BATCH, epochs=QUANTIZED_EPOCHS, verbose=0)
    return model


def compared(model, har, capsys):
    """The logits of a quantization-aware model and of its integers on TFLM, on the test set."""
    x, y = har["test"]
    trained_logits = model.predict(x, verbose=0)
    deployed = export.convert(model, name="har")
    logits = deployed.predict(x)
    difference = np.abs(logits - trained_logits) / np.ptp(trained_logits)
    accuracies = [np.mean(k.argmax(axis=1) == y) for k in (trained_logits, logits)]
    same = np.mean(logits.argmax(axis=1) == trained_logits.argmax(axis=1))
    with capsys.disabled():
        print(
            f"\nUCI HAR test, quantization-aware {deployed.report.quantization}: accuracy trained "
            f"{accuracies[0]:.4f}, TFLM {accuracies[1]:.4f}; same class {same:.4f}; difference of "
            f"logits over their range: p99 {np.percentile(difference, 99):.6f}, largest "
            f"{difference.max():.6f}; {deployed.report.file_bytes} bytes"
        )
    return trained_logits, logits, accuracies


@clips
def test_int16x8_on_tflm_is_what_quantization_aware_training_trained(har, trained, capsys):
    model = fine_tuned(trained, har, "int16x8")
    expected, logits, _ = compared(model, har, capsys)
    largest = np.sort(expected, axis=1)
    is_clear = largest[:, -1] - largest[:, -2] > 0.002 * np.ptp(expected)
    assert is_clear.mean() > 0.9
    np.testing.assert_array_equal(
        logits[is_clear].argmax(axis=1), expected[is_clear].argmax(axis=1)
    )
    assert np.percentile(np.abs(logits - expected), 99) <= 0.001 * np.ptp(expected)


@clips
def test_int8_on_tflm_is_what_quantization_aware_training_trained(har, trained, capsys):
    model = fine_tuned(trained, har, "int8")
    expected, logits, (trained_accuracy, accuracy) = compared(model, har, capsys)
    assert np.mean(logits.argmax(axis=1) == expected.argmax(axis=1)) >= 0.99
    assert abs(accuracy - trained_accuracy) <= 0.003
