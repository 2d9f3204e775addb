"""Stores of facts, outside any experiment: build one and see its ledger, check it, ask it."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from retrieval.encoder_files import DEFAULT_MODEL
from retrieval.engines import Engine
from retrieval.errors import UserError
from retrieval.generations import while_written
from retrieval.plan_request import is_request, parse_request
from retrieval.sealed_folder import read_manifest, verify_sealed
from retromem.knowledge.sources import TextConfig, build_knowledge
from retromem.knowledge.text_keys import CachedTextKeys, TextCollector
from retromem.seam import Part, ValueTable

if TYPE_CHECKING:
    from retrieval.chunk_store import ChunkStore

_CACHE = Path(".cache/embeddings")


def build(
    store: Path,
    *,
    facts: str,
    phrasings: str | None,
    columns: list[str],
    factory: str,
    rotate_to: int | None,
    key_by: Literal["question", "statement"],
    num_shards: int = 1,
    model: str = DEFAULT_MODEL,
) -> str:
    """Encode the facts, write their store, return its ledger as text. UserError for bad facts or an unknown index.

    `num_shards`: threads that build the index at once. `model`: of the encoder, as `EncoderConfig.model` names it.
    """
    config = TextConfig(source="file", file=facts, phrasings=phrasings, columns=tuple(columns))
    knowledge = build_knowledge(config)

    from retrieval.chunk_store import ChunkStore
    from retrieval.embedding_cache import EmbeddingCache
    from retrieval.encoder import Encoder
    from retrieval.encoder_config import EncoderConfig
    from retromem.memories.faiss_memory import FaissMemoryConfig
    from retromem.memories.store_memory import checked_spec
    from retromem.planning import plan_for, recall_in

    request = parse_request(factory) if is_request(factory) else None
    if request is not None and rotate_to is not None:
        raise UserError("--rotate-to: a planned index chooses its own rotation; leave it out")
    memory_config = FaissMemoryConfig(key_by=key_by, factory="Flat" if request else factory, rotate_to=rotate_to)
    encoder, cache = Encoder(EncoderConfig(model=model)), EmbeddingCache(_CACHE)
    checked_spec(memory_config.spec, encoder.dim)
    # Free questions have no wording whose mean could be taken off: such a store keeps the embeddings as they are.
    keys = CachedTextKeys(cache, encoder.content_hash, centred=False, names_off_the_set=(), prompts=encoder.prompts)
    collector = TextCollector((), encoder.prompts)
    knowledge.with_keys(collector).facts(statements=True)  # whatever is stored, the other is asked
    cache.encode_missing(encoder, collector.texts)
    facts_of_set = knowledge.with_keys(keys).facts(statements=True)
    lines = []
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
    memory.encoder_name, memory.num_shards = encoder.config.model, num_shards
    cost = memory.write(facts_of_set)
    memory.save(store)
    footprint = memory.footprint()
    lines.append(f"{store}: {knowledge.num_facts:,} facts in {memory.name}, built in {cost.seconds:.1f} s")
    for part in (Part.STORAGE, Part.MAINTAIN, Part.VALUE):
        names = ", ".join(h.name for h in footprint.holdings if h.part is part)
        lines.append(f"  {part.value + '_bytes':<15} {footprint.num_bytes(part):>14,}  ({names})")
    lines.append(f"  {'shared_bytes':<15} {encoder.file_bytes:>14,}  (encoder)")
    lines.append(f"  {'seeded_bytes':<15} {footprint.num_bytes(Part.SEEDED):>14,}  (on no disk)")
    lines += _self_test(read_manifest(store))
    found, num_asked = recall_in(ChunkStore.open(store, verify=False), facts_of_set, key_by)  # written a moment ago
    lines.append(f"  recall@1 {found / num_asked:.3f} against exact search ({num_asked:,} {_asked_of(key_by)} asked)")
    lines += [f"  left out: {count:,} {reason}" for reason, count in sorted(knowledge.dropped.items())]
    return "\n".join(lines)


def _asked_of(key_by: Literal["question", "statement"]) -> str:
    return "questions" if key_by == "statement" else "statements"


def verify(store: Path) -> str:
    """Sizes and hashes of every file; UserError that names the first wrong one."""
    manifest = while_written(store, lambda: verify_sealed(store))
    total = sum(entry["bytes"] for entry in manifest["files"].values())
    whole = f"{store}: whole; {len(manifest['files'])} files, {total:,} bytes, every sha256 as written"
    return "\n".join([whole, *_self_test(manifest)])


def _self_test(manifest: Mapping[str, Any]) -> list[str]:
    """What the manifest of a chunk store says of its indexes; other kinds have none."""
    own = manifest["meta"].get("store")
    if own is None:
        return []
    tests = [segment["self_test"] for segment in own["segments"]]
    sampled, found = sum(test["sampled"] for test in tests), sum(test["found"] for test in tests)
    return [
        f"  self-test: recall@1 {found / sampled:.3f} ({found:,} of {sampled:,} stored vectors that were asked for"
        f" themselves), {own['num_chunks']:,} chunks of {own['dim']} dimensions in {own['index']['factory']}"
        + (f", and {own['num_deleted']:,} deleted ones that a compaction would remove" if own["num_deleted"] else "")
    ]


def search(store: Path, question: str, *, top: int, engine: Engine = "faiss") -> str:
    """The nearest chunks to a question, best first: similarity, value, text. UserError for an engine that cannot."""
    from retrieval.encoder import Encoder
    from retrieval.encoder_config import EncoderConfig

    opened, values, encoder_hash = while_written(store, lambda: _opened(store, engine))
    encoder = Encoder(EncoderConfig(model=(opened.encoder.name if opened.encoder else None) or DEFAULT_MODEL))
    if encoder_hash != f"{encoder.content_hash}-raw":
        raise UserError(f"{store}: was built with encoder {encoder_hash}, this one is {encoder.content_hash}-raw")
    asked = encoder.prompts.before(question, is_document=False)
    positions_QK, similarities_QK = opened.search(encoder.encode([asked]), min(top, max(1, opened.num_live)))
    lines = []
    for position, similarity in zip(positions_QK[0].tolist(), similarities_QK[0].tolist(), strict=True):
        if position >= 0 and values.strings is not None and opened.has_texts:
            value = values.strings[values.starts[int(opened.groups_N[position])] + int(opened.labels_N[position])]
            lines.append(f"{similarity:.3f}  {value}  ({opened.text(position)})")
    return "\n".join(lines)


def _opened(store: Path, engine: Engine) -> "tuple[ChunkStore, ValueTable, str]":
    extra = read_manifest(store)["meta"].get("extra", {})
    if extra.get("memory") != "faiss":
        raise UserError(f"{store}: is no store of facts; build one with `python -m retromem index build`")

    from retrieval.chunk_store import ChunkStore
    from retromem.memories.saved import load_values

    return ChunkStore.open(store, engine=engine), load_values(store, extra), extra["encoder_hash"]
