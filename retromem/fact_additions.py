"""More facts in a store of facts, with values and relations that it has not seen; facts that are there are corrected.

A relation's values stand in one block of the value table, in the order in which they came: a new one is put at the end
of its block, so that every label stays what it was.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.chunk_store import ChunkStore
from retrieval.errors import UserError
from retrieval.generations import while_written
from retrieval.sealed_folder import read_manifest
from retrieval.store_changes import put
from retrieval.store_updates import Changed, update
from retromem.knowledge.knowledge_set import value_file
from retromem.knowledge.sources import TextConfig, build_knowledge
from retromem.memories.saved import VALUES, load_values
from retromem.memories.store_memory import chunks_of
from retromem.seam import Facts, Queries, ValueTable
from retromem.store_encoder import encoder_of


def add_facts(store: Path, *, facts: str, phrasings: str | None, columns: Sequence[str], model: str | None) -> str:
    """Encode the facts and add them; says how many, and what was new. UserError for bad facts, or another encoder.

    A fact whose subject and relation are there has the new value from now on; one with several values keeps them all.
    `model`: the encoder that built the store, where it lies elsewhere now.
    """
    extra = read_manifest(store)["meta"].get("extra", {})
    if extra.get("memory") != "faiss":
        raise UserError(f"{store}: is no store of facts; build one with `python -m retromem index build`")
    config = TextConfig(source="file", file=facts, phrasings=phrasings, columns=tuple(columns))
    knowledge = build_knowledge(config, several_values=True)
    noted = while_written(store, lambda: ChunkStore.open(store, verify=False)).encoder
    from retromem.fact_remarks import left_out, not_read, several_values
    from retromem.stores import encoded_facts

    encoder = encoder_of(store, noted, extra["encoder_hash"], model)
    remarks = (*left_out(knowledge), *several_values(knowledge), *knowledge.notes)
    said = [f"  {remark}" for remark in (*remarks, *not_read(knowledge, encoder, statements=True))]
    given = encoded_facts(knowledge, encoder)

    def added(before: ChunkStore, extra: Mapping[str, Any]) -> Changed:
        old = load_values(store, extra)
        values = with_values_of(old, given.values)
        told = under_values(given, values)
        assert told.statements is not None, "asked for"
        sources = list(told.cues) if extra["config"]["key_by"] == "question" else [told.statements]
        chunks = chunks_of(told, sources, with_values=True)
        after = put(before, chunks)
        corrected = before.num_live + len(chunks.ids_N) - after.num_live
        said.append(
            f"{store}: {len(chunks.ids_N) - corrected:,} chunks added and {corrected:,} corrected, of "
            f"{len(given):,} facts; {values.num_values - old.num_values:,} new values, {after.num_live:,} chunks now"
        )
        return Changed(
            after,
            {VALUES: value_file(values)} if values != old else {},
            {**extra, "relations": values.relations, "starts": values.starts},
        )

    update(store, added)
    return "\n".join(said)


def with_values_of(old: ValueTable, new: ValueTable) -> ValueTable:
    """The old table with the new one's relations and values appended: to the relations, and to each one's values."""
    strings_of: dict[str, dict[str, None]] = {}
    for table in (old, new):
        for relation, strings in _by_relation(table):
            strings_of.setdefault(relation, {}).update(dict.fromkeys(strings))
    return ValueTable(
        strings=tuple(string for strings in strings_of.values() for string in strings),
        relations=tuple(strings_of),
        starts=(0, *accumulate(map(len, strings_of.values()))),
    )


def under_values(facts: Facts, values: ValueTable) -> Facts:
    """The same facts by the ids of another table, which has all of their relations and values."""
    ids = {
        (relation, string): values.starts[number] + label
        for number, (relation, strings) in enumerate(_by_relation(values))
        for label, string in enumerate(strings)
    }
    value_ids_V = np.array([ids[relation, string] for relation, own in _by_relation(facts.values) for string in own])
    relation_ids_R = np.array([values.relations.index(relation) for relation in facts.values.relations])

    def moved(queries: Queries) -> Queries:
        return replace(queries, relation_ids_Q=relation_ids_R[queries.relation_ids_Q])

    return replace(
        facts,
        value_ids_N=value_ids_V[facts.value_ids_N],
        cues=[moved(cue) for cue in facts.cues],
        statements=None if facts.statements is None else moved(facts.statements),
        values=values,
    )


def _by_relation(values: ValueTable) -> list[tuple[str, tuple[str, ...]]]:
    assert values.strings is not None, "facts of texts have names for their values"
    return [
        (relation, values.strings[start:stop])
        for relation, (start, stop) in zip(values.relations, pairwise(values.starts), strict=True)
    ]
