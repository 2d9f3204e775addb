"""RAG as a memory: the statements that a question retrieves stand before it in the prompt of a decoder.

Shape legend: B questions of equally long prompts.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from retromem.memories.reading_memory import ReadingMemory, ReadingSettings
from retromem.memories.writing_memory import places_by_length
from retromem.seam import Queries, WriteCost

if TYPE_CHECKING:
    import torch

    from models.candidate_tree import Reads
    from models.decoder import Decoder
    from retromem.language.reading_texts import ReadingQuestions


@dataclass(frozen=True, kw_only=True)
class RagMemoryConfig(ReadingSettings):
    """A decoder whose prompt holds the statements that its question retrieved."""

    version: ClassVar[int] = 2
    family: ClassVar[str] = "rag"
    memory: Literal["rag"] = "rag"
    prefix: Literal["causal", "both_ways"] = "both_ways"
    """how the prompt sees itself: each token those before, or all tokens each other"""

    def named(self, setting: str | None = None) -> str:
        prefix = "-causal" if self.prefix == "causal" else ""
        return f"rag-{self.decoder_label}{prefix}{self.reading_label}"

    def build(self, *, seed: int) -> "RagMemory":
        return RagMemory(self, seed=seed)


class RagMemory(ReadingMemory):
    """Without statements it is asked as a closed book is."""

    kind: ClassVar[str] = "rag"
    config_type: ClassVar[type[Any]] = RagMemoryConfig

    def _new(self) -> "Decoder":
        import torch

        generator = torch.Generator().manual_seed(self.seed)
        model: Decoder = self.config.decoder.build(self._tokens.num_tokens, generator=generator)
        return model

    def _train(self, questions: "ReadingQuestions") -> WriteCost:
        model = self._new()
        both_ways = self.config.prefix == "both_ways"
        cost = self._trained(model, questions, self.config.training, name="rag", chunk_tokens=None, both_ways=both_ways)
        self._keep(model)
        return cost

    def _prompted(self, queries: Queries) -> "Iterator[tuple[list[int], Reads, torch.Tensor]]":
        import torch

        from models.decoder import Decoder
        from models.prefix_reading import PrefixReading
        from retromem.language.reading_texts import prompt_with

        model, statements_QK = self._written, self._statements(queries)
        assert isinstance(model, Decoder)
        asked = zip(self._prompts(queries), statements_QK, strict=True)
        prompts = [prompt_with(self._texts, prompt, rows) for prompt, rows in asked]
        reader = PrefixReading(model) if self.config.prefix == "both_ways" else model
        for places in places_by_length(prompts):
            yield places, reader, torch.tensor([prompts[place] for place in places])

    def _weights(self) -> tuple[bytes, int, int]:
        num_tokens, decoder = self._tokens.num_tokens, self.config.decoder
        return self._packed, decoder.num_params(num_tokens), decoder.num_active_params(num_tokens)
