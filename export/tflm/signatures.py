"""What stock TFLite Micro computes: its operators, and the types that each takes.

Source: the wheel tflite-micro 0.dev20261023182759, asked with a model of one operator in every
type (`tests/export/tflm/test_signatures.py` asks again). SVDF, UNIDIRECTIONAL_SEQUENCE_LSTM follow
their kernels' sources, and so do inputs whose type a kernel takes for granted; the custom operators
are those that the wheel's library names.
"""

from dataclasses import dataclass

ANY = ""
_REALS = "float32 int8 int16"
_FLOAT_OR_INT8 = "float32 int8"
_WITH_INT32 = "float32 int8 int16 int32"
_COMPARED = "float32 int8 int32 int64"
_CAST = ("float32", "int8", "int16", "int32", "uint32", "bool")


@dataclass(frozen=True)
class Signature:
    """How an operator is called.

    Attributes:
        inputs: Integer, how many inputs it has, or tuple of the fewest and the most.
        types: String, the types of all inputs and outputs, as "T,int32>T"; the last stands for all
            that follow, several alternatives are separated by blanks. `T` stands for one of
            `values`, and `*` for any type.
        values: String, what `T` may be; `ANY` stands for all types.
        options: String, the name of its table of options without "Options", or `None`.
        outputs: Integer, how many outputs it has, or tuple of the fewest and the most.
        optional: Integer, the first input that may be left out; 1,000 where none may.
    """

    inputs: int | tuple[int, int]
    types: str
    values: str = ANY
    options: str | None = None
    outputs: int | tuple[int, int] = 1
    optional: int = 1000


def _lstm(x: str, weights: str, bias: str, cell: str) -> str:
    """The types of the LSTM's inputs in their order; those that `*` stands for are left out."""
    inputs = [x, *[weights] * 8, *"***", *[bias] * 4, *"**", x, cell, *"****"]
    return ",".join(inputs) + ">" + x


