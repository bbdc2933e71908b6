"""TABLES.md, and all documents of the committed results; RESULTS.md has its own file of tests."""

import json
import re
import shutil
import statistics
import subprocess

import benchmark_results
import pytest
from benchmark_results import write_seeds

from benchmarks import __main__ as command
from benchmarks import (
    compressed_peers,
    document,
    findings_page,
    measured_results,
    pictures,
    result_tables,
    sentences,
    summary,
    tables_page,
)
from benchmarks.grid import required_runs
from benchmarks.runs import RESULTS
from benchmarks.tasks import TASKS

RECIPE = "FastGRNN LSQ"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "results"


def text_of(folder):
    return tables_page.text(measured_results.read(folder), folder)


def rows_of(text, size, model):
    """The columns of all rows of a model at a size."""
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return [line for line in lines if line[:2] == [size, model]]


def spoken(text):
    """The text without the ends of its lines."""
    return re.sub(r"\s+", " ", text)


def test_means_and_deviations_are_those_computed_by_hand(folder):
    write_seeds(folder, (0.90, 0.92, 0.97))  # 90, 92, 97: squares 9 + 1 + 16 over 2 are 13
    accuracy, _ = rows_of(text_of(folder), "3 KB", "GRU")
    assert accuracy[2:4] == ["34", "3"]
    assert accuracy[4:] == [
        "94.00 &plusmn; 3.61",
        "93.00 &plusmn; 3.61",
        "91.00 &plusmn; 3.61",
        "93.00 &plusmn; 3.61",
        "46.50 &plusmn; 1.80",
    ]


def test_a_single_seed_has_no_deviation(folder):
    write_seeds(folder, (0.9,))
    assert rows_of(text_of(folder), "3 KB", "GRU")[0][5] == "90.00"


def test_bytes_are_the_most_and_steps_the_mean_of_the_seeds_that_run(folder):
    for seed, (stored, step, runs) in enumerate(
        [(3000, 9000, 1), (3010, 9600, 0), (2990, 9000, 1)]
    ):
        numbers = {"stored": stored, "step": step, "on_atmega": bool(runs)}
        benchmark_results.write(folder, seed=seed, **numbers)
    text = text_of(folder)
    costs = rows_of(text, "3 KB", "GRU")[1]
    sizes = ["3,010", "3,410", "3,510", "5,010", "3,440"]
    assert costs[2:] == [*sizes, "0.58", "9,200", "72,000 (2 of 3 seeds)", "1.00"]
    reason = f"* GRU at 3 KB does not run on the ATmega328P: `{benchmark_results.REASON}`"
    assert reason in text.splitlines()


def test_epochs_are_over_those_of_the_gru_of_equal_units(folder):
    benchmark_results.write(folder, model="GRU", size="equal", seconds=100)
    benchmark_results.write(folder, model="GRU", size="1KB", seconds=50)
    for seed, seconds in enumerate((60, 80, 200)):
        benchmark_results.write(folder, model="LSTM", size="1KB", seed=seed, seconds=seconds)
    text = text_of(folder)
    assert "| epoch, GRU of 32 units = 1 |" in text
    assert rows_of(text, "1 KB", "LSTM")[1][-1] == "0.80"  # the median


def test_structures_say_what_is_not_default(folder):
    for model in (RECIPE, "FastGRNN L"):
        benchmark_results.write(folder, model=model)
    text = text_of(folder)
    both = {rows_of(text, "3 KB", model)[0][2] for model in ("FastGRNN LS", RECIPE)}
    assert both == {"34; zeros 50 %, 70 %; bias bytes 1"}
    assert rows_of(text, "3 KB", "FastGRNN L")[0][2] == "34; ranks full, 11"


def test_what_was_not_run_is_said(folder):
    write_seeds(folder, (0.9, 0.91))
    text = text_of(folder)
    accuracy, costs = rows_of(text, "3 KB", "LSTM")
    assert accuracy[2] == costs[2] == "not run"
    assert "## MNIST, row by row\n\nNot run." in text
    count = len(required_runs())
    assert f"{count - 2} of the {count} runs of the required grid:" in text
    assert "* HAR-2, GRU, 3 KB: seeds 2, 3, 4" in text.splitlines()


