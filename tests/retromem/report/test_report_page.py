"""The whole report, on synthetic rows of the shape that the quickstart writes."""

import csv
import html
import io
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from retrieval.errors import UserError
from retromem.report.answer import answer
from retromem.report.headline import draw_headline
from retromem.report.page import CapacityRow, RunFacts, write_report
from retromem.report.sides import main_contest
from retromem.report.tables import capacity_table
from retromem.rows import COLUMNS, Row

SIZES = (500, 1000, 2000, 4000)
SEEDS = (0, 1, 2)

# side, memory, role, family, bytes (fixed, per fact), accuracy (identical, heldout, alias), its loss per doubling
_TEXT_MEMORIES = [
    ("parametric", "ffn-gelu-32-int8", "arm", "ffn-gelu", (26_300, 0), (0.999, 0.88, 0.55), 0.03),
    ("parametric", "ffn-gelu-64-int8", "arm", "ffn-gelu", (52_000, 0), (1.0, 0.93, 0.6), 0.002),
    ("retrieval", "faiss-q-Flat", "arm", "faiss-q", (60, 1537), (1.0, 0.995, 0.7), 0.0),
    ("retrieval", "faiss-q-SQ8", "arm", "faiss-q", (3_200, 385), (1.0, 0.994, 0.7), 0.0),
    ("retrieval", "faiss-q-RaBitQ", "arm", "faiss-q", (1_700, 57), (1.0, 0.96, 0.68), 0.001),
    ("retrieval", "faiss-q-PQ48np", "arm", "faiss-q", (393_300, 49), (0.999, 0.97, 0.69), 0.001),
    ("retrieval", "faiss-q-rot64-LSH", "arm", "faiss-q", (80, 9), (0.999, 0.82, 0.5), 0.001),
    ("retrieval", "faiss-s-Flat", "arm", "faiss-s", (60, 1537), (0.998, 0.997, 0.72), 0.0),
    ("paired", "paired-gelu-64", "arm", "paired", (210_000, 1537), (0.985, 0.97, 0.66), 0.003),
    ("paired", "copy-top-1", "control", "paired", (60, 1537), (0.99, 0.98, 0.7), 0.0),
    ("paired", "paired-k0", "control", "paired", (110_000, 0), (0.07, 0.07, 0.07), 0.0),
    ("paired", "paired-random", "control", "paired", (210_000, 1537), (0.07, 0.06, 0.07), 0.0),
    ("paired", "paired-oracle", "control", "paired", (210_000, 1537), (0.999, 0.999, 0.99), 0.0),
    ("parametric", "ffn-gelu-64-untrained", "control", "ffn-gelu", (52_000, 0), (0.005, 0.005, 0.005), 0.0),
    ("parametric", "ffn-gelu-64-shuffled", "control", "ffn-gelu", (52_000, 0), (0.07, 0.07, 0.07), 0.0),
    ("floor", "guesser", "control", "floor", (0, 0), (0.07, 0.07, 0.07), 0.0),
    ("floor", "floor-mode", "floor", "floor", (600, 0), (0.11, 0.11, 0.11), 0.0),
    ("floor", "floor-static", "floor", "floor", (600, 0.72), (1.0, 0.0, 0.0), 0.0),
    ("floor", "floor-entropy", "floor", "floor", (0, 0.58), None, 0.0),
    ("floor", "floor-known", "floor", "floor", (0, 1.41), None, 0.0),
]  # fmt: skip


