"""The rooms of the project: which may import which, and that ARCHITECTURE.md shows them all."""

import ast
from pathlib import Path

import pytest

# Each room may import those before it, and itself; `.` stands for the modules beside the rooms.
TRAINING = ["storage", ".", "graph", "quantization", "recipe"]
EXPORT = [
    "export.tflite",
    "export.tflm",
    "export.firmware",
    "export.foreign",
    "export.lowering",
    "export.plain_c",
    "export.report",
    "export",
]
ROOMS = [*TRAINING, *EXPORT]
PACKAGE = "keras_fastgrnn"

# What makes the public names of a package known is no part of the way of a model.
DOORS = {"keras_fastgrnn/__init__.py"}

# Modules beside the rooms that tell of a model which is rounded in training, or traced.
UPWARDS: dict[str, set[str]] = {}


def room_of(module: str) -> str:
    """The room of a dotted module name without the package: "graph.trace" is in "graph"."""
    found = [room for room in ROOMS if module == room or module.startswith(f"{room}.")]
    return max(found, key=len, default=".")


def modules(root: Path):
    """Every module of both packages: its file, and its dotted name without the package."""
    for folder, prefix in ((root / PACKAGE, ""), (root / "export", "export.")):
        for file in sorted(folder.rglob("*.py")):
            relative = file.relative_to(folder)
            if prefix == "" and relative.parts[0] == "export":
                continue
            name = prefix + ".".join(relative.with_suffix("").parts)
            yield file, name.removesuffix(".__init__").removesuffix("__init__") or "."


def imported(node) -> list[str]:
    """The modules of ours that an import names, without the package."""
    if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
        names = [f"{node.module}.{one.name}" for one in node.names]
    elif isinstance(node, ast.Import):
        names = [one.name for one in node.names]
    else:
        return []
    return [n.removeprefix(f"{PACKAGE}.") for n in names if n.split(".")[0] == PACKAGE]


def imports(root: Path):
    for file, module in modules(root):
        if file.relative_to(root).as_posix() in DOORS:
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            for name in imported(node):
                yield file.relative_to(root), module, name


def test_rooms_import_those_before_them_alone(root):
    wrong = [
        f"{file} imports {name}"
        for file, module, name in imports(root)
        if ROOMS.index(room_of(name)) > ROOMS.index(room_of(module))
    ]
    assert not wrong, "\n".join(wrong)


def test_training_never_imports_the_exporter(root):
    found = [
        file
        for file, module, name in imports(root)
        if room_of(module) in TRAINING and room_of(name) in EXPORT
    ]
    assert not found


def test_no_import_of_ours_stands_in_a_function(root):
    inside = [
        f"{file.relative_to(root)}: {function.name}"
        for file, _ in modules(root)
        for function in ast.walk(ast.parse(file.read_text()))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if imported(node)
    ]
    assert not inside


@pytest.mark.parametrize("room", [room for room in ROOMS if room != "."])
def test_page_of_the_architecture_names_every_room(room, root):
    page = (root / "ARCHITECTURE.md").read_text()
    assert f"`{room.replace('.', '/')}/`" in page or f"    {room.split('.')[-1]}/" in page


def test_every_folder_of_modules_is_a_room(root):
    folders = {room_of(module) for _, module in modules(root)}
    found = {
        ".".join(file.parent.relative_to(root / PACKAGE).parts)
        for file, module in modules(root)
        if (root / PACKAGE) in file.parents
    } - {""}
    assert folders <= set(ROOMS)
    assert {folder.split(".")[0] for folder in found} <= set(TRAINING)
