"""Human activity on UCI HAR: train in Keras, export, run on TFLite Micro, stream for minutes.

Six activities from a phone at the waist, windows of 128 steps of 9 channels at 50 Hz. The model
learns to answer at every step, is exported as float32, int16x8 and int8, and every test window runs
on TFLite Micro itself. Then the int16x8 model streams the continuous recordings (HAPT) of the test
subjects, whose labels include what happens between the activities.

    python examples/har.py --data "UCI HAR Dataset" --hapt "HAPT Data Set" --output build/har
    python examples/har.py --download
"""

import sys

sys.path.append(sys.path.pop(0))  # keyword.py beside this script must not hide Python's own

import warnings
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import har_data
import matplotlib.pyplot as plt
import numpy as np
from example_common import (
    PLACE,
    WHERE,
    add_har,
    command_line,
    exported_row,
    find_har,
    keras_row,
    make,
    parse,
    print_table,
    told_in_one_line,
    write_results,
)
from har_data import ACTIVITIES, CHANNELS, RATE, STEPS, UNLABELED

from keras_fastgrnn import FastGRNN, export, keras


def train(windows, held_out, epochs):
    """Trains a FastGRNN of 32 units that answers at every step; returns it."""
    keras.utils.set_random_seed(0)
    x, activity = windows.x, windows.activity
    model = keras.Sequential(
        [
            keras.layers.Input(x.shape[1:]),
            keras.layers.Normalization(mean=x.mean(axis=(0, 1)), variance=x.var(axis=(0, 1))),
            FastGRNN(32, return_sequences=True),
            keras.layers.Dense(len(ACTIVITIES)),
        ]
    )
    updates = epochs * -(-len(x) // 100)
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-2, updates)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=True,
    )
    at_every_step = np.repeat(activity[:, np.newaxis], STEPS, axis=1)
    model.fit(x, at_every_step, batch_size=100, epochs=epochs, verbose=2)
    logits = model.predict(held_out.x, verbose=0)[:, -1]
    accuracy = np.mean(logits.argmax(axis=1) == held_out.activity)
    print(f"\nafter {STEPS} steps, subjects held out of training: {100 * accuracy:.2f} %")
    return model


def convert(model, x, folder):
    """Exports the model in three formats, prints and saves each; returns them by name."""
    deployed = {}
    for label in ("float32", "int16x8", "int8"):
        quantization = None if label == "float32" else label
        deployed[label] = export.convert(model, x, quantization=quantization, name="har")
        deployed[label].save(folder / label, overwrite=True)
        print(f"\n{deployed[label].report}")
    return deployed


def compare(model, deployed, windows):
    """Runs windows in Keras and on TFLite Micro; returns the table's rows."""
    expected = model.predict(windows.x, verbose=0)[:, -1].argmax(axis=1)
    rows = [keras_row(expected, windows.activity)]
    for label, exported in deployed.items():
        classes = exported.predict(windows.x, on=WHERE)[:, -1].argmax(axis=1)
        rows.append(exported_row(label, exported, classes, expected, windows.activity))
    return rows


