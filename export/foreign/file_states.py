"""Which input of a file of unknown origin is the data, and which output is a state's next value.

Where the caller keeps the states, they go in and come out. The names of tensors and signatures tell
which belong together, or that only one output has the type and shape that an input has.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from keras_fastgrnn.export.tflite.schema import TYPE_NAMES, shape_of, vector_of
from keras_fastgrnn.graph.graph import Tensor
from keras_fastgrnn.keras_api import invalid_argument

# More than any model's data, states and answers; every input is compared with every output.
MAX_ENDS = 64
# Words of a name that say when or where, not which.
_SIDES = {
    "in", "input", "inputs", "out", "output", "outputs", "new", "next", "old", "prev", "previous",
    "before", "after", "initial", "updated", "serving", "default", "statefulpartitionedcall",
}  # fmt: skip


@dataclass(eq=False)
class End:
    """An input or output of a file.

    Attributes:
        tensor: `Tensor`.
        index: Integer, its tensor in the file.
        names: List of strings, those of the signatures first; empty where it has none.
    """

    tensor: Tensor
    index: int
    names: list[str]

    def __str__(self) -> str:
        name = self.names[0] if self.names else "without a name"
        return f"{name} ({self.tensor.dtype} {list(self.tensor.shape)})"

    def can_become(self, other: "End") -> bool:
        """Returns whether what comes out of another end can go in here."""
        ends = [(t.dtype, t.shape, t.scale, t.zero_point) for t in (self.tensor, other.tensor)]
        return ends[0] == ends[1]

    def shares_a_name_with(self, other: "End") -> bool:
        """Returns whether a name of both is the same but for words such as "next"."""
        return bool(_stems(self.names) & _stems(other.names))


@dataclass(frozen=True)
class Reading:
    """How a file is run.

    Attributes:
        data: Integer, the input that the sequences go into.
        answer: Integer, the output that answers.
        states: Dictionary from an input to the output that holds its next value.
    """

    data: int
    answer: int
    states: dict[int, int]


def file_ends(model: dict) -> tuple[list[End], list[End]]:
    """Returns the inputs and outputs of a model's main subgraph.

    Args:
        model: The `Model` table, verified.
    """
    graph = model["subgraphs"][0]
    signatures = [s for s in model["signature_defs"] or [] if not s["subgraph_index"]]
    ends = []
    for field in ("inputs", "outputs"):
        named = [entry for signature in signatures for entry in signature[field] or []]
        ends.append([])
        for index in vector_of(graph, field):
            table = graph["tensors"][index]
            names = [entry["name"] for entry in named if entry["tensor_index"] == index]
            names = [name for name in (*names, table["name"]) if name]
            ends[-1].append(End(_as_tensor(table), int(index), names))
    return tuple(ends)


def read_states(
    inputs: list[End], outputs: list[End], given: Mapping[str, str] | None = None
) -> Reading:
    """Finds out which input is the data, and where the others' next values come from.

    Args:
        inputs, outputs: Lists of `End`, at least one of each.
        given: Dictionary from a state's input to its output, each a name or its place among the
            inputs or outputs, counted from 0. Defaults to what names, types and shapes tell.

    Raises:
        ValueError: If there is no such reading, or more than one, or too many ends.
    """
    if max(len(inputs), len(outputs)) > MAX_ENDS:
        raise ValueError(
            f"The model has {len(inputs):,} inputs and {len(outputs):,} outputs, expected at most "
            f"{MAX_ENDS} of each."
        )
    if given:
        pairs = _given_pairs(inputs, outputs, given)
        left = [index for index in range(len(inputs)) if index not in pairs]
        if len(left) != 1:
            raise invalid_argument(
                "state", f"{len(inputs) - 1} states, one for each input but the data", dict(given)
            )
        return _reading(left[0], pairs, outputs)
    if len(inputs) > len(outputs) and len(inputs) > 1:
        raise ValueError(
            f"The model has {len(inputs)} inputs and {len(outputs)} outputs; "
            "expected inputs but one to be states, each with an output."
        )
    by_name = _readings(inputs, outputs, End.shares_a_name_with)
    # The data comes first, where nothing tells otherwise.
    if by_name.get(0) or len(by_name) == 1:
        found = [by_name.get(0) or next(iter(by_name.values()))]
    else:
        by_type = _readings(inputs, outputs, lambda *_: True)
        found = [by_type[0]] if 0 in by_type else list(by_type.values())
    if not found:
        raise ValueError(
            f"The model's inputs {_listed(inputs)} are not one for the data and states that come "
            f"out as {_listed(outputs)}; expected the same type, shape, scale and zero point."
        )
    if len(found) > 1 or found[0] is None:
        raise ValueError(
            f"The model's states can be read in more than one way: its inputs are "
            f"{_listed(inputs)}, its outputs {_listed(outputs)}. Say which output is the next "
            "value of an input, as --state h=h_next, or by their places, as --state 1=0."
        )
    return found[0]


def _listed(ends) -> str:
    return ", ".join(map(str, ends))


def _given_pairs(inputs, outputs, given) -> dict[int, int]:
    pairs = {}
    for source, target in given.items():
        one, other = _end_of("input", inputs, source), _end_of("output", outputs, target)
        if not inputs[one].can_become(outputs[other]):
            raise invalid_argument(
                "state",
                "an input and an output of the same type, shape, scale and zero point",
                f"{inputs[one]} and {outputs[other]}",
            )
        pairs[one] = other
    return pairs


def _end_of(what, ends, name) -> int:
    found = [i for i, end in enumerate(ends) if name in end.names]
    if not found and str(name).isdecimal() and int(name) < len(ends):
        found = [int(name)]
    if len(found) != 1:
        raise invalid_argument("state", f"the name or place of one {what} of {_listed(ends)}", name)
    return found[0]


def _readings(inputs, outputs, agree) -> dict[int, Reading | None]:
    """By the input that may be the data; `None` where its states can be paired variously."""
    found = {}
    for data in range(len(inputs)):
        options = {
            i: {
                outputs[j].index
                for j in range(len(outputs))
                if one.can_become(outputs[j]) and agree(one, outputs[j])
            }
            for i, one in enumerate(inputs)
            if i != data
        }
        pairs = _forced(options)
        if pairs is None:
            found[data] = None
        elif len(pairs) == len(options):
            places = {end.index: j for j, end in reversed(list(enumerate(outputs)))}
            paired = {i: places[index] for i, index in pairs.items()}
            found[data] = _reading(data, paired, outputs)
    return found


def _forced(options) -> dict[int, int] | None:
    """Pairs what has one choice left, again and again; `None` where a choice is free."""
    options, pairs = {i: set(choices) for i, choices in options.items()}, {}
    while options:
        state = min(options, key=lambda i: len(options[i]))
        choices = options.pop(state)
        if not choices:
            return {}
        if len(choices) > 1:
            return None
        pairs[state] = choices.pop()
        for others in options.values():
            others.discard(pairs[state])
    return pairs


def _reading(data, pairs, outputs) -> Reading:
    taken = {outputs[j].index for j in pairs.values()}
    left = [j for j, end in enumerate(outputs) if end.index not in taken]
    return Reading(data, left[0] if left else 0, pairs)


def _stems(names) -> set[tuple[str, ...]]:
    """What names say besides their side: at least one word with a letter."""
    stems = set()
    for name in names:
        words = re.findall(r"[a-z0-9]+", re.sub(r":\d+$", "", name).lower())
        stem = tuple(word for word in words if word not in _SIDES)
        if any(not word.isdecimal() for word in stem):
            stems.add(stem)
    return stems


def _as_tensor(table) -> Tensor:
    quantization = table["quantization"] or {}
    scales, zero_points = quantization.get("scale"), quantization.get("zero_point")
    if scales is None or not scales.size:
        return Tensor(table["name"] or "", shape_of(table), TYPE_NAMES[table["type"]])
    return Tensor(
        table["name"] or "",
        shape_of(table),
        TYPE_NAMES[table["type"]],
        scale=float(scales[0]),
        zero_point=0 if zero_points is None else int(zero_points[0]),
    )
