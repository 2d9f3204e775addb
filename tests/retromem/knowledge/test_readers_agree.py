"""The same content is the same strings, or the same refusal, whatever kind of file holds it."""

import bz2
import csv
import datetime
import gzip
import json
import lzma
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from datasets import Dataset, DatasetDict
from pyarrow import parquet

from retrieval.errors import UserError
from retromem.knowledge.fact_columns import parse_columns
from retromem.knowledge.fact_files import read_facts
from retromem.knowledge.fact_table import FactTable

TEXTS = [
    ("Alpha Street", "postcode", "01069"),
    ("Namibia", "code", "NA"),
    ("Nobody", "code", ""),
    ("Maybe", "code", "nan"),
    ("True", "code", "false"),
    ("Big", "number", "123456789012345678901234567890"),
    ("Begun", "on", "2001-09-09"),
    ("Begun", "at", "2001-09-09T00:00:00Z"),
    ("Share", "size", "1.50"),
    ("1990", "size", "1e3"),
    ('Quoted "name"', "size", "a, b\tc"),
    ("Zu\u0308rich", "size", "large"),
]
HEAD = ("subject", "relation", "value")
Facts = list[tuple[str, str, str]]


def facts(table: FactTable) -> Facts:
    return list(zip(table.subjects, table.relations, table.values, strict=True))


def separated(path: Path, rows: Facts, sign: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=sign).writerows([HEAD, *rows])
    return path


def columns_of(rows: Facts) -> dict[str, list[str]]:
    return {name: [row[number] for row in rows] for number, name in enumerate(HEAD)}


def json_lines(path: Path, rows: Facts) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(dict(zip(HEAD, row, strict=True))) + "\n" for row in rows))
    return path


def json_list(path: Path, rows: Facts) -> Path:
    path.write_text(json.dumps([dict(zip(HEAD, row, strict=True)) for row in rows], indent=1))
    return path


def parquet_of(path: Path, rows: Facts, kind: pa.DataType) -> Path:
    arrays = [pa.array(cells, pa.string()).cast(kind) for cells in columns_of(rows).values()]
    parquet.write_table(pa.table(arrays, names=list(HEAD)), path)
    return path


def packed(path: Path, pack: Callable[[bytes], bytes], ending: str) -> Path:
    other = path.with_name(path.name + ending)
    other.write_bytes(pack(path.read_bytes()))
    path.unlink()
    return other


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    packed: bytes = sink.getvalue().to_pybytes()
    return packed


def parts(folder: Path, rows: Facts) -> Path:
    folder.mkdir()
    for number in (0, 1):
        parquet_of(folder / f"part-0000{number}.parquet", rows[number * 5 : number * 5 + 5 + 100 * number], pa.string())
    (folder / "_SUCCESS").touch()
    return folder


def saved(folder: Path, rows: Facts) -> Path:
    Dataset.from_dict(columns_of(rows)).save_to_disk(folder, num_shards=2)
    return folder


def saved_splits(folder: Path, rows: Facts) -> Path:
    DatasetDict({"train": Dataset.from_dict(columns_of(rows))}).save_to_disk(folder)
    return folder


WAYS: dict[str, Callable[[Path, Facts], Path | str]] = {
    "csv": lambda at, rows: separated(at / "a.csv", rows, ","),
    "csv with semicolons": lambda at, rows: separated(at / "a.csv", rows, ";"),
    "tsv": lambda at, rows: separated(at / "a.tsv", rows, "\t"),
    "tsv as txt": lambda at, rows: separated(at / "a.TXT", rows, "\t"),
    "jsonl": lambda at, rows: json_lines(at / "a.jsonl", rows),
    "json": lambda at, rows: json_list(at / "a.json", rows),
    "lines called json": lambda at, rows: json_lines(at / "a.json", rows),
    "a list called jsonl": lambda at, rows: json_list(at / "a.jsonl", rows),
    "parquet": lambda at, rows: parquet_of(at / "a.parquet", rows, pa.string()),
    "large strings": lambda at, rows: parquet_of(at / "a.parquet", rows, pa.large_string()),
    "bytes": lambda at, rows: parquet_of(at / "a.parquet", rows, pa.binary()),
    "dictionary": lambda at, rows: parquet_of(at / "a.parquet", rows, pa.dictionary(pa.int32(), pa.string())),
    "gzip": lambda at, rows: packed(separated(at / "a.csv", rows, ","), gzip.compress, ".gz"),
    "bzip2": lambda at, rows: packed(json_lines(at / "a.jsonl", rows), bz2.compress, ".BZ2"),
    "xz": lambda at, rows: packed(separated(at / "a.tsv", rows, "\t"), lzma.compress, ".xz"),
    "zstd": lambda at, rows: packed(json_lines(at / "a.jsonl", rows), zstd, ".zst"),
    "packed parquet": lambda at, rows: packed(parquet_of(at / "a.parquet", rows, pa.string()), zstd, ".zst"),
    "parts": lambda at, rows: parts(at / "parts", rows),
    "saved": lambda at, rows: saved(at / "saved", rows),
    "saved splits": lambda at, rows: saved_splits(at / "saved", rows),
    "hf: saved": lambda at, rows: f"hf:{saved(at / 'saved', rows)}",
    "hf: csv": lambda at, rows: f"hf:{separated(at / 'set' / 'a.csv', rows, ',').parent}",
    "hf: tsv": lambda at, rows: f"hf:{separated(at / 'set' / 'a.tsv', rows, '	').parent}@train",
    "hf: jsonl": lambda at, rows: f"hf:{json_lines(at / 'set' / 'train.jsonl', rows).parent}",
    "hf: a file": lambda at, rows: f"hf:{json_lines(at / 'set' / 'train.jsonl', rows)}",
    "hf: signs": lambda at, rows: f"hf:{json_lines(at / 's@t [1] 20:24' / 'x[2].jsonl', rows).parent}@train",
    "signs": lambda at, rows: json_lines(at / "s@t [1]*" / "x[2].jsonl", rows).parent,
}


