"""Readers of facts, each row with its place, and each refusal to the last word."""

import csv
import gzip
import json
import math
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pyarrow as pa
import pytest
from pyarrow import parquet

from retrieval.errors import UserError
from retromem.knowledge.arrow_rows import arrow_rows, named, one_line, parquet_rows, with_names
from retromem.knowledge.cell_text import cell_text, short
from retromem.knowledge.fact_columns import (
    Columns,
    Row,
    column_names,
    columns_of,
    did_you_mean,
    listed,
    parse_columns,
    split_columns,
)
from retromem.knowledge.json_rows import json_rows
from retromem.knowledge.separated_rows import separated_rows

FACTS = columns_of({})
PLACES = columns_of({"subject": "1", "relation": "2", "value": "3"})


def refused(work: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        work()
    return str(caught.value)


# ---- columns -------------------------------------------------------------------------------------------------------


def test_parts_of_columns_are_ours_and_theirs() -> None:
    assert split_columns('subject = name ,relation="capital, or seat",2') == (
        "subject = name",
        'relation="capital, or seat"',
        "2",
    )
    assert split_columns("") == split_columns(None) == ()
    for pairs, expected in (
        (("subject=name", "value = a=b"), {"subject": "name", "value": "a=b"}),
        (("1", "2", "3"), {"subject": "1", "relation": "2", "value": "3"}),
        (("4", 'relation="capital of"', "6"), {"subject": "4", "value": "6", "relation": '"capital of"'}),
        (("4", "relation=capital of", "6"), {"subject": "4", "value": "6", "relation": '"capital of"'}),
        (("4", "relation='capital of'"), {"subject": "4", "relation": "'capital of'"}),
        (("4", "relation=5", "aliases=other names"), {"subject": "4", "relation": "5", "aliases": "other names"}),
        (("relation=capital of",), {"relation": "capital of"}),
        ((), {}),
    ):
        assert parse_columns(pairs) == expected
    assert refused(lambda: parse_columns(["subject="])) == (
        "columns: 'subject' should read ours=theirs, such as subject=name"
    )
    assert refused(lambda: parse_columns(["1", "2", "3", "4"])) == (
        "columns: '4' should read ours=theirs, such as subject=name"
    )
    assert refused(lambda: parse_columns(["value=a", "value=b"])) == "columns: 'value' is given twice; give it once"


def test_columns_of_a_user_are_names_texts_or_places() -> None:
    assert (
        Columns(
            names={name: name for name in ("subject", "relation", "value", "popularity", "aliases")},
            required=("subject", "relation", "value"),
        )
        == FACTS
    )
    assert columns_of({"subject": " the  name ", "relation": '"capital of"', "aliases": "akas"}) == Columns(
        names={"value": "value", "subject": "the name", "aliases": "akas", "popularity": "popularity"},
        constants={"relation": "capital of"},
        required=("the name", "value", "akas"),
    )
    assert columns_of({"subject": "02", "relation": "'is in'", "value": "1"}) == Columns(
        names={"subject": "2", "value": "1"}, constants={"relation": "is in"}, has_header=False, required=("2", "1")
    )
    # A column of another use is not the popularity too.
    assert "popularity" not in columns_of({"value": "popularity"}).names
    constant = columns_of({"subject": '"a"', "relation": '"b"', "value": '"c"'})
    assert constant.has_header and constant.required == ()
    for given, message in (
        (
            {"subjct": "x"},
            "columns: 'subjct' is none of subject, relation, value, popularity, aliases; did you mean 'subject'?",
        ),
        ({"xyz": "x"}, "columns: 'xyz' is none of subject, relation, value, popularity, aliases"),
        (
            {"subject": "1", "relation": "3"},
            "columns: by their numbers all of subject, relation, value are given; write value=2, or a text for all "
            'rows, value="capital of"',
        ),
        (
            {"subject": "0", "relation": "1", "value": "2"},
            "columns: by their numbers all of subject, relation, value are given; write 1 for the first column",
        ),
        (
            {"value": "subject"},
            "columns: subject is 'subject', and so is another; give each a column of its own, or a text for all rows "
            "in quotes: 'subject=\"subject\"'",
        ),
    ):
        assert refused(lambda given=given: columns_of(given)) == message


def test_cells_of_a_row_are_found_and_what_is_missing_is_said() -> None:
    unquoted = columns_of({"relation": "capital of"})
    record = {"subject": "Norway", "value": "Oslo", "other": 7}
    assert unquoted.missing_in(record) == []
    assert [unquoted.cell(record, ours) for ours in ("subject", "relation", "value")] == [
        "Norway",
        "capital of",
        "Oslo",
    ]
    assert unquoted.cell({**record, "capital of": "x"}, "relation") == "x"
    assert columns_of({"relation": '"is in"'}).cell(record, "relation") == "is in"
    assert columns_of({"value": "other"}).cell(record, "value") == 7
    assert FACTS.cell(record, "relation") is None and FACTS.missing_in(record) == ["relation"]
    assert FACTS.missing_in([]) == ["subject", "relation", "value"]
    for columns, found, message in (
        (
            FACTS,
            ["subjects", "relation", "value"],
            "a.csv: column 'subject' missing, found subjects, relation, value; did you mean 'subjects'?",
        ),
        (FACTS, [], "a.csv: columns 'subject', 'relation', 'value' missing, found none; ADVICE"),
        (FACTS, ["x", "value"], "a.csv: columns 'subject', 'relation' missing, found x, value"),
        (
            columns_of({"relation": "Beruf"}),
            ["subject", "value"],
            "a.csv: column 'Beruf' missing, found subject, value; for one relation of all rows give a text in "
            "quotes: 'relation=\"capital of\"'",
        ),
        (
            PLACES,
            ["1", "2"],
            "a.csv: column '3' missing, found 1, 2; give the names of its columns in place of their numbers",
        ),
    ):
        said = refused(lambda columns=columns, found=found: columns.require("a.csv", found, advice="; ADVICE"))
        assert said == message
    FACTS.require("a.csv", ["value", "relation", "subject"])


def test_names_are_tidied_listed_and_guessed() -> None:
    assert column_names([" a\u200b ", "b  c", "", ""], "x") == ["a", "b c", "", ""]
    assert refused(lambda: column_names(["a", "b", " b"], "a.csv, line 1")) == (
        "a.csv, line 1: two columns are called 'b'; rename one of them"
    )
    assert listed(["a" * 40, "b" * 41]) == f"{'a' * 40}, {'b' * 40}..."
    assert listed([str(n) for n in range(12)]) == ", ".join(str(n) for n in range(12))
    assert listed([str(n) for n in range(14)]) == ", ".join(str(n) for n in range(12)) + " and 2 more"
    assert listed(["a", "b", "c"], most=1) == "a and 2 more"
    assert did_you_mean("SUBJEKT", ["value", "Subject"]) == "; did you mean 'Subject'?"
    assert did_you_mean("x", ["value"]) == ""
    assert (short("a" * 40), short("a" * 41), short(12345, 3)) == ("a" * 40, "a" * 40 + "...", "123...")


# ---- cells ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (None, ""),
        (math.nan, ""),
        ("  as it stands ", "  as it stands "),
        ("Łódź".encode(), "Łódź"),
        (True, "true"),
        (False, "false"),
        (1990, "1990"),
        (1990.0, "1990.0"),
        (-0.1, "-0.1"),
        (Decimal("1E+3"), "1000"),
        (Decimal("2.50"), "2.50"),
        (datetime(1990, 5, 1), "1990-05-01"),
        (datetime(1990, 5, 1, 0, 0, 1), "1990-05-01 00:00:01"),
        (datetime(1990, 5, 1, tzinfo=UTC), "1990-05-01 00:00:00+00:00"),
        (date(1990, 5, 1), "1990-05-01"),
        (time(12, 30), "12:30:00"),
        (UUID(int=7), "00000000-0000-0000-0000-000000000007"),
    ],
)
def test_a_cell_says_its_text(cell: object, text: str) -> None:
    assert cell_text(cell, "here", "value") == text


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (b"\xff", "holds bytes that are no UTF-8 text; give a text"),
        ("\ud800", "holds half of a surrogate pair; give whole characters"),
        (math.inf, "is Infinity; give a text"),
        (-math.inf, "is -Infinity; give a text"),
        (Decimal("Infinity"), 'is "Infinity"; give a text'),
        (["Ä"] * 20, f"is {json.dumps(['Ä'] * 20, ensure_ascii=False)[:40]}...; give a text"),
        ({"a": 1}, 'is {"a": 1}; give a text'),
    ],
)
def test_what_is_no_text_is_refused_with_its_place(cell: object, message: str) -> None:
    assert refused(lambda: cell_text(cell, "a.csv, line 3", "value")) == f"a.csv, line 3: 'value' {message}"


