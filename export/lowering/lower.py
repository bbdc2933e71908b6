"""Keras model -> the graph of integers, or of floats, that a device is to compute."""

from dataclasses import dataclass

import numpy as np

from keras_fastgrnn.export.lowering.alternatives import Int8Chooser, Int16Chooser
from keras_fastgrnn.export.lowering.costs import in_real_values, twins_of
from keras_fastgrnn.export.lowering.dictated_units import free_dictated_units
from keras_fastgrnn.export.lowering.trained_scales import (
    RARELY,
    fold_offsets,
    held_range,
    quantize_trained,
    trained_options,
    trained_ranges,
    trained_scales,
)
from keras_fastgrnn.graph.given_sequences import GivenSequences
from keras_fastgrnn.graph.graph import Graph, Tensor, name_tensors
from keras_fastgrnn.graph.ranges import Range, calibrate
from keras_fastgrnn.graph.rewrite import fold_all, simplify
from keras_fastgrnn.graph.supported_layers import functional_of, masking_of, title
from keras_fastgrnn.graph.trace import trace
from keras_fastgrnn.keras_api import checked_boolean, invalid_argument, keras
from keras_fastgrnn.models import stateful_layers
from keras_fastgrnn.quantization.aware_layers import Options
from keras_fastgrnn.quantization.fake_quantization import WeightFormat
from keras_fastgrnn.quantization.tfmot_models import without_wrappers

CHOOSERS = {"int16x8": Int16Chooser, "int8": Int8Chooser}


@dataclass(frozen=True)
class LoweredModel:
    """A model as a device is to compute it.

    Attributes:
        model: Functional Keras model of the layers between input and output.
        quantization: String, "int16x8" or "int8", or `None` for float32.
        graph: `Graph` of integers, or of floats.
        real: Float `Graph` of the same operators.
        twins: List of pairs of a tensor of `real` and the integer tensor that rounds it.
        ends: The `Range` of the input and of the output, each `None` where it is not known.
        given: `GivenSequences`, the calibration data, or `None`.
        expected: What Keras answers to it, as `GivenSequences.answers` has it, or `None`.
        stateful: List of strings, the layers that keep their state from batch to batch in Keras.
    """

    model: keras.Model
    quantization: str | None
    graph: Graph
    real: Graph
    twins: list[tuple[Tensor, Tensor]]
    ends: tuple[Range | None, Range | None]
    given: GivenSequences | None
    expected: np.ndarray | list[np.ndarray] | None
    stateful: list[str]

    @property
    def returns_sequences(self) -> bool:
        """Whether the model answers at every step."""
        return len(self.model.outputs[0].shape) == 3

    @property
    def masking(self):
        """The model's Masking layer, or `None`."""
        return masking_of(self.model)

    @property
    def notes(self) -> list[str]:
        """What a firmware must do otherwise than the Keras model."""
        notes = [
            f"The layer {name} is stateful: a device keeps its state until it is reset, as Keras "
            "does; each sequence that was given here began from zero."
            for name in self.stateful
        ]
        notes += _notes_on_feeding(self.graph, self.model.inputs[0].shape[1])
        if self.masking is not None:
            notes.append(
                f"The layer {title(self.masking)} is left out: do not feed a step whose channels "
                f"are all {self.masking.mask_value:g}; the state stays what it is there, as in "
                "Keras."
            )
        return notes

    def at_fed_steps(self, answers) -> tuple[np.ndarray, np.ndarray]:
        """Returns what a device answers and what Keras does, where the device was fed.

        Args:
            answers: What `given.answers` returns of the model's kind.
        """
        if self.given is None or self.expected is None:
            raise ValueError("No answers of Keras are known without calibration data")
        if not self.returns_sequences:
            return answers, np.asarray(self.expected)
        return self.given.at_fed_steps(answers), self.given.at_fed_steps(self.expected)


def _notes_on_feeding(graph: Graph, steps: int | None) -> list[str]:
    feeding, notes = graph.feeding, []
    if feeding.frames > 1:
        notes.append(
            f"A step takes {feeding.frames} frames of the data at once, one after the other, the "
            "oldest first, since layers stride over them."
        )
    first = feeding.answer.late
    if first:
        answers = (
            "answer to the first step" if first == 1 else f"answers to the first {first} steps"
        )
        notes.append(
            f"Leave out the {answers} of a sequence, when the windows of layers are not full; the "
            "next answer is Keras's first."
        )
    lengths = [steps] if steps else range(feeding.shortest, feeding.shortest + feeding.frames)
    missing = {feeding.frames * feeding.answer.steps(length) - length for length in lengths}
    if max(missing) > 0:
        exactly = "" if len(missing) == 1 else "as many as the last step needs, at most "
        notes.append(
            f"After the {steps or 'last'} frames of a sequence feed {exactly}{max(missing)} of "
            "zeros, with which Keras pads it, for the last answer."
        )
    if feeding.length is not None:
        notes.append(
            f"Begin a new sequence after {feeding.length} frames: layers depend on that number."
        )
    return notes


