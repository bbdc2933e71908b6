"""Keras model -> a model that TFLite Micro runs, in one call."""

from keras_fastgrnn.export.deployed_model import DeployedModel
from keras_fastgrnn.export.firmware.names import check_name
from keras_fastgrnn.export.lowering.costs import rounding_costs
from keras_fastgrnn.export.lowering.end_types import TYPES, with_io_types
from keras_fastgrnn.export.lowering.lower import CHOOSERS, lower
from keras_fastgrnn.export.report.warnings import warn_of_imprecision
from keras_fastgrnn.export.tflite.write import with_float_clips
from keras_fastgrnn.graph.graph import Graph, Tensor
from keras_fastgrnn.keras_api import Data, invalid_argument, keras

CHOICES = {
    "quantization": ("auto", *CHOOSERS, None),
    "mode": ("streaming", "sequence"),
    "state": ("variable", "explicit"),
    "input_type": (*TYPES, None),
    "output_type": (*TYPES, None),
}


def convert(
    model: keras.Model,
    calibration_data: Data = None,
    *,
    quantization: str | None = "auto",
    mode: str = "streaming",
    state: str = "variable",
    input_type: str | None = None,
    output_type: str | None = None,
    power_of_two_weights: bool = False,
    name: str = "model",
) -> DeployedModel:
    """Exports a trained Keras model for TFLite Micro.

    In "streaming" mode an Invoke is one time step. The state is kept inside, and `Reset()` starts
    a new sequence; the head answers at every step, and after the last one the answer is the Keras
    model's. In "sequence" mode an Invoke is a whole sequence of fixed length, run by a loop in
    the file.

    "int16x8" has weights of 8 bits, activations and state of 16, and is computed in integers
    alone; it is the one to begin with. "int8" has activations and state of 8 bits too: about the
    same bytes in a small model, less RAM, and an error ten to fifty times as large, for the state
    is rounded to 1 in 256 at every step. The report names the tensor whose rounding costs most.

    Scales come from running `calibration_data` through the float model, so give some hundred
    sequences that reach what the device will see: a state that grows further later is clipped (and
    counted, see `DeployedModel.predict`). All channels of the input share one scale, so they
    should be of similar size. A `PrecisionWarning` tells where the integers differ much from the
    Keras model.

    The file has passed `keras_fastgrnn.export.verify`, and, where TFLite Micro is installed, some
    of the data (or, without data, drawn numbers) has run through it with the integers of the
    reference; the report says so.

    A Masking layer is left out: Keras keeps the state at a masked step, so a device that is not
    fed it computes the same. Calibration leaves masked steps out too, and the report says so.

    Args:
        model: Trained Keras model, Sequential or Functional, of one input and one output, of the
            Keras that `keras_fastgrnn` runs on. Its layers are Masking, Normalization,
            BatchNormalization, Rescaling, Dropout and others that act in training alone, RNN with
            `FastRNNCell`, `FastGRNNCell`, `SimpleRNNCell`, `GRUCell` or `LSTMCell`, `FastRNN`,
            `FastGRNN`, `SimpleRNN`, `GRU`, `LSTM`, Dense, Activation, ReLU, LeakyReLU, PReLU,
            Softmax, TimeDistributed, Conv1D, DepthwiseConv1D, SeparableConv1D, MaxPooling1D,
            AveragePooling1D, GlobalMaxPooling1D, GlobalAveragePooling1D, Flatten, Identity,
            Reshape that leaves a step as it is, and Add, Subtract, Multiply, Average, Maximum and
            Concatenate of branches; between them may be sums, differences and products of tensors
            and constants, a division by a constant, `h[:, -1]`, `x[..., 2:5]`, and models of such
            layers.
        calibration_data: Array of shape `(batch, steps, input_dim)`, as the Keras model takes
            it, or list of arrays of shape `(steps, input_dim)`. Needed for "int16x8", "int8" and
            integer ends; otherwise it fills the report. Defaults to `None`.
        quantization: "int16x8", "int8", `None` for float32, or "auto" for what a
            quantization-aware model was trained for, else "int16x8". Defaults to "auto".
        mode: "streaming" for an input of shape `(1, input_dim)`, or "sequence" for one of shape
            `(1, steps, input_dim)`. Where layers stride over frames a step has several of them,
            one after the other, as the report says. Defaults to "streaming".
        state: "variable" to keep the state inside, for which only TFLite Micro has the means, or
            "explicit" for states as inputs and outputs of the file, after the model's own, which
            full TFLite runs too, but for ends that turn int8 into int16; its reference kernels
            compute the same integers, for which int8 weights are even, so of 7 bits. A sequence
            then begins with their zero points. Defaults to "variable".
        input_type: "int8", "int16" or "float32", the type of the model's own input. Defaults to
            `None`, the type it computes in.
        output_type: As `input_type`, for the model's own output. Defaults to `None`.
        power_of_two_weights: Boolean, whether the scales of int16x8 weights are powers of two, so
            that a device rescales their products by shifts; up to a bit of 8 is lost. A
            quantization-aware model has the scales it trained with. Defaults to `False`.
        name: String, a C identifier that names files and C symbols. Defaults to "model".

    Returns:
        `DeployedModel`.

    Raises:
        UnsupportedLayerError: If a layer cannot be exported; names all of them.
        ValueError: If an argument is invalid, the model computes NaN, or its values differ too
            much in size for the integers.
        TypeError: If `model` is not a model of this process's Keras.
        InexactExportError: If TFLite Micro computes other integers than the reference.

    Example:

    >>> import numpy as np
    >>> from keras_fastgrnn import FastGRNN, keras
    >>> from keras_fastgrnn import export
    >>> layers = [keras.layers.Input((128, 9)), FastGRNN(16), keras.layers.Dense(2)]
    >>> x = np.random.default_rng(0).normal(size=(20, 128, 9))
    >>> deployed = export.convert(keras.Sequential(layers), x, name="gesture")
    >>> deployed.predict(x).shape
    (20, 2)
    >>> len(deployed.tflite) < 2100
    True
    """
    check_name(name)
    options = {
        "quantization": quantization,
        "mode": mode,
        "state": state,
        "input_type": input_type,
        "output_type": output_type,
    }
    for argument, value in options.items():
        _check_choice(argument, value)
    lowered = lower(
        model,
        calibration_data,
        quantization,
        mode=mode,
        state=state,
        has_integer_ends=bool({"int8", "int16"} & {input_type, output_type}),
        power_of_two_weights=power_of_two_weights,
    )
    options["quantization"] = lowered.quantization
    inside = lowered.graph
    graph = with_float_clips(with_io_types(inside, input_type, output_type, *lowered.ends))
    costs = {}
    if lowered.given is not None:
        twins = lowered.twins + _converted_ends(lowered.real, inside, graph)
        costs = rounding_costs(lowered.real, twins, lowered.given.fed, lowered.returns_sequences)
    deployed = DeployedModel(lowered, graph, options, name, costs)
    if lowered.given is not None and costs:
        warn_of_imprecision(deployed.report, graph, lowered.given.fed)
    return deployed


def _check_choice(argument: str, value) -> None:
    if not (value is None or isinstance(value, str)) or value not in CHOICES[argument]:
        choices = ", ".join(map(repr, CHOICES[argument]))
        raise invalid_argument(argument, f"one of {choices}", value)


def _converted_ends(real: Graph, inside: Graph, graph: Graph) -> list[tuple[Tensor, Tensor]]:
    """The float tensors of the model's ends, with the integers of another type they have there."""
    ends = zip(
        (*real.inputs, *real.outputs),
        (*inside.inputs, *inside.outputs),
        (*graph.inputs, *graph.outputs),
        strict=True,
    )
    return [(t, outer) for t, inner, outer in ends if outer is not inner and outer.scale]
