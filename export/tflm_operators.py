"""What stock TFLite Micro computes: its operators, and the types that each takes.

Source: the wheel tflite-micro 0.dev20261023182759, asked with a model of one operator in every
type (`tests/test_tflm_operators.py` asks again). SVDF and UNIDIRECTIONAL_SEQUENCE_LSTM follow
their kernels' sources, and the custom operators are those that the wheel's library names.
"""

from dataclasses import dataclass

ANY = ""
_REALS = "float32 int8 int16"
_FLOAT_OR_INT8 = "float32 int8"
_WITH_INT32 = "float32 int8 int16 int32"
_COMPARED = "float32 int8 int32 int64"
_WEIGHTED = "float32,float32 int8,int8 int8,int4 int16,int8"


@dataclass(frozen=True)
class Signature:
    """How an operator is called.

    Attributes:
        inputs: Integer, how many inputs it has, or tuple of the fewest and the most.
        types: String, the types of the inputs that `typed` lists, "a,b" where it lists two,
            "a>b" with the output's; several are separated by blanks, `ANY` stands for all.
        options: String, the name of its table of options without "Options", or `None`.
        outputs: Integer, how many outputs it has, or tuple of the fewest and the most.
        typed: Tuple of integers, the inputs whose types count.
        optional: Integer, the first input that may be left out; 1,000 where none may.
    """

    inputs: int | tuple[int, int]
    types: str
    options: str | None = None
    outputs: int | tuple[int, int] = 1
    typed: tuple[int, ...] = (0,)
    optional: int = 1000


