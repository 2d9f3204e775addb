"""A store of twelve facts from file to answer, with the encoder that users get."""

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from retrieval import store_updates
from retrieval.chunks import Chunks
from retrieval.encoder import Encoder
from retrieval.encoder_config import EncoderConfig
from retrieval.errors import UserError
from retrieval.sealed_folder import read_manifest, write_sealed
from retromem.knowledge.fact_remarks import not_read
from retromem.knowledge.sources import TextConfig, build_knowledge
from retromem.memories.faiss_memory import FaissMemory, FaissMemoryConfig
from retromem.memories.floors import FrequencyConfig
from retromem.run.cells import plan
from retromem.run.experiment import ArmsConfig, ExperimentConfig, StudyConfig
from retromem.run.run_texts import remarks_before
from retromem.seam import Part
from retromem.stores.fact_additions import add_facts
from retromem.stores.fact_stores import build_fact_store
from retromem.stores.store_checks import self_test, verify_store
from retromem.stores.store_search import search_store

CAPITALS = {
    "Norway": "Oslo",
    "Italy": "Rome",
    "France": "Paris",
    "Japan": "Tokyo",
    "Peru": "Lima",
    "Kenya": "Nairobi",
    "Cuba": "Havana",
    "Egypt": "Cairo",
    "Iran": "Tehran",
    "Chad": "N'Djamena",
    "Fiji": "Suva",
    "Oman": "Muscat",
}
LEAKING = '{"subject": "Mexico", "relation": "capital", "value": "Mexico City"}\n'


