import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retrieval.errors import UserError
from retromem.knowledge.fact_columns import parse_columns, split_columns
from retromem.knowledge.fact_files import read_facts
from retromem.knowledge.fact_table import FactTable
from retromem.knowledge.names import tidied

SHARED = Path(__file__).parents[3].parent / "shared"
HEADER = "subject,relation,value\n"
PLACES = {"subject": "1", "relation": "2", "value": "3"}
GOOD = '{"subject": "Oslo", "relation": "country", "value": "Norway"}\n'

Write = Callable[[str, str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def _write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return _write


def facts(table: FactTable) -> list[tuple[str, str, str]]:
    return list(zip(table.subjects, table.relations, table.values, strict=True))


def test_jsonl_and_csv_of_the_same_facts_are_one_table(write: Write) -> None:
    jsonl = (
        '{"subject": "Windhoek", "relation": "code", "value": "NA", "popularity": 5, "aliases": ["Otjomuise", "|"]}\n'
        "\n"
        '{"subject": "Åre, \\"Sweden\\"", "relation": "code", "value": 7, "popularity": 2.5, "aliases": []}\n'
    )
    cells = (
        "relation,subject,value,popularity,aliases\r\ncode,Windhoek,NA,5,Otjomuise | \r\n\r\n"
        'code,"Åre, ""Sweden""",7,2.5,\r\n'
    )
    tables = [
        read_facts(write("mine.jsonl", jsonl)),
        read_facts(write("mine.csv", cells)),
        read_facts(write("mine.csv.gz", gzip.compress(cells.encode()))),
        read_facts(write("mine.JSONL.GZ", gzip.compress(b"\xef\xbb\xbf" + jsonl.encode()))),
        read_facts(write("mine.csv", "\ufeff" + cells)),
    ]
    for table in tables:
        assert facts(table) == [("Windhoek", "code", "NA"), ('Åre, "Sweden"', "code", "7")]
        assert table.popularity == (5.0, 2.5)
        assert table.name == "mine"
        assert table.attribution is None
    assert tables[0].aliases == (("Otjomuise", "|"), ())
    assert tables[1].aliases == (("Otjomuise",), ())


@pytest.mark.parametrize("text", ["NA", "null", "None", "nan", "007", "1e3", "TRUE", " x "])
def test_csv_cells_are_text_as_they_stand(write: Write, text: str) -> None:
    assert read_facts(write("a.csv", f"{HEADER}s,r,{text}\n")).values == (text.strip(),)


@pytest.mark.parametrize("number", ["1", "1.50", "-0", "1E400", "123456789012345678901234567890" * 200])
def test_json_numbers_are_taken_as_they_are_spelled(write: Write, number: str) -> None:
    path = write("a.jsonl", f'{{"subject": "s", "relation": "r", "value": {number}}}')
    assert read_facts(path).values == (number,)


_CELL = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8).filter(lambda text: text.strip())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.lists(st.tuples(_CELL, _CELL), min_size=1, max_size=4))
def test_what_was_written_is_read_or_counted(write: Write, pairs: list[tuple[str, str]]) -> None:
    rows = [("Anna", "first"), *pairs]
    jsonl = "".join(json.dumps({"subject": s, "relation": "r", "value": v}, ensure_ascii=False) + "\n" for s, v in rows)
    path = write("b.csv", "")
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["subject", "relation", "value"])
        writer.writerows([s, "r", v] for s, v in rows)
    table = read_facts(path)
    assert table == read_facts(write("b.jsonl", jsonl))
    assert len(table) + sum(table.dropped.values()) == len(rows)
    assert {(s, v) for s, _, v in facts(table)} <= {(tidied(s), tidied(v)) for s, v in rows}


def test_columns_are_mapped_by_name_and_the_others_named_once(write: Write) -> None:
    path = write("a.csv", "city,subject,is_in,value,pop\nOslo,geo,country,Norway,5\nRome,geo,country,Italy,4\n")
    columns = {"subject": "city", "relation": "is_in", "popularity": "pop"}
    table = read_facts(path, columns=columns)
    assert facts(table) == [("Oslo", "country", "Norway"), ("Rome", "country", "Italy")]
    assert table.popularity == (5.0, 4.0)
    assert table.notes == ("columns that were not used: subject",)


