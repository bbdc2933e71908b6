"""Runs models on TFLite Micro for the process that started it; `tflm_process` is that process.

It imports nothing of this project, so that it starts fast, and may crash without harm. A message
is a line of JSON, whose "arrays" are the sizes of the arrays that follow in NumPy's own format.
"""

import io
import json
import os
import resource
import sys
import tempfile

import numpy as np

# More than any model that fits a microcontroller needs, on top of what the imports took.
MEMORY = 1 << 30
LONGEST_MESSAGE = 300


def receive(stream):
    """Returns the header and the arrays of the next message, or raises EOFError."""
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    header = json.loads(line)
    contents = [io.BytesIO(stream.read(size)) for size in header.pop("arrays")]
    return header, [np.load(content, allow_pickle=False) for content in contents]


def send(stream, header, arrays=()):
    """Writes a message."""
    contents = [io.BytesIO() for _ in arrays]
    for content, array in zip(contents, arrays, strict=True):
        np.save(content, array, allow_pickle=False)
    sizes = [content.tell() for content in contents]
    stream.write(json.dumps({**header, "arrays": sizes}).encode() + b"\n")
    for content in contents:
        stream.write(content.getbuffer())
    stream.flush()


def run(interpreter, inputs, outputs, feedback):
    """Runs one sequence and returns every step of every output.

    Args:
        interpreter: TFLite Micro's.
        inputs: List of arrays, an input's values for every step; of an input that is fed back,
            for the first step alone.
        outputs: Integer, how many outputs the model has.
        feedback: List of pairs `(output, input)`: what was computed there goes in here next.
    """
    fed = {input_index for _, input_index in feedback}
    steps = max(len(x) for index, x in enumerate(inputs) if index not in fed)
    results = [[] for _ in range(outputs)]
    current = [x[0] for x in inputs]
    for step in range(steps):
        for index, x in enumerate(inputs):
            interpreter.set_input(current[index] if index in fed else x[step], index)
        interpreter.invoke()
        for index, result in enumerate(results):
            result.append(interpreter.get_output(index))
        for output_index, input_index in feedback:
            current[input_index] = results[output_index][-1]
    return [np.stack(result) for result in results]


def serve(runtime, requests, answers, messages):
    """Answers requests until there are no more."""
    interpreter = None
    while True:
        try:
            header, arrays = receive(requests)
        except EOFError:
            return
        messages.seek(0)  # of the file that TFLite Micro writes to, too
        messages.truncate()
        results = []
        try:
            if header["do"] == "load":
                model = arrays[0].tobytes()
                interpreter = None
                interpreter = runtime.Interpreter.from_bytes(model, arena_size=header["arena"])
            else:
                if interpreter is None:
                    raise ValueError("no model is loaded")
                if header["reset"]:
                    interpreter.reset()
                results = run(interpreter, arrays, header["outputs"], header["feedback"])
        except Exception as error:
            messages.seek(0)
            text = messages.read().decode(errors="replace") or f"{type(error).__name__}: {error}"
            send(answers, {"error": " ".join(text.split())[:LONGEST_MESSAGE]})
        else:
            send(answers, {}, results)


def limit_memory():
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, now + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main():
    """What TFLite Micro writes to standard output or error must not come between the answers."""
    from tflite_micro import runtime

    answers = os.fdopen(os.dup(1), "wb")
    with tempfile.TemporaryFile(buffering=0) as messages:
        os.dup2(messages.fileno(), 1)
        os.dup2(messages.fileno(), 2)
        limit_memory()
        send(answers, {"file": runtime.__file__})
        serve(runtime, sys.stdin.buffer, answers, messages)


if __name__ == "__main__":
    main()
