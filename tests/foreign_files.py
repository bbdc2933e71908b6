"""TFLite files as other people make them: TensorFlow's own converter, in every quantization.

Run as a program, it writes them into a folder. The Keras flavor is that of the process: the fused
LSTM is made from tf_keras alone.
"""

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_fastgrnn import keras
from keras_fastgrnn.keras_api import IS_TF_KERAS

LAYERS = keras.layers


def image_model():
    """Convolutions, pools and a mean, as in models that wake on a word or see a person."""
    return keras.Sequential(
        [
            LAYERS.Input((8, 6, 2), batch_size=1),
            LAYERS.Conv2D(4, (3, 2), strides=(2, 1), padding="same", activation="relu"),
            LAYERS.DepthwiseConv2D(3, depth_multiplier=2, padding="valid", activation="relu6"),
            LAYERS.ZeroPadding2D(((1, 0), (2, 1))),
            LAYERS.MaxPooling2D(2, strides=1),
            LAYERS.AveragePooling2D((1, 2), padding="same"),
            LAYERS.Conv2D(8, 1, dilation_rate=1),
            LAYERS.GlobalAveragePooling2D(),
            LAYERS.Dense(3, activation="softmax"),
        ]
    )


def dilated_model():
    """One-dimensional convolutions, which are two-dimensional ones between reshapes."""
    return keras.Sequential(
        [
            LAYERS.Input((12, 3), batch_size=1),
            LAYERS.Conv1D(4, 3, padding="causal"),
            LAYERS.LeakyReLU(),
            LAYERS.SeparableConv1D(6, 3, activation="tanh"),
            LAYERS.MaxPooling1D(2),
            LAYERS.Permute((2, 1)),
            LAYERS.Flatten(),
            LAYERS.Dense(4, activation="sigmoid"),
        ]
    )


def lstm_model():
    """The fused operator, where tf_keras makes it."""
    return keras.Sequential(
        [
            LAYERS.Input((7, 5), batch_size=1),
            LAYERS.LSTM(6, return_sequences=True),
            LAYERS.Flatten(),
            LAYERS.Dense(3),
        ]
    )


def wide_lstm_model():
    """With matrices of 1,024 weights, which "dynamic" makes int8 and leaves the rest in floats."""
    return keras.Sequential([LAYERS.Input((4, 32), batch_size=1), LAYERS.LSTM(32), LAYERS.Dense(3)])


class Shapes(tf.Module):
    """What cuts, joins and turns arrays."""

    signature = (tf.TensorSpec((1, 4, 6), tf.float32),)

    def __call__(self, x):
        parts = tf.split(x, 2, axis=2)
        odd = tf.split(x, [1, 2, 3], axis=-1)
        rows = tf.unstack(x, axis=1)
        stacked = tf.stack([rows[3], rows[0], rows[2]], axis=1)
        window = tf.strided_slice(x, [0, 3, 1], [1, 0, 6], [1, -1, 2])
        padded = tf.pad(stacked, [[0, 0], [1, 2], [0, 1]])
        filled = tf.pad(stacked, [[0, 0], [1, 0], [2, 1]], constant_values=0.5)
        turned = tf.transpose(x, [0, 2, 1])
        picked = tf.gather(x, [5, 0, 3], axis=2)
        mean = tf.reduce_mean(x, [1, 2], keepdims=True)
        largest = tf.reduce_max(tf.expand_dims(tf.nn.elu(window), 1), 2)
        smallest = tf.reduce_min(picked, 1, keepdims=True)
        total = tf.reduce_sum(tf.squeeze(turned[:, :, 1:3], 0), 0)
        flat = [parts[0] * parts[1], odd[2][:, 1:], padded, filled, turned, picked, mean, largest]
        flat = [tf.reshape(part, (1, -1)) for part in [*flat, smallest, total, odd[0], odd[1]]]
        return tf.tanh(tf.concat([tf.concat(flat[:6], 1), tf.concat(flat[6:], 1)], 1))


