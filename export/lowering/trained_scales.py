"""Float graph of a quantization-aware model -> the integer graph it was trained to be."""

import math

from keras_fastgrnn.export.lowering.integers import quantize_int8, quantize_int16
from keras_fastgrnn.graph.fixed_scales import Scale
from keras_fastgrnn.graph.graph import Graph, Tensor
from keras_fastgrnn.graph.ranges import Range
from keras_fastgrnn.graph.rewrite import (
    constant_operand,
    fold_input_affine,
    fuse_products,
    fusible_products,
)
from keras_fastgrnn.quantization.aware_layers import (
    Options,
    QuantizeAwareDense,
    QuantizeAwareRNN,
    options_of,
)
from keras_fastgrnn.quantization.int8_scales import settle_subtractions
from keras_fastgrnn.quantization.int16_scales import scale_of
from keras_fastgrnn.quantization.layer_scales import joined_products, reached_of, scales_of
from keras_fastgrnn.quantization.limits import check_scale, real_ends

# Ranges are those of the weights before the last step of training, which may move some values out.
RARELY = 0.01


def trained_options(model) -> Options | None:
    """Returns how a model was trained to be quantized, or `None` for a float model.

    Args:
        model: Chain of layers.

    Raises:
        ValueError: If only some of its layers were, or not all alike.
    """
    aware = [layer for layer in model.layers if _is_aware(layer)]
    if not aware:
        return None
    options = {options_of(layer) for layer in aware}
    if len(options) > 1:
        raise ValueError(
            "Received an invalid value for argument model, expected layers that are all quantized "
            f"alike, got {' and '.join(map(str, options))}. Make it with quantize_aware."
        )
    return options.pop()


def _is_aware(layer) -> bool:
    return isinstance(layer, (QuantizeAwareRNN, QuantizeAwareDense))


def trained_scales(model, graph: Graph) -> tuple[dict[Tensor, Scale], set[str]]:
    """Returns the scale that each tensor had in training, and which products were joined.

    Args:
        model: Chain of quantization-aware layers.
        graph: Float graph of it.

    Returns:
        Dictionary from every computed tensor of the graph to its `Scale`, and a set of names.

    Raises:
        ValueError: If no training step has shown the range of a tensor.
    """
    by_name, joined = {}, set()
    for layer in model.layers:
        if _is_aware(layer):
            by_name |= scales_of(layer)
            joined.update(joined_products(layer))
    computed = [tensor for tensor in graph.tensors() if not tensor.is_constant]
    scales = {tensor: by_name[tensor.name] for tensor in computed}
    unseen = list(dict.fromkeys(tensor.name for tensor in computed if scales[tensor] is None))
    if unseen:
        raise ValueError(
            "Received an invalid value for argument model, expected ranges that training has "
            f"shown, got none yet for {', '.join(unseen)}. Train the quantization-aware model, or "
            "give calibration_data to quantize_aware. Values that are always 0 have no range."
        )
    return scales, joined


def trained_ranges(model) -> dict[str, tuple[float, float]]:
    """Returns the smallest and the largest value of each tensor in training, by its name.

    Args:
        model: Chain of quantization-aware layers.
    """
    layers = filter(_is_aware, model.layers)
    return {name: ends for layer in layers for name, ends in reached_of(layer).items()}


def fold_offsets(graph: Graph) -> None:
    """Moves what is added to a layer's input into the biases, where training has it.

    Args:
        graph: Simplified float graph of a quantization-aware model, changed in place.
    """
    for op in [op for op in graph.ops if op.kind == "FULLY_CONNECTED"]:
        before = graph.producer(op.inputs[0])
        if before is not None and constant_operand(before, "ADD"):
            fold_input_affine(graph, op)


def quantize_trained(
    graph: Graph, scales: dict[Tensor, Scale], joined: set[str], options: Options
) -> tuple[Graph, Graph]:
    """Quantizes a graph with the scales it was trained with.

    Args:
        graph: Simplified float graph, whose matrices are rounded already; changed in place.
        scales: Dictionary from computed tensor to `Scale`.
        joined: Set of names of products that are one matrix with the one beside them.
        options: `Options` of its layers.

    Returns:
        The float graph with its matrices in the units of the integers they multiply, and the
        integer graph of the same operators.

    Raises:
        ValueError: If values are too large or too small for the arithmetic.
    """
    if options.quantization == "int8":
        scales = settle_subtractions(graph, scales)
        return graph, quantize_int8(
            graph,
            scales,
            frozenset(),
            weight_format=options.weight_format,
            constant_format=options.constant_format,
        )
    for tensor, scale in scales.items():
        check_scale(scale.scale, tensor.name, "int16")
    exponents = {tensor: math.log2(scale.scale) for tensor, scale in scales.items()}
    for add in fusible_products(graph):
        if add.inputs[0].name in joined:
            _join(graph, add, exponents)
    return graph, quantize_int16(graph, exponents, options.weight_format)


def _join(graph, add, exponents) -> None:
    """One matrix for input and state, as in training."""
    products = [graph.computing(value) for value in add.inputs]
    values = [product.inputs[0] for product in products]
    matrices = [product.weights.data for product in products]
    source, state = (exponents[value] for value in values)
    fuse_products(graph, add, [matrices[0] * scale_of(source) / scale_of(state), matrices[1]])
    exponents[graph.computing(add.output).inputs[0]] = state
    for product in products:
        del exponents[product.output]


def held_range(tensor: Tensor) -> Range:
    """Returns the range that an integer tensor holds.

    Args:
        tensor: Integer tensor.
    """
    return Range(*map(float, real_ends(tensor)))