def synthetic_rows() -> list[Row]:
    """A text study with its twin, and a study of FFN kinds on keys."""
    generator = np.random.default_rng(7)
    rows = []
    for side, memory, role, family, (fixed, each), accuracies, slope in _TEXT_MEMORIES:
        for twin in (False, True):
            for num_facts in SIZES:
                for seed in SEEDS:
                    for at, phrasing in enumerate(("identical", "heldout", "alias") if accuracies else ("",)):
                        accuracy = None
                        if accuracies:
                            loss = slope * np.log2(num_facts / 500) * (1 + at)
                            loss += 0.02 * at * twin * (side == "parametric")
                            accuracy = float(np.clip(accuracies[at] - loss - generator.uniform(0, 3e-4), 0, 1))
                        demand = 4.64 * num_facts
                        bits = None if accuracy is None else demand * max(0.0, accuracy - 0.1) / 0.9 * (role == "arm")
                        storage = round(fixed + each * num_facts)
                        num_params = storage if side == "parametric" else 0
                        rows.append(
                            Row(
                                study="cities", side=side, memory=memory, role=role, family=family,
                                stores="statements" if memory.startswith("faiss-s") else "questions",
                                knowledge="c1f0" * 8, knowledge_name="cities", twin=twin, num_facts=num_facts,
                                seed=seed, phrasing=phrasing, num_asked=num_facts, accuracy=accuracy,
                                demand_bits=demand, bits_ce=bits, num_params=num_params, storage_bytes=storage,
                                maintain_bytes=1544 * num_facts, value_bytes=1210, shared_bytes=91_500_000,
                                seeded_bytes=58_000, write_seconds=None if role == "floor" else 2.1 + num_facts / 640,
                                bits_per_param=bits / num_params if bits is not None and num_params else None,
                                bits_per_byte=bits / storage if bits is not None and storage else None,
                                query_ms_p50=None if role == "floor" else 0.08 + generator.uniform(0, 0.02),
                                query_ms_p95=None if role == "floor" else 0.17,
                                query_ms_p50_end_to_end=None if role == "floor" else 6.4,
                            )
                        )  # fmt: skip
    for memory, density in (("ffn-relu-32", 2.03), ("ffn-gelu-32", 2.31), ("ffn-swiglu-21", 2.64)):
        for num_facts in (300, 400, 500, 600, 700, 800, 900):
            for seed in SEEDS:
                capacity = density * 1056 / 4 + 6 * seed
                accuracy = float(np.clip(1.0 - 1.2 * max(0.0, num_facts / capacity - 1), 0, 1))
                rows.append(
                    Row(
                        study="keys", side="parametric", memory=memory, role="arm", family=memory.rsplit("-", 1)[0],
                        stores="questions",
                        knowledge="4e45" * 8, knowledge_name="keys-16", twin=False, num_facts=num_facts, seed=seed,
                        phrasing="identical", accuracy=accuracy, demand_bits=4.0 * num_facts, num_params=1056,
                        bits_ce=4.0 * num_facts * accuracy**2, bits_per_param=4.0 * num_facts * accuracy**2 / 1056,
                        storage_bytes=4228, bits_per_byte=4.0 * num_facts * accuracy**2 / 4228,
                    )
                )  # fmt: skip
    return rows


