"""FastRNNCell and FastGRNNCell: weights, configuration and Keras's cell contract."""

import inspect
import math
import numbers
from collections.abc import Callable
from typing import Any

from keras_fastgrnn import activations, steps
from keras_fastgrnn.keras_api import (
    IS_TF_KERAS,
    Identifier,
    checked_integer,
    invalid_argument,
    is_number,
    keras,
    refuse_caller_of_other_flavor,
    register,
)


def merged_signature(init, inner_init) -> inspect.Signature:
    """Returns the signature of an `__init__` that passes `*args` and `**kwargs` on to another.

    Args:
        init: The outer `__init__`.
        inner_init: The `__init__` that receives what the outer one does not name.

    Returns:
        The outer arguments, then the inner ones, without `self`, for `help` and editors.
    """
    own = inspect.signature(init).parameters
    parameters = {**own, **inspect.signature(inner_init).parameters, **own}
    listed = [
        parameter
        for name, parameter in parameters.items()
        if name != "self" and parameter.kind is not inspect.Parameter.VAR_POSITIONAL
    ]
    return inspect.Signature(sorted(listed, key=lambda parameter: parameter.kind))


def dropped_out(cell, inputs, state, training) -> tuple:
    """Returns the inputs of a step after a cell's dropout, and the dropout mask of its state.

    Args:
        cell: One of Keras's recurrent cells, or of ours.
        inputs: Tensor of shape `(batch, input_dim)`.
        state: Tensor of shape `(batch, units)`.
        training: Boolean, whether there is any dropout.

    Returns:
        Tensor of shape `(batch, input_dim)`, and tensor of shape `(batch, units)` or `None`.
    """
    if IS_TF_KERAS:
        input_mask = cell.get_dropout_mask_for_cell(inputs, training)
        recurrent_mask = cell.get_recurrent_dropout_mask_for_cell(state, training)
    else:
        masks = cell.get_dropout_mask(inputs), cell.get_recurrent_dropout_mask(state)
        input_mask, recurrent_mask = masks if training else (None, None)
    return inputs if input_mask is None else inputs * input_mask, recurrent_mask


