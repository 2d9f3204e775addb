"""Every sentence of every panel follows from the points, whatever they are and whichever are missing.

The points are those of a run of recorded_panels.yaml, three seeds made of its one.
"""

import csv
import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from retromem.configuration import build
from retromem.panels.any_panel import PANELS as KINDS
from retromem.panels.points import Point, labels_text
from retromem.report.panel_page import PanelPage
from retromem.run.experiment import ExperimentConfig

HERE = Path(__file__).parent
PANELS = build(ExperimentConfig, yaml.safe_load((HERE / "recorded_panels.yaml").read_text()), source="recorded").panels

BROKEN = re.compile(r"  |\bNone\b(?! of)|\bnan\b|\binf\b|\(\)|\( |[:;,(] ?[.;,)](?!\d)|\s[.,;:)](?![\d.])|:$")
DANGLING = re.compile(r"\b(?:and|to|by|of|with|than|from)[.;,)]|\b(?:and|to|by|of|is|are|than|from) (?:and|of|is)\b")
SAME_ENDS = re.compile(r"(?<![\w.,^])([-\d][\d.,]*(?: %| kB| ms)?(?: \([^)]*\))?) to \1(?![\d.,]*\d)")
RANGE = re.compile(r"^[-\d.,% ]+ to [-\d.,% ]+$")
SENTENCE = re.compile(r"(?<=[.?]) (?=[A-Z2-9])")


def recorded() -> dict[str, list[Point]]:
    """Of every panel, with a second and a third seed a little above and below the first."""
    points: dict[str, list[Point]] = defaultdict(list)
    with (HERE / "recorded_points.csv").open() as file:
        for row in csv.DictReader(file):
            point = Point(
                quantity=row["quantity"],
                series=row["series"],
                labels=dict(label.split("=", 1) for label in row["labels"].split("; ") if label),
                x=float(row["x"]) if row["x"] else None,
                y=float(row["y"]),
                seed=int(row["seed"]) if row["seed"] else None,
            )
            points[row["panel"]].append(point)
            if point.seed is not None:
                points[row["panel"]] += [
                    replace(point, y=point.y * part, seed=at) for at, part in ((1, 1.03), (2, 0.98))
                ]
    return points


POINTS = recorded()


def page_of(name: str, points: Sequence[Point]) -> PanelPage:
    return PANELS[name].page(points)


def turned_round(points: Sequence[Point]) -> list[Point]:
    """The largest of a quantity is the smallest now, among those of its labels."""
    of_quantity = defaultdict(list)
    for point in points:
        of_quantity[point.quantity, labels_text(point)].append(point.y)
    ends = {key: min(ys) + max(ys) for key, ys in of_quantity.items()}
    return [replace(point, y=ends[point.quantity, labels_text(point)] - point.y) for point in points]


def nothing(points: Sequence[Point]) -> list[Point]:
    return [replace(point, y=0.0) if point.seed is not None else point for point in points]


def all_alike(points: Sequence[Point]) -> list[Point]:
    first = {point.quantity: point.y for point in points[::-1]}
    return [replace(point, y=first[point.quantity]) for point in points]


def larger(points: Sequence[Point]) -> list[Point]:
    return [replace(point, y=1.7 * point.y + 0.1) for point in points]


CHANGES: tuple[Callable[[Sequence[Point]], list[Point]], ...] = (turned_round, nothing, all_alike, larger)


def texts_of(page: PanelPage) -> Iterator[str]:
    yield from (page.title, page.answer, page.finding, *page.explained)
    for table in page.tables:
        yield table.caption
        for heading, block in table.blocks:
            yield heading
            for line in block:
                assert len(line) == len(table.header), table.caption
                yield from (cell.text for cell in line)
                yield from (cell.detail.strip() for cell in line)


