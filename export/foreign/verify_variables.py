"""Rules of resource variables: a handle names a buffer, which other operators read and assign.

TFLite Micro makes the buffer with the bytes of the first value that is assigned to it, and copies
as many whenever it reads or assigns.
"""

from keras_fastgrnn.export.tflite.schema import TYPE_BITS
from keras_fastgrnn.graph.operators.file_calls import CheckedTensor, OperatorCall

HANDLE, READ, ASSIGN = "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE"


def _handle(call: OperatorCall) -> None:
    (y,) = call.outputs
    call.require(y.size == 1, f"its handle has the shape {list(y.shape)}")
    name, container = call.option("shared_name"), call.option("container")
    for text in (name, container):
        # The kernel compares up to the first byte 0; unprintable characters are replaced here.
        fits = not text or (text.isprintable() and "\N{REPLACEMENT CHARACTER}" not in text)
        call.require(fits, f"its name {text!r} is not printable")
    call.require(isinstance(name, str), "its variable has no name")


def _use(call: OperatorCall) -> None:
    """What it reads or assigns is compared with all others', in `check_variables`."""
    call.require(call.operand(0).size == 1, "its handle is not one number")


def check_variables(graphs: list[list[OperatorCall]]) -> None:
    """Checks that all uses of a variable are of one size, and that it is assigned somewhere.

    Args:
        graphs: List of the operators of every subgraph.

    Raises:
        MalformedModelError: If a buffer would be read or written past its end.
    """
    handles = [call for calls in graphs for call in calls if call.name == HANDLE]
    containers = {call.option("container") is None for call in handles}
    for call in handles:
        call.require(len(containers) == 1, "its variable has no container, and another's has")
    uses: dict[tuple, list[tuple[OperatorCall, CheckedTensor]]] = {}
    for calls in graphs:
        names = {}
        for call in calls:
            if call.name == HANDLE:
                names[call.outputs[0]] = call.option("container"), call.option("shared_name")
            elif call.name in (READ, ASSIGN):
                handle = call.operand(0)
                if handle not in names:
                    raise call.refusal(f"{handle.name} is no handle of the same subgraph")
                name = names[handle]
                value = call.outputs[0] if call.name == READ else call.operand(1)
                uses.setdefault(name, []).append((call, value))
            else:
                for tensor in call.inputs:
                    if tensor is not None and tensor in names:
                        raise call.refusal(f"{tensor.name} is a variable's handle")
    for found in uses.values():
        _check_uses(found)


def _check_uses(found) -> None:
    assigned = [value for call, value in found if call.name == ASSIGN]
    for call, value in found:
        call.require(assigned, "its variable is never assigned")
        kinds = [(t.type, t.size * TYPE_BITS[t.type]) for t in (value, assigned[0])]
        what = f"{value.name} and {assigned[0].name} are one variable and differ in type or size"
        call.require(kinds[0] == kinds[1], what)


RULES = {HANDLE: _handle, READ: _use, ASSIGN: _use}
