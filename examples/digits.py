"""The whole way on handwritten digits: train in Keras, export, run on TFLite Micro.

Scikit-learn's digits are read row by row, as a sensor would deliver them: 8 steps of 8 pixels.
The model is exported as float32 and as int16x8, every test digit runs on TFLite Micro itself, and
the files a firmware needs are written with a picture.

    python examples/digits.py --output build/demo
"""

import sys

sys.path.append(sys.path.pop(0))  # keyword.py beside this script must not hide Python's own

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from example_common import (
    WHERE,
    command_line,
    exported_row,
    keras_row,
    make,
    parse,
    print_table,
    probabilities,
    write_results,
)
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from keras_fastgrnn import FastGRNN, export, keras


def load():
    """Returns training and test digits as sequences of 8 rows, and their labels."""
    digits = load_digits()
    x = (digits.images / 16.0).astype("float32")
    return train_test_split(
        x, digits.target, test_size=0.25, random_state=0, stratify=digits.target
    )


def train(x, y, epochs):
    """Trains a FastGRNN of 20 units, with the learning rate of the paper."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.layers.Input(x.shape[1:]), FastGRNN(20), keras.layers.Dense(10)]
    )
    steps = epochs * -(-len(x) // 32)
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-2, steps)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(x, y, batch_size=32, epochs=epochs, verbose=2)
    return model


def run(model, x_train, x_test, y_test, folder):
    """Exports the model in both formats and runs the test digits; returns the table's rows."""
    keras_logits = model.predict(x_test, verbose=0)
    rows = [keras_row(keras_logits.argmax(1), y_test)]
    for quantization in (None, "int16x8"):
        label = quantization or "float32"
        deployed = export.convert(model, x_train[:300], quantization=quantization, name="digits")
        logits = deployed.predict(x_test, on=WHERE)
        deployed.save(folder / label, overwrite=True)
        print(f"\n{deployed.report}")
        rows.append(exported_row(label, deployed, logits.argmax(1), keras_logits.argmax(1), y_test))
        rows[-1]["largest_difference"] = np.abs(logits - keras_logits).max()
    return deployed, rows


def draw(deployed, x, y, path):
    """Draws digits beside what the exported model believes after each of their rows."""
    figure, axes = plt.subplots(2, 5, figsize=(10, 4.2), constrained_layout=True)
    chosen = [int(np.flatnonzero(y == digit)[0]) for digit in range(5)]
    for column, index in enumerate(chosen):
        prefixes = [deployed.predict(x[index : index + 1, :n], on=WHERE)[0] for n in range(1, 9)]
        believed = probabilities(np.array(prefixes))
        axes[0, column].imshow(x[index], cmap="gray_r", extent=(-0.5, 7.5, 8.5, 0.5))
        axes[0, column].set(title=f"a {y[index]}", xticks=[])
        axes[1, column].imshow(
            believed, cmap="Blues", vmin=0, vmax=1, aspect="auto", extent=(-0.5, 9.5, 8.5, 0.5)
        )
        axes[1, column].set(xticks=range(10), xlabel="digit")
    axes[0, 0].set_ylabel("row")
    axes[1, 0].set_ylabel("rows seen")
    figure.suptitle(
        f"int16x8 model of {deployed.report.file_bytes:,} bytes: probability of each digit, "
        "row by row"
    )
    figure.savefig(path, dpi=120)


def main():
    arguments = parse(command_line(__doc__, "build/demo", epochs=60))
    make(arguments.output)
    x_train, x_test, y_train, y_test = load()
    model = train(x_train, y_train, arguments.epochs)
    model.save(arguments.output / "digits.keras")
    deployed, rows = run(model, x_train, x_test, y_test, arguments.output)
    print_table(rows, f"{len(x_test)} test digits")
    draw(deployed, x_test, y_test, arguments.output / "digits.png")
    write_results(rows, arguments.output)
    print(f"\nWritten to {arguments.output}/: digits.png, results.json, digits.keras, and in")
    print("float32/ and int16x8/ the .tflite file, its C array and header, and a report.")


if __name__ == "__main__":
    main()
