"""Rows as the card of a data set says that its files are read, by the settings of the `datasets` library."""

from pathlib import Path

import pytest
from datasets.data_files import DataFilesDict, DataFilesList
from datasets.packaged_modules.csv.csv import CsvConfig
from datasets.packaged_modules.json.json import JsonConfig
from datasets.packaged_modules.text.text import TextConfig

from retrieval.errors import UserError
from retromem.knowledge.configured_rows import configured_reader, is_usual
from retromem.knowledge.fact_columns import Columns, Row, columns_of

FACTS = columns_of({})
PLACES = columns_of({"subject": "1", "relation": "2", "value": "3"})


def files(**names: list[str]) -> DataFilesDict:
    return DataFilesDict({split: DataFilesList(own, [()] * len(own)) for split, own in names.items()})


def rows(config: object, file: Path, columns: Columns = FACTS, labels: dict[str, list[str]] | None = None) -> list[Row]:
    read = configured_reader(config)
    assert read is not None
    return [(where, dict(record)) for where, record in read(str(file), columns, labels or {})]


def refused(config: object, file: Path, columns: Columns = FACTS) -> str:
    with pytest.raises(UserError) as caught:
        rows(config, file, columns)
    return str(caught.value)


@pytest.mark.parametrize(
    ("config", "usual"),
    [
        (CsvConfig(), True),
        (CsvConfig(name="x", data_dir="d", data_files=files(train=["a.csv"], test=["b.CSV"])), True),
        (CsvConfig(sep="\t", data_files=files(train=["a.tsv"], test=["b.tab"])), True),
        (CsvConfig(sep="\t", data_files=files(train=["a.tsv", "b.csv"])), False),
        (CsvConfig(sep="\t", data_files=files(train=["a.tsv"], test=["b.CSV.gz"])), False),
        (CsvConfig(sep=";", data_files=files(train=["a.csv"])), False),
        (CsvConfig(sep=";"), False),
        (CsvConfig(skiprows=1), False),
        (CsvConfig(chunksize=7), True),
        (JsonConfig(), True),
        (JsonConfig(field="data"), False),
        (TextConfig(), True),
    ],
)
def test_what_is_usual_leaves_it_to_the_files(config: object, usual: bool) -> None:
    assert is_usual(config) is usual


def test_csv_is_read_by_its_settings_and_cells_are_text(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("made by hand\nsubject; relation ;value\n007;r; NA\n;r;1.50\n1;r;true\nend of it\n")
    config = CsvConfig(sep=";", skiprows=1, skipfooter=1)
    expected = [
        {"subject": "007", "relation": "r", "value": "NA"},
        {"subject": "", "relation": "r", "value": "1.50"},
        {"subject": "1", "relation": "r", "value": "true"},
    ]
    assert rows(config, file) == [(f"{file}, row {number}", row) for number, row in enumerate(expected, start=1)]
    named = rows(config, file, labels={"subject": ["zero", "one"]})
    assert [record["subject"] for _, record in named] == ["007", "", "one"]
    file.write_text("subject::relation::value\na::r::x\n")
    assert rows(CsvConfig(sep="::"), file)[0][1] == {"subject": "a", "relation": "r", "value": "x"}
    file.write_text("subject,relation,value\na,r,none\n")
    assert rows(CsvConfig(na_values=["none"]), file)[0][1]["value"] != "none"
    file.write_text("a,b,c\nd,e,f\n")
    assert rows(CsvConfig(), file, PLACES) == [
        (f"{file}, row 1", {"1": "a", "2": "b", "3": "c"}),
        (f"{file}, row 2", {"1": "d", "2": "e", "3": "f"}),
    ]
    assert rows(CsvConfig(header=0), file, PLACES) == [(f"{file}, row 1", {"1": "d", "2": "e", "3": "f"})]
    headed = CsvConfig(names=["subject", "relation", "value"])
    assert [record["subject"] for _, record in rows(headed, file)] == ["a", "d"]
    assert [record["1"] for _, record in rows(headed, file, PLACES)] == ["a", "d"]
    indexed = CsvConfig(index_col=0, names=["subject", "relation", "value"])
    assert rows(indexed, file)[1][1] == {"subject": "d", "relation": "e", "value": "f"}


def test_what_the_settings_cannot_read_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("subject,relation,value\na,r,x,y\nb,r,x,z\n")
    assert refused(CsvConfig(), file) == f"{file}: rows have more cells than there are names of columns; name them all"
    file.write_text("subject,relation,value\na,r,x\nb,r,x,z\n")
    assert refused(CsvConfig(), file).startswith(f"{file} cannot be read as the data set says: ")
    file.write_text("subject,relation\na,r\n")
    assert refused(CsvConfig(), file) == f"{file}: column 'value' missing, found subject, relation"
    assert refused(CsvConfig(), file, PLACES) == (
        f"{file}: column '3' missing, found 1, 2; give the names of its columns in place of their numbers"
    )
    assert configured_reader(TextConfig()) is None


def test_json_is_read_by_its_field_and_encoding(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    content = '{"data": [{"subject": "Zürich", "value": 1}, {"subject": "b", "value": 0}]}'
    file.write_text("\ufeff" + content, encoding="utf-16-le")
    found = rows(JsonConfig(field="data", encoding="utf-16-le"), file, labels={"value": ["no", "yes"]})
    assert found == [
        (f"{file}, row 1", {"subject": "Zürich", "value": "yes"}),
        (f"{file}, row 2", {"subject": "b", "value": "no"}),
    ]
    file.write_bytes(content.encode("latin-1"))
    assert refused(JsonConfig(field="data"), file).startswith(f"{file} cannot be read as the data set says: 'utf-8'")
    assert rows(JsonConfig(field="data", encoding_errors="ignore"), file)[0][1]["subject"] == "Zrich"
    assert refused(JsonConfig(encoding="no-such"), file).endswith("says: unknown encoding: no-such")
