"""The exceptions of the exporter that are not plain ValueError or TypeError."""


class UnsupportedLayerError(ValueError):
    """The model has layers that cannot be exported. Names every one of them at once."""


class MissingRuntimeError(ImportError):
    """The TFLite Micro wheel is not installed."""


class SaturationWarning(UserWarning):
    """Values left the range their tensor was given, and were clipped."""


class PrecisionWarning(UserWarning):
    """The integers are too coarse for this model or data."""


class MalformedModelError(ValueError):
    """The bytes are not a TFLite model that can be read, or run, safely."""
