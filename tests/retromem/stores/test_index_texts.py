"""All that `index` prints, line by line, from the files that it wrote: facts, additions, documents and searches."""

import re
import shlex
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval import store_updates
from retrieval.chunk_store import ChunkStore
from retrieval.errors import UserError
from retrieval.plan_request import parse_request
from retrieval.sealed_folder import read_manifest
from retromem.cli import _count, _point_at, _settings, _shown, _split_overrides, main
from retromem.knowledge.fact_remarks import left_out, several_values
from retromem.knowledge.sources import TextConfig
from retromem.memories.store_memory import build_store
from retromem.seam import Asked, Facts, Queries, ValueTable
from retromem.stores.document_stores import build_document_store
from retromem.stores.fact_additions import add_facts, under_values, with_values_of
from retromem.stores.fact_stores import build_fact_store
from retromem.stores.planning import plan_for, recall_in
from retromem.stores.store_checks import verify_store
from retromem.stores.store_search import search_store

FACTS = [
    ("Norway", "capital", "Oslo"),
    ("Peru", "capital", "Lima"),
    ("Peru", "capital", "Cusco"),
    ("Peru", "continent", "America"),
    ("Norway", "continent", "Europe"),
    ("Chad", "continent", "Africa"),
    ("", "capital", "nowhere"),
    ("PERU", "continent", "Asia"),
]
MORE = [
    ("Chad", "capital", "Ndjamena"),
    ("Norway", "continent", "Europe"),
    ("Peru", "continent", "Asia"),
    ("Oslo", "river", "Akerselva"),
]
HASHED: dict[str, Any] = {"phrasings": None, "columns": [], "model": "hashed-trigrams"}
REMARKS = [
    "  left out of f: 1 of 8 rows: 1 empty (a cell holds nothing)",
    "  several values: 2 facts share their subject with others; each value is a chunk",
    "  f: 2 of 7 facts share their very key with a fact of another value (the encoder reads their questions alike), so "
    "at most 85.7 % can be right as written",
]


def write(name: str, facts: Sequence[tuple[str, str, str]]) -> str:
    Path(name).write_text("\n".join(["subject,relation,value", *map(",".join, facts)]) + "\n")
    return name


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ledger(store: str, seeded_bytes: int) -> list[str]:
    """The lines of a store of facts, of the files on disk."""
    parts = {
        "storage": ["index.faiss", "payload.bin"],
        "maintain": ["ids.npy", "vectors.npy", "chunks.arrow", "manifest.json"],
        "value": ["values.json.zlib"],
        "shared": [],
    }
    names = {**parts, "shared": ["encoder"]}
    sizes = {part: sum(Path(store, name).stat().st_size for name in files) for part, files in parts.items()}
    lines = {**sizes, "seeded": seeded_bytes}
    return [
        f"  {part + '_bytes':<15} {size:>14,}  ({', '.join(names.get(part, ['on no disk']))})"
        for part, size in lines.items()
    ]


def self_test_line(index: str, num: int = 7) -> str:
    return (
        f"  self-test: recall@1 1.000 ({num} of {num} stored vectors that were asked for themselves), {num} chunks of "
        f"384 dimensions in {index}"
    )


