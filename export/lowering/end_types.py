"""The types of a model's own input and output, where they are not those it computes in."""

from keras_fastgrnn.export.lowering.integers import check_rescaling
from keras_fastgrnn.graph.fixed_scales import INT16_RESULT_EXPONENT
from keras_fastgrnn.graph.graph import Graph, Op, Tensor
from keras_fastgrnn.graph.ranges import Range
from keras_fastgrnn.quantization.int8_scales import dictated_int8_scale, int8_scale_for
from keras_fastgrnn.quantization.int16_scales import HEADROOM, exponent_for, scale_of
from keras_fastgrnn.quantization.limits import has_fixed_range

TYPES = ("int8", "int16", "float32")


def with_io_types(
    graph: Graph,
    input_type: str | None,
    output_type: str | None,
    input_range: Range | None,
    output_range: Range | None,
) -> Graph:
    """Converts at the ends of a graph: QUANTIZE or DEQUANTIZE, where a type differs.

    Args:
        graph: Float or integer graph.
        input_type: String, one of `TYPES`, or `None` for the graph's own.
        output_type: As `input_type`, for the output.
        input_range: `Range` of the input, where it becomes an integer.
        output_range: `Range` of the output.

    Returns:
        A new graph.

    Raises:
        ValueError: If the scale of an end is too far from that inside.
    """
    graph = graph.copy()
    (x,), (y,) = graph.inputs, graph.outputs
    if input_type not in (None, x.dtype):
        given = _typed(x, input_type, input_range, None)
        x.name = f"{x.name}/{x.dtype}"
        graph.inputs = [given]
        graph.ops.insert(0, Op(_conversion(x), [given], x))
        check_rescaling(graph.ops[0])
    if output_type not in (None, y.dtype):
        returned = _typed(y, output_type, output_range, graph.producer(y))
        y.name = f"{y.name}/{y.dtype}"
        graph.outputs = [returned]
        graph.ops.append(Op(_conversion(returned), [y], returned))
        check_rescaling(graph.ops[-1])
    return graph


def _conversion(target: Tensor) -> str:
    return "DEQUANTIZE" if target.dtype == "float32" else "QUANTIZE"


def _known(seen: Range | None) -> Range:
    if seen is None:
        raise ValueError("An end that becomes an integer needs the range of its values")
    return seen


def _typed(tensor: Tensor, dtype: str, seen: Range | None, producer: Op | None) -> Tensor:
    typed = Tensor(tensor.name, tensor.shape, dtype, seen=tensor.seen, rarely=tensor.rarely)
    is_fixed = producer is not None and has_fixed_range(producer)
    if dtype == "int8":
        dictated = producer and dictated_int8_scale(producer)
        scale = dictated or int8_scale_for(_known(seen).low, _known(seen).high)
        typed.scale, typed.zero_point = scale.scale, scale.zero_point
    elif dtype == "int16":
        largest = 1.0 if is_fixed else HEADROOM * _known(seen).magnitude
        typed.scale = scale_of(INT16_RESULT_EXPONENT if is_fixed else exponent_for(largest))
    return typed
