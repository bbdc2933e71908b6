"""Convolutions over time: one step of a device for as many frames as the strides ask for."""

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from small_models import (
    CHANNELS,
    STEPS,
    answers_of,
    check_everywhere,
    drawn,
    every_step,
    needs_tflm,
    sequences,
    sequential,
)

from keras_fastgrnn import FastGRNN, export, keras
from keras_fastgrnn.keras_api import IS_TF_KERAS
from keras_fastgrnn.quantization import quantize_aware

LAYERS = keras.layers
FORMATS = [None, "int16x8", "int8"]


def normalization():
    return LAYERS.Normalization(mean=np.arange(3.0), variance=np.arange(1.0, 4.0))


CHAINS = {
    "of one step": lambda: [LAYERS.Conv1D(4, 1), FastGRNN(4), LAYERS.Dense(2)],
    "causal": lambda: [LAYERS.Conv1D(4, 3, padding="causal"), FastGRNN(4), LAYERS.Dense(2)],
    "valid": lambda: [LAYERS.Conv1D(4, 3, activation="relu"), FastGRNN(4), LAYERS.Dense(2)],
    "valid of two": lambda: [LAYERS.Conv1D(4, 2, activation="tanh"), LAYERS.SimpleRNN(4)],
    "same": lambda: [LAYERS.Conv1D(4, 4, padding="same"), every_step(), LAYERS.Dense(2)],
    "same, strides": lambda: [
        LAYERS.Conv1D(4, 5, strides=2, padding="same"),
        LAYERS.BatchNormalization(),
        LAYERS.ReLU(),
        FastGRNN(4),
        LAYERS.Dense(2),
    ],
    "groups": lambda: [LAYERS.Dense(4), LAYERS.Conv1D(4, 2, groups=2), LAYERS.GRU(3)],
    "dilations": lambda: [
        LAYERS.Conv1D(4, 3, padding="causal", dilation_rate=2, activation="relu"),
        LAYERS.Conv1D(3, 2, dilation_rate=3, use_bias=False),
        LAYERS.LSTM(3),
    ],
    "causal after valid": lambda: [
        LAYERS.Conv1D(4, 3, activation="relu"),
        LAYERS.Conv1D(3, 3, padding="causal"),
        FastGRNN(4),
    ],
    "depthwise": lambda: [LAYERS.DepthwiseConv1D(3, depth_multiplier=2), FastGRNN(4)],
    "separable": lambda: [LAYERS.SeparableConv1D(4, 3, strides=2), FastGRNN(4)],
    "separable, same": lambda: [LAYERS.SeparableConv1D(4, 3, padding="same"), FastGRNN(4)],
    "normalized, depthwise, strides": lambda: [
        normalization(),
        LAYERS.DepthwiseConv1D(3, strides=2),
        LAYERS.GRU(4),
        LAYERS.Dense(2),
    ],
    "longer strides than kernel": lambda: [LAYERS.Conv1D(4, 2, strides=3), FastGRNN(4)],
    "causal strides": lambda: [LAYERS.Conv1D(4, 4, strides=3, padding="causal"), FastGRNN(4)],
    "after": lambda: [every_step(), LAYERS.Conv1D(3, 3, padding="causal")],
    "between": lambda: [every_step(), LAYERS.Conv1D(3, 3), LAYERS.SimpleRNN(4), LAYERS.Dense(2)],
    "at the end": lambda: [every_step(), LAYERS.Conv1D(3, 3)],
}


@needs_tflm
@pytest.mark.parametrize("quantization", FORMATS)
@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
def test_convolutions_are_computed_everywhere_as_in_keras(chain, quantization):
    check_everywhere(sequential(*chain(), spread=0.25), quantization)


@needs_tflm
@pytest.mark.parametrize("quantization", FORMATS)
@pytest.mark.parametrize("name", ["valid", "same, strides", "causal strides", "at the end"])
def test_a_whole_sequence_an_invoke_is_answered_as_in_keras(name, quantization):
    model = sequential(*CHAINS[name](), spread=0.25)
    x = sequences()
    whole = export.convert(model, x, quantization=quantization, mode="sequence")
    step_by_step = export.convert(model, x, quantization=quantization)
    of_float32 = 0.0 if quantization else 1e-6
    np.testing.assert_allclose(whole.predict(x), step_by_step.predict(x), atol=of_float32)


