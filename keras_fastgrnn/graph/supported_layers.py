"""Which layers a model has, and which of them cannot be exported."""

import dataclasses
import numbers

from keras_fastgrnn.errors import UnsupportedLayerError
from keras_fastgrnn.graph.calls import Call, Result, calls_of, is_functional
from keras_fastgrnn.graph.layer_handlers import HANDLERS
from keras_fastgrnn.graph.layer_handlers.advice import advice_on
from keras_fastgrnn.graph.operations import OPERATIONS, names_of_operations, operands_of
from keras_fastgrnn.keras_api import FLAVOR, IS_TF_KERAS, keras
from keras_fastgrnn.models import check_built, output_of, without_stateful

_ADVICE_ON_INPUTS = (
    "Put the channels of all inputs beside each other in the data, and build the model with one "
    "Input of them."
)
_ADVICE_ON_OUTPUTS = (
    "Convert a model for each output, keras.Model(model.inputs, model.outputs[0]), or join the "
    "heads into one Dense layer without a softmax."
)
_MASKING = keras.layers.Masking

_CALL_HINTS = {
    "initial_state": "it is given an initial_state; an exported model starts from zero",
    "mask": "it is given a mask of its own; use a Masking layer behind the Input",
    "training": "training=True leaves its dropout on; call it without",
}


def functional_of(model):
    """Returns a model that holds nothing but the layers on the way from input to output.

    What keeps its state from batch to batch begins from zero there: a device keeps it by itself.

    Args:
        model: Built Keras model with one input of shape `(batch, steps, input_dim)`.

    Returns:
        Functional model of the same layers.

    Raises:
        TypeError: If `model` is not a model of this process's Keras.
        ValueError: If it is not built, has several inputs or outputs, computes something of its
            own in `call`, or its input is not a sequence of vectors.
    """
    check_built(model)
    inputs = model.inputs
    if len(inputs) != 1 or len(model.outputs) != 1:
        advice = _ADVICE_ON_INPUTS if len(inputs) != 1 else _ADVICE_ON_OUTPUTS
        raise ValueError(
            "Received an invalid value for argument model, expected one input and one output, "
            f"got {len(inputs)} and {len(model.outputs)}. {advice} An exported model keeps its "
            "state inside and starts each sequence from zero, so no state can be either."
        )
    shape = tuple(inputs[0].shape)
    if len(shape) != 3 or shape[-1] is None:
        raise ValueError(
            "Received an invalid value for argument model, expected an input of shape (batch, "
            f"steps, input_dim), got {shape}."
        )
    if not is_functional(model):
        raise ValueError(
            "Received an invalid value for argument model, expected a Sequential or Functional "
            f"model, got a {type(model).__name__} with a call of its own, which would be missing "
            "from the export. Convert keras.Model(model.inputs, model.outputs) if that is enough."
        )
    return without_stateful(keras.Model(model.inputs[0], model.outputs[0]))


def unsupported_layers(calls: list[Call], answer: Result) -> list[str]:
    """Finds what of a model cannot be exported.

    Args:
        calls: List of `Call`, as `computing_calls` returns it.
        answer: `Result` that the model answers.

    Returns:
        List of one line for every such layer: its name, why, and what to use.
    """
    problems = [f"{call.title}: {why}." for call in calls for why in _problems(call)]
    if not problems:
        problems = [f"{call.title}: {why}." for call, why in call_problems(calls, answer)]
    if not problems and not any(isinstance(call.layer, keras.layers.RNN) for call in calls):
        problems.append("the whole model: it has no recurrent layer; use TensorFlow's converter.")
    return problems


def computing_calls(model) -> tuple[list[Call], Result]:
    """Returns what a model calls, as `calls_of` does, without what computes masks.

    Args:
        model: Functional model of one input and one output.
    """
    calls, answer = calls_of(model)
    mask = _mask_of_masking(calls)
    kept = []
    for call in calls:
        if getattr(output_of(call.layer), "dtype", None) != "bool":
            arguments = dict(call.arguments)
            if mask is not None and arguments.get("mask") == mask:
                del arguments["mask"]
            kept.append(dataclasses.replace(call, arguments=arguments))
    return kept, answer


def refuse_layers(problems: list[str]) -> None:
    """Raises the error for layers that cannot be exported.

    Args:
        problems: List of one line for every such layer.

    Raises:
        UnsupportedLayerError: If there is any.
    """
    if problems:
        lines = "\n".join(f"- {problem}" for problem in problems)
        raise UnsupportedLayerError(f"The model has layers that cannot be exported:\n{lines}")


