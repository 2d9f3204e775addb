import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from retrieval.errors import UserError
from retromem.knowledge.limit_other_names import OTHER_NAMES
from retromem.knowledge.limit_small import limit_small
from retromem.panels.points import Point
from retromem.panels.published.limit_small_words import LimitSmallWordsConfig
from retromem.panels.published.published_panel import Published
from retromem.panels.retrieval.limit_small_recall import OTHER, WRITTEN, LimitSmallConfig
from retromem.run.panel_cells import PanelCell
from retromem.run.reproduction import reproduction


def write(folder: Path, num_texts: int) -> None:
    """Person i likes thing i and thing i + 1: each thing is liked by two, the first and the last by one."""
    folder.mkdir(exist_ok=True)
    corpus = [
        {"_id": f"p{row}", "title": "", "text": f"Person likes Thing{row:02d}, Thing{row + 1:02d}."}
        for row in range(num_texts)
    ]
    queries = [{"_id": f"q{row}", "text": f"Who likes Thing{row:02d}?"} for row in range(1, num_texts)]
    qrels = [
        {"query-id": f"q{row}", "corpus-id": f"p{who}", "score": 1}
        for row in range(1, num_texts)
        for who in (row - 1, row)
    ]
    for name, records in (("corpus", corpus), ("queries", queries), ("qrels", qrels)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


SHIPPED = Path(__file__).parents[4] / "configs" / "reproduce.yaml"


def words_of(folder: Path) -> LimitSmallWordsConfig:
    published = Published(source="Weller et al. 2025", value=0.978, low=0.97, high=1.0)
    return LimitSmallWordsConfig(folder=str(folder), published=published)


def recall_at_2(folder: Path) -> float:
    (point,) = words_of(folder).measure(0, lambda knowledge: knowledge)
    return point.y


def test_recall_counts_the_relevant_texts_among_the_two_best(tmp_path: Path) -> None:
    write(tmp_path, 46)
    assert recall_at_2(tmp_path) == 1.0
    queries = (tmp_path / "queries.jsonl").read_text().replace("Thing45", "Thing99")  # nobody likes it: the first texts
    (tmp_path / "queries.jsonl").write_text(queries)
    assert recall_at_2(tmp_path) == pytest.approx(1 - 2 / 90)
    panel = words_of(tmp_path)
    assert panel.row(panel.measure(0, lambda knowledge: knowledge)).passes
    assert "k1 = 1.5, b = 0.75" in panel.setting


def test_other_names_share_no_word_with_the_first() -> None:
    words = re.compile(r"\w\w+")
    for name, other in OTHER_NAMES.items():
        assert not {word.rstrip("s") for word in words.findall(name.lower())} & {
            word.rstrip("s") for word in words.findall(other.lower())
        }, name
    assert len(set(OTHER_NAMES.values())) == len(OTHER_NAMES) > 200


def test_words_find_a_thing_by_its_name_alone(tmp_path: Path, as_in_a_run: Callable[..., list[Point]]) -> None:
    write(tmp_path, 46)
    names = dict(zip((f"Thing{row:02d}" for row in range(46)), OTHER_NAMES, strict=False))
    for file in ("corpus", "queries"):
        path = tmp_path / f"{file}.jsonl"
        path.write_text(re.sub(r"Thing\d\d", lambda found: names.get(found[0], found[0]), path.read_text()))
    data = limit_small(tmp_path)
    written, other = data.under_other_names()
    assert len(written.questions) == 45 and written.relevant == other.relevant == data.relevant
    config = LimitSmallConfig(folder=str(tmp_path), rankers=("Flat", "bm25"))
    points = as_in_a_run(config)
    found = {(point.series, point.labels["asked"]): point.y for point in points if point.quantity == "recall_at_2"}
    assert found["bm25", WRITTEN] > 0.95
    assert found["bm25", OTHER] < 0.2
    # Two things a text, not 45: the vector of hashed letters still tells which.
    assert found["Flat", OTHER] < 0.5 < found["Flat", WRITTEN]
    assert "bm25" in config.page(points).finding


def test_things_without_another_name_are_no_limit_small(tmp_path: Path) -> None:
    write(tmp_path, 46)
    with pytest.raises(UserError, match="queries.jsonl: no question is about a thing with another name"):
        limit_small(tmp_path).under_other_names()


def test_the_row_is_there_where_the_data_is(tmp_path: Path) -> None:
    write(tmp_path, 46)
    without, given = (reproduction(limit_small_folder=folder, path=SHIPPED).panels for folder in (None, tmp_path))
    assert given.keys() - without.keys() == {"limit_small_words"}
    assert given["limit_small_words"].folder == str(tmp_path)


def other(folder: Path) -> None:
    reproduction(limit_small_folder=folder, path=SHIPPED)


def test_other_data_is_one_line_that_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"corpus.jsonl: cannot be read .* name the folder of LIMIT-small"):
        other(tmp_path / "none")
    write(tmp_path, 45)
    with pytest.raises(UserError, match="other than the 46 texts"):
        other(tmp_path)
    write(tmp_path, 46)
    (tmp_path / "qrels.jsonl").write_text('{"query-id": "q1"}\n')
    with pytest.raises(UserError, match=r"qrels.jsonl, line 1: is no record with query-id, corpus-id"):
        other(tmp_path)
    (tmp_path / "qrels.jsonl").write_text('{"query-id": "q1", "corpus-id": "nobody"}\n')
    with pytest.raises(UserError, match=r"qrels.jsonl, line 1: there is no text 'nobody'"):
        other(tmp_path)


def test_another_content_is_another_cell_and_another_place_is_not(tmp_path: Path) -> None:
    def name_of(folder: Path) -> str:
        panel = LimitSmallConfig(folder=str(folder))
        return PanelCell(name="it", panel=panel, seed=0, encoder_hash="e").folder_name

    write(tmp_path / "one", 46)
    before = name_of(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    assert name_of(tmp_path / "two") == before
    with (tmp_path / "two" / "qrels.jsonl").open("a") as file:
        file.write("\n")
    assert name_of(tmp_path / "two") != before
