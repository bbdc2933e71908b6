"""Keras models through tf.lite.TFLiteConverter, each in a process of its own: it may crash.

`convert` starts this file as that process.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_fastgrnn import FastGRNN, keras

UNITS, CLASSES = 16, 2
LAYERS = {
    "FastGRNN": FastGRNN,
    "GRU": keras.layers.GRU,
    "LSTM": keras.layers.LSTM,
    "SimpleRNN": keras.layers.SimpleRNN,
}
STATES = {"FastGRNN": ("h",), "GRU": ("h",), "LSTM": ("h", "c"), "SimpleRNN": ("h",)}
OPERATOR_SETS = {
    "int8": tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
    "int16x8": tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
}
CONVERTING = "The converter begins."
INTERFACE_TYPES = {"int8": tf.int8, "int16x8": tf.int16}


@dataclass(frozen=True)
class Job:
    """What is converted, and how.

    Attributes:
        layer: String, a key of `LAYERS`.
        form: String, "loop" or "unrolled" for a whole sequence, or "one step" for a model of one
            time step, whose states are inputs and outputs.
        quantization: String, "int8", "int16x8", or `None` for float32.
        batch_size: Integer, or `None` for the Keras model's usual, unknown one.
        flavor: String, "Keras 3" or "tf_keras".
        units, classes: Integers, of the recurrent and of the Dense layer.
    """

    layer: str
    form: str
    quantization: str | None
    batch_size: int | None = 1
    flavor: str = "Keras 3"
    units: int = UNITS
    classes: int = CLASSES


@dataclass(frozen=True)
class Conversion:
    """What came of a job.

    Attributes:
        tflite: Bytes of the file, or `None` where the converter failed.
        inputs: List of strings in the order of the file's inputs: "x", then names of states.
        outputs: List of strings in the order of the file's outputs: "y", then names of states.
        error: String, how the converter failed, in its own words where it had any.
    """

    tflite: bytes | None
    inputs: list[str] | None = None
    outputs: list[str] | None = None
    error: str | None = None


def sequence_model(
    layer: str,
    steps: int,
    channels: int,
    batch_size=None,
    unroll=False,
    units=UNITS,
    classes=CLASSES,
):
    """Builds a recurrent layer and a Dense layer on a sequence, with new weights.

    Args:
        layer: String, a key of `LAYERS`.
        steps: Integer, length of the sequence.
        channels: Integer, values of a time step.
        batch_size: Integer or `None`. Defaults to `None`.
        unroll: Boolean, whether the time steps are laid out one after the other.
        units, classes: Integers, of the recurrent and of the Dense layer. Default to 16 and 2.

    Returns:
        Keras model.
    """
    x = keras.layers.Input((steps, channels), batch_size=batch_size, name="x")
    sequence = LAYERS[layer](units, unroll=unroll)(x)
    return keras.Model(x, keras.layers.Dense(classes)(sequence))


def step_model(model, layer: str, batch_size=None):
    """Builds the model of one time step by hand: states in, states out, with shared weights.

    Args:
        model: Keras model of `sequence_model`.
        layer: String, a key of `LAYERS`.
        batch_size: Integer or `None`. Defaults to `None`.

    Returns:
        Keras model.
    """
    _, recurrent, head = model.layers
    channels, units = model.inputs[0].shape[-1], recurrent.output.shape[-1]
    x = keras.layers.Input((channels,), batch_size=batch_size, name="x")
    states = [keras.layers.Input((units,), batch_size=batch_size, name=n) for n in STATES[layer]]
    y, new_states = recurrent.cell(x, states)
    return keras.Model([x, *states], [head(y), *new_states])


def convert(job: Job, weights, x, folder: Path, timeout: float) -> Conversion:
    """Runs a job in a process of its own, or takes its result from the folder.

    Args:
        job: `Job`.
        weights: List of arrays, the weights of `sequence_model`.
        x: Array of shape `(batch, steps, channels)`, the representative data.
        folder: Path of the folder that results are kept in. A result counts for the same job,
            data, versions and text of this file; one that took too long is not kept.
        timeout: Float, seconds it may take.

    Returns:
        `Conversion`.

    Raises:
        RuntimeError: If it fails outside the converter.
    """
    folder = folder / _key(job, weights, x)
    tflite, result = folder / "model.tflite", folder / "result.json"
    if not result.exists():
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(folder / "data.npz", *weights, x=x)
        (folder / "job.json").write_text(json.dumps(asdict(job)))
        try:
            process = subprocess.run(
                [sys.executable, __file__, folder],
                env=_environment(job),
                capture_output=True,
                text=True,
                timeout=timeout,
            )
        except subprocess.TimeoutExpired:
            return Conversion(None, error=f"stopped after {timeout:g} s")
        if process.returncode < 0 and CONVERTING in process.stdout:
            name = signal.Signals(-process.returncode).name
            error = f"ended by signal {-process.returncode} ({name})"
            result.write_text(json.dumps({"error": error}))
        elif process.returncode != 0:
            raise RuntimeError(f"{job} failed outside the converter:\n{process.stderr}")
    known = json.loads(result.read_text())
    return Conversion(None if "error" in known else tflite.read_bytes(), **known)


def _key(job, weights, x) -> str:
    """A folder's name: what the job is, and a digest of all that its result depends on."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    digest.update(f"{job} {tf.__version__} {sys.version}".encode())
    for array in [*weights, x]:
        digest.update(np.ascontiguousarray(array).tobytes())
    words = [job.layer, job.form, job.quantization or "float32", digest.hexdigest()[:12]]
    return "-".join(words).replace(" ", "-").lower()