def masking_of(model):
    """Returns the Masking layer of a model, or `None`.

    Args:
        model: Functional model.
    """
    call = _masking_call(calls_of(model)[0])
    return None if call is None else call.layer


def _masking_call(calls: list[Call]) -> Call | None:
    return next((one for one in calls if isinstance(one.layer, _MASKING)), None)


def title(layer) -> str:
    """Returns what errors call a layer."""
    return f"{layer.name} ({type(layer).__name__})"


def _problems(call: Call):
    if call.operation is not None:
        operation = OPERATIONS.get(call.operation)
        if operation is None:
            yield f"there is no exporter for this operation; use {names_of_operations()}"
        else:
            yield from operation.problems(call)
        return
    handler = HANDLERS.get(type(call.layer))
    if handler is None and is_functional(call.layer) and call.times > 1:
        yield f"it is used {call.times} times; use a model for each"
    elif handler is None:
        yield advice_on(type(call.layer).__name__)
    else:
        yield from handler.problems(call.layer)
    if getattr(call.layer, "quantization_mode", None) is not None:
        yield "Keras has quantized it; export the float model"


def call_problems(calls: list[Call], answer: Result):
    """Yields calls, and why the way they are made cannot be exported."""
    by_name = {call.name: call for call in calls}
    if answer.index:
        yield by_name[answer.name], "the model answers its state; let it answer the layer's output"
    yield from _masking_problems(calls)
    for call in calls[1:]:
        if call.times > 1:
            yield call, f"it is used {call.times} times; use a layer for each"
        hints = [w for name, w in _CALL_HINTS.items() if _is_given(call.arguments.get(name))]
        yield from ((call, why) for why in hints)
        if hints:
            continue
        if (
            len(call.sources) > 1
            and call.operation is None
            and not HANDLERS[type(call.layer)].merges
        ):
            yield call, "it is given several tensors; give it one"
        elif any(source.index for source in call.sources):
            yield call, "it reads a state; let it read the layer's output"
        elif len({len(output_of(by_name[one.name].layer).shape) for one in call.sources}) > 1:
            yield call, "it joins what there is at every step with what there is after the last"


def _is_given(argument) -> bool:
    return argument is not None and argument is not False


def _masking_problems(calls: list[Call]):
    """Yields calls, and why a device that is not fed masked steps would answer otherwise."""
    call = _masking_call(calls)
    if call is None:
        return
    masking = call.layer
    first, *following = calls[1:]
    for call in (one for one in (first, *following) if isinstance(one.layer, _MASKING)):
        if call is not first:
            yield call, "put it behind the Input, with the mask_value that padded steps have there"
    if not isinstance(masking.mask_value, numbers.Real):
        yield first, "its mask_value is not one number"
    for call in following:
        if call.operation is not None or len(call.sources) > 1:
            yield call, f"behind {masking.name} it computes padded steps too; use layers alone"
        elif HANDLERS[type(call.layer)].takes_frames(call.layer):
            yield (
                call,
                f"behind {masking.name} its windows take padded steps in, which a device is not "
                "fed; give sequences of unequal length without Masking",
            )
    while following and not isinstance(following[-1].layer, keras.layers.RNN):
        following.pop()
    for call in following:
        if not getattr(call.layer, "supports_masking", True):
            yield (
                call,
                f"in {FLAVOR} it loses the mask of {masking.name}, so that padded steps are "
                "computed; leave it out, and normalize the data before it is padded",
            )
        if getattr(call.layer, "zero_output_for_mask", False):
            yield (
                call,
                "zero_output_for_mask=True answers 0 at masked steps, where a device keeps its "
                "answer; build the model with zero_output_for_mask=False and the same weights",
            )


def _mask_of_masking(calls: list[Call]) -> Result | None:
    """The mask that a Masking layer gives the layers after it, where Keras computes it by itself.

    It is what reads the comparison of the layer's input with its `mask_value`.
    """
    masking = _masking_call(calls)
    if masking is None or IS_TF_KERAS:
        return None
    compared = [*masking.sources, masking.layer.mask_value]
    comparison = next(
        (
            one
            for one in calls
            if one.operation == "NotEqual" and operands_of(one.arguments) == compared
        ),
        None,
    )
    if comparison is None:
        return None
    reading = (one for one in calls if one.operation and Result(comparison.name) in one.sources)
    return next((Result(one.name) for one in reading), None)
