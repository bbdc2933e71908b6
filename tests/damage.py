"""Files whose tables are changed so that they can still be read: what a hostile file would do."""

import copy

import numpy as np

from keras_fastgrnn.export.foreign.verify_operators import rule_of
from keras_fastgrnn.export.tflite.flatbuffer_reader import read_model
from keras_fastgrnn.export.tflite.flatbuffer_writer import TableWriter
from keras_fastgrnn.export.tflite.schema import (
    OPERATORS,
    OPTIONS,
    TABLES,
    TENSOR_TYPES,
    tensor_bytes,
)

NUMBERS = (-(2**31), -5, -1, 0, 1, 2, 3, 4, 7, 100, 65536, 2**31 - 1)
TYPES = ("float32", "int8", "int16", "int32", "int64", "uint8", "bool", "int4", "resource")


def damage_tables(data: bytes, rng) -> bytes:
    """A file with one to three of its tables changed.

    Args:
        data: Bytes of a file.
        rng: NumPy's generator.
    """
    model = copy.deepcopy(read_model(data))
    for _ in range(rng.choice([1, 1, 2, 3])):
        graph = model["subgraphs"][rng.integers(len(model["subgraphs"]))]
        if graph["operators"]:
            DAMAGES[rng.integers(len(DAMAGES))](model, graph, rng)
    for buffer in model["buffers"]:
        if buffer["data"] is not None and buffer["data"].size % 8 == 0:
            buffer["data"] = np.ascontiguousarray(buffer["data"]).view(np.int64)
    return TableWriter().finish(model)


def pick(rng, values):
    return values[rng.integers(len(values))]


def another_shape(shape, rng) -> list[int]:
    shape = list(shape)
    place = rng.integers(len(shape)) if shape else None
    match rng.integers(6):
        case 0 if shape:
            shape[place] = max(1, shape[place] + int(rng.choice([-1, 1])))
        case 1 if shape:
            shape[place] = int(
                rng.choice([1, 2, 3, 64, shape[place] * 2, max(1, shape[place] // 2)])
            )
        case 2 if shape:
            shape[place] = int(pick(rng, NUMBERS))
        case 3 if shape:
            del shape[place]
        case 4:
            shape.insert(rng.integers(len(shape) + 1), int(rng.choice([1, 2])))
        case _:
            rng.shuffle(shape)
    return shape


def change_shape(model, graph, rng):
    """A constant's values are cut or repeated to what its shape takes, so that they fit it."""
    tensor = pick(rng, graph["tensors"])
    tensor["shape"] = np.array(
        another_shape(() if tensor["shape"] is None else tensor["shape"], rng)
    )
    fit(model, tensor)


def fit(model, tensor):
    values = model["buffers"][tensor["buffer"]]["data"]
    size = tensor_bytes(tensor)
    if values is not None and values.size and 0 < size < 1 << 16:
        tensor["buffer"] = len(model["buffers"])
        model["buffers"].append({"data": np.resize(values.view(np.uint8), size)})


def change_type(model, graph, rng):
    tensor = pick(rng, graph["tensors"])
    tensor["type"] = TENSOR_TYPES[pick(rng, TYPES)]
    fit(model, tensor)


def change_bytes(model, graph, rng):
    buffer = pick(rng, model["buffers"])
    if buffer["data"] is not None and buffer["data"].size:
        kept = rng.integers(buffer["data"].size + 1)
        buffer["data"] = buffer["data"].view(np.uint8)[:kept].copy()


def change_integers(model, graph, rng):
    """An axis, a padding, a beginning or an end."""
    constants = [
        tensor
        for tensor in graph["tensors"]
        if tensor["type"] == TENSOR_TYPES["int32"] and fits_int32(model, tensor)
    ]
    if constants:
        tensor = pick(rng, constants)
        values = model["buffers"][tensor["buffer"]]["data"].view("<i4").copy()
        values[rng.integers(values.size)] = pick(rng, NUMBERS)
        tensor["buffer"] = len(model["buffers"])
        model["buffers"].append({"data": values})


def fits_int32(model, tensor) -> bool:
    data = model["buffers"][tensor["buffer"]]["data"]
    return data is not None and data.size > 0 and data.size % 4 == 0 and data.itemsize == 1


def change_buffer(model, graph, rng):
    pick(rng, graph["tensors"])["buffer"] = int(rng.integers(len(model["buffers"])))


def change_quantization(model, graph, rng):
    tensor = pick(rng, graph["tensors"])
    if tensor["quantization"] is None or tensor["quantization"]["scale"] is None:
        return
    made = tensor["quantization"] = {**tensor["quantization"]}
    scales = made["scale"]
    match rng.integers(5):
        case 0:
            made["scale"] = scales * np.float32(10.0) ** rng.integers(-18, 19)
        case 1:
            count = int(rng.choice([1, 2, len(scales) + 1, max(1, len(scales) - 1)]))
            made["scale"] = np.resize(scales, count)
            made["zero_point"] = np.resize(made["zero_point"], count)
        case 2:
            made["zero_point"] = made["zero_point"] + int(pick(rng, (-129, -1, 1, 127, 2**40)))
        case 3:
            made["quantized_dimension"] = int(pick(rng, NUMBERS))
        case _:
            tensor["quantization"] = None


def change_options(model, graph, rng):
    operator = pick(rng, graph["operators"])
    fields = TABLES.get(OPTIONS.get(operator["builtin_options_type"]), {})
    scalars = {name: field for name, field in fields.items() if len(field.kind) == 1}
    if not scalars or operator["builtin_options"] is None:
        operator["builtin_options_type"] = 0
        operator["builtin_options"] = None
        return
    options = operator["builtin_options"] = dict(operator["builtin_options"])
    name = pick(rng, list(scalars))
    match scalars[name].kind:
        case "?":
            options[name] = not options[name]
        case "b":
            options[name] = int(rng.integers(-1, 7))
        case "f":
            options[name] = float(pick(rng, (0.0, -1.0, 1e-30, 1e30, np.inf, np.nan)))
        case _:
            options[name] = int(pick(rng, NUMBERS))


def change_operands(model, graph, rng):
    operator = pick(rng, graph["operators"])
    field = pick(rng, ("inputs", "inputs", "outputs"))
    indices = list(() if operator[field] is None else operator[field])
    match rng.integers(5) if indices else 4:
        case 0:
            indices[rng.integers(len(indices))] = int(rng.integers(-1, len(graph["tensors"])))
        case 1:
            rng.shuffle(indices)
        case 2:
            indices.pop()
        case 3:
            indices[-1] = -1
        case _:
            indices.append(int(rng.integers(len(graph["tensors"]))))
    operator[field] = np.array(indices, np.int32)


def change_code(model, graph, rng):
    names = [name for name in OPERATORS if rule_of(name)]
    code = pick(rng, model["operator_codes"])
    code["builtin_code"] = OPERATORS[pick(rng, names)]


def change_operators(model, graph, rng):
    operators = graph["operators"]
    one, other = rng.integers(len(operators), size=2)
    if one == other:
        del operators[one]
    else:
        operators[one], operators[other] = operators[other], operators[one]


def change_variable(model, graph, rng):
    tensor = pick(rng, graph["tensors"])
    tensor["is_variable"] = not tensor["is_variable"]


DAMAGES = (
    change_shape, change_shape, change_type, change_bytes, change_integers, change_integers,
    change_buffer, change_quantization, change_quantization, change_options, change_options,
    change_operands, change_code, change_operators, change_variable,
)  # fmt: skip
