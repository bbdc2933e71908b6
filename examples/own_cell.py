"""A recurrent cell of your own on handwritten digits: trained, rounded in training, exported.

The cell is in minimal_gated.py, one file. The model is trained, trained on with the device's
rounding, exported, and every test digit runs on TFLite Micro itself.

    python examples/own_cell.py --output build/own_cell
"""

import sys

sys.path.append(sys.path.pop(0))  # keyword.py beside this script must not hide Python's own

from digits import load
from example_common import (
    WHERE,
    command_line,
    exported_row,
    keras_row,
    make,
    parse,
    print_table,
    write_results,
)
from minimal_gated import MinimalGatedCell

from keras_fastgrnn import export, keras
from keras_fastgrnn.quantization import quantize_aware


def trained(model, rate, x, y, epochs):
    """Trains a model, and returns it."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
    model.fit(x, y, batch_size=32, epochs=epochs, verbose=2)
    return model


def main():
    arguments = parse(command_line(__doc__, "build/own_cell", epochs=40))
    make(arguments.output)
    x_train, x_test, y_train, y_test = load()
    keras.utils.set_random_seed(0)
    layers = keras.layers.RNN(MinimalGatedCell(16)), keras.layers.Dense(10)
    model = keras.Sequential([keras.layers.Input(x_train.shape[1:]), *layers])
    trained(model, 1e-2, x_train, y_train, arguments.epochs)
    classes = model.predict(x_test, verbose=0).argmax(axis=1)
    rows = [keras_row(classes, y_test)]
    for quantization in ("int16x8", "int8"):
        aware = quantize_aware(model, quantization, calibration_data=x_train[:300])
        trained(aware, 1e-3, x_train, y_train, max(1, arguments.epochs // 10))
        deployed = export.convert(aware, name="digits")
        answers = deployed.predict(x_test, on=WHERE).argmax(axis=1)
        deployed.save(arguments.output / quantization, overwrite=True)
        expected = aware.predict(x_test, verbose=0).argmax(axis=1)
        rows.append(exported_row(quantization, deployed, answers, expected, y_test))
    print_table(rows, f"{len(x_test)} test digits")
    write_results(rows, arguments.output)
    print(f"\nWritten to {arguments.output}/: results.json, and in int16x8/ and int8/ the .tflite")
    print("file, its C array and header, and a report.")


if __name__ == "__main__":
    main()