def run_facts(**changes: object) -> RunFacts:
    capacities = [
        CapacityRow(
            study=study, memory=memory, twin=twin, phrasing="identical", tau=0.99, seed=seed,
            num_facts=num_facts + 8 * seed, censored=censored, storage_bytes=size, num_params=params, bits=bits,
        )
        for study, memory, twin, num_facts, censored, size, params, bits in (
            ("cities", "ffn-gelu-32-int8", True, 1000, False, 26_300, 25_000, 4_600.0),
            ("cities", "ffn-gelu-64-int8", True, 4000, True, 52_000, 50_000, 18_400.0),
            ("keys", "ffn-relu-32", False, 530, False, 4228, 1056, 2_140.0),
            ("keys", "ffn-swiglu-21", False, 690, False, 4228, 1056, 2_790.0),
        )
        for seed in SEEDS
    ]  # fmt: skip
    run = RunFacts(
        name="quickstart",
        title="retromem quickstart: facts in weights or in an index",
        question="Should these facts live in the weights of an FFN or in an external index, and what does each cost?",
        capacities=capacities,
        problems=[("cities-faiss-q-PQ48np-500", "refused", "PQ48np needs 256 points a codebook")],
        notes=["Cities with ambiguous names were left out.", "Facts: GeoNames, CC BY 4.0 (https://www.geonames.org)."],
        dropped={"several_values": 812, "value_in_subject": 37, "empty": 0},
        method={"command": "make report", "seeds": "0, 1, 2", "precision": "int8 weights"},
        limits=["One encoder.", "Small sets: 4,000 facts at most."],
    )
    return replace(run, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return synthetic_rows()


@pytest.fixture(scope="module")
def folder(rows: list[Row], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("reports") / "quickstart"
    write_report(rows, folder, run=run_facts())
    yield folder


def test_the_folder_holds_every_form(folder: Path) -> None:
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    figures = {
        "headline",
        "cities-accuracy",
        "cities-density",
        "cities-twin",
        "cities-front",
        "cities-front-maintained",
    }
    figures |= {"keys-accuracy", "keys-density", "keys-kinds"}
    assert names == {"index.html", "report.md", "results.csv", "capacity.csv"} | {
        f"figures/{name}.png" for name in figures
    }
    assert all((folder / name).read_bytes().startswith(b"\x89PNG") for name in names if name.endswith(".png"))
    assert (folder / "index.html").stat().st_size < 600_000
    linked = re.findall(r"\]\((figures/[^)]+)\)", (folder / "report.md").read_text())
    assert set(linked) == {name for name in names if name.startswith("figures/")}


def test_the_page_fetches_nothing(folder: Path) -> None:
    page = (folder / "index.html").read_text()
    assert not re.search(r"<(script|link|iframe|img|object|base)\b", page)
    assert not re.search(r"@import|url\((?!#)", page)
    assert all(target.startswith("#") for target in re.findall(r"(?:src|href)\s*=\s*[\"']([^\"']*)", page))


def test_ids_of_the_drawings_do_not_clash(folder: Path) -> None:
    """Two drawings may share an id only where it stands for the same thing: never a clip path or a marker."""
    page = (folder / "index.html").read_text()
    for defined in (re.findall(r'<clipPath id="([^"]+)"', page), re.findall(r'<path id="(m[0-9a-f]+)"', page)):
        assert defined and len(defined) == len(set(defined))


def test_answer_figure_and_ledger_come_first_and_in_this_order(rows: list[Row], folder: Path) -> None:
    page = (folder / "index.html").read_text()
    found = answer(rows, run_facts().capacities).split("\n")[0]
    sentence = f"Of the few sizes tried on each side, by a grid and no search: {found[0].lower()}{found[1:]}"
    shown = html.unescape(re.sub("<[^>]*>", "", page)).replace("\u00a0", " ")
    assert sentence in shown
    places = [
        page.index(text) for text in ('class="main"', "<svg", "The ledger", "Controls and floors", "Curves: cities")
    ]
    places += [page.index(f"<h2>{title}</h2>") for title in ("Words", "Method", "Limits", "Cells without a result")]
    assert places == sorted(places)
    markdown = (folder / "report.md").read_text()
    assert sentence in markdown and markdown.index(sentence) < markdown.index("headline.png") < markdown.index(
        "## The ledger"
    )


def test_ledger_line(folder: Path) -> None:
    """A golden line: medians of the twin at the largest size, the smallest of its side in bold."""
    lines = [line for line in (folder / "report.md").read_text().splitlines() if "| faiss-q-rot64-LSH |" in line]
    assert lines[0].startswith("| faiss-q-rot64-LSH | 99.5 % | 81.3 % ")
    assert "| 18,474 | **36.1 kB** | 0.512 | – | 8.35 s |" in lines[0]
    assert "4,000 facts, values shuffled" in (folder / "report.md").read_text()


def test_csv_files(rows: list[Row], folder: Path) -> None:
    results = list(csv.DictReader(io.StringIO((folder / "results.csv").read_text())))
    assert len(results) == len(rows) and tuple(results[0]) == COLUMNS
    assert {line["twin"] for line in results} == {"true", "false"}
    capacity = list(csv.DictReader(io.StringIO((folder / "capacity.csv").read_text())))
    assert len(capacity) == 12
    assert (capacity[0]["num_facts"], capacity[0]["censored"], capacity[0]["bits_per_param"]) == (
        "1000",
        "false",
        "0.184",
    )


def test_censored_capacity_is_called_a_lower_bound(folder: Path) -> None:
    lines = (folder / "report.md").read_text().splitlines()
    assert any("| ffn-gelu-64-int8 | twin | 99 % as written | at least 4,008 4,000–4,016 |" in line for line in lines)
    assert any("| ffn-gelu-32-int8 | twin | 99 % as written | 1,008 1,000–1,016 |" in line for line in lines)


def test_same_rows_same_bytes_and_a_replaced_folder(rows: list[Row], folder: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    again.mkdir()
    (again / "old.txt").write_text("of an earlier report")
    few = [row for row in rows if row.study == "keys"]
    write_report(few, again, run=run_facts())
    first = {path.name: path.read_bytes() for path in again.rglob("*") if path.is_file()}
    assert "old.txt" not in first
    write_report(few, again, run=run_facts())
    assert first == {path.name: path.read_bytes() for path in again.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_names_are_escaped(rows: list[Row], tmp_path: Path) -> None:
    name = 'a<b>"$x$|y'
    renamed = [
        replace(row, memory=name, study="<i>c") if row.memory == "faiss-q-Flat" else replace(row, study="<i>c")
        for row in rows
        if (row.study, row.num_facts, row.seed) == ("cities", 500, 0)
    ]
    run = run_facts(
        title="<script>alert(1)</script>",
        capacities=[],
        problems=[("cell <1>", "failed", 'line 3: "<b>"')],
        method={"<u>": "a & b"},
    )
    write_report(renamed, tmp_path / "r", run=run)
    page = (tmp_path / "r" / "index.html").read_text()
    assert "<script>" not in page and "&lt;script&gt;" in page
    assert "<b>&quot;" not in page and "a&lt;b&gt;" in page and "<u>" not in page and "<i>" not in page
    assert "1 cell failed" in page and "cell &lt;1&gt;" in page
    markdown = (tmp_path / "r" / "report.md").read_text()
    assert 'a\\<b\\>"\\$x\\$\\|y' in markdown


def test_a_refused_cell_is_listed_without_alarm(folder: Path) -> None:
    page = (folder / "index.html").read_text()
    assert 'class="warning"' not in page and "PQ48np needs 256 points" in page


def test_left_out_facts_are_counted(folder: Path) -> None:
    assert "Left out of the set: 812 (several values) and 37 (value in subject)." in (folder / "index.html").read_text()


def test_floors_and_retrieval_alone_still_make_a_page(rows: list[Row], tmp_path: Path) -> None:
    for side in ("floor", "retrieval"):
        write_report([row for row in rows if row.side == side], tmp_path / side, run=run_facts(capacities=[]))
        assert (tmp_path / side / "index.html").is_file()


def test_the_densest_memory_of_a_study_stands_first_beside_medians_and_ranges() -> None:
    """Facts of the seeds are 0, 8 and 16 more; bits per parameter are those that `run_facts` divides."""
    table = capacity_table(run_facts().capacities, [])
    assert table.header == ["memory", "values", "goal", "facts held", "storage", "bits per param.", "seeds"]
    assert [
        (study, [tuple(f"{cell.text} {cell.detail}".strip() for cell in line) for line in lines])
        for study, lines in table.blocks
    ] == [
        ("cities", [
            ("ffn-gelu-64-int8", "twin", "99 % as written", "at least 4,008 4,000–4,016", "52 kB", "0.368", "3"),
            ("ffn-gelu-32-int8", "twin", "99 % as written", "1,008 1,000–1,016", "26.3 kB", "0.184", "3"),
        ]),
        ("keys", [
            ("ffn-swiglu-21", "as given", "99 % as written", "698 690–706", "4.23 kB", "2.64", "3"),
            ("ffn-relu-32", "as given", "99 % as written", "538 530–546", "4.23 kB", "2.03", "3"),
        ]),
    ]  # fmt: skip


def test_a_capacity_below_which_a_smaller_number_failed_says_so(rows: list[Row]) -> None:
    found = run_facts().capacities
    assert "Not all smaller" not in capacity_table(found, rows).caption
    table = capacity_table([replace(row, monotone=row.memory != "ffn-relu-32" or row.seed != 1) for row in found], rows)
    held = {line[0].text: line[3].text for _, block in table.blocks for line in block}
    assert held["ffn-relu-32"] == "538, not all smaller" and held["ffn-swiglu-21"] == "698"
    assert table.caption.endswith("Not all smaller: of a smaller number that was tried, too few were answered.")


def test_the_figure_shows_every_memory_at_the_largest_size_that_both_sides_finished(rows: list[Row]) -> None:
    contest = main_contest(
        [row for row in rows if row.study == "cities" and (row.side != "parametric" or row.num_facts <= 1000)]
    )
    assert contest is not None
    picture = draw_headline(contest)
    assert picture is not None and "every memory at 1,000 facts, asked the same questions" in picture.caption


@pytest.mark.parametrize(
    "is_poor, is_apart, titles",
    [
        (True, False, ["Right answers paraphrased"]),
        (False, True, ["Smallest memory answering"]),
        (True, True, []),
    ],
)
@pytest.mark.slow
def test_the_headline_leaves_out_what_the_rows_cannot_show(
    rows: list[Row], tmp_path: Path, is_poor: bool, is_apart: bool, titles: list[str]
) -> None:
    some = [row for row in rows if row.study == "cities" and row.twin and row.seed == 0]
    if is_poor:
        some = [replace(row, accuracy=row.accuracy and row.accuracy / 2) for row in some]
    if is_apart:
        some = [row for row in some if row.num_facts == (500 if row.side == "parametric" else 1000)]
    write_report(some, tmp_path / "r", run=run_facts(capacities=[]))
    page = (tmp_path / "r" / "index.html").read_text().split("<h2>")[0]
    assert [
        title for title in ("Smallest memory answering", "Right answers paraphrased") if f">{title}" in page
    ] == titles
    assert (tmp_path / "r" / "figures" / "headline.png").exists() == bool(titles)


def test_sizes_that_single_seeds_visited_are_not_drawn(rows: list[Row], tmp_path: Path) -> None:
    keys = [row for row in rows if row.study == "keys"]
    searched = [replace(row, num_facts=640 + row.seed, accuracy=0.5) for row in keys if row.num_facts == 600]
    write_report(keys, tmp_path / "a", run=run_facts())
    write_report(keys + searched, tmp_path / "b", run=run_facts())
    pictures = [(tmp_path / name / "figures" / "keys-accuracy.png").read_bytes() for name in ("a", "b")]
    assert pictures[0] == pictures[1]


def test_mixed_knowledge_is_refused(rows: list[Row], tmp_path: Path) -> None:
    mixed = [replace(row, knowledge="other") if row.memory == "faiss-q-SQ8" else row for row in rows]
    with pytest.raises(UserError) as error:
        write_report(mixed, tmp_path / "r", run=run_facts())
    message = str(error.value)
    assert all(text in message for text in ("'cities'", "other", "faiss-q-SQ8", "c1f0" * 8, "ffn-gelu-32-int8"))
    assert not (tmp_path / "r").exists()


def test_no_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="quickstart"):
        write_report([], tmp_path / "r", run=run_facts())


def test_importing_the_report_is_light() -> None:
    code = "import retromem.report.page, sys; print(sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not re.search(r"'(torch|faiss|matplotlib|datasets|lightning|sentence_transformers)'", loaded)


RECORDED = Path(__file__).parent / "recorded_report.txt"


def drawn(svg: str) -> list[str]:
    """The words of a picture in their order, and how many strokes of each colour have how many corners."""
    words = [html.unescape(word) for word in re.findall(r"<text[^>]*>([^<]*)</text>", svg)]
    strokes: Counter[str] = Counter()
    for path, style in re.findall(r'<path d="([^"]*)"[^>]*style="([^"]*)"', svg):
        strokes[
            f"{len(re.findall('[ML]', path))} corners {'; '.join(sorted(re.findall('(?:fill|stroke): [^;]*', style)))}"
        ] += 1
    marks = Counter(
        "; ".join(sorted(re.findall('(?:fill|stroke): [^;"]*', use))) for use in re.findall("<use[^>]*>", svg)
    )
    return [" / ".join(words), *(f"{number} x {what}" for what, number in sorted((strokes + marks).items()))]


def recorded_text(folder: Path) -> str:
    """Every form of a report: its tables, its sentences, and what its pictures hold."""
    page = (folder / "index.html").read_text(encoding="utf-8")
    pictures = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
    rest = re.sub(r"<svg.*?</svg>|<style.*?</style>", "", page, flags=re.DOTALL)
    lines = [
        *re.sub(
            r"(?=<(?:tr|p|h\d|figure|figcaption|div|section|table|details|summary|td|th|li|dt|dd)\b)", "\n", rest
        ).split("\n")
    ]
    for number, picture in enumerate(pictures):
        lines += [f"picture {number}:", *drawn(picture)]
    for name in ("report.md", "capacity.csv"):
        lines += [f"{name}:", *(folder / name).read_text(encoding="utf-8").split("\n")]
    return "\n".join(line.rstrip() for line in lines if line.strip()) + "\n"


def test_the_report_is_the_one_that_was_read_when_it_was_recorded(folder: Path) -> None:
    """`python tests/retromem/test_report_page.py` records it anew: read the difference."""
    assert recorded_text(folder) == RECORDED.read_text(encoding="utf-8")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        write_report(synthetic_rows(), Path(place) / "quickstart", run=run_facts())
        RECORDED.write_text(recorded_text(Path(place) / "quickstart"), encoding="utf-8")
