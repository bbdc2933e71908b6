"""The part of TFLite's flatbuffer schema that is used here, and tables written and read by it.

Source: TensorFlow Lite's `schema.fbs`, version 3. A table is a dictionary from field name to
value; what is absent or `None` is not written, and reads as its default. Identical tables and
vectors are written once, which is a fifth of a small model's bytes.
"""

import struct
from dataclasses import dataclass

import flatbuffers
import numpy as np

FILE_IDENTIFIER = b"TFL3"
VERSION = 3

TENSOR_TYPES = {"float32": 0, "int32": 2, "int64": 4, "int16": 7, "int8": 9}
OPERATORS = {
    "ADD": 0,
    "CONCATENATION": 2,
    "FULLY_CONNECTED": 9,
    "LOGISTIC": 14,
    "MUL": 18,
    "SOFTMAX": 25,
    "TANH": 28,
    "SUB": 41,
    "MINIMUM": 57,
}
ACTIVATIONS = {"NONE": 0, "RELU": 1, "RELU_N1_TO_1": 2}


@dataclass(frozen=True)
class Field:
    """One field of a table.

    Attributes:
        slot: Integer, its place in the table.
        kind: String, a struct format character for a scalar; "string"; "table:NAME";
            "vector:FORMAT" of scalars, where "vector:B" is written from an array of any type;
            "tables:NAME" for a vector of tables; "options" for the union of operator options.
        default: The value that stands for an absent scalar.
    """

    slot: int
    kind: str
    default: int | float = 0


TABLES = {
    "Model": {
        "version": Field(0, "I"),
        "operator_codes": Field(1, "tables:OperatorCode"),
        "subgraphs": Field(2, "tables:SubGraph"),
        "description": Field(3, "string"),
        "buffers": Field(4, "tables:Buffer"),
    },
    "OperatorCode": {
        "version": Field(2, "i", 1),
        "builtin_code": Field(3, "i"),
    },
    "SubGraph": {
        "tensors": Field(0, "tables:Tensor"),
        "inputs": Field(1, "vector:i"),
        "outputs": Field(2, "vector:i"),
        "operators": Field(3, "tables:Operator"),
        "name": Field(4, "string"),
    },
    "Tensor": {
        "shape": Field(0, "vector:i"),
        "type": Field(1, "b"),
        "buffer": Field(2, "I"),
        "name": Field(3, "string"),
        "quantization": Field(4, "table:QuantizationParameters"),
        "is_variable": Field(5, "?"),
    },
    "QuantizationParameters": {
        "scale": Field(2, "vector:f"),
        "zero_point": Field(3, "vector:q"),
    },
    "Operator": {
        "opcode_index": Field(0, "I"),
        "inputs": Field(1, "vector:i"),
        "outputs": Field(2, "vector:i"),
        "builtin_options_type": Field(3, "B"),
        "builtin_options": Field(4, "options"),
    },
    "Buffer": {"data": Field(0, "vector:B")},
    "FullyConnectedOptions": {"fused_activation_function": Field(0, "b")},
    "SoftmaxOptions": {"beta": Field(0, "f")},
    "ConcatenationOptions": {"axis": Field(0, "i")},
    "AddOptions": {"fused_activation_function": Field(0, "b")},
    "MulOptions": {"fused_activation_function": Field(0, "b")},
    "SubOptions": {"fused_activation_function": Field(0, "b")},
}
OPTIONS = {
    8: "FullyConnectedOptions",
    9: "SoftmaxOptions",
    10: "ConcatenationOptions",
    11: "AddOptions",
    21: "MulOptions",
    28: "SubOptions",
}
OPTIONS_TYPES = {name: number for number, name in OPTIONS.items()}

# Matrices begin at a multiple of 16, for kernels that load vectors; other constants at a multiple
# of their element's size, at least 4.
MATRIX_ALIGNMENT = 16
SMALLEST_ALIGNMENT = 4


class MalformedModelError(ValueError):
    """The bytes are not a TFLite model that can be read safely."""