@pytest.mark.parametrize("way", WAYS)
def test_texts_are_the_same_strings(way: str, tmp_path: Path) -> None:
    expected = [fact for fact in TEXTS if fact[2]]
    expected = [tuple(cell.replace("u\u0308", "ü").replace("\t", " ") for cell in fact) for fact in expected]
    table = read_facts(WAYS[way](tmp_path, TEXTS))
    assert facts(table) == expected
    assert table.dropped == {"empty": 1} and table.notes == ()


def typed_json(path: Path, cells: list[Any]) -> Path:
    path.write_text("".join(json.dumps({"subject": f"s{n}", "value": cell}) + "\n" for n, cell in enumerate(cells)))
    return path


def typed_parquet(path: Path, cells: list[Any]) -> Path:
    parquet.write_table(pa.table({"subject": [f"s{n}" for n in range(len(cells))], "value": cells}), path)
    return path


def values_or_line(path: Path) -> tuple[str, ...] | str:
    """Of the facts read, with nothing for what was empty."""
    try:
        table = read_facts(path, columns={"relation": '"is"'})
    except UserError as error:
        return str(error).replace(str(path), "FILE").replace("line", "row")
    found = dict(zip(table.subjects, table.values, strict=True))
    assert table.dropped.get("empty", 0) == 5 - len(found)
    return tuple(found.get(f"s{n}", "") for n in range(5))


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([7, -1, 2**53 + 1, None, 0], ("7", "-1", "9007199254740993", "", "0")),
        ([1.5, 1990.0, 1e22, float("nan"), None], ("1.5", "1990.0", "1e+22", "", "")),
        (["a", None, "", " ", "NaN"], ("a", "", "", "", "NaN")),
        ([True, None, True, False, None], ("true", "", "true", "false", "")),
        ([{"a": 1.5}] * 5, """FILE, row 1: 'value' is {"a": 1.5}; give a text"""),
        ([["x", "y"]] * 5, """FILE, row 1: 'value' is ["x", "y"]; give a text"""),
        ([1.0, float("inf"), 1.0, 1.0, 1.0], "FILE, row 2: 'value' is Infinity; give a text"),
    ],
)
def test_typed_cells_are_the_same_strings_or_the_same_refusal(
    cells: list[Any], expected: object, tmp_path: Path
) -> None:
    assert values_or_line(typed_parquet(tmp_path / "a.parquet", cells)) == expected
    if isinstance(expected, str):
        expected = expected.replace("1.5}", '"1.5"}')  # numbers of JSON are spelled
    assert values_or_line(typed_json(tmp_path / "a.jsonl", cells)) == expected


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (pa.array([Decimal("1.50"), Decimal("0.0000001")] * 2 + [None], pa.decimal128(20, 7)), "1.5000000"),
        (pa.array([0.1, 1990.0, 3.3, float("nan"), None], pa.float32()), "0.1"),
        (pa.array([datetime.date(2001, 9, 9)] * 5), "2001-09-09"),
        (pa.array([datetime.datetime(2001, 9, 9)] * 5), "2001-09-09"),
        (pa.array([datetime.datetime(2001, 9, 9, 1)] * 5), "2001-09-09 01:00:00"),
        (pa.array([999999999999999] * 5, pa.timestamp("s")), "cannot be read"),
        (pa.array([b"\xff"] * 5), "holds bytes that are no UTF-8 text"),
        (pa.array([datetime.timedelta(1)] * 5), "give a text"),
        (pa.array([None] * 5), "no fact is left (left out: 5 empty)"),
    ],
)
def test_types_that_json_has_not(array: pa.Array, expected: str, tmp_path: Path) -> None:
    table = pa.table([pa.array([f"s{n}" for n in range(5)]), array], names=["subject", "value"])
    parquet.write_table(table, tmp_path / "a.parquet")
    found = values_or_line(tmp_path / "a.parquet")
    assert expected in found if isinstance(found, str) else found[0] == expected
    assert "1e-" not in str(found).lower()


