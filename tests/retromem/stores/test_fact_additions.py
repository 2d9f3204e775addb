"""A store to which facts were added answers as one that was built of them all, whatever it had seen before."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retrieval import store_updates
from retrieval.chunk_store import ChunkStore
from retrieval.chunks import Chunks
from retrieval.errors import UserError
from retromem.memories.faiss_memory import FaissMemory
from retromem.seam import Part
from retromem.stores.document_stores import build_document_store
from retromem.stores.fact_additions import add_facts
from retromem.stores.fact_stores import build_fact_store
from retromem.stores.store_checks import verify_store
from retromem.stores.store_search import search_store

Known = dict[tuple[str, str], str]
NEW = st.lists(
    st.tuples(st.sampled_from(["Lyon", "Graz", "Oslo", "Bonn"]), st.sampled_from("abcde"), st.integers(0, 9)),
    min_size=1,
    max_size=12,
    unique_by=lambda fact: fact[:2],
).map(lambda facts: {(subject, f"relation {relation}"): f"v{value}" for subject, relation, value in facts})


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(known: Known, name: str) -> str:
    rows = [f"{subject},{relation},{value}" for (subject, relation), value in known.items()]
    Path(name).write_text("\n".join(["subject,relation,value", *rows]) + "\n")
    return name


def build(store: str, known: Known, key_by: str = "statement") -> Path:
    settings = {"phrasings": None, "columns": [], "factory": "Flat", "rotate_to": None, "model": "hashed-trigrams"}
    build_fact_store(Path(store), facts=write(known, f"{store}.csv"), key_by=key_by, **settings)  # type: ignore[arg-type]
    return Path(store)


def add(store: Path, known: Known) -> str:
    return add_facts(store, facts=write(known, "more.csv"), phrasings=None, columns=[], model=None)


def check(store: Path, known: Known, key_by: str) -> None:
    """Every fact is the first answer to its own text, and the folder is what the ledger says."""
    lines = [line.split("  ", 1)[1] for line in search_store(store, "relation", top=1000).splitlines()]
    said = [(line.split()[0], sorted(re.findall(r"Lyon|Graz|Oslo|Bonn|relation \w", line))) for line in lines]
    assert sorted(said) == sorted((value, sorted(fact)) for fact, value in known.items())
    memory = FaissMemory.load(store)
    on_disk = sum(path.stat().st_size for path in store.iterdir())
    assert memory.footprint().num_bytes(Part.STORAGE, Part.MAINTAIN, Part.VALUE) == on_disk
    verify_store(store)


@pytest.mark.parametrize("key_by", ["statement", "question"])
@settings(max_examples=3, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=NEW, additions=st.lists(NEW, min_size=1, max_size=3), compact=st.booleans())
def test_whatever_is_added_is_answered(key_by: str, first: Known, additions: list[Known], compact: bool) -> None:
    store, known = build("store", first, key_by), dict(first)
    for more in additions:
        there = len(known.items() & more.items())
        corrected = len(known.keys() & more.keys()) - there
        said = f"{len(more) - corrected - there} chunks added and {corrected} corrected"
        if there == len(more):
            said = f"nothing added, {there} facts are there already"
        elif there:
            said += f", {there} there already"
        assert said in add(store, more)
        known |= more
        check(store, known, key_by)
        if compact:
            store_updates.compact(store)
            check(store, known, key_by)
    assert ChunkStore.open(store).num_live == len(known)


@pytest.mark.parametrize("key_by", ["statement", "question"])
def test_a_subject_of_several_values_is_corrected_as_one_and_what_is_there_is_left(here: Path, key_by: str) -> None:
    def added(*facts: str) -> str:
        Path("more.csv").write_text("\n".join(["subject,relation,value", *facts]) + "\n")
        before = store_of_paris()
        said = add_facts(store, facts="more.csv", phrasings=None, columns=[], model=None).splitlines()[-1]
        verify_store(store)
        assert before != store_of_paris() or "nothing added" in said
        return f"{said.split(': ')[1].split(', of')[0].split(';')[0]} -> {store_of_paris()}"

    def store_of_paris() -> str:
        lines = search_store(store, "r Paris", top=100).splitlines()
        return " ".join(sorted(line.split("  ")[1] for line in lines if "Paris" in line))

    store = build("store", {("Paris", "r"): "France", ("Bonn", "r"): "Germany"}, key_by)
    assert added("Paris,r,France", "Bonn,r,Germany") == "nothing added, 2 facts are there already -> France"
    assert added("Paris,r,France", "Paris,r,Gallia") == (
        "1 chunks added and 0 corrected, 1 there already -> France Gallia"
    )
    assert added("Paris,r,Gallia") == "nothing added, 1 facts are there already -> France Gallia"
    assert added("Paris,r,Gallia", "Paris,r,Troy") == "0 chunks added and 1 corrected, 1 there already -> Gallia Troy"
    assert added("Paris,r,Zed", "Lyon,r,Zed") == "1 chunks added and 1 corrected -> Zed"
    assert added("Paris,r,Gallia", "Paris,r,Zed", "Paris,r,Troy") == (
        "2 chunks added and 0 corrected, 1 there already -> Gallia Troy Zed"
    )
    assert ChunkStore.open(store).num_live == 5
    store_updates.compact(store)
    assert added("Paris,r,France") == "0 chunks added and 1 corrected -> France"


def test_a_value_that_fills_its_bits_takes_another(here: Path) -> None:
    store = build("store", {(f"s{n}", "r"): f"v{n}" for n in range(4)})
    assert list(ChunkStore.open(store).label_bits_G) == [2]
    labels = ChunkStore.open(store).labels_N.tolist()
    add(store, {("s4", "r"): "v4"})
    opened = ChunkStore.open(store)
    assert list(opened.label_bits_G) == [3] and list(opened.num_labels_G) == [5]
    assert opened.labels_N.tolist() == [*labels, 4]


def test_a_label_without_a_value_is_one_line_that_says_how(here: Path) -> None:
    store = build("store", {("a", "r"): "x", ("b", "r"): "y", ("c", "r"): "z", ("a", "t"): "u"})
    before = {path.name: path.read_bytes() for path in store.iterdir()}
    for label, group, most in ((3, 0, 3), (1, 1, 1)):
        with pytest.raises(UserError, match=f"has label {label}, and its group {most} labels.*index add"):
            chunk = Chunks(
                ids_N=np.array([16]),
                vectors_ND=np.eye(1, 384, dtype=np.float32),
                labels_N=np.array([label]),
                groups_N=np.array([group]),
                label_bits_G=(2, 0),
                texts=["more"],
            )
            store_updates.add(store, chunk)
    assert {path.name: path.read_bytes() for path in store.iterdir()} == before


def test_what_is_no_store_of_facts_takes_none(here: Path) -> None:
    Path("a.txt").write_text("A lake is deep.")
    build_document_store(
        Path("d"), documents=Path("a.txt"), split="1 sentence", factory="Flat", rotate_to=None, model="hashed-trigrams"
    )
    for folder, message in (("d", "is no store of facts"), ("nowhere", "is no retromem store")):
        with pytest.raises(UserError, match=message):
            add(Path(folder), {("a", "r"): "x"})