def test_a_whole_grid_misses_nothing(folder):
    for run in required_runs():
        benchmark_results.write(folder, run.task, run.model, run.size, run.seed)
    text = text_of(folder)
    assert f"all {len(required_runs())} runs of the required grid are there" in text
    assert not re.search("\\| not run|^Not run", text, re.MULTILINE)


def test_no_results_are_one_line(folder, monkeypatch):
    with pytest.raises(SystemExit) as stop:
        command.main(["--document", "--results", str(folder)])
    assert str(stop.value) == (
        f"benchmarks: no results in {folder}; `python -m benchmarks` makes them"
    )


def damaged(change):
    def write(path):
        file = json.loads(path.read_text())
        change(file)
        path.write_text(json.dumps(file))

    return write


def gru_of(file):
    return file["models"]["GRU"]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.write_text(path.read_text()[:99]), "is not JSON"),
        (lambda path: path.write_bytes(b"\xff"), "is not JSON"),
        (lambda path: path.write_text("[]"), "is not the result of a run"),
        (damaged(lambda file: file.pop("models")), "no 'models'"),
        (damaged(lambda file: file["run"].update(seed=7)), "it holds har2, GRU, 3KB, seed 7"),
        (damaged(lambda file: file["models"].update(LSTM={})), "it holds the models GRU, LSTM"),
        (damaged(lambda file: gru_of(file).pop("int8")), "no 'int8'"),
        (damaged(lambda file: gru_of(file)["c"].pop("cortex-m4")), "no 'cortex-m4'"),
        (damaged(lambda file: gru_of(file)["keras"].update(f1=1.5)), "keras f1 is 1.5"),
        (damaged(lambda file: gru_of(file)["keras"].update(f1=float("nan"))), "keras f1 is nan"),
        (damaged(lambda file: gru_of(file).update(epochs="9")), "epochs is '9'"),
        (damaged(lambda file: gru_of(file).update(epochs=0)), "epochs is 0"),
        (damaged(lambda file: file.update(environment=None)), "environment"),
        (damaged(lambda file: file["structure"].update(units="a")), "units is 'a'"),
        (damaged(lambda file: file["structure"].update(kernel_sparsity=None)), "kernel_sparsity"),
        (damaged(lambda file: file["structure"].update(kernel_rank="4")), "kernel_rank is '4'"),
        (damaged(lambda file: file["structure"].update(recurrent_activation=1)), "activation is 1"),
        (damaged(lambda file: file["structure"].update(depth=1)), "'depth'"),
    ],
)
def test_a_damaged_file_is_one_line_that_names_it(folder, damage, reason):
    benchmark_results.write(folder, model="LSTM")
    path = benchmark_results.write(folder)
    damage(path)
    with pytest.raises(measured_results.ResultsError) as error:
        document.write(folder)
    text = str(error.value)
    assert text.startswith(str(path)) and reason in text and "\n" not in text
    assert not list(folder.parent.glob("*.md"))


def test_a_gru_that_wins_is_said_to(folder):
    write_seeds(folder, (0.95, 0.96, 0.97), model="GRU", step=20000.0)
    write_seeds(folder, (0.92, 0.93, 0.94), model=RECIPE, stored=2990)
    write_seeds(folder, (0.90,), model="FastRNN")
    text = spoken(text_of(folder))
    # Both deviate by 1 point, a difference by the root of 2.
    assert (
        "* At 3 KB **GRU** is best of 4 models: 96.00 % in 3,000 bytes. Against the best of "
        "ours, FastGRNN LS, 93.00 % in 2,990 bytes, GRU wins by 3.00 points (more than the "
        "spread, 1.41)."
    ) in text
    assert "FastGRNN LSQ against GRU: behind at 3 KB by 3.00 points" in text
    assert (
        "FastGRNN LS takes 10,000 instructions on a Cortex-M4, 0.50 of the GRU's 20,000, and 0.50 "
        "of its cycles on an ATmega328P."
    ) in text


def test_steps_where_one_does_not_run_are_those_of_the_other_device(folder):
    write_seeds(folder, (0.95,), model="FastGRNN", on_atmega=False)
    write_seeds(folder, (0.94,))
    assert "1.00 of the GRU's 10,000. *" in spoken(text_of(folder))


