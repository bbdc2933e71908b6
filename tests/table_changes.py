"""Changes of a file's tables, each a function of the `Model` table."""

import numpy as np

from keras_fastgrnn.export.tflite.schema import TENSOR_TYPES, operator_name, tensor_bytes


def find(model, kind, graph=0):
    """The first operator of a kind."""
    return next(
        operator
        for operator in model["subgraphs"][graph]["operators"]
        if operator_name(model["operator_codes"][operator["opcode_index"]]) == kind
    )


def tensor_of(model, kind, place, side="inputs", graph=0):
    return model["subgraphs"][graph]["tensors"][find(model, kind, graph)[side][place]]


def shaped(kind, place, shape, side="inputs", graph=0):
    """A change of a tensor's shape; a constant is cut or repeated to what that takes."""

    def change(model):
        tensor = tensor_of(model, kind, place, side, graph)
        tensor["shape"] = shape
        data = model["buffers"][tensor["buffer"]]["data"]
        if data is not None and data.size:
            tensor["buffer"] = len(model["buffers"])
            made = np.resize(data.view(np.uint8), tensor_bytes(tensor))
            model["buffers"].append({"data": made})

    return change


def valued(kind, place, values):
    """A change of a constant vector of int32, in its own shape."""

    def change(model):
        tensor = tensor_of(model, kind, place)
        tensor["buffer"] = len(model["buffers"])
        model["buffers"].append({"data": np.array(values, "<i4").view(np.uint8)})

    return change


def with_options(kind, **options):
    def change(model):
        operator = find(model, kind)
        operator["builtin_options"] = {**operator["builtin_options"], **options}

    return change


def typed(kind, place, type_name, side="inputs"):
    return lambda model: tensor_of(model, kind, place, side).update(type=TENSOR_TYPES[type_name])


def scaled(kind, place, count, dimension=0, side="inputs"):
    def change(model):
        tensor = tensor_of(model, kind, place, side)
        tensor["quantization"] = {
            "scale": np.full(count, 0.1, np.float32),
            "zero_point": np.zeros(count, np.int64),
            "quantized_dimension": dimension,
        }

    return change


def computed(kind, place):
    """A constant becomes one that only the model's caller knows."""

    def change(model):
        graph = model["subgraphs"][0]
        index = find(model, kind)["inputs"][place]
        graph["tensors"][index] = {**graph["tensors"][index], "buffer": 0}
        graph["inputs"] = [*graph["inputs"], index]

    return change


def left_out(kind, place):
    def change(model):
        operator = find(model, kind)
        operator["inputs"] = [*operator["inputs"]]
        operator["inputs"][place] = -1

    return change
