"""Integer graph -> a pair of C99 files that compute it, and need nothing else."""

import re
import textwrap
from collections.abc import Sequence

import numpy as np

from keras_fastgrnn.export.firmware.names import banner, export_check, rows
from keras_fastgrnn.export.plain_c import runtime
from keras_fastgrnn.export.plain_c.expressions import (
    FUNCTIONS,
    Expressions,
    needs_64_bits,
    rounding,
)
from keras_fastgrnn.export.plain_c.matrices import Matrix, matrix_of_values
from keras_fastgrnn.export.plain_c.schedule import (
    DelayLine,
    Loop,
    Schedule,
    is_one_number,
    output_parts,
    output_schedule,
    sources,
    step_schedule,
)
from keras_fastgrnn.graph.graph import Constant, Graph, Op, Tensor
from keras_fastgrnn.graph.operators import operator_of
from keras_fastgrnn.graph.tables import SIGMOID_TABLE

# Names that mean something else where a tensor's name may stand.
_TAKEN = (
    "auto break case char const continue default do double else enum extern float for goto if "
    "inline int long register restrict return short signed sizeof static struct switch typedef "
    "union unsigned void volatile while int8_t int16_t int32_t int64_t uint8_t uint16_t uint32_t "
    "uint64_t i input state logits row main"
)
_CALLED = ("state", "reset", "step", "output", "classify")


class _Names:
    """Gives things names that are identifiers of C, each once."""

    def __init__(self, taken):
        self._taken = set(taken)

    def unique(self, text: str) -> str:
        base = re.sub(r"\W+", "_", text, flags=re.ASCII).strip("_") or "value"
        base = f"v{base}" if base[0].isdigit() else base
        name, count = base, 1
        while name in self._taken:
            count += 1
            name = f"{base}_{count}"
        self._taken.add(name)
        return name


def short(tensor: Tensor) -> str:
    """Returns a tensor's name without that of its layer."""
    return tensor.name.split("/")[-1]


