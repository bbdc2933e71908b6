"""FastRNN and FastGRNN: `RNN(cell)` under one name, as `GRU` is to `GRUCell`."""

import inspect
from operator import attrgetter

from keras_fastgrnn.cells import FastCell, FastGRNNCell, FastRNNCell, merged_signature
from keras_fastgrnn.keras_api import IS_TF_KERAS, Identifier, keras, register


class FastLayer(keras.layers.RNN):
    """A recurrent layer that builds its cell from its own arguments."""

    cell_class: type[FastCell]

    def __init__(
        self,
        *args,
        activity_regularizer: Identifier = None,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        **kwargs,
    ):
        cell_arguments = {key: kwargs.pop(key) for key in self.cell_arguments() if key in kwargs}
        shared_arguments = {key: kwargs[key] for key in ("dtype", "trainable") if key in kwargs}
        super().__init__(
            self.cell_class(*args, **cell_arguments, **shared_arguments),
            return_sequences=return_sequences,
            return_state=return_state,
            go_backwards=go_backwards,
            stateful=stateful,
            unroll=unroll,
            activity_regularizer=keras.regularizers.get(activity_regularizer),
            **kwargs,
        )
        # As GRU has it, for the error at inputs that are not sequences.
        spec = keras.layers.InputSpec(ndim=3)
        self.input_spec = [spec] if IS_TF_KERAS else spec

    @classmethod
    def cell_arguments(cls) -> list[str]:
        """Returns the names of the arguments that the cell takes."""
        parameters = inspect.signature(cls.cell_class).parameters.values()
        return [p.name for p in parameters if p.kind is not inspect.Parameter.VAR_KEYWORD]

    def get_prunable_weights(self) -> list:
        """Returns the matrices of the cell, or their factors: what TF-MOT prunes of a layer."""
        return self.cell.get_prunable_weights()

    def get_config(self):
        cell = self.cell.get_config()
        layer = super().get_config()
        del layer["cell"]
        return {
            **{name: cell[name] for name in self.cell_arguments()},
            **layer,
            "activity_regularizer": keras.regularizers.serialize(self.activity_regularizer),
        }

    @classmethod
    def from_config(cls, config):
        return cls(**config)


@register
class FastGRNN(FastLayer):
    """FastGRNN over a whole sequence: `RNN(FastGRNNCell(...))`.

    Args:
        units: This and all arguments of `FastGRNNCell`, in the same order.
        activity_regularizer: Regularizer of the output. Defaults to `None`.
        return_sequences: Boolean, whether to return the output of every step instead of the
            last one. Defaults to `False`.
        return_state: Boolean, whether to return the last state too. Defaults to `False`.
        go_backwards: Boolean, whether to read the sequence from its end. Defaults to `False`.
        stateful: Boolean, whether a batch starts from the state the last one ended with.
            Defaults to `False`.
        unroll: Boolean, whether to unroll the loop. Defaults to `False`.

    Call arguments:
        sequences: Tensor of shape `(batch, steps, input_dim)`.
        initial_state: List of one tensor of shape `(batch, units)`. Defaults to zeros.
        mask: Boolean tensor of shape `(batch, steps)`, the steps to use. Defaults to all.
        training: Boolean, whether to apply dropout.

    Returns:
        Tensor of shape `(batch, units)`, or `(batch, steps, units)` with `return_sequences`;
        with `return_state` a list of it and the state of shape `(batch, units)`.

    Raises:
        ValueError: If an argument is out of its range.

    Example:

    >>> import numpy as np
    >>> from keras_fastgrnn import FastGRNN
    >>> layer = FastGRNN(16, recurrent_rank=4, return_sequences=True)
    >>> tuple(layer(np.zeros((1, 128, 9), "float32")).shape)
    (1, 128, 16)

    Reference:
        Kusupati et al., NeurIPS 2018, section 3.2 (https://arxiv.org/abs/1901.02358)
    """

    cell_class = FastGRNNCell


@register
class FastRNN(FastLayer):
    """FastRNN over a whole sequence: `RNN(FastRNNCell(...))`.

    Args:
        units: This and all arguments of `FastRNNCell`, in the same order.
        activity_regularizer: This and the arguments after it are those of `FastGRNN`.

    Call arguments:
        sequences: Tensor of shape `(batch, steps, input_dim)`; the others as in `FastGRNN`.

    Returns:
        As `FastGRNN`.

    Raises:
        ValueError: If an argument is out of its range.

    Example:

    >>> import numpy as np
    >>> from keras_fastgrnn import FastRNN
    >>> tuple(FastRNN(16)(np.zeros((1, 128, 9), "float32")).shape)
    (1, 16)

    Reference:
        Kusupati et al., NeurIPS 2018, section 3.1 (https://arxiv.org/abs/1901.02358)
    """

    cell_class = FastRNNCell


for _layer_class in (FastGRNN, FastRNN):
    _layer_class.__signature__ = merged_signature(_layer_class.cell_class, FastLayer.__init__)
    for _name in _layer_class.cell_arguments():
        setattr(_layer_class, _name, property(attrgetter(f"cell.{_name}")))
