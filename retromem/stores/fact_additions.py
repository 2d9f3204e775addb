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
from jaxtyping import Bool, Int64
from numpy import ndarray

from retrieval.chunk_store import ChunkStore
from retrieval.errors import UserError
from retrieval.generations import while_written
from retrieval.sealed_folder import read_manifest
from retrieval.store_changes import put
from retrieval.store_updates import Changed, update
from retromem.knowledge.from_table import value_id
from retromem.knowledge.knowledge_set import value_file
from retromem.knowledge.sources import TextConfig
from retromem.memories.saved import VALUES, load_values
from retromem.memories.store_memory import chunks_of, fact_ids_of_chunks
from retromem.seam import Facts, Queries, ValueTable
from retromem.stores.store_encoder import encoder_of


def add_facts(store: Path, *, facts: str, phrasings: str | None, columns: Sequence[str], model: str | None) -> str:
    """Encode the facts and add them; says how many, and what was new. UserError for bad facts, or another encoder.

    A subject and relation for which the file has a new value have the file's values from now on, all of them and no
    others. A fact that is there already is left as it is.
    `model`: the encoder that built the store, where it lies elsewhere now.
    """
    extra = read_manifest(store)["meta"].get("extra", {})
    if extra.get("memory") != "faiss":
        raise UserError(f"{store}: is no store of facts; build one with `python -m retromem index build`")
    config = TextConfig(source="file", file=facts, phrasings=phrasings, columns=tuple(columns))
    knowledge = config.build(several_values=True)
    noted = while_written(store, lambda: ChunkStore.open(store, verify=False)).encoder
    from retromem.knowledge.fact_remarks import left_out, not_read, several_values
    from retromem.stores.fact_stores import encoded_facts

    encoder = encoder_of(store, noted, extra["encoder_hash"], model)
    remarks = (*left_out(knowledge), *several_values(knowledge), *knowledge.notes)
    said = [f"  {remark}" for remark in (*remarks, *not_read(knowledge, encoder, statements=True))]
    given = encoded_facts(knowledge, encoder)

    def added(before: ChunkStore, extra: Mapping[str, Any]) -> Changed:
        old = load_values(store, extra)
        values = with_values_of(old, given.values)
        told = under_values(given, values)
        told = told.rows(np.flatnonzero(~np.isin(told.ids_N, fact_ids_of_chunks(before)[before.is_live_N])))
        if not len(told):
            said.append(f"{store}: nothing added, {len(given):,} facts are there already; {before.num_live:,} chunks")
            return Changed(before)
        assert told.statements is not None, "asked for"
        sources = list(told.cues) if extra["config"]["key_by"] == "question" else [told.statements]
        chunks = chunks_of(told, sources, with_values=True)
        gone_P, is_corrected_N = _of_other_values(before, told, given, values)
        after = put(before, chunks, without_P=gone_P)
        corrected = int(is_corrected_N.sum())
        there = f", {len(given) - len(told):,} there already" if len(told) < len(given) else ""
        said.append(
            f"{store}: {len(told) - corrected:,} chunks added and {corrected:,} corrected{there}, of "
            f"{len(given):,} facts; {values.num_values - old.num_values:,} new values, {after.num_live:,} chunks now"
        )
        return Changed(
            after,
            {VALUES: value_file(values)} if values != old else {},
            {**extra, "relations": values.relations, "starts": values.starts},
        )

    update(store, added)
    return "\n".join(said)


def _of_other_values(
    store: ChunkStore, told: Facts, given: Facts, values: ValueTable
) -> tuple[Int64[ndarray, " P"], Bool[ndarray, " N"]]:
    """Ids of the chunks whose values are no more those of their subject and relation; the facts told in their place.

    `told` are those of the facts given that the store does not have; `values` is their table, and the store's.
    """
    assert values.strings is not None, "facts of texts have names for their values"
    value_ids_V = np.array([value_id(string) for string in values.strings], dtype=np.int64)
    facts_P = fact_ids_of_chunks(store)
    pairs_P = facts_P ^ value_ids_V[np.asarray(values.starts)[store.groups_N] + store.labels_N]
    pairs_N = told.ids_N ^ value_ids_V[told.value_ids_N]
    is_other_P = store.is_live_N & np.isin(pairs_P, pairs_N) & ~np.isin(facts_P, given.ids_N)
    return store.ids_N[is_other_P], np.isin(pairs_N, pairs_P[is_other_P])


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
