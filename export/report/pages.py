"""Report -> Markdown and a picture: where the bytes are, and how far values reach."""

import io

from keras_fastgrnn.export.report.report import Report, TensorReport
from keras_fastgrnn.graph.graph import Constant, Graph
from keras_fastgrnn.graph.operators import operator_of

_PLAIN, _STATE, _CLIPPED, _OTHER = "#1f77b4", "#ff7f0e", "#d62728", "#9aa5b1"


def file_parts(report: Report, graph: Graph) -> dict[str, int]:
    """Returns what the bytes of the `.tflite` file are, by name; together they are the file.

    Args:
        report: `Report`.
        graph: The graph that was exported.

    Returns:
        Dictionary of each matrix's bytes, then "biases", "other constants" and "structure".
    """
    matrices, biases, others, seen = {}, 0, 0, set()
    for op in graph.ops:
        for place, tensor in enumerate(op.inputs):
            if not isinstance(tensor, Constant):
                continue
            data = tensor.data.astype(tensor.dtype).tobytes()
            if data in seen:  # equal constants are written once
                continue
            seen.add(data)
            if not operator_of(op.kind).has_matrix:
                others += len(data)
            elif place == 1:
                matrices[f"{op.output.name}: weights"] = len(data)
            else:
                biases += len(data)
    parts = {**matrices, "biases": biases, "other constants": others}
    parts["structure"] = report.file_bytes - sum(parts.values())
    return {name: size for name, size in parts.items() if size}


def markdown(report: Report, graph: Graph, picture_name: str) -> str:
    """Returns the report as Markdown.

    Args:
        report: `Report`.
        graph: The graph that was exported.
        picture_name: String, name of the picture's file in the same folder.

    Returns:
        String.
    """
    arena = "not measured" if report.arena_bytes is None else f"{report.arena_bytes:,} bytes"
    facts = [
        ("format", report.quantization or "float32"),
        ("one Invoke", {"streaming": "a time step", "sequence": "a sequence"}[report.mode]),
        ("state", {"variable": "inside", "explicit": "inputs and outputs"}[report.state]),
        ("file", f"{report.file_bytes:,} bytes"),
        ("arena", arena),
        ("multiply-accumulates a step", f"{report.multiply_accumulates:,}"),
    ]
    agreement = report.agreement
    if agreement is not None:
        facts.append(("sequences compared with Keras", f"{agreement.sequences:,}"))
        if agreement.same_class is not None:
            facts.append(("same class as Keras", f"{100 * agreement.same_class:.2f} %"))
        error = f"{100 * agreement.relative_error:.2g} %"
        facts.append(("error, of the standard deviation of Keras's outputs", error))
        facts.append(("largest difference of an output", f"{agreement.largest_difference:.3g}"))
    for name, cost in list(report.rounding_costs.items())[:3]:
        facts.append((f"error by rounding {_code(name)} alone", f"{100 * cost:.2g} %"))
    if report.exactness is not None:
        facts.append(("compared with the reference", str(report.exactness)))
    parts = [(_code(name), f"{size:,}") for name, size in file_parts(report, graph).items()]
    operators = [(f"`{kind}`", f"{count:,}") for kind, count in report.operators.items()]
    sections = [
        f"# {report.name}",
        f"![Bytes of the file and ranges of the tensors]({picture_name})",
        _table(["", report.name], facts),
        *report.notes,
        "## Bytes of the file",
        _table(["part", "bytes"], parts),
        "## Operators in a time step",
        _table(["operator", "count"], operators),
    ]
    if report.tensors:
        sections += ["## Ranges on the calibration data", _ranges(report.tensors)]
    return "\n\n".join(sections) + "\n"