def build(store: Path, **changes: object) -> str:
    """The store of the twelve capitals, in the present folder."""
    given = {"phrasings": None, "columns": [], "factory": "Flat", "rotate_to": None, "key_by": "statement"}
    return build_fact_store(store, facts="facts.jsonl", **{**given, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The present folder: facts, stores, and the cache of embeddings beside them."""
    pytest.importorskip("faiss")
    folder = tmp_path_factory.mktemp("place")
    lines = [json.dumps({"subject": s, "relation": "capital", "value": v}) + "\n" for s, v in CAPITALS.items()]
    (folder / "facts.jsonl").write_text("".join(lines) + LEAKING)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


@pytest.fixture(scope="module")
def ledger(place: Path) -> str:
    return build(Path("store"))


@pytest.fixture
def store(ledger: str, place: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    shutil.copytree(place / "store", tmp_path / "store")
    return tmp_path / "store"


def numbers(ledger: str) -> dict[str, int]:
    return {name: int(count.replace(",", "")) for name, count in re.findall(r"(\w+_bytes) +([\d,]+)", ledger)}


def test_the_ledger_sums_to_the_bytes_of_the_folder(ledger: str, store: Path) -> None:
    assert "\nstore: 12 facts in faiss-s-Flat, built in " in ledger
    files = {path.name: path.stat().st_size for path in store.iterdir()}
    counted = numbers(ledger)
    assert counted["storage_bytes"] + counted["maintain_bytes"] + counted["value_bytes"] == sum(files.values())
    assert counted["storage_bytes"] == files["index.faiss"] + files["payload.bin"]
    assert counted["shared_bytes"] > 40_000_000  # the encoder
    assert counted["seeded_bytes"] == 0
    named = set(re.findall(r"[\w.]+\.\w+", " ".join(re.findall(r"\((.*)\)", ledger))))
    assert set(files) <= named | {"from a seed"}
    assert "left out of facts: 1 of 13 rows: 1 subject in value (the answer would give the question)" in ledger


def test_a_rotation_lies_on_no_disk_and_is_named_all_the_same(ledger: str, place: Path) -> None:
    rotated = numbers(build(Path("rotated"), rotate_to=32, key_by="question"))
    assert rotated["seeded_bytes"] >= 4 * 384 * 32
    assert rotated["storage_bytes"] < numbers(ledger)["storage_bytes"] / 5
    files = [path.stat().st_size for path in (place / "rotated").iterdir()]
    assert rotated["storage_bytes"] + rotated["maintain_bytes"] + rotated["value_bytes"] == sum(files)


def test_a_whole_store_is_called_whole(store: Path) -> None:
    assert verify_store(store).startswith(f"{store}: whole; ")


def test_build_and_verify_say_what_the_self_test_found(ledger: str, store: Path) -> None:
    line = "  self-test: recall@1 1.000 (12 of 12 stored vectors that were asked for themselves), 12 chunks of 384"
    assert line in ledger
    assert line in verify_store(store)


@pytest.mark.parametrize(
    "name", ["index.faiss", "payload.bin", "ids.npy", "vectors.npy", "chunks.arrow", "manifest.json"]
)
def test_verify_names_the_file_of_a_flipped_byte(store: Path, name: str) -> None:
    content = bytearray((store / name).read_bytes())
    content[len(content) // 2] ^= 1
    (store / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"^{re.escape(str(store / name))}: "):
        verify_store(store)


@pytest.mark.parametrize("key_by", ["statement", "question"])
def test_search_finds_the_answer_first(place: Path, key_by: str) -> None:
    build(Path(key_by), key_by=key_by)
    for subject in ("Norway", "Chad"):
        value = CAPITALS[subject]
        lines = search_store(Path(key_by), f"Which city is the capital of {subject}?", top=3).splitlines()
        assert len(lines) == 3
        similarities = [float(line.split()[0]) for line in lines]
        assert similarities == sorted(similarities, reverse=True)
        assert lines[0].split("  ")[1] == value
        assert subject in lines[0]
        assert (value in lines[0].split("  ")[2]) == (key_by == "statement")


def test_a_changed_store_is_still_a_memory_and_its_ledger_is_exact(store: Path) -> None:
    before = FaissMemory.load(store)
    chunks = before._store.segments[0].chunks
    norway = next(row for row, text in enumerate(chunks.texts) if "Norway" in text)
    one = {name: getattr(chunks, name)[norway : norway + 1] for name in ("ids_N", "labels_N", "groups_N")}
    store_updates.delete(store, one["ids_N"])
    assert all("Norway" not in line for line in search_store(store, "Norway", top=50).splitlines())
    moved = Chunks(
        **{**one, "ids_N": one["ids_N"] + 2**40},
        vectors_ND=np.array(chunks.vectors_ND[norway : norway + 1]),
        label_bits_G=chunks.label_bits_G,
        texts=["The capital of Norway lies by a fjord."],
    )
    store_updates.add(store, moved)
    memory = FaissMemory.load(store)
    on_disk = sum(path.stat().st_size for path in store.iterdir())
    assert memory.footprint().num_bytes(Part.STORAGE, Part.MAINTAIN, Part.VALUE) == on_disk
    found = search_store(store, "Which city is the capital of Norway?", top=1)
    assert "Oslo" in found and "fjord" in found
    assert "12 chunks" in verify_store(store)
    assert "1 deleted" in verify_store(store)
    memory.save(store.parent / "copy")
    assert memory.footprint() == FaissMemory.load(store.parent / "copy").footprint()


def test_search_shows_no_more_than_there_is(store: Path) -> None:
    assert len(search_store(store, "Where?", top=50).splitlines()) == 12


def test_building_again_replaces_the_store_and_encodes_nothing(ledger: str, place: Path) -> None:
    cached = {path: path.stat().st_mtime_ns for path in (place / ".cache").rglob("*") if path.is_file()}
    assert cached
    built, rebuilt = ledger.splitlines(), build(Path("store")).splitlines()
    assert rebuilt[1].endswith(", in place of a store of 12 chunks that was there")
    assert rebuilt[2:] == built[2:]
    assert {path: path.stat().st_mtime_ns for path in (place / ".cache").rglob("*") if path.is_file()} == cached


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"factory": "Flatt"}, "'Flatt'"),
        ({"factory": "IVF64,Flat"}, "IVF64,Flat cannot be built from 12 vectors"),
        ({"rotate_to": 0}, "rotate_to"),
        ({"phrasings": "nope.yaml"}, "nope.yaml"),
        ({"columns": ["subject=name"]}, "facts.jsonl, line 1: column 'name' missing"),
    ],
)
def test_what_cannot_be_built_leaves_nothing(
    place: Path, ledger: str, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        build(Path("refused"), **changes)
    assert not (place / "refused").exists()


def test_a_folder_of_other_things_is_not_built_over(place: Path, ledger: str) -> None:
    (place / "mine").mkdir()
    (place / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="mine: holds other files than a store's; name a folder"):
        build(Path("mine"))
    assert (place / "mine" / "thesis.txt").read_text() == "years of work"


def test_a_sealed_folder_that_is_no_store_of_facts_is_not_searched(tmp_path: Path) -> None:
    write_sealed(tmp_path / "other", {"a.bin": b"1"}, kind="test", meta={})
    with pytest.raises(UserError, match="other: is no store of facts"):
        search_store(tmp_path / "other", "Where?", top=1)


def test_a_planned_index_is_built_and_keeps_its_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = [f"{first}{second}" for first in ("Al", "Bo", "Ca", "De", "Er") for second in ("da", "len", "mir", "sor")]
    rows = "".join(f"{name},colour,{'red' if row % 3 else 'green'}\n" for row, name in enumerate(names))
    (tmp_path / "facts.csv").write_text("subject,relation,value\n" + rows)
    asked = {
        "facts": "facts.csv",
        "phrasings": None,
        "columns": [],
        "rotate_to": None,
    }
    said = build_fact_store(tmp_path / "s", factory="auto: bytes<=400 per fact", key_by="statement", **asked)  # type: ignore[arg-type]
    expected = re.search(r"auto: bytes<=400 per fact: (\S+): ([\d,]+) bytes", said)
    assert expected is not None
    assert re.search(rf"storage_bytes +{expected[2]} ", said)
    assert re.search(r"; \d+ indexes were tried", said)
    assert re.search(r"recall@1 \d\.\d{3} against exact search \(20 questions asked\)", said)
    turned = build_fact_store(tmp_path / "q", factory="Flat", key_by="question", num_shards=3, **asked)  # type: ignore[arg-type]
    assert "recall@1 1.000 against exact search (20 statements asked)" in turned
    with pytest.raises(UserError, match="the smallest is"):
        build_fact_store(tmp_path / "n", factory="auto: bytes<=1 per fact", key_by="statement", **asked)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="chooses its own rotation"):
        build_fact_store(
            tmp_path / "n",
            factory="auto: bytes<=9",
            key_by="statement",
            **{**asked, "rotate_to": 16},  # type: ignore[arg-type]
        )
    assert not (tmp_path / "n").exists()


def test_a_graph_in_two_shards_is_two_segments_that_answer_as_one(place: Path) -> None:
    build(Path("sharded"), factory="HNSW8", num_shards=2)
    assert sorted(path.name for path in Path("sharded").glob("index*.faiss")) == ["index-00000001.faiss", "index.faiss"]
    assert "Oslo" in search_store(Path("sharded"), "What is the capital of Norway?", top=1)


def test_a_store_is_asked_with_the_encoder_that_built_it(place: Path) -> None:
    ledger = build(Path("hashed"), model="hashed-trigrams")
    assert numbers(ledger)["shared_bytes"] == 0
    assert read_manifest(Path("hashed"))["meta"]["store"]["encoder"]["name"] == "hashed-trigrams"
    assert "Oslo" in search_store(Path("hashed"), "Norway's capital", top=1)


def test_all_values_of_a_subject_are_chunks_and_what_is_cut_is_said_before_anything_is_encoded(place: Path) -> None:
    rows = [("Oslo", "twin", "Rome"), ("Oslo", "twin", "Lima"), ("Oslo", "twin", "Bonn"), ("Cairo", "twin", "Suva")]
    rows += [("the town with the long name " + "and so on " * 120, "twin", "Paris"), ("Nobody", "twin", "")]
    (place / "graph.csv").write_text("subject,relation,value\n" + "".join(",".join(row) + "\n" for row in rows))
    cached = len(list((place / ".cache").rglob("*.npz")))
    said: list[str] = []

    def say(line: str) -> None:
        assert len(list((place / ".cache").rglob("*.npz"))) == cached, "nothing is encoded yet"
        said.append(line)

    given = {"phrasings": None, "columns": (), "factory": "Flat", "rotate_to": None, "key_by": "statement"}
    built = build_fact_store(place / "graph", facts="graph.csv", say=say, **given)  # type: ignore[arg-type]
    assert said == [
        "  left out of graph: 1 of 6 rows: 1 empty (a cell holds nothing)",
        "  several values: 3 facts share their subject with others; each value is a chunk",
        "  graph: the questions of 1 of 5 facts are longer than the encoder reads; what stands behind is in no vector",
        "  graph: the statements of 1 of 5 facts are longer than the encoder reads; what stands behind is in no vector",
    ]
    assert "5 facts in faiss-s-Flat" in built
    answers = search_store(place / "graph", "What is the twin of Oslo?", top=3).splitlines()
    assert {line.split()[1] for line in answers} == {"Rome", "Lima", "Bonn"}


def test_the_self_test_of_several_segments_is_one_of_all_that_were_asked() -> None:
    segments = [{"self_test": {"sampled": 200, "found": found}} for found in (150, 90)]
    own = {"segments": segments, "num_chunks": 900, "dim": 4, "index": {"factory": "LSH"}, "num_deleted": 0}
    (line,) = self_test({"meta": {"store": own}})
    assert "recall@1 0.600 (240 of 400 stored vectors" in line
    assert self_test({"meta": {}}) == []


# ---- what the encoder does not read ---------------------------------------------------------------------------------

MANY = "again " * 300
TOLD = "are longer than the encoder reads; what stands behind is in no vector"


def as_table(path: Path, facts: Sequence[tuple[str, str, str]]) -> str:
    path.write_text("\n".join(["subject,relation,value", *map(",".join, facts)]) + "\n")
    return str(path)


def test_questions_and_statements_are_counted_apart_and_each_fact_once(tmp_path: Path) -> None:
    facts = [(f"Town {name}{MANY if name in 'ce' else ''}", "capital", f"v{name}") for name in "abcdefg"]
    facts += [(f"Town {name}", "river", f"r{name} {MANY if name in 'abfg' else ''}") for name in "abcdefg"]
    encoder = Encoder(EncoderConfig())
    knowledge = build_knowledge(TextConfig(source="file", file=as_table(tmp_path / "f.csv", facts)))
    questions = f"f: the questions of 2 of 14 facts {TOLD}"
    assert not_read(knowledge, encoder, statements=True) == [questions, f"f: the statements of 6 of 14 facts {TOLD}"]
    assert not_read(knowledge, encoder, statements=False) == [questions]
    short = build_knowledge(
        TextConfig(source="file", file=as_table(tmp_path / "short.csv", [("Oslo", "river", "Aker")]))
    )
    assert not_read(short, encoder, statements=True) == []


def test_a_run_remarks_on_the_texts_that_it_reads(tmp_path: Path) -> None:
    facts = [(f"Town {name}", "river", f"r{name} {MANY if name in 'abc' else ''}") for name in "abcdefg"]
    study = TextConfig(source="file", file=as_table(tmp_path / "long.csv", facts))
    line = f"long: the statements of 3 of 7 facts {TOLD}"
    for memories, lines in (
        ((FaissMemoryConfig(), FrequencyConfig()), []),
        ((FrequencyConfig(), FaissMemoryConfig(key_by="statement")), [line]),
    ):
        arms = ArmsConfig(memories=memories, num_facts=(7,), seeds=(0,))
        config = ExperimentConfig(
            title="t", question="q", studies={"s": StudyConfig(knowledge=study, arms=(arms,))}, encoder=EncoderConfig()
        )
        assert remarks_before(plan(config, encoder_hash="e", text_dim=384)) == lines
    assert remarks_before([]) == []


@pytest.mark.slow
def test_a_store_of_questions_remarks_on_statements_too(tmp_path: Path) -> None:
    first = as_table(tmp_path / "f.csv", [("Oslo", "river", "Aker"), ("Bonn", "river", f"Rhine {MANY}")])
    said: list[str] = []
    build_fact_store(
        tmp_path / "s",
        facts=first,
        phrasings=None,
        columns=[],
        factory="Flat",
        rotate_to=None,
        say=said.append,
        key_by="question",
    )
    assert said == [f"  f: the statements of 1 of 2 facts {TOLD}"]
    more = as_table(tmp_path / "m.csv", [("Graz", "river", f"Mur {MANY}"), (f"Ulm {MANY}", "river", "Danube")])
    lines = add_facts(tmp_path / "s", facts=more, phrasings=None, columns=[], model=None).splitlines()
    assert lines == [
        f"  m: the questions of 1 of 2 facts {TOLD}",
        f"  m: the statements of 2 of 2 facts {TOLD}",
        f"{tmp_path / 's'}: 2 chunks added and 0 corrected, of 2 facts; 2 new values, 4 chunks now",
    ]
    found = search_store(tmp_path / "s", "What is the river of Graz?", top=9).splitlines()
    assert found[0].split("  ")[1].startswith("Mur")
