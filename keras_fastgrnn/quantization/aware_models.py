"""Quantization-aware training: a model that computes in training what the device computes."""

import contextlib
import dataclasses
import itertools
import warnings
from collections.abc import Callable

import numpy as np

from keras_fastgrnn import activations
from keras_fastgrnn.cells import FastCell
from keras_fastgrnn.graph.calls import Call, Result, is_chain
from keras_fastgrnn.graph.cell_tracing import unit_of
from keras_fastgrnn.graph.given_sequences import GivenSequences
from keras_fastgrnn.graph.layer_handlers import HANDLERS, InTraining, names_of
from keras_fastgrnn.graph.operations import answers_last_step, computed, operation_of
from keras_fastgrnn.graph.supported_layers import (
    computing_calls,
    functional_of,
    masking_of,
    title,
)
from keras_fastgrnn.graph.trace import trace
from keras_fastgrnn.keras_api import Data, keras
from keras_fastgrnn.models import cells_of, layers_of, set_weights
from keras_fastgrnn.quantization.aware_layers import (
    AWARE_CELLS,
    ROUNDED_ACTIVATIONS,
    Options,
    QuantizeAwareDense,
    QuantizeAwareNoise,
    QuantizeAwareRNN,
    is_kept,
)
from keras_fastgrnn.replicas import scope_for

# float32 holds all integers of 16 bits, also where the model's own layers have half of it.
_ARITHMETIC = {"dtype": "float32"}


def quantize_aware(
    model: keras.Model,
    quantization: str = "int16x8",
    *,
    weight_bits: int = 8,
    power_of_two_weights: bool = False,
    byte_biases: bool = False,
    preserve_zeros: bool = True,
    calibration_data: Data = None,
):
    """Returns a model that rounds in training what the device rounds.

    It has the same layers and weights; train it further, with a tenth of the learning rate, and
    give it to `keras_fastgrnn.export.convert`, which then needs no calibration data: the file has
    the scales that were trained with. Every tensor that the device computes is rounded to its
    integers and clipped at their ends, and so are the weights. The gradient goes straight through
    the rounding, and is 0 where a value is clipped.

    The range of each tensor is a weight of the model, saved with it, and grows with what training
    shows: in the loop to all values ever seen, since averages of the steps' ranges would clip the
    late steps of a growing state; for int8 inputs and outputs it is a moving average over the
    batches. A batch is rounded by what was seen before it, the very first one not at all. Use
    `calibration_data` to start from that data's ranges.

    Under `tf.distribute`'s MirroredStrategy and MultiWorkerMirroredStrategy all replicas have the
    range of what any of them saw, as one device has of the whole batch. The returned model is of
    the strategy in whose scope this is called, or else of the strategy of `model`; compile it in
    that scope. `fit` of Keras 3 itself trains no model on several workers: there use tf_keras, or
    a loop of `strategy.run`.

    Kernels and biases are those of `model`, in its units, so that learning rates, regularizers and
    pruning mean what they mean there. Normalization, Rescaling, and BatchNormalization with the
    statistics it has, are folded into the layer after them where that is rounded. Ranges do not
    see the steps that a Masking layer masks. A recurrent layer of the returned model gives the
    state as the device keeps it, `h / zeta` for FastGRNN and `h / alpha` for FastRNN; the layer
    after it multiplies by what zeta or alpha was in `model`. A folded matrix has one scale, so
    channels whose sizes differ a hundredfold cost accuracy: scale them before the model.

    Args:
        model: Built Keras model as `keras_fastgrnn.export.convert` takes it, without branches,
            which ends with a Dense layer, or one and an activation. Layers that are activations
            stand behind a Dense layer without one; LeakyReLU and PReLU are not rounded yet.
        quantization: "int16x8" (activations and state of 16 bits) or "int8" (of 8). Defaults to
            "int16x8".
        weight_bits: Integer, 8 or 4. In a `.tflite` file 4 bits are stored as 8. Defaults to 8.
        power_of_two_weights: Boolean, whether scales of matrices are powers of two, so that a
            product is rescaled by a shift. Costs up to one bit of the weights. Defaults to `False`.
        byte_biases: Boolean, whether biases are rounded to an int8 times a power of two. Defaults
            to `False`.
        preserve_zeros: Boolean, whether weights that are exactly 0, as pruning leaves them, get no
            gradient, and so stay 0. Defaults to `True`.
        calibration_data: Array of shape `(batch, steps, input_dim)`, or list of arrays of shape
            `(steps, input_dim)`, some hundred sequences whose ranges to start from, as they are
            without dropout. Defaults to `None`.

    Returns:
        A Keras model, not compiled.

    Raises:
        UnsupportedLayerError: If a layer cannot be exported; names all of them.
        ValueError: If an argument is invalid, the model does not end with a Dense layer, has a
            layer that is not rounded in training, or weights that are NaN, or it is called in the
            scope of another strategy, whose replicas do not step together.
        TypeError: If `model` is not a model of this process's Keras.

    Example:

    >>> import numpy as np
    >>> from keras_fastgrnn import FastGRNN, export, keras
    >>> from keras_fastgrnn.quantization import quantize_aware
    >>> layers = [keras.layers.Input((20, 3)), FastGRNN(8), keras.layers.Dense(2)]
    >>> x = np.random.default_rng(0).normal(size=(40, 20, 3)).astype("float32")
    >>> model = quantize_aware(keras.Sequential(layers))
    >>> model.compile("adam", "mse")
    >>> history = model.fit(x, x[:, -1, :2], epochs=1, verbose=0)
    >>> export.convert(model).predict(x).shape
    (40, 2)

    Reference:
        Kusupati et al., NeurIPS 2018, section 3.3 (https://arxiv.org/abs/1901.02358)
    """
    options = Options(quantization, weight_bits, power_of_two_weights, byte_biases, preserve_zeros)
    trace(model)
    functional = functional_of(model)
    chain = _layers_in_training(functional)
    _check_chain(chain)
    given = None
    if calibration_data is not None:
        _, steps, input_dim = functional.inputs[0].shape
        masking = masking_of(functional)
        given = GivenSequences(calibration_data, input_dim, "calibration_data", steps, masking)
    with scope_for(model):
        source = keras.Input(functional.inputs[0].shape[1:], name="sequences")
        aware = _assembled(source, chain, options, model.name)
        if given is not None:
            sequences, mask = given.padded()
            with _without_dropout(aware), warnings.catch_warnings():
                # So Keras 3 says that the mask ends with the model.
                warnings.filterwarnings("ignore", ".*destroy the mask information")
                aware(sequences, mask=mask, training=True)
    return aware


