"""The rule of TFLM_DECODE, which unpacks constants in the arena before other operators read them.

A table of values lies behind a header of 16 bytes in one constant, and the packed indices, bits or
code words into it in another. The kernel follows them wherever they lead.
"""

import numpy as np

from keras_fastgrnn.export.tflite.schema import TYPE_BITS

_HEADER = 16
_LUT, _HUFFMAN, _PRUNE = 0, 1, 2
# A code word is looked up step by step, here in Python.
MAX_CODE_WORDS = 1 << 20


def _decode(call) -> None:
    pairs, odd = divmod(len(call.inputs), 2)
    fits = not odd and pairs == len(call.outputs)
    call.require(fits, f"it has {len(call.inputs)} inputs for {len(call.outputs)} outputs")
    for packed, table, y in zip(call.inputs[::2], call.inputs[1::2], call.outputs, strict=True):
        for constant in (packed, table):
            fits = constant is not None and constant.data is not None
            call.require(fits, f"{constant and constant.name} is no constant")
        packed, table = (one.data.view(np.uint8).reshape(-1) for one in (packed, table))
        call.require(table.size >= _HEADER, f"its table of {table.size} bytes has no header")
        header, values = table[:_HEADER], table[_HEADER:]
        fits = header[1] == 1 and header[4] == 1
        call.require(fits, f"its versions are {header[1]} and {header[4]}, expected 1 and 1")
        call.require(int(header[0]) in _METHODS, f"its method is number {header[0]}")
        _METHODS[int(header[0])](call, packed, header, values, y)


def _channels(call, y) -> np.ndarray:
    """The channel of every element of an output."""
    count = max(1, len(y.scales))
    index = np.arange(y.size)
    if count == 1:
        return np.zeros(y.size, int)
    dimension = y.quantized_dimension
    fits = dimension in (0, len(y.shape) - 1) and y.shape[dimension] == count
    what = f"{y.name} has {count} scales for the shape {list(y.shape)} along dimension {dimension}"
    call.require(fits, what)
    return index % count if dimension == len(y.shape) - 1 else index // (y.size // count)


def _bits(call, packed, count) -> np.ndarray:
    needed = -(-count // 8)
    call.require(packed.size >= needed, f"it reads {needed} of {packed.size} packed bytes")
    return np.unpackbits(packed[:needed])[:count]


def _check_type(call, y, *types) -> int:
    call.require(y.type in types, f"it does not decode to {y.type}")
    return TYPE_BITS[y.type] // 8


def _check_values(call, count, values, item) -> None:
    what = f"it reads {count} of {values.size // item} values"
    call.require(count * item <= values.size, what)


def _lut(call, packed, header, values, y) -> None:
    item = _check_type(call, y, "bool", "float32", "int8", "int16", "int32", "int64")
    width, stride = int(header[5]) & 7, int(header[6])
    call.require(width, "its indices have no bits")
    bits = _bits(call, packed, y.size * width).reshape(y.size, width)
    indices = bits @ (1 << np.arange(width)[::-1])
    last = int((_channels(call, y) * stride + indices).max())
    _check_values(call, last + 1, values, item)


def _prune(call, packed, header, values, y) -> None:
    item = _check_type(call, y, "bool", "float32", "int8", "int16", "int32", "int64")
    count = int(_bits(call, packed, y.size).sum())
    _channels(call, y)
    _check_values(call, count, values, item)


def _huffman(call, packed, header, values, y) -> None:
    """Walks as the kernel does: a table's entry is a symbol, or where the next table begins."""
    _check_type(call, y, "int8", "int16")
    is_wide = bool(header[5] & 1)
    call.require(is_wide or y.type == "int8", f"its table of 16 bits does not decode to {y.type}")
    call.require(y.size <= MAX_CODE_WORDS, f"it has {y.size:,} code words")
    item, bits_of_value = (4, 27) if is_wide else (2, 11)
    entries = values[: values.size // item * item].view(f"<u{item}").tolist()
    first_bits = (int(header[5]) >> 4) + 1
    words = packed[: packed.size // 4 * 4].view(">u4").tolist()
    end, place = 32 * len(words), 0
    for _ in range(y.size):
        offset, count = 0, first_bits
        while True:
            call.require(place + count <= end, f"its code words go on behind their {end} bits")
            word, used = divmod(place, 32)
            pair = (words[word] << 32) | (words[word + 1] if word + 1 < len(words) else 0)
            offset += (pair >> (64 - used - count)) & ((1 << count) - 1)
            place += count
            what = f"it reads entry {offset} of {len(entries)} of its table"
            call.require(offset < len(entries), what)
            entry = entries[offset]
            further = (entry >> bits_of_value) & 15
            if entry >> (8 * item - 1):
                break
            offset += entry & ((1 << bits_of_value) - 1)
            count = further + 1
        place -= max(0, count - further)


_METHODS = {_LUT: _lut, _HUFFMAN: _huffman, _PRUNE: _prune}
RULES = {"TFLM_DECODE": _decode}