def test_a_store_of_facts_from_its_first_line_to_its_search() -> None:
    write("f.csv", FACTS)
    said: list[str] = []
    text = build_fact_store(
        Path("s"), facts="f.csv", factory="Flat", rotate_to=20, key_by="statement", say=said.append, **HASHED
    )
    assert said == REMARKS
    built, *lines = text.splitlines()
    assert re.fullmatch(r"s: 7 facts in faiss-s-rot20-Flat, built in \d+\.\d\d s", built)
    assert lines[:-1] == [*ledger("s", seeded_bytes=8 * 384 * 20), self_test_line("Flat")]
    knowledge = TextConfig(source="file", file="f.csv").build(several_values=True)
    assert re.fullmatch(r"  recall@1 0\.\d{3} against exact search \(7 questions asked\)", lines[-1])
    noted = ChunkStore.open(Path("s")).encoder
    assert noted is not None and noted.name == "hashed-trigrams"

    text = build_fact_store(
        Path("s"), facts="f.csv", factory="SQ8", rotate_to=None, key_by="question", num_shards=2, **HASHED
    )
    lines = text.splitlines()
    assert lines[:3] == REMARKS  # where nobody is told, they stand first
    assert re.fullmatch(
        r"s: 7 facts in faiss-q-SQ8, built in \d+\.\d\d s, in place of a store of 7 chunks that was there", lines[3]
    )
    recalled = "  recall@1 1.000 against exact search (7 statements asked)"
    assert lines[4:] == [*ledger("s", seeded_bytes=0), self_test_line("SQ8"), recalled]
    sizes = [file.stat().st_size for file in Path("s").iterdir()]
    manifest = Path("s", "manifest.json").stat().st_size
    assert verify_store(Path("s")).splitlines() == [
        f"s: whole; 6 files, {sum(sizes) - manifest:,} bytes, every sha256 as written",
        self_test_line("SQ8"),
    ]
    # What was left out of several values is one of a comparison alone; of three relations each has its own subjects.
    assert several_values(knowledge) == [
        "several values: 2 facts share their subject with others; each value is a chunk"
    ]
    assert left_out(knowledge) == [REMARKS[0].strip()]

    found = [line.split("  ", 1) for line in search_store(Path("s"), "What is the capital of Peru?", top=3).split("\n")]
    assert len(found) == 3 and found[0] == ["1.000", "Cusco  (What is the capital of Peru?)"]
    assert [float(similarity) for similarity, _ in found] == sorted((float(s) for s, _ in found), reverse=True)


@pytest.mark.parametrize("key_by", ["question", "statement"])
def test_additions_are_counted_and_found(key_by: Any) -> None:
    write("f.csv", FACTS)
    write("m.csv", MORE)
    build_fact_store(Path("s"), facts="f.csv", factory="Flat", rotate_to=None, key_by=key_by, **HASHED)
    given: dict[str, Any] = {"facts": "m.csv", "phrasings": None, "columns": [], "model": None}
    assert add_facts(Path("s"), **given) == (
        "s: 2 chunks added and 1 corrected, 1 there already, of 4 facts; 2 new values, 9 chunks now"
    )
    assert add_facts(Path("s"), **given) == "s: nothing added, 4 facts are there already; 9 chunks"
    tested = verify_store(Path("s")).splitlines()[-1]
    assert tested.endswith("9 chunks of 384 dimensions in Flat, and 1 deleted ones that a compaction would remove")
    assert re.search(r"recall@1 \d\.\d{3} \((\d+) of 10 stored vectors", tested)
    found = search_store(Path("s"), "What is the river of Oslo?", top=99).splitlines()
    assert len(found) == 9  # no more than there are
    first = r"1\.000  Akerselva  \(What is the river of Oslo\?\)" if key_by == "question" else r"0\.\d+  .*"
    assert re.fullmatch(first, found[0])
    assert all(("Akerselva" in line.split("(", 1)[1]) == (key_by == "statement") for line in found if "  Aker" in line)
    assert sorted(line.split("  ")[1] for line in found) == [
        "Africa", "Akerselva", "Asia", "Asia", "Cusco", "Europe", "Lima", "Ndjamena", "Oslo",
    ]  # fmt: skip
    with_remarks = write("n.csv", [("", "river", "none"), ("Bonn", "river", "Rhine"), ("Bonn", "river", "Sieg")])
    lines = add_facts(Path("s"), **{**given, "facts": with_remarks}).splitlines()
    assert lines == [
        "  left out of n: 1 of 3 rows: 1 empty (a cell holds nothing)",
        "  several values: 2 facts share their subject with others; each value is a chunk",
        "s: 2 chunks added and 0 corrected, of 2 facts; 2 new values, 11 chunks now",
    ]
    extra = read_manifest(Path("s"))["meta"]["extra"]
    assert extra["relations"] == ["capital", "continent", "river"]
    assert extra["starts"] == [0, 4, 8, 11]


def test_a_store_of_which_nothing_is_left_says_so() -> None:
    write("f.csv", FACTS)
    build_fact_store(Path("s"), facts="f.csv", factory="Flat", rotate_to=None, key_by="statement", **HASHED)
    ids = ChunkStore.open(Path("s")).ids_N
    store_updates.delete(Path("s"), ids[1:])
    assert len(search_store(Path("s"), "Oslo", top=5).splitlines()) == 1
    store_updates.delete(Path("s"), ids[:1])
    assert search_store(Path("s"), "Oslo", top=5) == "nothing is left in this store"
    with pytest.raises(UserError, match=r"^question '': the encoder finds no word in it; ask in others$"):
        search_store(Path("s"), "\u200b", top=5)