def test_models_stored_as_the_gru_are_held_against_it(folder):
    for model, accuracy in (("GRU", 0.95), ("FastGRNN", 0.93), ("FastGRNN L", 0.96)):
        write_seeds(folder, (accuracy, accuracy), model=model)
    text = spoken(text_of(folder))
    assert (
        "* FastGRNN, dense and stored as the GRU is, against GRU: behind at 3 KB by 2.00 points"
    ) in text
    assert "* FastGRNN L, stored as the GRU is, against GRU: ahead at 3 KB by 1.00 points" in text


def test_peers_that_lose_within_the_spread_are_said_to(folder):
    write_seeds(folder, (0.95, 0.96, 0.97), model="FastGRNN")
    write_seeds(folder, (0.94, 0.95, 0.96), model="LSTM")
    write_seeds(folder, (0.90,), model="SimpleRNN")
    assert (
        "At 3 KB **FastGRNN** is best of 3 models: 96.00 % in 3,000 bytes. Behind FastGRNN are "
        "LSTM by 1.00 points (within the spread, 1.41) and SimpleRNN by 6.00 points (a single "
        "seed)."
    ) in spoken(text_of(folder))


def test_the_recipe_is_held_against_the_best_gru_of_any_size(folder):
    write_seeds(folder, (0.93, 0.93), model=RECIPE, size="1KB", stored=1000)
    write_seeds(folder, (0.92, 0.92), model="GRU", size="1KB", stored=1000)
    write_seeds(folder, (0.95, 0.95), model="GRU", size="6KB", stored=6000)
    assert (
        "The best GRU of any size run is the GRU at 6 KB: 95.00 % in 6,000 bytes. FastGRNN LSQ at "
        "1 KB is behind by 2.00 points (more than the spread, 0.00)."
    ) in spoken(text_of(folder))


def test_the_edge_holds_whatever_nothing_beats_for_less(folder):
    for model, stored, accuracy in [
        ("FastRNN", 900, 0.90),
        ("FastGRNN", 1000, 0.93),
        ("GRU", 1000, 0.92),
        ("LSTM", 1010, 0.93),
        ("SimpleRNN", 1020, 0.94),
    ]:
        benchmark_results.write(folder, model=model, size="1KB", stored=stored, accuracy=accuracy)
    found = sentences.edge(measured_results.read(folder).of("har2"), "bytes")
    assert [cell.model for cell in found] == ["FastRNN", "FastGRNN", "SimpleRNN"]


def test_mixed_environments_and_hours_are_named(folder):
    benchmark_results.write(folder, seed=0)
    benchmark_results.write(folder, seed=1, date="2026-11-24", keras="3.16.0")
    text = spoken(text_of(folder))
    assert "2026-11-22 to 2026-11-24: 2 runs, together 1.00 CPU hours and 2,000 seconds" in text
    assert "* keras: mixed: 3.15.1 (1 of the runs), 3.16.0 (1 of the runs)" in text
    assert "* numpy: 2.4.6 " in text
    assert "| HAR-2 | 45 | 6 | 64 | 0.01 | 0.2 | 0.0 |" in text
    assert "; 0 of them share the training of another size." in text


def test_the_papers_numbers_stand_beside_ours(folder):
    write_seeds(folder, (0.95, 0.97), model=RECIPE)
    benchmark_results.write(folder, task="mnist", model="GRU")
    text = text_of(folder)
    lines = text.splitlines()
    assert "| FastGRNN | 95.59 | 3 KB | FastGRNN LSQ | 96.00 &plusmn; 1.41 |" in lines
    assert "| GRU | 93.62 | 71 KB | GRU | - |" in lines
    assert "| GRU | 98.70 | 123 KB | GRU | 90.00 |" in lines
    assert "The paper's task is another" in spoken(text)


def test_everything_is_written_beside_the_results(folder, root):
    readme = (root / "README.md").read_text()
    benchmark_results.write(folder, model="SimpleRNN", accuracy=0.3, on_atmega=False)
    write_seeds(folder, (0.9, 0.92))
    benchmark_results.write(folder, task="usps")
    written = document.write(folder)
    names = [path.relative_to(folder.parent).as_posix() for path in written]
    assert names == ["pictures/har2.png", "pictures/usps.png", "RESULTS.md", "TABLES.md"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written[:2])
    results = measured_results.read(folder)
    assert written[2].read_text() == findings_page.text(results, folder)
    assert written[3].read_text() == text_of(folder)
    assert (root / "README.md").read_text() == readme


