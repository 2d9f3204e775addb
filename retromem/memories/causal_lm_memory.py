"""Facts in the weights of a causal language model of transformers, or in an adapter of it, asked with nothing to read.

Shape legend: B block of questions, M candidates of a relation, Q questions, C candidates to score, K ranked.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from jaxtyping import Float32, Int64
from numpy import ndarray

from retrieval.errors import UserError
from retromem.configuration import build
from retromem.memories.causal_lm_config import CausalLMConfig
from retromem.memories.ranking import rank_candidates
from retromem.memories.saved import FACTS_FILES, FiledMemory, SavedFiles, facts_files
from retromem.memories.written_lm import WrittenLM
from retromem.seam import Facts, Footprint, Holding, Part, Queries, Recall, Side, ValueTable, WriteCost


class CausalLMMemory(FiledMemory):
    """What was written is stored; the model that everybody has is not (Part.SHARED)."""

    side: ClassVar[Side] = "parametric"
    kind: ClassVar[str] = "causal-lm"
    config: CausalLMConfig

    def __init__(self, config: CausalLMConfig, *, seed: int, accelerator: str = "auto") -> None:
        self.config, self.seed = config, seed
        self.written = WrittenLM(config, seed=seed, accelerator=accelerator)
        self._training_files: dict[str, bytes] = {}
        self._values: ValueTable | None = None

    @property
    def trained_on(self) -> str:
        """Kind of device: cpu, cuda."""
        return self.written.trained_on

    @property
    def num_embedding_params(self) -> int:
        """Of its trained numbers, those of single tokens."""
        return self.written.num_embedding_params

    def write(self, facts: Facts) -> WriteCost:
        """Train on the texts of the facts, and answer from what is stored then. Refused for facts without texts;
        UserError for a model that cannot be had and an adapter that does not fit it."""
        assert self._values is None, "a memory is written once"
        cost = self.written.train(facts)
        self._values = facts.values
        both = self.config.trains_on_statements
        self._training_files = {} if self.config.write == "none" else facts_files(facts, statements=both)
        return cost

    @property
    def _known(self) -> ValueTable:
        assert self._values is not None, "write or load before recall"
        return self._values

    def recall(self, queries: Queries, *, top_k: int = 10, score: Int64[ndarray, "Q C"] | None = None) -> Recall:
        values, prompts = self._known, self._prompts(queries)

        def log_probs(relation: int, rows: Int64[ndarray, " B"]) -> Float32[ndarray, "B M"]:
            return self.written.log_probs([prompts[row] for row in rows.tolist()], relation)

        return rank_candidates(queries, values, log_probs, top_k=top_k, score=score)

    def _prompts(self, queries: Queries) -> list[list[int]]:
        assert queries.texts is not None, "a language model is asked in words"
        return self.written.tokens.prompts(queries.texts)

    def write_answers(self, queries: Queries) -> list[str]:
        """What it writes after each question by itself, the likeliest token each time."""
        return self.written.written_after(self._prompts(queries))

    def before(self) -> "CausalLMMemory":
        """The same model before it was written: what it answers was no fact of these."""
        return CausalLMMemory.of(self.written.before(), self._known)

    @classmethod
    def of(cls, written: WrittenLM, values: ValueTable) -> "CausalLMMemory":
        """Of a model that is there already."""
        memory = cls(written.config, seed=written.seed)
        memory.written, memory._values = written, values
        return memory

    def _saved_files(self) -> SavedFiles:
        shared = self.written.shared
        meta = {"config": self.config.saved(), "seed": self.seed, "model_sha256": shared.sha256}
        meta["written"] = sorted(self.written.files)
        files = SavedFiles(self.kind, meta, self._known, self.calibration)
        for name, content in self.written.files.items():
            num_params = self.written.num_params if name.endswith(".safetensors") else 0
            files.add(name, Part.STORAGE, content, num_params=num_params)
        for name, content in self._training_files.items():
            files.add(name, Part.MAINTAIN, content)
        return files

    def footprint(self) -> Footprint:
        own = self._saved_files().footprint()
        shared = Holding(name="model", part=Part.SHARED, num_bytes=self.written.shared.num_bytes)
        return Footprint((*own.holdings, shared), resident_bytes=self.written.lm.num_bytes)

    @classmethod
    def _loaded(cls, folder: Path, meta: Mapping[str, Any], values: ValueTable) -> Self:
        settings = {**meta["config"], "trust_remote_code": False}  # whoever has saved it
        memory = cls(build(CausalLMConfig, settings, source=str(folder)), seed=meta["seed"])
        refuse_another(folder, memory.written, meta)
        memory.written.know(values)
        memory.written.use({name: (folder / name).read_bytes() for name in meta["written"]})
        memory._values = values
        there = [name for name in FACTS_FILES if (folder / name).exists()]
        memory._training_files = {name: (folder / name).read_bytes() for name in there}
        return memory


def refuse_another(folder: Path, written: WrittenLM, meta: Mapping[str, Any]) -> None:
    """UserError where the model that was named when a memory was saved is another one now."""
    now = written.shared.sha256
    if now != meta["model_sha256"]:
        raise UserError(
            f"{folder}: was written into {written.config.model} of content {meta['model_sha256']}, and what lies at "
            f"{written.folder.path} has content {now}; put the first one there"
        )
