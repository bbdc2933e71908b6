"""TFLite's flatbuffer schema: its numbers and the tables that are read or written here.

Source: TensorFlow Lite's `schema.fbs`, version 3, of tflite-micro 0.dev20261023182759. A table
is a dictionary from field name to value. Fields that nothing here needs are not listed.
"""

import math
from dataclasses import dataclass

FILE_IDENTIFIER = b"TFL3"
VERSION = 3

_TYPES_IN_ORDER = """
    float32 float16 int32 uint8 int64 string bool int16 complex64 int8 float64 complex128 uint64
    resource variant uint32 uint16 int4 bfloat16 int2 uint4 float8_e4m3fn float8_e5m2
"""
_OPERATORS_IN_ORDER = """
    ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE
    EMBEDDING_LOOKUP FLOOR FULLY_CONNECTED HASHTABLE_LOOKUP L2_NORMALIZATION L2_POOL_2D
    LOCAL_RESPONSE_NORMALIZATION LOGISTIC LSH_PROJECTION LSTM MAX_POOL_2D MUL RELU RELU_N1_TO_1
    RELU6 RESHAPE RESIZE_BILINEAR RNN SOFTMAX SPACE_TO_DEPTH SVDF TANH CONCAT_EMBEDDINGS
    SKIP_GRAM CALL CUSTOM EMBEDDING_LOOKUP_SPARSE PAD UNIDIRECTIONAL_SEQUENCE_RNN GATHER
    BATCH_TO_SPACE_ND SPACE_TO_BATCH_ND TRANSPOSE MEAN SUB DIV SQUEEZE
    UNIDIRECTIONAL_SEQUENCE_LSTM STRIDED_SLICE BIDIRECTIONAL_SEQUENCE_RNN EXP TOPK_V2 SPLIT
    LOG_SOFTMAX DELEGATE BIDIRECTIONAL_SEQUENCE_LSTM CAST PRELU MAXIMUM ARG_MAX MINIMUM LESS NEG
    PADV2 GREATER GREATER_EQUAL LESS_EQUAL SELECT SLICE SIN TRANSPOSE_CONV SPARSE_TO_DENSE TILE
    EXPAND_DIMS EQUAL NOT_EQUAL LOG SUM SQRT RSQRT SHAPE POW ARG_MIN FAKE_QUANT REDUCE_PROD
    REDUCE_MAX PACK LOGICAL_OR ONE_HOT LOGICAL_AND LOGICAL_NOT UNPACK REDUCE_MIN FLOOR_DIV
    REDUCE_ANY SQUARE ZEROS_LIKE FILL FLOOR_MOD RANGE RESIZE_NEAREST_NEIGHBOR LEAKY_RELU
    SQUARED_DIFFERENCE MIRROR_PAD ABS SPLIT_V UNIQUE CEIL REVERSE_V2 ADD_N GATHER_ND COS WHERE
    RANK ELU REVERSE_SEQUENCE MATRIX_DIAG QUANTIZE MATRIX_SET_DIAG ROUND HARD_SWISH IF WHILE
    NON_MAX_SUPPRESSION_V4 NON_MAX_SUPPRESSION_V5 SCATTER_ND SELECT_V2 DENSIFY SEGMENT_SUM
    BATCH_MATMUL PLACEHOLDER_FOR_GREATER_OP_CODES CUMSUM CALL_ONCE BROADCAST_TO RFFT2D CONV_3D
    IMAG REAL COMPLEX_ABS HASHTABLE HASHTABLE_FIND HASHTABLE_IMPORT HASHTABLE_SIZE REDUCE_ALL
    CONV_3D_TRANSPOSE VAR_HANDLE READ_VARIABLE ASSIGN_VARIABLE BROADCAST_ARGS
    RANDOM_STANDARD_NORMAL BUCKETIZE RANDOM_UNIFORM MULTINOMIAL GELU DYNAMIC_UPDATE_SLICE
    RELU_0_TO_1 UNSORTED_SEGMENT_PROD UNSORTED_SEGMENT_MAX UNSORTED_SEGMENT_SUM ATAN2
    UNSORTED_SEGMENT_MIN SIGN BITCAST BITWISE_XOR RIGHT_SHIFT STABLEHLO_LOGISTIC STABLEHLO_ADD
    STABLEHLO_DIVIDE STABLEHLO_MULTIPLY STABLEHLO_MAXIMUM STABLEHLO_RESHAPE STABLEHLO_CLAMP
    STABLEHLO_CONCATENATE STABLEHLO_BROADCAST_IN_DIM STABLEHLO_CONVOLUTION STABLEHLO_SLICE
    STABLEHLO_CUSTOM_CALL STABLEHLO_REDUCE STABLEHLO_ABS STABLEHLO_AND STABLEHLO_COSINE
    STABLEHLO_EXPONENTIAL STABLEHLO_FLOOR STABLEHLO_LOG STABLEHLO_MINIMUM STABLEHLO_NEGATE
    STABLEHLO_OR STABLEHLO_POWER STABLEHLO_REMAINDER STABLEHLO_RSQRT STABLEHLO_SELECT
    STABLEHLO_SUBTRACT STABLEHLO_TANH STABLEHLO_SCATTER STABLEHLO_COMPARE STABLEHLO_CONVERT
    STABLEHLO_DYNAMIC_SLICE STABLEHLO_DYNAMIC_UPDATE_SLICE STABLEHLO_PAD STABLEHLO_IOTA
    STABLEHLO_DOT_GENERAL STABLEHLO_REDUCE_WINDOW STABLEHLO_SORT STABLEHLO_WHILE
    STABLEHLO_GATHER STABLEHLO_TRANSPOSE DILATE STABLEHLO_RNG_BIT_GENERATOR REDUCE_WINDOW
    STABLEHLO_COMPOSITE STABLEHLO_SHIFT_LEFT STABLEHLO_CBRT STABLEHLO_CASE
"""
_OPTIONS_IN_ORDER = """
    Conv2D DepthwiseConv2D ConcatEmbeddings LSHProjection Pool2D SVDF RNN FullyConnected
    Softmax Concatenation Add L2Norm LocalResponseNormalization LSTM ResizeBilinear Call Reshape
    SkipGram SpaceToDepth EmbeddingLookupSparse Mul Pad Gather BatchToSpaceND SpaceToBatchND
    Transpose Reducer Sub Div Squeeze SequenceRNN StridedSlice Exp TopKV2 Split LogSoftmax Cast
    Dequantize MaximumMinimum ArgMax Less Neg PadV2 Greater GreaterEqual LessEqual Select Slice
    TransposeConv SparseToDense Tile ExpandDims Equal NotEqual Shape Pow ArgMin FakeQuant Pack
    LogicalOr OneHot LogicalAnd LogicalNot Unpack FloorDiv Square ZerosLike Fill
    BidirectionalSequenceLSTM BidirectionalSequenceRNN UnidirectionalSequenceLSTM FloorMod Range
    ResizeNearestNeighbor LeakyRelu SquaredDifference MirrorPad Abs SplitV Unique ReverseV2 AddN
    GatherNd Cos Where Rank ReverseSequence MatrixDiag Quantize MatrixSetDiag HardSwish If While
    DepthToSpace NonMaxSuppressionV4 NonMaxSuppressionV5 ScatterNd SelectV2 Densify SegmentSum
    BatchMatMul Cumsum CallOnce BroadcastTo Rfft2d Conv3D Hashtable HashtableFind
    HashtableImport HashtableSize VarHandle ReadVariable AssignVariable Random Bucketize Gelu
    DynamicUpdateSlice UnsortedSegmentProd UnsortedSegmentMax UnsortedSegmentMin
    UnsortedSegmentSum ATan2 Sign Bitcast BitwiseXor RightShift
"""
_OPTIONS_WITHOUT_FIELDS = """
    Abs AssignVariable Cos Dequantize Equal Exp ExpandDims FloorDiv FloorMod Greater GreaterEqual
    HardSwish Less LessEqual LogicalAnd LogicalNot LogicalOr LogSoftmax MaximumMinimum Neg NotEqual
    Pad PadV2 Quantize ReadVariable Slice Square SquaredDifference Transpose ZerosLike
"""

