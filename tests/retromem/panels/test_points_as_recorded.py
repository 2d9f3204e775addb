"""Every panel, measured small, finds again what it found when recorded_points.csv was written.

`python tests/retromem/panels/test_points_as_recorded.py` measures and records all anew. Trainings end elsewhere on
other processors, so a quantity may differ at some of its points, and by 15 % in the middle of them.
"""

import csv
import importlib.util
import os
import re
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import yaml

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[2])] if __name__ == "__main__" else []

from retrieval.embedding_cache import EmbeddingCache  # noqa: E402
from retrieval.encoder import Encoder  # noqa: E402
from retrieval.encoder_config import EncoderConfig  # noqa: E402
from retromem.configuration import build  # noqa: E402
from retromem.knowledge.limit_other_names import OTHER_NAMES  # noqa: E402
from retromem.panels.points import Point, labels_text  # noqa: E402
from retromem.run.experiment import ExperimentConfig  # noqa: E402
from retromem.run.panel_cells import PanelCell  # noqa: E402
from retromem.run.run_cell import Workplace, measure_panel, texts_of  # noqa: E402

PANELS = build(ExperimentConfig, yaml.safe_load((HERE / "recorded_panels.yaml").read_text()), source="recorded").panels
RECORDED = HERE / "recorded_points.csv"
COLUMNS = ("panel", "quantity", "series", "labels", "x", "y", "seed")
TIMED = re.compile(r"^seconds|ratio$|_ms\b|\bms_|_seconds")
"""another value each time"""
HALFWAY = 0.15


def module_beside(name: str) -> ModuleType:
    """A test file of the retrieval panels, for the documents that it makes."""
    spec = importlib.util.spec_from_file_location(name, HERE / "retrieval" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_documents(folder: Path) -> None:
    """The towns to read about, and a LIMIT-small whose things have other names."""
    module_beside("test_reading").documents(folder)
    module_beside("test_limit_small").write(folder / "limit-small", 46)
    names = dict(zip((f"Thing{row:02d}" for row in range(46)), OTHER_NAMES, strict=False))
    for file in ("corpus", "queries"):
        path = folder / "limit-small" / f"{file}.jsonl"
        path.write_text(re.sub(r"Thing\d\d", lambda found: names.get(found[0], found[0]), path.read_text()))


def measured(name: str, folder: Path) -> list[Point]:
    """The points of one panel, as a run measures it in a folder with these documents."""
    model = EncoderConfig()
    encoder = Encoder(model)
    cell = PanelCell(name=name, panel=PANELS[name], seed=0, encoder_hash=encoder.content_hash, encoder=model)
    if PANELS[name].reads_text:
        EmbeddingCache(folder).encode_missing(encoder, texts_of([cell]))
    place = Workplace(cells_folder="", cache_folder=str(folder))
    return measure_panel(cell, place)


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder in which paths of the recorded config lead somewhere."""
    folder = tmp_path_factory.mktemp("documents")
    write_documents(folder)
    before = Path.cwd()
    os.chdir(folder)
    yield folder
    os.chdir(before)


def differences(recorded: dict[tuple[str, str, str, str], float], points: list[Point]) -> dict[str, list[float]]:
    """How far each point is from the recorded one, relative to the larger of them: by quantity, and by formula."""
    found = defaultdict(list)
    for point in points:
        one, other = recorded[place_of(point)], point.y
        by = abs(one - other) / max(abs(one), abs(other)) if one != other else 0.0
        found[point.quantity].append(by)
        if point.seed is None:
            found[f"{point.quantity}, {point.series}"].append(by)
    return found


def place_of(point: Point) -> tuple[str, str, str, str]:
    """What is told apart, as the columns say it."""
    x = "" if point.x is None else f"{float(point.x):.6g}"
    return point.quantity, point.series, labels_text(point), x


def _but_for_the_plan(quantity: str, series: str, labels: str, x: str) -> tuple[str, str, str, str]:
    """Without the index that a plan chose."""
    return quantity, series, "" if labels.startswith("index=") else labels, x


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(PANELS))
def test_a_panel_finds_again_what_was_recorded(name: str, documents: Path) -> None:
    with RECORDED.open() as file:
        rows = [row for row in csv.DictReader(file) if row["panel"] == name]
    recorded = {(row["quantity"], row["series"], row["labels"], row["x"]): float(row["y"]) for row in rows}
    points = measured(name, documents)
    measured_at = {place_of(point): point for point in points}
    assert {_but_for_the_plan(*place) for place in measured_at} == {_but_for_the_plan(*place) for place in recorded}
    # Which of two codes that are nearly alike a plan takes, the rounding of the processor decides.
    same = [point for place, point in measured_at.items() if place in recorded]
    assert len(same) >= 0.75 * len(points)
    middle = {quantity: statistics.median(of) for quantity, of in differences(recorded, same).items()}
    assert not {quantity: by for quantity, by in middle.items() if by > HALFWAY and not TIMED.search(quantity)}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        write_documents(Path(place))
        lines = []
        for panel in PANELS:
            for point in measured(panel, Path(place)):
                seed = "" if point.seed is None else point.seed
                lines.append((panel, *place_of(point), f"{point.y:.6g}", seed))
            print(panel, len(lines), flush=True)  # noqa: T201 - it takes minutes
    with RECORDED.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *lines])