class Elements(tf.Module):
    """What computes element by element, in floats."""

    signature = (tf.TensorSpec((2, 5), tf.float32),)

    def __call__(self, x):
        positive = tf.abs(x) + 1.0
        parts = [
            tf.exp(-positive), tf.math.log(positive), tf.sqrt(positive), tf.math.rsqrt(positive),
            tf.sin(x), tf.cos(x), tf.floor(x), tf.math.ceil(x), tf.round(x), -x, tf.square(x),
            tf.nn.relu(x), tf.nn.relu6(x), tf.nn.elu(x), x * tf.nn.relu6(x + 3.0) / 6.0,
            tf.maximum(x, 0.1), tf.minimum(x, positive), x / positive,
            tf.math.squared_difference(x, positive), tf.nn.log_softmax(x),
            tf.cast(tf.cast(x, tf.int32), tf.float32), tf.cast(x > 0.0, tf.float32),
            tf.math.l2_normalize(x, 1), tf.cast(tf.argmax(x, 1, tf.int32), tf.float32)[:, None],
        ]  # fmt: skip
        return tf.concat([tf.concat(parts[i::3], 1) for i in range(3)], 1)


class Variables(tf.Module):
    """A stream of frames with a buffer inside, three frames a call."""

    signature = (tf.TensorSpec((1, 3, 4), tf.float32),)

    def __init__(self):
        super().__init__()
        rng = np.random.default_rng(0)
        self.kept = tf.Variable(tf.fill((1, 2, 4), 0.5))
        self.weights = tf.constant(rng.normal(size=(20, 2)), tf.float32)

    def __call__(self, x):
        window = tf.concat([self.kept, x], 1)
        self.kept.assign(window[:, 3:])
        return tf.nn.sigmoid(tf.reshape(window, (1, 20)) @ self.weights)


MODELS = {
    "image": image_model,
    "1d": dilated_model,
    "lstm": lstm_model,
    "wide lstm": wide_lstm_model,
}
FUNCTIONS = {"shapes": Shapes, "elements": Elements, "variables": Variables}
FILES = {
    "image": ("float32", "int8", "int16x8"),
    "1d": ("float32", "int8"),
    "shapes": ("float32", "int8"),
    "elements": ("float32",),
    "variables": ("float32", "int8", "uint8"),
}
FILES_OF_TF_KERAS = {"lstm": ("float32", "int8"), "wide lstm": ("dynamic",)}


def convert(name: str, quantization: str) -> bytes:
    """Returns a file as TensorFlow's converter writes it.

    Args:
        name: String, a key of `MODELS` or `FUNCTIONS`.
        quantization: String, as in `FILES`.
    """
    keras.utils.set_random_seed(0)
    if name in MODELS:
        model = MODELS[name]()
        shape = model.inputs[0].shape
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
    else:
        module = FUNCTIONS[name]()
        shape = module.signature[0].shape
        function = tf.function(module.__call__, input_signature=module.signature)
        converter = tf.lite.TFLiteConverter.from_concrete_functions(
            [function.get_concrete_function()], module
        )
    converter.experimental_enable_resource_variables = True
    if quantization != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantization in ("int8", "int16x8", "uint8"):
        rng = np.random.default_rng(0)
        samples = rng.normal(size=(20, *shape)).astype("float32")
        converter.representative_dataset = lambda: ([sample] for sample in samples)
        operators = {
            "int8": "TFLITE_BUILTINS_INT8",
            "uint8": "TFLITE_BUILTINS_INT8",
            "int16x8": "EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8",
        }
        converter.target_spec.supported_ops = [getattr(tf.lite.OpsSet, operators[quantization])]
        kind = {"int8": tf.int8, "uint8": tf.uint8, "int16x8": tf.int16}[quantization]
        converter.inference_input_type = converter.inference_output_type = kind
    return converter.convert()


def main(folder: str) -> None:
    files = FILES_OF_TF_KERAS if IS_TF_KERAS else FILES
    for name, quantizations in files.items():
        for quantization in quantizations:
            path = Path(folder, f"{name} {quantization}.tflite")
            path.write_bytes(convert(name, quantization))


if __name__ == "__main__":
    main(sys.argv[1])