# Bits of one element; strings, and what has no fixed size, are not listed.
TYPE_BITS = {
    "float32": 32, "float16": 16, "int32": 32, "uint8": 8, "int64": 64, "bool": 8, "int16": 16,
    "complex64": 64, "int8": 8, "float64": 64, "complex128": 128, "uint64": 64, "resource": 32,
    "uint32": 32, "uint16": 16, "int4": 4, "bfloat16": 16, "int2": 2, "uint4": 4,
    "float8_e4m3fn": 8, "float8_e5m2": 8,
}  # fmt: skip

TENSOR_TYPES = {name: code for code, name in enumerate(_TYPES_IN_ORDER.split())}
OPERATORS = {name: code for code, name in enumerate(_OPERATORS_IN_ORDER.split())}
OPTIONS = {number: f"{name}Options" for number, name in enumerate(_OPTIONS_IN_ORDER.split(), 1)}
OPTIONS_TYPES = {name: number for number, name in OPTIONS.items()}
TYPE_NAMES = {code: name for name, code in TENSOR_TYPES.items()}
OPERATOR_NAMES = {code: name for name, code in OPERATORS.items()}
ACTIVATIONS = {"NONE": 0, "RELU": 1, "RELU_N1_TO_1": 2, "RELU6": 3, "TANH": 4, "SIGN_BIT": 5}


