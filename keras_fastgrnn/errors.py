"""The exceptions of the exporter, and the one refusal of values that integers cannot hold."""


class UnsupportedLayerError(ValueError):
    """The model has layers that cannot be exported. Names every one of them at once."""


class UnsupportedOperatorError(ValueError):
    """The graph has an operator that is not registered, or not known in the type it has."""


class MissingRuntimeError(ImportError):
    """The TFLite Micro wheel is not installed."""


class SaturationWarning(UserWarning):
    """Values left the range that calibration or training saw, and were clipped."""


class PrecisionWarning(UserWarning):
    """The integers are too coarse for this model or data."""


class MalformedModelError(ValueError):
    """The bytes are not a TFLite model that can be read, or run, safely."""


class InexactExportError(RuntimeError):
    """What was written computes other integers than the reference: a mistake in this package."""


def too_different_in_size(name: str, bits: int) -> ValueError:
    """Returns the error for values whose integers TFLite Micro could not rescale in their widths.

    Args:
        name: String, the tensor they are around.
        bits: Integer, 8 or 16, of the activations.
    """
    return ValueError(
        f"The values around {name!r} differ too much in size for {bits}-bit integers. Scale the "
        "inputs or the weights of the model to the order of 1, and leave out input channels that "
        "never change: a Normalization multiplies them by 1e7."
    )
