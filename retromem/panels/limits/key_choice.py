"""A choice that several panels have: whose keys their facts have. Free of torch.

Shape legend: M keys that a panel needs at most, K dimension of the encoder.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from retrieval.errors import UserError
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.knowledge.sources import TextConfig, build_knowledge
from retromem.panels.panel_config import Encoded, PanelConfig

_NAMES = {
    "random": "random keys",
    "cities": "an encoder's keys of cities",
    "shaped": "Gaussian keys shaped like an encoder's",
    "relations": "an encoder's keys of two relations",
}


@dataclass(frozen=True, kw_only=True)
class KeyChoiceConfig(PanelConfig):
    """A panel about tables of keys and values. Values and their codes are the same whatever the keys are."""

    panel: str
    keys: Literal["random", "cities", "shaped"] = "random"
    """of the facts: `random` ones, an encoder's of questions about `cities`, or Gaussian ones `shaped` like those, with
    their mean and covariance"""

    @property
    @abstractmethod
    def num_keys(self) -> int:
        """M, more than any of its tables has facts or as many."""

    @property
    def key_name(self) -> str:
        return _NAMES[self.keys]

    @property
    def reads_text(self) -> bool:
        return self.keys != "random"

    def text_sets(self, seed: int) -> Sequence[KnowledgeSet]:
        """The countries of M cities, none for random keys. The same texts for every seed, so they are encoded once.

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

    def encoder_keys_MK(self, seed: int, encoded: Encoded) -> Float32[ndarray, "M K"] | None:
        """Those of the encoder, in its own dimensions, one of each text set in turn; None for random keys."""
        sets = [encoded(knowledge).facts().cues[0].key_vectors() for knowledge in self.text_sets(seed)]
        return np.stack(sets, axis=1).reshape(-1, sets[0].shape[1]) if sets else None

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
            "so whatever differs is the keys'. So few directions can make keys more like random "
            "ones than they are in the encoder's own. Published numbers are of random keys. One encoder, one kind of "
            "subject."
        ]


def cities_asked_for(source: Literal["cities", "city_timezones"]) -> KnowledgeSet:
    """All, in no held-out wording and by no other name: thousands of texts less to encode."""
    knowledge = build_knowledge(TextConfig(source=source))
    assert knowledge.text is not None
    wordings = tuple(replace(one, calibrate=None, heldout=()) for one in knowledge.text.wordings)
    no_aliases = ((),) * len(knowledge.text.aliases)
    return replace(knowledge, text=replace(knowledge.text, wordings=wordings, aliases=no_aliases))
