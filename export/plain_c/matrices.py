"""How the generated C stores a matrix, and the function that multiplies a row of it."""

import re
from dataclasses import dataclass

import numpy as np

from keras_fastgrnn import storage
from keras_fastgrnn.export.plain_c import runtime

LARGEST_OF_4_BITS = 7


@dataclass(frozen=True)
class Matrix:
    """The columns of a matrix that meet one vector, and how C multiplies its rows with that.

    Attributes:
        stored: `keras_fastgrnn.storage.StoredMatrix`.
        is_wide: Boolean, whether sums of products need 64 bits.
    """

    stored: storage.StoredMatrix
    is_wide: bool

    @property
    def is_plain(self) -> bool:
        """Whether C has it as an array of all its weights."""
        return self.stored.storage.name == "dense" and self.stored.bits == 8

    @property
    def function(self) -> str:
        """The name of the function of C that multiplies a row of it."""
        name = f"add_{self.stored.storage.name}" + ("_4_bits" if self.stored.bits == 4 else "")
        name += "_long" if self.is_plain and self.stored.columns > 255 else ""
        return f"{name}_wide" if self.is_wide else name

    @property
    def includes(self) -> set[str]:
        """The names of the files of `runtime` that the function needs."""
        if self.is_plain:
            return set()
        return {"matrix_cursor", *(["next_of_4_bits"] if self.stored.bits == 4 else [])}

    def definition(self) -> str:
        """Returns the function of C that adds the next row of such a matrix times a vector.

        The files have it for sums of 32 bits, and but for a plain matrix for weights of 4 bits.
        """
        if self.is_plain:
            return _plain(self)
        file = f"add_{self.stored.storage.name}_4_bits"
        text = runtime.definition(file).replace(f"{file}(", f"{self.function}(")
        if self.stored.bits == 8:
            text = text.replace(" of 4 bits", "")
            text = text.replace(
                "next_of_4_bits(&weights, &is_upper)", "(int8_t)FLASH_U8(weights++)"
            )
            text = re.sub(r"^.*is_upper;\n", "", text, flags=re.MULTILINE)
        return text.replace("int32_t", "int64_t") if self.is_wide else text

    def beginning(self, name: str) -> str:
        """Returns where the first row begins, as an initializer of C.

        Args:
            name: String, that of the arrays before their endings.
        """
        weights = f"{name}_weights"
        if self.is_plain:
            return weights
        places = f"{name}_places" if self.stored.places.size else weights
        return f"{{{weights}, {places}, {self.stored.start}, 0}}"


def matrix_of_values(values: np.ndarray, is_wide: bool = False) -> Matrix:
    """Returns a matrix in the storage that takes fewest bytes, with weights of 4 bits if they can.

    Args:
        values: int8 array of shape `(units, inputs)`.
        is_wide: Boolean, whether sums of products need 64 bits. Defaults to `False`.
    """
    bits = 4 if np.abs(values.astype(int)).max() <= LARGEST_OF_4_BITS else 8
    return Matrix(storage.smallest(values, bits), is_wide)


def _plain(matrix: Matrix) -> str:
    """What targets compute faster are rows of fewer than 256 columns with sums of 32 bits."""
    if matrix.function == "add_dense":
        return runtime.definition("add_dense")
    text = runtime.portable("add_dense").replace("add_dense(", f"{matrix.function}(")
    if matrix.is_wide:
        text = re.sub(r"int32_t(?= \w+\(| sum)", "int64_t", text)
    if matrix.stored.columns > 255:
        text = text.replace("uint8_t count", "uint16_t count")
    return text