class Source:
    """The text of the two files, and what is in them.

    Attributes:
        matrices: Dictionary from name to `Matrix`.
        tables: Dictionary from the name of every constant array to its bytes.
        expressions: `Expressions` of all operators.

    Args:
        name: String, a C identifier.
        graph: Integer graph, as `schedule.for_c` gives it.
    """

    def __init__(self, name: str, graph: Graph):
        self.name = name
        self.graph = graph
        self.matrices: dict[str, Matrix] = {}
        self.tables: dict[str, int] = {}
        self._constants: list[str] = []
        self.expressions = Expressions()
        self._names = _Names(
            [*_TAKEN.split(), *runtime.names(), *(f"{name}_{ending}" for ending in _CALLED)]
        )
        self._state_names = {
            state: self._names.unique(state.before.name or "kept") for state in graph.states
        }
        step = _Function(self, step_schedule(graph))
        output = _Function(self, output_schedule(graph), output_parts(graph))
        self._step = _using(step.text(), "input", "state")
        self._output = _using(output.text(), "state")
        self._add_sigmoid_table()

    def state_members(self) -> list[tuple[str, int]]:
        """Returns the name and length of every state."""
        return [(name, s.before.shape[-1]) for s, name in self._state_names.items()]

    @property
    def state_bytes(self) -> int:
        """What is kept from one step to the next."""
        return 2 * sum(length for _, length in self.state_members())

    @property
    def multiply_accumulates(self) -> int:
        """How many products a step and its output add up: the weights that are not zero."""
        return sum(matrix.stored.kept for matrix in self.matrices.values())

    def state_before(self, tensor: Tensor) -> str | None:
        """Returns the member that holds a tensor before a step, or `None`."""
        names = self._state_names.items()
        return next((name for state, name in names if state.before is tensor), None)

    def state_after(self, tensor: Tensor) -> str | None:
        """Returns the member that holds a tensor after a step, and nothing else, or `None`."""
        states = [one for one in self._state_names if not isinstance(one, DelayLine)]
        return next((self._state_names[one] for one in states if one.after is tensor), None)

    def source(self) -> str:
        """Returns the text of `NAME.c`."""
        name = self.name
        classify = "classify" if self.graph.outputs[0].shape[-1] > 1 else "classify_one"
        parts = [
            f'{banner(name)}\n#include "{name}.h"',
            export_check(name, f"{name}.c"),
            runtime.definition("flash"),
            *self._constants,
            *self._functions_text(),
            f"void {name}_reset({name}_state *state) {{\n{self._reset()}}}",
            f"void {name}_step({name}_state *state, const int16_t *input) {{\n{self._step}}}",
            f"void {name}_output(const {name}_state *state, int16_t *logits) {{\n{self._output}}}",
            runtime.of_model(runtime.definition(classify), name),
        ]
        return "\n\n".join(parts) + "\n"

    def _reset(self) -> str:
        return "".join(
            f"  for ({_index_type(length)} i = 0; i < {length}; ++i) state->{member}[i] = 0;\n"
            for member, length in self.state_members()
        )

    def _add_sigmoid_table(self) -> None:
        if "sigmoid_table" in runtime.needed(self.expressions.functions):
            declared = runtime.definition("sigmoid_table")
            numbers = self._array("sigmoid_table", "uint16_t", SIGMOID_TABLE)
            self._constants.insert(0, f"{declared[: declared.rindex('static')]}{numbers}")

    def _functions_text(self) -> list[str]:
        matrices = self.matrices.values()
        rows = {matrix.function: matrix.definition() for matrix in matrices}
        before = sorted(set().union(*(matrix.includes for matrix in matrices)))
        needed = runtime.needed(self.expressions.functions)
        after = [name for name in FUNCTIONS if name in needed]
        return [
            *map(runtime.definition, before),
            *rows.values(),
            *map(runtime.definition, after),
        ]

    def _array(self, name: str, c_type: str, values) -> str:
        values = np.ravel(values)
        size = int(re.sub(r"\D", "", c_type)) // 8
        self.tables[name] = size * len(values)
        numbers = rows([str(int(value)) for value in values], "  ")
        return f"static const {c_type} {name}[{len(values)}] FLASH = {{\n{numbers}}};"

    def add_matrix(self, name: str, matrix: Matrix) -> str:
        """Adds a matrix; returns the name it got."""
        name = self._names.unique(name)
        self.matrices[name] = matrix
        c_type = "int8_t" if matrix.is_plain else "uint8_t"
        weights, places = matrix.stored.weights, matrix.stored.places
        weights = weights.view(np.int8) if matrix.is_plain else weights
        self._constants.append(self._array(f"{name}_weights", c_type, weights))
        if places.size:
            self._constants.append(self._array(f"{name}_places", "uint8_t", places))
        return name

    def add_vector(self, name: str, values: np.ndarray, units: int) -> str:
        """Adds constants, one for each unit; returns the expression of the one of unit `i`."""
        values, width, bits = _compact(values, units)
        if width == 0:
            return str(values[0] << bits)
        name = self._names.unique(name)
        self._constants.append(self._array(name, f"int{width}_t", values))
        text = f"(int{width}_t)FLASH_U{width}(&{name}[i])"
        unit = "(int64_t)1" if np.abs(values).max() << bits >= 2**31 else "(int32_t)1"
        return f"{text} * ({unit} << {bits})" if bits else text

    def unique(self, name: str) -> str:
        """Returns a name that nothing else has."""
        return self._names.unique(name)


def _places_in(delay: DelayLine) -> list[tuple[Tensor, int]]:
    """Where each part of what is newest begins in a delay line, below 0 where that is shorter."""
    widths = [part.shape[-1] for part in delay.newest]
    starts = delay.before.shape[-1] - sum(widths) + np.cumsum([0, *widths[:-1]])
    return list(zip(delay.newest, starts.tolist(), strict=True))


def _joins(op: Op) -> bool:
    return operator_of(op.kind).has_matrix and len(sources(op)) > 1


def _compact(values: np.ndarray, units: int) -> tuple[np.ndarray, int, int]:
    """Constants as integers of few bits times a power of two; of 0 bits where all are equal."""
    values = np.broadcast_to(np.ravel(values).astype(np.int64), (units,))
    if np.all(values == values[0]):
        return values, 0, 0
    bits = int(np.min([(v & -v).bit_length() - 1 for v in map(int, values) if v]))
    values = values >> bits
    return values, next(w for w in (8, 16, 32, 64) if np.abs(values).max() < 2 ** (w - 1)), bits


def _vector_bytes(values: np.ndarray, units: int) -> int:
    """How many bytes constants take that are one number for each unit, or one for all."""
    return units * _compact(values, units)[1] // 8