# ---- separated cells -----------------------------------------------------------------------------------------------


def separated(text: str, columns: Columns = FACTS, sign: str = ",") -> list[Row]:
    return list(separated_rows("F", text, columns, sign=sign))


def row(line: int, *cells: str, names: str = "subject relation value") -> Row:
    return f"F, line {line}", dict(zip(names.split(), cells, strict=True))


HEAD = "subject,relation,value\n"


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        (f"{HEAD}a,b,c\n\nd, e,f\n", [row(2, "a", "b", "c"), row(4, "d", "e", "f")]),
        (f'{HEAD}"a\nb",c,"d ""x"""\ne,f,g', [row(2, "a\nb", "c", 'd "x"'), row(4, "e", "f", "g")]),
        (f"sep=;\n{HEAD.replace(',', ';')}a;b;c,d\n", [row(3, "a", "b", "c,d")]),
        (f'"sep=|"\r\n{HEAD.replace(",", "|")}a|b|c\r\n', [row(3, "a", "b", "c")]),
        (f"# made by hand, 2024, x, y\n\n{HEAD}a,b,c\n", [row(4, "a", "b", "c")]),
        (f"{HEAD.replace(',', ';')}a,1;b;c\n", [row(2, "a,1", "b", "c")]),
        (f"{HEAD.replace(',', '	')}a	b	c\n", [row(2, "a", "b", "c")]),
        ("value, ,relation,subject\nv,,r,s\n", [row(2, "v", "r", "s", names="value relation subject")]),
        (HEAD, []),
        (f"{HEAD} , , \n\x1a\n\u200b\na,b,c\n", [row(2, "", "", ""), row(5, "a", "b", "c")]),
    ],
)
def test_rows_of_cells_with_their_lines(text: str, rows: list[Row]) -> None:
    assert separated(text) == rows


