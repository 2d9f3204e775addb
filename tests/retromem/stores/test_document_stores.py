"""A store of documents from files to the passage that answers, with the encoder that users get."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval import store_updates
from retrieval.chunk_store import ChunkStore
from retrieval.errors import UserError
from retrieval.splitting import SplitConfig, parse_split
from retromem import cli
from retromem.knowledge.document_files import read_documents
from retromem.stores.document_stores import build_document_store
from retromem.stores.store_checks import verify_store
from retromem.stores.store_search import search_store

PLACES = ("Cairo", "Hanoi", "Lima", "Oslo", "Rome", "Suva")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The present folder, with documents in it."""
    folder = tmp_path / "papers" / "towns"
    folder.mkdir(parents=True)
    for name in PLACES:
        (folder / f"{name}.md").write_text(
            f"# {name}\n\nIn {name} it rains.\nThe mayor of {name} plays the flute. Ende."
        )
    (tmp_path / "papers" / ".hidden.md").write_text("not this")
    (tmp_path / "papers" / "picture.png").write_bytes(b"\x89PNG")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def build(documents: str = "papers", **changes: object) -> str:
    settings = {"split": "1 sentence", "factory": "Flat", "rotate_to": None, **changes}
    return build_document_store(Path("store"), documents=Path(documents), **settings)  # type: ignore[arg-type]


def found(question: str, top: int = 1) -> list[tuple[str, int, int, str]]:
    """Document, start, end and text of each line."""
    lines = search_store(Path("store"), question, top=top).splitlines()
    matches = [re.fullmatch(r"[\d.]+  (\S+) (\d+)-(\d+)  \((.*)\)", line) for line in lines]
    return [(match[1], int(match[2]), int(match[3]), match[4]) for match in matches if match]


@given(
    st.sampled_from(["sentences", "tokens"]),
    st.integers(1, 10**6).flatmap(lambda size: st.tuples(st.just(size), st.integers(0, size - 1))),
)
def test_a_split_is_read_as_it_is_written(by: str, sizes: tuple[int, int]) -> None:
    config = SplitConfig(by=by, size=sizes[0], overlap=sizes[1])  # type: ignore[arg-type]
    assert parse_split(config.label) == config


@pytest.mark.parametrize("split", ["", "3", "three sentences", "0 tokens", "3 sentences, 3 shared", "3 words"])
def test_what_is_no_split_is_one_line(split: str) -> None:
    with pytest.raises(UserError, match=f"^split {split!r}: "):
        parse_split(split)


def test_a_document_whose_name_is_no_utf8_is_found_under_a_name_that_can_be_shown(place: Path) -> None:
    try:
        (place / "papers" / os.fsdecode(b"caf\xe9.txt")).write_text("In the cafe they play the trombone.")
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    build(model="hashed-trigrams")
    assert found("Who plays the trombone in the cafe?")[0][0] == r"caf\xe9.txt"


@pytest.mark.parametrize("split", ["1 sentence", pytest.param("24 tokens, 12 shared", marks=pytest.mark.slow)])
def test_the_passage_that_answers_is_found_where_it_is_said_to_stand(place: Path, split: str) -> None:
    ledger = build(split=split)
    for name in PLACES:
        ((document, start, end, text),) = found(f"Which instrument does the mayor of {name} play?")
        assert document == f"towns/{name}.md"
        whole = (place / "papers" / document).read_text()
        assert " ".join(whole[start:end].split()) == text
        assert "flute" in text
    counted = [
        int(count.replace(",", "")) for count in re.findall(r"(?:storage|text|maintain)_bytes +([\d,]+)", ledger)
    ]
    assert sum(counted) == sum(file.stat().st_size for file in (place / "store").iterdir())
    assert f"from {len(PLACES)} documents" in ledger and "self-test: recall@1 1.000" in ledger
    assert verify_store(Path("store")).startswith("store: whole")


def test_places_follow_their_passages_through_a_change(place: Path) -> None:
    build()
    before = found("Which instrument does the mayor of Lima play?")
    store = ChunkStore.open(Path("store"))
    rows = [row for row in range(store.num_live) if store.place(row).split(".")[0] < "towns/Lima"]
    store_updates.delete(Path("store"), store.ids_N[rows])
    store_updates.compact(Path("store"))
    assert found("Which instrument does the mayor of Lima play?") == before
    assert {line[0] for line in found("rain", top=100)} == {f"towns/{name}.md" for name in PLACES[2:]}


def test_a_file_alone_and_letters_of_any_language(place: Path) -> None:
    (place / "one.txt").write_text("Grüße aus Zürich. Ça va?")
    assert read_documents(place / "one.txt").names == ("one.txt",)
    build(documents="one.txt")
    assert found("greetings from Zürich")[0][3] == "Grüße aus Zürich."


