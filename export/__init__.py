"""From a trained Keras model to what a microcontroller runs.

`convert` is the way in; the steps behind it are modules of their own: `trace`, `rewrite`,
`calibrate`, `quantize`, `tflite`, and `reference`, which defines the arithmetic.
"""

from keras_fastgrnn.export.convert import convert
from keras_fastgrnn.export.deployed import DeployedModel
from keras_fastgrnn.export.errors import (
    MissingRuntimeError,
    PrecisionWarning,
    SaturationWarning,
    UnsupportedLayerError,
)
from keras_fastgrnn.export.report import Report

__all__ = [
    "DeployedModel",
    "MissingRuntimeError",
    "PrecisionWarning",
    "Report",
    "SaturationWarning",
    "UnsupportedLayerError",
    "convert",
]
