"""The models of the benchmarks: which cells, how large for a number of bytes, and how trained.

What was chosen here was chosen on validation sequences alone.
"""

from dataclasses import dataclass, replace

from benchmarks.tasks import Task
from keras_fastgrnn import FastGRNN, FastRNN, keras, sparsity
from keras_fastgrnn.layers import FastLayer
from keras_fastgrnn.recipe import search_space
from keras_fastgrnn.recipe.learning_rates import RISE, risen_and_fallen

# Models that one training gives: the recipe's float stages and its last.
SPARSE, RECIPE = "FastGRNN LS", "FastGRNN LSQ"
LAYERS = {
    "FastRNN": FastRNN,
    "FastGRNN": FastGRNN,
    "FastGRNN L": FastGRNN,
    RECIPE: FastGRNN,
    "SimpleRNN": keras.layers.SimpleRNN,
    "GRU": keras.layers.GRU,
    "LSTM": keras.layers.LSTM,
}
EQUAL_UNITS = 32
# Bytes of all parameters, or a name for the same number of units.
SIZES = {"equal": None, "1KB": 1024, "1.5KB": 1536, "3KB": 3072, "6KB": 6144}


@dataclass(frozen=True)
class Structure:
    """What a model looks like.

    Attributes:
        units: Integer.
        kernel_rank, recurrent_rank: Integers, or `None` for full rank.
        kernel_sparsity, recurrent_sparsity: Numbers in [0, 1), the fractions of weights that
            become zero.
        weight_bits: Integer, 8 or 4.
        bias_bytes: Integer, 4 or 1.
        recurrent_activation: String, the gate's function of FastGRNN.
    """

    units: int
    kernel_rank: int | None = None
    recurrent_rank: int | None = None
    kernel_sparsity: float = 0.0
    recurrent_sparsity: float = 0.0
    weight_bits: int = 8
    bias_bytes: int = 4
    recurrent_activation: str = "sigmoid"


@dataclass(frozen=True)
class Training:
    """How the models of a task are trained.

    Attributes:
        epochs: Integer, a multiple of 3, in float.
        fine_epochs: Integer, quantization-aware, of the recipe alone.
        batch_size: Integer.
        learning_rate: Float, the highest; it rises over the first epochs and falls by a cosine.
        fine_learning_rate: Float, of the quantization-aware epochs.
        largest_gradient: Float, the norm that gradients are cut to.
        warm_up: Float in [0, 1), the part of the epochs in which the learning rate rises.
        initializer: String, of both matrices of FastRNN and FastGRNN, or `None` for their own, the
            authors' normal noise of deviation 0.1.
        augments: Boolean, whether each epoch sees other variations of the sequences.
    """

    epochs: int
    fine_epochs: int = 6
    batch_size: int = 64
    learning_rate: float = 2e-2
    fine_learning_rate: float = 2e-3
    largest_gradient: float = 1.0
    warm_up: float = RISE
    initializer: str | None = "glorot_uniform"
    augments: bool = True

    def rate(self, epoch: int) -> float:
        """Returns the learning rate of an epoch in float, counted from 0."""
        return risen_and_fallen(self.learning_rate, epoch, self.epochs, self.warm_up)

    def optimizer(self, rate: float):
        """Returns a Keras optimizer."""
        return keras.optimizers.Adam(rate, global_clipnorm=self.largest_gradient)

    def loss(self):
        """Returns the Keras loss of logits and one-hot labels."""
        return keras.losses.CategoricalCrossentropy(from_logits=True)


