"""Loads a saved Keras model, and says what is wrong where that fails."""

import json
import zipfile
from pathlib import Path

import h5py

from keras_fastgrnn.export.foreign.known_classes import refuse_unknown
from keras_fastgrnn.export.foreign.model_files import read_config
from keras_fastgrnn.keras_api import FLAVOR, IS_TF_KERAS, keras

ENDINGS = (".keras", ".h5")
LONGEST_REASON = 300


def load_model(path):
    """Loads a Keras model that was saved as one file, without running code from it.

    Args:
        path: Path of a `.keras` or `.h5` file, saved by the Keras of this process.

    Returns:
        Keras model.

    Raises:
        UnsupportedLayerError: If it names a class or function that the exporter does not know.
        ValueError: If it cannot be loaded; names the Keras that it belongs to where that is why.
        OSError: If the file cannot be read.
    """
    path = Path(path)
    if (path / "saved_model.pb").is_file():
        raise ValueError(_about_saved_model(path))
    if path.suffix not in ENDINGS:
        raise ValueError(f"Expected a model saved as .keras or .h5, got {path}.")
    config = read_config(path)
    refuse_unknown(config)
    if _has_gru_without_reset_after(config):
        raise ValueError(
            f"{path} is of a Keras that had no argument reset_after. Build the model with "
            f"GRU(..., reset_after=False), model.load_weights({str(path)!r}), and "
            "model.save('model.keras')."
        )
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # whatever Keras meets in a file
        version = _keras_version(path)
        if version and version.startswith("2.") != IS_TF_KERAS:
            other, switch = (
                ("Keras 3", "unset TF_USE_LEGACY_KERAS")
                if IS_TF_KERAS
                else ("tf_keras", "set TF_USE_LEGACY_KERAS=1")
            )
            raise ValueError(
                f"{path} was saved by {other} ({version}), and this is {FLAVOR}: {switch} in the "
                "environment."
            ) from error
        # Behind a layer's whole configuration Keras says what went wrong.
        text = str(error).rpartition("Exception encountered: ")[2]
        reason = " ".join(text.split()) or type(error).__name__
        if len(reason) > LONGEST_REASON:
            reason = reason[:LONGEST_REASON] + "..."
        raise ValueError(f"{path} cannot be loaded as a model by {FLAVOR}: {reason}") from error


def _about_saved_model(path) -> str:
    if (path / "keras_metadata.pb").is_file():
        return (
            f"{path} is a SavedModel of Keras 2. With TF_USE_LEGACY_KERAS=1 in the environment, "
            f"keras.models.load_model({str(path)!r}).save('model.keras') makes one file of it."
        )
    return (
        f"{path} is a SavedModel without the layers of Keras. Save the model as one file where it "
        "was made: model.save('model.keras')."
    )


def _has_gru_without_reset_after(config) -> bool:
    """Whether a GRU is of the only kind there was before `reset_after`, which is no default now."""
    if isinstance(config, list):
        return any(map(_has_gru_without_reset_after, config))
    if not isinstance(config, dict):
        return False
    inside = config.get("config")
    if config.get("class_name") == "GRU" and isinstance(inside, dict):
        return "reset_after" not in inside
    return any(map(_has_gru_without_reset_after, config.values()))


def _keras_version(path) -> str | None:
    """The version of Keras that saved a file, where the file says it."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return str(json.loads(archive.read("metadata.json"))["keras_version"])
        with h5py.File(path) as file:
            return str(file.attrs["keras_version"])
    except (OSError, KeyError, ValueError, TypeError, zipfile.BadZipFile):
        return None
