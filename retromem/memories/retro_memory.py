"""RETRO as a memory: the statements that a question retrieves are read by chunked cross-attention.

Shape legend: B questions of equally long prompts.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from models.retro_config import RetroConfig
from retromem.memories.reading_memory import ReadingMemory, ReadingSettings
from retromem.memories.writing_memory import places_by_length
from retromem.seam import Queries, WriteCost

if TYPE_CHECKING:
    import torch

    from models.candidate_tree import Reads
    from models.retro import Retro
    from retromem.language.reading_texts import ReadingQuestions


@dataclass(frozen=True, kw_only=True)
class RetroMemoryConfig(ReadingSettings):
    """A decoder that attends to what its question retrieved, encoded by an encoder that sees both ways."""

    version: ClassVar[int] = 2
    family: ClassVar[str] = "retro"
    memory: Literal["retro"] = "retro"
    encoder_depth: int = 1
    """layers of the encoder of the statements"""
    reading_layers: tuple[int, ...] = (1,)
    """of the decoder, counted from 0, that attend to them"""
    chunk_tokens: int = 32
    """tokens of a chunk; a question ends where one ends"""
    decoder_exposures: int = 0
    """0: all weights learn to read together. More: the decoder is first trained so many passes closed book on what it
    is taught on, then kept as it is while encoder and cross-attention learn (RETROfit)"""

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.retro  # which refuses layers that there are not

    @property
    def retro(self) -> RetroConfig:
        """Of the model."""
        return RetroConfig(
            decoder=self.decoder,
            encoder_depth=self.encoder_depth,
            reading_layers=self.reading_layers,
            chunk_tokens=self.chunk_tokens,
        )

    def named(self, setting: str | None = None) -> str:
        fitted = "fit" if self.decoder_exposures else ""
        return f"retro{fitted}-{self.decoder_label}-encoder{self.encoder_depth}{self.reading_label}"

    def build(self, *, seed: int) -> "RetroMemory":
        return RetroMemory(self, seed=seed)


class RetroMemory(ReadingMemory):
    """Without statements it is its decoder, bit for bit."""

    kind: ClassVar[str] = "retro"
    config_type: ClassVar[type[Any]] = RetroMemoryConfig

    def _new(self) -> "Retro":
        import torch

        generator = torch.Generator().manual_seed(self.seed)
        model: Retro = self.config.retro.build(self._tokens.num_tokens, generator=generator)
        return model

    def _train(self, questions: "ReadingQuestions") -> WriteCost:
        config, model = self.config, self._new()
        before: WriteCost | None = None
        if config.decoder_exposures:
            budget = replace(config.training, exposures=config.decoder_exposures)
            before = self._trained(
                model.decoder, questions, budget, name="decoder", chunk_tokens=None, closed_book=True
            )
            model.keep_decoder()
        cost = self._trained(model, questions, config.training, name="retro", chunk_tokens=config.chunk_tokens)
        self._keep(model)
        if before is None:
            return cost
        return replace(
            cost, flops=cost.flops + before.flops, optimizer_steps=cost.optimizer_steps + before.optimizer_steps
        )

    def _prompted(self, queries: Queries) -> "Iterator[tuple[list[int], Reads, torch.Tensor]]":
        import torch

        from models.retro import Retro
        from retromem.language.reading_texts import beside

        model, prompts, statements_QK = self._written, self._prompts(queries), self._statements(queries)
        assert isinstance(model, Retro)
        for places in places_by_length(prompts):
            prompts_BT = torch.tensor([prompts[place] for place in places])
            lengths_B = torch.full((len(places),), prompts_BT.shape[1])
            neighbours, lacking_B = beside(self._texts, statements_QK[places], lengths_B, self.config.chunk_tokens)
            with torch.inference_mode():
                encoded = model.encoded(neighbours)
            yield places, model.reading(encoded, lacking_B), prompts_BT

    def _flops_a_text(self, positions: float, learnt: float, read_tokens: float) -> float:
        if not read_tokens:
            return super()._flops_a_text(positions, learnt, read_tokens)
        flops: float = self.config.retro.training_flops(self._tokens.num_tokens, positions, learnt, read_tokens)
        return flops

    def _weights(self) -> tuple[bytes, int, int]:
        num_params = self.config.retro.num_params(self._tokens.num_tokens)
        idle = self.config.decoder.num_params(0) - self.config.decoder.num_active_params(0)
        return self._packed, num_params, num_params - idle
