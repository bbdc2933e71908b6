"""Which integers a step is computed in, and models that are trained to be rounded to them."""

from keras_fastgrnn.quantization.aware_models import quantize_aware

__all__ = ["quantize_aware"]
