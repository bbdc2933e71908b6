"""Rules of operators that no converter at hand writes, on files written from tables.

What such a file computes is held against NumPy where it is sound.
"""

import numpy as np
import pytest
from small_models import needs_tflm
from table_files import Op, T, file_of

from keras_fastgrnn.errors import MalformedModelError
from keras_fastgrnn.export.foreign.verify import verify
from keras_fastgrnn.export.tflm.process import TFLMProcess

RNG = np.random.default_rng(0)
FILTERS, INPUTS, MEMORY, RANK = 6, 3, 4, 2


@pytest.fixture(scope="module")
def process():
    with TFLMProcess(timeout=20) as process:
        yield process


def svdf(kind="float32", rank=RANK, **changes):
    """The operator of keyword spotters: a dense layer, and a filter over time for each unit."""
    units = FILTERS // RANK
    weights = {"float32": "float32", "int8": "int8"}[kind]
    state = {"float32": "float32", "int8": "int16"}[kind]
    scale = None if kind == "float32" else 0.25
    values = {
        "features": RNG.integers(-9, 10, (FILTERS, INPUTS)).astype(weights),
        "times": RNG.integers(-9, 10, (FILTERS, MEMORY)).astype(state),
        "bias": RNG.integers(-9, 10, units).astype("float32" if kind == "float32" else "int32"),
    }
    tensors = {
        "x": T([1, INPUTS], kind, scale=scale),
        **{name: T(data=data, scale=scale) for name, data in values.items()},
        "state": T([1, FILTERS * MEMORY], state, scale=scale, is_variable=True),
        "y": T([1, units], kind, scale=scale),
    }
    if kind == "int8":
        tensors["bias"].scale = 0.0625
    tensors.update(changes)
    inputs = [0, 1, 2, -1 if tensors["bias"] is None else 3, 4]
    kept = [tensor or T([1]) for tensor in tensors.values()]
    operator = Op("SVDF", inputs, [5], "SVDF", {"rank": rank, "fused_activation_function": 0})
    return file_of(kept, [operator], [0], [5]), values


@needs_tflm
@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_sound_svdf_runs(kind, process):
    data, values = svdf(kind)
    verify(data)
    process.load(data)
    x = RNG.integers(-9, 10, (6, 1, INPUTS)).astype(kind)
    (answers,) = process.run([x])
    if kind == "float32":
        memory = np.zeros((FILTERS, MEMORY))
        for row, answer in zip(x, answers, strict=True):
            memory = np.roll(memory, -1, axis=1)
            memory[:, -1] = values["features"] @ row[0]
            sums = (memory * values["times"]).sum(axis=1).reshape(-1, RANK).sum(axis=1)
            np.testing.assert_allclose(answer[0], sums + values["bias"], rtol=1e-6)


BROKEN_SVDF = {
    "rank 0": ({"rank": 0}, "its rank is 0"),
    "rank": ({"rank": 4}, "its rank is 4, of 6 filters"),
    "features": ({"features": T(data=np.ones((FILTERS, 2), "float32"))}, "has the shape"),
    "times": ({"times": T(data=np.ones((5, MEMORY), "float32"))}, "its rank is 2, of 5|shape"),
    "bias": ({"bias": T(data=np.ones(1, "float32"))}, r"its bias is float32 \[1\]"),
    "no bias": ({"bias": None}, "its bias is listed and left out"),
    "state": ({"state": T([1, 23], is_variable=True)}, r"has the shape \[1, 23\]"),
    "no variable": ({"state": T(data=np.ones((1, 24), "float32"))}, "no variable"),
    "result": ({"y": T([1, 4])}, "has the shape"),
    "times of int8": ({"kind": "int8", "times": T(data=np.ones((6, 4), "int8"), scale=1.0)}, "not"),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN_SVDF)
def test_broken_svdf_is_refused(what):
    changes, message = BROKEN_SVDF[what]
    with pytest.raises(MalformedModelError, match=message):
        verify(svdf(**changes)[0])


def header(method, *bytes_from_5, version=1):
    made = np.zeros(16, np.uint8)
    made[[0, 1, 4]] = method, version, 1
    made[5 : 5 + len(bytes_from_5)] = bytes_from_5
    return made


