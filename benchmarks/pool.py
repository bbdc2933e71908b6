"""Trainings beside each other, each in a process with one thread."""

import multiprocessing
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool

import tensorflow as tf

# TensorFlow keeps some hundred megabytes of each training, so processes do not live for ever.
_RUNS_A_PROCESS = 6


def perform_all(perform: Callable, waiting: list, arguments: tuple, workers: int) -> list[str]:
    """Calls a function for each of a list, in several processes, and says how far it is.

    Args:
        perform: Function of a module, from one of `waiting` and `arguments` to a line of text.
        waiting: List of what to perform, each with a text of its own.
        arguments: Tuple of further arguments, the same for all.
        workers: Integer, how many processes.

    Returns:
        List of strings, what failed and how.
    """
    failures, begin = [], time.monotonic()
    done = 0
    at_once = _RUNS_A_PROCESS * workers
    for first in range(0, len(waiting), at_once):
        for one, future in _performed(perform, waiting[first:][:at_once], arguments, workers):
            done += 1
            try:
                text = future.result()
            except BrokenProcessPool:
                sys.exit(f"A process was killed; it may have been at {one}.")
            except Exception as error:  # the others go on, and all failures are told at the end
                text = f"failed: {type(error).__name__}: {error}"
                failures.append(f"{one}: {text}")
            minutes = (time.monotonic() - begin) / 60
            left = minutes / done * (len(waiting) - done)
            print(f"[{done}/{len(waiting)}, {left:.0f} min left] {one}: {text}", flush=True)
    return failures


def _performed(perform, waiting, arguments, workers):
    """Yields each of a list with its future, as they end."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _use_one_thread) as processes:
        futures = {processes.submit(perform, one, *arguments): one for one in waiting}
        for future in as_completed(futures):
            yield futures[future], future


def _use_one_thread() -> None:
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
