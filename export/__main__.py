"""`python -m keras_fastgrnn.export`."""

from keras_fastgrnn.export.cli import command

if __name__ == "__main__":
    command()