def packed(indices, width):
    bits = [index >> place & 1 for index in indices for place in range(width - 1, -1, -1)]
    return np.packbits(np.array(bits, np.uint8))


def decode(y, encoded, table):
    """A constant that is decoded, and added to nothing."""
    tensors = [T([1]), T(data=encoded), T(data=table), y, T(y.shape, y.type, scale=y.scale)]
    operators = [Op("TFLM_DECODE", [1, 2], [3]), Op("RESHAPE", [3], [4])]
    return file_of(tensors, operators, [0], [4])


def lut(count=40, width=3, channels=1, kind="int8", **changes):
    """Indices of some bits into the table of each channel."""
    rows = RNG.integers(-99, 100, (channels, 1 << width)).astype(kind)
    indices = RNG.integers(0, 1 << width, (channels, count // channels))
    values = np.take_along_axis(rows, indices, axis=1)
    encoded = changes.get("encoded", packed(indices.ravel().tolist(), width))
    head = header(0, changes.get("width", width), changes.get("stride", 1 << width))
    table = np.concatenate([head, rows.reshape(-1).view(np.uint8)])
    scale = None if kind == "float32" else [0.5] * channels
    y = T([channels, count // channels], kind, scale=scale)
    return decode(y, encoded, table[: changes.get("bytes")]), values


def prune(count=20, kind="int8", **changes):
    """A bit for each value, and those values that are not 0."""
    values = RNG.integers(1, 100, count).astype(kind) * RNG.integers(0, 2, count).astype(kind)
    bits = np.packbits((values != 0).astype(np.uint8))
    head = header(2, version=changes.get("version", 1))
    table = np.concatenate([head, values[values != 0].view(np.uint8)])
    y = T([1, count], kind, scale=None if kind == "float32" else 0.5)
    return decode(y, bits[: changes.get("bits")], table[: changes.get("bytes")]), values[np.newaxis]


# The codes 0, 10 and 11, in a first table of one bit and a second of one bit.
CODES = {5: "0", -7: "10", 9: "11"}
TABLE = [0x8000 | 1 << 11 | 5, 0 << 11 | 1, 0x8000 | 1 << 11 | 0xF9, 0x8000 | 1 << 11 | 9]


def huffman(count=30, table=TABLE, words=2, method=1):
    symbols = RNG.choice(list(CODES), count)
    bits = "".join(CODES[symbol] for symbol in symbols.tolist())
    encoded = np.packbits([int(bit) for bit in bits.ljust(32 * words, "0")[: 32 * words]])
    table = np.concatenate([header(method, 0), np.array(table, "<u2").view(np.uint8)])
    return decode(T([1, count], "int8", scale=0.5), encoded, table), symbols.astype("int8")[None]


SOUND = {
    "lut": lut(),
    "lut of 4 bits": lut(width=4),
    "lut of 7 bits": lut(width=7),
    "lut of floats": lut(kind="float32"),
    "lut of channels": lut(channels=4, width=2),
    "prune": prune(),
    "prune of floats": prune(kind="float32"),
    "huffman": huffman(),
}


@needs_tflm
@pytest.mark.parametrize("what", SOUND)
def test_sound_decoding_runs(what, process):
    data, values = SOUND[what]
    verify(data)
    process.load(data)
    (answers,) = process.run([np.zeros((1, 1), np.float32)])
    np.testing.assert_array_equal(answers[0], values)


BROKEN_DECODING = {
    "indices cut off": (lut(encoded=np.zeros(14, np.uint8)), "reads 15 of 14 packed bytes"),
    "index beyond": (lut(bytes=20, encoded=np.full(15, 255, np.uint8)), "reads 8 of 4 values"),
    "stride": (lut(channels=4, width=2, stride=200), "of 16 values"),
    "no header": (lut(bytes=9), "has no header"),
    "values cut off": (prune(bytes=18), "of 2 values"),
    "far more than the bits": (
        (decode(T([2**31 - 1], "int8", scale=0.5), np.zeros(9, np.uint8), header(2)), None),
        "of 9 packed bytes",
    ),
    "bits cut off": (prune(bits=2), "reads 3 of 2 packed bytes"),
    "version": (prune(version=2), "its versions are 2 and 1"),
    "method": (huffman(method=127), "its method is number 127"),
    "code words cut off": (huffman(count=60, words=1), "go on behind their 32 bits"),
    "table cut off": (huffman(table=TABLE[:2]), "of 2 of its table"),
    "leads out of the table": (huffman(table=[TABLE[0], 0x07FF, *TABLE[2:]]), "of 4 of its table"),
}


@pytest.mark.parametrize("what", BROKEN_DECODING)
def test_broken_decoding_is_refused(what):
    (data, _), message = BROKEN_DECODING[what]
    with pytest.raises(MalformedModelError, match=message):
        verify(data)


def test_custom_operator_does_not_pass_as_the_builtin_of_its_name():
    for name in ("TANH", "CUSTOM TANH"):
        data = file_of([T([1, 4]), T([1, 4])], [Op(name, [0], [1])], [0], [1])
        if name == "TANH":
            verify(data)
            continue
        with pytest.raises(MalformedModelError, match="CUSTOM TANH.*does not have this operator"):
            verify(data)


def vector(*values):
    return T(data=np.array(values, np.int32))


POSITIONS = {
    "SLICE": ([T([1], "int32"), T([8]), vector(2), T([2])], Op("SLICE", [1, 0, 2], [3])),
    "GATHER": ([T([2], "int32"), T([8]), T([1]), T([2])], Op("GATHER", [1, 0], [3], "Gather", {})),
}


@pytest.mark.parametrize("name", POSITIONS)
def test_positions_that_the_caller_gives_are_refused(name):
    """TFLite Micro reads there, wherever it is."""
    tensors, operator = POSITIONS[name]
    tensors[1] = T(data=np.arange(8, dtype=np.float32))
    with pytest.raises(MalformedModelError, match="which may lie out of range"):
        verify(file_of(tensors, [operator], [0], [3]))


@pytest.mark.parametrize("divisor", [T([2], "int32"), vector(3, 0), vector(-1, 2)])
def test_division_of_integers_that_could_end_the_process_is_refused(divisor):
    inputs = [0] if divisor.data is not None else [0, 1]
    tensors = [T([2], "int32"), divisor, T([2], "int32")]
    options = {"fused_activation_function": 0}
    with pytest.raises(MalformedModelError, match="other than 0 and -1"):
        verify(file_of(tensors, [Op("DIV", [0, 1], [2], "Div", options)], inputs, [2]))


def test_two_elements_in_a_byte_are_weights_alone():
    """Other kernels copy a byte for each element."""
    tensors = [T([1]), T([1, 4], "int4"), T([4], "int4")]
    data = file_of(tensors, [Op("RESHAPE", [1], [2])], [0, 1], [2])
    with pytest.raises(MalformedModelError, match="of type int4 is no weights"):
        verify(data)


def test_stride_that_overflows_32_bits_is_refused():
    tensors = [T([8]), vector(1), vector(8), vector(2**31 - 1), T([1])]
    operator = Op("STRIDED_SLICE", [0, 1, 2, 3], [4])
    with pytest.raises(MalformedModelError, match="a stride of 2147483647"):
        verify(file_of(tensors, [operator], [0], [4]))


@pytest.mark.parametrize(
    ("shape", "dropped", "result", "message"),
    [
        ([1, 3, 1], [0], [3, 1], None),
        ([1, 3, 1], [], [3], None),
        ([1, 3, 1], [-1], [1, 3], None),
        ([1, 3, 1], [1], [1, 1], "that count"),
        ([1, 3, 1], [3], [1, 3], "its axis is 3"),
        ([1, 3, 1], [0], [3], "has the shape"),
    ],
)
def test_squeeze_drops_dimensions_of_one(shape, dropped, result, message):
    operator = Op("SQUEEZE", [0], [1], "Squeeze", {"squeeze_dims": dropped})
    data = file_of([T(shape), T(result)], [operator], [0], [1])
    if message is None:
        verify(data)
        return
    with pytest.raises(MalformedModelError, match=message):
        verify(data)