MANY = 1000
_WEIGHTED = (
    "float32,float32,float32>float32 int8,int8,int32>int8 int8,int4,int32>int8 "
    "int16,int8,int64>int16"
)
SIGNATURES = {
    "ABS": Signature(1, "T>T", _REALS, "Abs"),
    "ADD": Signature(2, "T,T>T", _WITH_INT32, "Add"),
    "ADD_N": Signature((1, MANY), "T>T", _FLOAT_OR_INT8, "AddN"),
    "ARG_MAX": Signature(2, "T,int32>int32", _FLOAT_OR_INT8, "ArgMax"),
    "ARG_MIN": Signature(2, "T,int32>int32", _FLOAT_OR_INT8, "ArgMin"),
    "ASSIGN_VARIABLE": Signature(2, "resource,*>", options="AssignVariable", outputs=0),
    "AVERAGE_POOL_2D": Signature(1, "T>T", _REALS, "Pool2D"),
    "BATCH_MATMUL": Signature(2, "T,T>T", _REALS, "BatchMatMul"),
    "BATCH_TO_SPACE_ND": Signature(3, "T,int32,int32>T", _FLOAT_OR_INT8, "BatchToSpaceND"),
    "BROADCAST_ARGS": Signature(2, "T,T>T", "int32 int64"),
    "BROADCAST_TO": Signature(2, "T,int32>T T,int64>T", options="BroadcastTo"),
    "CALL_ONCE": Signature(0, ">", options="CallOnce", outputs=0),
    "CAST": Signature(1, " ".join(f"{a}>{b}" for a in _CAST for b in _CAST), options="Cast"),
    "CEIL": Signature(1, "T>T", "float32"),
    "CONCATENATION": Signature(
        (1, 10), "T>T", "float32 int8 int16 int32 int64 bool", "Concatenation"
    ),
    "CONV_2D": Signature((2, 3), _WEIGHTED, options="Conv2D", optional=2),
    "COS": Signature(1, "T>T", "float32", "Cos"),
    "CUMSUM": Signature(2, "T,int32>T", _FLOAT_OR_INT8, "Cumsum"),
    "DEPTHWISE_CONV_2D": Signature((2, 3), _WEIGHTED, options="DepthwiseConv2D", optional=2),
    "DEPTH_TO_SPACE": Signature(1, "T>T", _FLOAT_OR_INT8, "DepthToSpace"),
    "DEQUANTIZE": Signature(1, "T>float32", "int8 int16 uint8", "Dequantize"),
    "DIV": Signature(2, "T,T>T", _FLOAT_OR_INT8 + " int32", "Div"),
    "DYNAMIC_UPDATE_SLICE": Signature(
        3, "T,T,int32>T T,T,int64>T", _WITH_INT32, "DynamicUpdateSlice"
    ),
    "ELU": Signature(1, "T>T", _FLOAT_OR_INT8),
    "EMBEDDING_LOOKUP": Signature(2, "int32,T>T", _FLOAT_OR_INT8),
    "EQUAL": Signature(2, "T,T>bool", _COMPARED + " bool", "Equal"),
    "EXP": Signature(1, "T>T", "float32", "Exp"),
    "EXPAND_DIMS": Signature(2, "T,int32>T", _REALS, "ExpandDims"),
    "FILL": Signature(2, "int32,T>T int64,T>T", "float32 int8 int32", "Fill"),
    "FLOOR": Signature(1, "T>T", "float32"),
    "FLOOR_DIV": Signature(2, "T,T>T", "float32", "FloorDiv"),
    "FLOOR_MOD": Signature(2, "T,T>T", "float32", "FloorMod"),
    "FULLY_CONNECTED": Signature((2, 3), _WEIGHTED, options="FullyConnected", optional=2),
    "GATHER": Signature(2, "T,int32>T", _FLOAT_OR_INT8, "Gather"),
    "GATHER_ND": Signature(2, "T,int32>T", _FLOAT_OR_INT8, "GatherNd"),
    "GREATER": Signature(2, "T,T>bool", _COMPARED + " int16", "Greater"),
    "GREATER_EQUAL": Signature(2, "T,T>bool", _COMPARED, "GreaterEqual"),
    "HARD_SWISH": Signature(1, "T>T", _FLOAT_OR_INT8, "HardSwish"),
    "IF": Signature((1, MANY), "bool,*>*", options="If", outputs=(0, MANY)),
    "L2_NORMALIZATION": Signature(1, "T>T", _FLOAT_OR_INT8, "L2Norm"),
    "L2_POOL_2D": Signature(1, "T>T", "float32", "Pool2D"),
    "LEAKY_RELU": Signature(1, "T>T", _REALS, "LeakyRelu"),
    "LESS": Signature(2, "T,T>bool", _COMPARED, "Less"),
    "LESS_EQUAL": Signature(2, "T,T>bool", _COMPARED, "LessEqual"),
    "LOG": Signature(1, "T>T", "float32"),
    "LOGICAL_AND": Signature(2, "T,T>T", "bool", "LogicalAnd"),
    "LOGICAL_NOT": Signature(1, "T>T", "bool", "LogicalNot"),
    "LOGICAL_OR": Signature(2, "T,T>T", "bool", "LogicalOr"),
    "LOGISTIC": Signature(1, "T>T", _REALS),
    "LOG_SOFTMAX": Signature(1, "T>T", _FLOAT_OR_INT8, "LogSoftmax"),
    "MAXIMUM": Signature(2, "T,T>T", _WITH_INT32 + " int64", "MaximumMinimum"),
    "MAX_POOL_2D": Signature(1, "T>T", _REALS, "Pool2D"),
    "MEAN": Signature(2, "T,int32>T", _REALS, "Reducer"),
    "MINIMUM": Signature(2, "T,T>T", _WITH_INT32 + " int64", "MaximumMinimum"),
    "MIRROR_PAD": Signature(2, "T,int32>T", _FLOAT_OR_INT8, "MirrorPad"),
    "MUL": Signature(2, "T,T>T", _WITH_INT32, "Mul"),
    "NEG": Signature(1, "T>T", "float32", "Neg"),
    "NOT_EQUAL": Signature(2, "T,T>bool", _COMPARED + " bool", "NotEqual"),
    "PACK": Signature((1, MANY), "T>T", _WITH_INT32 + " int64", "Pack"),
    "PAD": Signature(2, "T,int32>T", _WITH_INT32, "Pad"),
    "PADV2": Signature(3, "T,int32,T>T", _WITH_INT32, "PadV2"),
    "PRELU": Signature(2, "T,T>T", _FLOAT_OR_INT8),
    "QUANTIZE": Signature(
        1,
        "float32>int8 float32>int16 int8>int8 int8>int16 int8>int32 int8>uint8 int16>int8 "
        "int16>int16 int16>int32 int32>int8 int32>int16 uint8>int8",
        options="Quantize",
    ),
    "READ_VARIABLE": Signature(1, "resource>*", options="ReadVariable"),
    "REDUCE_ALL": Signature(2, "T,int32>T", "bool", "Reducer"),
    "REDUCE_MAX": Signature(2, "T,int32>T", _FLOAT_OR_INT8, "Reducer"),
    "REDUCE_MIN": Signature(2, "T,int32>T", _FLOAT_OR_INT8, "Reducer"),
    "RELU": Signature(1, "T>T", _REALS),
    "RELU6": Signature(1, "T>T", _REALS),
    "RESHAPE": Signature((1, 2), "T,*>T", options="Reshape"),
    "RESIZE_BILINEAR": Signature(2, "T,int32>T", _FLOAT_OR_INT8, "ResizeBilinear"),
    "RESIZE_NEAREST_NEIGHBOR": Signature(2, "T,int32>T", _REALS, "ResizeNearestNeighbor"),
    "REVERSE_V2": Signature(2, "T,int32>T", options="ReverseV2"),
    "ROUND": Signature(1, "T>T", "float32"),
    "RSQRT": Signature(1, "T>T", _REALS),
    "SELECT_V2": Signature(3, "bool,T,T>T", _REALS, "SelectV2"),
    "SHAPE": Signature(1, "*>int32", options="Shape"),
    "SIN": Signature(1, "T>T", "float32"),
    "SLICE": Signature(3, "T,int32,int32>T T,int64,int64>T", _WITH_INT32 + " bool", "Slice"),
    "SOFTMAX": Signature(1, "float32>float32 int8>int8 int8>int16 int16>int16", options="Softmax"),
    "SPACE_TO_BATCH_ND": Signature(3, "T,int32,int32>T", _FLOAT_OR_INT8, "SpaceToBatchND"),
    "SPACE_TO_DEPTH": Signature(1, "T>T", _FLOAT_OR_INT8, "SpaceToDepth"),
    "SPLIT": Signature(2, "int32,T>T", _WITH_INT32, "Split", (1, MANY)),
    "SPLIT_V": Signature(3, "T,*,int32>T", _WITH_INT32, "SplitV", (1, MANY)),
    "SQRT": Signature(1, "T>T", "float32"),
    "SQUARE": Signature(1, "T>T", "float32", "Square"),
    "SQUARED_DIFFERENCE": Signature(2, "T,T>T", _WITH_INT32, "SquaredDifference"),
    "SQUEEZE": Signature(1, "T>T", options="Squeeze"),
    "STRIDED_SLICE": Signature(4, "T,int32,int32,int32>T", _WITH_INT32 + " bool", "StridedSlice"),
    "SUB": Signature(2, "T,T>T", _WITH_INT32, "Sub"),
    "SUM": Signature(2, "T,int32>T", _REALS, "Reducer"),
    "SVDF": Signature(
        5,
        "float32,float32,float32,float32,float32>float32 int8,int8,int16,int32,int16>int8 "
        "int8,int8,int8,int32,int8>int8",
        options="SVDF",
        optional=3,
    ),
    "TANH": Signature(1, "T>T", _REALS),
    "TRANSPOSE": Signature(2, "T,int32>T", _REALS, "Transpose"),
    "TRANSPOSE_CONV": Signature(
        (3, 4),
        "int32,float32,float32,float32>float32 int32,int8,int8,int32>int8 "
        "int32,int8,int16,int64>int16 int32,int8,int16,int16>int16",
        options="TransposeConv",
        optional=3,
    ),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": Signature(
        24,
        " ".join(
            (
                _lstm("float32", "float32", "float32", "float32"),
                _lstm("int8", "int8", "int32", "int16"),
                _lstm("int16", "int8", "int64", "int16"),
            )
        ),
        options="UnidirectionalSequenceLSTM",
        optional=1,
    ),
    "UNPACK": Signature(1, "T>T", _WITH_INT32, "Unpack", (1, MANY)),
    "VAR_HANDLE": Signature(0, ">resource", options="VarHandle"),
    "WHILE": Signature((1, MANY), "*>*", options="While", outputs=(1, MANY)),
    "ZEROS_LIKE": Signature(1, "T>T", _COMPARED, "ZerosLike"),
}

