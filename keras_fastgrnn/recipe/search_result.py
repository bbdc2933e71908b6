"""What a search within a budget found: a table, and a picture of what bytes and cycles buy."""

import dataclasses
import math
from dataclasses import dataclass, field

from keras_fastgrnn.classification import ACCURACY, shown
from keras_fastgrnn.keras_api import keras
from keras_fastgrnn.recipe.lsq_result import LSQResult
from keras_fastgrnn.recipe.search_space import Settings

_COSTS = {"bytes": "bytes stored", "cycles": "cycles a step"}


@dataclass(frozen=True)
class Trial:
    """Settings that were tried, and how well they did.

    Attributes:
        settings: `Settings`.
        bytes: Integer, as `sparsity.report(...).total_bytes["best"]` counts them.
        cycles: Float, of a step, counted before training, with random weights.
        epochs: Integer, of the longest training so far, in its three stages in float.
        accuracy: Float in [0, 1], on the validation data; 0 where the training diverged.
        loss: Float, on the validation data; infinite where it did.
        training: `LSQResult` of the whole recipe, or `None` where it was given up before.
        metric: String, what the trial is judged by.
        metric_value: Float, that metric on the validation data, or `None` where it is the accuracy.
    """

    settings: Settings
    bytes: int
    cycles: float
    epochs: int
    accuracy: float = 0.0
    loss: float = math.inf
    training: LSQResult | None = field(default=None, repr=False, compare=False)
    metric: str = ACCURACY
    metric_value: float | None = None

    @property
    def score(self) -> float:
        """What the trial is judged by; the higher, the better."""
        return self.accuracy if self.metric_value is None else self.metric_value

    @property
    def merit(self) -> tuple:
        """What trials are ordered by: epochs, then the metric, then loss."""
        return self.epochs, self.score, -self.loss

    def __str__(self) -> str:
        settings = self.settings
        return (
            f"{settings.units} units, ranks {settings.kernel_rank or 'full'} and "
            f"{settings.recurrent_rank or 'full'}, zeros {settings.kernel_sparsity:.0%} and "
            f"{settings.recurrent_sparsity:.0%}, {self.bytes:,} bytes, {self.cycles:,.0f} cycles, "
            f"{self.epochs} epochs: validation {shown(self.metric, self.score)}"
        )


@dataclass(frozen=True)
class SearchResult:
    """What `recipe.search` found. `print` it for a table of the trials, best first.

    Attributes:
        trials: List of `Trial`, best first: those that trained longest, by the search's metric,
            then by loss.
        budget_bytes: Integer.
        budget_cycles: Number, or `None`.
    """

    trials: list[Trial]
    budget_bytes: int
    budget_cycles: float | None = None

    @property
    def best(self) -> Trial:
        """The best of the trials that had the whole recipe."""
        return self.trials[0]

    @property
    def training(self) -> LSQResult:
        """`LSQResult` of the best trial."""
        if self.best.training is None:
            raise ValueError("No trial had the whole recipe")
        return self.best.training

    @property
    def model(self) -> keras.Model:
        """The Keras model of the best trial, ready for `keras_fastgrnn.export.convert`."""
        return self.training.model

    @property
    def pareto(self) -> list[Trial]:
        """The trials that no other one beats in bytes, cycles and the metric, by bytes.

        Each counts as far as it was trained; those given up early might have become better.
        """
        return self._front(*_COSTS)

    def _front(self, *costs) -> list[Trial]:
        def merits(trial):
            return [-getattr(trial, cost) for cost in costs] + [trial.score]

        def is_beaten(trial):
            own = merits(trial)
            others = [merits(one) for one in self.trials]
            return any(
                other != own and all(a >= b for a, b in zip(other, own, strict=True))
                for other in others
            )

        front = [trial for trial in self.trials if not is_beaten(trial)]
        return sorted(front, key=lambda trial: [getattr(trial, cost) for cost in costs])

    def to_dict(self) -> dict:
        """Returns the result as plain dictionaries, lists and numbers."""
        front = self.pareto
        trials = [
            {
                "settings": dataclasses.asdict(trial.settings),
                "bytes": trial.bytes,
                "cycles": trial.cycles,
                "epochs": trial.epochs,
                "accuracy": trial.accuracy,
                **({} if trial.metric == ACCURACY else {trial.metric: _finite(trial.score)}),
                "loss": _finite(trial.loss),
                "is_pareto": trial in front,
            }
            for trial in self.trials
        ]
        budgets = {"budget_bytes": self.budget_bytes, "budget_cycles": self.budget_cycles}
        return {**budgets, "trials": trials}

    def __str__(self) -> str:
        titles = "units  rank W  rank U  zeros W  zeros U   bytes   cycles  epochs"
        lines = [f"{titles}  {self.best.metric:>8}  Pareto"]
        front = self.pareto
        for trial in self.trials:
            settings = trial.settings
            mark = "*" if trial in front else ""
            line = (
                f"{settings.units:5}  {settings.kernel_rank or 'full':>6}  "
                f"{settings.recurrent_rank or 'full':>6}  {settings.kernel_sparsity:7.0%}  "
                f"{settings.recurrent_sparsity:7.0%}  {trial.bytes:6,}  {trial.cycles:7,.0f}  "
                f"{trial.epochs:6}  {shown(trial.metric, trial.score):>8}  {mark}"
            )
            lines.append(line.rstrip())
        return "\n".join(lines)

    def plot(self, path):
        """Draws the metric of all trials against bytes and against cycles, with both fronts.

        A dot is the larger, the longer a trial was trained; the best one is a star.

        Args:
            path: Path of the picture; its ending says which kind, for example ".png" or ".svg".
        """
        import matplotlib.style
        from matplotlib.figure import Figure  # not pyplot, which would choose the user's backend

        budgets = {"bytes": self.budget_bytes, "cycles": self.budget_cycles}
        with matplotlib.style.context("default"):
            figure = Figure(figsize=(10.0, 4.2), dpi=120, layout="constrained")
            panels = figure.subplots(1, len(_COSTS), sharey=True)
            for panel, (cost, title) in zip(panels, _COSTS.items(), strict=True):
                self._draw(panel, cost, budgets[cost])
                panel.set_xlabel(title)
            unit = ", %" if self.best.metric == ACCURACY else ""
            panels[0].set_ylabel(f"{self.best.metric} on the validation data{unit}")
            panels[0].legend(loc="lower right", fontsize="small")
            figure.savefig(path)

    def _draw(self, panel, cost: str, budget):
        front = self._front(cost)
        panel.step(*_points(front, cost), where="post", color="tab:orange", label="Pareto front")
        longest = self.best.epochs
        for epochs in sorted({trial.epochs for trial in self.trials}):
            trials = [trial for trial in self.trials if trial.epochs == epochs]
            size = 15.0 + 60.0 * epochs / longest
            panel.scatter(*_points(trials, cost), s=size, alpha=0.7, label=f"{epochs} epochs")
        panel.scatter(*_points([self.best], cost), s=160, marker="*", color="black", label="best")
        if budget is not None:
            panel.axvline(budget, color="gray", linestyle="--", label="budget")
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)


def _points(trials: list[Trial], cost: str):
    return [getattr(trial, cost) for trial in trials], [_drawn(trial) for trial in trials]


def _drawn(trial: Trial) -> float:
    score = 100 * trial.accuracy if trial.metric == ACCURACY else trial.score
    return score if math.isfinite(score) else math.nan


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