def residual(x):
    first = LAYERS.Conv1D(CHANNELS, 3, padding="causal", activation="relu")(x)
    total = LAYERS.Add()([first, x])
    second = LAYERS.Conv1D(CHANNELS, 2, padding="causal", dilation_rate=2)(total)
    return LAYERS.Dense(2)(FastGRNN(3)(LAYERS.Add()([second, total])))


def mixed(x):
    """Kernels of several lengths side by side, each behind its own padding."""
    each = [LAYERS.DepthwiseConv1D(n, padding="same")(x) for n in (1, 1)]
    each += [LAYERS.Conv1D(2, n, padding="causal")(x) for n in (3, 5)]
    return LAYERS.Dense(2)(LAYERS.GRU(3)(LAYERS.Concatenate()(each)))


def pointwise(x):
    pooled = LAYERS.MaxPooling1D(1)(x)
    return LAYERS.Dense(2)(FastGRNN(3)(LAYERS.Add()([LAYERS.Conv1D(CHANNELS, 1)(x), pooled, x])))


def parts_in_another_order(x):
    first, second = every_step(2)(x), every_step(3)(x)
    joined = LAYERS.Conv1D(2, 3, padding="causal")(LAYERS.Concatenate()([first, second]))[:, -1]
    reversed_ = LAYERS.Concatenate()([second, first])[:, -1]
    return LAYERS.Add()([joined, LAYERS.Dense(2)(reversed_)])


def a_part_twice(x):
    h = LAYERS.Dense(2)(x)
    return LAYERS.GRU(2)(LAYERS.Concatenate()([h, h]))


def layer_of_a_strange_name(x):
    h = LAYERS.GRU(3, return_sequences=True)(LAYERS.Conv1D(3, 2)(x))
    mean = LAYERS.GlobalAveragePooling1D(name="after_2_steps")(h)
    return LAYERS.Add()([mean, LAYERS.GlobalMaxPooling1D()(h)])


def of_a_model_inside(x):
    inputs = LAYERS.Input((None, CHANNELS))
    inside = keras.Model(inputs, LAYERS.GlobalAveragePooling1D()(every_step()(inputs)))
    return LAYERS.Dense(2)(inside(x))


def flattened_at_the_end(x):
    return LAYERS.Flatten()(every_step(2)(x))


def flattened_in_each_step(x):
    return LAYERS.TimeDistributed(LAYERS.Flatten())(every_step(2)(x))


BRANCHES = [
    *(residual, mixed, pointwise, parts_in_another_order, a_part_twice, layer_of_a_strange_name),
    *(of_a_model_inside, flattened_at_the_end, flattened_in_each_step),
]


def answers_of_other_windows(x):
    """Each has its last answer after the last step."""
    h = every_step()(x)
    answers = [LAYERS.Flatten()(h), LAYERS.GlobalMaxPooling1D()(h)]
    answers += [LAYERS.GRU(3)(LAYERS.Conv1D(4, 3)(x)), LAYERS.SimpleRNN(2)(x)]
    return LAYERS.Dense(2)(LAYERS.Concatenate()(answers))


def last_of_a_convolution(x):
    return LAYERS.Dense(2)(LAYERS.Conv1D(3, 3, padding="causal")(every_step()(x))[:, -1])


@needs_tflm
@pytest.mark.parametrize("quantization", FORMATS)
@pytest.mark.parametrize("body", [*BRANCHES, answers_of_other_windows, last_of_a_convolution])
def test_branches_of_convolutions_are_computed_everywhere_as_in_keras(body, quantization):
    inputs = LAYERS.Input((STEPS, CHANNELS))
    check_everywhere(drawn(keras.Model(inputs, body(inputs)), spread=0.25), quantization)


@needs_tflm
@pytest.mark.parametrize("name", ["valid", "same, strides", "longer strides than kernel"])
def test_sequences_of_unequal_length_are_answered_as_in_keras(name):
    model = sequential(*CHAINS[name](), spread=0.25, steps=None if "same" not in name else STEPS)
    lengths = [5, 12, 9, 12] if "same" not in name else [STEPS] * 3
    x = [one[:length] for one, length in zip(sequences(steps=12), lengths, strict=False)]
    deployed = export.convert(model, sequences())
    for one, answer in zip(x, deployed.predict(x), strict=True):
        np.testing.assert_allclose(answer, answers_of(model, one[np.newaxis])[0], atol=0.03)
    compiled = export.convert_c(model, sequences())
    np.testing.assert_array_equal(compiled.predict(x), deployed.predict(x))


