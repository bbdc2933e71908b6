"""Writes RESULTS.md, TABLES.md, pictures, and the README's results, from the JSON files alone."""

import re
from pathlib import Path

from benchmarks import compressed_peers, findings_page, pictures, tables_page
from benchmarks.measured_results import read
from benchmarks.result_tables import TITLES
from benchmarks.runs import RESULTS
from benchmarks.summary import in_short

README = Path(__file__).resolve().parents[1] / "README.md"
MARKERS = "<!-- results -->", "<!-- /results -->"


def write(folder: Path) -> list[Path]:
    """Writes RESULTS.md, TABLES.md and `pictures/` beside a folder of results.

    The project's own results go into its README too.

    Args:
        folder: Path of the folder with the JSON files.

    Returns:
        List of the paths that were written.

    Raises:
        ResultsError: If there are no results, or one is damaged.
    """
    results = read(folder)
    beside = folder.resolve().parent
    texts = {
        beside / "RESULTS.md": findings_page.text(results, folder),
        beside / "TABLES.md": tables_page.text(results, folder),
    }
    if folder.resolve() == RESULTS:
        short = in_short(results, compressed_peers.read(folder))
        texts[README] = filled(README.read_text(), short)
    (beside / "pictures").mkdir(exist_ok=True)
    written = []
    for task in [task for task in TITLES if results.of(task)]:
        path = beside / pictures.place_of(task)
        pictures.draw(results, task, TITLES[task], path)
        written.append(path)
    for path, content in texts.items():
        path.write_text(content)
    return [*written, *texts]


def filled(readme: str, block: str) -> str:
    """Returns a text with a block between its markers.

    Raises:
        ValueError: If the markers are not there once.
    """
    begin, end = MARKERS
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if len(pattern.findall(readme)) != 1:
        raise ValueError(f"Expected {begin} and {end} once in the README.")
    return pattern.sub(lambda _: f"{begin}\n{block}\n{end}", readme)