@contextlib.contextmanager
def _without_dropout(model):
    """Computes without dropout inside the `with` block, as the device does."""
    rates = [
        (layer, name, getattr(layer, name))
        for layer in layers_of(model)
        for name in ("rate", "stddev", "dropout", "recurrent_dropout")
        if (isinstance(layer, FastCell) or is_kept(layer)) and hasattr(layer, name)
    ]
    for layer, name, _ in rates:
        setattr(layer, name, 0.0)
    try:
        yield
    finally:
        for layer, name, rate in rates:
            setattr(layer, name, rate)


def _layers_in_training(model) -> list:
    """Returns the layers that training has, one after the other.

    There are no operations, wrappers, models inside the model, or activations behind a Dense.
    """
    calls, _ = computing_calls(model)
    if not is_chain(calls):
        joining = next(b for a, b in itertools.pairwise(calls) if b.sources != [Result(a.name)])
        raise ValueError(
            "Received an invalid value for argument model, expected a plain chain of layers, which "
            f"is what is rounded in training, got {joining.title} on another branch."
        )
    chain: list = []
    for call in calls:
        layer = call.layer
        if call.operation is not None:
            if answers_last_step(call):
                _end_at_last_step(chain)
                continue
            layer = _layer_of(call)
        if isinstance(layer, keras.layers.TimeDistributed):
            layer = _copied(layer.layer, name=layer.name)
        activation, before = HANDLERS[type(layer)].activation, chain[-1] if chain else None
        if activation is not None and _is_linear_dense(before):
            chain[-1] = _copied(before, activation=activation(layer))
        elif not _is_left_out(layer, call.layer):
            chain.append(_named_apart(layer, {one.name for one in chain}))
    return chain


def _is_left_out(layer, called) -> bool:
    """Whether training has no use for a layer, called by itself or inside another."""
    handler = HANDLERS[type(layer)]
    return handler.in_training is InTraining.LEFT_OUT and not handler.takes_frames(called)


def _named_apart(layer, taken: set[str]):
    """The layer, or a copy of another name, where one inside another model has that name."""
    if layer.name not in taken:
        return layer
    numbered = (f"{layer.name}_{number}" for number in itertools.count(1))
    return _copied(layer, name=next(name for name in numbered if name not in taken))


