"""From a trained Keras model to what a microcontroller runs.

`convert` is the way in, `convert_c` that to plain C; the steps behind them are modules of their
own: `trace`, `rewrite`, `calibrate`, `quantize`, `tflite`, `c_source`, and `reference`, which
defines the arithmetic.
"""

from keras_fastgrnn.export.convert import convert
from keras_fastgrnn.export.convert_c import PlainCModel, PlainCReport, convert_c
from keras_fastgrnn.export.deployed import DeployedModel
from keras_fastgrnn.export.errors import (
    InexactExportError,
    MissingRuntimeError,
    PrecisionWarning,
    SaturationWarning,
    UnsupportedLayerError,
)
from keras_fastgrnn.export.host_compiler import MissingCompilerError
from keras_fastgrnn.export.report import Report

__all__ = [
    "DeployedModel",
    "InexactExportError",
    "MissingCompilerError",
    "MissingRuntimeError",
    "PlainCModel",
    "PlainCReport",
    "PrecisionWarning",
    "Report",
    "SaturationWarning",
    "UnsupportedLayerError",
    "convert",
    "convert_c",
]
