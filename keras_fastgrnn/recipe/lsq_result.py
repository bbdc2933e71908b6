"""What a training in stages gave: a table of the stages, and what there is to say of its model."""

from dataclasses import dataclass

from keras_fastgrnn import sparsity_report
from keras_fastgrnn.classification import ACCURACY, shown
from keras_fastgrnn.keras_api import keras
from keras_fastgrnn.recipe.staged_training import QUANTIZED, ROUNDING, Stage

# Of the metric: a loss that is told.
_A_POINT = 0.01


class TrainingWarning(UserWarning):
    """A training gave a model that answers worse than one that it had on the way."""


@dataclass(frozen=True)
class LSQResult:
    """What a training gave. `print` it for a table of the stages.

    Attributes:
        stages: List of `Stage`, in the order they ran.
        weight_bits: Integer, bits of a weight where the table counts bytes.
        bias_bytes: Integer, bytes of every other number where it does.
    """

    stages: list[Stage]
    weight_bits: int
    bias_bytes: int

    @property
    def model(self) -> keras.Model:
        """The Keras model of the last stage, ready for `keras_fastgrnn.export.convert`."""
        return self.stages[-1].model

    @property
    def warning(self) -> str | None:
        """What there is to say where the model is a point or more below an earlier stage's."""
        last = self.stages[-1]
        best = max(self.stages, key=lambda stage: stage.score)
        if best.score - last.score < _A_POINT - ROUNDING:
            return None
        sparse = [stage for stage in self.stages if stage.name != QUANTIZED][-1]
        advice = []
        if best.score - sparse.score >= _A_POINT / 2:
            advice.append("fewer zeros, by kernel_sparsity and recurrent_sparsity, or more epochs")
        if sparse.score - last.score >= _A_POINT / 2:
            advice.append("more quantization_epochs, 'int16x8' or weight_bits=8")
        metric = last.metric
        return (
            f"On the validation data the model has the {metric} {shown(metric, last.score)}, and "
            f"the {best.name} stage had {shown(metric, best.score)}. Ask for "
            f"{'; or for '.join(advice)}; or give the model more units."
        )

    def __str__(self) -> str:
        metric = self.stages[0].metric
        title = "" if metric == ACCURACY else f"  {metric:>8}"
        lines = [f"stage      epochs  best   accuracy{title}  non-zero   bytes"]
        for stage in self.stages:
            report = sparsity_report.report(stage.model, self.weight_bits, self.bias_bytes)
            kept = sum(matrix.kept for matrix in report.matrices)
            score = "" if metric == ACCURACY else f"  {stage.score:8.4f}"
            lines.append(
                f"{stage.name:10} {stage.trained_epochs:6} {stage.best_epoch:5} "
                f"{100 * stage.validation_accuracy:8.2f} %{score} {kept:9,} "
                f"{report.total_bytes['best']:7,}"
            )
        return "\n".join(lines)
