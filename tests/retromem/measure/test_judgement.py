import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest

from retromem.knowledge.fact_table import FactRow, clean
from retromem.knowledge.from_table import text_set
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.knowledge.random_keys import KeysConfig, keys_set
from retromem.knowledge.text_keys import Template
from retromem.knowledge.wordings import generic_wordings
from retromem.measure.judgement import Setting, floor_lines, judge, reference_bits
from retromem.measure.latency import EncoderCost, measure_latency
from retromem.measure.settings import MeasureConfig
from retromem.memories.faiss_memory import FaissMemoryConfig
from retromem.memories.floors import FrequencyConfig, FrequencyMemory
from retromem.memories.ranking import rank_candidates
from retromem.rows import Row
from retromem.seam import MemoryConfig, Queries, Recall, Stores

NUM_KINDS = 4


class MadeUpKeys:
    """Keys that tell the subject, and as much of its value as `knows`: what an encoder knows already."""

    encoder_hash = "made-up"

    def __init__(self, knows: float) -> None:
        self._knows = knows

    def keys(self, texts: Sequence[str], templates: Sequence[Template]) -> np.ndarray:
        made = []
        for text in texts:
            number = int("".join(letter for letter in text if letter.isdigit()))
            own = np.random.default_rng(number).standard_normal(32)
            own /= np.linalg.norm(own)
            own[number % NUM_KINDS] += self._knows
            made.append(own / np.linalg.norm(own))
        return np.stack(made).astype(np.float32)


def people(num: int = 200, knows: float = 0.0) -> KnowledgeSet:
    rows = [FactRow(subject=f"Person {row}", relation="trade", value="abcd"[row % NUM_KINDS] * 3) for row in range(num)]
    table = clean(rows, name="people", source="here")
    return text_set(table, {"trade": generic_wordings("trade")}).with_keys(MadeUpKeys(knows))


def judged(
    knowledge: KnowledgeSet,
    config: MemoryConfig,
    *,
    halves: bool = False,
    shuffled: bool = False,
    quick: bool = True,
    tau: float | None = None,
    **measures: object,
) -> dict[str, Row]:
    """Phrasing -> row."""
    setting = Setting(study="study", role="arm", seed=0, halves=halves, shuffled=shuffled)
    rows = judge(
        config,
        knowledge,
        setting=setting,
        measures=MeasureConfig(**{"robustness": False, **measures}),
        encoder=EncoderCost(seconds_per_text=0.5, single_text_ms=7.0, file_bytes=90),
        quick=quick,
        tau=tau,
    ).rows
    return {row.phrasing: row for row in rows}


# ---- cross-fit -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("knows", "least", "most"), [(0.0, 0.9, 1.0), (20.0, 0.0, 0.2)])
def test_bits_stored_leave_out_what_the_encoder_knows(knows: float, least: float, most: float) -> None:
    row = judged(people(knows=knows), FaissMemoryConfig(), quick=False, cross_fit=True)["identical"]
    assert row.bits_ce is not None and row.bits_stored is not None and row.demand_bits is not None
    assert row.bits_ce > 0.9 * row.demand_bits  # by what it answers, it holds everything
    assert least * row.bits_ce <= row.bits_stored <= most * row.bits_ce


@dataclass(frozen=True, kw_only=True)
class KnowsConfig:
    """A memory that reads its answer off the key, and is told nothing."""

    version: ClassVar[int] = 1
    stores: Stores = "questions"
    name: str = "knows"
    family: str = "knows"

    def build(self, *, seed: int) -> "Knows":
        return Knows()


class Knows(FrequencyMemory):
    """Sure of the value at which the key is largest."""

    def __init__(self) -> None:
        super().__init__(FrequencyConfig(), seed=0)

    def recall(self, queries: Queries, *, top_k: int = 10, score: np.ndarray | None = None) -> Recall:
        def log_probs(relation: int, rows: np.ndarray) -> np.ndarray:
            keys_BM = queries.key_vectors()[rows]
            return np.where(keys_BM == keys_BM.max(axis=1, keepdims=True), 0, -np.inf).astype(np.float32)

        return rank_candidates(queries, self._values, log_probs, top_k=top_k, score=score)


