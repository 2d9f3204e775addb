"""Stores of facts, outside any experiment: build one and see its ledger."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from retrieval.chunk_store import ChunkStore
from retrieval.embedding_cache import EMBEDDINGS, EmbeddingCache
from retrieval.encoder import Encoder
from retrieval.encoder_config import EncoderConfig
from retrieval.encoder_files import DEFAULT_MODEL
from retrieval.errors import UserError
from retrieval.plan_request import is_request, parse_request
from retrieval.sealed_folder import read_manifest
from retromem.knowledge.fact_remarks import left_out, not_read, one_key, several_values
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.knowledge.sources import TextConfig
from retromem.knowledge.text_keys import CachedTextKeys, TextCollector
from retromem.memories.faiss_memory import FaissMemoryConfig
from retromem.memories.store_memory import checked_spec
from retromem.seam import Facts, Footprint, Part
from retromem.stores.planning import plan_for, recall_in
from retromem.stores.store_checks import self_test
from retromem.stores.store_encoder import noted_name
from retromem.stores.store_ledger import instead_of, ledger_line


def build_fact_store(
    store: Path,
    *,
    facts: str,
    phrasings: str | None,
    columns: Sequence[str],
    factory: str = "Flat",
    rotate_to: int | None = None,
    key_by: Literal["question", "statement"] = "statement",
    num_shards: int = 1,
    model: str = DEFAULT_MODEL,
    say: Callable[[str], None] | None = None,
) -> str:
    """Encode the facts, write their store, return its ledger as text. UserError for bad facts or an unknown index.

    `num_shards`: threads that build the index at once. `model`: of the encoder, as `EncoderConfig.model` names it.
    `say` is told, before anything is encoded, what was left out; without it, that stands before the ledger.
    """
    config = TextConfig(source="file", file=facts, phrasings=phrasings, columns=tuple(columns))
    knowledge = config.build(several_values=True)
    request = parse_request(factory) if is_request(factory) else None
    if request is not None and rotate_to is not None:
        raise UserError("--rotate-to: a planned index chooses its own rotation; leave it out")
    memory_config = FaissMemoryConfig(key_by=key_by, factory="Flat" if request else factory, rotate_to=rotate_to)
    encoder = Encoder(EncoderConfig(model=model))
    checked_spec(memory_config.spec, encoder.dim)
    lines: list[str] = []
    say = say or lines.append
    several = several_values(knowledge)
    for remark in (*left_out(knowledge), *several, *knowledge.notes, *not_read(knowledge, encoder, statements=True)):
        say(f"  {remark}")
    facts_of_set = encoded_facts(knowledge, encoder)
    for remark in one_key(knowledge.name, facts_of_set, knowledge.subjects):
        say(f"  {remark}")
    if request is not None:
        made = plan_for(request, facts_of_set, key_by)
        lines.append(f"{factory.strip()}: {made.chosen.described(knowledge.num_facts)}")
        asked = f"{made.asked:,} {_asked_of(key_by)} to {made.sampled:,} facts"
        lines.append(f"  expected from {asked}; {len(made.tried)} indexes were tried")
        spec = made.chosen.spec
        memory_config = replace(
            memory_config, factory=spec.factory, rotate_to=spec.rotate_to, nprobe=spec.nprobe, ef_search=spec.ef_search
        )
    memory = memory_config.build(seed=0)
    memory.encoder_name, memory.num_shards = noted_name(model, store), num_shards
    cost = memory.write(facts_of_set)
    instead = instead_of(store)
    memory.save(store)
    footprint = memory.footprint()
    lines.append(f"{store}: {knowledge.num_facts:,} facts in {memory.name}, built in {cost.seconds:.2f} s{instead}")
    for part in (Part.STORAGE, Part.MAINTAIN, Part.VALUE):
        lines.append(_part_line(footprint, part, [h.name for h in footprint.holdings if h.part is part]))
    lines.append(ledger_line("shared", encoder.file_bytes, ["encoder"]))
    lines.append(_part_line(footprint, Part.SEEDED, ["on no disk"]))
    lines += self_test(read_manifest(store))
    found, num_asked = recall_in(ChunkStore.open(store, verify=False), facts_of_set, key_by)  # written a moment ago
    lines.append(f"  recall@1 {found / num_asked:.3f} against exact search ({num_asked:,} {_asked_of(key_by)} asked)")
    return "\n".join(lines)


def encoded_facts(knowledge: KnowledgeSet, encoder: Encoder) -> Facts:
    """Questions and statements with their vectors, as a store has them and is asked; each text is encoded once."""
    cache = EmbeddingCache(EMBEDDINGS)
    # Free questions have no wording whose mean could be taken off: such a store keeps the embeddings as they are.
    keys = CachedTextKeys(cache, encoder.content_hash, centred=False, names_off_the_set=(), prompts=encoder.prompts)
    collector = TextCollector((), encoder.prompts)
    knowledge.with_keys(collector).facts(statements=True)  # whatever is stored, the other is asked
    cache.encode_missing(encoder, collector.texts)
    return knowledge.with_keys(keys).facts(statements=True)


def _part_line(footprint: Footprint, part: Part, names: list[str]) -> str:
    num_bytes = footprint.num_bytes(part)
    assert num_bytes is not None, "a store knows its bytes"
    return ledger_line(part.value, num_bytes, names)


def _asked_of(key_by: Literal["question", "statement"]) -> str:
    return "questions" if key_by == "statement" else "statements"