@pytest.mark.parametrize(
    ("name", "content", "columns", "expected"),
    [
        ("a.csv", "Oslo,country,Norway\nRome,country,Italy\n", ("1", "2", "3"), None),
        (
            "a.txt",
            "x\tNorway\tcountry\tOslo\n\nx\tItaly\tcountry\tRome\n",
            ("subject=4", "value=2", "relation=3"),
            None,
        ),
        ("a.tsv", "Oslo\tNorway\nRome\tItaly\n", ("subject=1", "value=2", 'relation="country"'), None),
        ("a.json", '[["Oslo", "country", "Norway"], ["Rome", "country", "Italy"]]', ("1", "2", "3"), None),
        ("a.jsonl", '["Oslo", "country", "Norway"]\n["Rome", "country", "Italy"]\n', ("1", "2", "3"), None),
        ("a.csv", "#city;state\nOslo;Norway\nRome;Italy", ("subject=#city", "value=state", "relation='country'"), None),
        (
            "a.csv",
            "city;state\nOslo;Norway\nRome;Italy",
            ("subject=city", "value=state", "relation=state of"),
            "state of",
        ),
        (
            "a.csv",
            "city|state,of\nOslo|Norway\nRome|Italy",
            ("subject=city", "value=state,of", 'relation="a, b"'),
            "a, b",
        ),
        ("a.csv", "1990,state\nOslo,Norway\nRome,Italy", ("subject=1990", "value=state", 'relation="country"'), None),
    ],
)
def test_columns_by_place_and_one_relation_for_all_rows(
    write: Write, name: str, content: str, columns: tuple[str, ...], expected: str | None
) -> None:
    table = read_facts(write(name, content), columns=parse_columns(columns))
    relation = expected or "country"
    assert facts(table) == [("Oslo", relation, "Norway"), ("Rome", relation, "Italy")]
    assert any("the first fact is 'Oslo', " in note for note in table.notes) == columns[0].endswith(("1", "4"))


def test_a_comma_in_quotes_parts_no_columns() -> None:
    given = ("subject=a b", 'relation="part of, or in"', "value=c")
    assert split_columns(", ".join(given)) == given
    assert split_columns("1,2,3") == ("1", "2", "3") and split_columns(None) == ()


@pytest.mark.parametrize(
    "content",
    [
        "sep=;\r\nsubject;relation;value\r\ns;r;v\r\n",
        '"sep=,"\nsubject,relation,value\ns,r,v\n',
        "# made by hand\n\n#, too, and more\nsubject,relation,value\ns,r,v\n",
        "subject\trelation\tvalue\ns\tr\tv\n",
        'subject, "relation", value\n"s", "r", "v"\n',
        "subject,relation,value\rs,r,v\r",
        "\ufeffsubject,relation,value,,\ns,r,v,,\n,,,,\n",
        "value;subject;relation;note\nv;s;r;a, b, c, d, e\n",
    ],
)
def test_what_programs_make_of_a_table_is_read(write: Write, content: str) -> None:
    assert facts(read_facts(write("a.csv", content))) == [("s", "r", "v")]


def test_quotes_in_a_table_of_tabs_are_letters_where_they_do_not_close(write: Write) -> None:
    head = "subject\trelation\tvalue\n"
    path = write("a.tsv", head + '"Weird Al" Yankovic\tborn in\tDowney\nA 12" single\tkind\t"disk\n')
    assert facts(read_facts(path)) == [('"Weird Al" Yankovic', "born in", "Downey"), ('A 12" single', "kind", '"disk')]
    path = write("b.tsv", head + '"The ""King"""\tborn in\t"Tupelo\tMS"\n')
    assert facts(read_facts(path)) == [('The "King"', "born in", "Tupelo MS")]


def test_a_cell_may_be_long_and_the_limit_of_others_stays(write: Write) -> None:
    before = csv.field_size_limit()
    assert len(read_facts(write("a.csv", f"{HEADER}s,r,{'v' * 200_000}\n")).values[0]) == 200_000
    assert csv.field_size_limit() == before


def test_whole_numbers_with_a_point_are_remarked(write: Write) -> None:
    table = read_facts(write("a.csv", f"{HEADER}a,founded,1990.0\nb,founded,1128.5\n"))
    assert table.values == ("1990.0", "1128.5")
    assert table.notes[0].startswith("1 rows hold a number such as 1990.0")


def test_several_values_are_kept_where_they_can_be_held(write: Write) -> None:
    path = write("a.csv", f"{HEADER}Oslo,twin,Rome\nOslo,twin,Bonn\nOslo,twin,Rome\nRome,twin,\n")
    table = read_facts(path, several_values=True)
    assert table.values == ("Rome", "Bonn") and table.dropped == {"duplicate": 1, "empty": 1}
    assert "2 several_values" in refused(path)


def test_dropped_rows_are_counted(write: Write) -> None:
    table = read_facts(write("a.csv", f"{HEADER}Oslo,r,Norway\nOslo,r,Norway\n,r,x\nPeru,r,Peru\n"))
    assert table.dropped == {"duplicate": 1, "empty": 1, "value_in_subject": 1}


