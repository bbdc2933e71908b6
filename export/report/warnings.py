"""Tells the user where an integer model differs much from the Keras model, and why."""

import math
import warnings

import numpy as np

from keras_fastgrnn.errors import PrecisionWarning
from keras_fastgrnn.export.report.report import TensorReport
from keras_fastgrnn.graph.graph import Graph, Tensor
from keras_fastgrnn.graph.operators import operator_of
from keras_fastgrnn.graph.sequences import Sequences

# Above this root mean square error, as a part of the outputs' standard deviation, convert warns;
# int8 weights leave 0.003 to 0.06.
LARGEST_RELATIVE_ERROR = 0.1

# An input channel whose standard deviation is fewer integer steps than this may explain it.
COARSE_LEVELS = {"int16": 64.0, "int8": 2.0}


def warn_of_imprecision(report, graph: Graph, x: Sequences) -> None:
    """Warns the caller's caller where an integer model differs much from the Keras model.

    Args:
        report: Report of the model, with `agreement`, `rounding_costs` and `quantization`.
        graph: `Graph` of the model.
        x: `Sequences`, the calibration data.
    """
    error = report.agreement.relative_error
    if error <= LARGEST_RELATIVE_ERROR:
        return
    counted = _counted_input(graph)
    levels = x.all_steps().std(axis=0) / (counted.scale or math.inf)
    coarse = np.flatnonzero(levels < COARSE_LEVELS.get(counted.dtype, 0.0))
    costliest = next(iter(report.rounding_costs))
    output = next((t for t in report.tensors if t.name == graph.outputs[0].name), None)
    advice = f"The rounding of {costliest!r} costs most. "
    if coarse.size:
        advice = (
            f"The input has one scale for all its channels, and channels {coarse.tolist()} vary by "
            f"only {levels[coarse].min():.2g} of its integer steps: bring the channels to a "
            "similar size before the model, in the training data and in the firmware, and leave "
            "out those that never change."
        )
    elif output is not None and _is_offset(output) and costliest == output.name:
        middle = 0.5 * (output.low + output.high)
        advice = (
            f"The outputs are {output.low:.6g} to {output.high:.6g}, far from 0, from where they "
            f"are counted: train on the target minus its mean, about {middle:.4g}, and add that in "
            "the firmware."
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


def _is_offset(tensor: TensorReport) -> bool:
    """Whether its values are farther from 0 than from each other."""
    return min(abs(tensor.low), abs(tensor.high)) > tensor.high - tensor.low


def _counted_input(graph: Graph) -> Tensor:
    """The input as the integers it is computed with, where there are any."""
    (x,), first = graph.inputs, graph.ops[0]
    is_converted = operator_of(first.kind).mixes_types and first.output.scale is not None
    return first.output if is_converted else x