def check(page: PanelPage) -> None:
    """No sentence is broken, and no range has one end twice."""
    for text in (page.answer, page.finding):
        assert text.endswith(".") and (text[0].isupper() or text[0].isdigit()), text
        assert not (found := DANGLING.search(text)), f"{found[0]!r} in {text!r}"
    for text in texts_of(page):
        assert not (found := BROKEN.search(text)), f"{found[0]!r} in {text!r}"
        assert not (found := SAME_ENDS.search(text)), f"{found[0]!r} in {text!r}"


def told(page: PanelPage) -> list[str]:
    return [*SENTENCE.split(page.answer), *SENTENCE.split(page.finding)]


@pytest.fixture(params=sorted(PANELS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_every_panel_is_recorded() -> None:
    kinds = {config.panel for config in PANELS.values()}
    assert kinds == {name for name, place in KINDS.items() if ".published." not in place}
    assert POINTS.keys() == PANELS.keys()


def test_the_page_of_what_was_measured_is_whole(name: str) -> None:
    page = page_of(name, POINTS[name])
    check(page)
    assert "Not measured" not in page.answer + page.finding


def test_other_points_say_something_else(name: str) -> None:
    before = page_of(name, POINTS[name])
    others = [page_of(name, change(POINTS[name])) for change in CHANGES]
    for other in others:
        check(other)
    assert others[0].answer != before.answer
    for sentence in (one for one in told(before) if not one.endswith("?")):
        assert any(sentence not in told(other) for other in others), sentence


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("limit_small", "and 0 % by words (bm25) are found"),
        ("passages", "0 % in passages of 1 sentence and 0 % in passages of 6 sentences by words (BM25)"),
        ("index_recall", "0 % among 100 and 0 % among 300 by bm25"),
        ("near_duplicates", "BM25 (names, alone < 64"),
    ],
)
def test_words_that_find_nothing_are_not_said_to_find_everything(name: str, said: str) -> None:
    points = [
        replace(point, y=0.0) if "bm25" in (point.series, *point.labels.values()) else point for point in POINTS[name]
    ]
    assert said in page_of(name, points).answer


def names_in(points: Sequence[Point]) -> list[str]:
    """Series, and what labels say."""
    named = [name for point in points for name in (point.series, *point.labels.values())]
    return [name for name in dict.fromkeys(named) if name]


ALSO_A_WORD = {
    "activation_patterns": {"ReLU", "ReGLU", "regions in a plane"},
    "depth_at_work": {"chance"},
    "facts_in_superposition": {"random directions"},  # and outer products of them
    "optimisation": {"ReLU", "SwiGLU"},  # optimisers have them too
    "optimisation_shaped": {"ReLU", "SwiGLU"},
    "ranks_in_training": {"relu", "swiglu"},  # and Gaussian numbers of their shape
    "ranks_cities": {"relu", "swiglu"},
    "reworded_capacity": {"FFN", "index"},
    "sparse_units": {"25 % active"},
}
"""series and labels whose names sentences use for something else too"""


def test_what_was_not_measured_is_left_out(name: str) -> None:
    points = [point for point in POINTS[name] if point.seed != 2]
    for missing in names_in(points):
        page = page_of(name, [p for p in points if missing not in (p.series, *p.labels.values())])
        check(page)
        for table in page.tables:
            assert all(line[0].text != missing for _, block in table.blocks for line in block), (missing, table.caption)
        if missing in ALSO_A_WORD.get(name, ()):
            continue
        named = re.compile(rf"(?<![\w-]){re.escape(missing)}(?![\w-])")
        for sentence in told(page):
            for longer in names_in(POINTS[name]):
                if missing in longer and longer != missing:
                    sentence = sentence.replace(longer, "")
            assert sentence.startswith("Not measured: ") or not named.search(sentence), (missing, sentence)


