"""Labels, loss and accuracy that fit a model's head, against NumPy."""

import numpy as np
import pytest
from small_models import CHANNELS, STEPS, sequences, sequential

from keras_fastgrnn import FastGRNN, keras
from keras_fastgrnn.classification import (
    accuracy,
    accuracy_metric,
    check_labeled,
    loss_for,
    macro_f1,
)

LAYERS = keras.layers
COUNT = 16


def model_with(*head, **kw):
    return sequential(FastGRNN(4, **kw), *head)


def softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


HEADS = {
    "logits": ([LAYERS.Dense(3)], softmax),
    "softmax": ([LAYERS.Dense(3, activation="softmax")], lambda p: p),
    "softmax layer": ([LAYERS.Dense(3), LAYERS.Softmax()], lambda p: p),
    "softmax activation": ([LAYERS.Dense(3), LAYERS.Activation("softmax")], lambda p: p),
    "one logit": ([LAYERS.Dense(1)], lambda z: np.hstack([1 - sigmoid(z), sigmoid(z)])),
    "sigmoid": ([LAYERS.Dense(1, activation="sigmoid")], lambda p: np.hstack([1 - p, p])),
}


def labels_of(kind, head, labels, rng):
    """Labels as a user gives them, and as a probability of each class."""
    classes = 2 if head in ("one logit", "sigmoid") else 3
    vectors = np.eye(classes)[labels % classes]
    if classes == 2:
        return (labels % 2 if kind == "integers" else labels[:, np.newaxis] % 2), vectors
    if kind == "probabilities":
        vectors = (vectors + rng.dirichlet(np.ones(classes), COUNT)).astype(np.float32) / 2
    return (labels if kind == "integers" else vectors), vectors


@pytest.mark.parametrize("kind", ["integers", "one-hot", "probabilities"])
@pytest.mark.parametrize("head", HEADS)
def test_loss_and_accuracy_fit_the_head(head, kind):
    layers, probabilities_of = HEADS[head]
    model = sequential(FastGRNN(4), *(type(x).from_config(x.get_config()) for x in layers))
    x = sequences(COUNT)
    probabilities = probabilities_of(np.float64(model(x)))
    rng = np.random.default_rng(0)
    y, vectors = labels_of(kind, head, rng.integers(0, 3, COUNT), rng)
    x, y = check_labeled("data", (x, y), model)

    expected = -(vectors * np.log(probabilities)).sum(axis=1).mean()
    model.compile(loss=loss_for(model, y), metrics=[accuracy_metric(model, y)])
    result = model.evaluate(x, y, verbose=0, return_dict=True)
    assert result["loss"] == pytest.approx(expected, rel=1e-4)
    right = np.mean(probabilities.argmax(axis=1) == vectors.argmax(axis=1))
    assert result["accuracy"] == pytest.approx(right)
    assert accuracy(model, x, y) == pytest.approx(right)


def test_labels_may_be_one_a_step():
    model = model_with(LAYERS.Dense(3), return_sequences=True)
    x = sequences(COUNT)
    labels = np.random.default_rng(0).integers(0, 3, (COUNT, STEPS))
    x, y = check_labeled("data", (x, labels), model)
    right = np.mean(np.asarray(model(x)).argmax(axis=2) == labels)
    assert accuracy(model, x, y) == pytest.approx(right)