@dataclass(frozen=True)
class Field:
    """One field of a table.

    Attributes:
        slot: Integer, its place in the table.
        kind: String, a struct format character for a scalar; "string"; "table:NAME";
            "vector:FORMAT" of scalars, where "vector:B" is written from an array of any type;
            "tables:NAME" for a vector of tables; "options" for the union of operator options.
        default: The value that stands for an absent scalar.
    """

    slot: int
    kind: str
    default: int | float = 0


TABLES = {
    "Model": {
        "version": Field(0, "I"),
        "operator_codes": Field(1, "tables:OperatorCode"),
        "subgraphs": Field(2, "tables:SubGraph"),
        "description": Field(3, "string"),
        "buffers": Field(4, "tables:Buffer"),
        "metadata": Field(6, "tables:Metadata"),
        "signature_defs": Field(7, "tables:SignatureDef"),
    },
    "SignatureDef": {
        "inputs": Field(0, "tables:TensorMap"),
        "outputs": Field(1, "tables:TensorMap"),
        "signature_key": Field(2, "string"),
        "subgraph_index": Field(4, "I"),
    },
    "TensorMap": {"name": Field(0, "string"), "tensor_index": Field(1, "I")},
    "Metadata": {
        "name": Field(0, "string"),
        "buffer": Field(1, "I"),
    },
    "OperatorCode": {
        "deprecated_builtin_code": Field(0, "b"),
        "custom_code": Field(1, "string"),
        "version": Field(2, "i", 1),
        "builtin_code": Field(3, "i"),
    },
    "SubGraph": {
        "tensors": Field(0, "tables:Tensor"),
        "inputs": Field(1, "vector:i"),
        "outputs": Field(2, "vector:i"),
        "operators": Field(3, "tables:Operator"),
        "name": Field(4, "string"),
    },
    "Tensor": {
        "shape": Field(0, "vector:i"),
        "type": Field(1, "b"),
        "buffer": Field(2, "I"),
        "name": Field(3, "string"),
        "quantization": Field(4, "table:QuantizationParameters"),
        "is_variable": Field(5, "?"),
        "sparsity": Field(6, "table:SparsityParameters"),
    },
    "QuantizationParameters": {
        "scale": Field(2, "vector:f"),
        "zero_point": Field(3, "vector:q"),
        "details_type": Field(4, "B"),
        "quantized_dimension": Field(6, "i"),
    },
    "Operator": {
        "opcode_index": Field(0, "I"),
        "inputs": Field(1, "vector:i"),
        "outputs": Field(2, "vector:i"),
        "builtin_options_type": Field(3, "B"),
        "builtin_options": Field(4, "options"),
        "custom_options": Field(5, "vector:B"),
        "intermediates": Field(8, "vector:i"),
    },
    "Buffer": {
        "data": Field(0, "vector:B"),
        "offset": Field(1, "Q"),
        "size": Field(2, "Q"),
    },
    "SparsityParameters": {},
    "FullyConnectedOptions": {
        "fused_activation_function": Field(0, "b"),
        "weights_format": Field(1, "b"),
        "keep_num_dims": Field(2, "?"),
        "asymmetric_quantize_inputs": Field(3, "?"),
        "quantized_bias_type": Field(4, "b"),
    },
    "SoftmaxOptions": {"beta": Field(0, "f")},
    "ConcatenationOptions": {"axis": Field(0, "i")},
    "AddOptions": {
        "fused_activation_function": Field(0, "b"),
        "pot_scale_int16": Field(1, "?", True),
    },
    "MulOptions": {"fused_activation_function": Field(0, "b")},
    "SubOptions": {
        "fused_activation_function": Field(0, "b"),
        "pot_scale_int16": Field(1, "?", True),
    },
    "Conv2DOptions": {
        "padding": Field(0, "b"),
        "stride_w": Field(1, "i"),
        "stride_h": Field(2, "i"),
        "fused_activation_function": Field(3, "b"),
        "dilation_w_factor": Field(4, "i", 1),
        "dilation_h_factor": Field(5, "i", 1),
    },
    "DepthwiseConv2DOptions": {
        "padding": Field(0, "b"),
        "stride_w": Field(1, "i"),
        "stride_h": Field(2, "i"),
        "depth_multiplier": Field(3, "i"),
        "fused_activation_function": Field(4, "b"),
        "dilation_w_factor": Field(5, "i", 1),
        "dilation_h_factor": Field(6, "i", 1),
    },
    "Pool2DOptions": {
        "padding": Field(0, "b"),
        "stride_w": Field(1, "i"),
        "stride_h": Field(2, "i"),
        "filter_width": Field(3, "i"),
        "filter_height": Field(4, "i"),
        "fused_activation_function": Field(5, "b"),
    },
    "SVDFOptions": {
        "rank": Field(0, "i"),
        "fused_activation_function": Field(1, "b"),
    },
    "UnidirectionalSequenceLSTMOptions": {
        "fused_activation_function": Field(0, "b"),
        "cell_clip": Field(1, "f"),
        "proj_clip": Field(2, "f"),
        "time_major": Field(3, "?"),
        "asymmetric_quantize_inputs": Field(4, "?"),
    },
    "StridedSliceOptions": {
        "begin_mask": Field(0, "i"),
        "end_mask": Field(1, "i"),
        "ellipsis_mask": Field(2, "i"),
        "new_axis_mask": Field(3, "i"),
        "shrink_axis_mask": Field(4, "i"),
        "offset": Field(5, "?"),
    },
    "PackOptions": {"values_count": Field(0, "i"), "axis": Field(1, "i")},
    "UnpackOptions": {"num": Field(0, "i"), "axis": Field(1, "i")},
    "SplitOptions": {"num_splits": Field(0, "i")},
    "SplitVOptions": {"num_splits": Field(0, "i")},
    "ReducerOptions": {"keep_dims": Field(0, "?")},
    "LeakyReluOptions": {"alpha": Field(0, "f")},
    "CastOptions": {"in_data_type": Field(0, "b"), "out_data_type": Field(1, "b")},
    "ShapeOptions": {"out_type": Field(0, "b")},
    "ArgMaxOptions": {"output_type": Field(0, "b")},
    "ArgMinOptions": {"output_type": Field(0, "b")},
    "DivOptions": {"fused_activation_function": Field(0, "b")},
    "L2NormOptions": {"fused_activation_function": Field(0, "b")},
    "ReshapeOptions": {"new_shape": Field(0, "vector:i")},
    "SqueezeOptions": {"squeeze_dims": Field(0, "vector:i")},
    "GatherOptions": {"axis": Field(0, "i"), "batch_dims": Field(1, "i")},
    "WhileOptions": {
        "cond_subgraph_index": Field(0, "i"),
        "body_subgraph_index": Field(1, "i"),
    },
    "IfOptions": {
        "then_subgraph_index": Field(0, "i"),
        "else_subgraph_index": Field(1, "i"),
    },
    "CallOnceOptions": {"init_subgraph_index": Field(0, "i")},
    "VarHandleOptions": {"container": Field(0, "string"), "shared_name": Field(1, "string")},
}
TABLES.update((f"{name}Options", {}) for name in _OPTIONS_WITHOUT_FIELDS.split())