def refused(path: Path, columns: dict[str, str] | None = None) -> str:
    with pytest.raises(UserError) as error:
        read_facts(path, columns=columns)
    message = str(error.value)
    assert "\n" not in message
    return message.replace(str(path), "FILE")


def test_missing_file_and_folder(tmp_path: Path) -> None:
    assert refused(tmp_path / "no.jsonl") == "FILE: there is no such file"
    (tmp_path / "a.csv").mkdir()
    assert refused(tmp_path / "a.csv").startswith("FILE: is a folder with no files of facts; give one file")
    assert "cannot be read" in refused(tmp_path / f"{'x' * 300}.csv")


@pytest.mark.parametrize("name", ["facts.xlsx", "facts", "facts.gz", ".csv", "facts.csv.zip"])
def test_kinds_of_file(write: Write, name: str) -> None:
    assert "must end in .csv, .tsv, .tab, .txt, .json, .jsonl, .ndjson, .parquet, packed (.gz, " in refused(
        write(name, GOOD)
    )


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.jsonl", "", "FILE has no facts; give at least one row"),
        ("a.jsonl", " \n\n", "FILE has no facts; give at least one row"),
        # mtime=0: bytes that change with the clock would name other tests in every process.
        ("a.csv.gz", gzip.compress(b"", mtime=0), "FILE has no facts; give at least one row"),
        ("a.csv", HEADER, "FILE has no facts; give at least one row of subject, relation, value"),
        (
            "a.csv",
            "Subject,relation,value\ns,r,v\n",
            "FILE, line 1: column 'subject' missing, found Subject, relation, ",
        ),
        ("a.csv", "Subject,relation,value\ns,r,v\n", "did you mean 'Subject'?"),
        (
            "a.csv",
            "\nSubject;rel;value\ns;r;v\n",
            "FILE, line 2: columns 'subject', 'relation' missing, found Subject, ",
        ),
        ("a.csv", "a;b;c\ns;r;v\n", "where no line names the columns, give their places: COLUMNS=1,2,3"),
        ("a.tsv", "subject\trelation\tvalue\ns\tr\n", "FILE, line 2: 2 cells where the header has 3"),
        ("a.csv", "# 2024\nsubject,x\n", "FILE, line 2: columns 'relation', 'value' missing, found subject, x"),
        ("a.csv", "subject,relation,value,value\ns,r,v,w\n", "line 1: two columns are called 'value'"),
        ("a.csv", f"{HEADER}s,r,v\ns,r\n", "FILE, line 3: 2 cells where the header has 3"),
        ("a.csv", f"{HEADER}s,r,v,w\n", "FILE, line 2: 4 cells where the header has 3"),
        ("a.csv", f'{HEADER}"a\nb",r,v\n\n"c\r\nd",r\n', "FILE, line 5: 2 cells"),
        ("a.csv", f'{HEADER}s,r,v\n"s,r,v\nt,r,v\n', "FILE, line 3: not a row of cells"),
        ("a.csv", f'{HEADER}"s"x,r,v\n', "FILE, line 2: not a row of cells"),
        ("a.csv", f'{HEADER}s, "r" ,v\n', "FILE, line 2: not a row of cells"),
        ("a.csv", "subject,relation,value,popularity\ns,r,v,x\n", "line 2: 'popularity' is 'x'; give a number"),
        ("a.jsonl", GOOD + "{oops\n", "FILE, line 2: not JSON ({oops)"),
        ("a.jsonl", GOOD + GOOD.replace('"Norway"', "Infinity"), "FILE, line 2: 'value' is Infinity; give a text"),
        ("a.jsonl", GOOD.replace('"value"', '"value": "x", "value"'), "line 1: two columns are called 'value'"),
        ("a.jsonl", GOOD.replace('"value"', '"value": "x", "value "'), "line 1: two columns are called 'value'"),
        ("a.json", f"[{GOOD.strip()},\n{{oops}}]", "FILE, line 2: not JSON (Expecting property name"),
        ("a.json", f"[{GOOD.strip()}, 17]", "FILE, row 2: not a JSON object (17)"),
        ("a.json", '{\n"facts": [\n', "FILE, line 1: not JSON ({); every line wants one JSON object"),
        ("a.jsonl", "[" * 100_000, "FILE, line 1: not JSON"),
        ("a.jsonl", GOOD + "17\n", "FILE, line 2: not a JSON object (17)"),
        ("a.jsonl", '{"subject": "s", "relation": "r"}\n' * 2, "FILE, line 1: column 'value' missing, found subject, "),
        ("a.jsonl", "{}", "FILE, line 1: columns 'subject', 'relation', 'value' missing, found none"),
        (
            "a.jsonl",
            GOOD.replace('"Norway"', '{"text": "x"}'),
            """FILE, line 1: 'value' is {"text": "x"}; give a text""",
        ),
        ("a.jsonl", GOOD.replace('"Norway"', '["x"]'), """FILE, line 1: 'value' is ["x"]; give a text"""),
        ("a.jsonl", GOOD.replace("Norway", "\\ud800"), "line 1: 'value' holds half of a surrogate pair"),
        ("a.jsonl", GOOD.replace("}", ', "aliases": [["x"]]}'), """line 1: 'aliases' is ["x"]"""),
        ("a.jsonl", GOOD.replace("}", ', "popularity": true}'), "line 1: 'popularity' is 'true'"),
        ("a.jsonl", GOOD.replace("}", ', "popularity": 3}') + GOOD, "line 2: 'popularity' is given in some lines only"),
        ("a.jsonl", GOOD + GOOD.replace("}", ', "popularity": 3}'), "line 2: 'popularity' is given in some lines only"),
        ("a.jsonl", GOOD.replace("Norway", "Oslo"), "FILE: no fact is left (left out: 1 value_in_subject)"),
        ("a.jsonl", GOOD.encode() + b'\r\n{"s": "\xe9"}', "FILE, line 3: byte 0xe9 is not UTF-8"),
        ("a.csv", GOOD.encode("utf-16"), "FILE, line 1: byte 0xff is not UTF-8"),
        ("a.jsonl.gz", gzip.compress(GOOD.encode(), mtime=0)[:-9], "FILE is a damaged or truncated gzip file"),
        ("a.jsonl.gz", gzip.compress(GOOD.encode() * 9, mtime=0)[:15], "FILE is a damaged or truncated gzip file"),
        ("a.jsonl.gz", gzip.compress(GOOD.encode(), mtime=0) + b"tail", "FILE is a damaged or truncated gzip file"),
        ("a.jsonl.gz", b"\x1f\x8b\x08\x00" + b"\xff" * 40, "FILE is a damaged or truncated gzip file"),
    ],
)
def test_bad_input_is_one_line_with_its_place(write: Write, name: str, content: str | bytes, expected: str) -> None:
    assert expected in refused(write(name, content))