@pytest.mark.parametrize("knows", ["all", "every second", "none"])
def test_what_a_memory_knew_is_judged_by_the_half_that_did_not_calibrate(knows: str) -> None:
    """Counted by hand: forty facts of four values; two bits each."""
    knowledge = keys_set(KeysConfig(dim=4, num_values=4, num_facts=40))
    folds = knowledge.folds(5, seed=0)
    told_N = knowledge.value_ids_N.copy()
    for fold in folds:  # eight facts; those at odd places calibrate for those at even ones, and the other way round
        wrong_rows = {"all": fold.rows_N[:0], "every second": fold.rows_N[1::2], "none": fold.rows_N}[knows]
        told_N[wrong_rows] = (told_N[wrong_rows] + 1) % 4
    keys_ND = np.eye(4, dtype=np.float32)[told_N]
    knowledge = replace(knowledge, all_keys=keys_ND)
    known = reference_bits(KnowsConfig(), knowledge, knowledge.folds(5, seed=0), seed=0)
    epsilon = 1 / 32  # of the 32 facts that were written
    right = 40 * math.log2((1 - epsilon) + epsilon / 4)
    # Half of them surely wrong: told by the others that it is always right, and the others that it never is.
    assert known == pytest.approx({"all": 80 + right, "every second": 0, "none": 0}[knows], abs=1e-6)


@pytest.mark.slow
def test_bits_stored_are_of_whole_judgements_of_real_values_alone() -> None:
    knowledge = people()
    assert judged(knowledge, FaissMemoryConfig(), quick=False)["identical"].bits_stored is None
    asked = {"cross_fit": True, "quick": False}
    rows = judged(knowledge, FaissMemoryConfig(), **asked)
    assert {phrasing for phrasing, row in rows.items() if row.bits_stored is not None} == {"identical"}
    for other in (
        judged(knowledge.twin(seed=0), FaissMemoryConfig(), **asked),
        judged(knowledge, FaissMemoryConfig(), halves=True, **asked),
        judged(knowledge, FaissMemoryConfig(), shuffled=True, **asked),
        judged(knowledge, FaissMemoryConfig(), cross_fit=True),
        judged(knowledge.prefix(9), FaissMemoryConfig(), **asked),  # too few for five folds
        judged(keys_set(KeysConfig(num_facts=50)), FaissMemoryConfig(), **asked),
    ):
        assert other["identical"].bits_stored is None


# ---- what a row says -----------------------------------------------------------------------------------------------


def test_on_halves_the_demand_is_that_of_the_half_that_is_judged() -> None:
    knowledge = people().prefix(120)
    row = judged(knowledge, FaissMemoryConfig(), halves=True)["identical"]
    _, second = knowledge.split(0.5, seed=0)
    assert row.halves and row.num_facts == 60 and row.num_asked == 60
    assert row.demand_bits == second.demand_bits() < knowledge.demand_bits()
    assert row.accuracy == 1.0
    assert row.bits_ce is not None and row.bits_ce <= row.demand_bits


def test_shuffled_answers_are_worth_nothing() -> None:
    rows = judged(people(), FaissMemoryConfig(), shuffled=True)
    assert all(row.bits_ce is not None and row.bits_ce <= 40 for row in rows.values())
    assert all(row.accuracy is not None and row.accuracy < 0.5 for row in rows.values())
    assert rows["identical"].memory == "faiss-q-Flat-shuffled"


class KeysOfTexts:
    """What is worded anew is another thing."""

    encoder_hash = "texts"

    def keys(self, texts: Sequence[str], templates: Sequence[Template]) -> np.ndarray:
        drawn_QD = np.stack([np.random.default_rng([*text.encode()]).standard_normal(32) for text in texts])
        unit_QD: np.ndarray = drawn_QD / np.linalg.norm(drawn_QD, axis=1, keepdims=True)
        return unit_QD.astype(np.float32)


def test_a_memory_is_as_sure_as_it_may_be_of_what_it_is_asked() -> None:
    rows = judged(people().with_keys(KeysOfTexts()), FaissMemoryConfig())
    written, anew = rows["identical"], rows["heldout"]
    assert written.accuracy == 1 and (anew.accuracy or 0) < 0.4
    assert written.epsilon == pytest.approx(1 / 200, rel=1e-3)
    assert (anew.epsilon or 0) > 0.8
    assert 0.98 * (written.demand_bits or 0) < (written.bits_ce or 0) and anew.bits_ce == 0


class FewForgotten(MadeUpKeys):
    """Of every twenty facts one is another thing paraphrased."""

    def keys(self, texts: Sequence[str], templates: Sequence[Template]) -> np.ndarray:
        keys_QD = super().keys(texts, templates)
        forgotten = [
            template.text in generic_wordings("trade").heldout
            and int("".join(letter for letter in text if letter.isdigit())) % 20 == 0
            for text, template in zip(texts, templates, strict=True)
        ]
        return np.where(np.array(forgotten)[:, None], -keys_QD, keys_QD)


def test_each_phrasing_has_its_own_accuracy_to_reach() -> None:
    uniform = replace(people(), uniform=True).with_keys(FewForgotten(0.0))
    rows = judged(uniform, FaissMemoryConfig())
    assert 0.95 <= (rows["heldout"].accuracy or 0) < 0.99
    counted = {phrasing: row.bits_at_tau for phrasing, row in rows.items()}
    assert counted == dict.fromkeys(("identical", "seen", "heldout"), 200 * math.log2(NUM_KINDS))
    stricter = judged(uniform, FaissMemoryConfig(), tau=0.99)
    assert stricter["heldout"].bits_at_tau is None and stricter["seen"].bits_at_tau == counted["seen"]


