"""Models whose matrices are of any size, and the plain C of each under sanitizers.

`python tests/scaled_models.py COUNT` draws so many models, compiles each with gcc and clang and
prints what came of them.
"""

import collections
import sys

import numpy as np

from keras_fastgrnn import FastGRNN, FastRNN, keras
from keras_fastgrnn.export.lowering.alternatives import Int16Chooser
from keras_fastgrnn.export.plain_c import header
from keras_fastgrnn.export.plain_c.host import HostProgram
from keras_fastgrnn.export.plain_c.schedule import for_c
from keras_fastgrnn.export.plain_c.source import Source
from keras_fastgrnn.graph import real_values, reference
from keras_fastgrnn.graph.graph import name_tensors
from keras_fastgrnn.graph.ranges import calibrate
from keras_fastgrnn.graph.rewrite import simplify
from keras_fastgrnn.graph.trace import trace
from keras_fastgrnn.quantization.fake_quantization import WeightFormat

LAYERS = keras.layers
REFUSAL = "differ too much in size for {}-bit integers. Scale the inputs or the weights"
SANITIZED = ("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
SEQUENCES, STEPS, CHANNELS = 8, 12, 4

CELLS = {
    "FastGRNN": lambda: FastGRNN(8),
    "FastGRNN, low rank": lambda: FastGRNN(8, kernel_rank=2, recurrent_rank=3),
    "FastGRNN, piecewise linear": lambda: FastGRNN(8, "quant_tanh", "quant_sigmoid4"),
    "FastRNN": lambda: FastRNN(8),
    "FastRNN, relu": lambda: FastRNN(6, "relu", kernel_rank=2),
    "SimpleRNN": lambda: LAYERS.SimpleRNN(8),
    "GRU": lambda: LAYERS.GRU(8),
    "GRU that resets before": lambda: LAYERS.GRU(5, reset_after=False),
    "GRU of 64 units": lambda: LAYERS.GRU(64),
    "LSTM": lambda: LAYERS.LSTM(8),
    "two layers": lambda: [LAYERS.GRU(5, return_sequences=True), FastGRNN(4)],
}
FRONTS = {
    "nothing": lambda rng: [],
    "Rescaling": lambda rng: [LAYERS.Rescaling(10.0 ** rng.uniform(-4, 4), float(rng.normal()))],
    "Normalization": lambda rng: [
        LAYERS.Normalization(
            mean=rng.normal(size=CHANNELS), variance=10.0 ** rng.uniform(-3, 3, CHANNELS)
        )
    ],
}
GATES = {"gru": 3, "lstm": 4}


def draw(seed: int, sizes: tuple[float, float] = (-8.0, 8.0)):
    """Returns a model, every matrix or gate of which has a size of its own, and data for it.

    Args:
        seed: Integer.
        sizes: Smallest and largest base-10 logarithm of what a matrix is multiplied by.
    """
    rng = np.random.default_rng(seed)
    keras.utils.set_random_seed(seed)
    cell = CELLS[list(CELLS)[seed % len(CELLS)]]()
    front = FRONTS[rng.choice(list(FRONTS))](rng)
    layers = [*front, *(cell if isinstance(cell, list) else [cell])]
    if rng.random() < 0.8:
        layers.append(LAYERS.Dense(3))
    model = keras.Sequential([LAYERS.Input((STEPS, CHANNELS)), *layers])
    for layer in model.layers:
        gates = next((n for name, n in GATES.items() if layer.name.startswith(name)), 1)
        for weight in layer.trainable_weights:
            values = np.copy(weight.numpy())
            if values.ndim == 2 and values.shape[0] > 2:
                values *= np.repeat(10.0 ** rng.uniform(*sizes, gates), values.shape[1] // gates)
            elif values.ndim:
                values = values + rng.normal(0.0, 0.3, values.shape)
            weight.assign(values)
    return model, rng.normal(size=(SEQUENCES, STEPS, CHANNELS)).astype("float32")


def integers_of(model, x, power_of_two: bool):
    """The integer graph, or `None` where it is refused in the known words."""
    graph = trace(model)
    simplify(graph)
    name_tensors(graph)
    weight_format = WeightFormat(power_of_two=power_of_two)
    try:
        chooser = Int16Chooser(graph, calibrate(graph, x), x, weight_format=weight_format)
        return chooser.choose().integers
    except ValueError as refusal:
        if REFUSAL.format(16) not in str(refusal) and "NaN or infinite" not in str(refusal):
            raise
        return None


def differing(graph, x, *compilers) -> int:
    """How many answers and states of the C that each compiler makes are not the reference's."""
    source = Source("model", for_c(graph))
    texts = header.header(source), source.source()
    integers = real_values.quantize_input(np.concatenate([x, 30.0 * x]), graph.inputs[0])
    states = [state.after for state in graph.states]
    expected = [
        np.concatenate([values[tensor] for tensor in (*graph.outputs, *states)], axis=1)
        for values in reference.steps(graph, integers)
    ]
    width, kept = graph.outputs[0].shape[-1], sum(tensor.shape[-1] for tensor in states)
    count = 0
    for compiler, *flags in compilers:
        program = HostProgram("model", *texts, ["-std=c99", "-Wall", *flags], [compiler])
        found = program.run(integers, width, kept)
        count += np.count_nonzero(found != np.stack(expected, axis=1))
    return count


def main(first: int, last: int) -> None:
    """Prints what came of the models of some seeds."""
    results = collections.Counter()
    for seed in range(first, last):
        model, x = draw(seed)
        graph = integers_of(model, x, power_of_two=seed % 3 == 0)
        keras.backend.clear_session()
        if graph is None:
            results["refused"] += 1
            continue
        wrong = differing(graph, x, ["gcc", *SANITIZED], ["clang", *SANITIZED])
        results["compared"] += 1
        results["integers that differ"] += wrong
        if wrong:
            print(f"seed {seed}: {wrong} integers differ", flush=True)
        if seed % 50 == 49:
            print(seed + 1, dict(results), flush=True)
    print(f"models {first} to {last}: {dict(results)}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:] if len(sys.argv) > 2 else ["0", *sys.argv[1:]]))
