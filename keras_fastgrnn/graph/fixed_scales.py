"""What TFLite Micro's operators dictate about scales; training and export read it here."""

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Scale:
    """How integers stand for real values: `scale * (integer - zero_point)`."""

    scale: float
    zero_point: int = 0


# Kernels compute with these scales' ratios and products, which are then normal float32 numbers.
SMALLEST_SCALE, LARGEST_SCALE = 2.0**-60, 2.0**60

# The exponents of the scales: int16 LOGISTIC, TANH and SOFTMAX answer in units of 2^-15, and so
# does what is clipped to [0, 1] or [-1, 1]. LOGISTIC and TANH read units of 2^-12 without a
# multiplication, which is values up to 8.
INT16_RESULT_EXPONENT = -15
INT16_TABLE_EXPONENT = -12

# At 8, sigmoid is within 3.4e-4 of its limit, tanh within 2.3e-7.
INT16_LIMIT = 8.0

# int8 functions answer at these.
INT8_FUNCTION_SCALES = {
    "sigmoid": Scale(1 / 256, -128),
    "tanh": Scale(1 / 128, 0),
    "softmax": Scale(1 / 256, -128),
}

# Both limits of an int8 result that is clipped are integers.
CLIPPED_INT8_SCALES = {
    (0.0, 1.0): Scale(float(np.float32(1 / 255)), -128),
    (-1.0, 1.0): Scale(float(np.float32(1 / 127)), 0),
}

# Where sigmoid is half a unit of 2^-8 from its limit, and tanh half a unit of 2^-7.
INT8_LIMITS = {"sigmoid": math.log(2.0**9 - 1.0), "tanh": math.atanh(1.0 - 2.0**-8)}

# Finer steps before an int8 function would change nothing in its 8 bits.
FINEST_BEFORE_INT8_FUNCTION = 2.0**-12

# A calibrated int8 range is spread over the integers well inside the two ends, so that a value at
# an end tells that the range was left, and not that a value in it was rounded.
LOWEST_CALIBRATED_INT8, HIGHEST_CALIBRATED_INT8 = -124, 123
