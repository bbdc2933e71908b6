"""The tables behind TFLite Micro's int16 LOGISTIC, TANH and SOFTMAX.

`SIGMOID_TABLE` holds the numbers of `sigmoid_table_uint16` in TensorFlow Lite's
`kernels/internal/common.h` (Copyright The TensorFlow Authors, Apache License 2.0): sigmoid(i / 24)
in units of 2^-16. 44 of them are not the rounded formula, so they are carried as data.
"""

import functools

import numpy as np

INT16_MIN, INT16_MAX = -32768, 32767

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