def stream(deployed, recordings, reset):
    """Runs whole recordings; returns one activity a step of each, smoothed, and its warnings.

    Every `STEPS` steps the answer is taken, and the state reset where `reset` says so. The answer
    stands for the steps before it, unless those before and after agree on another: a majority of
    three, which a device knows `STEPS` steps later.
    """
    counts = [len(recording.x) // STEPS for recording in recordings]
    whole = [recording.x[: n * STEPS] for recording, n in zip(recordings, counts, strict=True)]
    if reset:
        batch = np.concatenate(whole).reshape(-1, STEPS, len(CHANNELS))
    else:  # runs of one length: the shorter ones begin again, and what that adds is not used
        longest = max(map(len, whole))
        batch = np.stack([np.pad(x, ((0, longest - len(x)), (0, 0)), "wrap") for x in whole])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", export.SaturationWarning)
        answers = deployed.predict(batch, on=WHERE)[:, STEPS - 1 :: STEPS].argmax(axis=2)
    if reset:
        answers = np.split(answers[:, 0], np.cumsum(counts)[:-1])
    smoothed = []
    for answer, count in zip(answers, counts, strict=True):
        before, after = answer[: count - 2], answer[2:count]
        middle = np.where(before == after, before, answer[1 : count - 1])
        majority = np.concatenate([answer[:1], middle, answer[count - 1 : count]])
        smoothed.append(np.repeat(majority, STEPS))
    return smoothed, [str(warning.message) for warning in caught]


def accuracy_by_activity(recordings, answers):
    """Returns the part of labeled steps that is right: of all, and of each activity."""
    true = np.concatenate([r.activity[: len(a)] for r, a in zip(recordings, answers, strict=True)])
    right = true == np.concatenate(answers)
    by_activity = {name: float(right[true == i].mean()) for i, name in enumerate(ACTIVITIES)}
    return {"all": float(right[true != UNLABELED].mean()), **by_activity}


def choose_reset(deployed, recordings):
    """Streams the recordings of held-out subjects both ways; returns which way is better."""
    accuracy = {}
    for reset, way in ((True, f"reset every {STEPS} steps"), (False, "never reset")):
        answers, notes = stream(deployed, recordings, reset)
        accuracy[reset] = accuracy_by_activity(recordings, answers)["all"]
        print(f"held-out recordings, {way}: {100 * accuracy[reset]:.2f} %", *notes, sep="\n  ")
    return accuracy[True] >= accuracy[False]


def draw(recording, answer, path):
    """Draws one recording: acceleration, the labels, and what the exported model says."""
    colors = plt.get_cmap("tab10").colors[: len(ACTIVITIES)]
    minutes = np.arange(len(answer)) / RATE / 60
    figure, axes = plt.subplots(
        3, sharex=True, figsize=(10, 4), height_ratios=(2.2, 1, 1), constrained_layout=True
    )
    lines = recording.x[: len(answer), CHANNELS.index("total_acc_x") :]
    for line, axis, gray in zip(lines.T, "xyz", ("0.1", "0.45", "0.7"), strict=True):
        axes[0].plot(minutes, line, color=gray, linewidth=0.5, label=axis)
    axes[0].set_ylabel("acceleration (g)")
    axes[0].legend(loc="upper right", ncols=3)
    for band, name, activity in zip(
        axes[1:], ("labels", "model"), (recording.activity[: len(answer)], answer), strict=True
    ):
        for index, color in enumerate(colors):
            band.fill_between(minutes, 0, 1, where=activity == index, color=color, linewidth=0)
        band.set(ylim=(0, 1), yticks=[])
        band.set_ylabel(name, rotation=0, ha="right", va="center")
    axes[-1].set(xlabel="minutes", xlim=(0, minutes[-1]))
    handles = [plt.Rectangle((0, 0), 1, 1, color=color) for color in colors]
    figure.legend(handles, ACTIVITIES, loc="outside lower center", ncols=6, frameon=False)
    figure.suptitle(f"Test subject {recording.subject}: int16x8 model on {PLACE}")
    figure.savefig(path, dpi=120)


def stream_subjects(deployed, held_out, test, picture):
    """Chooses on held-out subjects whether to reset, then streams the test subjects once."""
    reset = choose_reset(deployed, held_out)
    answers, notes = stream(deployed, test, reset)
    accuracy = accuracy_by_activity(test, answers)
    minutes = sum(len(recording.x) for recording in test) / RATE / 60
    print(f"\n{len(test)} recordings of test subjects, {minutes:.0f} minutes:", *notes, sep="\n  ")
    print(*(f"  {name:10} {100 * part:6.2f} %" for name, part in accuracy.items()), sep="\n")
    draw(test[0], answers[0], picture)
    return {"reset": bool(reset), "minutes": minutes, "accuracy": accuracy}


def parse_arguments():
    """Returns the command line's arguments, with the data's places filled in."""
    parser = command_line(__doc__, "build/har", epochs=15)
    add_har(parser, har_data.CACHE)
    parser.add_argument("--hapt", type=Path, help="HAPT's recordings: unpacked folder, or an .npz")
    parser.add_argument("--quick", action="store_true", help="a part of the data, to try it out")
    files = {"data": "uci_har.npz", "hapt": "hapt_raw.npz"}
    return find_har(parse(parser), files, har_data.download)


def main():
    arguments = parse_arguments()
    with told_in_one_line(f"cannot read {arguments.data} as UCI HAR"):
        windows = har_data.load_windows(arguments.data)
    training, test = windows.part(~windows.is_test), windows.part(windows.is_test)
    held_out, testers = np.unique(training.subject)[::4], np.unique(test.subject)
    if arguments.quick:
        training, test = training.part(slice(None, None, 4)), test.part(slice(None, None, 10))
        held_out, testers, arguments.epochs = held_out[:1], testers[:1], 5
    if arguments.hapt is not None:
        with told_in_one_line(f"cannot read {arguments.hapt} as HAPT"):
            recordings = [har_data.load_recordings(arguments.hapt, s) for s in (held_out, testers)]
    folder = arguments.output
    make(folder)

    is_held_out = np.isin(training.subject, held_out)
    fitted = training.part(~is_held_out)
    model = train(fitted, training.part(is_held_out), arguments.epochs)
    model.save(folder / "har.keras")
    deployed = convert(model, fitted.x[::20], folder)

    results = {"windows": compare(model, deployed, test)}
    print_table(results["windows"], f"{len(test.x)} test windows")
    if arguments.hapt is None:
        print("\nNo continuous recordings to stream; give --hapt, or --download.")
    else:
        picture = folder / "har.png"
        results["stream"] = stream_subjects(deployed["int16x8"], *recordings, picture)
    write_results(results, folder)
    print(f"\nWritten to {folder}/: results.json, har.keras, har.png where it streamed, and in")
    print("float32/, int16x8/ and int8/ the .tflite file, its C files and a report.")


if __name__ == "__main__":
    main()