class _Function:
    """The body of a function that computes a schedule."""

    def __init__(self, source: Source, schedule: Schedule, outputs: Sequence[Tensor] = ()):
        self._source = source
        self._schedule = schedule
        self._outputs = outputs
        computed = set().union(*(loop.computed for loop in schedule.loops))
        self._buffers = {
            state.after: source.unique("next_state")
            for state in schedule.buffered
            if state.after in computed
        }
        self._arrays: dict[str, int] = {}
        self._places: dict[Tensor, tuple[str, int]] = {}
        if outputs:
            self._place_newest_frames()
        self._place_outputs()
        self._place_arrays()
        self._locals: dict[Tensor, str] = {}
        self._unread: set[str] = set()  # arrays, by matrices of zeros

    def _place_newest_frames(self) -> None:
        for state in self._source.graph.states:
            if isinstance(state, DelayLine) and state.holds_newest:
                for part, start in _places_in(state):
                    self._places[part] = self._member(state.before), start

    def _member(self, tensor: Tensor) -> str:
        return f"state->{self._source.state_before(tensor)}"

    def _place_outputs(self) -> None:
        computed = set().union(*(loop.computed for loop in self._schedule.loops))
        offset = 0
        self._copied: list[tuple[Tensor, int]] = []
        for part in self._outputs:
            if part in computed and part not in self._places:
                self._places[part] = "logits", offset
            else:
                self._copied.append((part, offset))
            offset += part.shape[-1]

    def _place_arrays(self) -> None:
        """Vectors that one matrix reads lie one after another, so that its rows are whole."""
        arrays = self._schedule.arrays
        groups = [sources(op) for loop in self._schedule.loops for op in loop.ops if _joins(op)]
        groups = [group for group in groups if all(tensor in arrays for tensor in group)]
        for group in [*groups, *([tensor] for tensor in arrays)]:
            is_placed = any(tensor in self._places for tensor in group)
            if is_placed or len(set(group)) < len(group):
                continue
            name = self._source.unique("all_" + "_and_".join(map(short, group)))
            self._arrays[name] = 0
            for tensor in group:
                self._places[tensor] = name, self._arrays[name]
                self._arrays[name] += tensor.shape[-1]

    def text(self) -> str:
        buffers = {name: tensor.shape[-1] for tensor, name in self._buffers.items()}
        arrays = {**self._arrays, **buffers}
        lines = [f"  int16_t {name}[{length}];\n" for name, length in arrays.items()]
        lines += [self._loop(loop) for loop in self._schedule.loops]
        lines += [f"  (void){name};\n" for name in sorted(self._unread)]
        kept, moved = [], []
        for state in self._schedule.buffered:
            copy = kept if state.after not in self._buffers else moved
            target = f"{self._member(state.before)}[i]"
            copy.append(_copy(target, self._element(state.after), state.before.shape[-1]))
        lines += [*kept, *map(self._moved_on, self._schedule.delays), *moved]
        for part, offset in self._copied:
            target = f"logits[{offset} + i]" if offset else "logits[i]"
            lines.append(_copy(target, self._element(part), part.shape[-1]))
        return "".join(lines)

    def _moved_on(self, delay: DelayLine) -> str:
        """Moves a delay line on by what is newest."""
        line, new = self._member(delay.before), delay.after.shape[-1]
        kept = delay.before.shape[-1] - new
        text = _copy(f"{line}[i]", f"{line}[i + {new}]", kept) if kept > 0 else ""
        for part, start in _places_in(delay):
            left_out = max(0, -start)
            place = start + left_out
            target = f"{line}[{place} + i]" if place else f"{line}[i]"
            if left_out < part.shape[-1]:
                source = self._element(part, left_out)
                text += _copy(target, source, part.shape[-1] - left_out)
        return text

    def _vector(self, tensor: Tensor) -> str | None:
        """The array that holds a tensor, or `None` for a local number."""
        if tensor in self._source.graph.inputs and not self._outputs:
            return "input"
        if tensor in self._buffers:
            return self._buffers[tensor]
        if tensor in self._places:
            name, offset = self._places[tensor]
            return f"&{name}[{offset}]" if offset else name
        old = None if self._outputs else self._source.state_before(tensor)
        member = old or self._source.state_after(tensor)
        return f"state->{member}" if member else None

    def _element(self, tensor: Tensor, start: int = 0) -> str:
        """The entry of a vector that belongs to unit `i`, where those before `start` do to none."""
        name, offset = self._places.get(tensor, (self._vector(tensor), 0))
        offset += start
        return f"{name}[{offset} + i]" if offset else f"{name}[i]"

    def _loop(self, loop: Loop) -> str:
        before, inside = [], []
        for op in loop.ops:
            if operator_of(op.kind).has_matrix:
                value = self._row(op, before, inside)
            else:
                operands = [self._entry(tensor, op) for tensor in op.inputs]
                value = self._source.expressions.elementwise(op, operands)
            vector = self._vector(op.output)
            if vector:
                inside.append(f"{self._element(op.output)} = {value};")
            else:
                name = self._source.unique(short(op.output))
                self._locals[op.output] = name
                inside.append(f"const int16_t {name} = {value};")
        head = f"  for ({_index_type(loop.units)} i = 0; i < {loop.units}; ++i) {{\n"
        body = "".join(_line(line, 4) for line in inside)
        return "".join(_line(line, 2) for line in before) + head + body + "  }\n"

    def _entry(self, tensor: Tensor, op: Op) -> str:
        if isinstance(tensor, Constant):
            return self._source.add_vector(
                f"{short(op.output)}_constant", tensor.data, op.output.shape[-1]
            )
        if tensor in self._locals:
            return self._locals[tensor]
        if is_one_number(tensor, op):
            name, offset = self._places.get(tensor, (self._vector(tensor), 0))
            return f"{name}[{offset}]"
        return self._element(tensor, op.start)

    def _matrices(self, op: Op) -> list[tuple[Tensor, Matrix | None]]:
        """Each vector that rows of a matrix meet, and what they are; `None` for zeros alone.

        Vectors that lie together are one where that takes no more bytes.
        """
        vectors, values, is_wide = sources(op), op.weights.data, needs_64_bits(op)

        def stored(columns: np.ndarray) -> Matrix | None:
            return matrix_of_values(columns, is_wide) if columns.any() else None

        ends = np.cumsum([vector.shape[-1] for vector in vectors])
        apart = [stored(columns) for columns in np.split(values, ends[:-1], axis=1)]
        if len(vectors) > 1 and self._lie_in_a_row(vectors):
            whole = stored(values)
            if whole is None or whole.stored.bytes <= sum(m.stored.bytes for m in apart if m):
                return [(vectors[0], whole)]
        return list(zip(vectors, apart, strict=True))

    def _lie_in_a_row(self, vectors: list[Tensor]) -> bool:
        if not all(vector in self._places for vector in vectors):
            return False
        name, place = self._places[vectors[0]]
        for vector in vectors:
            if self._places[vector] != (name, place):
                return False
            place += vector.shape[-1]
        return True

    def _start(self, op: Op) -> str:
        """The bias and what rounds the sum: one constant where that takes no more bytes."""
        bias, half = op.bias, rounding(op)
        if bias is None:
            return str(half)
        name, units = f"{short(op.output)}_bias", op.output.shape[-1]
        if half and _vector_bytes(bias.data + half, units) > _vector_bytes(bias.data, units):
            text = self._source.add_vector(name, bias.data, units)
            return f"(int64_t){text} + {half}" if needs_64_bits(op) else f"{text} + {half}"
        return self._source.add_vector(name, bias.data + half, units)

    def _row(self, op: Op, before: list, inside: list) -> str:
        """The sum of one unit, a row of the matrix for each vector, and the bias."""
        is_wide = needs_64_bits(op)
        total = self._source.unique(f"{short(op.output)}_sum")
        start = self._start(op)
        inside.append(f"{'int64_t' if is_wide else 'int32_t'} {total} = {start};")
        for vector, matrix in self._matrices(op):
            if matrix is None:
                if vector in self._places:
                    self._unread.add(self._places[vector][0])
                continue
            name = self._source.add_matrix(f"{short(op.output)}_of_{short(vector)}", matrix)
            row = self._source.unique(f"{name}_row")
            kind = "const int8_t *" if matrix.is_plain else "matrix_cursor "
            before.append(f"{kind}{row} = {matrix.beginning(name)};")
            arguments = f"{total}, &{row}, {self._vector(vector)}, {matrix.stored.columns}"
            inside.append(f"{total} = {matrix.function}({arguments});")
        return self._source.expressions.rescaled(op, total, is_wide)


def _line(statement: str, indent: int) -> str:
    """A statement, in as many lines as it takes."""
    lines = textwrap.wrap(
        statement,
        100 - indent,
        subsequent_indent="    ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "".join(f"{' ' * indent}{line}\n" for line in lines)


def _using(body: str, *arguments: str) -> str:
    """A function's body that uses its arguments: where a matrix is all zeros, it may not."""
    unused = [name for name in arguments if not re.search(rf"\b{name}\b", body)]
    return "".join(f"  (void){name};\n" for name in unused) + body


def _index_type(length: int) -> str:
    return "uint8_t" if length < 256 else "uint16_t"


def _copy(target: str, source: str, length: int) -> str:
    return f"  for ({_index_type(length)} i = 0; i < {length}; ++i) {target} = {source};\n"