def test_a_store_of_documents_line_by_line() -> None:
    Path("docs").mkdir()
    Path("docs", "a.md").write_text("Oslo is wet. Lima is dry.")
    Path("docs", "b.txt").write_text("Rome burns!\n")
    Path("docs", "c.png").write_bytes(b"x")
    text = build_document_store(
        Path("d"), documents=Path("docs"), split="1 sentence", factory="Flat", rotate_to=7, model="hashed-trigrams"
    )
    size = {file.name: file.stat().st_size for file in Path("d").iterdir()}

    def line(part: str, num_bytes: int, names: str) -> str:
        return f"  {part + '_bytes':<15} {num_bytes:>14,}  ({names})"

    built, *lines = text.splitlines()
    assert re.fullmatch(r"d: 3 passages of 1 sentence from 2 documents in rot7-Flat, built in \d\.\d\d s", built)
    assert lines == [
        line("storage", size["index.faiss"] + size["payload.bin"], "index.faiss, payload.bin"),
        line("text", size["chunks.arrow"], "chunks.arrow") + ": what is answered, and where it stands",
        line(
            "maintain",
            size["ids.npy"] + size["vectors.npy"] + size["manifest.json"],
            "ids.npy, vectors.npy, manifest.json",
        ),
        line("shared", 0, "encoder"),
        line("seeded", 8 * 384 * 7, "on no disk"),
        "  left out: 1 .png (read are .txt, .text, .md, .markdown files with some text)",
        self_test_line("Flat", 3),
    ]
    manifest = read_manifest(Path("d"))["meta"]["extra"]
    assert (manifest["memory"], manifest["split"]) == ("documents", "1 sentence")
    opened = ChunkStore.open(Path("d"))
    assert opened.ids_N.tolist() == [0, 1, 2] and set(opened.labels_N.tolist()) == set(opened.groups_N.tolist()) == {0}
    assert [opened.place(position) for position in range(3)] == ["a.md 0-12", "a.md 13-25", "b.txt 0-11"]
    assert opened.encoder is not None and opened.encoder.revision == manifest["encoder_hash"]
    assert opened.encoder.revision.endswith("-raw")
    again = build_document_store(
        Path("d"), documents=Path("docs"), split="1 sentence", factory="SQ8", rotate_to=None, num_shards=2,
        model="hashed-trigrams",
    )  # fmt: skip
    assert again.splitlines()[0].endswith("s, in place of a store of 3 chunks that was there")


# ---- what lies below -----------------------------------------------------------------------------------------------


def queries(relations: list[int], *, seed: int, texts: bool = True) -> Queries:
    keys_QD = np.random.default_rng(seed).standard_normal((len(relations), 8)).astype(np.float32)
    return Queries(
        texts=[f"{seed} {row}" for row in range(len(relations))] if texts else None,
        keys_QD=keys_QD / np.linalg.norm(keys_QD, axis=1, keepdims=True),
        relation_ids_Q=np.array(relations),
        encoder_hash="e",
    )


def facts_of(relations: list[int], value_ids: list[int], values: ValueTable) -> Facts:
    cue = queries(relations, seed=1)
    ids_N = 16 * np.arange(1, len(relations) + 1)
    return Facts(
        ids_N=ids_N,
        value_ids_N=np.array(value_ids),
        cues=[cue, queries(relations, seed=2)],
        statements=queries(relations, seed=3),
        calibration=Asked(
            queries=cue,
            phrasing="calibrate",
            fact_ids_Q=ids_N,
            value_ids_Q=np.array(value_ids),
            prior_Q=np.ones(len(relations)),
        ),
        values=values,
    )


OLD = ValueTable(strings=("red", "tan", "s"), relations=("colour", "size"), starts=(0, 2, 3))
NEW = ValueTable(
    strings=("oak", "m", "s", "l", "blue", "red"), relations=("wood", "size", "colour"), starts=(0, 1, 4, 6)
)
BOTH = ValueTable(
    strings=("red", "tan", "blue", "s", "m", "l", "oak"), relations=("colour", "size", "wood"), starts=(0, 3, 6, 7)
)


