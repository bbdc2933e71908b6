"""What the command lines of the benchmarks have in common."""

import argparse
from pathlib import Path


def positive_integer(text: str) -> int:
    """Reads a number of seeds, epochs, rounds or seconds; a type for argparse."""
    if not (text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"expected a positive integer, got {text}")
    return int(text)


def output_file(text: str) -> Path:
    """Reads the path of a file to write; a type for argparse."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"expected a file, got the folder {text}")
    return path