def test_a_quantity_that_was_not_measured_breaks_no_sentence(name: str) -> None:
    of_one_seed = [point for point in POINTS[name] if point.seed in (0, None)]
    quantities = list(dict.fromkeys(point.quantity for point in of_one_seed))
    for quantity in random.Random(0).sample(quantities, min(5, len(quantities))):
        check(page_of(name, [point for point in of_one_seed if point.quantity != quantity]))


def test_any_part_may_be_missing(name: str) -> None:
    rng = random.Random(0)
    places = list(dict.fromkeys((point.quantity, point.name, point.x) for point in POINTS[name]))
    check(page_of(name, []))
    for _ in range(8):
        share = rng.choice([0.05, 0.3, 0.7])
        kept = {place for place in places if rng.random() > share}
        kept_seeds = {None, *rng.sample([0, 1, 2], rng.randint(1, 3))}
        points = [p for p in POINTS[name] if (p.quantity, p.name, p.x) in kept and p.seed in kept_seeds]
        check(page_of(name, rng.choice(CHANGES)(points) if points else points))


def test_one_place_is_no_range(name: str) -> None:
    """Of every curve the last point alone."""
    last: dict[tuple[str, str], float | None] = {}
    for point in POINTS[name]:
        last[point.quantity, point.name] = point.x
    check(page_of(name, [point for point in POINTS[name] if point.x == last[point.quantity, point.name]]))


def test_a_seed_may_be_missing_and_one_seed_is_no_range(name: str) -> None:
    for seed in (0, 2):
        check(page_of(name, [point for point in POINTS[name] if point.seed != seed]))
        page = page_of(name, [point for point in POINTS[name] if point.seed in (seed, None)])
        check(page)
        captions = [table.caption for table in page.tables]
        for text in (page.answer, page.finding, *captions):
            assert not re.search(r"\bseeds\b|\brange\b", text), text
        if name != "capacity_slope":  # its interval is that of a line's residuals
            details = [
                cell.detail for table in page.tables for _, block in table.blocks for line in block for cell in line
            ]
            assert not [detail for detail in details if RANGE.match(detail.strip())]


RECORDED = HERE / "recorded_pages.md"


def text_of(page: PanelPage) -> Iterator[str]:
    """All that a page says and would draw."""
    yield from (page.answer, page.finding, *page.explained)
    for chart in page.charts:
        yield f"chart: {chart.title} | {chart.x_label} {chart.x_scale} | {chart.y_label} {chart.y_scale}"
        labels = "".join(f", {label}={value}" for label, value in chart.labels.items())
        shown = f"{', '.join(chart.series)} {dict(chart.names or {})} {chart.percent}"
        yield f"  of {', '.join(chart.quantities)}{labels}: {shown}"
    for table in page.tables:
        yield f"table: {table.caption} {table.long_names}"
        yield "  " + " | ".join(table.header)
        for heading, block in table.blocks:
            yield f"  {heading}:"
            yield from ("  " + " | ".join(f"{cell.text} {cell.detail}".strip() for cell in line) for line in block)


def recorded_text(name: str) -> str:
    """Of what was measured, and the sentences of the same turned round and of one seed."""
    lines = [f"# {name}: {page_of(name, POINTS[name]).title}", "", *text_of(page_of(name, POINTS[name]))]
    for said, points in (
        ("turned round", turned_round(POINTS[name])),
        ("one seed", [point for point in POINTS[name] if point.seed in (0, None)]),
    ):
        page = page_of(name, points)
        lines += ["", f"{said}: {page.answer}", page.finding]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def test_pages_are_those_that_were_read_when_they_were_recorded(name: str) -> None:
    """`python tests/retromem/panels/test_pages_follow_points.py` records them anew: read the difference."""
    of_panels = re.split(r"^(?=# )", RECORDED.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    assert dict(zip(sorted(PANELS), of_panels, strict=True))[name].rstrip() + "\n" == recorded_text(name)


if __name__ == "__main__":
    RECORDED.write_text("\n".join(recorded_text(name) for name in sorted(PANELS)), encoding="utf-8")
