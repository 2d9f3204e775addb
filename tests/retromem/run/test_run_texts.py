"""A run of texts and panels before its workers start: what is encoded, charged, remarked and kept."""

import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from models.ffn_kinds import DenseConfig
from models.training_budget import TrainingBudget
from retrieval.embedding_cache import EmbeddingCache
from retrieval.encoder import Encoder
from retrieval.encoder_config import EncoderConfig, Prompts
from retrieval.errors import UserError
from retromem.configuration import build, read_config
from retromem.knowledge.random_keys import KeysConfig
from retromem.knowledge.sources import TextConfig, build_knowledge
from retromem.measure.latency import EncoderCost
from retromem.memories.faiss_memory import FaissMemoryConfig
from retromem.memories.ffn_memory import FFNMemoryConfig
from retromem.memories.floors import FrequencyConfig
from retromem.memories.static_function import StaticFunctionConfig
from retromem.panels.retrieval.limit_small_recall import LimitSmallConfig
from retromem.panels.retrieval.passages import PassagesConfig
from retromem.panels.theory.physical_limit import PhysicalCapacityConfig
from retromem.run.cells import Cell
from retromem.run.experiment import ArmsConfig, ExperimentConfig, StudyConfig
from retromem.run.panel_cells import PanelCell
from retromem.run.run_cell import Workplace, run_cell, texts_of
from retromem.run.run_experiment import _all_cells, _Run, run_experiment
from retromem.run.run_texts import described_encoders, encode_missing, remarks_on_keys, text_dim_of

HASHED = EncoderConfig(model="hashed-trigrams", query_prompt="ask: ", document_prompt="tell: ")
# Of Peru and PERU, and of Chad and chad, the encoder makes one key; of the ten facts six have one of their own.
ROWS = [
    ("Peru", "America"), ("PERU", "Asia"), ("Norway", "Europe"), ("Chad", "Africa"), ("chad", "Europe"),
    ("Fiji", "Oceania"), ("Oman", "Asia"), ("Cuba", "America"), ("Iran", "Asia"), ("Italy", "Europe"),
]  # fmt: skip


@pytest.fixture
def world(tmp_path: Path) -> TextConfig:
    path = tmp_path / "world.csv"
    path.write_text("subject,relation,value\n" + "".join(f"{name},continent,{value}\n" for name, value in ROWS))
    return TextConfig(source="file", file=str(path), pool=1, num_written=1)


def experiment(*studies: tuple[Any, tuple[ArmsConfig, ...]], **other: Any) -> ExperimentConfig:
    named = {f"study{number}": StudyConfig(knowledge=of, arms=arms) for number, (of, arms) in enumerate(studies)}
    return ExperimentConfig(**{"title": "t", "question": "q", "studies": named, "encoder": HASHED, **other})


def arms(*memories: Any, **other: Any) -> ArmsConfig:
    return ArmsConfig(**{"memories": memories, "num_facts": (10,), "seeds": (0,), **other})


PASSAGES = PassagesConfig(num_facts=20, num_asked=5, distractors=(1,), seeds=(4, 2))
BOUND = PhysicalCapacityConfig(seeds=(7,))