def _layer_of(call: Call):
    """A layer that computes what an operation does with a result and constants."""
    if operation_of(call).takes_items:
        raise ValueError(
            "Received an invalid value for argument model, expected layers that take all channels, "
            f"which is what is rounded in training, got {call.title}."
        )
    activation = operation_of(call).activation
    if activation is not None:
        return keras.layers.Activation(activation, name=call.layer.name)
    affine = computed(call, lambda result: _Affine())
    return keras.layers.Rescaling(affine.factor, affine.shift, name=call.layer.name)


def _end_at_last_step(chain: list) -> None:
    """Has the last recurrent layer of a chain answer at the last step; what follows it may."""
    place = max(i for i, layer in enumerate(chain) if isinstance(layer, keras.layers.RNN))
    chain[place] = _copied(chain[place], return_sequences=False)


def _unrounded_activation(layer) -> bool:
    return activations.name_of(layer.activation) not in ROUNDED_ACTIVATIONS


def _is_linear_dense(layer) -> bool:
    is_dense = isinstance(layer, keras.layers.Dense)
    return is_dense and activations.name_of(layer.activation) == "linear"


def _copied(layer, **arguments):
    """Returns a layer of the same weights, with other arguments."""
    copy = type(layer).from_config({**layer.get_config(), **arguments})
    copy.build_from_config(layer.get_build_config())
    set_weights(copy, layer.get_weights())
    return copy


def _check_chain(chain) -> None:
    for layer in chain:
        if isinstance(layer, QuantizeAwareRNN | QuantizeAwareDense):
            raise ValueError(
                "Received an invalid value for argument model, expected a model of float layers, "
                f"got {layer.name}, which is quantization-aware already."
            )
        cells = cells_of(layer) if isinstance(layer, keras.layers.RNN) else []
        if not all(type(cell) in AWARE_CELLS for cell in cells):
            kinds = ", ".join(type(cell).__name__ for cell in cells)
            known = ", ".join(kind.__name__ for kind in AWARE_CELLS)
            raise ValueError(
                "Received an invalid value for argument model, expected recurrent layers of "
                f"{known}, got {layer.name} of {kinds}."
            )
        _maker_of(layer)
        if isinstance(layer, keras.layers.Dense) and _unrounded_activation(layer):
            raise ValueError(
                "Received an invalid value for argument model, expected Dense layers whose "
                f"activation is one of {', '.join(ROUNDED_ACTIVATIONS)}, got {layer.name} with "
                f"{activations.name_of(layer.activation)}."
            )
    if not isinstance(chain[-1], keras.layers.Dense):
        raise ValueError(
            "Received an invalid value for argument model, expected a Dense layer at its end, got "
            f"{chain[-1].name} ({type(chain[-1]).__name__})."
        )


@dataclasses.dataclass
class _Affine:
    """What the layers before have left to do with the next layer's input: `factor * x + shift`."""

    factor: np.ndarray | float = 1.0
    shift: np.ndarray | float = 0.0

    __array_ufunc__ = None

    def __mul__(self, factor) -> "_Affine":
        return _Affine(self.factor * factor, self.shift * factor)

    def __add__(self, shift) -> "_Affine":
        return _Affine(self.factor, self.shift + shift)

    def __sub__(self, shift) -> "_Affine":
        return self + -shift

    def __rsub__(self, value) -> "_Affine":
        return self * -1.0 + value

    __rmul__, __radd__ = __mul__, __add__

    @property
    def offset(self) -> np.ndarray:
        """What to add to the input before it is multiplied by the factor."""
        factor, shift = np.broadcast_arrays(np.float64(self.factor), np.float64(self.shift))
        return np.divide(shift, factor, out=np.zeros(factor.shape), where=factor != 0.0)

    @property
    def constant(self) -> np.ndarray:
        """What to add after that: all there is of inputs whose factor is 0."""
        return np.where(np.equal(self.factor, 0.0), self.shift, 0.0)

    @property
    def has_factor(self) -> bool:
        return bool(np.any(np.asarray(self.factor) != 1.0))

    @property
    def has_offset(self) -> bool:
        return bool(np.any(self.offset != 0.0))

    @property
    def has_constant(self) -> bool:
        return bool(np.any(self.constant != 0.0))

    @property
    def arguments(self) -> dict[str, bool]:
        """Those of a layer or cell whose kernel reads the result."""
        return {"has_input_factor": self.has_factor, "has_input_constant": self.has_constant}

    @property
    def weights(self) -> list:
        """Those that the arguments give a layer or cell, after its own."""
        factor = [self.factor] if self.has_factor else []
        return factor + ([self.constant] if self.has_constant else [])