class FastCell(keras.layers.SimpleRNNCell):
    """What both cells share. The arguments are documented at `FastGRNNCell`.

    Keras's `SimpleRNNCell` gives the dropout masks, its part of the configuration and the cell's
    contract; its weights and equations are replaced.
    """

    step: Callable
    quantizer: Any = None
    bias_names = ()
    scalar_names = ()

    def __init__(
        self,
        units: int,
        activation: Identifier = "tanh",
        use_bias: bool = True,
        kernel_initializer: Identifier = None,
        recurrent_initializer: Identifier = None,
        bias_initializer: Identifier = "ones",
        kernel_regularizer: Identifier = None,
        recurrent_regularizer: Identifier = None,
        bias_regularizer: Identifier = None,
        kernel_constraint: Identifier = None,
        recurrent_constraint: Identifier = None,
        bias_constraint: Identifier = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        kernel_rank: int | None = None,
        recurrent_rank: int | None = None,
        **kwargs,
    ):
        units = checked_integer("units", units)
        if isinstance(seed, numbers.Integral):
            seed = int(seed)  # Keras 3 takes no other
        if not IS_TF_KERAS:
            kwargs["seed"] = seed
        super().__init__(
            units,
            activation=activations.get(activation),
            use_bias=use_bias,
            kernel_initializer=_matrix_initializer(kernel_initializer),
            recurrent_initializer=_matrix_initializer(recurrent_initializer),
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            recurrent_regularizer=recurrent_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            recurrent_constraint=recurrent_constraint,
            bias_constraint=bias_constraint,
            dropout=_checked_rate("dropout", dropout),
            recurrent_dropout=_checked_rate("recurrent_dropout", recurrent_dropout),
            **kwargs,
        )
        self.seed = seed
        self.kernel_rank = _checked_rank("kernel_rank", kernel_rank, units)
        self.recurrent_rank = _checked_rank("recurrent_rank", recurrent_rank, units)

    @property
    def state_size(self):
        # Every recurrent layer reads this of its cell before it calls it, so a layer of the other
        # Keras, which would run the cell and not train it, is seen here.
        refuse_caller_of_other_flavor("The recurrent layer around this cell")
        return self._state_size

    @state_size.setter
    def state_size(self, size):
        self._state_size = size

    def _set_scalar_initializers(self, **initializers):
        for name, initializer in initializers.items():
            argument = f"{name}_initializer"
            setattr(self, argument, _scalar_initializer(argument, initializer))

    def build(self, input_shape):
        input_dim = input_shape[-1]
        # Above `units` it was refused when the cell was made.
        _checked_rank("kernel_rank", self.kernel_rank, input_dim)
        self.kernel_factors = self._add_matrix("kernel", "kernel", input_dim)
        self.recurrent_factors = self._add_matrix("recurrent_kernel", "recurrent", self.units)
        for name in self.bias_names:
            setattr(self, name, self._add_bias(name) if self.use_bias else None)
        for name in self.scalar_names:
            initializer = getattr(self, f"{name}_initializer")
            logit = self.add_weight(name=f"{name}_logit", shape=(), initializer=initializer)
            setattr(self, f"{name}_logit", logit)
        self.built = True

    def _add_matrix(self, name, argument_prefix, rows):
        rank = getattr(self, f"{argument_prefix}_rank")
        shapes = {name: (rows, self.units)}
        if rank is not None:
            shapes = {f"{name}_left": (rows, rank), f"{name}_right": (rank, self.units)}
        initializer = getattr(self, f"{argument_prefix}_initializer")
        return [
            self.add_weight(
                name=factor,
                shape=shape,
                initializer=_with_seed_of_its_own(initializer, index),
                regularizer=getattr(self, f"{argument_prefix}_regularizer"),
                constraint=getattr(self, f"{argument_prefix}_constraint"),
            )
            for index, (factor, shape) in enumerate(shapes.items())
        ]

    def _add_bias(self, name):
        return self.add_weight(
            name=name,
            shape=(self.units,),
            initializer=_with_seed_of_its_own(self.bias_initializer, self.bias_names.index(name)),
            regularizer=self.bias_regularizer,
            constraint=self.bias_constraint,
        )

    def get_prunable_weights(self) -> list:
        """Returns the matrices, or their low-rank factors: what TF-MOT prunes of a layer."""
        return [*self.kernel_factors, *self.recurrent_factors]

    def step_weights(self, recurrent_mask=None) -> Any:
        """Returns what the step reads, as the tensors of this moment.

        Args:
            recurrent_mask: Tensor of shape `(batch, units)` that multiplies the state where it
                enters the matrix, or `None`.

        Returns:
            `FastRNNWeights` or `FastGRNNWeights`.
        """
        raise TypeError(f"{type(self).__name__} has no equations of its own.")

    def _shared_weights(self, recurrent_mask):
        biases = {name: getattr(self, name) if self.use_bias else 0.0 for name in self.bias_names}
        logits = {name: getattr(self, f"{name}_logit") for name in self.scalar_names}
        return {
            "kernel": tuple(self.kernel_factors),
            "recurrent_kernel": tuple(self.recurrent_factors),
            "activation": self.activation,
            "recurrent_mask": recurrent_mask,
            **biases,
            **{name: keras.activations.sigmoid(logit) for name, logit in logits.items()},
        }

    def call(self, inputs, states, training=None):
        h = states[0] if isinstance(states, (list, tuple)) else states
        inputs, recurrent_mask = dropped_out(self, inputs, h, training)
        weights = self.step_weights(recurrent_mask)
        g = h / weights.unit
        if self.quantizer is None:
            g = self.step(inputs, g, weights)
        else:
            (g,) = self.quantizer.step(inputs, [g], recurrent_mask)
        h = weights.unit * g
        return h, [h] if isinstance(states, (list, tuple)) else h

    def get_config(self):
        scalars = {f"{name}_initializer" for name in self.scalar_names}
        return {
            **super().get_config(),
            "seed": self.seed,
            "kernel_rank": self.kernel_rank,
            "recurrent_rank": self.recurrent_rank,
            **{name: keras.initializers.serialize(getattr(self, name)) for name in scalars},
        }


