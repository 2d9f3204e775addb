"""Files, folders and references of facts: what is read of them, in which order, and what is said of the rest."""

import bz2
import gzip
import json
import lzma
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from retrieval.errors import UserError
from retromem.knowledge.fact_datasets import Reference, is_saved, parse_reference
from retromem.knowledge.fact_files import read_facts, source_name
from retromem.knowledge.text_files import decoded, files_below, read_bytes, read_text, unpacked_name

HEAD = "subject,relation,value\n"


def refused(work: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        work()
    return str(caught.value)


def test_packed_files_are_unpacked_by_what_they_hold(tmp_path: Path) -> None:
    text = "Łódź\r\nis a city"
    packed = {
        "a.gz": gzip.compress(text.encode()),
        "a.bz2": bz2.compress(text.encode()),
        "a.xz": lzma.compress(text.encode()),
        "a.zst": pa.compress(text.encode(), "zstd", asbytes=True),
        "a.txt": text.encode("utf-8-sig"),
        "b.txt": gzip.compress(text.encode()),
    }
    for name, content in packed.items():
        (tmp_path / name).write_bytes(content)
        assert read_text(tmp_path / name) == read_text(f"file://{tmp_path}/{name}") == text
    for name, kind in (("a.gz", "gzip"), ("a.bz2", "bzip2"), ("a.xz", "xz"), ("a.zst", "zstd")):
        (tmp_path / name).write_bytes(packed[name][:-3])
        assert refused(lambda name=name: read_bytes(tmp_path / name)) == (
            f"{tmp_path / name} is a damaged or truncated {kind} file; make or fetch it again"
        )
    assert refused(lambda: read_bytes(tmp_path)) == f"{tmp_path} is a folder; give a file in it"
    assert refused(lambda: read_bytes(tmp_path / "no")) == f"{tmp_path / 'no'}: there is no such file"
    for content, line, byte in ((b"\xff", 1, "ff"), (b"a\r\nb\rc\n\n\xe9", 5, "e9"), (b"\xef\xbb\xbfa\n\xfe", 2, "fe")):
        assert refused(lambda content=content: decoded(content, "F")) == (
            f"F, line {line}: byte 0x{byte} is not UTF-8; save the file as UTF-8"
        )
    names = {"facts.csv.gz": "facts.csv", "A.CSV.ZST": "A.CSV", "b/facts.xz": "b/facts", "facts.zip": "facts.zip"}
    assert {name: unpacked_name(name) for name in names} == names


def test_files_below_a_folder_are_listed_once_with_those_of_linked_folders(tmp_path: Path) -> None:
    for name in ("top/b.txt", "top/a/z.txt", "top/a/.hidden/x", "top/.dot", "else/c.txt", "else/deep/d.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "top/link").symlink_to(tmp_path / "else")
    (tmp_path / "top/a/again").symlink_to(tmp_path / "else" / "deep")
    (tmp_path / "else/back").symlink_to(tmp_path / "top")
    (tmp_path / "top/dead").symlink_to(tmp_path / "nowhere")
    assert [path.relative_to(tmp_path / "top").as_posix() for path in files_below(tmp_path / "top")] == [
        "a/z.txt", "b.txt", "dead", "link/c.txt", "link/deep/d.txt",
    ]  # fmt: skip


def test_references_are_taken_apart_and_what_is_there_may_hold_any_sign(tmp_path: Path) -> None:
    for text, place, config, split, name in (
        ("hf:org/facts", "org/facts", None, None, "facts"),
        ("hf:org/facts:de", "org/facts", "de", None, "facts"),
        ("hf:org/facts@test", "org/facts", None, "test", "facts"),
        ("hf:org/facts:de@test[:10%]", "org/facts", "de", "test[:10%]", "facts"),
    ):
        found = parse_reference(text)
        assert found == Reference(text=text, place=place, config=config, split=split)
        assert found.name == source_name(text) == name
    odd = tmp_path / "a@b:c"
    odd.mkdir()
    assert parse_reference(f"hf:{odd}") == Reference(text=f"hf:{odd}", place=str(odd))
    assert parse_reference(f"hf:{odd}:x@y") == Reference(text=f"hf:{odd}:x@y", place=str(odd), config="x", split="y")
    (tmp_path / "a").mkdir()
    (tmp_path / "a@b").mkdir()
    both = f"hf:{tmp_path}/a@b"
    assert parse_reference(both) == Reference(text=both, place=str(tmp_path / "a@b")), "the longest that is there"
    (tmp_path / "a@b").rmdir()
    assert parse_reference(both) == Reference(text=both, place=str(tmp_path / "a"), split="b")
    assert parse_reference(f"hf:{tmp_path}/a@b:d").place != f"{tmp_path}/a@b", "a split holds no such sign"
    assert refused(lambda: parse_reference("hf:/no/where")) == "hf:/no/where: there is no such folder"
    assert refused(lambda: parse_reference("hf:@x")) == (
        "hf:@x: should read hf:org/name[:config][@split], or hf:folder[@split]"
    )
    assert not is_saved(tmp_path)
    for name in ("state.json", "dataset_dict.json"):
        (tmp_path / name).write_text("{}")
        assert is_saved(tmp_path)
        (tmp_path / name).unlink()
    assert source_name(tmp_path / "facts.CSV.gz") == "facts" and source_name(odd) == "a@b:c"


def test_a_table_is_read_whole_with_what_it_says_of_itself(tmp_path: Path) -> None:
    path = tmp_path / "facts.csv"
    path.write_text(
        "name,relation,value,views,akas,x\n"
        "Oslo,country, Norway,5,Christiania | Kristiania|,1\n"
        "Bergen,country,Norway,2.5,,2\n"
        "Oslo,inhabitants,700000.0,5,,3\n"
    )
    table = read_facts(path, columns={"subject": "name", "popularity": "views", "aliases": "akas"})
    assert table.subjects == ("Oslo", "Bergen", "Oslo") and table.relations == ("country", "country", "inhabitants")
    assert table.values == ("Norway", "Norway", "700000.0")
    assert table.popularity == (5.0, 2.5, 5.0)
    assert table.aliases == (("Christiania", "Kristiania"), (), ())
    assert (table.name, dict(table.dropped), table.attribution) == ("facts", {}, None)
    assert table.notes == (
        "columns that were not used: x",
        "1 rows hold a number such as 1990.0, as tables write whole numbers beside empty cells; save the column as "
        "text or whole numbers where 1990 is meant",
    )
    (tmp_path / "plain.csv").write_text("a;b;c\nd;b;e\n")
    plain = read_facts(tmp_path / "plain.csv", columns={"subject": "1", "relation": "2", "value": "3"})
    assert plain.notes == ("columns by their places: the first fact is 'a', 'b', 'c'",)
    assert (plain.subjects, plain.popularity) == (("a", "d"), None)


def test_a_folder_of_tables_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    for number, name in enumerate(("b.csv", "a/z.csv", "a/y.csv.gz")):
        content = f"{HEAD}s{number},r,v{number}\n".encode()
        (tmp_path / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    (tmp_path / "folder" / "notes.txt").write_text("a note")
    (tmp_path / "folder" / "_private.csv").write_text("not looked at")
    (tmp_path / "folder" / "dead.csv").symlink_to(tmp_path / "nowhere")
    table = read_facts(tmp_path / "folder")
    assert table.subjects == ("s2", "s1", "s0")
    assert table.notes == ("files of the folder that were not read: dead.csv (a dead link), notes.txt",)
    (tmp_path / "folder" / "c.jsonl").write_text("{}")
    kinds = ".csv, .tsv, .tab, .txt, .json, .jsonl, .ndjson, .parquet"
    assert refused(lambda: read_facts(tmp_path / "folder")) == (
        f"{tmp_path / 'folder'}: is a folder with .csv and .jsonl files of facts; give one file, or a folder of one "
        f"kind ({kinds})"
    )


def test_numbers_of_popularity_are_read_and_others_refused(tmp_path: Path) -> None:
    def read(*cells: object) -> Iterator[float]:
        lines = [
            json.dumps({"subject": f"s{n}", "relation": "r", "value": "v", "popularity": cell})
            for n, cell in enumerate(cells)
        ]
        (tmp_path / "a.jsonl").write_text("\n".join(lines))
        return iter(read_facts(tmp_path / "a.jsonl").popularity or ())

    assert list(read(0, "1e3", " 2.5 ", 7)) == [0, 1000, 2.5, 7]
    assert list(read("", None, "nan")) == []
    for cell, shown in ((-0.5, "-0.5"), ("inf", "inf"), ("x" * 41, "x" * 40 + "...")):
        assert refused(lambda cell=cell: read(1, cell)) == (
            f"{tmp_path / 'a.jsonl'}, line 2: 'popularity' is '{shown}'; give a number that is 0 or more"
        )
    for cells in ((1, None), (None, 1)):
        assert refused(lambda cells=cells: read(*cells)) == (
            f"{tmp_path / 'a.jsonl'}, line 2: 'popularity' is given in some lines only; give it in all lines or in none"
        )
    assert np.isfinite(list(read(3))).all()


def test_data_sets_of_odd_names_and_single_files_are_read_as_they_lie(tmp_path: Path) -> None:
    for name in ("a[1]", "b*", "plain"):
        folder = tmp_path / name
        (folder / "sub").mkdir(parents=True)
        (folder / "sub" / "train.csv").write_text(f"{HEAD}s,r,v\n")
        table = read_facts(f"hf:{folder}")
        assert (table.subjects, table.name, table.notes) == (("s",), name, ())
        assert read_facts(f"hf:{folder}/sub/train.csv").subjects == ("s",)
    wrong = tmp_path / "a[1]" / "sub" / "train.csv"
    wrong.write_text(f"{HEAD}s,r\n")
    assert refused(lambda: read_facts(f"hf:{tmp_path}/a[1]")).startswith(f"{wrong}, line 2: 2 cells"), "its own place"
    (tmp_path / "empty").mkdir()
    assert refused(lambda: read_facts(f"hf:{tmp_path}/empty")).startswith(f"hf:{tmp_path}/empty cannot be read: ")
