"""The tables behind TFLite Micro's int16 LOGISTIC, TANH and SOFTMAX."""

import functools

import numpy as np

from keras_fastgrnn.quantization.function_tables import SIGMOID_TABLE as SIGMOID_TABLE

INT16_MIN, INT16_MAX = -32768, 32767


@functools.cache
def softmax_tables() -> tuple[np.ndarray, np.ndarray]:
    """Returns the tables of exp(x) on [-10, 0] and of 1 / (1 + x) on [0, 1], 513 entries each.

    TensorFlow Lite's `LUTPopulateInt16`, which computes them in float32 when a model is loaded.
    """
    one = np.float32(1)
    exponential = _table(np.exp, np.float32(10) / np.float32(65535), INT16_MAX)
    reciprocal = _table(lambda x: one / (one + x), one / np.float32(65535), INT16_MIN)
    return exponential, reciprocal


def _table(function, scale, zero_point):
    low, high = scale * (INT16_MIN - zero_point), scale * (INT16_MAX - zero_point)
    step = np.float32((high - low) / np.float32(512))
    starts = low + np.arange(512, dtype=np.float32) * step
    output_scale = np.float32(2.0) / np.float32(65535.0)
    span = output_scale * np.float32(INT16_MAX) - output_scale * np.float32(INT16_MIN)
    per_unit = np.float32(65536.0) / span
    values = function(starts) * per_unit
    following = function(low + np.arange(1, 513, dtype=np.float32) * step) * per_unit
    middle = _round(function(starts + step / np.float32(2)) * per_unit)
    interpolated = _round((following + _round(values)) / np.float32(2))
    entries = _round(values) - _round((interpolated - middle) / np.float32(2))
    last = _round(function(high) * per_unit)
    return np.clip(np.append(entries, last), INT16_MIN, INT16_MAX).astype(np.int64)


def _round(values):
    return np.trunc(values + np.copysign(np.float32(0.5), values))