def test_a_model_far_below_the_others_does_not_press_them_together(folder):
    for model, accuracy in [("SimpleRNN", 0.5), ("GRU", 0.9), ("LSTM", 0.8)]:
        benchmark_results.write(folder, model=model, accuracy=accuracy)
    found = measured_results.read(folder).of("har2")
    assert pictures.lowest_shown(found) == pytest.approx(75)
    labels = [pictures.label(model, found) for model in ("SimpleRNN", "LSTM")]
    assert labels == ["SimpleRNN (below: 50 %)", "LSTM"]


def test_every_model_and_task_has_its_place():
    assert set(pictures.STYLES) == set(measured_results.MODELS)
    assert len({style[:2] for style in pictures.STYLES.values()}) == len(measured_results.MODELS)
    assert set(result_tables.TITLES) == set(TASKS)


def test_a_block_replaces_what_lies_between_the_markers():
    begin, end = document.MARKERS
    filled = document.filled(f"a\n{begin}\nold\n{end}\nb", "new \\1")
    assert filled == f"a\n{begin}\nnew \\1\n{end}\nb"
    for text in ("", begin, f"{begin}{end}{begin}{end}"):
        with pytest.raises(ValueError, match="once in the README"):
            document.filled(text, "new")


@pytest.fixture
def committed(root, tmp_path):
    """A folder of the results that are committed, or of all where there is no repository."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--", str(RESULTS)], cwd=root, capture_output=True, text=True
    )
    names = listed.stdout.split("\0")[:-1]
    paths = RESULTS.rglob("*.json") if listed.returncode else [root / name for name in names]
    for path in paths:
        copy = tmp_path / "results" / path.relative_to(RESULTS)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    return tmp_path / "results"


def test_the_documents_have_what_the_committed_results_give(root, committed):
    readme = (root / "README.md").read_text()
    results = measured_results.read(committed)
    short = summary.in_short(results, compressed_peers.read(committed))
    assert readme == document.filled(readme, short)
    for name, page in (("RESULTS.md", findings_page), ("TABLES.md", tables_page)):
        assert (RESULTS.parent / name).read_text() == page.text(results, committed)


def test_links_of_the_documents_lead_somewhere():
    for name in ("RESULTS.md", "TABLES.md"):
        text = (RESULTS.parent / name).read_text()
        targets = re.findall(r"\]\((.*?)\)", text)
        assert targets
        titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
        own = {f"#{title.lower().replace(' ', '-')}" for title in titles}
        assert all(one in own or (RESULTS.parent / one).is_file() for one in targets)


def test_the_findings_are_a_page_for_people():
    text = (RESULTS.parent / "RESULTS.md").read_text()
    assert len([line for line in text.splitlines() if line]) <= 105
    assert "Not run." not in text


def test_the_numbers_of_the_readme_are_means_of_the_committed_results(root, committed):
    begin, end = map(re.escape, document.MARKERS)
    (block,) = re.findall(f"{begin}(.*?){end}", (root / "README.md").read_text(), re.DOTALL)
    lines = [line.strip("| ").split(" | ") for line in block.splitlines() if line.startswith("|")]
    tasks = {title: task for task, title in result_tables.TITLES.items()}
    for title, size, *scores, _ in lines[2:]:
        for model, score in zip(lines[0][2:-1], scores, strict=True):
            pattern = f"{model.replace(' ', '_')}-{size.replace(' ', '')}-*.json"
            files = [json.loads(p.read_text()) for p in (committed / tasks[title]).glob(pattern)]
            measured = [file["models"][model] for file in files]
            if not measured:
                assert score == "not run"
                continue
            mean = 100 * statistics.fmean(one["int16x8"]["accuracy"] for one in measured)
            stored = max(one["stored_bytes"]["best"] for one in measured)
            assert score.replace("**", "") == f"{mean:.2f} %, {stored:,} B"