def _table(titles, rows) -> str:
    lines = [titles, ["---", *["---:"] * (len(titles) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _code(name) -> str:
    return f"`{name}`".replace("|", r"\|")


def _ranges(tensors: list[TensorReport]) -> str:
    rows = []
    for tensor in tensors:
        name = _code(tensor.name) + (" (state)" if tensor.is_state else "")
        row = [name, tensor.dtype, f"{tensor.low:.3g}", f"{tensor.high:.3g}"]
        if tensor.limit is None:
            row += ["-"] * 3
        else:
            note = f" ({tensor.lost:,} lost)" if tensor.lost else ""
            row += [f"{tensor.lowest:.4g}", f"{tensor.limit:.4g}", f"{tensor.saturated:,}{note}"]
        rows.append(row)
    titles = ["tensor", "type", "from", "to", "lowest", "highest possible", "saturated values"]
    return _table(titles, rows)


def picture(report: Report, graph: Graph) -> bytes:
    """Draws the bytes of the file and the range of every tensor against its limit.

    Args:
        report: `Report`.
        graph: The graph that was exported.

    Returns:
        The bytes of a PNG file.
    """
    import matplotlib.style
    from matplotlib.figure import Figure  # not pyplot, which would choose the user's backend

    parts = file_parts(report, graph)
    rows = max(len(parts), len(report.tensors))
    panels = 2 if report.tensors else 1
    with matplotlib.style.context("default"):
        figure = Figure(figsize=(6.5 * panels, 1.8 + 0.28 * rows), dpi=120, layout="constrained")
        axes = figure.subplots(1, panels, squeeze=False)[0]
        figure.suptitle(f"{report.name}, {report.quantization or 'float32'}", weight="bold")
        _draw_sizes(axes[0], report, parts)
        if report.tensors:
            _draw_ranges(axes[1], report.tensors)
        for panel in axes:
            panel.set_ylim(rows - 0.4, -0.6)
            panel.spines[["top", "right"]].set_visible(False)
        file = io.BytesIO()
        figure.savefig(file, format="png")
    return file.getvalue()


def _draw_sizes(axes, report, parts) -> None:
    arena = "" if report.arena_bytes is None else f", arena: {report.arena_bytes:,} bytes"
    axes.set_title(f"File: {report.file_bytes:,} bytes{arena}")
    colors = [_OTHER if name == "structure" else _PLAIN for name in parts]
    bars = axes.barh(range(len(parts)), list(parts.values()), color=colors)
    axes.bar_label(bars, [f"{size:,}" for size in parts.values()], padding=3, size="small")
    axes.set_yticks(range(len(parts)), list(parts), parse_math=False)
    axes.margins(x=0.15)
    axes.set_xlabel("bytes")


def _draw_ranges(axes, tensors: list[TensorReport]) -> None:
    """Bars from the smallest to the largest value seen, and a mark at zero.

    In an integer model the axis is the integers of each tensor.
    """
    axes.set_title("Ranges on the calibration data")
    is_float = all(tensor.limit is None for tensor in tensors)
    for row, tensor in enumerate(tensors):
        text = f"{tensor.low:.3g} to {tensor.high:.3g}"
        is_clipped = tensor.is_clipped
        color = _CLIPPED if is_clipped else _STATE if tensor.is_state else _PLAIN
        ends = [tensor.low, tensor.high, 0.0]
        if tensor.limit is not None and tensor.lowest is not None:
            text += f", of {tensor.lowest:.3g} to {tensor.limit:.3g}"
            width = tensor.limit - tensor.lowest
            ends = [100.0 * (end - tensor.lowest) / width for end in ends]
        if tensor.lost:
            text += f"; {tensor.lost:,} lost"
        if is_float or tensor.limit is not None:
            low, high, zero = ends
            axes.barh(row, high - low, left=low, color=color)
            axes.plot([zero, zero], [row - 0.5, row + 0.5], color="black", linewidth=0.8)
        axes.text(1.02, row, text, transform=axes.get_yaxis_transform(), va="center", size="small")
    names = [f"{t.name} (state)" if t.is_state else t.name for t in tensors]
    axes.set_yticks(range(len(tensors)), names, parse_math=False)
    axes.grid(axis="x", alpha=0.4)
    axes.set_axisbelow(True)
    if is_float:
        axes.set_xscale("symlog", linthresh=1.0)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlabel("value")
    else:
        axes.set_xlim(0.0, 100.0)
        axes.xaxis.set_major_formatter("{x:g} %")
        axes.set_xlabel("from the lowest to the highest value that the tensor can hold")
