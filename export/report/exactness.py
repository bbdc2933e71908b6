"""Holds what was written against the reference before it is returned: it runs, or says why not."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from keras_fastgrnn.errors import InexactExportError
from keras_fastgrnn.graph import real_values
from keras_fastgrnn.graph.graph import Graph

# Products that a comparison may take, about half a second; one sequence is always run.
LARGEST_WORK = {"C": 1 << 29, "TFLite Micro": 1 << 26}
# An Invoke from Python takes as long as some thousand products.
_WORK_OF_A_STEP = {"C": 1 << 8, "TFLite Micro": 1 << 15}

# What is run where there is no calibration data.
_DRAWN_SEQUENCES, _DRAWN_STEPS = 8, 32


@dataclass(frozen=True)
class Exactness:
    """Whether an export was run on this machine and compared with the NumPy reference.

    Attributes:
        by: String, what ran it, such as the command of a compiler; `None` where nothing could.
        answers: Integer, how many integers were compared. None of them differs: there is no
            export where one does.
        problem: String, why it was not run; `None` where it was.
    """

    by: str | None
    answers: int = 0
    problem: str | None = None

    def __str__(self) -> str:
        if self.by is None:
            return f"not run on this machine: {self.problem}"
        return f"run by {self.by}: 0 of {self.answers:,} answers differ from the reference"


def compared(
    by: str,
    kind: str,
    run: Callable[[np.ndarray], np.ndarray],
    inputs: Sequence[np.ndarray],
    expected: Sequence[np.ndarray],
    products: int,
) -> Exactness:
    """Runs sequences and compares every answer with the reference's.

    Args:
        by: String, what runs them.
        kind: String, "C" or "TFLite Micro".
        run: Function of an array of shape `(batch, steps, input_dim)` that returns the answers, of
            shape `(batch, steps, outputs)` or, of the last steps alone, with fewer.
        inputs: Sequences, arrays of shape `(steps, input_dim)` in the graph's own numbers. Where
            they take too long, some are run, evenly spread.
        expected: The reference's answers to all steps of each, arrays of shape `(steps, outputs)`.
        products: Integer, multiply-accumulates of a step.

    Returns:
        `Exactness`.

    Raises:
        InexactExportError: If an answer differs.
    """
    longest = max(map(len, inputs))
    work = longest * (products + _WORK_OF_A_STEP[kind])
    count = min(len(inputs), max(1, LARGEST_WORK[kind] // work))
    places = np.unique(np.linspace(0, len(inputs) - 1, count).astype(int))
    answers, differing = 0, 0
    for _, same in itertools.groupby(places, lambda place: len(inputs[place])):
        rows = list(same)
        found = run(np.stack([inputs[row] for row in rows]))
        wanted = np.stack([expected[row] for row in rows])[:, -found.shape[1] :]
        answers += found.size
        differing += np.count_nonzero(found != wanted)
    if differing:
        raise InexactExportError(
            f"{differing:,} of {answers:,} answers of {by} are not the reference's, so nothing is "
            "exported. This is a mistake in keras_fastgrnn.export: please report it with the model."
        )
    return Exactness(by, answers)


def drawn_inputs(graph: Graph, steps: int | None) -> np.ndarray:
    """Draws sequences from all that the input of a graph holds, to be run without data.

    Args:
        graph: Graph whose input is of integers, or is converted to them first.
        steps: Integer, the steps of a sequence, or `None` for any number.

    Returns:
        Array of shape `(batch, steps, input_dim)` in the graph's own numbers.
    """
    (x,) = graph.inputs
    counted = graph.ops[0].output if x.scale is None else x
    ends = np.iinfo(counted.dtype)
    shape = (_DRAWN_SEQUENCES, steps or _DRAWN_STEPS, x.shape[-1])
    integers = np.random.default_rng(0).integers(ends.min, ends.max, shape, counted.dtype, True)
    # Small ones too: every other sequence stays in a sixteenth of the range.
    integers[1::2] //= 16
    return integers if counted is x else real_values.dequantize_values(integers, counted)
