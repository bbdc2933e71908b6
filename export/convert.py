"""Keras model -> a model that TFLite Micro runs, in one call."""

import math
import warnings

import numpy as np

from keras_fastgrnn.export.c_text import check_name
from keras_fastgrnn.export.calibrate import calibrate, check_sequences
from keras_fastgrnn.export.choose import Int8Chooser, Int16Chooser, spread
from keras_fastgrnn.export.deployed import DeployedModel
from keras_fastgrnn.export.errors import PrecisionWarning
from keras_fastgrnn.export.graph import Graph, Tensor
from keras_fastgrnn.export.io_types import TYPES, with_io_types
from keras_fastgrnn.export.layers import chain_of
from keras_fastgrnn.export.precision import in_real_values, rounding_costs, twins_of
from keras_fastgrnn.export.rewrite import fold_all, simplify
from keras_fastgrnn.export.subgraphs import CONVERSIONS
from keras_fastgrnn.export.tflite import with_float_clips
from keras_fastgrnn.export.trace import trace
from keras_fastgrnn.export.trained import (
    held_range,
    quantize_trained,
    trained_options,
    trained_scales,
)
from keras_fastgrnn.keras_api import invalid_argument
from keras_fastgrnn.quantize_aware_layers import Options

CHOOSERS = {"int16x8": Int16Chooser, "int8": Int8Chooser}
CHOICES = {
    "quantization": ("auto", *CHOOSERS, None),
    "mode": ("streaming", "sequence"),
    "state": ("variable", "explicit"),
    "input_type": (*TYPES, None),
    "output_type": (*TYPES, None),
}

# Above this root mean square error, as a part of the outputs' standard deviation, convert warns;
# int8 weights leave 0.003 to 0.06.
LARGEST_RELATIVE_ERROR = 0.1

# Sequences of the calibration data on which the cost of each tensor's rounding is measured.
COSTING_SEQUENCES = 16

# An input channel whose standard deviation is fewer integer steps than this may explain it.
COARSE_LEVELS = {"int16": 64.0, "int8": 2.0}


