"""Stores of passages of documents: build one and see its ledger. What is found is a passage and its place."""

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from retrieval.chunk_store import ChunkStore
from retrieval.chunks import Chunks, EncoderId
from retrieval.embedding_cache import EMBEDDINGS, EmbeddingCache
from retrieval.encoder import Encoder
from retrieval.encoder_config import EncoderConfig
from retrieval.encoder_files import DEFAULT_MODEL
from retrieval.errors import UserError
from retrieval.plan_request import is_request
from retrieval.sealed_folder import read_manifest
from retrieval.splitting import parse_split, split_documents
from retrieval.vector_index import IndexSpec
from retromem.knowledge.document_files import read_documents
from retromem.memories.store_memory import checked_spec
from retromem.stores.store_checks import self_test
from retromem.stores.store_encoder import noted_name
from retromem.stores.store_ledger import instead_of, ledger_line

MEMORY = "documents"
"""what the manifest calls such a store"""


def build_document_store(
    store: Path,
    *,
    documents: Path,
    split: str = "3 sentences",
    factory: str = "Flat",
    rotate_to: int | None = None,
    num_shards: int = 1,
    model: str = DEFAULT_MODEL,
) -> str:
    """Cut, encode and index the documents; the ledger as text. UserError for what cannot be read, cut or indexed.

    `split`: as `SplitConfig.label` writes it. `num_shards`: threads that build at once.
    """
    cut = parse_split(split)
    if is_request(factory):
        raise UserError(f"index {factory!r}: a plan needs facts, whose questions it asks; name an index for documents")
    encoder, spec = Encoder(EncoderConfig(model=model)), IndexSpec(factory=factory, rotate_to=rotate_to)
    checked_spec(spec, encoder.dim)
    read = read_documents(documents)
    tokenizer = encoder.resolved.path / "tokenizer.json" if encoder.resolved.path else None
    passages = split_documents(read.texts, cut, tokenizer=tokenizer)
    given = [encoder.prompts.before(passage.text, is_document=True) for passage in passages]
    known = EmbeddingCache(EMBEDDINGS)
    known.encode_missing(encoder, given)
    start = time.perf_counter()
    found = np.flatnonzero(known.vectors(encoder.content_hash, given).any(axis=1)).tolist()
    num_wordless = len(passages) - len(found)  # nothing but what the encoder has no token for: no question finds them
    if not found:
        raise UserError(f"{documents}: the encoder knows no word of these texts; take another encoder")
    passages, given = [passages[row] for row in found], [given[row] for row in found]
    texts = [passage.text for passage in passages]
    chunks = Chunks(
        ids_N=np.arange(len(texts)),
        vectors_ND=known.vectors(encoder.content_hash, given),
        labels_N=np.zeros(len(texts), dtype=np.int64),
        groups_N=np.zeros(len(texts), dtype=np.int64),
        label_bits_G=(0,),
        texts=texts,
        places=[f"{read.names[passage.document]} {passage.start}-{passage.end}" for passage in passages],
    )
    made_by = EncoderId(name=noted_name(model, store), revision=f"{encoder.content_hash}-raw")
    built = ChunkStore.build(chunks, spec, made_by, num_shards=num_shards)
    seconds = time.perf_counter() - start
    meta = {"memory": MEMORY, "encoder_hash": made_by.revision, "split": cut.label}
    instead = instead_of(store)
    built.save(store, extra_files={}, meta=meta)

    texts_and_places: dict[str, int] = {}
    upkeep: dict[str, int] = {}
    for name, content in built.maintain_files().items():
        (texts_and_places if name.endswith(".arrow") else upkeep)[name] = len(content)
    upkeep["manifest.json"] = len(built.manifest_bytes(extra_files={}, meta=meta))
    cut_off = encoder.num_cut(given)
    warning = f"  {cut_off:,} passages are longer than the encoder reads: what is behind cannot be found; use a shorter"
    lines = [
        f"{store}: {len(texts):,} passages of {cut.label} from {len(read.names):,} documents in {spec.label}, "
        f"built in {seconds:.2f} s{instead}",
        _line("storage", built.file_bytes),
        _line("text", texts_and_places) + ": what is answered, and where it stands",
        _line("maintain", upkeep),
        ledger_line("shared", encoder.file_bytes, ["encoder"]),
        ledger_line("seeded", built.seeded_bytes, ["on no disk"]),
        *([f"{warning} SPLIT"] if cut_off else []),
        *([f"  left out: {num_wordless:,} passages in which the encoder knows no word"] if num_wordless else []),
        *(f"  {remark}" for remark in read.remarks),
        *self_test(read_manifest(store)),
    ]
    return "\n".join(lines)


def _line(part: str, holdings: Mapping[str, int]) -> str:
    return ledger_line(part, sum(holdings.values()), list(holdings))
