"""Breaking points of a memory whose accuracy under each disturbance is known."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest

from retromem.knowledge.random_keys import KeysConfig, keys_set
from retromem.measure.robustness import flip90, sigma90
from retromem.memories.floors import FrequencyConfig, FrequencyMemory
from retromem.memories.ranking import rank_candidates
from retromem.seam import Asked, Queries, Recall, Side

NUM_FACTS = 1000
SIGMA_LEVELS, FLIP_LEVELS = np.geomspace(1e-5, 4.0, 45), np.geomspace(1e-9, 0.5, 45)


@dataclass(frozen=True, kw_only=True)
class Trial:
    noise: float
    flips: float
    seed: int


class Fading(FrequencyMemory):
    """Reads its answers off the keys; disturbed by x it is wrong for the share x of them, and a tenth more or less."""

    side: ClassVar[Side] = "parametric"

    def __init__(self, *, lost: float = 0.0, most_lost: float = 1.0, trials: list[Trial] | None = None) -> None:
        super().__init__(FrequencyConfig(), seed=0)
        self.lost, self.most_lost = lost, most_lost
        self.trials: list[Trial] = [] if trials is None else trials

    def perturbed(self, *, relative_noise: float = 0.0, flip_rate: float = 0.0, seed: int) -> "Fading":
        self.trials.append(Trial(noise=relative_noise, flips=flip_rate, seed=seed))
        luck = 1 + 0.1 * (seed % 1000 - 2)  # of the five trials: .8, .9, 1, 1.1, 1.2
        return Fading(lost=min(self.most_lost, luck * (relative_noise + flip_rate)), most_lost=self.most_lost)

    def recall(self, queries: Queries, *, top_k: int = 10, score: np.ndarray | None = None) -> Recall:
        values = keys_set(KeysConfig(dim=5, num_values=4, num_facts=1)).values

        def log_probs(relation: int, rows: np.ndarray) -> np.ndarray:
            keys_BD = queries.key_vectors()[rows]
            said_B = np.where(keys_BD[:, 4] < self.lost, 1, 0) + keys_BD[:, :4].argmax(axis=1)
            return np.where(np.arange(4) == said_B[:, None] % 4, 0, -np.inf).astype(np.float32)

        return rank_candidates(queries, values, log_probs, top_k=top_k, score=score)


@pytest.fixture(scope="module")
def asked() -> Asked:
    """Keys that hold the value, and how little it takes to lose it."""
    knowledge = keys_set(KeysConfig(dim=5, num_values=4, num_facts=NUM_FACTS))
    place_N = ((np.arange(NUM_FACTS) + 0.5) / NUM_FACTS)[:, None]
    keys_ND = np.hstack([np.eye(4)[knowledge.value_ids_N], place_N]).astype(np.float32)
    return replace(knowledge, all_keys=keys_ND).ask("identical")


def test_the_breaking_point_is_the_first_level_below_nine_tenths(asked: Asked) -> None:
    memory = Fading()
    assert sigma90(memory, asked, seed=3) == SIGMA_LEVELS[SIGMA_LEVELS > 0.1][0]
    assert {trial.seed for trial in memory.trials} == {3000, 3001, 3002, 3003, 3004}
    assert {trial.flips for trial in memory.trials} == {0.0}
    memory = Fading()
    assert flip90(memory, asked, seed=0) == FLIP_LEVELS[FLIP_LEVELS > 0.1][0]
    assert {trial.noise for trial in memory.trials} == {0.0} and len(memory.trials) <= 6 * 5


def test_what_never_breaks_or_is_broken_already_has_no_breaking_point(asked: Asked) -> None:
    assert sigma90(Fading(most_lost=0.1), asked, seed=0) is None  # nine tenths are enough
    assert flip90(Fading(most_lost=0.1), asked, seed=0) is None
    assert sigma90(Fading(lost=0.2), asked, seed=0) is None
    assert flip90(Fading(lost=0.2), asked, seed=0) is None


def test_noise_is_for_weights_alone_and_not_for_every_kind(asked: Asked) -> None:
    class Index(Fading):
        side: ClassVar[Side] = "retrieval"

    class Packed(Fading):
        def perturbed(self, *, relative_noise: float = 0.0, flip_rate: float = 0.0, seed: int) -> "Fading":
            raise NotImplementedError

    assert sigma90(Index(), asked, seed=0) is None
    assert flip90(Index(), asked, seed=0) is not None
    assert sigma90(Packed(), asked, seed=0) is None and flip90(Packed(), asked, seed=0) is None


@pytest.mark.parametrize("place", [0, 1, 2, 21, 22, 23, 43, 44])
def test_every_level_can_be_the_breaking_point(asked: Asked, place: int) -> None:
    class Brittle(Fading):
        """Whole below a level, broken from it on."""

        def perturbed(self, *, relative_noise: float = 0.0, flip_rate: float = 0.0, seed: int) -> "Fading":
            broken = relative_noise >= SIGMA_LEVELS[place] or flip_rate >= FLIP_LEVELS[place]
            return Fading(lost=1.0 if broken else 0.0)

    assert sigma90(Brittle(), asked, seed=2) == SIGMA_LEVELS[place]
    assert flip90(Brittle(), asked, seed=2) == FLIP_LEVELS[place]
