"""Rules of operators that cut, join, turn and reduce arrays."""

import math

import numpy as np

from keras_fastgrnn.graph.operators.file_calls import (
    axis_within,
    constant_integers,
    require_scales,
    require_shape,
    shapes_of,
)
from keras_fastgrnn.graph.operators.slice import MAX_SLICED_RANK

# The dimensions that kernels have room for.
MAX_PADDED_RANK = 5
MAX_TRANSPOSED_RANK = 5
MAX_SUMMED_RANK = 4
MAX_SUMMED_AXES = 2
MAX_RESHAPED_RANK = 6
MAX_SQUEEZED_RANK = 8
# A position and a stride are added in 32 bits.
MAX_STRIDE = 1 << 24


def _reshape(call) -> None:
    x, (y,) = call.inputs[0], call.outputs
    call.require(x.size == y.size, f"its shapes are {shapes_of(x, y)}")
    if call.options and call.options["new_shape"] is not None:
        rank = call.options["new_shape"].size
        call.require(rank <= MAX_RESHAPED_RANK, f"its new shape has {rank} dimensions")


def _squeeze(call) -> None:
    (x,), (y,) = call.inputs, call.outputs
    rank = len(x.shape)
    given = () if call.option("squeeze_dims") is None else call.option("squeeze_dims").tolist()
    call.require(len(given) <= MAX_SQUEEZED_RANK, f"it drops {len(given)} dimensions")
    dropped = {axis_within(call, axis, rank) for axis in given}
    dropped = dropped or {axis for axis in range(rank) if x.shape[axis] == 1}
    kept = tuple(size for axis, size in enumerate(x.shape) if axis not in dropped)
    call.require(math.prod(kept) == x.size, f"it drops dimensions of {list(x.shape)} that count")
    require_shape(call, y, kept)


def _expand_dims(call) -> None:
    x, axis = call.inputs
    (axis,) = constant_integers(call, axis, 1)
    axis = axis_within(call, axis, len(x.shape) + 1)
    require_shape(call, call.outputs[0], (*x.shape[:axis], 1, *x.shape[axis:]))


def _shape(call) -> None:
    require_shape(call, call.outputs[0], (len(call.inputs[0].shape),))


def _transpose(call) -> None:
    x, order = call.inputs
    rank = len(x.shape)
    call.require(1 <= rank <= MAX_TRANSPOSED_RANK, f"it turns {rank} dimensions")
    order = constant_integers(call, order, rank)
    call.require(sorted(order) == list(range(rank)), f"its order of dimensions is {order}")
    require_shape(call, call.outputs[0], tuple(x.shape[axis] for axis in order))


def _strided_slice(call) -> None:
    x = call.inputs[0]
    rank = len(x.shape)
    call.require(1 <= rank <= MAX_SLICED_RANK, f"it slices {rank} dimensions")
    vectors = [constant_integers(call, vector, rank) for vector in call.inputs[1:]]
    for mask in ("ellipsis_mask", "new_axis_mask"):
        call.require(not call.option(mask), f"its {mask} is {call.option(mask)}")
    masks = [call.option(f"{name}_mask") for name in ("begin", "end", "shrink_axis")]
    shape = []
    for axis, (size, begin, end, stride) in enumerate(zip(x.shape, *vectors, strict=True)):
        call.require(0 < abs(stride) < MAX_STRIDE, f"it has a stride of {stride}")
        free_begin, free_end, shrinks = (bool(mask & 1 << axis) for mask in masks)
        if shrinks:
            begin = 0 if free_begin else begin + size * (begin < 0)
            fits = 0 <= begin < size and stride > 0
            call.require(fits, f"it takes element {begin} of {size} in dimension {axis}")
        else:
            bounds = slice(None if free_begin else begin, None if free_end else end, stride)
            shape.append(len(range(*bounds.indices(size))))
    require_shape(call, call.outputs[0], tuple(shape))


def _gather(call) -> None:
    x, indices = call.inputs
    (y,) = call.outputs
    axis = axis_within(call, call.option("axis"), len(x.shape))
    call.require(call.option("batch_dims") == 0, "it has dimensions of batches")
    require_shape(call, y, x.shape[:axis] + indices.shape + x.shape[axis + 1 :])
    if indices.data is not None:
        fits = (indices.data >= 0).all() and (indices.data < x.shape[axis]).all()
        call.require(fits, "it has an index out of range")