@needs_tflm
@pytest.mark.parametrize("quantization", FORMATS)
@pytest.mark.parametrize("chain", ["valid, at every step", "at the end", "strides"])
def test_every_answer_to_sequences_of_unequal_length_is_keras_s(chain, quantization):
    layers = {
        "valid, at every step": [LAYERS.Conv1D(4, 3), every_step()],
        "at the end": [every_step(), LAYERS.Conv1D(3, 3)],
        "strides": [LAYERS.Conv1D(4, 4, strides=3, padding="causal"), every_step()],
    }
    model = sequential(*layers[chain], steps=None, spread=0.25)
    x = [one[:length] for one, length in zip(sequences(), (12, 7, 9), strict=False)]
    allowed = {None: 1e-5, "int16x8": 0.05, "int8": 0.4}[quantization]
    answers = export.convert(model, x, quantization=quantization).predict(x)
    for one, answer in zip(x, answers, strict=True):
        np.testing.assert_allclose(answer, answers_of(model, one[np.newaxis])[0], atol=allowed)


@pytest.mark.parametrize("steps", [11, 13, 24])
@pytest.mark.parametrize("body", [flattened_at_the_end, of_a_model_inside])
def test_other_lengths_than_layers_depend_on_are_refused(body, steps):
    inputs = LAYERS.Input((STEPS, CHANNELS))
    model = keras.Model(inputs, body(inputs))
    deployed = export.convert(model, quantization=None)
    with pytest.raises(ValueError, match=r"expected numbers of shape \(batch, 12, 3\)"):
        deployed.predict(sequences(2, steps=steps))
    with pytest.raises(ValueError, match="Layers of it depend on that number"):
        deployed.predict([sequences(2, steps=n)[0] for n in (12, steps)])


@st.composite
def random_windows(draw):
    """Classes and arguments of layers with windows of all kinds, and recurrent ones between."""
    number = st.integers
    layers, frames, before_recurrent = [], 40, True
    for _ in range(draw(number(1, 4))):
        kind = draw(st.sampled_from(["conv", "conv", "depthwise", "pool", "mean", "dense", "rnn"]))
        length, dilation = draw(number(1, 4)), draw(number(1, 2))
        stride = draw(number(1, 3)) if before_recurrent and dilation == 1 else 1
        frames = (frames - (length - 1) * dilation) // stride
        if frames < 3:
            break
        padding = draw(st.sampled_from(["causal", "valid"]))
        function = {"activation": draw(st.sampled_from(["relu", "tanh", "linear", "leaky_relu"]))}
        if kind == "conv":
            options = {"strides": stride, "dilation_rate": dilation, "padding": padding}
            layers.append(("Conv1D", [draw(number(1, 5)), length], {**options, **function}))
        elif kind == "depthwise":
            layers.append(("DepthwiseConv1D", [length], {"strides": stride, **function}))
        elif kind in ("pool", "mean"):
            name = "MaxPooling1D" if kind == "pool" else "AveragePooling1D"
            layers.append((name, [length, stride], {}))
        elif kind == "dense":
            layers.append(("Dense", [draw(number(1, 5))], function))
        else:
            layers.append(("GRU", [draw(number(1, 5))], {"return_sequences": True}))
            before_recurrent = False
    last = draw(st.sampled_from([None, "GlobalMaxPooling1D", "GlobalAveragePooling1D"]))
    layers.append(("SimpleRNN", [draw(number(1, 4))], {"return_sequences": last is not None}))
    return [*layers, *([(last, [], {})] if last else []), ("Dense", [2], {})]


