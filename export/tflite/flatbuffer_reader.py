"""Flatbuffer -> tables of TFLite's schema, for bytes that nobody has checked.

Every offset is checked to lead into the file, to a multiple of what lies there. A table or vector
that several offsets lead to is read once, so that time and memory grow with the file and not with
what it claims.
"""

import struct

import numpy as np

from keras_fastgrnn.errors import MalformedModelError
from keras_fastgrnn.export.tflite.schema import FILE_IDENTIFIER, OPTIONS, TABLES


def read_model(data: bytes) -> dict:
    """Reads a TFLite file into nested dictionaries.

    Nothing is checked but that it can be read; `keras_fastgrnn.export.verify` checks the rest.

    Args:
        data: Bytes of the file.

    Returns:
        The `Model` table. Vectors of numbers are arrays, vectors of tables are lists, absent
        scalars have their default, other absent fields are `None`, and text is fit to print. The
        options of an operator whose fields `schema.TABLES` does not list are an empty dictionary.
        What is shared in the file is shared in the result: treat it as read-only.

    Raises:
        MalformedModelError: If the bytes are not such a file, or an offset leads out of it.
    """
    if len(data) < 8 or data[4:8] != FILE_IDENTIFIER:
        raise MalformedModelError("Expected a TFLite model, got bytes without its identifier TFL3.")
    try:
        return _TableReader(bytes(data)).table("Model", struct.unpack_from("<I", data)[0])
    except IndexError as error:
        raise MalformedModelError("Expected a TFLite model, got one cut off or damaged.") from error


class _TableReader:
    def __init__(self, data):
        self.data = data
        self.read = {}
        # Vectors that are no copies of each other do not overlap, whatever they hold.
        self.unread = len(data)

    def table(self, name, position) -> dict:
        key = (name, position)
        if key not in self.read:
            self.read[key] = self._table(name, position)
        return self.read[key]

    def _table(self, name, position):
        offsets = self._offsets(position)
        values = {}
        for key, field in TABLES.get(name, {}).items():
            offset = offsets[field.slot] if field.slot < len(offsets) else 0
            place = position + offset if offset else None
            values[key] = self._value(field, place, values)
        return values

    def _offsets(self, position):
        """Where a table's fields lie, counted from its beginning; 0 where one is absent."""
        start = position - self._scalar("i", position)
        size, table_size = self._scalar("H", start), self._scalar("H", start + 2)
        if size < 4 or size % 2:
            raise IndexError(start)
        self._check(position, table_size)
        offsets = np.frombuffer(self._slice(start, size), "<u2")[2:].tolist()
        if offsets and max(offsets) >= table_size:
            raise IndexError(start)
        return offsets

    def _value(self, field, place, siblings):
        kind, _, name = field.kind.partition(":")
        if len(kind) == 1:
            return field.default if place is None else self._scalar(kind, place)
        if place is None:
            return None
        target = place + self._scalar("I", place)
        if kind == "table":
            return self.table(name, target)
        if kind == "options":
            name = OPTIONS.get(siblings["builtin_options_type"])
            return self.table(name, target) if name else None
        key = (field.kind, target)
        if key not in self.read:
            self.read[key] = self._vector(kind, name, target)
        return self.read[key]

    def _vector(self, kind, name, position):
        length = self._scalar("I", position)
        start = position + 4
        if kind == "vector":
            size = np.dtype(name).itemsize
            if start % size:
                raise IndexError(start)
            self._check(start, length * size)
            return np.frombuffer(self.data, f"<{name}", length, start)
        content = self._slice(start, length * (1 if kind == "string" else 4))
        self.unread -= len(content)
        if self.unread < 0:
            raise IndexError(position)
        if kind == "string":
            text = content.decode(errors="replace")
            return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
        offsets = np.frombuffer(content, "<u4").tolist()
        return [self.table(name, start + 4 * i + offset) for i, offset in enumerate(offsets)]

    def _scalar(self, kind, position):
        size = struct.calcsize(kind)
        if position % size:
            raise IndexError(position)
        return struct.unpack(f"<{kind}", self._slice(position, size))[0]

    def _slice(self, start, size):
        self._check(start, size)
        return self.data[start : start + size]

    def _check(self, start, size):
        if start < 0 or start + size > len(self.data):
            raise IndexError(start)
