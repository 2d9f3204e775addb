"""A choice that several panels have: whose keys their facts have. Free of torch until they are measured."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from retrieval.errors import UserError
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.knowledge.sources import TextConfig, build_knowledge
from retromem.panels.panel_config import Encoded, PanelConfig

if TYPE_CHECKING:
    from retromem.panels.limits.chosen_keys import ChosenKeys

_NAMES = {
    "random": "random keys",
    "cities": "an encoder's keys of cities",
    "shaped": "Gaussian keys shaped like an encoder's",
    "relations": "an encoder's keys of two relations",
}


@dataclass(frozen=True, kw_only=True)
class KeyChoiceConfig(PanelConfig):
    """A panel about tables of keys and values. Values and their codes are the same whatever the keys are."""

    keys: Literal["random", "cities", "shaped"] = "random"
    """of the facts: `random` ones, an encoder's of questions about `cities`, or Gaussian ones `shaped` like those, with
    their mean and covariance"""

    @property
    @abstractmethod
    def num_keys(self) -> int:
        """As many as its largest table has facts, or more."""

    @property
    def key_name(self) -> str:
        """What its page calls them."""
        return _NAMES[self.keys]

    @property
    def reads_text(self) -> bool:
        return self.keys != "random"

    def text_sets(self, seed: int) -> Sequence[KnowledgeSet]:
        """The countries of cities, none for random keys. The same texts for every seed, so they are encoded once.

        UserError where there are too few.
        """
        return self._first_cities(self.num_keys, cities_asked_for("cities")) if self.reads_text else []

    def _first_cities(self, number: int, *sets: KnowledgeSet) -> Sequence[KnowledgeSet]:
        """Of sets of the same cities."""
        if number > sets[0].num_facts:
            raise UserError(
                f"{self.panel}: keys: {self.keys} has {sets[0].num_facts:,} cities, but facts of {number:,} are asked "
                "for: ask for fewer, or smaller FFNs"
            )
        return [knowledge.prefix(number) for knowledge in sets]

    def chosen_keys(self, dim: int, seed: int, encoded: Encoded) -> "ChosenKeys":
        """Those of the encoder, one of each text set in turn, or random ones."""
        import torch

        from retromem.panels.limits.chosen_keys import RANDOM_KEYS, turned

        sets = [torch.from_numpy(encoded(one).facts().cues[0].key_vectors()) for one in self.text_sets(seed)]
        return turned(self.keys, torch.stack(sets, dim=1).flatten(0, 1), dim, seed=seed) if sets else RANDOM_KEYS

    def titled(self, title: str) -> str:
        """The title of its page, with whose keys they are unless they are random."""
        return f"{title}, on {self.key_name}" if self.reads_text else title

    def explained_keys(self, dim: int) -> list[str]:
        """What the page says of keys that are not random."""
        if not self.reads_text:
            return []
        whose = "Gaussian, with the mean and the covariance of those that" if self.keys == "shaped" else "those that"
        return [
            f"The keys are {whose} a text encoder gives to questions about cities, centred per wording and seen in "
            f"{dim} random orthogonal directions, all of unit length. Values and their codes are those of random keys, "
            "so whatever differs is the keys'. So few directions can make keys more like random ones than they are in "
            "the encoder's own. Published numbers are of random keys. One encoder, one kind of subject."
        ]


def cities_asked_for(source: Literal["cities", "city_timezones"]) -> KnowledgeSet:
    """All, in no held-out wording and by no other name: thousands of texts less to encode."""
    knowledge = build_knowledge(TextConfig(source=source))
    assert knowledge.text is not None
    wordings = tuple(replace(one, calibrate=None, heldout=()) for one in knowledge.text.wordings)
    no_aliases = ((),) * len(knowledge.text.aliases)
    return replace(knowledge, text=replace(knowledge.text, wordings=wordings, aliases=no_aliases))