class TableWriter:
    """Writes tables into one flatbuffer, each distinct one once."""

    def __init__(self):
        self.builder = flatbuffers.Builder(1024)
        self.builder.ForceDefaults(True)
        self.written = {}

    def finish(self, model: dict) -> bytes:
        """Returns the file whose root is the given `Model` table."""
        self.builder.Finish(self._table("Model", model), FILE_IDENTIFIER)
        return bytes(self.builder.Output())

    def _table(self, name, values):
        content = []
        for key, value in values.items():
            field = TABLES[name][key]
            if value is not None:
                is_scalar = len(field.kind) == 1
                content.append((field, value if is_scalar else self._child(field, value, values)))
        key = (name, tuple((field.slot, value) for field, value in content))
        return self._once(key, lambda: self._start_table(name, content))

    def _start_table(self, name, content):
        self.builder.StartObject(1 + max(field.slot for field in TABLES[name].values()))
        for field, value in sorted(content, key=lambda item: _size(item[0]), reverse=True):
            if len(field.kind) > 1:
                self.builder.PrependUOffsetTRelativeSlot(field.slot, value, 0)
            else:
                prepend = getattr(self.builder, f"Prepend{_SCALARS[field.kind]}Slot")
                prepend(field.slot, value, field.default)
        return self.builder.EndObject()

    def _child(self, field, value, siblings):
        kind, _, name = field.kind.partition(":")
        if kind == "string":
            return self._once((kind, value), lambda: self.builder.CreateString(value))
        if kind == "table":
            return self._table(name, value)
        if kind == "options":
            return self._table(OPTIONS[siblings["builtin_options_type"]], value)
        if kind == "tables":
            offsets = [self._table(name, child) for child in value]
            return self._once((field.kind, tuple(offsets)), lambda: self._offsets(offsets))
        if name == "B":
            return self._bytes(value)
        data = np.ascontiguousarray(value, np.dtype(name)).tobytes()
        size = np.dtype(name).itemsize
        return self._once((field.kind, data), lambda: self._scalars(size, data, size))

    def _bytes(self, constant):
        is_matrix = constant.ndim == 2 and len(constant) > 1
        alignment = max(SMALLEST_ALIGNMENT, constant.itemsize)
        alignment = MATRIX_ALIGNMENT if is_matrix else alignment
        data = constant.tobytes()
        return self._once((alignment, data), lambda: self._scalars(1, data, alignment))

    def _offsets(self, offsets):
        self.builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.builder.PrependUOffsetTRelative(offset)
        return self.builder.EndVector()

    def _scalars(self, size, data, alignment):
        self.builder.StartVector(size, len(data) // size, alignment)
        self.builder.head = self.builder.Head() - len(data)
        self.builder.Bytes[self.builder.Head() : self.builder.Head() + len(data)] = data
        return self.builder.EndVector()

    def _once(self, key, write):
        if key not in self.written:
            self.written[key] = write()
        return self.written[key]


_SCALARS = {"b": "Int8", "B": "Uint8", "?": "Bool", "i": "Int32", "I": "Uint32", "f": "Float32"}


def _size(field) -> int:
    return struct.calcsize(field.kind) if len(field.kind) == 1 else 4


def read_model(data: bytes) -> dict:
    """Reads a TFLite file into nested dictionaries.

    Args:
        data: Bytes of the file.

    Returns:
        The `Model` table. Vectors of numbers are arrays, vectors of tables are lists, absent
        scalars have their default, other absent fields are `None`.

    Raises:
        MalformedModelError: If the bytes are not such a file, or an offset leads out of it.
    """
    if len(data) < 8 or data[4:8] != FILE_IDENTIFIER:
        raise MalformedModelError("Expected a TFLite model, got bytes without its identifier TFL3.")
    try:
        return _TableReader(data).table("Model", _unpack("I", data, 0))
    except (struct.error, IndexError, RecursionError, UnicodeDecodeError) as error:
        raise MalformedModelError("Expected a TFLite model, got one cut off or damaged.") from error


def _unpack(kind, data, position):
    if position < 0:
        raise IndexError(position)
    return struct.unpack_from(f"<{kind}", data, position)[0]


class _TableReader:
    def __init__(self, data):
        self.data = data

    def table(self, name, position) -> dict:
        vtable = position - _unpack("i", self.data, position)
        slots = (_unpack("H", self.data, vtable) - 4) // 2
        if slots < 0:
            raise IndexError(vtable)
        values = {}
        for key, field in TABLES[name].items():
            inside = field.slot < slots
            offset = _unpack("H", self.data, vtable + 4 + 2 * field.slot) if inside else 0
            place = position + offset if offset else None
            values[key] = self._value(field, place, values)
        return values

    def _value(self, field, place, siblings):
        kind, _, name = field.kind.partition(":")
        if len(kind) == 1:
            return field.default if place is None else _unpack(kind, self.data, place)
        if place is None:
            return None
        target = place + _unpack("I", self.data, place)
        if kind == "table":
            return self.table(name, target)
        if kind == "options":
            options = OPTIONS.get(siblings["builtin_options_type"])
            return self.table(options, target) if options else None
        length = _unpack("I", self.data, target)
        start = target + 4
        if kind == "string":
            return self._slice(start, length).decode()
        if kind == "tables":
            places = [start + 4 * i for i in range(self._checked(start, length, 4))]
            return [self.table(name, p + _unpack("I", self.data, p)) for p in places]
        return np.frombuffer(self._slice(start, length * np.dtype(name).itemsize), f"<{name}")

    def _checked(self, start, length, size):
        self._slice(start, length * size)
        return length

    def _slice(self, start, size):
        if start + size > len(self.data):
            raise IndexError(start)
        return self.data[start : start + size]