def test_texts_of_a_panel_are_encoded_as_documents_and_its_questions_as_questions(tmp_path: Path) -> None:
    things = [f"Thing{row}" if row != 3 else "Accountants" for row in range(47)]
    corpus = [{"_id": f"p{row}", "text": f"Person likes {things[row]}, {things[row + 1]}."} for row in range(46)]
    asked = [{"_id": f"q{row}", "text": f"Who likes {things[row]}?"} for row in range(1, 46)]
    right = [
        {"query-id": f"q{row}", "corpus-id": f"p{who}", "score": 1} for row in range(1, 46) for who in (row - 1, row)
    ]
    for name, records in (("corpus", corpus), ("queries", asked), ("qrels", right)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    panel, prompts = LimitSmallConfig(folder=str(tmp_path)), Prompts(query="ask: ", document="tell: ")
    found = texts_of([PanelCell(name="p", panel=panel, seed=4, encoder_hash="e")], prompts)
    wanted = {f"tell: {text['text']}" for text in corpus} | {f"ask: {question['text']}" for question in asked}
    assert set(found) == wanted | {"ask: Who likes bookkeepers?"} and len(found) == 92
    assert texts_of([PanelCell(name="b", panel=BOUND, seed=7, encoder_hash="")], prompts) == []


def test_cells_are_those_of_studies_and_then_of_panels(world: TextConfig) -> None:
    config = experiment((world, (arms(FrequencyConfig()),)), panels={"cut": PASSAGES, "bound": BOUND})
    encoder = Encoder(HASHED)
    assert text_dim_of(config) == encoder.dim
    cells = _all_cells(config, encoder.dim)
    assert isinstance(cells[0], Cell) and cells[0].encoder_hash == encoder.content_hash
    assert cells[1:] == [
        PanelCell(name="cut", panel=PASSAGES, seed=4, encoder_hash=encoder.content_hash, encoder=HASHED),
        PanelCell(name="cut", panel=PASSAGES, seed=2, encoder_hash=encoder.content_hash, encoder=HASHED),
        PanelCell(name="bound", panel=BOUND, seed=7, encoder_hash="", encoder=HASHED),
    ]
    assert described_encoders(cells) == HASHED.resolve().description
    keys = experiment((KeysConfig(num_facts=20), (arms(FrequencyConfig()),)), panels={"bound": BOUND})
    assert text_dim_of(keys) == 0
    of_keys = _all_cells(keys, 0)
    assert {cell.encoder_hash for cell in of_keys} == {""} and described_encoders(of_keys) == "none"
    # A panel that is not run reads nothing, and nothing at all is a mistake.
    assert text_dim_of(replace(keys, panels={"cut": replace(PASSAGES, seeds=(1,))})) == encoder.dim
    with pytest.raises(UserError, match="studies, panels: there is no cell to run"):
        _all_cells(experiment(), 0)


def test_what_is_encoded_is_charged_at_what_it_took_first(world: TextConfig, tmp_path: Path) -> None:
    config = experiment((world, (arms(FrequencyConfig(), FaissMemoryConfig(key_by="statement")),)))
    cells, said, folder = _all_cells(config, 384), list[str](), tmp_path / "cache"
    encoder = Encoder(HASHED)
    cost = encode_missing(cells, folder, said.append)[encoder.content_hash]
    texts = texts_of(cells, encoder.prompts)
    assert {text[:5] for text in texts} == {"ask: ", "tell:"}
    assert said[0] == f"encoding {len(texts):,} texts with {encoder.description}"
    cache = EmbeddingCache(folder)
    assert cache.missing(encoder.content_hash, texts) == []
    kept = json.loads((folder / encoder.content_hash / "single_text.json").read_text())
    assert cost == EncoderCost(
        seconds_per_text=cache.seconds_per_text(encoder.content_hash),
        single_text_ms=kept["single_text_ms"],
        file_bytes=encoder.file_bytes,
    )
    assert cost.seconds_per_text > 0 and cost.single_text_ms > 0
    said.clear()
    assert encode_missing(cells, folder, said.append) == {encoder.content_hash: cost} and said == []


def test_facts_of_one_key_are_remarked_for_the_largest_size_of_each_study(world: TextConfig, tmp_path: Path) -> None:
    sizes = arms(FrequencyConfig(), num_facts=(4, 10, 7), twins=(False, True), seeds=(0, 1))
    config = experiment((world, (sizes,)), (KeysConfig(num_facts=20), (sizes,)))
    cells = _all_cells(config, 384)
    assert remarks_on_keys(cells, tmp_path / "cache") == []  # nothing is encoded yet
    encode_missing(cells, tmp_path / "cache", lambda line: None)
    whole = build_knowledge(world)
    lines = []
    for name, knowledge in (("study0", whole), ("study0 (values permuted)", whole.twin(seed=0))):
        value_of = dict(zip(knowledge.subjects, knowledge.value_ids_N.tolist(), strict=True))
        shared = [pair for pair in (("Peru", "PERU"), ("Chad", "chad")) if value_of[pair[0]] != value_of[pair[1]]]
        if shared:
            lines.append(
                f"{name}: {2 * len(shared)} of 10 facts share their very key with a fact of another value (the encoder "
                f"reads their questions alike), so at most {100 - 10 * len(shared)}.0 % can be right as written"
            )
    assert lines[0].startswith("study0: 4 of 10 facts")
    assert remarks_on_keys(cells, tmp_path / "cache") == lines


def test_a_run_keeps_its_settings_its_plan_and_the_command_that_measured(world: TextConfig, tmp_path: Path) -> None:
    trained = FFNMemoryConfig(ffn=DenseConfig(width=4), training=TrainingBudget(steps=3))
    config = experiment(
        (world, (arms(FrequencyConfig(), StaticFunctionConfig(), trained),)), panels={"bound": BOUND, "cut": PASSAGES}
    )
    cells, said, run, cache = _all_cells(config, 384), list[str](), tmp_path / "run", tmp_path / "cache"
    encode_missing(cells[:1], cache, said.append)
    said.clear()

    def go(command: str, cells: list[Any], *, force: bool = False) -> Any:
        mine = _Run(config=config, name="mine", folder=run, cells=cells, cache=cache, say=said.append, force=force)
        mine.compute([], command, ["told before"], None)
        return json.loads((run / "plan.json").read_text())

    record = go("make first", cells)
    (alike,) = [line.strip() for line in said]
    assert alike.startswith("study0: 4 of 10 facts share their very key") and said == [f"  {alike}"]
    assert record["notes"] == ["told before", alike]
    assert record["cells"] == [cell.folder_name for cell in cells]
    assert record["method"]["command"] == "make first"
    assert record["method"]["encoder"] == HASHED.resolve().description
    assert record["method"]["seeds"] == "0, 2, 4, 7"
    assert record["panels"] == {
        "bound": {"config": json.loads(json.dumps(asdict(BOUND))), "cells": [cells[-3].folder_name]},
        "cut": {
            "config": json.loads(json.dumps(asdict(PASSAGES))),
            "cells": [cells[-2].folder_name, cells[-1].folder_name],
        },
    }
    # What is read back is what was resolved: the precision that `auto` came to.
    kept = build(ExperimentConfig, read_config(run / "config.yaml"), source="kept")
    head, *_ = (run / "config.yaml").read_text().splitlines()
    assert head == (
        "# Every setting of the run mine, as resolved; `make report CONFIG=runs/mine/config.yaml` redoes it."
    )
    precision = HASHED.resolve().precision
    assert kept == replace(config, encoder=replace(HASHED, precision=precision))
    # Nothing was run: the command of the measurement stays. Of other cells it is another's.
    assert go("make again", cells)["method"]["command"] == "make first"
    assert go("make fewer", cells[:2])["method"]["command"] == "make fewer"
    left = run / "cells" / cells[0].folder_name
    left.mkdir(parents=True)
    (left / "result.json").write_text("{}")
    go("make fewer", cells[:2])
    assert left.exists()
    go("make fewer", cells[:2], force=True)
    assert not left.exists()


def test_all_that_a_run_says_whose_cells_are_done(world: TextConfig, tmp_path: Path) -> None:
    table = Path(world.file or "")
    table.write_text(table.read_text() + ",continent,nowhere\nPeru,continent,Europe\n")
    statics = arms(StaticFunctionConfig(), num_facts=(9,))
    keys = experiment((KeysConfig(num_facts=20), (statics,)))
    texts = experiment((world, (statics,)), (world, (arms(FrequencyConfig(), num_facts=(9,)),)))
    said: list[str] = []

    def go(config: ExperimentConfig, *, refuse: bool = False) -> list[str]:
        """The cells in this process, then the run; what it said."""
        cells = _all_cells(config, text_dim_of(config))
        if cells[0].encoder_hash:
            encode_missing(cells, tmp_path / "cache", said.append)
        place = Workplace(
            cells_folder=str(tmp_path / "runs" / "mine" / "cells"), cache_folder=str(tmp_path / "cache"),
            encoders=dict.fromkeys({cell.encoder_hash for cell in cells}, EncoderCost()),
        )  # fmt: skip
        for cell in cells:
            assert run_cell(cell, place) == "done"
            if refuse:
                result = tmp_path / "runs" / "mine" / "cells" / cell.folder_name / "result.json"
                refused = {**json.loads(result.read_text()), "status": "refused", "reason": "too few", "rows": []}
                result.write_text(json.dumps(refused))
        said.clear()
        finished = run_experiment(
            config, name="mine", command="c", say=said.append, runs=tmp_path / "runs", reports=tmp_path / "reports",
            cache=tmp_path / "cache", num_workers=5,
        )  # fmt: skip
        assert finished.num_failed == 0
        assert finished.report == (None if refuse else tmp_path / "reports" / "mine")
        return [re.sub(r"in \d+ s", "in N s", line) for line in said]

    read = f"read {tmp_path / 'reports' / 'mine' / 'index.html'}"
    first, answer, last = go(keys)
    assert (first, last) == ("mine: all 1 cells are done; writing the report", f"0 of 1 cells run in N s; {read}")
    assert answer.startswith("Nothing to compare")
    left_out = "  left out of world: 3 of 12 rows: 1 empty (a cell holds nothing), 2 several values "
    lines = go(texts)
    assert lines[0] == "mine: all 2 cells are done; writing the report"
    assert [line for line in lines if line.startswith("  left out")] == lines[1:2]
    assert lines[1].startswith(left_out)  # a set of two studies once
    notes = [f"  {note}" for note in build_knowledge(world).notes]
    assert lines[2 : 2 + len(notes)] == notes
    replaced, *alike, answer, last = lines[2 + len(notes) :]
    assert answer.startswith("Nothing to compare")
    name = build_knowledge(KeysConfig(num_facts=20)).name
    assert replaced == f"  {tmp_path / 'reports' / 'mine'} was of {name}: it is replaced (NAME=... keeps both)"
    assert [line.split(":")[0] for line in alike] == ["  study0", "  study1"]
    assert last == f"0 of 2 cells run in N s; {read}"
    record = json.loads((tmp_path / "runs" / "mine" / "plan.json").read_text())
    assert record["notes"][-2:] == [line.strip() for line in alike] and record["dropped"]["empty"] == 1
    (cell,) = _all_cells(keys, 0)
    assert go(keys, refuse=True)[2:] == [
        f"0 of 1 cells run in N s, 1 of all refused; no cell has a result ({cell.folder_name}: too few)"
    ]