def convert(
    model,
    calibration_data=None,
    *,
    quantization: str | None = "auto",
    mode: str = "streaming",
    state: str = "variable",
    input_type: str | None = None,
    output_type: str | None = None,
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

    Args:
        model: Trained Keras model, Sequential or Functional: a chain of Input, Normalization,
            Rescaling, Dropout, RNN with `FastRNNCell`, `FastGRNNCell`, `SimpleRNNCell`, `GRUCell`
            or `LSTMCell`, `FastRNN`, `FastGRNN`, `SimpleRNN`, `GRU`, `LSTM` and Dense layers, of
            the Keras that `keras_fastgrnn` runs on.
        calibration_data: Array of shape `(batch, steps, input_dim)`, as the Keras model takes
            it. Needed for "int16x8", "int8" and integer ends; otherwise it fills the report.
            Defaults to `None`.
        quantization: "int16x8", "int8", `None` for float32, or "auto" for what a
            quantization-aware model was trained for, else "int16x8". Defaults to "auto".
        mode: "streaming" for an input of shape `(1, input_dim)`, or "sequence" for one of shape
            `(1, steps, input_dim)`. Defaults to "streaming".
        state: "variable" to keep the state inside, for which only TFLite Micro has the means, or
            "explicit" for states as inputs and outputs of the file, after the model's own, which
            full TFLite runs too, but for ends that turn int8 into int16; its reference kernels
            compute the same integers, for which int8 weights are even, so of 7 bits. A sequence
            then begins with their zero points. Defaults to "variable".
        input_type: "int8", "int16" or "float32", the type of the model's own input. Defaults to
            `None`, the type it computes in.
        output_type: As `input_type`, for the model's own output. Defaults to `None`.
        name: String, a C identifier that names files and C symbols. Defaults to "model".

    Returns:
        `DeployedModel`.

    Raises:
        UnsupportedLayerError: If a layer cannot be exported; names all of them.
        ValueError: If an argument is invalid or the model computes NaN.
        TypeError: If `model` is not a model of this process's Keras.

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
    # Here, since it makes a quantization-aware model, for which training imports the exporter.
    from keras_fastgrnn.export.tfmot_models import without_wrappers

    model = without_wrappers(chain_of(model))
    trained = trained_options(model)
    options["quantization"] = quantization = _settled_quantization(quantization, state, trained)
    _, steps, input_dim = model.inputs[0].shape
    if mode == "sequence" and steps is None:
        raise ValueError(
            "Received an invalid value for argument model, expected a fixed number of steps for "
            "mode='sequence', got an input of any number. Begin it with Input((steps, input_dim))."
        )
    graph = trace(model)
    simplify(graph)
    name_tensors(graph)
    x, expected, ranges = calibration_data, None, {}
    integer_ends = {"int8", "int16"} & {input_type, output_type}
    needs_data = trained is None and (quantization is not None or integer_ends)
    if x is not None or needs_data:
        x = check_sequences(x, input_dim, "calibration_data", steps)
        expected = _keras_outputs(model, x)
        ranges = calibrate(graph, x)
    ends = ranges.get(graph.inputs[0]), ranges.get(graph.outputs[0])
    real, twins = graph, []
    if quantization is None:
        fold_all(graph)
    elif trained is not None:
        scales, joined = trained_scales(model, graph)
        real, graph = quantize_trained(graph, scales, joined, trained)
        ends = held_range(graph.inputs[0]), held_range(graph.outputs[0])
        twins = twins_of(real, graph)
        real = in_real_values(real, graph)
    else:
        chosen = CHOOSERS[quantization](graph, ranges, x, state == "explicit").choose()
        real = in_real_values(chosen.graph, chosen.integers)
        twins = twins_of(chosen.graph, chosen.integers)
        graph = chosen.integers
    inside = graph
    graph = with_float_clips(with_io_types(inside, input_type, output_type, *ends))
    costs = {}
    if x is not None:
        twins += _converted_ends(real, inside, graph)
        every_step = len(model.outputs[0].shape) == 3
        costs = rounding_costs(real, twins, spread(x, COSTING_SEQUENCES), every_step)
    deployed = DeployedModel(model, graph, options, name, x, expected, costs)
    if costs:
        _warn_of_imprecision(deployed, x)
    return deployed


def _settled_quantization(quantization: str | None, state: str, trained: Options | None):
    if trained is None:
        return "int16x8" if quantization == "auto" else quantization
    if quantization not in ("auto", trained.quantization):
        expected = f"{trained.quantization!r}, for which the model was trained"
        raise invalid_argument("quantization", expected, quantization)
    if trained.quantization == "int8" and state == "explicit":
        expected = "'variable': full TFLite needs weights of 7 bits, for which no model is trained"
        raise invalid_argument("state", expected, state)
    return trained.quantization


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


def _keras_outputs(model, x) -> np.ndarray:
    outputs = model.predict(x, verbose=0)
    if not np.isfinite(outputs).all():
        raise ValueError(
            "The model computes NaN or infinite values on the calibration data. Check its weights."
        )
    return outputs


def name_tensors(graph: Graph) -> None:
    """Gives every tensor that nothing named a name from its operator."""
    for index, op in enumerate(graph.ops):
        op.output.name = op.output.name or f"{op.kind.lower()}_{index}"
        for tensor in op.inputs:
            if tensor.is_constant:
                tensor.name = f"{op.output.name}/constant"


def _warn_of_imprecision(deployed, x) -> None:
    report = deployed.report
    error = report.agreement.relative_error
    if error <= LARGEST_RELATIVE_ERROR:
        return
    counted = _counted_input(deployed.graph)
    levels = x.std(axis=(0, 1)) / (counted.scale or math.inf)
    coarse = np.flatnonzero(levels < COARSE_LEVELS.get(counted.dtype, 0.0))
    costliest = next(iter(report.rounding_costs))
    advice = f"The rounding of {costliest!r} costs most. "
    if coarse.size:
        advice = (
            f"The input has one scale for all its channels, and channels {coarse.tolist()} vary by "
            f"only {levels[coarse].min():.2g} of its integer steps: bring the channels to a "
            "similar size before the model, in the training data and in the firmware, and leave "
            "out those that never change."
        )
    elif report.quantization == "int8":
        advice += "quantization='int16x8' rounds 256 times finer, at nearly the same size."
    else:
        advice += "Compare predict with the Keras model before you use it."
    warnings.warn(
        f"The integer outputs differ from the Keras model's by {100 * error:.2g} % of the outputs' "
        f"standard deviation on the calibration data. {advice}",
        PrecisionWarning,
        stacklevel=3,
    )


def _counted_input(graph: Graph) -> Tensor:
    """The input as the integers it is computed with, where there are any."""
    (x,), first = graph.inputs, graph.ops[0]
    is_converted = first.kind in CONVERSIONS and first.output.scale is not None
    return first.output if is_converted else x
