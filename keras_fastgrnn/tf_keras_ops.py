"""The functions of `keras.ops` that rounding in training takes, for tf_keras, which has none."""

import tensorflow as tf

absolute = tf.abs
add = tf.add
broadcast_to = tf.broadcast_to
cast = tf.cast
ceil = tf.math.ceil
clip = tf.clip_by_value
convert_to_tensor = tf.convert_to_tensor
divide = tf.divide
floor = tf.floor
isfinite = tf.math.is_finite
isinf = tf.math.is_inf
logical_and = tf.logical_and
matmul = tf.matmul
maximum = tf.maximum
minimum = tf.minimum
multiply = tf.multiply
negative = tf.negative
power = tf.pow
round = tf.round
sigmoid = tf.sigmoid
sign = tf.sign
softmax = tf.nn.softmax
sqrt = tf.sqrt
stack = tf.stack
stop_gradient = tf.stop_gradient
subtract = tf.subtract
tanh = tf.tanh
unstack = tf.unstack
where = tf.where
zeros_like = tf.zeros_like


def concatenate(xs, axis=-1):
    return tf.concat(xs, axis)


def log2(x):
    return tf.math.log(x) / tf.math.log(2.0)


def max(x, axis=None, keepdims=False, initial=None):
    found = tf.reduce_max(x, axis, keepdims)
    return found if initial is None else tf.maximum(found, initial)


def min(x, axis=None, keepdims=False, initial=None):
    found = tf.reduce_min(x, axis, keepdims)
    return found if initial is None else tf.minimum(found, initial)


def any(x, axis=None, keepdims=False):
    return tf.reduce_any(x, axis, keepdims)


def all(x, axis=None, keepdims=False):
    return tf.reduce_all(x, axis, keepdims)


def sum(x, axis=None, keepdims=False):
    return tf.reduce_sum(x, axis, keepdims)


def reshape(x, newshape):
    return tf.reshape(x, newshape)


def transpose(x, axes=None):
    return tf.transpose(x, axes)


def take(x, indices, axis=None):
    return tf.gather(x, indices, axis=axis or 0)