def test_latencies_are_those_of_a_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five questions to warm up, sixty alone, four batches: 1 to 60 ms, and 2.56, 5.12, 7.68 and 25.6 s."""
    lasts = iter([*[100.0] * 5, *[turn / 1000 for turn in range(60, 0, -1)], 25.6, 2.56, 7.68, 5.12])
    now, asked = [0.0], []

    class Slow(FrequencyMemory):
        def recall(self, queries: Queries, *, top_k: int = 10, score: np.ndarray | None = None) -> Recall:
            now[0] += next(lasts)
            asked.append((len(queries), top_k))
            return super().recall(queries, top_k=top_k, score=score)

    memory = Slow(FrequencyConfig(), seed=0)
    memory.write(people().facts())
    monkeypatch.setattr("retromem.measure.latency.time.perf_counter", lambda: now[0])
    cost = EncoderCost(seconds_per_text=0.075, single_text_ms=7.0)
    found = measure_latency(memory, people().ask("identical", num=30).queries, cost)
    assert asked == [(1, 1)] * 65 + [(256, 1)] * 4
    assert found.query_ms_p50 == pytest.approx(30.5) and found.query_ms_p95 == pytest.approx(57.05)
    assert found.query_ms_p50_end_to_end == pytest.approx(37.5)
    # Of the batches the median: 6.4 s for 256.
    assert found.queries_per_second == pytest.approx(40)
    assert found.queries_per_second_end_to_end == pytest.approx(1 / (0.025 + 0.075))


def test_fewer_questions_are_scaled_up_to_all_facts() -> None:
    rows = judged(people(), FaissMemoryConfig(), max_asked=50, max_reworded=30)
    assert {phrasing: row.num_asked for phrasing, row in rows.items()} == {"identical": 50, "seen": 30, "heldout": 30}
    row = rows["identical"]
    assert row.accuracy == 1.0 and row.bits_ce is not None and row.demand_bits is not None
    assert 0.9 * row.demand_bits < row.bits_ce <= row.demand_bits


def test_encoding_is_charged_at_its_cold_cost() -> None:
    row = judged(people().prefix(80), FaissMemoryConfig(), quick=False)["identical"]
    assert row.write_seconds == pytest.approx((row.memory_write_seconds or 0) + 80 * 0.5)
    assert row.query_ms_p50_end_to_end == pytest.approx((row.query_ms_p50 or 0) + 7.0)
    assert (row.query_ms_p50 or 0) <= (row.query_ms_p95 or 0)
    assert 1 / (row.queries_per_second_end_to_end or 1) == pytest.approx(1 / (row.queries_per_second or 1) + 0.5)
    assert row.shared_bytes == 90
    quick = judged(people().prefix(80), FaissMemoryConfig())["identical"]
    assert quick.query_ms_p50 is None and quick.accuracy == row.accuracy and quick.bits_ce == row.bits_ce


def test_one_phrasing_alone_is_the_same_row() -> None:
    knowledge, setting = people(), Setting(study="study", role="arm", seed=0)
    everything = judged(knowledge, FaissMemoryConfig())
    (row,) = judge(
        FaissMemoryConfig(),
        knowledge,
        setting=setting,
        measures=MeasureConfig(),
        encoder=EncoderCost(),
        only="heldout",
        quick=True,
    ).rows
    assert (row.phrasing, row.num_asked) == ("heldout", 200)
    assert (row.accuracy, row.bits_ce) == (everything["heldout"].accuracy, everything["heldout"].bits_ce)


def test_the_floors_are_lines_of_the_demand() -> None:
    knowledge = people().prefix(64)
    entropy, known = floor_lines(
        knowledge, setting=Setting(study="study", role="floor", seed=0), encoder=EncoderCost(file_bytes=90)
    )
    demand_bits = knowledge.demand_bits()
    assert (entropy.memory, entropy.storage_bytes) == ("floor-entropy", int(np.ceil(demand_bits / 8)))
    assert known.storage_bytes == int(np.ceil((demand_bits + 64 * np.log2(100)) / 8))
    assert entropy.phrasing == known.phrasing == "" and entropy.accuracy is None


def test_names_say_which_keys_and_answers() -> None:
    setting = Setting(study="study", role="control", seed=3, raw_keys=True, shuffled=True)
    rows = judge(
        FrequencyConfig(), people(), setting=setting, measures=MeasureConfig(), encoder=EncoderCost(), quick=True
    ).rows
    assert {(row.memory, row.role, row.seed, row.family) for row in rows} == {
        ("floor-mode-raw-shuffled", "control", 3, "floor")
    }