def test_rows_without_a_header_are_by_places() -> None:
    for text, sign, line in (
        ("a,b,c\nd,e,f\n", ",", 1),
        ("a;b;c\nd;e;f\n", ",", 1),
        ("# x\na\tb\tc\nd\te\tf\n", ",", 2),
    ):
        assert separated(text, PLACES, sign) == [
            row(line, "a", "b", "c", names="1 2 3"),
            row(line + 1, "d", "e", "f", names="1 2 3"),
        ]
    # The sign of the ending has no third cell here, so another one is meant.
    assert separated("a,b;c;d\n", PLACES) == [row(1, "a,b", "c", "d", names="1 2 3")]
    assert separated("", PLACES) == separated("", FACTS) == []
    assert refused(lambda: separated("a,b\nc,d\n", PLACES)) == "F, line 1: has 2 cells, so there is no column 3"
    assert refused(lambda: separated("a,b,c\n\nd,e\n", PLACES)) == (
        "F, line 3: 2 cells where line 1 has 3; quote cells that hold the sign between them"
    )


def test_quotes_are_letters_in_tables_of_tabs_alone_and_refusals_name_the_line() -> None:
    head = HEAD.replace(",", "\t")
    assert separated(f'{head}"a\tb\tc\n', sign="\t") == [row(2, '"a', "b", "c")]
    assert separated(f'{head}"a"\tb\tc\n', sign="\t") == [row(2, "a", "b", "c")]
    close = "; close every quoted cell, and double the quotes inside it"
    assert refused(lambda: separated(f'{HEAD}a,b,c\n"a,b,c\n')) == (
        f"F, line 3: not a row of cells (unexpected end of data){close}"
    )
    assert refused(lambda: separated(f"{HEAD}a,b,c\nd,e\n")) == (
        "F, line 3: 2 cells where the header has 3; quote cells that hold the sign between them"
    )
    assert refused(lambda: separated(f"{head}a\tb\n", sign="\t")) == (
        "F, line 2: 2 cells where the header has 3; quote cells that hold the sign between them"
    )
    where = "; where no line names the columns, give their places: COLUMNS=1,2,3"
    assert refused(lambda: separated("x;y\na;b\n")) == (
        f"F, line 1: columns 'subject', 'relation', 'value' missing, found x, y{where}"
    )
    assert refused(lambda: separated("#x,y,z\na,b,c\n")) == (
        "F, line 2: columns 'subject', 'relation', 'value' missing, found a, b, c"
        f"{where}, or take the # from their line"
    )
    limit = csv.field_size_limit()
    assert separated(f"{HEAD}{'x' * 200_000},b,c\n")[0][1]["subject"] == "x" * 200_000
    assert csv.field_size_limit() == limit


