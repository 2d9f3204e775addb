import json
from pathlib import Path

import pytest

from retrieval.errors import UserError
from retromem.reproduce.limit_small_words import claim_for, recall_at_2
from retromem.reproduce.run_reproduction import claims_of


def write(folder: Path, num_texts: int) -> None:
    """Person i likes thing i and thing i + 1: each thing is liked by two, the first and the last by one."""
    folder.mkdir(exist_ok=True)
    corpus = [
        {"_id": f"p{row}", "title": "", "text": f"Person likes Thing{row:02d}, Thing{row + 1:02d}."}
        for row in range(num_texts)
    ]
    queries = [{"_id": f"q{row}", "text": f"Who likes Thing{row:02d}?"} for row in range(1, num_texts)]
    qrels = [
        {"query-id": f"q{row}", "corpus-id": f"p{who}", "score": 1}
        for row in range(1, num_texts)
        for who in (row - 1, row)
    ]
    for name, records in (("corpus", corpus), ("queries", queries), ("qrels", qrels)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


def test_recall_counts_the_relevant_texts_among_the_two_best(tmp_path: Path) -> None:
    write(tmp_path, 46)
    assert recall_at_2(tmp_path) == 1.0
    queries = (tmp_path / "queries.jsonl").read_text().replace("Thing45", "Thing99")  # nobody likes it: the first texts
    (tmp_path / "queries.jsonl").write_text(queries)
    assert recall_at_2(tmp_path) == pytest.approx(1 - 2 / 90)
    claim = claim_for(tmp_path)
    assert claim.band[0] <= claim.measure() <= claim.band[1]
    assert "k1 = 1.5, b = 0.75" in claim.setting


def test_the_row_is_there_where_the_data_is(tmp_path: Path) -> None:
    write(tmp_path, 46)
    without = [claim.setting for claim in claims_of("quick")]
    assert [claim.setting for claim in claims_of("quick", limit_small=tmp_path)] == [
        *without,
        claim_for(tmp_path).setting,
    ]


def test_other_data_is_one_line_that_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"corpus.jsonl: cannot be read .* name the folder of LIMIT-small"):
        claim_for(tmp_path / "none")
    write(tmp_path, 45)
    with pytest.raises(UserError, match="other than the 46 texts"):
        claim_for(tmp_path)
    write(tmp_path, 46)
    (tmp_path / "qrels.jsonl").write_text('{"query-id": "q1"}\n')
    with pytest.raises(UserError, match=r"qrels.jsonl, line 1: is no record with query-id, corpus-id"):
        recall_at_2(tmp_path)
