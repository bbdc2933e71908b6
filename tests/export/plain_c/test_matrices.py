"""Each storage's row of C against NumPy's product, compiled with sanitizers."""

import numpy as np
import pytest
from c_programs import SANITIZERS
from compilers import C_MODES, build, in_each

from keras_fastgrnn import storage
from keras_fastgrnn.export.plain_c import runtime
from keras_fastgrnn.export.plain_c.matrices import Matrix

SHAPES = [(3, 1), (11, 8), (35, 11), (29, 29), (5, 16), (16, 9), (4, 300), (7, 23)]
DENSITIES = [0.02, 0.3, 0.8, 1.0]


def drawn(shape, density, bits, rng):
    largest = 127 if bits == 8 else 7
    values = rng.integers(1, largest + 1, shape) * rng.choice([-1, 1], shape)
    values *= rng.random(shape) < density
    values[rng.integers(shape[0]), rng.integers(shape[1])] = -largest  # in C no matrix is all zeros
    return values


def array(c_type, name, values):
    numbers = ", ".join(map(str, values.tolist()))
    return f"static const {c_type} {name}[{len(values)}] = {{{numbers}}};\n"


def product_in_c(number, matrix, vector):
    """The arrays of a matrix, and a function that prints the product."""
    name = f"matrix_{number}"
    stored = matrix.stored
    weights = stored.weights.view(np.int8) if matrix.is_plain else stored.weights
    text = array("int8_t" if matrix.is_plain else "uint8_t", f"{name}_weights", weights)
    if stored.places.size:
        text += array("uint8_t", f"{name}_places", stored.places)
    text += array("int16_t", f"{name}_vector", vector)
    kind = "const int8_t *" if matrix.is_plain else "matrix_cursor "
    total = "int64_t" if matrix.is_wide else "int32_t"
    return f"""{text}
static void print_{number}(void) {{
  {kind}row = {matrix.beginning(name)};
  const {total} first = {2**40 if matrix.is_wide else 0};
  for (int i = 0; i < {stored.rows}; ++i) {{
    const {total} sum = {matrix.function}(first + i, &row, {name}_vector, {stored.columns});
    printf("%lld ", (long long)sum);
  }}
  printf("\\n");
}}
"""


@pytest.mark.parametrize("is_wide", [False, True], ids=["32", "64"])
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("way", storage.STORAGES, ids=lambda way: way.name)
@in_each(C_MODES)
def test_the_row_of_each_storage_is_the_product(mode, way, bits, is_wide, tmp_path):
    rng = np.random.default_rng(0)
    matrices, vectors, expected = [], [], []
    for shape in SHAPES:
        for density in DENSITIES:
            values = drawn(shape, density, bits, rng)
            ends = [-(2**15), 2**15 - 1] if is_wide else [-2000, 2000]
            vectors.append(rng.integers(*ends, shape[1], endpoint=True))
            matrices.append(Matrix(way.store(values, bits), is_wide))
            first = 2**40 if is_wide else 0
            expected.append(values @ vectors[-1] + np.arange(len(values)) + first)
    functions = {matrix.function: matrix.definition() for matrix in matrices}
    includes = sorted(set().union(*(matrix.includes for matrix in matrices)))
    parts = [
        "#include <stdint.h>\n#include <stdio.h>\n",
        *map(runtime.definition, ["flash", *includes]),
        *functions.values(),
        *map(product_in_c, range(len(matrices)), matrices, vectors),
        "int main(void) {",
        *(f"  print_{number}();" for number in range(len(matrices))),
        "  return 0;\n}\n",
    ]
    lines = build(tmp_path, mode, "\n".join(parts), options=SANITIZERS)().splitlines()
    found = [np.array(line.split(), int) for line in lines]
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
