"""What layers that multiply and add for each channel share."""

import math

import numpy as np

from keras_fastgrnn.models import output_of


def is_per_channel(value, layer) -> bool:
    """Returns whether a value is one number, or one for each channel of a layer's output.

    Args:
        value: Array or number.
        layer: Built layer.
    """
    shape = np.shape(value)
    return math.prod(shape[:-1]) == 1 and shape[-1:] in ((), (1,), (output_of(layer).shape[-1],))
