"""The table of the paper (Kusupati et al., NeurIPS 2018, arXiv 1901.02358) for the tasks here."""

from typing import NamedTuple

from benchmarks.compared_models import RECIPE, SPARSE


class Published(NamedTuple):
    """What the paper has of a method: accuracy in percent, and kilobytes of 1,024 bytes."""

    accuracy: float
    kilobytes: float


# The name there, and the model of ours that is the nearest to it.
METHODS = {
    "RNN": "SimpleRNN",
    "FastRNN": "FastRNN",
    "FastGRNN-LSQ": "FastGRNN",
    "FastGRNN-SQ": "FastGRNN L",
    "FastGRNN-Q": SPARSE,
    "FastGRNN": RECIPE,
    "SpectralRNN": None,
    "UGRNN": None,
    "GRU": "GRU",
    "LSTM": "LSTM",
}
TABLE = {
    "har2": (
        *((91.31, 29), (94.50, 29), (95.38, 29), (96.81, 28), (96.37, 17), (95.59, 3)),
        *((95.48, 525), (94.53, 37), (93.62, 71), (93.65, 74)),
    ),
    "dsa": (
        *((71.68, 20), (84.14, 97), (85.00, 208), (85.67, 22), (83.93, 13), (83.73, 3.25)),
        *((80.37, 50), (84.74, 399), (84.84, 270), (84.84, 526)),
    ),
    "mnist": (
        *((94.10, 71), (96.44, 166), (98.72, 71), (98.72, 37), (98.58, 25), (98.20, 6)),
        *((97.70, 25), (97.29, 84), (98.70, 123), (97.80, 265)),
    ),
}
NAMES = {"har2": "HAR-2", "dsa": "DSA-19", "mnist": "Pixel-MNIST"}
CAVEATS = {
    "har2": "",
    "dsa": (
        "The paper does not give its split; ours is by subjects, 1-4 for training and 5-8 for test."
    ),
    "mnist": (
        "The paper's task is another: there an image comes pixel by pixel, in 784 steps of one "
        "channel; here row by row, in 28 steps of 28 channels."
    ),
}


def published(task: str) -> dict[str, Published]:
    """Returns what the paper has of each method on a task; empty where it has not the task.

    Args:
        task: String, a key of `tasks.TASKS`.
    """
    if task not in TABLE:
        return {}
    return dict(zip(METHODS, map(Published._make, TABLE[task]), strict=True))
