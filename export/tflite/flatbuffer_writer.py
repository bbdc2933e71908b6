"""Tables of TFLite's schema -> flatbuffer.

What is absent or `None` is not written, and reads as its default. Identical tables and vectors are
written once, which is a fifth of a small model's bytes.
"""

import struct

import flatbuffers
import numpy as np

from keras_fastgrnn.export.tflite.schema import FILE_IDENTIFIER, OPTIONS, TABLES

# Matrices begin at a multiple of 16, for kernels that load vectors; other constants at a multiple
# of their element's size, at least 4.
MATRIX_ALIGNMENT = 16
SMALLEST_ALIGNMENT = 4


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
        slots = [field.slot for field in TABLES[name].values()]
        self.builder.StartObject(1 + max(slots, default=-1))
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


_SCALARS = {
    "b": "Int8",
    "B": "Uint8",
    "?": "Bool",
    "i": "Int32",
    "I": "Uint32",
    "Q": "Uint64",
    "f": "Float32",
}


def _size(field) -> int:
    return struct.calcsize(field.kind) if len(field.kind) == 1 else 4
