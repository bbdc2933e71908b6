"""Inputs and outputs as the exporter's modes give them to a file, by name."""

from keras_fastgrnn.graph.graph import Tensor

SCALE = 0.0123456789  # no float32: the file and C hold its rounding
INT16 = {"dtype": "int16", "scale": 2.0**-11}
INT8 = {"dtype": "int8", "scale": SCALE, "zero_point": -17}


def _state(name, units, **kind):
    return Tensor(name, (1, units), **kind)


INTERFACES = {
    "int16": ([Tensor("input", (1, 3), **INT16)], [Tensor("output", (1, 2), **INT16)]),
    "float32": ([Tensor("input", (1, 3))], [Tensor("output", (1, 2))]),
    "int8": ([Tensor("input", (1, 3), **INT8)], [Tensor("output", (1, 2), **INT8)]),
    "int8 in, float32 out": ([Tensor("input", (1, 3), **INT8)], [Tensor("output", (1, 1))]),
    "float32 in, int16 out": ([Tensor("input", (1, 1))], [Tensor("output", (1, 2), **INT16)]),
    "explicit int16": (
        [Tensor("input", (1, 3), **INT16), _state("fast_grnn/state", 4, **INT16)],
        [Tensor("output", (1, 2), **INT16), _state("fast_grnn/state", 4, **INT16)],
    ),
    "explicit int8, two states": (
        [Tensor("x", (1, 3), **INT8), _state("*/a", 4, **INT8), _state("/* \u00e9\n\\", 5, **INT8)],
        [Tensor("y", (1, 2), **INT8), _state("*/a", 4, **INT8), _state("/* \u00e9\n\\", 5, **INT8)],
    ),
    "explicit float32": (
        [Tensor("input", (1, 3)), _state("state", 4)],
        [Tensor("output", (1, 2)), _state("state", 4)],
    ),
    "sequence": ([Tensor("input", (128, 3), **INT16)], [Tensor("output", (1, 2), **INT16)]),
    "sequence of answers, int8": (
        [Tensor("input", (1, 128, 3), **INT8)],
        [Tensor("output", (1, 128, 2), **INT8)],
    ),
}
