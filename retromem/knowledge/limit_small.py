"""LIMIT-small (Weller et al. 2025): 46 texts of who likes what, 1,000 questions, the two texts that answer each.

Its data is CC BY 4.0 and not shipped: `corpus.jsonl`, `queries.jsonl` and `qrels.jsonl` of their repository.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retrieval.errors import UserError
from retromem.knowledge.limit_other_names import OTHER_NAMES

_ASKED = ("Who likes ", "?")
_NUM_TEXTS = 46
FILES = ("corpus.jsonl", "queries.jsonl", "qrels.jsonl")


@dataclass(frozen=True, kw_only=True)
class LimitSmall:
    """Texts, questions, and the positions of the texts that answer each question."""

    texts: tuple[str, ...]
    questions: tuple[str, ...]
    relevant: tuple[frozenset[int], ...]

    def under_other_names(self) -> tuple["LimitSmall", "LimitSmall"]:
        """The questions about things that have another name: as they are, and by that name.

        Raises:
            UserError: there is none.
        """
        named = {_ASKED[0] + name + _ASKED[1]: _ASKED[0] + other + _ASKED[1] for name, other in OTHER_NAMES.items()}
        kept = [row for row, question in enumerate(self.questions) if question in named]
        if not kept:
            raise UserError(
                f"{FILES[1]}: no question is about a thing with another name here (`Who likes Accountants?`): name the "
                "folder of LIMIT-small"
            )
        written = tuple(self.questions[row] for row in kept)
        relevant = tuple(self.relevant[row] for row in kept)
        return (
            LimitSmall(texts=self.texts, questions=written, relevant=relevant),
            LimitSmall(texts=self.texts, questions=tuple(map(named.__getitem__, written)), relevant=relevant),
        )

    def recall(self, positions_QK: Any) -> float:
        """Share of the relevant texts among the ranked ones of their question; -1 is no text."""
        found = sum(len(set(ranked) & own) for ranked, own in zip(positions_QK.tolist(), self.relevant, strict=True))
        return found / sum(map(len, self.relevant))


def limit_small(folder: Path) -> LimitSmall:
    """The files of this folder; UserError that names the file and line where something else is found."""
    corpus, queries = (_lines(folder, name, "_id", "text") for name in FILES[:2])
    if len(corpus) != _NUM_TEXTS:
        raise UserError(f"{folder / 'corpus.jsonl'}: holds other than the {_NUM_TEXTS} texts of LIMIT-small")
    position = {record["_id"]: row for row, record in enumerate(corpus)}
    relevant: dict[str, set[int]] = {}
    for number, record in enumerate(_lines(folder, "qrels.jsonl", "query-id", "corpus-id"), 1):
        if record["corpus-id"] not in position:
            raise UserError(f"{folder / 'qrels.jsonl'}, line {number}: there is no text {record['corpus-id']!r}")
        relevant.setdefault(record["query-id"], set()).add(position[record["corpus-id"]])
    return LimitSmall(
        texts=tuple(record["text"] for record in corpus),
        questions=tuple(record["text"] for record in queries),
        relevant=tuple(frozenset(relevant.get(record["_id"], ())) for record in queries),
    )


def _lines(folder: Path, name: str, *fields: str) -> list[dict[str, Any]]:
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
