"""One cell in this process, and the comparison from Python: rows, capacities and texts put together by hand."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from models.training_budget import TrainingCutShort, TrainingDiverged
from retrieval.embedding_cache import EmbeddingCache
from retrieval.encoder import Encoder
from retrieval.encoder_config import EncoderConfig, Prompts
from retromem.compare import collect_texts, compare
from retromem.knowledge.cities import spare_city_names
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.knowledge.random_keys import KeysConfig, keys_set
from retromem.knowledge.sources import TextConfig, build_knowledge
from retromem.knowledge.text_keys import CachedTextKeys, TextCollector
from retromem.measure.judgement import Setting, floor_lines, judge
from retromem.measure.latency import EncoderCost
from retromem.measure.settings import CapacitySearch, MeasureConfig
from retromem.memories.closed_form_memory import ClosedFormMemoryConfig
from retromem.memories.faiss_memory import FaissMemoryConfig
from retromem.memories.floors import FrequencyConfig
from retromem.memories.static_function import StaticFunctionConfig
from retromem.rows import CapacityRow, LawBroken, Row
from retromem.run.cells import Cell
from retromem.run.run_cell import Workplace, cell_knowledge, measure_cell, run_cell, texts_of

COST = EncoderCost(seconds_per_text=0.5, single_text_ms=9.0, file_bytes=66)
QUICK = MeasureConfig(robustness=False, max_reworded=9, max_asked=25)
HASHED = EncoderConfig(model="hashed-trigrams")
PROMPTED = replace(HASHED, query_prompt="ask: ", document_prompt="tell: ")
KEYS = KeysConfig(num_facts=120, num_values=8, dim=10)


@pytest.fixture(autouse=True)
def quick_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times are not looked at here: few answers are timed."""
    monkeypatch.setattr("retromem.measure.latency._REPEATS", 2)
    monkeypatch.setattr("retromem.measure.latency._WARM_UP", 1)


@pytest.fixture
def people(tmp_path: Path) -> TextConfig:
    lines = [
        {"subject": f"Person {row}", "relation": relation, "value": f"{relation} {row * row % 7}"}
        for row in range(30)
        for relation in ("trade", "home")
    ]
    path = tmp_path / "people.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return TextConfig(source="file", file=str(path), pool=2, max_calibration=12)


def cell_of(knowledge: Any, memory: Any, encoder_hash: str = "", **other: Any) -> Cell:
    return Cell(
        **{
            "study": "s", "knowledge": knowledge, "knowledge_hash": build_knowledge(knowledge).content_hash,
            "encoder_hash": encoder_hash, "memory": memory, "num_facts": 40, "capacity": None, "smallest": None,
            "seed": 3, "twin": False, "raw_keys": False, "role": "control", "halves": False, "shuffled": False,
            "measures": QUICK, **other,
        }
    )  # fmt: skip


def workplace(folder: Path, **other: Any) -> Workplace:
    return Workplace(
        **{
            "cells_folder": str(folder / "cells"), "cache_folder": str(folder / "cache"),
            "encoders": {Encoder(config).content_hash: COST for config in (HASHED, PROMPTED)}, **other,
        }
    )  # fmt: skip