def test_endings_in_any_letters_are_read_and_other_kinds_counted(tmp_path: Path) -> None:
    for name in ("NOTES.TXT", "sub/readme.Md", "a.markdown", "b.text", "c.pdf", "d.PDF", "e.html", "LICENSE", ".git/x"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"\ufeffThe \ufeffname is {name}.", encoding="utf-8")
    (tmp_path / "bom.txt").write_bytes(b"\xef\xbb\xbf\n")
    read = read_documents(tmp_path)
    assert read.names == ("NOTES.TXT", "a.markdown", "b.text", "sub/readme.Md")
    assert read.texts == tuple(f"The name is {name}." for name in read.names)
    assert read.remarks == [
        "left out: 1 .html, 2 .pdf, 1 empty, 1 without ending "
        "(read are .txt, .text, .md, .markdown files with some text)"
    ]


def test_passages_without_a_word_are_counted(place: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer, models

    letters = {letter: number for number, letter in enumerate("abcdefghi")}
    vectors = np.eye(len(letters), dtype=np.float32)
    words = StaticEmbedding(Tokenizer(models.BPE(letters, [])), embedding_weights=vectors)
    SentenceTransformer(modules=[words], device="cpu").save(str(place / "letters"), create_model_card=False)
    (place / "signs.txt").write_text("A bad cage.\n\n***\n\nXYZ.\n\nA big idea.")
    ledger = build(documents="signs.txt", split="1 sentence", model="letters")
    assert "2 passages of 1 sentence" in ledger
    assert "left out: 2 passages in which the encoder knows no word" in ledger
    (place / "signs.txt").write_text("XYZ.")
    with pytest.raises(UserError, match="signs.txt: the encoder knows no word of these texts"):
        build(documents="signs.txt", split="1 sentence", model="letters")


def test_what_the_encoder_does_not_read_is_said(place: Path) -> None:
    (place / "long.txt").write_text("The lake is deep. " * 200 + "The treasure lies in the cellar of the mill.")
    assert "1 passages are longer than the encoder reads" in build(documents="long.txt", split="5000 tokens")
    assert "longer than the encoder" not in build(documents="long.txt", split="100 tokens")
    assert "treasure" in found("Where does the treasure lie?")[0][3]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--documents", "nowhere"], "nowhere: cannot be read: No such file or directory"),
        (["--documents", "empty"], "empty: holds no text; wanted are .txt, .text, .md, .markdown files with some"),
        (["--documents", "latin.txt"], "latin.txt, line 1: byte 0xfc is not UTF-8"),
        (["--documents", "papers", "--split", "3 lines"], "split '3 lines': write '3 sentences'"),
        (["--documents", "papers", "--index", "Flatt"], "index 'Flatt' over 384 dimensions"),
        (["--documents", "papers", "--index", "auto: bytes<=9"], "a plan needs facts"),
        (
            ["--documents", "facts.jsonl"],
            "facts.jsonl: is no .txt, .text, .md, .markdown file; save it as text, facts are",
        ),
        (["--facts", "facts.jsonl", "--split", "3 sentences"], "--split cuts documents"),
        (["--documents", "papers", "--key-by", "question"], "documents have no questions of their own"),
        (["--documents", "papers", "--phrasings", "x.yaml"], "--phrasings describes facts"),
        (["--documents", "papers", "--facts", "x.jsonl"], "--facts and --documents make two stores"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_store(
    place: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "empty").mkdir()
    (place / "latin.txt").write_bytes("Zürich".encode("latin-1"))
    (place / "facts.jsonl").write_text("{}")
    with pytest.raises(SystemExit) as ending:
        cli.main(["index", "build", "store", *arguments])
    said = capsys.readouterr().err
    assert ending.value.code == 2 and said.count("\n") == 1 and message in said
    assert not (place / "store").exists()


def test_linked_folders_are_read_once_and_dead_links_are_counted(tmp_path: Path) -> None:
    papers, elsewhere = tmp_path / "papers", tmp_path / "elsewhere"
    (papers / "own").mkdir(parents=True)
    elsewhere.mkdir()
    (papers / "own" / "a.txt").write_text("Here.")
    (elsewhere / "b.txt").write_text("There.")
    (elsewhere / "back").symlink_to(papers)  # a loop
    (papers / "linked").symlink_to(elsewhere)
    (papers / "again").symlink_to(papers / "own")
    (papers / "c.txt").symlink_to(tmp_path / "nowhere.txt")
    read = read_documents(papers)
    assert read.names == ("linked/b.txt", "own/a.txt") and read.num_left_out == {"dead links": 1}
