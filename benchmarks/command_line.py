"""What the command lines of the benchmarks have in common."""

import argparse


def positive_integer(text: str) -> int:
    """Reads a number of seeds, epochs, rounds or seconds; a type for argparse."""
    if not (text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"expected a positive integer, got {text}")
    return int(text)
