"""A causal language model of transformers that reads statements from a store before it answers (RAG), as it is or with
what was written into it.

Shape legend: B block of questions, M candidates of a relation, Q questions, C candidates to score, K ranked.
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from jaxtyping import Float32, Int64
from numpy import ndarray

from retrieval.errors import Refused
from retrieval.generations import current_name
from retrieval.segment import TEXTS
from retromem.memories.causal_lm_config import CausalLMConfig
from retromem.memories.causal_lm_memory import CausalLMMemory, refuse_another
from retromem.memories.neighbours import statements_to_read
from retromem.memories.ranking import rank_candidates
from retromem.memories.saved import FACTS_FILES, facts_files
from retromem.memories.store_memory import StoreMemory, build_store, load_faiss, store_footprint
from retromem.memories.written_lm import WrittenLM
from retromem.seam import Facts, Footprint, Holding, Part, Queries, Recall, Side, WriteCost


class ReadingLMMemory(StoreMemory):
    """The statements stand before the question, the nearest first, when it is trained as when it is asked."""

    side: ClassVar[Side] = "paired"
    config: CausalLMConfig
    config_type: ClassVar[type[CausalLMConfig]] = CausalLMConfig

    def __init__(self, config: CausalLMConfig, *, seed: int, accelerator: str = "auto") -> None:
        super().__init__(config, seed=seed)
        self.written = WrittenLM(config, seed=seed, accelerator=accelerator)
        self._revealed: dict[str, int] = {}
        self._training_files: dict[str, bytes] = {}

    @property
    def trained_on(self) -> str:
        """Kind of device: cpu, cuda."""
        return self.written.trained_on

    @property
    def num_embedding_params(self) -> int:
        """Of its trained numbers, those of single tokens."""
        return self.written.num_embedding_params

    @property
    def is_told(self) -> bool:
        """The oracle control alone is told which fact a question asks for."""
        return self.config.neighbours == "oracle"

    def reveal(self, fact_ids: Mapping[str, int]) -> None:
        """The fact that each text of a question asks for."""
        self._revealed.update(fact_ids)

    def write(self, facts: Facts) -> WriteCost:
        """Store the statements; then, unless the model stays as it is, train it on questions with what is read for
        them. Refused for facts without texts."""
        assert self._store is None, "a memory is written once"
        assert facts.statements is not None, "what reads needs statements"
        if facts.statements.texts is None:
            raise Refused(f"{self.name} reads texts, and these facts are vectors alone")
        load_faiss()
        start = time.perf_counter()
        self._values, self._encoder_hash = facts.values, facts.statements.encoder_hash
        self._store = build_store(facts, [facts.statements], self.config.spec, with_values=False)
        is_trained = self.config.write != "none"
        if is_trained:
            self._training_files = facts_files(facts)
            for cue in facts.cues if self.is_told else ():
                self.reveal(dict(zip(cue.texts or (), facts.ids_N.tolist(), strict=True)))
            facts = replace(facts, cues=[replace(cue, texts=self._with_read(cue)) for cue in facts.cues])
        seconds = time.perf_counter() - start
        cost = self.written.train(facts)
        return replace(
            cost,
            seconds=seconds + cost.seconds,
            texts_encoded=len(facts) * (1 + len(facts.cues) * is_trained),
            exposures=max(1.0, cost.exposures),
        )

    def _with_read(self, queries: Queries) -> list[str]:
        """Each question behind the statements that are read for it."""
        assert queries.texts is not None, "a language model is asked in words"
        store, config = self._written, self.config
        positions_QK = statements_to_read(
            store, queries, k=config.reads, neighbours=config.neighbours, seed=self.seed, revealed=self._revealed
        )
        texts = []
        for question, positions in zip(queries.texts, positions_QK.tolist(), strict=True):
            read = [store.text(position) for position in positions if position >= 0]
            texts.append(self.written.tokens.joined([*read, question]))
        return texts

    def recall(self, queries: Queries, *, top_k: int = 10, score: Int64[ndarray, "Q C"] | None = None) -> Recall:
        assert queries.encoder_hash == self._encoder_hash, "these keys are of another encoder"
        prompts = self.written.tokens.prompts(self._with_read(queries))

        def log_probs(relation: int, rows: Int64[ndarray, " B"]) -> Float32[ndarray, "B M"]:
            return self.written.log_probs([prompts[row] for row in rows.tolist()], relation)

        return rank_candidates(queries, self._values, log_probs, top_k=top_k, score=score)

    def write_answers(self, queries: Queries) -> list[str]:
        """What it writes after each question by itself, the likeliest token each time."""
        return self.written.written_after(self.written.tokens.prompts(self._with_read(queries)))

    def before(self) -> CausalLMMemory:
        """The model as it was, with nothing to read."""
        return CausalLMMemory.of(self.written.before(), self._values)

    def _extra_files(self) -> dict[str, bytes]:
        return {**super()._extra_files(), **self.written.files, **self._training_files}

    def _meta(self) -> dict[str, object]:
        own = {"seed": self.seed, "model_sha256": self.written.shared.sha256, "written": sorted(self.written.files)}
        return {**super()._meta(), **own}

    def footprint(self) -> Footprint:
        """Texts are what is read here, so they count as storage; the facts that it was trained on do not."""
        files = self._extra_files()
        params = {name: self.written.num_params for name in self.written.files if name.endswith(".safetensors")}
        told = store_footprint(self._written, files, self._meta(), num_params=params)
        parts = {name: Part.MAINTAIN for name in FACTS_FILES}
        parts |= {one.name: Part.STORAGE for one in told.holdings if current_name([one.name], TEXTS) == one.name}
        holdings = [replace(one, part=parts.get(one.name, one.part)) for one in told.holdings]
        shared = Holding(name="model", part=Part.SHARED, num_bytes=self.written.shared.num_bytes)
        resident = (self._written.resident_bytes or 0) + self.written.lm.num_bytes
        return Footprint((*holdings, shared), resident_bytes=resident)

    def _take(self, folder: Path, meta: Mapping[str, Any]) -> None:
        if self.config.trust_remote_code:  # whoever has saved it
            self.config = replace(self.config, trust_remote_code=False)
            self.written = WrittenLM(self.config, seed=self.seed)
        refuse_another(folder, self.written, meta)
        self.written.know(self._values)
        self.written.use({name: (folder / name).read_bytes() for name in meta["written"]})
        there = [name for name in FACTS_FILES if (folder / name).exists()]
        self._training_files = {name: (folder / name).read_bytes() for name in there}
