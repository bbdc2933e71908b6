"""From a trained Keras model to what a microcontroller runs.

`convert` is the way in, `convert_c` that to plain C. `reference` defines the arithmetic, and
`verify` checks files, whoever made them.
"""

from keras_fastgrnn.errors import (
    InexactExportError,
    MissingRuntimeError,
    PrecisionWarning,
    SaturationWarning,
    UnsupportedLayerError,
)
from keras_fastgrnn.export.convert import convert
from keras_fastgrnn.export.convert_c import PlainCModel, PlainCReport, convert_c
from keras_fastgrnn.export.deployed_model import DeployedModel
from keras_fastgrnn.export.foreign import verify
from keras_fastgrnn.export.plain_c.host import MissingCompilerError
from keras_fastgrnn.export.report.report import Report
from keras_fastgrnn.graph import reference

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
    "reference",
    "verify",
]