def _pack(call) -> None:
    (y,) = call.outputs
    first = call.inputs[0].shape
    call.require(all(x.shape == first for x in call.inputs), "its inputs differ in shape")
    _stacked(call, y, call.inputs, call.option("values_count"))


def _unpack(call) -> None:
    (x,) = call.inputs
    first = call.outputs[0].shape
    call.require(all(y.shape == first for y in call.outputs), "its outputs differ in shape")
    _stacked(call, x, call.outputs, call.option("num"))


def _stacked(call, whole, parts, count) -> None:
    call.require(count == len(parts), f"it counts {count} of {len(parts)} tensors")
    axis = axis_within(call, call.option("axis"), len(whole.shape))
    part = parts[0].shape
    require_shape(call, whole, (*part[:axis], count, *part[axis:]))


def _split(call) -> None:
    axis, x = call.inputs
    first = call.outputs[0].shape
    call.require(all(y.shape == first for y in call.outputs), "its outputs differ in shape")
    _parts(call, x, axis)


def _split_v(call) -> None:
    x, _, axis = call.inputs
    _parts(call, x, axis)


def _parts(call, x, axis) -> None:
    (axis,) = constant_integers(call, axis, 1)
    axis = axis_within(call, axis, len(x.shape))
    count = call.option("num_splits")
    call.require(count == len(call.outputs), f"it counts {count} of {len(call.outputs)} outputs")
    for y in call.outputs:
        size = y.shape[axis] if len(y.shape) == len(x.shape) else 0
        require_shape(call, y, (*x.shape[:axis], size, *x.shape[axis + 1 :]))
    fits = sum(y.shape[axis] for y in call.outputs) == x.shape[axis]
    call.require(fits, f"its shapes are {shapes_of(x, *call.outputs)} along axis {axis}")


def _pad(call) -> None:
    x, paddings, *value = call.inputs
    (y,) = call.outputs
    rank = len(x.shape)
    call.require(1 <= rank <= MAX_PADDED_RANK, f"it pads {rank} dimensions")
    fits = paddings.data is not None and paddings.shape == (rank, 2)
    call.require(fits, f"{paddings.name} is not a constant of the shape {[rank, 2]}")
    added = paddings.values.reshape(rank, 2).astype(np.int64)
    call.require((added >= 0).all(), f"its paddings are {added.tolist()}")
    require_shape(call, y, tuple((np.array(x.shape) + added.sum(axis=1)).tolist()))
    require_scales(call, x, y)
    call.require(all(one.size == 1 for one in value), "it pads with more than one value")


def _reduction(call) -> None:
    x, axes = call.inputs
    (y,) = call.outputs
    rank = len(x.shape)
    call.require(rank, "its input is a scalar")
    axes = {axis_within(call, axis, rank) for axis in constant_integers(call, axes, None)}
    kept = tuple(1 if axis in axes else size for axis, size in enumerate(x.shape))
    if not call.option("keep_dims"):
        kept = tuple(size for axis, size in enumerate(x.shape) if axis not in axes)
    require_shape(call, y, kept)
    require_scales(call, x, y)


def _summation(call) -> None:
    _reduction(call)
    x, axes = call.inputs
    fits = len(x.shape) <= MAX_SUMMED_RANK and axes.size <= MAX_SUMMED_AXES
    call.require(
        fits,
        f"it reduces {axes.size} of {len(x.shape)} dimensions, and the kernel has room for "
        f"{MAX_SUMMED_AXES} of {MAX_SUMMED_RANK}",
    )


RULES = {
    "EXPAND_DIMS": _expand_dims,
    "GATHER": _gather,
    "MEAN": _summation,
    "PACK": _pack,
    "PAD": _pad,
    "PADV2": _pad,
    "REDUCE_ALL": _reduction,
    "REDUCE_MAX": _reduction,
    "REDUCE_MIN": _reduction,
    "RESHAPE": _reshape,
    "SHAPE": _shape,
    "SPLIT": _split,
    "SPLIT_V": _split_v,
    "SQUEEZE": _squeeze,
    "STRIDED_SLICE": _strided_slice,
    "SUM": _summation,
    "TRANSPOSE": _transpose,
    "UNPACK": _unpack,
}