def test_a_column_named_twice_is_refused_everywhere(tmp_path: Path) -> None:
    twice = pa.table([pa.array(["x"])] * 4, names=[*HEAD, "value"])
    parquet.write_table(twice, tmp_path / "a.parquet")
    (tmp_path / "a.csv").write_text("subject,relation,value,value\na,b,c,d\n")
    (tmp_path / "a.jsonl").write_text('{"subject": "a", "relation": "b", "value": "c", "value": "d"}\n')
    for name in ("a.parquet", "a.csv", "a.jsonl"):
        with pytest.raises(UserError, match="two columns are called 'value'"):
            read_facts(tmp_path / name)


def test_what_a_folder_leaves_unread_is_said(tmp_path: Path) -> None:
    separated(tmp_path / "set" / "train.csv", TEXTS, ",")
    separated(tmp_path / "set" / "sub" / "test.csv", [("Oslo", "size", "large")], ",")
    (tmp_path / "set" / "README.md").write_text("about it")
    table = read_facts(tmp_path / "set")
    assert len(table) == len(TEXTS) and table.notes == ("files of the folder that were not read: README.md",)
    assert read_facts(f"hf:{tmp_path}/set").notes == ("splits that were not read: test",)
    assert facts(read_facts(f"hf:{tmp_path}/set@test")) == [("Oslo", "size", "large")]
    json_lines(tmp_path / "set" / "a.jsonl", TEXTS)
    with pytest.raises(UserError, match="is a folder with .csv and .jsonl files of facts; give one file"):
        read_facts(tmp_path / "set")