@register
class FastGRNNCell(FastCell):
    """Cell of FastGRNN, one step of a gated recurrent layer.

    `z = recurrent_activation(W x + U h + b_z)`, `c = activation(W x + U h + b_h)`,
    `h' = (zeta * (1 - z) + nu) * c + z * h`. Gate and candidate share `W` and `U`, so the cell
    stores a third of a GRU's matrices. The scalars zeta and nu are trained as logits.

    Args:
        units: Positive integer, width of the state and of the output.
        activation: Nonlinearity of the candidate: the name of a Keras activation,
            `"quant_tanh"`, `"quant_sigmoid"`, `"quant_sigmoid4"`, or a function.
            Defaults to `"tanh"`.
        recurrent_activation: Nonlinearity of the gate, as for `activation`.
            Defaults to `"sigmoid"`.
        use_bias: Boolean, whether gate and candidate each add a bias. Defaults to `True`.
        kernel_initializer: Initializer of the input's matrix `W`, or of both its factors.
            Defaults to `None`, a normal distribution of standard deviation 0.1, as in the
            authors' code.
        recurrent_initializer: Initializer of the state's matrix `U`, or of both its factors.
            Defaults to `None`, as for the kernel.
        bias_initializer: Initializer of both biases. Defaults to `"ones"`, as in the authors'
            code.
        kernel_regularizer: Regularizer of `W` or its factors. Defaults to `None`.
        recurrent_regularizer: Regularizer of `U` or its factors. Defaults to `None`.
        bias_regularizer: Regularizer of both biases. Defaults to `None`.
        kernel_constraint: Constraint of `W` or its factors. Defaults to `None`.
        recurrent_constraint: Constraint of `U` or its factors. Defaults to `None`.
        bias_constraint: Constraint of both biases. Defaults to `None`.
        dropout: Number in [0, 1], fraction of the inputs dropped in training. Defaults to 0.
        recurrent_dropout: Number in [0, 1], fraction of the state dropped in training where it
            enters the matrix. Defaults to 0.
        seed: Integer, seed of the dropout masks (Keras 3; tf_keras takes the global seed).
            Defaults to `None`.
        kernel_rank: Integer in [1, min(input_dim, units)], rank of `W`, which is then the product
            of two factors. Defaults to `None`, one matrix of full rank.
        recurrent_rank: Integer in [1, units], rank of `U`. Defaults to `None`, full rank.
        zeta_initializer: Number or initializer, the logit of zeta before training
            (`zeta = sigmoid(logit)`). Defaults to 1.
        nu_initializer: Number or initializer, the logit of nu before training. Defaults to -4.

    Call arguments:
        inputs: Tensor of shape `(batch, input_dim)`, the input of this step.
        states: List of one tensor of shape `(batch, units)`, the state `h`.
        training: Boolean, whether to apply dropout.

    Raises:
        ValueError: If an argument is out of its range. `kernel_rank` is checked against the
            input when the cell is built.

    Example:

    >>> import numpy as np
    >>> from keras_fastgrnn import FastGRNNCell, keras
    >>> model = keras.Sequential([keras.layers.RNN(FastGRNNCell(16)), keras.layers.Dense(2)])
    >>> tuple(model(np.zeros((1, 128, 9), "float32")).shape)
    (1, 2)

    Reference:
        Kusupati et al., NeurIPS 2018, section 3.2 (https://arxiv.org/abs/1901.02358)
    """

    step = staticmethod(steps.fastgrnn_step)
    bias_names = ("gate_bias", "candidate_bias")
    scalar_names = ("zeta", "nu")

    def __init__(
        self,
        units: int,
        activation: Identifier = "tanh",
        recurrent_activation: Identifier = "sigmoid",
        use_bias: bool = True,
        *args,
        zeta_initializer: float | Identifier = 1.0,
        nu_initializer: float | Identifier = -4.0,
        **kwargs,
    ):
        super().__init__(units, activation, use_bias, *args, **kwargs)
        self.recurrent_activation = activations.get(recurrent_activation, "recurrent_activation")
        self._set_scalar_initializers(zeta=zeta_initializer, nu=nu_initializer)

    def step_weights(self, recurrent_mask=None) -> steps.FastGRNNWeights:
        shared = self._shared_weights(recurrent_mask)
        return steps.FastGRNNWeights(**shared, recurrent_activation=self.recurrent_activation)

    def get_config(self):
        activation = keras.activations.serialize(self.recurrent_activation)
        return {**super().get_config(), "recurrent_activation": activation}