X = sequences(2)
VECTORS = "labels that are integers, one-hot, or probabilities that add up to 1"
NAN = np.where(np.arange(CHANNELS) == 1, np.nan, X)
WRONG = {
    "no tuple": (X, "a tuple of inputs and labels, got 'ndarray'"),
    "three": ((X, [0, 1], [1, 1]), "a tuple of inputs and labels, got 'tuple'"),
    "masked": (
        (np.ma.masked_less(X, 0.0), [0, 1]),
        "arrays without masked values, got 'a masked array'",
    ),
    "masked labels": (
        (X, np.ma.masked_equal([0, 1], 1)),
        "arrays without masked values, got 'a masked array'",
    ),
    "empty": ((X[:0], []), "inputs of shape (None, 12, 3), not empty, got (0, 12, 3)"),
    "other steps": ((X[:, 1:], [0, 1]), "inputs of shape (None, 12, 3), not empty, got (2, 11, 3)"),
    "a matrix": ((X[0], [0] * 12), "inputs of shape (None, 12, 3), not empty, got (12, 3)"),
    "NaN": ((NAN, [0, 1]), "inputs that are finite numbers, got nan"),
    "ragged": (([[1.0], [1.0, 2.0]], [0, 1]), "inputs and labels that are arrays, got 'lists'"),
    "text": ((X.astype(str), [0, 1]), "inputs that are finite numbers, got 'str"),
    "no labels": ((X, None), "a label for each of the 2 inputs, got None"),
    "short": ((X, [0]), "a label for each of the 2 inputs, got 1"),
    "label too high": ((X, [0, 3]), "labels in [0, 2], got 3"),
    "label too low": ((X, [0, -1]), "labels in [0, 2], got -1"),
    "label between": ((X, [0, 0.5]), "labels in [0, 2], got 0.5"),
    "label of text": ((X, ["a", "b"]), "labels in [0, 2], got 'a'"),
    "label of NaN": ((X, [0, np.nan]), "labels in [0, 2], got nan"),
    "label a step": ((X, np.zeros((2, 12))), "labels of shape (None,), got (2, 12)"),
    "two hot": ((X, [[1, 0, 0], [0, 1, 1]]), f"{VECTORS}, got [0, 1, 1]"),
    "above 1 and below 0": ((X, [[1, 0, 0], [1.5, -0.5, 0]]), f"{VECTORS}, got [1.5, -0.5, 0.0]"),
    "less than 1": ((X, [[0.3, 0.3, 0.3], [1, 0, 0]]), f"{VECTORS}, got [0.3, 0.3, 0.3]"),
    "vector of NaN": ((X, [[np.nan, 1, 0], [1, 0, 0]]), f"{VECTORS}, got [nan, 1.0, 0.0]"),
    "vectors of text": ((X, [["a"] * 3] * 2), "labels that are numbers, got 'str"),
}


@pytest.mark.parametrize("case", WRONG)
def test_data_that_does_not_fit_is_refused(case):
    data, message = WRONG[case]
    with pytest.raises(ValueError) as error:
        check_labeled("data", data, model_with(LAYERS.Dense(3)))
    expected = f"Received an invalid value for argument data, expected {message}"
    assert str(error.value).startswith(expected)


def test_label_of_a_single_output_is_0_or_1():
    with pytest.raises(ValueError, match=r"expected labels in \[0, 1\], got"):
        check_labeled("data", (X, [0, 2]), model_with(LAYERS.Dense(1)))


@pytest.mark.parametrize("is_weighed", [False, True])
@pytest.mark.parametrize("head", ["logits", "one logit", "sigmoid"])
def test_macro_f1_is_the_mean_over_the_classes_that_occur(head, is_weighed):
    layers, probabilities_of = HEADS[head]
    model = sequential(FastGRNN(4), *(type(x).from_config(x.get_config()) for x in layers))
    outputs = np.asarray(model(sequences(COUNT)))
    answers = probabilities_of(np.float64(outputs)).argmax(axis=1)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, COUNT)  # the third class, if there is one, may be answered only
    weights = rng.integers(0, 3, COUNT) if is_weighed else np.ones(COUNT)

    scores = []
    for one in range(3):
        hits = false_alarms = misses = 0.0
        for label, answer, weight in zip(labels, answers, weights, strict=True):
            hits += weight * (label == one == answer)
            false_alarms += weight * (answer == one != label)
            misses += weight * (label == one != answer)
        if hits + false_alarms + misses:
            scores.append(2 * hits / (2 * hits + false_alarms + misses))
    given = weights if is_weighed else None
    assert macro_f1(model, labels, outputs, given) == pytest.approx(np.mean(scores))


def test_macro_f1_takes_labels_and_weights_of_steps_and_vectors():
    model = sequential(FastGRNN(4, return_sequences=True), LAYERS.Dense(3), steps=3)
    outputs = np.eye(3)[[[0, 1, 1], [2, 2, 0]]]
    labels = np.array([[0, 1, 2], [2, 0, 0]])
    # Of class 0: 2 hits, 1 miss; of 1: 1 hit, 1 false alarm; of 2: 1 hit of each.
    expected = np.mean([4 / 5, 2 / 3, 2 / 4])
    assert macro_f1(model, labels, outputs) == pytest.approx(expected)
    assert macro_f1(model, np.eye(3)[labels], outputs) == pytest.approx(expected)
    # Without the second sequence no 2 is answered, and the 2 of the first is missed.
    weights = np.array([1.0, 0.0])
    assert macro_f1(model, labels, outputs, weights) == pytest.approx(np.mean([1, 2 / 3, 0]))
