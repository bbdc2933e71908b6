"""TFLite files of every format, ours and TensorFlow's, and damage to them."""

import copy
import functools

import numpy as np
import tensorflow as tf
from small_models import CHANNELS, STEPS, sequences, sequential

from keras_fastgrnn import FastGRNN, export, keras
from keras_fastgrnn.export.tflite.flatbuffer_reader import read_model
from keras_fastgrnn.export.tflite.flatbuffer_writer import TableWriter

FORMATS = {
    "int16x8": {},
    "int8": {"quantization": "int8"},
    "float32": {"quantization": None},
    "explicit": {"state": "explicit", "input_type": "float32"},
    "sequence": {"mode": "sequence"},
    "int8 sequence": {"quantization": "int8", "mode": "sequence", "state": "explicit"},
}
CONVERTER = "TensorFlow's loop"


def small_model():
    return sequential(FastGRNN(5), keras.layers.Dense(2))


@functools.cache
def deployed(name):
    """The small model, exported in one of `FORMATS`."""
    return export.convert(small_model(), sequences(), **FORMATS[name])


@functools.cache
def of_converter() -> bytes:
    """A model as TensorFlow's own converter writes it, with a loop over its steps."""
    inputs = keras.layers.Input((STEPS, CHANNELS), batch_size=1)
    model = keras.Sequential([inputs, FastGRNN(5), keras.layers.Dense(2)])
    return tf.lite.TFLiteConverter.from_keras_model(model).convert()


def files() -> dict[str, bytes]:
    return {**{name: deployed(name).tflite for name in FORMATS}, CONVERTER: of_converter()}


def changed(data: bytes, change) -> bytes:
    """A file of ours with `change` made to its tables.

    Args:
        data: Bytes of a file.
        change: Function of the `Model` table.
    """
    model = copy.deepcopy(read_model(data))
    for buffer in model["buffers"]:
        if buffer["data"] is not None and buffer["data"].size % 8 == 0:
            buffer["data"] = buffer["data"].view(np.int64)  # so that it stays aligned to 8
    change(model)
    return TableWriter().finish(model)


def damaged(data: bytes, rng) -> bytes:
    """The file cut off, or with bits, bytes or numbers of it changed at random."""
    found = bytearray(data)
    kind = rng.integers(8)
    if kind == 0:
        return bytes(found[: rng.integers(len(found))])
    if kind == 1:
        count = int(rng.integers(1, 64))
        place = rng.integers(len(found) - count)
        found[place : place + count] = rng.bytes(count)
    elif kind == 2:
        number = rng.choice([0, 1, 2, 3, 100, 65536, 2**31 - 1, -1, -(2**31)])
        place = 4 * rng.integers(len(found) // 4)
        found[place : place + 4] = np.array(number, "<i4").tobytes()
    else:
        for _ in range(rng.choice([1, 1, 1, 2, 4, 16])):
            found[rng.integers(len(found))] ^= 1 << rng.integers(8)
    return bytes(found)