def lower(
    model,
    calibration_data,
    quantization: str | None,
    *,
    mode: str = "streaming",
    state: str = "variable",
    has_integer_ends: bool = False,
    power_of_two_weights: bool = False,
) -> LoweredModel:
    """Traces, simplifies and quantizes a model; the arguments are those of `convert`.

    Args:
        has_integer_ends: Boolean, whether input or output are to be integers whatever is between.
            Defaults to `False`.
    """
    functional = functional_of(model)
    stateful = [title(layer) for layer in stateful_layers(model)]
    model = without_wrappers(functional)
    trained = trained_options(model)
    quantization = _settled_quantization(quantization, state, trained)
    power_of_two_weights = checked_boolean("power_of_two_weights", power_of_two_weights)
    _check_weights(power_of_two_weights, quantization, trained)
    _, steps, input_dim = model.inputs[0].shape
    if mode == "sequence" and steps is None:
        raise ValueError(
            "Received an invalid value for argument model, expected a fixed number of steps for "
            "mode='sequence', got an input of any number. Begin it with Input((steps, input_dim))."
        )
    graph = trace(model)
    feeding = graph.feeding
    masking = masking_of(model)
    if mode == "sequence" and masking is not None:
        expected = f"'streaming', where masked steps are not fed, for {title(masking)}"
        raise invalid_argument("mode", expected, mode)
    if trained is None:
        simplify(graph)
        if quantization is not None:
            free_dictated_units(graph)
    else:  # each layer is simplified, in a way that does not depend on its weights
        fold_offsets(graph)
    name_tensors(graph)
    given, expected, ranges = None, None, {}
    needs_data = trained is None and (quantization is not None or has_integer_ends)
    if calibration_data is not None or needs_data:
        given = GivenSequences(
            calibration_data, input_dim, "calibration_data", steps, masking, feeding
        )
        expected = _keras_outputs(model, given)
        ranges = calibrate(graph, given.fed)
    ends = ranges.get(graph.inputs[0]), ranges.get(graph.outputs[0])
    real, twins = graph, []
    if quantization is None:
        fold_all(graph)
    elif trained is not None:
        scales, joined = trained_scales(model, graph)
        real, graph = quantize_trained(graph, scales, joined, trained)
        ends = held_range(graph.inputs[0]), held_range(graph.outputs[0])
        twins = twins_of(real, graph)
        reached = trained_ranges(model)
        _set_seen({tensor: reached.get(tensor.name) for tensor, _ in twins}, twins, RARELY)
        real = in_real_values(real, graph)
    elif given is not None:
        weight_format = WeightFormat(power_of_two=power_of_two_weights)
        is_portable = state == "explicit"
        chooser = CHOOSERS[quantization](graph, ranges, given.fed, is_portable, weight_format)
        chosen = chooser.choose()
        real = in_real_values(chosen.graph, chosen.integers)
        twins = twins_of(chosen.graph, chosen.integers)
        _set_seen({tensor: (one.low, one.high) for tensor, one in ranges.items()}, twins)
        graph = chosen.integers
    return LoweredModel(model, quantization, graph, real, twins, ends, given, expected, stateful)


def _set_seen(seen: dict, twins, rarely: float = 0.0) -> None:
    for tensor, integer in twins:
        integer.seen, integer.rarely = seen.get(tensor), rarely


def _settled_quantization(
    quantization: str | None, state: str, trained: Options | None
) -> str | None:
    if trained is None:
        return "int16x8" if quantization == "auto" else quantization
    if quantization not in ("auto", trained.quantization):
        expected = f"{trained.quantization!r}, for which the model was trained"
        raise invalid_argument("quantization", expected, quantization)
    if trained.quantization == "int8" and state == "explicit":
        expected = "'variable': full TFLite needs weights of 7 bits, for which no model is trained"
        raise invalid_argument("state", expected, state)
    return trained.quantization


def _check_weights(
    power_of_two_weights: bool, quantization: str | None, trained: Options | None
) -> None:
    if not power_of_two_weights:
        return
    if quantization != "int16x8":
        raise invalid_argument("power_of_two_weights", "False but for 'int16x8'", True)
    if trained is not None and not trained.power_of_two_weights:
        expected = "False, since the model was trained with other scales"
        raise invalid_argument("power_of_two_weights", expected, True)


def _keras_outputs(model, given: GivenSequences) -> np.ndarray | list[np.ndarray]:
    outputs = given.keras_answers(model)
    if not all(np.isfinite(one).all() for one in outputs):
        raise ValueError(
            "The model computes NaN or infinite values on the calibration data. Check its weights."
        )
    return outputs
