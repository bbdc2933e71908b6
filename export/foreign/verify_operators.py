"""What TFLite Micro's kernels take for granted, operator by operator.

A kernel computes from the shapes of its tensors where to read and write, and mostly does not
compare them. A rule is a function of an `OperatorCall` that raises where they do not fit; those of
a family lie in a module of their own, and those of the operators of a graph in their entries. Types
stand in `signatures.SIGNATURES`.
"""

from collections.abc import Callable

from keras_fastgrnn.export.foreign import (
    verify_decode,
    verify_elementwise,
    verify_layers,
    verify_shapes,
    verify_variables,
)
from keras_fastgrnn.export.tflite.schema import ACTIVATIONS, OPTIONS, TYPE_BITS
from keras_fastgrnn.export.tflm.signatures import CUSTOM, SIGNATURES, describe_types, takes
from keras_fastgrnn.graph.operators import kinds, operator_of
from keras_fastgrnn.graph.operators.file_calls import OperatorCall

FAMILIES = (
    verify_decode,
    verify_elementwise,
    verify_layers,
    verify_shapes,
    verify_variables,
)
_RULES = {name: rule for family in FAMILIES for name, rule in family.RULES.items()}
# Without a table of options these compute with zeros, as the table would say.
_DEFAULTS_ARE_SAFE = {
    "ADD", "SUB", "MUL", "CONCATENATION", "DEQUANTIZE", "FULLY_CONNECTED", "GATHER", "EQUAL",
    "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL", "LOGICAL_AND", "LOGICAL_NOT", "LOGICAL_OR",
    "MAXIMUM", "MINIMUM", "NOT_EQUAL", "QUANTIZE", "READ_VARIABLE", "ASSIGN_VARIABLE", "RESHAPE",
    "SLICE", "BROADCAST_TO", "BATCH_TO_SPACE_ND", "SPACE_TO_BATCH_ND", "FILL", "EXPAND_DIMS", "EXP",
    "FLOOR_DIV", "FLOOR_MOD", "SQUARE", "ZEROS_LIKE", "SELECT_V2", "COS", "NEG", "ABS", "TRANSPOSE",
    "PAD", "PADV2", "DYNAMIC_UPDATE_SLICE", "ADD_N", "REVERSE_V2", "CAST", "HARD_SWISH",
    "GATHER_ND", "LOG_SOFTMAX", "SQUARED_DIFFERENCE", "STRIDED_SLICE", "RESIZE_NEAREST_NEIGHBOR",
}  # fmt: skip
# Their kernels unpack weights of int4.
_UNPACKED = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}
# Their rule says which activation they take.
_ACTIVATED_THEMSELVES = {"UNIDIRECTIONAL_SEQUENCE_LSTM"}


def check_operator(call: OperatorCall) -> None:
    """Checks an operator; one without a rule, for its number of tensors and their types alone.

    Args:
        call: The operator.

    Raises:
        MalformedModelError: If TFLite Micro does not have it, or its tensors do not fit it.
    """
    if call.name not in CUSTOM:
        _check_signature(call)
    _check_small_types(call)
    rule = rule_of(call.name)
    if rule is not None:
        rule(call)


def rule_of(name: str) -> Callable[[OperatorCall], None] | None:
    """Returns the function that checks the calls of an operator, `None` where there is none.

    Args:
        name: String, as `schema.operator_name` returns it.
    """
    own = operator_of(name).verify if name in kinds() else None
    return own or _RULES.get(name)


def _check_small_types(call: OperatorCall) -> None:
    """Two elements share a byte in weights alone, which their kernels unpack."""
    weights = call.inputs[1:2] if call.name in _UNPACKED else []
    for tensor in (*call.inputs, *call.outputs):
        if tensor is not None and TYPE_BITS[tensor.type] < 8:
            fits = tensor in weights and tensor.data is not None
            call.require(fits, f"{tensor.name} of type {tensor.type} is no weights")


def _check_signature(call: OperatorCall) -> None:
    signature = SIGNATURES.get(call.name)
    if signature is None:
        raise call.refusal("TFLite Micro does not have this operator")
    for what, tensors, expected in (
        ("inputs", call.inputs, signature.inputs),
        ("outputs", call.outputs, signature.outputs),
    ):
        low, high = (expected, expected) if isinstance(expected, int) else expected
        call.require(low <= len(tensors) <= high, f"it has {len(tensors)} {what}")
    for index, tensor in enumerate(call.inputs):
        call.require(tensor or index >= signature.optional, f"input {index} is left out")
    types = [t and t.type for t in call.inputs], [t.type for t in call.outputs]
    what = f"TFLite Micro does not compute {describe_types(*types)}"
    call.require(takes(call.name, *types), what)
    _check_options(call, signature)


def _check_options(call, signature) -> None:
    name = (OPTIONS.get(call.options_type) or "").removesuffix("Options")
    known = not call.options_type or name == signature.options
    call.require(known, f"its options are those of {name or call.options_type}")
    has = bool(call.options_type) and call.options is not None
    call.require(has or not call.options_type, "its table of options is absent")
    needed = signature.options is not None and call.name not in _DEFAULTS_ARE_SAFE
    call.require(has or not needed, "it has no options")
    if call.name not in _ACTIVATED_THEMSELVES:
        activation = (call.options or {}).get("fused_activation_function", 0)
        fused = ("NONE", "RELU", "RELU_N1_TO_1", "RELU6")
        fits = activation in [ACTIVATIONS[name] for name in fused]
        call.require(fits, f"its fused activation is number {activation}")