def shape_of(tensor: dict) -> tuple[int, ...]:
    """Returns the shape of a `Tensor` table; a scalar's may be absent."""
    return () if tensor["shape"] is None else tuple(int(size) for size in tensor["shape"])


def tensor_bytes(tensor: dict) -> int:
    """Returns the bytes that the values of a `Tensor` table take, 0 where its type has no size."""
    bits = TYPE_BITS.get(TYPE_NAMES.get(tensor["type"], ""), 0)
    return -(-math.prod(shape_of(tensor)) * bits // 8)


def constant_of(model: dict, tensor: dict):
    """Returns the bytes of a constant as an array, or `None` for a tensor that is computed."""
    data = model["buffers"][tensor["buffer"]]["data"]
    return data if data is not None and data.size else None


def operator_name(code: dict) -> str:
    """Returns the name of an `OperatorCode` table's operator; of a custom one, its own.

    Old files have `deprecated_builtin_code` alone, new ones both; the larger counts, as in TFLite.
    A custom operator that calls itself as a builtin one is "CUSTOM" with that name.
    """
    number = max(code["builtin_code"], code["deprecated_builtin_code"])
    name = OPERATOR_NAMES.get(number, f"operator {number}")
    if name != "CUSTOM" or not code["custom_code"]:
        return name
    own = code["custom_code"]
    return f"CUSTOM {own}" if own in OPERATORS else own


def vector_of(table: dict, field: str):
    """Returns a vector of a table; an empty one may be left out."""
    return () if table[field] is None else table[field]
