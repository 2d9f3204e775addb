"""BM25 on LIMIT-small (Weller et al. 2025): 46 texts, 1,000 questions, the two texts that answer each.

Its data is CC BY 4.0 and not shipped: `corpus.jsonl`, `queries.jsonl` and `qrels.jsonl` of their repository.
"""

import json
from functools import partial
from pathlib import Path
from typing import Any

from retrieval.errors import UserError
from retrieval.lexical_index import LexicalIndex, LexicalSpec
from retromem.reproduce.claim import Claim

_SPEC = LexicalSpec()


def _lines(folder: Path, name: str, *fields: str) -> list[dict[str, Any]]:
    """UserError that names the file and line where something else is found."""
    path = folder / name
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); name the folder of LIMIT-small") from error
    records = []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            records.append({field: record[field] for field in fields})
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}, line {number}: is no record with {', '.join(fields)}") from error
    return records


def recall_at_2(folder: Path) -> float:
    """Share of the relevant texts among the two best of their question."""
    corpus, queries = _lines(folder, "corpus.jsonl", "_id", "text"), _lines(folder, "queries.jsonl", "_id", "text")
    relevant: dict[str, set[str]] = {}
    for record in _lines(folder, "qrels.jsonl", "query-id", "corpus-id"):
        relevant.setdefault(record["query-id"], set()).add(record["corpus-id"])
    index = LexicalIndex.build([record["text"] for record in corpus], _SPEC)
    positions_QK, _ = index.search([record["text"] for record in queries], 2)
    found = 0
    for record, positions in zip(queries, positions_QK.tolist(), strict=True):
        best = {corpus[position]["_id"] for position in positions if position >= 0}
        found += len(best & relevant.get(record["_id"], set()))
    return found / sum(map(len, relevant.values()))


def claim_for(folder: Path) -> Claim:
    """The row, of the files in this folder; UserError where they are not there or are others."""
    if len(_lines(folder, "corpus.jsonl", "_id", "text")) != 46:
        raise UserError(f"{folder / 'corpus.jsonl'}: holds other than the 46 texts of LIMIT-small")
    return Claim(
        source="Weller et al. 2025",
        setting=f"BM25 on LIMIT-small: recall@2 ({_SPEC.method}, k1 = {_SPEC.k1:g}, b = {_SPEC.b:g}, words of two "
        "or more letters or digits in lower case, no stop words, no stemming)",
        unit="of the relevant texts",
        published=0.978,
        band=(0.97, 1.0),
        measure=partial(recall_at_2, folder),
        seconds_expected=5.0,
    )
