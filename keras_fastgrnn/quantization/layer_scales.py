"""The scales and ranges that a layer was trained with, by the names of the exporter's tensors."""

from keras_fastgrnn.graph.cell_tracing import named_cells
from keras_fastgrnn.graph.fixed_scales import Scale
from keras_fastgrnn.quantization.aware_layers import QuantizeAwareDense
from keras_fastgrnn.quantization.ranged_groups import reached_by, scale_of_group
from keras_fastgrnn.quantization.step_quantizer import StepQuantizer


def scales_of(layer) -> dict[str, Scale | None]:
    """Returns the scales that a layer was trained with, by the names of the exporter's tensors.

    Args:
        layer: `QuantizeAwareRNN` or `QuantizeAwareDense`.

    Returns:
        Dictionary from name to `Scale`, or to `None` where no training step has shown the range.
    """
    layer.begin(training=False)
    return _by_name(layer, scale_of_group, StepQuantizer.scales)


def reached_of(layer) -> dict[str, tuple[float, float]]:
    """Returns the smallest and the largest value that training showed of each tensor.

    Args:
        layer: `QuantizeAwareRNN` or `QuantizeAwareDense`.

    Returns:
        Dictionary from the names of `scales_of` to two floats, as `ranged_groups.reached_by`.
    """
    return _by_name(layer, reached_by, StepQuantizer.reached)


def _by_name(layer, of_group, of_step) -> dict:
    """What is so of each tensor, by a function of its group and one of the tensors of a step."""
    found = {}
    if layer.input_range is not None:
        found["input"] = of_group(layer.input_range)
    if isinstance(layer, QuantizeAwareDense):
        result = layer.output_scale
        if layer.output_range is not None:
            found[f"{layer.name}/logits" if result else layer.name] = of_group(layer.output_range)
        return found | ({layer.name: of_group(result)} if result else {})
    for prefix, cell in named_cells(layer):
        found |= {f"{prefix}{name}": one for name, one in of_step(cell.quantizer).items()}
    return found


def joined_products(layer) -> list[str]:
    """Returns the names of the products that are one matrix with the one beside them.

    Args:
        layer: `QuantizeAwareRNN` or `QuantizeAwareDense`, after `scales_of`.
    """
    if isinstance(layer, QuantizeAwareDense):
        return []
    return [
        f"{prefix}{name}"
        for prefix, cell in named_cells(layer)
        for name in cell.quantizer.joined_products()
    ]