def _assembled(source, chain, options: Options, name: str):
    value, affine, is_first, made = source, _Affine(), True, []
    for layer in chain:
        aware, weights, following = _maker_of(layer)(layer, options, affine, is_first)
        if aware is not None:
            made.append((aware, weights, affine))
            value = aware(value)
            is_first = is_first and is_kept(aware)
        affine = following
    aware_model = keras.Model(source, value, name=name)
    for aware, weights, before in made:
        _set_weights(aware, weights, before)
    return aware_model


def _folded(layer, options: Options, affine: _Affine, is_first: bool):
    """As `_recurrent`; there is no layer, but more for the next one."""
    return None, [], HANDLERS[type(layer)].trace(layer, affine)


def _kept(layer, options: Options, affine: _Affine, is_first: bool):
    """As `_recurrent`, of the values that a Normalization would give."""
    config = {**layer.get_config(), **_ARITHMETIC}
    kept = type(layer).from_config(config)
    if not (affine.has_factor or affine.has_offset) or isinstance(layer, keras.layers.Masking):
        return kept, [], affine
    aware = QuantizeAwareNoise(kept, name=layer.name, **_ARITHMETIC)
    return aware, [[affine.factor, affine.shift]], affine


def _recurrent(layer, options: Options, affine: _Affine, is_first: bool):
    """Returns the quantization-aware layer, its weights, and what is left for the next layer.

    Its weights are a list for each cell, or for the layer.
    """
    cells, weights, before = [], [], affine
    for cell in cells_of(layer):
        weights.append([*_copies(cell.weights), *affine.weights])
        config = {**cell.get_config(), **_ARITHMETIC, **dataclasses.asdict(options)}
        cells.append(AWARE_CELLS[type(cell)].from_config(config | affine.arguments))
        affine = _Affine(factor=unit_of(cell))
    aware = QuantizeAwareRNN(
        keras.layers.StackedRNNCells(cells, **_ARITHMETIC) if len(cells) > 1 else cells[0],
        quantizes_input=is_first,
        has_input_offset=before.has_offset,
        return_sequences=layer.return_sequences,
        unroll=layer.unroll,
        name=layer.name,
        **_ARITHMETIC,
    )
    return aware, weights, affine


def _dense(layer, options: Options, affine: _Affine, is_first: bool):
    """As `_recurrent`."""
    config = {**layer.get_config(), **_ARITHMETIC, **dataclasses.asdict(options)}
    config |= {"quantizes_input": is_first, "has_input_offset": affine.has_offset}
    aware = QuantizeAwareDense.from_config(config | affine.arguments)
    return aware, [[*_copies(layer.weights), *affine.weights]], _Affine()


# Functions that make the quantization-aware layer of a layer: by what its handler says of it, or
# by a class that it is of.
_MAKERS_BY_HANDLER = {InTraining.FOLDED: _folded, InTraining.KEPT: _kept}
_MAKERS_BY_CLASS = {keras.layers.RNN: _recurrent, keras.layers.Dense: _dense}


def _maker_of(layer) -> Callable:
    in_training = HANDLERS[type(layer)].in_training
    if in_training in _MAKERS_BY_HANDLER:
        return _MAKERS_BY_HANDLER[in_training]
    found = (make for kind, make in _MAKERS_BY_CLASS.items() if isinstance(layer, kind))
    maker = next(found, None)
    if maker is None:
        rounded = tuple(_MAKERS_BY_CLASS)
        known = names_of(k for k, h in HANDLERS.items() if h.in_training or issubclass(k, rounded))
        raise ValueError(
            "Received an invalid value for argument model, expected layers that are rounded in "
            f"training ({known}), got {title(layer)}."
        )
    return maker


def _copies(variables) -> list[np.ndarray]:
    return [variable.numpy().astype(np.float64) for variable in variables]


def _set_weights(aware, weights, affine: _Affine) -> None:
    owners = cells_of(aware) if isinstance(aware, QuantizeAwareRNN) else [aware]
    for owner, values in zip(owners, weights, strict=False):  # a Dropout has none
        for variable, value in zip(owner.weights, values, strict=False):  # and then the ranges
            _assign(variable, value)
    if affine.has_offset and not isinstance(aware, QuantizeAwareNoise):
        _assign(aware.input_offset, affine.offset)


def _assign(variable, value) -> None:
    variable.assign(np.broadcast_to(value, tuple(variable.shape)).astype(np.float32))
