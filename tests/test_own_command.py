"""The terminal belongs to the command alone, and is left alone by every other program."""

CODE = """
import os, sys
before = os.fstat(2).st_ino, sys.stderr
import keras_fastgrnn
from keras_fastgrnn import own_command
assert not own_command.is_running()
assert (os.fstat(2).st_ino, sys.stderr) == before
print("left alone")
"""


def test_import_leaves_standard_error_alone(run_python):
    assert run_python("-c", CODE).strip() == "left alone"


def test_import_by_another_package_that_runs_as_a_module_leaves_it_alone(run_python, tmp_path):
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "__init__.py").write_text(CODE)
    (folder / "__main__.py").write_text("")
    assert run_python("-m", "theirs").strip() == "left alone"


def test_command_keeps_standard_error_to_python(run_python):
    code = """
import os, sys
sys.argv[0] = "/usr/bin/fastgrnn-export"
from keras_fastgrnn import own_command
assert own_command.is_running()
assert os.fstat(2).st_rdev == os.stat(os.devnull).st_rdev
assert sys.stderr.fileno() != 2
print("kept")
"""
    assert run_python("-c", code).strip() == "kept"