def test_configs_of_a_folder_are_named(tmp_path: Path) -> None:
    separated(tmp_path / "a" / "x.csv", TEXTS, ",")
    separated(tmp_path / "b" / "x.csv", [("Oslo", "size", "large")], ",")
    configs = "".join(f"- config_name: {name}\n  data_files: {name}/*.csv\n" for name in "ab")
    (tmp_path / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    with pytest.raises(UserError, match=f"has the configs a, b; name one, such as hf:{tmp_path}:a"):
        read_facts(f"hf:{tmp_path}")
    assert facts(read_facts(f"hf:{tmp_path}:b")) == [("Oslo", "size", "large")]


@pytest.mark.parametrize("ending", [".bz2", ".xz", ".zst"])
def test_a_damaged_packed_file_is_one_line(ending: str, tmp_path: Path) -> None:
    pack = {".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstd}[ending]
    whole = pack(b"subject,relation,value\n" + b"a,b,c\n" * 99)
    for content in (whole[:-9], whole[:12] + bytes(len(whole) - 12)):
        (tmp_path / f"a.csv{ending}").write_bytes(content)
        with pytest.raises(UserError, match="is a damaged or truncated (bzip2|xz|zstd) file"):
            read_facts(tmp_path / f"a.csv{ending}")


def test_linked_folders_of_facts_are_read_and_dead_links_are_said(tmp_path: Path) -> None:
    separated(tmp_path / "set" / "a.csv", TEXTS[:1], ",")
    separated(tmp_path / "other" / "b.csv", TEXTS[1:2], ",")
    (tmp_path / "set" / "more").symlink_to(tmp_path / "other")
    assert facts(read_facts(tmp_path / "set")) == facts(read_facts(f"hf:{tmp_path}/set")) == TEXTS[:2]
    (tmp_path / "set" / "c.csv").symlink_to(tmp_path / "nowhere.csv")
    assert read_facts(tmp_path / "set").notes == ("files of the folder that were not read: c.csv (a dead link)",)


def test_text_parts_are_facts_where_there_is_nothing_else(tmp_path: Path) -> None:
    for number in (0, 1):
        separated(tmp_path / "set" / f"part-{number}.txt", TEXTS[number : number + 1], "\t")
    assert facts(read_facts(tmp_path / "set")) == TEXTS[:2]


@pytest.mark.parametrize("end", ["   \n", "\x1a", " \r\n\t\r\n"])
def test_blanks_at_the_end_are_no_row(end: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("subject,relation,value\nOslo,size,large\n" + end, newline="")
    table = read_facts(tmp_path / "a.csv")
    assert facts(table) == [("Oslo", "size", "large")] and table.dropped == {}


@pytest.mark.parametrize("relation", ['relation="x"', "relation=x"])  # a shell takes the quotes away
def test_places_and_a_text_for_all_rows_are_told_apart(relation: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("Oslo,large\nBern,small\n")
    columns = parse_columns(["1", relation, "2"])
    assert facts(read_facts(tmp_path / "a.csv", columns=columns)) == [("Oslo", "x", "large"), ("Bern", "x", "small")]


def test_popularity_that_is_no_number_is_empty_everywhere(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("subject,relation,value,popularity\nOslo,size,large,NaN\n")
    table = pa.table([["Oslo"], ["size"], ["large"], [float("nan")]], names=[*HEAD, "popularity"])
    parquet.write_table(table, tmp_path / "a.parquet")
    assert read_facts(tmp_path / "a.csv").popularity == read_facts(tmp_path / "a.parquet").popularity is None


def configured(folder: Path, settings: str, name: str, content: bytes) -> str:
    """A data set whose card says how its only file is to be read."""
    folder.mkdir()
    (folder / name).write_bytes(content)
    card = f"---\nconfigs:\n- config_name: default\n  data_files: {name}\n  {settings}\n---\n"
    (folder / "README.md").write_text(card)
    return f"hf:{folder}"


HEADED = "subject,relation,value\nKöln,zip,01069\nWindhoek,zip,NA\nBern,zip,1.50\nNull,zip,\n"
BARE = HEADED.partition("\n")[2]


@pytest.mark.parametrize(
    ("settings", "name", "content"),
    [
        ("encoding: latin-1", "a.csv", HEADED.encode("latin-1")),
        ("skiprows: 1", "a.csv", b"Downloaded today\n" + HEADED.encode()),
        ('sep: "~"', "a.csv", HEADED.replace(",", "~").encode()),
        ('delimiter: "::"', "a.csv", HEADED.replace(",", "::").encode()),
        ('sep: "\\t"', "a.csv", HEADED.replace(",", "\t").encode()),
        ('sep: "\\t"', "a.tsv", HEADED.replace(",", "\t").encode()),
        ("column_names: [subject, relation, value]", "a.csv", BARE.encode()),
        ("names: [subject, relation, value]", "a.csv.gz", gzip.compress(BARE.encode(), mtime=0)),
        ('comment: "#"', "a.csv", HEADED.replace("\nBern", "\n# here\nBern").encode()),
        ("na_values: [none]", "a.csv", (HEADED + "Oslo,zip,none\n").replace("Null,zip,\n", "").encode()),
        ("field: data", "a.json", b'{"version": 1.0, "data": %s}'),
        ("field: data", "a.json", b'{"data": {"subject": ["K\xc3\xb6ln", "Windhoek", "Bern", "Null"], "relation": '
         b'["zip", "zip", "zip", "zip"], "value": ["01069", "NA", 1.50, null]}}'),
        ("encoding: utf-16", "a.json", b""),
    ],
)  # fmt: skip
def test_what_the_card_of_a_data_set_says_holds_and_cells_are_text(
    settings: str, name: str, content: bytes, tmp_path: Path
) -> None:
    rows = [dict(zip(HEAD, line.split(","), strict=True)) for line in BARE.splitlines()]
    listed = json.dumps(rows, ensure_ascii=False).replace('"1.50"', "1.50").replace('""', "null")
    content = content.replace(b"%s", listed.encode()) if content else listed.encode("utf-16")
    table = read_facts(configured(tmp_path / "set", settings, name, content))
    assert facts(table) == [("Köln", "zip", "01069"), ("Windhoek", "zip", "NA"), ("Bern", "zip", "1.50")]
    assert table.dropped == {"empty": 1}


@pytest.mark.parametrize(
    ("settings", "name", "content"),
    [
        ("encoding: ascii", "a.csv", HEADED.encode()),
        ("encoding: nothing", "a.csv", HEADED.encode()),
        ("column_names: [subject, value]", "a.csv", BARE.encode()),
        ("skiprows: 99", "a.csv", HEADED.encode()),
        ("field: facts", "a.json", b'{"data": []}'),
        ("field: data", "a.json", b"{"),
    ],
)
def test_what_the_card_says_wrongly_is_one_line(settings: str, name: str, content: bytes, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=name) as error:
        read_facts(configured(tmp_path / "set", settings, name, content))
    assert "\n" not in str(error.value)


def test_places_of_columns_hold_under_a_card_too(tmp_path: Path) -> None:
    columns = parse_columns(["1", "2", "3"])
    for number, settings in enumerate(('sep: "~"', 'names: [a, b, c]\n  sep: "~"')):
        source = configured(tmp_path / f"set{number}", settings, "a.csv", BARE.replace(",", "~").encode())
        assert read_facts(source, columns=columns).values == ("01069", "NA", "1.50")
