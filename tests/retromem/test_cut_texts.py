"""Texts longer than the encoder reads are counted by fact: in a run, in a store and in what is added to one."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from retrieval.encoder import Encoder
from retrieval.encoder_config import EncoderConfig
from retromem import stores
from retromem.cells import plan
from retromem.experiment import ArmsConfig, ExperimentConfig, StudyConfig
from retromem.fact_additions import add_facts
from retromem.fact_remarks import not_read
from retromem.knowledge.sources import TextConfig, build_knowledge
from retromem.memories.faiss_memory import FaissMemoryConfig
from retromem.memories.floors import FrequencyConfig
from retromem.run_experiment import _remarks_before

MANY = "again " * 300
TOLD = "are longer than the encoder reads; what stands behind is in no vector"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(name: str, facts: Sequence[tuple[str, str, str]]) -> str:
    Path(name).write_text("\n".join(["subject,relation,value", *map(",".join, facts)]) + "\n")
    return name


def test_questions_and_statements_are_counted_apart_and_each_fact_once() -> None:
    facts = [(f"Town {name}{MANY if name in 'ce' else ''}", "capital", f"v{name}") for name in "abcdefg"]
    facts += [(f"Town {name}", "river", f"r{name} {MANY if name in 'abfg' else ''}") for name in "abcdefg"]
    encoder = Encoder(EncoderConfig())
    knowledge = build_knowledge(TextConfig(source="file", file=write("f.csv", facts)))
    questions = f"f: the questions of 2 of 14 facts {TOLD}"
    assert not_read(knowledge, encoder, statements=True) == [questions, f"f: the statements of 6 of 14 facts {TOLD}"]
    assert not_read(knowledge, encoder, statements=False) == [questions]
    short = build_knowledge(TextConfig(source="file", file=write("short.csv", [("Oslo", "river", "Aker")])))
    assert not_read(short, encoder, statements=True) == []


def test_a_run_remarks_on_the_texts_that_it_reads() -> None:
    facts = [(f"Town {name}", "river", f"r{name} {MANY if name in 'abc' else ''}") for name in "abcdefg"]
    study = TextConfig(source="file", file=write("long.csv", facts))
    line = f"long: the statements of 3 of 7 facts {TOLD}"
    for memories, lines in (
        ((FaissMemoryConfig(), FrequencyConfig()), []),
        ((FrequencyConfig(), FaissMemoryConfig(key_by="statement")), [line]),
    ):
        arms = ArmsConfig(memories=memories, num_facts=(7,), seeds=(0,))
        config = ExperimentConfig(
            title="t", question="q", studies={"s": StudyConfig(knowledge=study, arms=(arms,))}, encoder=EncoderConfig()
        )
        assert _remarks_before(config, plan(config, encoder_hash="e", text_dim=384)) == lines
    assert _remarks_before(config, []) == []


def test_a_store_of_questions_remarks_on_statements_too() -> None:
    write("f.csv", [("Oslo", "river", "Aker"), ("Bonn", "river", f"Rhine {MANY}")])
    said: list[str] = []
    stores.build(
        Path("s"),
        facts="f.csv",
        phrasings=None,
        columns=[],
        factory="Flat",
        rotate_to=None,
        say=said.append,
        key_by="question",
    )
    assert said == [f"  f: the statements of 1 of 2 facts {TOLD}"]
    write("m.csv", [("Graz", "river", f"Mur {MANY}"), (f"Ulm {MANY}", "river", "Danube")])
    lines = add_facts(Path("s"), facts="m.csv", phrasings=None, columns=[], model=None).splitlines()
    assert lines == [
        f"  m: the questions of 1 of 2 facts {TOLD}",
        f"  m: the statements of 2 of 2 facts {TOLD}",
        "s: 2 chunks added and 0 corrected, of 2 facts; 2 new values, 4 chunks now",
    ]
    found = stores.search(Path("s"), "What is the river of Graz?", top=9).splitlines()
    assert found[0].split("  ")[1].startswith("Mur")