def _environment(job) -> dict[str, str]:
    """Nothing of this process's TensorFlow and Keras settings."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    flavor = {"TF_USE_LEGACY_KERAS": "1"} if job.flavor == "tf_keras" else {}
    return {**kept, **flavor, "TF_CPP_MIN_LOG_LEVEL": "3"}


def main(folder: Path) -> None:
    """Converts the job of a folder and leaves the result there."""
    job = Job(**json.loads((folder / "job.json").read_text()))
    data = dict(np.load(folder / "data.npz"))
    x = data.pop("x")
    is_unrolled = job.form == "unrolled"
    sizes = *x.shape[1:], job.batch_size, is_unrolled, job.units, job.classes
    model = sequence_model(job.layer, *sizes)
    model.set_weights(list(data.values()))
    inputs = {"x": x}
    if job.form == "one step":
        inputs = _inputs_of_steps(step_model(model, job.layer), x)
        model = step_model(model, job.layer, job.batch_size)
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if job.quantization is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: _samples(inputs)
        converter.target_spec.supported_ops = [OPERATOR_SETS[job.quantization]]
        converter.inference_input_type = INTERFACE_TYPES[job.quantization]
        converter.inference_output_type = INTERFACE_TYPES[job.quantization]
    print(CONVERTING, flush=True)
    try:
        tflite = converter.convert()
    except Exception as error:  # whatever it is, it is what the user of the converter sees
        result = {"error": f"{type(error).__name__}: {_first_message(str(error))}"}
    else:
        (folder / "model.tflite").write_bytes(tflite)
        result = _names(tflite, ["y", *list(inputs)[1:]])
    (folder / "result.json").write_text(json.dumps(result))


def _inputs_of_steps(step, x) -> dict[str, np.ndarray]:
    """What the model of one step is given in the course of the sequences."""
    names = [tensor.name for tensor in step.inputs]
    states = [np.zeros((len(x), tensor.shape[-1]), np.float32) for tensor in step.inputs[1:]]
    values = []
    for time in range(x.shape[1]):
        values.append([x[:, time], *states])
        _, *states = (np.asarray(output) for output in step(values[-1]))
    return {name: np.concatenate([v[i] for v in values]) for i, name in enumerate(names)}


def _samples(inputs):
    for index in range(len(inputs["x"])):
        yield {name: values[index : index + 1] for name, values in inputs.items()}


def _first_message(text) -> str:
    """The first error without the places in the graph that come before it."""
    return text.strip().partition("\n")[0].rpartition("): ")[2]


def _names(tflite, output_names) -> dict[str, list[str]]:
    """Names of the inputs and outputs in the file's order, which is not the Keras model's."""
    interpreter = tf.lite.Interpreter(model_content=tflite)
    signature = interpreter.get_signature_runner()
    inputs = {v["index"]: name for name, v in signature.get_input_details().items()}
    outputs = {v["index"]: name for name, v in signature.get_output_details().items()}
    if len(output_names) > 1:
        names = {f"output_{i}": name for i, name in enumerate(output_names)}
    else:
        names = dict.fromkeys(outputs.values(), "y")
    return {
        "inputs": [inputs[d["index"]] for d in interpreter.get_input_details()],
        "outputs": [names[outputs[d["index"]]] for d in interpreter.get_output_details()],
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
