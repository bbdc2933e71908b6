"""Measurements beside other ways to the same end; a module is a command and writes its results."""
