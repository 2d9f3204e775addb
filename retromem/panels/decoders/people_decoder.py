"""What the panels on trained decoders have in common: invented people, and a decoder that learns them as texts."""

from dataclasses import dataclass, replace
from typing import Any

from models.decoder_budget import DecoderBudget
from models.decoder_config import DecoderConfig
from models.ffn_kinds import DenseConfig
from retromem.knowledge.biographies import NUM_WRITTEN, Attribute, BiographiesConfig
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.language.tokenizer_config import TokenizerConfig
from retromem.memories.closed_book_memory import ClosedBookConfig
from retromem.panels.panel_config import PanelConfig


@dataclass(frozen=True, kw_only=True)
class PeopleDecoderConfig(PanelConfig):
    """Facts of invented people in a decoder of ReLU FFNs that is asked with nothing to read."""

    num_people: int = 80
    """each with one fact an attribute"""
    attributes: tuple[Attribute, ...] = ("birth_city", "major", "employer")
    """what is known of a person"""
    wordings: int = 1
    """questions that each fact is written in"""
    dim: int = 32
    """of the stream"""
    depth: int = 4
    """layers"""
    heads: int = 2
    """of attention"""
    width: int = 64
    """hidden units of each FFN"""
    context: int = 48
    """tokens of a question and its answer, at most"""
    exposures: int = 60
    """passes over the questions"""
    batch_size: int = 128
    """questions a step"""
    learning_rate: float = 3e-3
    """of AdamW"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.wordings > NUM_WRITTEN:
            raise ValueError(f"wordings must be 1 to {NUM_WRITTEN}, not {self.wordings}")
        self.people_config(0)
        self.decoder()

    @property
    def num_facts(self) -> int:
        return self.num_people * len(self.attributes)

    def people_config(self, seed: int) -> BiographiesConfig:
        return BiographiesConfig(
            num_people=self.num_people, attributes=self.attributes, num_written=self.wordings, seed=seed
        )

    def people(self, seed: int) -> KnowledgeSet:
        """Other people with each seed."""
        return self.people_config(seed).build()

    def decoder(self, **settings: Any) -> DecoderConfig:
        """With these settings other than the usual."""
        usual = DecoderConfig(
            dim=self.dim,
            depth=self.depth,
            heads=self.heads,
            context=self.context,
            ffn=DenseConfig(kind="relu", width=self.width),
        )
        return replace(usual, **settings)

    def memory(self, decoder: DecoderConfig, *, trained: bool = True) -> ClosedBookConfig:
        """It learns from the questions with their answers, in all exposures: no goal ends the training."""
        return ClosedBookConfig(
            decoder=decoder,
            tokenizer=TokenizerConfig(tokens="people"),
            trains_on="questions",
            training=DecoderBudget(
                exposures=self.exposures if trained else 0,
                batch_size=self.batch_size,
                learning_rate=self.learning_rate,
                goal_nats=0.0,
            ),
        )

    @property
    def of_facts(self) -> str:
        """What its page says was learnt."""
        return f"{self.num_facts:,} facts of {self.num_people:,} invented people"

    @property
    def of_training(self) -> str:
        """What its page says of how."""
        asked = "one wording" if self.wordings == 1 else f"{self.wordings} wordings"
        return (
            f"Decoders with a stream of {self.dim} dimensions, {self.heads} heads of attention and ReLU FFNs learn "
            f"{self.of_facts} as questions in {asked} with their answers ({self.exposures} exposures, AdamW; the "
            "answer's tokens have a loss) and are asked the same questions with nothing to read. Words are tokens; "
            "their embeddings are the read-out too."
        )