def build(name: str, structure: Structure, shape, classes: int, initializer: str | None = None):
    """Returns a new model: a recurrent layer and a Dense layer.

    Args:
        name: String, a key of `LAYERS`.
        structure: `Structure`.
        shape: Steps and channels.
        classes: Integer.
        initializer: String, as `Training` has it. Defaults to `None`.

    Returns:
        Keras model.
    """
    options = {}
    if issubclass(LAYERS[name], FastLayer):
        options = {"kernel_initializer": initializer, "recurrent_initializer": initializer}
    if LAYERS[name] is FastGRNN:
        options["recurrent_activation"] = structure.recurrent_activation
    if name == "GRU":
        options = {"reset_after": False}  # fewer biases, and so more units, for its bytes
    ranks = {"kernel_rank": structure.kernel_rank, "recurrent_rank": structure.recurrent_rank}
    given = {key: rank for key, rank in ranks.items() if rank is not None}
    recurrent = LAYERS[name](structure.units, **options, **given)
    return keras.Sequential([keras.layers.Input(shape), recurrent, keras.layers.Dense(classes)])


_HAR = Training(epochs=60, fine_learning_rate=1e-3, largest_gradient=0.2)
_TRAININGS = {
    "har": _HAR,
    "har2": _HAR,
    "dsa": Training(epochs=45),
    "speech": Training(epochs=120, fine_epochs=12),
    "usps": Training(epochs=60),
    "mnist": Training(epochs=21, fine_epochs=3, batch_size=128),
}
# Where another than FastGRNN's did better on speech and HAR-2: `python -m benchmarks.ablation`.
_LEARNING_RATES = {"FastRNN": 5e-3, "GRU": 5e-3, "LSTM": 5e-3, "SimpleRNN": 2e-3}


def _low_rank(units: int) -> Structure:
    return Structure(units, recurrent_rank=max(1, units // 3))


def _sparse(units: int) -> Structure:
    return Structure(units, None, None, 0.25, 0.5, bias_bytes=1)


def _low_rank_and_sparse(units: int) -> Structure:
    return Structure(units, None, max(1, units // 3), 0.5, 0.5, bias_bytes=1)


def _narrow(units: int) -> Structure:
    return Structure(units, weight_bits=4, bias_bytes=1)


# Of the recipe's model: what did best on validation sequences, or of subjects left out in turn.
_RECIPE_STRUCTURES = {"har": _sparse, "har2": _sparse, "dsa": _narrow}


def training_for(task: str, model: str) -> Training:
    """Returns how a model of a task is trained.

    Args:
        task: String, its name.
        model: String, a key of `LAYERS`.
    """
    training = _TRAININGS[task]
    return replace(training, learning_rate=_LEARNING_RATES.get(model, training.learning_rate))


def structure_for(model: str, size: str, task: Task) -> Structure:
    """Returns what a model of a size looks like.

    Args:
        model: String, a key of `LAYERS`.
        size: String, a key of `SIZES`.
        task: `Task`.

    Returns:
        `Structure`, the widest that takes at most so many bytes.
    """
    template = _low_rank if model == "FastGRNN L" else Structure
    if model == RECIPE:
        template = _RECIPE_STRUCTURES.get(task.name, _low_rank_and_sparse)
    if SIZES[size] is None:
        return template(EQUAL_UNITS)
    fitting, too_wide = 1, 2
    while _bytes_of(model, template(too_wide), task) <= SIZES[size]:
        fitting, too_wide = too_wide, 2 * too_wide
    while too_wide - fitting > 1:
        middle = (fitting + too_wide) // 2
        if _bytes_of(model, template(middle), task) <= SIZES[size]:
            fitting = middle
        else:
            too_wide = middle
    return template(fitting)


def _bytes_of(model: str, structure: Structure, task: Task) -> int:
    """Returns the bytes at most of a model with such zeros, however they lie."""
    built = build(model, structure, task.shape, task.classes)
    if not issubclass(LAYERS[model], FastLayer):
        return sparsity.report(built).total_bytes["best"]
    sparsities = structure.kernel_sparsity, structure.recurrent_sparsity
    budget = search_space.Budget(
        bytes=SIZES["6KB"],
        cycles=None,
        count_cycles=None,
        weight_bits=structure.weight_bits,
        bias_bytes=structure.bias_bytes,
    )
    return search_space.Structure(built, budget).bytes(sparsities)
