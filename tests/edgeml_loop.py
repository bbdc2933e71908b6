"""The training of the authors' code (microsoft/EdgeML, `FastTrainer.train`) in float64 NumPy.

Each batch takes a step of the optimizer on all weights. Then, counting batches from 0: in the
second third of all batches, every `trim_level`-th leaves the largest weights of each matrix; after
a batch without that, from the first time on, each matrix keeps its zeros.

The equations are those of Kusupati et al. 2018, sections 3.1 and 3.2, with gradients by TensorFlow.
Nothing here comes from keras_fastgrnn, Keras or TF-MOT.
"""

import numpy as np
import tensorflow as tf


def hard_threshold(matrix, kept_fraction):
    """The authors' `hardThreshold`: which weights stay is NumPy's percentile, from above."""
    magnitudes = np.abs(matrix)
    limit = np.percentile(magnitudes, (1.0 - kept_fraction) * 100.0, method="higher")
    return np.where(magnitudes < limit, 0.0, matrix)


class Sgd:
    """Stochastic gradient descent, with Nesterov's momentum where it is not 0."""

    def __init__(self, learning_rate, momentum=0.0):
        self.learning_rate, self.momentum, self.velocity = learning_rate, momentum, {}

    def update(self, name, weight, gradient):
        step = -self.learning_rate * gradient
        velocity = self.momentum * self.velocity.get(name, 0.0) + step
        self.velocity[name] = velocity
        return weight + self.momentum * velocity + step


class Adam:
    """Kingma and Ba 2014, with the bias correction in the learning rate as in section 2."""

    def __init__(self, learning_rate, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
        self.learning_rate, self.epsilon = learning_rate, epsilon
        self.beta_1, self.beta_2 = beta_1, beta_2
        self.first, self.second, self.steps = {}, {}, {}

    def update(self, name, weight, gradient):
        t = self.steps[name] = self.steps.get(name, 0) + 1
        first = self.beta_1 * self.first.get(name, 0.0) + (1 - self.beta_1) * gradient
        second = self.beta_2 * self.second.get(name, 0.0) + (1 - self.beta_2) * gradient**2
        self.first[name], self.second[name] = first, second
        rate = self.learning_rate * np.sqrt(1 - self.beta_2**t) / (1 - self.beta_1**t)
        return weight - rate * first / (np.sqrt(second) + self.epsilon)


def loss(w, x, y):
    """Mean squared error of a classifier on the last state."""
    kernel, recurrent_kernel = _matrix(w, "kernel"), _matrix(w, "recurrent_kernel")
    h = tf.zeros((x.shape[0], recurrent_kernel.shape[1]), tf.float64)
    for t in range(x.shape[1]):
        pre = x[:, t] @ kernel + h @ recurrent_kernel
        if "zeta_logit" in w:
            z = tf.sigmoid(pre + w["gate_bias"])
            candidate = tf.tanh(pre + w["candidate_bias"])
            zeta, nu = tf.sigmoid(w["zeta_logit"]), tf.sigmoid(w["nu_logit"])
            h = (zeta * (1.0 - z) + nu) * candidate + z * h
        else:
            candidate = tf.tanh(pre + w["bias"])
            h = tf.sigmoid(w["alpha_logit"]) * candidate + tf.sigmoid(w["beta_logit"]) * h
    return tf.reduce_mean((h @ w["head_kernel"] + w["head_bias"] - y) ** 2)


def _matrix(w, name):
    return w[name] if name in w else w[f"{name}_left"] @ w[f"{name}_right"]


@tf.function
def _gradients(weights, x, y):
    with tf.GradientTape() as tape:
        tape.watch(weights)
        value = loss(weights, x, y)
    return tape.gradient(value, weights)


def train(weights, batches, optimizer, kept_fractions, trim_level=15):
    """Yields the weights after every batch.

    `weights` are float64 arrays by name, `batches` all `(x, y)` of the training, and
    `kept_fractions` has an entry for each matrix that is pruned.
    """
    weights = dict(weights)
    supports = {}
    first, last = int(len(batches) / 3.0), int(2 * len(batches) / 3.0)
    for counter, (x, y) in enumerate(batches):
        tensors = {name: tf.constant(value, tf.float64) for name, value in weights.items()}
        gradients = _gradients(tensors, tf.constant(x, tf.float64), tf.constant(y, tf.float64))
        for name, gradient in gradients.items():
            weights[name] = optimizer.update(name, weights[name], gradient.numpy())
        if first <= counter < last and counter % trim_level == 0:
            for name, fraction in kept_fractions.items():
                weights[name] = hard_threshold(weights[name], fraction)
                supports[name] = weights[name] != 0.0
        elif supports:
            for name, support in supports.items():
                weights[name] = np.where(support, weights[name], 0.0)
        yield dict(weights)
