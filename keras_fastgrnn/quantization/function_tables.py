"""What TFLite Micro's int16 LOGISTIC and TANH answer, computed in training.

They interpolate a table, which is up to 1.4 units of 2^-15 from the function: always the same way,
so that it would add up over the steps of a state.

`SIGMOID_TABLE` holds the numbers of `sigmoid_table_uint16` in TensorFlow Lite's
`kernels/internal/common.h` (Copyright The TensorFlow Authors, Apache License 2.0): sigmoid(i / 24)
in units of 2^-16. 44 of them are not the rounded formula, so they are carried as data.
"""

import numpy as np
import tensorflow as tf

from keras_fastgrnn.quantization.fixed_scales import INT16_RESULT_EXPONENT

SIGMOID_TABLE = np.fromstring(
    """
        32768 33451 34133 34813 35493 36169 36843 37513 38180 38841 39498 40149 40794 41432
        42064 42688 43304 43912 44511 45102 45683 46255 46817 47369 47911 48443 48964 49475
        49975 50464 50942 51409 51865 52311 52745 53169 53581 53983 54374 54755 55125 55485
        55834 56174 56503 56823 57133 57433 57724 58007 58280 58544 58800 59048 59288 59519
        59743 59959 60168 60370 60565 60753 60935 61110 61279 61441 61599 61750 61896 62036
        62172 62302 62428 62549 62666 62778 62886 62990 63090 63186 63279 63368 63454 63536
        63615 63691 63765 63835 63903 63968 64030 64090 64148 64204 64257 64308 64357 64405
        64450 64494 64536 64576 64614 64652 64687 64721 64754 64786 64816 64845 64873 64900
        64926 64950 64974 64997 65019 65039 65060 65079 65097 65115 65132 65149 65164 65179
        65194 65208 65221 65234 65246 65258 65269 65280 65291 65301 65310 65319 65328 65337
        65345 65352 65360 65367 65374 65381 65387 65393 65399 65404 65410 65415 65420 65425
        65429 65433 65438 65442 65445 65449 65453 65456 65459 65462 65465 65468 65471 65474
        65476 65479 65481 65483 65485 65488 65489 65491 65493 65495 65497 65498 65500 65501
        65503 65504 65505 65507 65508 65509 65510 65511 65512 65513 65514 65515 65516 65517
        65517 65518 65519 65520 65520 65521 65522 65522 65523 65523 65524 65524 65525 65525
        65526 65526 65526 65527 65527 65528 65528 65528 65529 65529 65529 65529 65530 65530
        65530 65530 65531 65531 65531 65531 65531 65532 65532 65532 65532 65532 65532 65533
        65533 65533 65533 65533 65533 65533 65533 65534 65534 65534 65534 65534 65534 65534
        65534 65534 65534 65535
    """,
    np.int64,
    sep=" ",
)

# The values of the table, and the steps to the next ones.
_ENTRIES = np.stack([SIGMOID_TABLE[:-1], np.diff(SIGMOID_TABLE)], axis=1).astype(np.float32)

# Both functions count what they read in this part of 1.
_INPUT_UNITS = 3.0 * 2.0**12
_UNIT = 2.0**INT16_RESULT_EXPONENT
_LARGEST = 2.0**15 - 1.0


def logistic(x):
    """Returns what LOGISTIC answers, without a gradient.

    Args:
        x: float32 tensor, multiples of a power of two.
    """
    magnitude, index, part = _place(x, 512.0)
    low, step = tf.unstack(tf.gather(_ENTRIES, index), axis=-1)
    half = tf.floor(0.5 * low)
    # (512 low + part step + 512) / 1024, in numbers that float32 holds.
    result = half + tf.floor((512.0 * (low - 2.0 * half) + part * step + 512.0) / 1024.0)
    result = tf.where(magnitude < 255.0 * 512.0, result, _LARGEST)
    return tf.stop_gradient(tf.where(x < 0.0, 2.0**15 - result, result) * _UNIT)


def tanh(x):
    """Returns what TANH answers, without a gradient.

    Args:
        x: float32 tensor, multiples of a power of two.
    """
    magnitude, index, part = _place(x, 256.0)
    low, step = tf.unstack(tf.gather(_ENTRIES, index), axis=-1)
    result = low - 2.0**15 + tf.floor((part * step + 128.0) / 256.0)
    result = tf.where(magnitude < 255.0 * 256.0, result, _LARGEST)
    return tf.stop_gradient(tf.sign(x) * result * _UNIT)


def _place(x, width: float) -> tuple:
    """Magnitudes in units of the table, the entries below them, and what they are beyond those."""
    magnitude = tf.abs(tf.floor(x * _INPUT_UNITS + 0.5))
    index = tf.cast(magnitude / width, tf.int32)
    index = tf.clip_by_value(index, 0, 254)  # also where x is NaN
    return magnitude, index, magnitude - tf.cast(index, tf.float32) * width


FUNCTIONS = {"sigmoid": logistic, "tanh": tanh}
