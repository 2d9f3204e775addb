"""Stores of facts or of documents, outside any experiment: build one and see its ledger, check it, ask it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from retrieval.encoder_files import DEFAULT_MODEL
from retrieval.engines import Engine
from retrieval.errors import UserError
from retrieval.generations import while_written
from retrieval.plan_request import is_request, parse_request
from retrieval.sealed_folder import read_manifest, strangers, verify_sealed
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.knowledge.sources import TextConfig, build_knowledge
from retromem.knowledge.text_keys import CachedTextKeys, TextCollector
from retromem.seam import Facts, Footprint, Part
from retromem.store_ledger import instead_of, ledger_line

if TYPE_CHECKING:
    from retrieval.encoder import Encoder

_CACHE = Path(".cache/embeddings")


def build(
    store: Path,
    *,
    facts: str,
    phrasings: str | None,
    columns: Sequence[str],
    factory: str,
    rotate_to: int | None,
    key_by: Literal["question", "statement"],
    num_shards: int = 1,
    model: str = DEFAULT_MODEL,
    say: Callable[[str], None] | None = None,
) -> str:
    """Encode the facts, write their store, return its ledger as text. UserError for bad facts or an unknown index.

    `num_shards`: threads that build the index at once. `model`: of the encoder, as `EncoderConfig.model` names it.
    `say` is told, before anything is encoded, what was left out; without it, that stands before the ledger.
    """
    config = TextConfig(source="file", file=facts, phrasings=phrasings, columns=tuple(columns))
    knowledge = build_knowledge(config, several_values=True)

    from retrieval.chunk_store import ChunkStore
    from retrieval.encoder import Encoder
    from retrieval.encoder_config import EncoderConfig
    from retromem.fact_remarks import left_out, not_read, one_key, several_values
    from retromem.memories.faiss_memory import FaissMemoryConfig
    from retromem.memories.store_memory import checked_spec
    from retromem.planning import plan_for, recall_in
    from retromem.store_encoder import noted_name

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
    lines += _self_test(read_manifest(store))
    found, num_asked = recall_in(ChunkStore.open(store, verify=False), facts_of_set, key_by)  # written a moment ago
    lines.append(f"  recall@1 {found / num_asked:.3f} against exact search ({num_asked:,} {_asked_of(key_by)} asked)")
    return "\n".join(lines)


def encoded_facts(knowledge: KnowledgeSet, encoder: "Encoder") -> Facts:
    """Questions and statements with their vectors, as a store has them and is asked; each text is encoded once."""
    from retrieval.embedding_cache import EmbeddingCache

    cache = EmbeddingCache(_CACHE)
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


def verify(store: Path) -> str:
    """Sizes and hashes of every file; UserError that names the first wrong one, or one that is not the store's."""

    def verified() -> dict[str, Any]:
        manifest = verify_sealed(store)
        if others := strangers(store, manifest):
            raise UserError(
                f"{store / others[0]}: is not in the manifest; the store is whole without it, so move it away"
            )
        return manifest

    manifest = while_written(store, verified)
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


def build_of_documents(
    store: Path,
    *,
    documents: str,
    split: str,
    factory: str,
    rotate_to: int | None,
    num_shards: int = 1,
    model: str = DEFAULT_MODEL,
) -> str:
    """Cut documents into passages, encode them, write their store, return its ledger as text."""
    from retromem import document_stores

    lines = document_stores.build(
        store,
        documents=Path(documents),
        split=split,
        factory=factory,
        rotate_to=rotate_to,
        num_shards=num_shards,
        model=model,
        cache=_CACHE,
    )
    return "\n".join([*lines, *_self_test(read_manifest(store))])


def search(store: Path, question: str, *, top: int, engine: Engine = "faiss", model: str | None = None) -> str:
    """The nearest chunks to a question, best first: similarity, value or place, text.

    `model`: the encoder that built the store, where it lies elsewhere now. UserError for another one, for an engine
    that cannot search this index, and for a question that says nothing.
    """
    from retromem.knowledge.names import tidied
    from retromem.store_encoder import encoder_of

    question = tidied(question)  # as the names in facts were
    opened = while_written(store, lambda: _Opened(store, engine))
    encoder = encoder_of(store, opened.chunks.encoder, opened.encoder_hash, model)
    queries_QD = encoder.encode([encoder.prompts.before(question, is_document=False)])
    if not (question.strip() and queries_QD.any()):
        raise UserError(f"question {question!r}: the encoder finds no word in it; ask in others")
    most = min(top, max(1, opened.chunks.num_live))
    positions_QK, similarities_QK = opened.chunks.search(queries_QD, most)
    found = [
        f"{similarity:.3f}  {opened.described(position)}"
        for position, similarity in zip(positions_QK[0].tolist(), similarities_QK[0].tolist(), strict=True)
        if position >= 0
    ]
    return "\n".join(found) or "nothing is left in this store"


class _Opened:
    """A store of facts or of documents, and what its chunks stand for."""

    def __init__(self, store: Path, engine: Engine) -> None:
        extra = read_manifest(store)["meta"].get("extra", {})
        if extra.get("memory") not in ("faiss", "documents"):
            raise UserError(
                f"{store}: is no store of facts or documents; build one with `python -m retromem index build`"
            )

        from retrieval.chunk_store import ChunkStore
        from retromem.memories.saved import load_values

        self.chunks = ChunkStore.open(store, engine=engine)
        self.encoder_hash: str = extra["encoder_hash"]
        self._values = load_values(store, extra) if extra["memory"] == "faiss" else None

    def described(self, position: int) -> str:
        """Value and text of a fact, place and text of a passage."""
        chunks = self.chunks
        text = " ".join(chunks.text(position).split()) if chunks.has_texts else "no text"
        values = self._values
        if values is None:
            return f"{chunks.place(position) or 'no place noted'}  ({text})"
        assert values.strings is not None, "facts of texts have names for their values"
        value = values.strings[values.starts[int(chunks.groups_N[position])] + int(chunks.labels_N[position])]
        return f"{value}  ({text})"