@pytest.mark.parametrize("popularity", ["many", "-1", "-inf", "inf", "1,000"])
def test_popularity_is_a_number_of_at_least_zero(write: Write, popularity: str) -> None:
    path = write("a.jsonl", GOOD + GOOD.replace("}", f', "popularity": "{popularity}"}}'))
    assert "line 2: 'popularity' is '" in refused(path)


def test_nobody_reads_of_it_is_a_popularity_too(write: Write) -> None:
    path = write("a.jsonl", GOOD.replace("}", ', "popularity": 0}'))
    assert read_facts(path).popularity == (0.0,)


def test_mapped_columns_must_be_there(write: Write) -> None:
    path = write("a.jsonl", GOOD)
    assert "column 'akas' missing" in refused(path, {"aliases": "akas"})
    assert "line 1: column 'city' missing" in refused(path, {"subject": "city"})
    assert "did you mean 'subject'?" in refused(path, {"subjct": "city"})
    assert """'relation="capital of"'""" in refused(path, {"relation": "kapital"})
    assert "relation is 'relation', and so is another" in refused(path, {"value": "relation"})
    assert "; give the names of its columns in place of their numbers" in refused(path, {**PLACES, "value": "4"})
    assert "by their numbers all of subject, relation, value are given; write value=2" in refused(
        path, {"subject": "1", "relation": "3"}
    )
    table = write("a.tsv", "Oslo\tNorway\n")
    assert "line 1: has 2 cells, so there is no column 3" in refused(table, PLACES)


@pytest.mark.skipif(not SHARED.is_dir(), reason="no shared data here")
@pytest.mark.parametrize(
    ("name", "num_facts", "dropped", "notes"),
    [
        ("pararel", 21_522, {"value_in_subject": 3}, ()),
        ("counterfact", 18_856, {"value_in_subject": 2}, ("columns that were not used: counterfactual",)),
    ],
)
def test_shared_facts(name: str, num_facts: int, dropped: dict[str, int], notes: tuple[str, ...]) -> None:
    table = read_facts(SHARED / "data" / name / "facts.jsonl.gz")
    assert (table.name, len(table), table.dropped, table.notes) == ("facts", num_facts, dropped, notes)