def test_new_values_come_behind_the_old_ones_of_their_relation() -> None:
    assert with_values_of(OLD, NEW) == BOTH
    assert with_values_of(OLD, OLD) == OLD
    facts = facts_of([2, 0, 1, 2, 1], [5, 0, 2, 4, 3], NEW)  # red, oak, s, blue, l
    moved = under_values(facts, BOTH)
    assert moved.value_ids_N.tolist() == [0, 6, 3, 2, 5] and moved.values is BOTH
    for source, of in ((moved.cues[0], facts.cues[0]), (moved.cues[1], facts.cues[1])):
        assert source.relation_ids_Q.tolist() == [0, 2, 1, 0, 1]
        assert source.texts == of.texts and source.key_vectors() is of.key_vectors()
    assert moved.statements is not None and moved.statements.relation_ids_Q.tolist() == [0, 2, 1, 0, 1]
    assert moved.ids_N is facts.ids_N and moved.calibration is facts.calibration


@pytest.mark.parametrize("key_by", ["question", "statement"])
def test_the_recall_of_a_store_is_counted_against_exact_search(key_by: Any) -> None:
    facts = facts_of([number % 3 for number in range(60)], [[0, 2, 5][number % 3] for number in range(60)], NEW)
    assert facts.statements is not None
    stored, asked = (facts.cues[0], facts.statements) if key_by == "question" else (facts.statements, facts.cues[0])
    from retrieval.vector_index import IndexSpec

    store = build_store(facts, [stored], IndexSpec(factory="LSH", rotate_to=24), with_values=True)
    laid = np.searchsorted(facts.ids_N, store.ids_N, sorter=(by_id := np.argsort(facts.ids_N)))
    similarity_QN = asked.key_vectors() @ stored.key_vectors()[by_id[laid]].T
    found_Q = store.search(asked.key_vectors(), 1)[0][:, 0]
    right = sum(
        similarity_QN[row, found] >= similarity_QN[row].max() - 1e-6 for row, found in enumerate(found_Q.tolist())
    )
    assert 0 < right < 60
    assert recall_in(store, facts, key_by) == (right, 60)


