"""The chunks of a store that are nearest to a question."""

from pathlib import Path

from retrieval.chunk_store import ChunkStore
from retrieval.engines import Engine
from retrieval.errors import UserError
from retrieval.generations import while_written
from retrieval.sealed_folder import read_manifest
from retromem.knowledge.names import tidied
from retromem.memories.saved import load_values
from retromem.stores.store_encoder import encoder_of


def search_store(store: Path, question: str, *, top: int, engine: Engine = "faiss", model: str | None = None) -> str:
    """The nearest chunks to a question, best first: similarity, value or place, text.

    `model`: the encoder that built the store, where it lies elsewhere now. UserError for another one, for an engine
    that cannot search this index, and for a question that says nothing.
    """
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
