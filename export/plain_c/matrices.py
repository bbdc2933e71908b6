"""How the generated C stores a matrix, and the loop that multiplies a row of it with a vector."""

from dataclasses import dataclass

import numpy as np

from keras_fastgrnn import storage

LARGEST_OF_4_BITS = 7


@dataclass(frozen=True)
class StoredMatrix:
    """The columns of a matrix that meet one vector, as C stores them row after row.

    Attributes:
        storage: String, "dense", "bitmap" or "index".
        bits: Integer, 8 or 4, of a weight.
        rows, columns: Integers.
        weights: Array of uint8, the weights that are stored, packed.
        places: Array of uint8, what tells their places: a bit for each weight, each row in bytes of
            its own, or how many zeros precede each that is stored; empty where all are.
        kept: Integer, how many weights are not zero.
        is_wide: Boolean, whether sums of products need 64 bits.
    """

    storage: str
    bits: int
    rows: int
    columns: int
    weights: np.ndarray
    places: np.ndarray
    kept: int
    is_wide: bool

    @property
    def bytes(self) -> int:
        return self.weights.size + self.places.size

    @property
    def is_plain(self) -> bool:
        """Whether C has it as an array of all its weights."""
        return self.storage == "dense" and self.bits == 8

    @property
    def function(self) -> str:
        """The name of the function of C that multiplies a row of it."""
        name = f"add_{self.storage}" + ("_4_bits" if self.bits == 4 else "")
        name += "_long" if self.is_plain and self.columns > 255 else ""
        return f"{name}_wide" if self.is_wide else name


def stored(matrix: np.ndarray, is_wide: bool = False) -> StoredMatrix:
    """Returns a matrix in the storage that takes fewest bytes, the simplest of equals.

    Args:
        matrix: int8 array of shape `(units, inputs)`.
        is_wide: Boolean, whether sums of products need 64 bits. Defaults to `False`.
    """
    bits = 4 if np.abs(matrix.astype(int)).max() <= LARGEST_OF_4_BITS else 8
    ways = [_dense(matrix), _bitmap(matrix), _index(matrix)]
    sizes = [len(_packed(weights, bits)) + len(places) for weights, places in ways]
    best = int(np.argmin(sizes))
    weights, places = ways[best]
    rows, columns = matrix.shape
    return StoredMatrix(
        list(storage.STORAGES)[best],
        bits,
        rows,
        columns,
        _packed(weights, bits),
        places,
        int(np.count_nonzero(matrix)),
        is_wide,
    )


def _dense(matrix):
    return matrix.ravel(), np.zeros(0, np.uint8)


def _bitmap(matrix):
    """Every row begins with a byte of its own."""
    return matrix[matrix != 0], np.packbits(matrix != 0, axis=1, bitorder="little").ravel()


def _index(matrix):
    """The place after the last has an entry too, without a weight: there the last row ends."""
    ended = np.append(matrix.ravel(), np.int8(1))
    gaps = storage.index_gaps(ended[:, np.newaxis])
    places = np.cumsum(gaps.astype(int) + 1) - 1
    return ended[places[:-1]], gaps


def _packed(weights: np.ndarray, bits: int) -> np.ndarray:
    """Two weights of 4 bits a byte, the first in the lower ones."""
    weights = weights.astype(np.int8).view(np.uint8)
    if bits == 8:
        return weights
    weights = np.append(weights, np.zeros(weights.size % 2, np.uint8)) & 15
    return weights[::2] | weights[1::2] << 4


_NEXT_WEIGHT = {8: "(int8_t)FLASH_U8(weights++)", 4: "next_of_4_bits(&weights, &is_upper)"}

NEXT_OF_4_BITS = """/* Two weights a byte, the first in the lower bits. */
static inline int8_t next_of_4_bits(const uint8_t **weights, uint8_t *is_upper) {
  uint8_t bits = FLASH_U8(*weights);
  if (*is_upper) {
    bits = (uint8_t)(bits >> 4);
    ++*weights;
  }
  *is_upper = !*is_upper;
  return (int8_t)(((bits & 15) ^ 8) - 8);
}"""

CURSOR = """/* Where the next row of a matrix begins. */
typedef struct {
  const uint8_t *weights; /* those that are not zero, or all */
  const uint8_t *places;  /* a bit for each weight, or how many zeros precede each stored one */
  uint16_t place;         /* of the next weight in its row, where places are told by zeros */
  uint8_t is_upper;       /* which half of the byte holds the next weight of 4 bits */
} matrix_cursor;"""