@needs_tflm
@pytest.mark.filterwarnings("ignore::keras_fastgrnn.export.SaturationWarning")
@pytest.mark.filterwarnings("ignore::keras_fastgrnn.export.PrecisionWarning")
@settings(max_examples=30, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(layers=random_windows())
def test_random_windows_are_computed_everywhere_as_in_keras(layers):
    chain = [getattr(LAYERS, name)(*sizes, **options) for name, sizes, options in layers]
    model = sequential(*chain, steps=40, spread=0.4)
    x = sequences(8, steps=40)
    try:
        of_floats = export.convert(model, quantization=None)
    except export.UnsupportedLayerError as refusal:
        assert "before strides" in str(refusal)
        assume(False)
    expected = answers_of(model, x)
    deviation = max(1.0, float(expected.std()))
    np.testing.assert_allclose(of_floats.predict(x), expected, atol=1e-4 * deviation)
    far = np.concatenate([x, 20.0 * x])
    for quantization in ("int16x8", "int8"):
        deployed = export.convert(model, x, quantization=quantization)
        np.testing.assert_array_equal(deployed.predict(far), deployed.predict(far, on="reference"))
    compiled = export.convert_c(model, x)
    np.testing.assert_array_equal(compiled.predict(far), compiled.predict(far, on="reference"))


def test_sequences_too_short_for_a_window_are_refused_in_one_line():
    model = sequential(LAYERS.Conv1D(4, 5), FastGRNN(4), steps=None)
    with pytest.raises(ValueError, match="at least 5 steps, which the windows .* got 4 in x") as e:
        export.convert(model, sequences(), quantization=None).predict(sequences(steps=4))
    assert "\n" not in str(e.value)


REFUSED = {
    "same, later": (
        lambda: [LAYERS.Dense(3), LAYERS.Conv1D(4, 3, padding="same"), FastGRNN(4)],
        "padding='same' pads what another layer computes",
    ),
    "strides after a recurrent layer": (
        lambda: [every_step(), LAYERS.Conv1D(4, 3, strides=2), FastGRNN(4)],
        "a step has 2 frames of it; put the layers that stride before it",
    ),
    "masked": (
        lambda: [LAYERS.Masking(), every_step(), LAYERS.Conv1D(4, 3)],
        "behind masking its windows take padded steps in",
    ),
    "causal after valid, before strides": (
        lambda: [
            LAYERS.Conv1D(4, 3),
            LAYERS.Conv1D(4, 3, padding="causal"),
            LAYERS.MaxPooling1D(2),
            FastGRNN(4),
        ],
        "it pads what comes after a layer without padding, before strides",
    ),
    "mean behind a mask": (
        lambda: [LAYERS.Masking(), every_step(), LAYERS.GlobalAveragePooling1D()],
        "behind masking its windows take padded steps in",
    ),
    "a softmax before strides": (
        lambda: [LAYERS.Dense(4, "softmax"), LAYERS.MaxPooling1D(2), FastGRNN(4)],
        "a softmax before strides; leave it out",
    ),
}


if not IS_TF_KERAS:  # which builds no such model
    REFUSED["pooling of each step"] = (
        lambda: [every_step(), LAYERS.TimeDistributed(LAYERS.GlobalMaxPooling1D())],
        "runs the GlobalMaxPooling1D in it on each step for itself; use it without",
    )


@pytest.mark.filterwarnings("ignore:Layer 'conv1d.*was passed an input with a mask")
@pytest.mark.parametrize("name", REFUSED)
def test_what_no_step_can_compute_is_refused(name):
    chain, reason = REFUSED[name]
    layers = chain()
    if isinstance(layers[0], LAYERS.Masking):
        layers[0] = LAYERS.Masking(name="masking")
    with pytest.raises(export.UnsupportedLayerError) as told:
        export.convert(sequential(*layers), quantization=None)
    assert reason in str(told.value)


def test_branches_of_other_windows_are_refused():
    inputs = LAYERS.Input((None, CHANNELS))
    branches = [LAYERS.Conv1D(3, 3, padding="same")(inputs), inputs]
    model = keras.Model(inputs, FastGRNN(3)(LAYERS.Add()(branches)))
    with pytest.raises(export.UnsupportedLayerError, match="comes after windows of other frames"):
        export.convert(model, quantization=None)


def test_quantization_aware_training_refuses_them_by_name():
    model = sequential(LAYERS.Conv1D(4, 3, name="first"), FastGRNN(4))
    with pytest.raises(ValueError, match=r"got first \(Conv1D\)"):
        quantize_aware(model)


def test_the_report_says_how_to_feed_strides_and_padding():
    model = sequential(*CHAINS["same, strides"]())
    notes = " ".join(export.convert(model, quantization=None).report.notes)
    assert "A step takes 2 frames of the data at once" in notes
    assert "Leave out the answer to the first step of a sequence" in notes
    assert "After the 12 frames of a sequence feed 2 of zeros" in notes