@register
class FastRNNCell(FastCell):
    """Cell of FastRNN, one step of a recurrent layer.

    `c = activation(W x + U h + b)`, `h' = alpha * c + beta * h`. The scalars alpha and beta are
    trained as logits. They make the plain recurrent cell trainable at the cost of two numbers.

    Args:
        units: Positive integer, width of the state and of the output.
        activation: Nonlinearity of the candidate, as in `FastGRNNCell`. Defaults to `"tanh"`.
        use_bias: Boolean, whether the candidate adds a bias. Defaults to `True`.
        kernel_initializer: This and the arguments up to `recurrent_rank` are those of
            `FastGRNNCell`, in the same order.
        alpha_initializer: Number or initializer, the logit of alpha before training
            (`alpha = sigmoid(logit)`). Defaults to -3.
        beta_initializer: Number or initializer, the logit of beta before training. Defaults to 3.

    Call arguments:
        inputs: Tensor of shape `(batch, input_dim)`, the input of this step.
        states: List of one tensor of shape `(batch, units)`, the state `h`.
        training: Boolean, whether to apply dropout.

    Raises:
        ValueError: If an argument is out of its range. `kernel_rank` is checked against the
            input when the cell is built.

    Example:

    >>> import numpy as np
    >>> from keras_fastgrnn import FastRNNCell, keras
    >>> layer = keras.layers.RNN(FastRNNCell(4, kernel_rank=2))
    >>> tuple(layer(np.zeros((1, 10, 3), "float32")).shape)
    (1, 4)

    Reference:
        Kusupati et al., NeurIPS 2018, section 3.1 (https://arxiv.org/abs/1901.02358)
    """

    step = staticmethod(steps.fastrnn_step)
    bias_names = ("bias",)
    scalar_names = ("alpha", "beta")

    def __init__(
        self,
        units: int,
        activation: Identifier = "tanh",
        use_bias: bool = True,
        *args,
        alpha_initializer: float | Identifier = -3.0,
        beta_initializer: float | Identifier = 3.0,
        **kwargs,
    ):
        super().__init__(units, activation, use_bias, *args, **kwargs)
        self._set_scalar_initializers(alpha=alpha_initializer, beta=beta_initializer)

    def step_weights(self, recurrent_mask=None) -> steps.FastRNNWeights:
        return steps.FastRNNWeights(**self._shared_weights(recurrent_mask))


for _cell_class in (FastGRNNCell, FastRNNCell):
    _cell_class.__signature__ = merged_signature(_cell_class.__init__, FastCell.__init__)


def _checked_rank(argument, rank, full_rank):
    return None if rank is None else checked_integer(argument, rank, full_rank)


def _checked_rate(argument, value):
    if not (is_number(value) and 0.0 <= value <= 1.0):
        raise invalid_argument(argument, "a number in [0, 1]", value)
    return float(value)


def _matrix_initializer(identifier):
    if identifier is None:
        return keras.initializers.RandomNormal(stddev=0.1)
    return keras.initializers.get(identifier)


def _scalar_initializer(argument, value):
    if _is_identifier(value):
        return keras.initializers.get(value)
    if is_number(value) and math.isfinite(value):
        return keras.initializers.Constant(float(value))
    raise invalid_argument(argument, "a finite number or an initializer", value)


def _is_identifier(value) -> bool:
    return isinstance(value, (str, dict)) or callable(value)


def _with_seed_of_its_own(initializer, index=0):
    """The initializer for one more weight: an instance with a fixed seed draws the same twice."""
    config = getattr(initializer, "get_config", dict)()
    match config:
        case {"seed": None}:
            return type(initializer).from_config(config)
        case {"seed": numbers.Integral() as seed}:
            return type(initializer).from_config({**config, "seed": seed + index})
    return initializer
