"""All weights, zeros too."""

import numpy as np

from keras_fastgrnn.storage.stored_matrix import Cost, Storage


def _encode(matrix):
    return matrix.ravel(), np.zeros(0, np.uint8), 0


DENSE = Storage(
    "dense",
    _encode,
    (
        Cost("four weights stored densely", 12, lambda r, c, kept: r * (c // 4)),
        Cost("a dense weight after a row's fours", 4, lambda r, c, kept: r * (c % 4)),
    ),
)