# ---- JSON ----------------------------------------------------------------------------------------------------------


def from_json(text: str, columns: Columns = FACTS, field: str | None = None) -> list[Row]:
    return list(json_rows("F", text, columns, field=field))


def test_rows_of_json_are_lines_a_list_or_a_field() -> None:
    one, two = {"subject": "a", " value ": 1.50}, {"subject": "b", "value": None, "n": [1, True]}
    lines = '{"subject": "a", " value ": 1.50}\n\n\ufeff{"subject": "b", "value": null, "n": [1, true]}\n'
    expected = [{"subject": "a", "value": "1.50"}, {"subject": "b", "value": None, "n": ["1", True]}]
    assert from_json(lines) == [("F, line 1", expected[0]), ("F, line 3", expected[1])]
    as_list = f" [{lines.splitlines()[0]},\n{json.dumps(two)}]"
    assert from_json(as_list) == [("F, row 1", expected[0]), ("F, row 2", expected[1])]
    assert from_json(f'{{"rows": {as_list}}}', field="rows") == from_json(as_list)
    table = '{"rows": {"subject": ["a", "b"], "value": [1, 2e3]}}'
    assert from_json(table, field="rows") == [
        ("F, row 1", {"subject": "a", "value": "1"}),
        ("F, row 2", {"subject": "b", "value": "2e3"}),
    ]
    assert from_json('["a", "r", 7]\n[]\n', PLACES) == [
        ("F, line 1", {"1": "a", "2": "r", "3": "7"}),
        ("F, line 2", {}),
    ]
    assert from_json('[["a", "r", 7], ["b", "r", 8]]', PLACES)[1] == ("F, row 2", {"1": "b", "2": "r", "3": "8"})
    assert from_json("") == from_json("[]") == []
    assert one["subject"] == "a"


@pytest.mark.parametrize(
    ("text", "field", "message"),
    [
        ('["a"]\n', None, "F, row 1: not a JSON object (a); give objects, one a line or a list"),
        ('{"a": 1}\n[1]\n', None, 'F, line 2: not a JSON object (["1"]); give objects, one a line or a list'),
        ('{"a": 1}\n{', None, "F, line 2: not JSON ({); every line wants one JSON object, or the file a list of them"),
        ('[{"a": 1},\n\n{]', None, "F, line 3: not JSON (Expecting property name enclosed in double quotes)"),
        ('{"a": 1, "a": 2}', None, "F, line 1: two columns are called 'a'; rename one of them"),
        ('[{"a": 1, "a": 2}]', None, "F: two columns are called 'a'; rename one of them"),
        ("{", "rows", "F, line 1: not JSON ({); give one object with 'rows' in it"),
        ("[]", "rows", "F: has no list 'rows', which the data set names; give one object with it"),
        ('{"rows": 3}', "rows", "F: has no list 'rows', which the data set names; give one object with it"),
        ('{"rows": {"a": [1], "b": [1, 2]}}', "rows", "F: the columns of 'rows' are not of one length"),
        (
            '{"rows": {"a": [1], "b": 2}}',
            "rows",
            "F: has no list 'rows', which the data set names; give one object with it",
        ),
    ],
)
def test_what_is_no_json_of_facts_is_said(text: str, field: str | None, message: str) -> None:
    assert refused(lambda: from_json(text, field=field)) == message