CUSTOM = (
    "CIRCULAR_BUFFER", "SignalDelay", "SignalEnergy", "SignalFftAutoScale", "SignalFilterBank",
    "SignalFilterBankLog", "SignalFilterBankSpectralSubtraction", "SignalFilterBankSquareRoot",
    "SignalFramer", "SignalIrfft", "SignalOverlapAdd", "SignalPCAN", "SignalRfft", "SignalStacker",
    "SignalWindow", "TFLM_DECODE", "TFLite_Detection_PostProcess",
)  # fmt: skip


# Which inputs of an operator are its weights, and which its biases.
WEIGHTS = {
    "BATCH_MATMUL": (1,),
    "CONV_2D": (1,),
    "DEPTHWISE_CONV_2D": (1,),
    "EMBEDDING_LOOKUP": (1,),
    "FULLY_CONNECTED": (1,),
    "SVDF": (1, 2),
    "TRANSPOSE_CONV": (1,),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": range(1, 9),
}
BIASES = {
    "CONV_2D": (2,),
    "DEPTHWISE_CONV_2D": (2,),
    "FULLY_CONNECTED": (2,),
    "SVDF": (3,),
    "TRANSPOSE_CONV": (3,),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": range(12, 16),
}


def takes(name: str, inputs: list[str | None], outputs: list[str]) -> bool:
    """Returns whether TFLite Micro computes an operator in these types.

    Args:
        name: String, the operator's name.
        inputs: List of its inputs' types; `None` for one that is left out.
        outputs: List of its outputs' types.
    """
    if name in CUSTOM:
        return True
    if name not in SIGNATURES:
        return False
    signature = SIGNATURES[name]
    fewest = signature.inputs if isinstance(signature.inputs, int) else signature.inputs[0]
    if len(inputs) < fewest:
        return False
    return any(
        _fits(alternative, signature.values.split(), inputs, outputs)
        for alternative in signature.types.split()
    )


def describe_types(inputs: list[str | None], outputs: list[str]) -> str:
    """Returns the types of an operator for a message, each once."""
    sides = (", ".join(dict.fromkeys(kind for kind in side if kind)) for side in (inputs, outputs))
    return " to ".join(side or "nothing" for side in sides)


def _fits(alternative, values, inputs, outputs) -> bool:
    meant = set()
    for types, found in zip(alternative.split(">"), (inputs, outputs), strict=True):
        expected = [kind for kind in types.split(",") if kind]
        if found and not expected:
            return False
        expected += expected[-1:] * (len(found) - len(expected))
        for one, kind in zip(expected, found, strict=False):
            if kind is None or one == "*":
                continue
            if one == "T":
                meant.add(kind)
            elif one != kind:
                return False
    return len(meant) <= 1 and (not values or meant <= set(values))