_LOOPS = {
    "dense": """  for (; count > 0; --count) {
    sum += (SUM)WEIGHT * *values++;
  }
""",
    "bitmap": """  const uint8_t *places = row->places;
  for (; count >= 8; count = (uint16_t)(count - 8), values += 8) {
    const uint8_t bits = FLASH_U8(places++);
    if (bits & 1) sum += (SUM)WEIGHT * values[0];
    if (bits & 2) sum += (SUM)WEIGHT * values[1];
    if (bits & 4) sum += (SUM)WEIGHT * values[2];
    if (bits & 8) sum += (SUM)WEIGHT * values[3];
    if (bits & 16) sum += (SUM)WEIGHT * values[4];
    if (bits & 32) sum += (SUM)WEIGHT * values[5];
    if (bits & 64) sum += (SUM)WEIGHT * values[6];
    if (bits & 128) sum += (SUM)WEIGHT * values[7];
  }
  if (count > 0) {
    uint8_t bits = FLASH_U8(places++);
    for (; bits != 0; bits = (uint8_t)(bits >> 1), ++values) {
      if (bits & 1) sum += (SUM)WEIGHT * *values;
    }
  }
  row->places = places;
""",
    "index": """  const uint8_t *places = row->places;
  uint16_t place = row->place;
  while (place < count) {
    sum += (SUM)WEIGHT * values[place];
    place = (uint16_t)(place + 1 + FLASH_U8(places++));
  }
  row->places = places;
  row->place = (uint16_t)(place - count);
""",
}
_TITLES = {
    "dense": "of which every weight is stored",
    "bitmap": "of which a bitmap tells the weights that are stored",
    "index": "of which the weights that are stored tell their places",
}


_PLAIN_ON_AVR = """/* Adds a row of a matrix in flash times a vector: 22 cycles an entry. */
static inline int32_t add_dense(int32_t sum, const int8_t **row, const int16_t *values,
                                uint8_t count) {
  const int8_t *weights = *row;
  int8_t weight, sign;
  uint8_t low, high;
  __asm__ volatile(
      "1:\\n\\t"
      "lpm %[weight], Z+\\n\\t"
      "ld %[low], X+\\n\\t"
      "ld %[high], X+\\n\\t"
      "mulsu %[weight], %[low]\\n\\t"
      "sbc %[sign], %[sign]\\n\\t"
      "add %A[sum], r0\\n\\t"
      "adc %B[sum], r1\\n\\t"
      "adc %C[sum], %[sign]\\n\\t"
      "adc %D[sum], %[sign]\\n\\t"
      "muls %[weight], %[high]\\n\\t"
      "sbc %[sign], %[sign]\\n\\t"
      "add %B[sum], r0\\n\\t"
      "adc %C[sum], r1\\n\\t"
      "adc %D[sum], %[sign]\\n\\t"
      "dec %[count]\\n\\t"
      "brne 1b\\n\\t"
      "clr __zero_reg__\\n\\t"
      : [sum] "+r"(sum), [weights] "+z"(weights), [values] "+x"(values), [count] "+r"(count),
        [weight] "=&a"(weight), [low] "=&a"(low), [high] "=&d"(high), [sign] "=&r"(sign)
      :
      : "memory", "cc");
  *row = weights;
  return sum;
}"""


def _plain(matrix: StoredMatrix) -> str:
    total = "int64_t" if matrix.is_wide else "int32_t"
    count = "uint8_t" if matrix.columns < 256 else "uint16_t"
    text = f"""/* Adds a row of a matrix times a vector. */
static inline {total} {matrix.function}({total} sum, const int8_t **row, const int16_t *values,
                                {count} count) {{
  const int8_t *weights = *row;
  for (; count > 0; --count) {{
    sum += (int32_t)(int8_t)FLASH_U8(weights++) * *values++;
  }}
  *row = weights;
  return sum;
}}"""
    if matrix.function != "add_dense":
        return text
    return f"#ifdef __AVR__\n{_PLAIN_ON_AVR}\n#else\n{text}\n#endif"


def definition(matrix: StoredMatrix) -> str:
    """Returns the function of C that adds the next row of such a matrix times a vector.

    Args:
        matrix: `StoredMatrix`.
    """
    if matrix.is_plain:
        return _plain(matrix)
    total = "int64_t" if matrix.is_wide else "int32_t"
    weights = "weights of 4 bits, " if matrix.bits == 4 else ""
    comment = f"/* Adds a row of a matrix, {weights}{_TITLES[matrix.storage]}, times a vector. */"
    upper = matrix.bits == 4
    return "".join(
        [
            f"{comment}\nstatic {total} {matrix.function}({total} sum, matrix_cursor *row,\n"
            "    const int16_t *values, uint16_t count) {\n",
            "  const uint8_t *weights = row->weights;\n",
            "  uint8_t is_upper = row->is_upper;\n" if upper else "",
            _LOOPS[matrix.storage]
            .replace("SUM", total)
            .replace("WEIGHT", _NEXT_WEIGHT[matrix.bits]),
            "  row->weights = weights;\n",
            "  row->is_upper = is_upper;\n" if upper else "",
            "  return sum;\n}",
        ]
    )


def cursor(matrix: StoredMatrix, name: str) -> str:
    """Returns the cursor at the beginning of a matrix, as an initializer of C.

    Args:
        matrix: `StoredMatrix`.
        name: String, that of the arrays before their endings.
    """
    weights = f"{name}_weights"
    if matrix.storage == "bitmap":
        return f"{{{weights}, {name}_places, 0, 0}}"
    if matrix.storage == "index":
        return f"{{{weights}, {name}_places + 1, FLASH_U8({name}_places), 0}}"
    return f"{{{weights}, {weights}, 0, 0}}"