@pytest.mark.parametrize("key_by", ["question", "statement"])
def test_a_plan_counts_the_payload_of_every_relation_and_asks_the_other_text(key_by: Any) -> None:
    of_relation = [[0], [1, 1, 2, 1, 3, 1], [4, 5, 4, 4]]
    values = [of_relation[number % 3][number // 3 % len(of_relation[number % 3])] for number in range(90)]
    facts = facts_of([number % 3 for number in range(90)], values, NEW)
    assert facts.statements is not None
    made = plan_for(parse_request("auto: recall>=1"), facts, key_by)
    assert made.sampled == made.asked == 90
    assert made.chosen.spec.factory == "SQ8" and made.chosen.recall_at_1 == 1.0
    # A byte a number and two floats a dimension; thirty facts each of one value, of three and of two: entropies of 0,
    # 1.25 and .82 bits a fact, that is 7.8 bytes, where fixed bits would take 12 and the sizes of groups as many.
    written = build_store(facts, [facts.statements], made.chosen.spec, with_values=True).file_bytes["payload.bin"]
    assert 7 <= written <= 16
    assert made.chosen.storage_bytes == (81 + 8 * 8 + 90 * 8) + written
    # The recall that is expected is counted of the text that will be asked: turned around, it finds other vectors.
    cheap = plan_for(parse_request("auto: bytes<=4 per fact"), facts, key_by)
    stored, asked = (facts.cues[0], facts.statements) if key_by == "question" else (facts.statements, facts.cues[0])
    store = build_store(facts, [stored], cheap.chosen.spec, with_values=True)
    laid = np.searchsorted(facts.ids_N, store.ids_N, sorter=(by_id := np.argsort(facts.ids_N)))
    similarity_QN = asked.key_vectors() @ stored.key_vectors()[by_id[laid]].T
    found_Q = store.search(asked.key_vectors(), 1)[0][:, 0]
    best_Q = similarity_QN.max(axis=1)
    right = (similarity_QN[np.arange(90), found_Q] >= best_Q - 1e-6).mean()
    assert 0 < cheap.chosen.recall_at_1 < 1 and cheap.chosen.recall_at_1 == pytest.approx(right, abs=0.2)


# ---- by the command line -------------------------------------------------------------------------------------------


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    main(list(arguments))
    return capsys.readouterr().out.splitlines()


def test_every_option_of_index_arrives(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAKELEVEL", raising=False)
    Path("f.csv").write_text("name,relation,value\n" + "".join(",".join(fact) + "\n" for fact in FACTS[:6]))
    Path("p.yaml").write_text(
        "capital: {statement: '{subject} has {value}', seen: ['Capital: {subject}?']}\n"
        "continent: {statement: '{value} has {subject}', seen: ['Where: {subject}?']}\n"
    )
    lines = printed(
        capsys, "index", "build", "s", "--facts", "f.csv", "--columns", "subject=name", "--phrasings", "p.yaml",
        "--index", "SQ8", "--rotate-to", "9", "--key-by", "question", "--shards", "2", "--encoder", "hashed-trigrams",
    )  # fmt: skip
    assert lines[0].strip() == REMARKS[1].strip()
    assert lines[1].startswith("s: 6 facts in faiss-q-rot9-SQ8, built in ")
    assert lines[-1].endswith("(6 statements asked)")
    assert printed(capsys, "index", "verify", "s")[0].startswith("s: whole; 6 files, ")
    found = printed(capsys, "index", "search", "s", "--query", "Capital: Norway?", "--encoder", "hashed-trigrams")
    assert len(found) == 5 and found[0] == "1.000  Oslo  (Capital: Norway?)"
    found = printed(capsys, "index", "search", "s", "--query", "Where: Chad?", "--top", "2", "--engine", "faiss")
    assert len(found) == 2 and found[0] == "1.000  Africa  (Where: Chad?)"
    Path("m.csv").write_text("name,relation,value\nRome,capital,itself\nChad,capital,Ndjamena\n")
    (line,) = printed(
        capsys, "index", "add", "s", "--facts", "m.csv", "--columns", "subject=name", "--phrasings", "p.yaml",
        "--encoder", "hashed-trigrams",
    )  # fmt: skip
    assert line == "s: 2 chunks added and 0 corrected, of 2 facts; 2 new values, 8 chunks now"
    # Of statements and flat, where nothing is said.
    plain = printed(
        capsys, "index", "build", "t", "--facts", "f.csv", "--columns", "subject=name", "--encoder", "hashed-trigrams"
    )
    assert plain[1].startswith("t: 6 facts in faiss-s-Flat, built in ") and plain[-1].endswith("(6 questions asked)")
    Path("a.md").write_text("One is. Two are. Three were. Four will.")
    for split, passages in ((None, 2), ("1 sentence", 4)):
        options = ["--split", split, "--index", "SQ8", "--rotate-to", "6", "--shards", "2"] if split else []
        lines = printed(capsys, "index", "build", "d", "--documents", "a.md", "--encoder", "hashed-trigrams", *options)
        index = "rot6-SQ8" if split else "Flat"
        assert f": {passages:,} passages of {split or '3 sentences'} from 1 documents in {index}, " in lines[0]


MISTAKES = {
    "index verify s --top 3": "index verify has no use for --top; it takes no options",
    "index search s --key-by question": "no use for --key-by; it takes --query, --top, --engine, --encoder",
    "index add s --shards 3": "no use for --shards; it takes --facts, --phrasings, --columns, --encoder",
    "index build s --query x": "index build has no use for --query; it takes --facts, --documents, --split,",
    "index verify ''": "index verify needs the folder of the store",
    "index search s --query '  '": "index search needs a question",
    "index add s": "index add needs --facts FILE",
    "index build s": "index build needs --facts FILE, a CSV, TSV, JSON or Parquet",
    "index build s --facts f --documents d": "--facts and --documents make two stores; give one of them",
    "index build s --documents d --columns a=b": "--columns describes facts, and --documents has none",
    "index build s --documents d --phrasings p": "--phrasings describes facts, and --documents has none",
    "index build s --documents d --key-by question": "documents have no questions of their own; leave it out",
    "index build s --facts f --split '1 sentence'": "--split cuts documents, and --facts has none; leave it out",
    "index build s --facts f --rotate-to 0": "'0' should be a whole number, 1 or more",
    "report r --a.b 3": "--a.b: only `compare` takes settings of an experiment",
    "compare --a.b": "--a.b needs a value: --a.b VALUE",
    "compare c.yaml --phrasings p": "--phrasings and --columns describe your own facts: add --facts FILE",
    "compare c.yaml --columns a=b": "--phrasings and --columns describe your own facts: add --facts FILE",
    "compare c.yaml --name ../x": "--name '../x': is no good name of a folder",
    f"compare c.yaml --name {101 * 'x'}": "is no good name of a folder",
    "compare c.yaml --set a.b": "--set: 'a.b' should read section.field=value",
    "compare c.yaml --facts f.csv": "c.yaml: has no study with `source: file`, so --facts has no effect",
    "compare c.yaml --max-facts 0": "'0' should be a whole number, 1 or more",
    "compare c.yaml --max-facts 3 --set max_weight_facts=0": "max_weight_facts must be 1 or more, not 0",
    f"compare c.yaml --name {100 * 'x'} --set max_weight_facts=7": "studies, panels: there is no cell to run",
}


@pytest.mark.parametrize("command", MISTAKES)
def test_mistakes_on_the_command_line(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MAKELEVEL", raising=False)
    Path("c.yaml").write_text("title: t\nquestion: q\n")
    with pytest.raises(SystemExit) as end:
        main(shlex.split(command))
    out, err = capsys.readouterr()
    assert end.value.code == 2 and out == ""
    assert err.startswith("retromem: ") and err.count("\n") == 1 and MISTAKES[command] in err


def test_arguments_are_taken_apart() -> None:
    rest, overrides = _split_overrides(
        ["compare", "--a.b", "1", "c.yaml", "--c.0.d_e=x=y", "--name", "n", "--f.g=", "--h-i", "--_j.k-2", "--l"]
    )
    assert rest == ["compare", "c.yaml", "--name", "n", "--h-i"]
    assert overrides == [("a.b", "1"), ("c.0.d_e", "x=y"), ("f.g", ""), ("_j.k-2", "--l")]
    with pytest.raises(UserError, match=r"^--a\.b needs a value: --a\.b VALUE$"):
        _split_overrides(["--a.b"])
    assert _settings("a.b=1 'c.d=x y' e.f=g=h") == [("a.b", "1"), ("c.d", "x y"), ("e.f", "g=h")]
    assert _settings(None) == _settings("") == []
    for wrong in ("a.b", "=3"):
        with pytest.raises(UserError, match=r"should read section\.field=value"):
            _settings(wrong)
    assert _shown(["compare", "a b", "--x.y=$1"]) == "python -m retromem compare 'a b' '--x.y=$1'"
    assert [_count("1"), _count("17")] == [1, 17]
    for text in ("0", "-1", "1.5", "²", ""):
        with pytest.raises(Exception, match="should be a whole number, 1 or more"):
            _count(text)


def test_own_facts_take_the_place_of_every_file() -> None:
    content: dict[str, Any] = {
        "studies": {
            "a": {"knowledge": {"source": "file", "file": "old", "seed": 3}, "arms": []},
            "b": {"knowledge": {"source": "cities"}},
            "c": {"knowledge": {"source": "file"}},
            "d": None,
            "e": {"knowledge": "file"},
        }
    }
    given = {"file": "f.csv", "phrasings": "p.yaml", "columns": ["subject=name"], "name": "mine"}
    chosen = Namespace(facts="f.csv", phrasings="p.yaml", columns="subject=name", name="mine")
    _point_at(content, chosen, Path("c.yaml"))
    assert content["studies"] == {
        "a": {"knowledge": {"source": "file", "seed": 3, **given}, "arms": []},
        "b": {"knowledge": {"source": "cities"}},
        "c": {"knowledge": {"source": "file", **given}},
        "d": None,
        "e": {"knowledge": "file"},
    }
    for nothing in ({}, {"studies": [1]}, {"studies": {"b": {"knowledge": {"source": "cities"}}}}):
        with pytest.raises(UserError, match=r"c\.yaml: has no study with `source: file`"):
            _point_at(nothing, chosen, Path("c.yaml"))
