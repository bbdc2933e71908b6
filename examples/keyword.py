"""Keywords in log-mel frames: train in Keras, export, run on TFLite Micro.

A second of speech is 49 frames of 16 log-mel energies, a byte each: "yes", "no" or another word.
The model learns to answer after every frame and is exported as float32, int16x8 and int8; every
test clip, of speakers it never heard, runs on TFLite Micro itself. Firmware gives it the front
end's bytes less 128, the faintest and loudest few clipped: int8 of scale 1 and zero point 0.

    python examples/keyword.py --data kws4_logmel_u8.npz --output build/keyword
"""

import sys

sys.path.append(sys.path.pop(0))  # this file must not hide Python's own module of its name

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from example_common import (
    SHARED,
    WHERE,
    command_line,
    end,
    exported_row,
    keras_row,
    make,
    parse,
    print_table,
    probabilities,
    told_in_one_line,
    write_results,
)

from keras_fastgrnn import FastGRNN, export, keras
from keras_fastgrnn.quantization.int8_scales import int8_scale_for

WORDS = ("yes", "no", "unknown")
PARTS = ("train", "validation", "test")
FRAME_SECONDS = 0.02
LIMIT = round(1.0 / int8_scale_for(-1.0, 1.0).scale)  # int8 of this range has the scale 1
DATA = SHARED / "kws4_logmel_u8.npz"
EXPORTS = {
    "float32": {"quantization": None},
    "int16x8": {"quantization": "int16x8", "input_type": "int8"},
    "int8": {"quantization": "int8"},
}


def load(path):
    """Reads the clips of `WORDS`; returns clips and labels of each part by its name."""
    with np.load(path) as archive:
        clips, labels, part = archive["x"], archive["label"].astype(int), archive["split"]
    if clips.dtype != np.uint8 or clips.ndim != 3:
        raise ValueError(f"expected x as uint8 (clips, frames, energies), got {clips.dtype}")
    x = np.clip(clips.astype("float32") - 128.0, -LIMIT, LIMIT)
    chosen = [(part == index) & (labels < len(WORDS)) for index in range(len(PARTS))]
    return {name: (x[mask], labels[mask]) for name, mask in zip(PARTS, chosen, strict=True)}


def train(clips, validation, epochs):
    """Trains a FastGRNN of 32 units; late answers count more than early ones. Returns it."""
    keras.utils.set_random_seed(0)
    (x, labels), (x_validation, y_validation) = clips, validation
    frames = x.shape[1]
    model = keras.Sequential(
        [
            keras.layers.Input(x.shape[1:]),
            keras.layers.Rescaling(1.0 / x.std(), -x.mean() / x.std()),
            FastGRNN(32, return_sequences=True),
            keras.layers.Dense(len(WORDS)),
        ]
    )
    updates = epochs * -(-len(x) // 50)
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-2, updates)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=True,
    )
    every_frame = np.repeat(labels[:, np.newaxis], frames, axis=1)
    weight = 3.0 * np.square(np.arange(1, frames + 1) / frames)
    weights = np.broadcast_to(weight, every_frame.shape)
    model.fit(x, every_frame, sample_weight=weights, batch_size=50, epochs=epochs, verbose=2)
    accuracy = np.mean(last_classes(model.predict(x_validation, verbose=0)) == y_validation)
    print(f"\nvalidation clips, other speakers: {100 * accuracy:.2f} %")
    return model


def last_classes(logits):
    """Returns the class that is likeliest after the last frame."""
    return logits[:, -1].argmax(axis=1)


def run(model, calibration, x, labels, folder):
    """Exports the model in every format and runs clips; returns them and the table's rows."""
    expected = last_classes(model.predict(x, verbose=0))
    rows = [keras_row(expected, labels)]
    deployed = {}
    for label, options in EXPORTS.items():
        exported = export.convert(model, calibration, **options, name="keyword")
        exported.save(folder / label, overwrite=True)
        print(f"\n{exported.report}")
        classes = last_classes(exported.predict(x, on=WHERE))
        rows.append(exported_row(label, exported, classes, expected, labels))
        deployed[label] = exported
    return deployed, rows


def draw(deployed, x, labels, path):
    """Draws the first clip of each word above what the exported model believes, frame by frame."""
    figure, axes = plt.subplots(
        2, len(WORDS), figsize=(10, 4.2), sharex=True, sharey="row", constrained_layout=True
    )
    for column, word in enumerate(WORDS):
        clip = x[labels == column][0]
        believed = probabilities(deployed.predict(clip[np.newaxis], on=WHERE)[0])
        seconds = FRAME_SECONDS * np.arange(len(clip) + 1)
        axes[0, column].pcolormesh(seconds, np.arange(clip.shape[1] + 1), clip.T, cmap="magma")
        axes[0, column].set_title(f'"{word}"' if word != "unknown" else "another word")
        for belief, name in zip(believed.T, WORDS, strict=True):
            axes[1, column].plot(seconds[1:], belief, label=name)
        axes[1, column].set(xlabel="seconds", ylim=(-0.02, 1.02))
    axes[0, 0].set_ylabel("mel band")
    axes[1, 0].set_ylabel("probability")
    axes[1, -1].legend(loc="center right")
    figure.suptitle(f"int16x8 model of {deployed.report.file_bytes:,} bytes on test clips")
    figure.savefig(path, dpi=120)


def parse_arguments():
    """Returns the command line's arguments."""
    parser = command_line(__doc__, "build/keyword", epochs=20)
    add = parser.add_argument
    add(
        "--data",
        type=Path,
        help="an .npz of x (clips, 49, 16) uint8, label (0 to 2), split (0 "
        "train, 1 validation, 2 test)",
    )
    add("--quick", action="store_true", help="5 epochs and a part of the test, to try it out")
    arguments = parse(parser)
    if arguments.data is None:
        if not DATA.is_file():
            end("no data; give --data, an .npz as --help describes")
        arguments.data = DATA
    return arguments


def main():
    arguments = parse_arguments()
    with told_in_one_line(f"cannot read {arguments.data} as log-mel clips"):
        parts = load(arguments.data)
    make(arguments.output)
    x_test, y_test = parts["test"]
    if arguments.quick:
        x_test, y_test, arguments.epochs = x_test[::5], y_test[::5], 5
    model = train(parts["train"], parts["validation"], arguments.epochs)
    model.save(arguments.output / "keyword.keras")
    calibration = parts["train"][0][::5].copy()
    calibration[0, 0, :2] = -LIMIT, LIMIT  # whatever these clips reach
    deployed, rows = run(model, calibration, x_test, y_test, arguments.output)
    print_table(rows, f"{len(x_test)} test clips")
    draw(deployed["int16x8"], x_test, y_test, arguments.output / "keyword.png")
    write_results(rows, arguments.output)
    print(f"\nWritten to {arguments.output}/: keyword.png, results.json, keyword.keras, and in")
    print("float32/, int16x8/ and int8/ the .tflite file, its C files and a report.")


if __name__ == "__main__":
    main()