def without_times(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Rows as JSON has them, but for the clock."""
    clock = ("seconds", "query_ms", "queries_per_second")
    found = [{name: value for name, value in asdict(row).items() if not any(t in name for t in clock)} for row in rows]
    return [{name: None if value != value else value for name, value in row.items()} for row in found]


SETTING = Setting(study="s", role="control", seed=3)


# ---- a cell --------------------------------------------------------------------------------------------------------


def test_the_rows_of_a_cell_are_those_of_its_memory_and_of_the_floors(tmp_path: Path) -> None:
    """On keys nothing is encoded, and labels are dealt by the seed."""
    prefix = keys_set(KEYS).twin(seed=3).prefix(40)
    for memory, floors in (
        (FrequencyConfig(), floor_lines(prefix, setting=SETTING, encoder=EncoderCost())),
        (FrequencyConfig(guess=True), ()),
    ):
        measured = measure_cell(cell_of(KEYS, memory), workplace(tmp_path))
        rows, capacity = measured.rows, measured.capacity
        wanted = judge(memory, prefix, setting=SETTING, measures=QUICK, encoder=EncoderCost(), quick=True).rows
        assert without_times(rows) == without_times((*wanted, *floors)) and capacity is None
        assert rows[0].shared_bytes == 0 and rows[0].query_ms_p50 is not None
    shuffled = cell_of(KEYS, FrequencyConfig(), shuffled=True, halves=True, role="arm", seed=4)
    rows = measure_cell(shuffled, workplace(tmp_path)).rows
    setting = Setting(study="s", role="arm", seed=4, halves=True, shuffled=True)
    prefix = keys_set(KEYS).twin(seed=4).prefix(40)
    judged = judge(FrequencyConfig(), prefix, setting=setting, measures=QUICK, encoder=EncoderCost()).rows
    assert without_times(rows[:1]) == without_times(judged)


def encoded(texts: list[str], folder: Path, config: EncoderConfig = HASHED) -> str:
    encoder = Encoder(config)
    EmbeddingCache(folder / "cache").encode_missing(encoder, texts)
    return encoder.content_hash


@pytest.mark.parametrize(("raw", "twin"), [(False, True), (True, False)])
def test_texts_are_read_from_the_cache_centred_or_not(
    people: TextConfig, tmp_path: Path, raw: bool, twin: bool
) -> None:
    prompted = {"encoder_hash": Encoder(PROMPTED).content_hash, "encoder": PROMPTED}
    cell = cell_of(people, FaissMemoryConfig(key_by="statement"), **prompted, raw_keys=raw, twin=twin)
    prompts = Prompts(query="ask: ", document="tell: ")
    texts = texts_of([cell], prompts)
    encoded(texts, tmp_path, PROMPTED)
    rows = measure_cell(cell, workplace(tmp_path)).rows
    whole = build_knowledge(people)
    whole = whole.twin(seed=3) if twin else whole
    assert cell_knowledge(cell).value_ids_N.tolist() == whole.value_ids_N.tolist()
    assert {text.partition(": ")[0] for text in texts} == {"ask", "tell"}
    keys = CachedTextKeys(
        EmbeddingCache(tmp_path / "cache"), cell.encoder_hash, centred=not raw, names_off_the_set=spare_city_names(),
        prompts=prompts,
    )  # fmt: skip
    setting = replace(SETTING, raw_keys=raw)
    prefix = whole.prefix(40).with_keys(keys)
    wanted = judge(cell.memory, prefix, setting=setting, measures=QUICK, encoder=COST, quick=True).rows
    assert without_times(rows) == without_times(wanted)
    assert {row.shared_bytes for row in rows} == {66} and {row.twin for row in rows} == {twin}
    assert rows[0].memory == ("faiss-s-Flat-raw" if raw else "faiss-s-Flat")
    assert rows[0].write_seconds == pytest.approx((rows[0].memory_write_seconds or 0) + 40 * 0.5)


def texts_by_hand(knowledge: KnowledgeSet, measures: MeasureConfig, *, statements: bool) -> set[str]:
    """What is written, calibrated on and asked, by the questions themselves."""
    facts = knowledge.facts(statements=statements)
    asked = [knowledge.ask(phrasing, num=measures.most(phrasing)).queries for phrasing in knowledge.phrasings()]
    sources = [*facts.cues, facts.calibration.queries, *asked, *([facts.statements] if facts.statements else [])]
    return {text for source in sources for text in source.texts or ()}


def test_every_text_of_a_comparison_is_collected_and_no_other(people: TextConfig) -> None:
    whole = build_knowledge(people).prefix(31)
    taught, judged_on = whole.split(0.5, seed=6)
    for statements in (True, False):
        collector = TextCollector(())
        collect_texts(whole.with_keys(collector), QUICK, statements=statements, halves=False, seed=6)
        assert set(collector.texts) == texts_by_hand(whole, QUICK, statements=statements)
        halved = TextCollector(())
        collect_texts(whole.with_keys(halved), QUICK, statements=statements, halves=True, seed=6)
        lessons = taught.facts(statements=True)
        of_lessons = {
            text
            for source in (*lessons.cues, lessons.calibration.queries, lessons.statements)
            for text in (source.texts if source else None) or ()
        }
        assert set(halved.texts) == of_lessons | texts_by_hand(judged_on, QUICK, statements=statements)


def test_texts_of_several_cells_are_the_union_of_theirs(people: TextConfig) -> None:
    memory, stored = FaissMemoryConfig(), FaissMemoryConfig(key_by="statement")
    cells = [
        cell_of(people, memory, "e", num_facts=20),
        cell_of(people, memory, "e", num_facts=45),
        cell_of(people, stored, "e", num_facts=10),
        cell_of(people, stored, "e", num_facts=10, twin=True),
        cell_of(people, stored, "e", num_facts=10, twin=True, seed=4),
        cell_of(people, memory, "e", num_facts=20, halves=True),
        cell_of(people, memory, "e", num_facts=20, measures=replace(QUICK, max_reworded=20)),
        cell_of(KEYS, memory),
    ]
    alone = [set(texts_of([cell])) for cell in cells]
    assert not alone[-1] and len({frozenset(texts) for texts in alone}) == len(cells)
    together = texts_of(cells)
    assert len(together) == len(set(together)) and set(together) == set().union(*alone)
    assert texts_of([]) == []


# ---- a search ------------------------------------------------------------------------------------------------------


def test_a_capacity_is_searched_on_quick_rows_and_judged_in_full_where_it_ends(tmp_path: Path) -> None:
    """A linear map of ten dimensions, solved: sizes by hand from the accuracies of each size alone."""
    knowledge = keys_set(KEYS).twin(seed=3)
    memory, search = ClosedFormMemoryConfig(), CapacitySearch(accuracy=0.9, low=8, high=100, resolution=0.05)
    cell = cell_of(KEYS, memory, capacity=search, num_facts=100, measures=replace(QUICK, max_asked=None))
    measured = measure_cell(cell, workplace(tmp_path))
    rows, capacity = measured.rows, measured.capacity
    assert capacity is not None
    full = replace(QUICK, max_asked=None)
    for row in rows:
        prefix = knowledge.prefix(row.num_facts)
        (wanted,) = judge(
            memory,
            prefix,
            setting=SETTING,
            measures=full,
            encoder=EncoderCost(),
            only="identical",
            quick=True,
            tau=0.9,
        ).rows
        assert without_times([row]) == without_times([wanted])
        assert (row.query_ms_p50 is not None) == (row.num_facts == capacity.num_facts)
    reached = [row for row in rows if (row.accuracy or 0) >= 0.9]
    failed = [row for row in rows if (row.accuracy or 0) < 0.9]
    best = max(reached, key=lambda row: row.num_facts)
    assert reached and min(row.num_facts for row in failed) - best.num_facts <= max(1, 0.05 * best.num_facts)
    assert capacity == CapacityRow(
        study="s", memory="closed-pseudo-inverse", twin=False, phrasing="identical", tau=0.9, seed=3,
        num_facts=best.num_facts, censored=False, storage_bytes=best.storage_bytes, num_params=100,
        sizes_tried=capacity.sizes_tried,
        bits=best.num_facts * 3.0,  # by the count of the literature: three bits a fact, at the accuracy asked for
    )  # fmt: skip
    assert sorted(map(int, capacity.sizes_tried.split())) == sorted(row.num_facts for row in rows)
    assert best.bits_ce is not None and best.bits_ce < best.num_facts * 3.0
    assert [row.num_facts for row in rows if row is not rows[-1]] == sorted(
        row.num_facts for row in rows if row.num_facts != best.num_facts
    )


def test_a_capacity_that_none_reached_is_weighed_by_its_smallest_size(tmp_path: Path) -> None:
    search = CapacitySearch(accuracy=1.0, low=8, high=100)
    measured = measure_cell(cell_of(KEYS, FrequencyConfig(), capacity=search, num_facts=100), workplace(tmp_path))
    rows, capacity = measured.rows, measured.capacity
    assert [row.num_facts for row in rows] == [8, 16] and all(row.query_ms_p50 is None for row in rows)
    assert capacity is not None and asdict(capacity) == {
        "study": "s", "memory": "floor-mode", "twin": False, "phrasing": "identical", "tau": 1.0, "seed": 3,
        "num_facts": 0, "censored": False, "storage_bytes": rows[0].storage_bytes, "num_params": 0, "bits": None,
        "monotone": True, "sizes_tried": "8 16", "sizes_abandoned": "", "optimizer_steps": 0,
    }  # fmt: skip


def test_bits_of_a_capacity_on_real_values_are_those_of_the_answers(people: TextConfig, tmp_path: Path) -> None:
    search = CapacitySearch(accuracy=0.6, low=10, high=30, phrasing="heldout")
    cell = cell_of(
        people, FaissMemoryConfig(), Encoder(HASHED).content_hash, encoder=HASHED, capacity=search, num_facts=30
    )
    encoded(texts_of([replace(cell, num_facts=60)]), tmp_path)
    measured = measure_cell(cell, workplace(tmp_path))
    rows, capacity = measured.rows, measured.capacity
    assert capacity is not None and capacity.phrasing == "heldout" and capacity.tau == 0.6
    at = [row for row in rows if row.num_facts == capacity.num_facts]
    assert {row.phrasing for row in at} == {"identical", "seen", "heldout"}  # judged in full
    assert {row.phrasing for row in rows if row.num_facts != capacity.num_facts} <= {"heldout"}
    (heldout,) = [row for row in at if row.phrasing == "heldout"]
    assert capacity.bits == pytest.approx(heldout.bits_ce) and heldout.bits_at_tau is None
    assert capacity.storage_bytes == heldout.storage_bytes


# ---- its folder ----------------------------------------------------------------------------------------------------


def test_the_whole_result_of_a_cell(tmp_path: Path) -> None:
    cell, place = cell_of(KEYS, StaticFunctionConfig()), workplace(tmp_path, made_by={"day": "1", "torch": "2"})
    folder = tmp_path / "cells" / cell.folder_name
    folder.mkdir(parents=True)
    (folder / "error.txt").write_text("of an earlier run")
    assert run_cell(cell, place) == "done"
    assert [file.name for file in folder.iterdir()] == ["result.json"]
    result = json.loads((folder / "result.json").read_text())
    seconds = result.pop("seconds")
    assert 0 < seconds < 600 and seconds == round(seconds, 3)
    rows = [Row(**row) for row in result.pop("rows")]
    assert without_times(rows) == without_times(measure_cell(cell, place).rows)
    assert result == {
        "identity": json.loads(json.dumps(cell.identity())),
        "capacity": None,
        "smallest": None,
        "status": "done",
        "reason": "",
        "made_by": {"day": "1", "torch": "2"},
    }
    refused = cell_of(KEYS, FaissMemoryConfig(factory="PQ5np"))
    assert run_cell(refused, place) == "refused"
    result = json.loads((tmp_path / "cells" / refused.folder_name / "result.json").read_text())
    assert (result["status"], result["rows"], result["capacity"]) == ("refused", [], None)
    assert "PQ5np" in result["reason"]
    searched = cell_of(KEYS, StaticFunctionConfig(), capacity=CapacitySearch(low=8, high=20), num_facts=20)
    assert run_cell(searched, place) == "done"
    result = json.loads((tmp_path / "cells" / searched.folder_name / "result.json").read_text())
    assert result["capacity"]["num_facts"] == 20 and result["capacity"]["censored"] is True
    assert [row["num_facts"] for row in result["rows"]] == [8, 16, 20]


@dataclass(frozen=True, kw_only=True)
class FailingConfig(FrequencyConfig):
    """A memory that cannot be made, for a reason that is told."""

    reason: str

    def build(self, *, seed: int) -> Any:
        raise {
            "law": LawBroken("more bits than there are"),
            "memory": MemoryError("Unable to allocate 3 GiB"),
            "silent": MemoryError(),
            "cut": TrainingCutShort("the clock"),
            "diverged": TrainingDiverged("the loss is nan"),
            "bug": ZeroDivisionError("by nothing"),
        }[self.reason]


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("law", "more bits than there are\n"),
        ("memory", "not enough memory (Unable to allocate 3 GiB)\n"),
        ("silent", "not enough memory (for what was asked)\n"),
        ("cut", "the clock\n"),
        ("diverged", "the loss is nan\n"),
        ("bug", None),
    ],
)
def test_a_cell_that_failed_leaves_its_error_alone(tmp_path: Path, reason: str, told: str | None) -> None:
    cell = cell_of(KEYS, FailingConfig(reason=reason))
    assert run_cell(cell, workplace(tmp_path)) == "failed"
    folder = tmp_path / "cells" / cell.folder_name
    assert [file.name for file in folder.iterdir()] == ["error.txt"]
    error = (folder / "error.txt").read_text()
    if told is None:
        assert error.startswith("Traceback") and error.endswith("ZeroDivisionError: by nothing\n")
    else:
        assert error == told


# ---- from Python ---------------------------------------------------------------------------------------------------


def test_a_comparison_is_the_judgement_of_each_of_its_memories(people: TextConfig, tmp_path: Path) -> None:
    whole, encoder, cache = build_knowledge(replace(people, pool=1)), Encoder(HASHED), tmp_path / "cache"

    def wanted(keys: CachedTextKeys, memory: Any, knowledge: KnowledgeSet, seed: int, *, halves: bool) -> list[Row]:
        setting = Setting(study=whole.name, role="arm", seed=seed, halves=halves)
        prefix = knowledge.with_keys(keys)
        judged = judge(memory, prefix, setting=setting, measures=QUICK, encoder=EncoderCost(), quick=True)
        return list(judged.rows)

    def keys_of_cache() -> CachedTextKeys:
        known, names = EmbeddingCache(cache), spare_city_names()
        return CachedTextKeys(
            known, encoder.content_hash, centred=True, names_off_the_set=names, prompts=encoder.prompts
        )

    given: dict[str, Any] = {"measures": QUICK, "encoder": HASHED, "cache": cache}
    rows = compare(whole, [FrequencyConfig()], num_facts=[9], seeds=[3, 1], twins=[False, True], **given)
    keys = keys_of_cache()
    assert without_times(rows) == without_times(
        [
            row
            for twin in (False, True)
            for seed in (3, 1)
            for row in wanted(
                keys, FrequencyConfig(), (whole.twin(seed=seed) if twin else whole).prefix(9), seed, halves=False
            )
        ]
    )
    stored = FaissMemoryConfig(key_by="statement")
    rows = compare(whole, [FrequencyConfig(), stored], num_facts=[8, 12], seeds=[3], halves=True, **given)
    keys = keys_of_cache()
    assert without_times(rows) == without_times(
        [
            row
            for size in (8, 12)
            for memory in (FrequencyConfig(), stored)
            for row in wanted(keys, memory, whole.prefix(size), 3, halves=True)
        ]
    )
    # Half of the twelve facts are written; their statements are charged at what encoding has cost.
    seconds = EmbeddingCache(cache).seconds_per_text(encoder.content_hash)
    assert rows[-1].write_seconds == pytest.approx((rows[-1].memory_write_seconds or 0) + 6 * seconds)


def test_what_a_comparison_asks_where_nobody_says_more() -> None:
    """One seed, and of values that were dealt no twin; the questions of a measurement at its defaults."""
    knowledge = keys_set(KEYS)
    plain = compare(knowledge, [StaticFunctionConfig()], num_facts=[9])
    said = compare(
        knowledge, [StaticFunctionConfig()], num_facts=[9], seeds=(0,), twins=(False,), halves=False,
        measures=MeasureConfig(),
    )  # fmt: skip
    assert without_times(plain) == without_times(said)
    (row,) = plain
    assert (row.seed, row.twin, row.halves, row.num_asked, row.study) == (0, False, False, 9, knowledge.name)
