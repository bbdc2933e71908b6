"""Keeps TensorFlow's log off the terminal where this package is a command and not a library.

TensorFlow's libraries write to descriptor 2 while they are imported, whatever the environment says.
The package imports this module first; in any other program it does nothing.
"""

import itertools
import os
import sys
from pathlib import Path

NAME = "fastgrnn-export"
MODULE = "keras_fastgrnn.export"


def is_running() -> bool:
    """Returns whether this process is `fastgrnn-export` or `python -m keras_fastgrnn.export`."""
    is_module = any(pair == ("-m", MODULE) for pair in itertools.pairwise(sys.orig_argv))
    return is_module or Path(sys.argv[0]).stem == NAME


def keep_standard_error() -> None:
    """Leaves standard error to Python alone: descriptor 2 leads nowhere from here on."""
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


if is_running():
    keep_standard_error()
