"""Integer graphs as compiled C, and how many of its integers are not those of the reference."""

import numpy as np
from compilers import WARNINGS, needed

from keras_fastgrnn.export.plain_c import header
from keras_fastgrnn.export.plain_c.host import HostProgram
from keras_fastgrnn.export.plain_c.schedule import for_c
from keras_fastgrnn.export.plain_c.source import Source
from keras_fastgrnn.graph import reference

SANITIZERS = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


def source_of(graph):
    return Source("gesture", for_c(graph))


def compiled(graph, flags=SANITIZERS, compiler="gcc"):
    source = source_of(graph)
    texts = header.header(source), source.source()
    return HostProgram("gesture", *texts, ["-std=c99", *WARNINGS, *flags], [needed(compiler)])


def differing(program, graph, integers):
    """How many of the answers and states of all steps are not those of the reference."""
    logits = for_c(graph).outputs[0]
    states = [state.after for state in graph.states]
    steps = [
        np.concatenate([values[logits], *(values[tensor] for tensor in states)], axis=1)
        for values in reference.steps(graph, integers)
    ]
    width = logits.shape[-1]
    found = program.run(integers, width, sum(tensor.shape[-1] for tensor in states))
    return np.count_nonzero(found != np.stack(steps, axis=1))
