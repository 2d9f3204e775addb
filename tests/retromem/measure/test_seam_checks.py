"""Memories that break a rule of the seam in one way each, and one that breaks none."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest

from models.ffn_kinds import DenseConfig
from models.training_budget import TrainingBudget
from retromem.knowledge.random_keys import KeysConfig, keys_set
from retromem.measure.judgement import Setting, judge
from retromem.measure.latency import EncoderCost
from retromem.measure.seam_checks import check_seam
from retromem.measure.settings import MeasureConfig
from retromem.memories.array_memory import ArrayMemory
from retromem.memories.ffn_memory import FFNMemoryConfig
from retromem.memories.named_config import NamedConfig
from retromem.memories.ranking import rank_candidates
from retromem.memories.untrained_cost import untrained_cost
from retromem.rows import LawBroken
from retromem.seam import Facts, Queries, Recall, Side, Stores, WriteCost

KNOWLEDGE = keys_set(KeysConfig(num_facts=40, num_values=4, dim=6))


@dataclass(frozen=True, kw_only=True)
class Config(NamedConfig):
    memory: str = "nearest"
    breaks: str = ""
    version: ClassVar[int] = 1
    family: ClassVar[str] = "nearest"
    stores: ClassVar[Stores] = "questions"

    def named(self, setting: str | None = None) -> str:
        return "nearest"

    def build(self, *, seed: int) -> "Nearest":
        return Nearest(self)


class Nearest(ArrayMemory):
    """The value of the nearest key."""

    side: ClassVar[Side] = "retrieval"
    kind = "nearest"
    config_type = Config

    def write(self, facts: Facts) -> WriteCost:
        self.values = facts.values
        self.arrays = {"keys": facts.cues[0].key_vectors(), "ids": facts.value_ids_N}
        if self.config.breaks == "hidden":
            self.hidden, self.arrays = self.arrays, {"keys": np.zeros((1, 6), np.float32), "ids": np.zeros(1, np.int64)}
        return untrained_cost(0.0, texts_encoded=0, exposures=1.0)

    def recall(self, queries: Queries, *, top_k: int = 10, score: Any = None) -> Recall:
        arrays = getattr(self, "hidden", self.arrays)

        def log_probs(relation: int, rows: Any) -> Any:
            nearest = (queries.key_vectors()[rows] @ arrays["keys"].T).argmax(axis=1)
            probs = np.full((len(rows), 4), 0.05)
            probs[np.arange(len(rows)), arrays["ids"][nearest]] = 0.85
            match self.config.breaks:
                case "sums":
                    probs = probs + 0.5
                case "place":
                    probs = probs.copy() if len(queries) > 1 else np.full((1, 4), 0.25)
                case "nan":
                    probs[0, 0] = np.nan
            return np.log(probs).astype(np.float32)

        return rank_candidates(queries, self.values, log_probs, top_k=top_k, score=score)


def checked(breaks: str) -> None:
    memory = Config(breaks=breaks).build(seed=0)
    memory.write(KNOWLEDGE.facts())
    check_seam(memory, KNOWLEDGE.ask("identical").queries, "mine")


def test_a_memory_that_keeps_the_rules_passes() -> None:
    checked("")


BROKEN = {
    "hidden": "something that answers is not saved",
    "sums": "sum to more than 1",
    "place": "changes with what else is asked",
    "nan": "nan",
}


@pytest.mark.parametrize("breaks", BROKEN)
def test_each_rule_that_is_broken_is_named(breaks: str) -> None:
    with pytest.raises(LawBroken, match=f"^mine: .*{BROKEN[breaks]}"):
        checked(breaks)


def test_a_memory_that_is_not_ours_is_checked_before_it_is_judged() -> None:
    setting = Setting(study="s", role="arm", seed=0)
    with pytest.raises(LawBroken, match="^nearest: .*something that answers is not saved"):
        judge(Config(breaks="hidden"), KNOWLEDGE, setting=setting, measures=MeasureConfig(), encoder=EncoderCost())


def test_an_ffn_that_stores_other_numbers_than_it_says_is_refused() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Forgetful(DenseConfig):
        def num_params(self, dim_in: int, dim_out: int) -> int:
            return 7

    config = FFNMemoryConfig(ffn=DenseConfig(width=3), training=TrainingBudget(steps=1))
    with pytest.raises(LawBroken, match="gelu-3: num_params says 7, but it stores 36"):
        replace(config, ffn=Forgetful(width=3)).build(seed=0).write(KNOWLEDGE.facts())