MANY = 1000
SIGNATURES = {
    "ABS": Signature(1, _REALS, "Abs"),
    "ADD": Signature(2, _WITH_INT32, "Add"),
    "ADD_N": Signature((1, MANY), _FLOAT_OR_INT8, "AddN"),
    "ARG_MAX": Signature(2, "float32>int32 int8>int32", "ArgMax"),
    "ARG_MIN": Signature(2, "float32>int32 int8>int32", "ArgMin"),
    "ASSIGN_VARIABLE": Signature(2, ANY, "AssignVariable", 0),
    "AVERAGE_POOL_2D": Signature(1, _REALS, "Pool2D"),
    "BATCH_MATMUL": Signature(2, _REALS, "BatchMatMul"),
    "BATCH_TO_SPACE_ND": Signature(3, _FLOAT_OR_INT8, "BatchToSpaceND"),
    "BROADCAST_ARGS": Signature(2, "int32 int64"),
    "BROADCAST_TO": Signature(2, ANY, "BroadcastTo"),
    "CALL_ONCE": Signature(0, ANY, "CallOnce", 0),
    "CAST": Signature(
        1,
        " ".join(
            f"{a}>{b}"
            for a in ("float32", "int8", "int16", "int32", "bool")
            for b in ("float32", "int8", "int16", "int32", "bool")
        ),
        "Cast",
    ),
    "CEIL": Signature(1, "float32"),
    "CONCATENATION": Signature((1, 10), "float32 int8 int16 int32 int64 bool", "Concatenation"),
    "CONV_2D": Signature((2, 3), _WEIGHTED, "Conv2D", typed=(0, 1), optional=2),
    "COS": Signature(1, "float32", "Cos"),
    "CUMSUM": Signature(2, _FLOAT_OR_INT8, "Cumsum"),
    "DEPTHWISE_CONV_2D": Signature((2, 3), _WEIGHTED, "DepthwiseConv2D", 1, (0, 1), 2),
    "DEPTH_TO_SPACE": Signature(1, _FLOAT_OR_INT8, "DepthToSpace"),
    "DEQUANTIZE": Signature(1, "int8>float32 int16>float32 uint8>float32", "Dequantize"),
    "DIV": Signature(2, _FLOAT_OR_INT8 + " int32", "Div"),
    "DYNAMIC_UPDATE_SLICE": Signature(3, _WITH_INT32, "DynamicUpdateSlice"),
    "ELU": Signature(1, _FLOAT_OR_INT8),
    "EMBEDDING_LOOKUP": Signature(2, _FLOAT_OR_INT8, typed=(1,)),
    "EQUAL": Signature(2, _COMPARED + " bool", "Equal"),
    "EXP": Signature(1, "float32", "Exp"),
    "EXPAND_DIMS": Signature(2, _REALS, "ExpandDims"),
    "FILL": Signature(2, "float32 int8 int32", "Fill", typed=(1,)),
    "FLOOR": Signature(1, "float32"),
    "FLOOR_DIV": Signature(2, "float32", "FloorDiv"),
    "FLOOR_MOD": Signature(2, "float32", "FloorMod"),
    "FULLY_CONNECTED": Signature((2, 3), _WEIGHTED, "FullyConnected", 1, (0, 1), 2),
    "GATHER": Signature(2, _FLOAT_OR_INT8, "Gather"),
    "GATHER_ND": Signature(2, _FLOAT_OR_INT8, "GatherNd"),
    "GREATER": Signature(2, _COMPARED + " int16", "Greater"),
    "GREATER_EQUAL": Signature(2, _COMPARED, "GreaterEqual"),
    "HARD_SWISH": Signature(1, _FLOAT_OR_INT8, "HardSwish"),
    "IF": Signature((1, MANY), "bool", "If", (0, MANY)),
    "L2_NORMALIZATION": Signature(1, _FLOAT_OR_INT8, "L2Norm"),
    "L2_POOL_2D": Signature(1, "float32", "Pool2D"),
    "LEAKY_RELU": Signature(1, _REALS, "LeakyRelu"),
    "LESS": Signature(2, _COMPARED, "Less"),
    "LESS_EQUAL": Signature(2, _COMPARED, "LessEqual"),
    "LOG": Signature(1, "float32"),
    "LOGICAL_AND": Signature(2, "bool", "LogicalAnd"),
    "LOGICAL_NOT": Signature(1, "bool", "LogicalNot"),
    "LOGICAL_OR": Signature(2, "bool", "LogicalOr"),
    "LOGISTIC": Signature(1, _REALS),
    "LOG_SOFTMAX": Signature(1, _FLOAT_OR_INT8, "LogSoftmax"),
    "MAXIMUM": Signature(2, _WITH_INT32 + " int64", "MaximumMinimum"),
    "MAX_POOL_2D": Signature(1, _REALS, "Pool2D"),
    "MEAN": Signature(2, _REALS, "Reducer"),
    "MINIMUM": Signature(2, _WITH_INT32 + " int64", "MaximumMinimum"),
    "MIRROR_PAD": Signature(2, _FLOAT_OR_INT8, "MirrorPad"),
    "MUL": Signature(2, _WITH_INT32, "Mul"),
    "NEG": Signature(1, "float32", "Neg"),
    "NOT_EQUAL": Signature(2, _COMPARED + " bool", "NotEqual"),
    "PACK": Signature((1, MANY), _WITH_INT32 + " int64", "Pack"),
    "PAD": Signature(2, _WITH_INT32, "Pad"),
    "PADV2": Signature(3, _WITH_INT32, "PadV2"),
    "PRELU": Signature(2, _FLOAT_OR_INT8),
    "QUANTIZE": Signature(
        1,
        "float32>int8 float32>int16 int8>int8 int8>int16 int8>int32 int8>uint8 int16>int8 "
        "int16>int16 int16>int32 int32>int8 int32>int16 uint8>int8",
        "Quantize",
    ),
    "READ_VARIABLE": Signature(1, ANY, "ReadVariable"),
    "REDUCE_ALL": Signature(2, "bool", "Reducer"),
    "REDUCE_MAX": Signature(2, _FLOAT_OR_INT8, "Reducer"),
    "REDUCE_MIN": Signature(2, _FLOAT_OR_INT8, "Reducer"),
    "RELU": Signature(1, _REALS),
    "RELU6": Signature(1, _REALS),
    "RESHAPE": Signature((1, 2), ANY, "Reshape"),
    "RESIZE_BILINEAR": Signature(2, _FLOAT_OR_INT8, "ResizeBilinear"),
    "RESIZE_NEAREST_NEIGHBOR": Signature(2, _REALS, "ResizeNearestNeighbor"),
    "REVERSE_V2": Signature(2, ANY, "ReverseV2"),
    "ROUND": Signature(1, "float32"),
    "RSQRT": Signature(1, _REALS),
    "SELECT_V2": Signature(3, _REALS, "SelectV2", typed=(1,)),
    "SHAPE": Signature(1, ANY, "Shape"),
    "SIN": Signature(1, "float32"),
    "SLICE": Signature(3, _WITH_INT32 + " bool", "Slice"),
    "SOFTMAX": Signature(1, "float32>float32 int8>int8 int8>int16 int16>int16", "Softmax"),
    "SPACE_TO_BATCH_ND": Signature(3, _FLOAT_OR_INT8, "SpaceToBatchND"),
    "SPACE_TO_DEPTH": Signature(1, _FLOAT_OR_INT8, "SpaceToDepth"),
    "SPLIT": Signature(2, _WITH_INT32, "Split", (1, MANY), (1,)),
    "SPLIT_V": Signature(3, _WITH_INT32, "SplitV", (1, MANY)),
    "SQRT": Signature(1, "float32"),
    "SQUARE": Signature(1, "float32", "Square"),
    "SQUARED_DIFFERENCE": Signature(2, _WITH_INT32, "SquaredDifference"),
    "SQUEEZE": Signature(1, ANY, "Squeeze"),
    "STRIDED_SLICE": Signature(4, _WITH_INT32 + " bool", "StridedSlice"),
    "SUB": Signature(2, _WITH_INT32, "Sub"),
    "SUM": Signature(2, _REALS, "Reducer"),
    "SVDF": Signature(5, "float32,float32 int8,int8", "SVDF", typed=(0, 1), optional=3),
    "TANH": Signature(1, _REALS),
    "TRANSPOSE": Signature(2, _REALS, "Transpose"),
    "TRANSPOSE_CONV": Signature(
        (3, 4), "float32,float32 int8,int8 int16,int8", "TransposeConv", 1, (2, 1), 3
    ),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": Signature(24, _REALS, "UnidirectionalSequenceLSTM", optional=1),
    "UNPACK": Signature(1, _WITH_INT32, "Unpack", (1, MANY)),
    "VAR_HANDLE": Signature(0, ANY, "VarHandle"),
    "WHILE": Signature((1, MANY), ANY, "While", (1, MANY)),
    "ZEROS_LIKE": Signature(1, _COMPARED, "ZerosLike"),
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
    if max(signature.typed) >= len(inputs) or signature.types == ANY:
        return signature.types == ANY
    found = ",".join(str(inputs[index]) for index in signature.typed)
    alternatives = signature.types.split()
    return found in alternatives or (bool(outputs) and f"{found}>{outputs[0]}" in alternatives)