# ---- Arrow ---------------------------------------------------------------------------------------------------------


def test_names_of_classes_stand_for_their_numbers() -> None:
    names = ["no", "yes", "maybe"]
    for cell, expected in (
        (0, "no"),
        ("2", "maybe"),
        (-1, None),
        (3, 3),
        (-2, -2),
        ("-1", "-1"),
        ("x", "x"),
        (1.0, 1.0),
    ):
        assert named(cell, names) == expected
    rows: list[Row] = [("here", {"a": 1, "b": 1}), ("there", {"a": 7, "b": 2})]
    assert list(with_names(rows, {"a": names})) == [("here", {"a": "yes", "b": 1}), ("there", {"a": 7, "b": 2})]
    assert one_line(ValueError("two\n  lines")) == "two lines" and one_line(KeyError()) == "KeyError"
    assert one_line(ValueError("x" * 400)) == "x" * 300


def test_rows_of_arrow_batches_are_numbered_through(tmp_path: Path) -> None:
    columns = columns_of({"relation": '"is"'})
    schema = pa.schema(
        [("subject", pa.string()), ("value", pa.int8()), ("x", pa.string()), ("popularity", pa.float32())]
    )
    info = {"info": {"features": {"value": {"_type": "ClassLabel", "names": ["no", "yes"]}, "x": {"_type": "Value"}}}}
    noted = schema.with_metadata({"huggingface": json.dumps(info)})
    for own, values in ((schema, [1, 0, 2]), (noted, ["yes", "no", 2])):
        table = pa.table([["a", "b", "c"], [1, 0, 2], ["u", "v", "w"], [0.1, None, 2.5]], schema=own)
        rows = list(arrow_rows("S", table.to_batches(max_chunksize=2), columns, {}))
        assert [where for where, _ in rows] == ["S, row 1", "S, row 2", "S, row 3"]
        assert [dict(record)["subject"] for _, record in rows] == ["a", "b", "c"]
        assert [dict(record)["value"] for _, record in rows] == values
        assert [dict(record)["x"] for _, record in rows] == [None] * 3, "named, not read"
        popularity = [dict(record)["popularity"] for _, record in rows]
        assert popularity[0] == 0.1 and math.isnan(popularity[1]) and popularity[2] == 2.5
        other = list(arrow_rows("S", table.to_batches(), columns, {"value": ["A", "B", "C"]}))
        assert [dict(record)["value"] for _, record in other] == ["B", "A", "C"], "labels that are given come first"
        parquet.write_table(table, tmp_path / "t.parquet")
        (tmp_path / "t.parquet.gz").write_bytes(gzip.compress((tmp_path / "t.parquet").read_bytes()))
        for name in ("t.parquet", "t.parquet.gz"):
            found = list(parquet_rows(str(tmp_path / name), columns, {}))
            assert [dict(record)["value"] for _, record in found] == values
            assert found[2][0] == f"{tmp_path / name}, row 3"
        found = list(parquet_rows(f"file://{tmp_path}/t.parquet", columns, {}))
        assert [dict(record)["value"] for _, record in found] == values
    late = pa.table({"subject": ["a"], "value": pa.array([10**15], pa.timestamp("s"))})
    assert refused(lambda: list(arrow_rows("S", late.to_batches(), FACTS, {}))).startswith(
        "S, row 1 and on: 'value' cannot be read ("
    )
