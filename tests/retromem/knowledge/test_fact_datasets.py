"""Facts from Parquet and from data sets: the same table as from JSONL, and one line for whatever is wrong."""

import json
from pathlib import Path

import pyarrow as pa
import pytest
from datasets import ClassLabel, Dataset, Features, Value
from pyarrow import parquet

from retrieval.errors import UserError
from retromem.knowledge.fact_files import read_facts, source_name

ROWS = [
    {"subject": "Windhoek", "relation": "code", "value": "NA", "popularity": 5.0, "aliases": ["Otjomuise", "|"]},
    {"subject": "Åre", "relation": "code", "value": "SE", "popularity": 2.5, "aliases": []},
]


def jsonl(path: Path, rows: list[dict[str, object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_parquet_and_a_folder_give_the_table_that_jsonl_gives(tmp_path: Path) -> None:
    expected = read_facts(jsonl(tmp_path / "mine.jsonl", ROWS))
    parquet.write_table(pa.Table.from_pylist(ROWS), tmp_path / "mine.parquet")
    jsonl(tmp_path / "folder" / "train.jsonl", ROWS)
    for source in (tmp_path / "mine.parquet", f"hf:{tmp_path}/folder", f"hf:{tmp_path}/folder@train"):
        table = read_facts(source)
        assert (table.subjects, table.relations, table.values) == (
            expected.subjects,
            expected.relations,
            expected.values,
        )
        assert (table.popularity, table.aliases) == (expected.popularity, expected.aliases)
        assert table.name == ("mine" if source == tmp_path / "mine.parquet" else "folder")


def test_numbers_become_text_and_row_groups_are_read_one_after_another(tmp_path: Path) -> None:
    rows = [{"subject": f"Town {n}", "relation": "inhabitants", "value": 10 * n} for n in range(1, 41)]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "mine.parquet", row_group_size=7)
    table = read_facts(tmp_path / "mine.parquet")
    assert table.values == tuple(str(10 * n) for n in range(1, 41))


def test_names_of_classes_are_values_and_other_splits_are_named(tmp_path: Path) -> None:
    features = Features(
        {"city": Value("string"), "relation": Value("string"), "value": ClassLabel(names=["no", "yes"])}
    )
    rows = {"city": ["Oslo", "Lyon"], "relation": ["coastal", "coastal"], "value": [1, 0]}
    folder = tmp_path / "coast"
    (folder / "data").mkdir(parents=True)
    Dataset.from_dict(rows, features=features).to_parquet(folder / "data" / "test-00000-of-00001.parquet")
    table = read_facts(f"hf:{folder}", columns={"subject": "city"})
    assert table.values == ("yes", "no")
    Dataset.from_dict(rows, features=features).to_parquet(folder / "data" / "validation-00000-of-00001.parquet")
    with pytest.raises(UserError, match=r"has the splits (test, validation|validation, test); name one, such as hf:"):
        read_facts(f"hf:{folder}", columns={"subject": "city"})
    assert read_facts(f"hf:{folder}@test", columns={"subject": "city"}).subjects == ("Oslo", "Lyon")


def one_line(source: Path | str) -> str:
    with pytest.raises(UserError) as error:
        read_facts(source)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_is_wrong_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "no.parquet").write_bytes(b"PAR1 and nothing else")
    parquet.write_table(pa.Table.from_pylist(ROWS), tmp_path / "cut.parquet")
    content = (tmp_path / "cut.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(content[: len(content) // 2])
    for name in ("no", "cut"):
        assert f"{name}.parquet is no whole Parquet file" in one_line(tmp_path / f"{name}.parquet")
    assert one_line(tmp_path / "none.parquet") == f"{tmp_path}/none.parquet: there is no such file"
    parquet.write_table(pa.Table.from_pylist([{"subject": "a", "value": "b"}]), tmp_path / "columns.parquet")
    assert "columns.parquet, row 1: column 'relation' missing, found subject, value" in one_line(
        tmp_path / "columns.parquet"
    )
    parquet.write_table(pa.Table.from_pylist(ROWS).slice(0, 0), tmp_path / "empty.parquet")
    assert "has no facts; give at least one row" in one_line(tmp_path / "empty.parquet")
    jsonl(tmp_path / "folder" / "train.jsonl", ROWS)
    assert "has the splits train; name one, such as hf:" in one_line(f"hf:{tmp_path}/folder@nowhere")
    assert one_line(f"hf:{tmp_path}/not-there") == f"hf:{tmp_path}/not-there: there is no such folder"
    assert "should read hf:org/name[:config][@split]" in one_line("hf:@train")


@pytest.mark.parametrize(
    "reference", ["hf:org/facts", "hf:org/facts:cities", "hf:org/facts@test", "hf:org/facts:cities@test[:10%]"]
)
def test_a_run_is_named_after_the_data_set(reference: str) -> None:
    assert source_name(reference) == "facts"
