"""From a table of real facts and their wordings to a knowledge set."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from retrieval.errors import UserError
from retromem.knowledge.fact_table import FactTable
from retromem.knowledge.knowledge_set import KnowledgeSet, TextTask, content_hash
from retromem.knowledge.wordings import Wordings
from retromem.seam import MAX_WORDINGS, ValueTable


def fact_id(subject: str, relation: str) -> int:
    """Hash of (subject, relation), 63 bits, the lowest four 0."""
    return _hash(f"{subject}\0{relation}")


def value_id(value: str) -> int:
    """Hash of a value. Where a subject may have several, an id is `fact_id ^ value_id`: from that and the value anybody
    has the hash of subject and relation again."""
    return _hash(value)


def _hash(text: str) -> int:
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
    return number - number % MAX_WORDINGS


def _fact_ids(table: FactTable, several_values: bool) -> list[int]:
    """In the order of the table, each another one. One rule for all of a table: what else it holds changes no id."""
    return [
        fact_id(subject, relation) ^ (value_id(value) if several_values else 0)
        for subject, relation, value in zip(table.subjects, table.relations, table.values, strict=True)
    ]


def text_set(
    table: FactTable,
    wordings: Mapping[str, Wordings],
    *,
    num_written: int = 1,
    pool: int | None = None,
    max_calibration: int = 512,
    seed: int = 0,
    several_values: bool = False,
) -> KnowledgeSet:
    """Facts in wordings, in one seeded order.

    `num_written` is W, the wordings a fact is written in; `pool` cuts the wordings that are dealt (all where None).
    `several_values`: a subject and relation may have more than one, so ids are of the value too.
    UserError where a relation has fewer than W wordings, or W is none that a chunk's id has room for.
    """
    if not 1 <= num_written <= MAX_WORDINGS:
        raise UserError(
            f"{table.name}: num_written is {num_written}; a fact is written in 1 to {MAX_WORDINGS} wordings"
        )
    relations = tuple(sorted(set(table.relations)))
    relation_number = {relation: number for number, relation in enumerate(relations)}
    strings: list[str] = []
    starts = [0]
    value_number: dict[tuple[str, str], int] = {}
    values_of: dict[str, set[str]] = {relation: set() for relation in relations}
    for relation, value in zip(table.relations, table.values, strict=True):
        values_of[relation].add(value)
    for relation in relations:
        for value in sorted(values_of[relation]):
            value_number[relation, value] = len(strings)
            strings.append(value)
        starts.append(len(strings))

    dealt_wordings = []
    for relation in relations:
        own = wordings[relation]
        own = replace(own, written=own.written[:pool])
        if len(own.written) < num_written:
            raise UserError(
                f"{table.name}: relation {relation!r} has {len(own.written)} wordings to write, "
                f"but each fact is to be written in {num_written}; lower num_written or add `seen` wordings"
            )
        dealt_wordings.append(own)

    order_N = np.random.default_rng(seed).permutation(len(table.subjects))
    subjects = tuple(table.subjects[row] for row in order_N)
    relation_names = [table.relations[row] for row in order_N]
    dealt_N = np.random.default_rng([seed, 0xDEA1]).integers(2**40, size=len(order_N))
    relation_ids_N = np.array([relation_number[name] for name in relation_names], dtype=np.int64)
    value_ids_N = np.array([value_number[table.relations[row], table.values[row]] for row in order_N], dtype=np.int64)
    aliases = tuple(table.aliases[row] for row in order_N)
    identity = [subjects, relations, strings, starts, aliases, num_written]
    return KnowledgeSet(
        name=table.name,
        content_hash=content_hash(
            json.dumps([identity, [own.identity for own in dealt_wordings]]).encode(),
            relation_ids_N.tobytes(),
            value_ids_N.tobytes(),
            dealt_N.tobytes(),
        ),
        values=ValueTable(strings=tuple(strings), relations=relations, starts=tuple(starts)),
        uniform=False,
        all_fact_ids=np.array(_fact_ids(table, several_values), dtype=np.int64)[order_N],
        all_relation_ids=relation_ids_N,
        all_value_ids=value_ids_N,
        rows_N=np.arange(len(order_N), dtype=np.int64),
        text=TextTask(
            subjects=subjects,
            aliases=aliases,
            wordings=tuple(dealt_wordings),
            num_written=num_written,
            dealt_N=dealt_N,
        ),
        max_calibration=max_calibration,
        dropped=table.dropped,
        attribution=table.attribution,
        notes=table.notes,
    )
